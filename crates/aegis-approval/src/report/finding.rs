//! One decision that a key took part in.

use std::collections::{BTreeMap, BTreeSet};

use aegis_crypto::KeyId;
use jiff::Timestamp;

use crate::name::{Audience, PersonId, RequestId, Role};
use crate::registry::{Custodian, CustodianKey, KeyState, Registry};
use crate::standing::{Closed, Standing, State, standing};
use crate::statement::Decision;
use crate::store::{Involvement, RequestRecord, Signer};
use crate::subject::Subject;

/// A decision that the key took part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The request.
    pub request: RequestId,
    /// What was decided.
    pub subject: Subject,
    /// For where.
    pub audience: Audience,
    /// Who asked.
    pub requester: PersonId,
    /// Until when it could be signed or used at most.
    pub usable_until: Timestamp,
    /// Which way the key signed.
    pub decision: Decision,
    /// In which role.
    pub role: Role,
    /// When, as the signature says.
    pub signed: Timestamp,
    /// Who else signed.
    pub others: Vec<OtherSigner>,
    /// Where it stood when the emergency began, the key believed.
    pub then: State,
    /// Where it stands now.
    pub now: State,
    /// How it ended, other than by time.
    pub closed: Option<Closed>,
    /// Whether enough people approved it, the key believed.
    pub was_approved: bool,
    /// Whether enough people approved it without this key.
    pub stands_without: bool,
    /// Of which roles how many people are missing without this key.
    pub missing: BTreeMap<Role, u8>,
}

/// Somebody else's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSigner {
    /// Who.
    pub person: PersonId,
    /// In which role.
    pub role: Role,
    /// Which way.
    pub decision: Decision,
    /// With which key.
    pub key: KeyId,
    /// What became of that key: `active`, `revoked`, `replaced`; `unknown` if it is not registered.
    pub key_state: &'static str,
}

/// What is to be done about a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remedy {
    /// It was used, and without this key too few approved it.
    Undo,
    /// It was used; the others would have been enough.
    Review,
    /// It was approved for hosts, where it may have been used: too few approved it without this key.
    CheckHosts,
    /// It is open, and has to be signed again.
    SignAgain,
    /// It was stopped with this key, perhaps not by its holder: whoever needs it asks again.
    AskAgain,
    /// It came to nothing, or stands by the others.
    Nothing,
}

impl Remedy {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 6] =
        [Self::Undo, Self::Review, Self::CheckHosts, Self::SignAgain, Self::AskAgain, Self::Nothing];

    /// The name in JSON and CSV.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undo => "undo",
            Self::Review => "review",
            Self::CheckHosts => "check_hosts",
            Self::SignAgain => "sign_again",
            Self::AskAgain => "ask_again",
            Self::Nothing => "nothing",
        }
    }

    /// What to do, in words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Undo => {
                "undo what was done with it, or have it approved anew: without this key it was not approved"
            }
            Self::Review => "look at what was done with it; it was approved without this key, too",
            Self::CheckHosts => {
                "look into the logs of these hosts whether it was used, and undo it there: without this key it was not approved"
            }
            Self::SignAgain => "have it signed again; until then it cannot be used",
            Self::AskAgain => "ask its holder whether they stopped it; if not, make a new request",
            Self::Nothing => "nothing",
        }
    }
}

impl Finding {
    /// What is to be done.
    pub fn remedy(&self) -> Remedy {
        if self.decision == Decision::Reject {
            return Remedy::AskAgain;
        }
        match (&self.closed, self.now) {
            (Some(Closed::Consumed { .. }), _) if self.stands_without => Remedy::Review,
            (Some(Closed::Consumed { .. }), _) => Remedy::Undo,
            _ if self.was_approved && !self.stands_without && self.subject.kind().is_of_hosts() => {
                Remedy::CheckHosts
            }
            (None, State::Pending | State::Partial) => Remedy::SignAgain,
            _ => Remedy::Nothing,
        }
    }

    /// What became of a decision that `key` took part in.
    pub(super) fn of(involvement: Involvement, key: KeyId, keys: &KnownKeys, states: States) -> Self {
        let without = keys.missing(&involvement, key, Believed::No);
        let with = keys.missing(&involvement, key, Believed::Yes);
        let Involvement {
            number: _,
            place,
            decision,
            role,
            signed,
            id,
            subject,
            audience,
            requester,
            usable_until,
            closed,
            quorum: _,
            signers,
        } = involvement;
        let others = signers.into_iter().enumerate().filter(|(at, _)| *at != place);
        let others = others.map(|(_, signer)| OtherSigner::of(signer, keys)).collect();
        Self {
            request: id,
            subject,
            audience,
            requester,
            usable_until,
            decision,
            role,
            signed,
            others,
            then: states.then,
            now: states.now,
            closed,
            was_approved: with.is_empty(),
            stands_without: without.is_empty(),
            missing: without,
        }
    }
}

/// Where a request stood, and stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct States {
    pub(super) then: State,
    pub(super) now: State,
}

/// Whether the key in question is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Believed {
    Yes,
    No,
}

/// Every key that there is or was, by its id: asking the registry for each of a million signers would take too long.
#[derive(Debug, Clone)]
pub(super) struct KnownKeys(BTreeMap<KeyId, (PersonId, KeyState)>);

impl KnownKeys {
    pub(super) fn of(registry: &Registry) -> Self {
        let keys = registry.custodians().flat_map(|custodian| {
            let of_person =
                |key: &CustodianKey| (key.public.key_id(), (custodian.person.clone(), key.state.clone()));
            custodian.keys.iter().map(of_person)
        });
        Self(keys.collect())
    }

    /// What became of the key of a signer, if it is theirs.
    fn state(&self, signer: &Signer) -> Option<&KeyState> {
        self.0.get(&signer.key).filter(|(person, _)| *person == signer.person).map(|(_, state)| state)
    }

    /// Of which roles how many people are missing, counted by who signed: people with a key that was not revoked. A key
    /// that was replaced since was good when it signed, and so was a role that somebody no longer has.
    fn missing(
        &self,
        involvement: &Involvement,
        in_question: KeyId,
        believed: Believed,
    ) -> BTreeMap<Role, u8> {
        let counts = |signer: &&Signer| {
            let is_good = match self.state(signer) {
                None => false,
                Some(_) if signer.key == in_question => believed == Believed::Yes,
                Some(KeyState::Active | KeyState::Replaced { .. }) => true,
                Some(KeyState::Revoked { .. }) => false,
            };
            signer.decision == Decision::Approve && is_good && signer.person != involvement.requester
        };
        let mut people: BTreeMap<PersonId, BTreeSet<Role>> = BTreeMap::new();
        for signer in involvement.signers.iter().filter(counts) {
            people.entry(signer.person.clone()).or_insert_with(|| BTreeSet::from([signer.role.clone()]));
        }
        involvement.quorum.missing(&people)
    }
}

impl OtherSigner {
    fn of(signer: Signer, keys: &KnownKeys) -> Self {
        let key_state = keys.state(&signer).map_or("unknown", KeyState::as_str);
        let Signer { decision, person, role, key } = signer;
        Self { person, role, decision, key, key_state }
    }
}

/// Custodians as they would be, were this key still believed.
pub(super) fn with_key_active(registry: &Registry, key: KeyId) -> Registry {
    let believed = |custodian: &Custodian| {
        let mut custodian = custodian.clone();
        for held in &mut custodian.keys {
            if held.public.key_id() == key {
                held.state = KeyState::Active;
            }
        }
        custodian
    };
    Registry::new(registry.custodians().map(believed))
        .expect("a registry with another state of one key breaks no rule of registries")
}

/// A state that no signature can change any more: the request ended by `at`, or its time was over.
pub(super) fn final_state(closed: Option<&Closed>, usable_until: Timestamp, at: Timestamp) -> Option<State> {
    let ended = |when: &Timestamp, state| (*when <= at).then_some(state);
    let ended = match closed {
        None => None,
        Some(Closed::Rejected { at, .. }) => ended(at, State::Rejected),
        Some(Closed::Revoked { at, .. }) => ended(at, State::Revoked),
        Some(Closed::Consumed { at, .. }) => ended(at, State::Consumed),
    };
    ended.or_else(|| (at > usable_until).then_some(State::Expired))
}

/// Where a request that had not ended stood at that instant, by the signatures that had been made.
pub(super) fn state_at(record: &RequestRecord, registry: &Registry, at: Timestamp) -> State {
    let made = record.signatures.iter().filter(|given| given.signed <= at);
    let made: Vec<_> = made.cloned().collect();
    let Standing { state, .. } = standing(&record.request, &made, None, registry, at);
    state
}

//! What is asked for, with everything that a decision depends on, and one hash over all of it.

use std::collections::{BTreeMap, BTreeSet};

use aegis_crypto::{CustodianAlgorithm, Digest, RandomError, Secret, sha256};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::canonical::{parse_time, to_second, to_text};
use crate::name::{Audience, Gate, NameError, PersonId, RequestId, Role};
use crate::quorum::{Quorum, QuorumError};
use crate::subject::{Kind, Subject, SubjectError, UnknownKind};
use crate::text::{Justification, TextError};

/// A request that keeps every rule. Nothing of it changes once it is made; its [`hash`](Self::hash) covers it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    id: RequestId,
    subject: Subject,
    audience: Audience,
    justification: Justification,
    failed_gates: BTreeSet<Gate>,
    requester: PersonId,
    quorum: Quorum,
    algorithms: BTreeSet<CustodianAlgorithm>,
    nonce: [u8; 16],
    created: Timestamp,
    expires: Timestamp,
    use_within: SignedDuration,
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// What is to be decided.
    pub subject: Subject,
    /// For which deployment, host, or group of hosts.
    pub audience: Audience,
    /// Why.
    pub justification: Justification,
    /// The gates that failed; for an override only.
    pub failed_gates: BTreeSet<Gate>,
    /// Who asks, and therefore cannot sign.
    pub requester: PersonId,
    /// Who has to agree.
    pub quorum: Quorum,
    /// By which algorithms.
    pub algorithms: BTreeSet<CustodianAlgorithm>,
    /// How long signatures are taken, from now.
    pub lifetime: SignedDuration,
    /// How long it can be used, from the last signature that was needed.
    pub use_within: SignedDuration,
}

/// How long signatures are taken, unless something else is said: 24 hours.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// How long an approval can be used, unless something else is said: 24 hours.
pub const DEFAULT_USE_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// The shortest and the longest of both.
pub const LIFETIME_RANGE: [SignedDuration; 2] =
    [SignedDuration::from_mins(1), SignedDuration::from_hours(30 * 24)];

impl Request {
    /// The most gates.
    pub const MAX_GATES: usize = 16;
    /// The most bytes of a request in JSON.
    pub const MAX_LEN: usize = 16 * 1024;

    /// Makes a request with a new id and nonce.
    ///
    /// # Errors
    ///
    /// A [`NewRequestError`].
    pub fn new(new: NewRequest, now: Timestamp) -> Result<Self, NewRequestError> {
        let random = || Secret::<16>::random().map(|bytes| *bytes.expose()).map_err(NewRequestError::Random);
        let NewRequest { lifetime, use_within, .. } = new;
        let created = to_second(now);
        let life = |found: SignedDuration, what| {
            let [shortest, longest] = LIFETIME_RANGE;
            let found_whole = SignedDuration::from_secs(found.as_secs());
            if (shortest..=longest).contains(&found) && found == found_whole {
                Ok(found)
            } else {
                Err(NewRequestError::Rule(RequestRule::Lifetime { what, seconds: found.as_secs() }))
            }
        };
        let expires = created.checked_add(life(lifetime, Lifetime::Signing)?);
        let request = Self {
            id: RequestId::of_bytes(random()?),
            subject: new.subject,
            audience: new.audience,
            justification: new.justification,
            failed_gates: new.failed_gates,
            requester: new.requester,
            quorum: new.quorum,
            algorithms: new.algorithms,
            nonce: random()?,
            created,
            expires: expires.map_err(|_| {
                NewRequestError::Rule(RequestRule::Lifetime {
                    what: Lifetime::Signing,
                    seconds: lifetime.as_secs(),
                })
            })?,
            use_within: life(use_within, Lifetime::Use)?,
        };
        request.keeps_rules().map_err(NewRequestError::Rule)?;
        Ok(request)
    }

    fn keeps_rules(&self) -> Result<(), RequestRule> {
        let kind = self.subject.kind();
        if let Some(gate) = self.failed_gates.iter().find(|gate| gate.is_final()) {
            return Err(RequestRule::FinalGate { gate: gate.clone() });
        }
        if kind != Kind::Override && !self.failed_gates.is_empty() {
            return Err(RequestRule::GatesOfOther { kind });
        }
        if self.failed_gates.len() > Self::MAX_GATES {
            return Err(RequestRule::TooManyGates { found: self.failed_gates.len() });
        }
        if kind.is_of_hosts() != self.audience.is_of_hosts() {
            return Err(RequestRule::Audience { kind, audience: self.audience.clone() });
        }
        if self.algorithms.is_empty() {
            return Err(RequestRule::NoAlgorithm);
        }
        if self.created < Timestamp::UNIX_EPOCH {
            return Err(RequestRule::Clock { created: self.created });
        }
        let [shortest, longest] = LIFETIME_RANGE;
        for (what, found) in
            [(Lifetime::Signing, self.expires.duration_since(self.created)), (Lifetime::Use, self.use_within)]
        {
            if !(shortest..=longest).contains(&found) {
                return Err(RequestRule::Lifetime { what, seconds: found.as_secs() });
            }
        }
        Ok(())
    }

    /// Its name.
    pub const fn id(&self) -> &RequestId {
        &self.id
    }

    /// What is to be decided.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// For which deployment, host, or group of hosts.
    pub const fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Why.
    pub const fn justification(&self) -> &Justification {
        &self.justification
    }

    /// The gates that failed.
    pub const fn failed_gates(&self) -> &BTreeSet<Gate> {
        &self.failed_gates
    }

    /// Who asked.
    pub const fn requester(&self) -> &PersonId {
        &self.requester
    }

    /// Who has to agree.
    pub const fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// By which algorithms it may be signed.
    pub const fn algorithms(&self) -> &BTreeSet<CustodianAlgorithm> {
        &self.algorithms
    }

    /// When it was made, to the second.
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// Until when it may be signed.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// How long it can be used, from the last signature that was needed.
    pub const fn use_within(&self) -> SignedDuration {
        self.use_within
    }

    /// What it means if it is approved, in plain words.
    pub fn risk(&self) -> String {
        self.subject.risk(&self.failed_gates)
    }

    /// SHA-256 of [`to_json`](Self::to_json): the name of everything in it.
    pub fn hash(&self) -> Digest {
        sha256(self.to_json().as_bytes())
    }

    /// The request as canonical JSON (RFC 8785), without a newline.
    pub fn to_json(&self) -> String {
        to_text(&self.to_value())
    }

    pub(crate) fn to_value(&self) -> Value {
        // Taken apart by name, so that a field that is added later has to be put under the hash, too.
        let Self {
            id,
            subject,
            audience,
            justification,
            failed_gates,
            requester,
            quorum,
            algorithms,
            nonce,
            created,
            expires,
            use_within,
        } = self;
        let groups: serde_json::Map<_, _> =
            quorum.groups().map(|(role, needed)| (role.to_string(), Value::from(needed))).collect();
        json!({
            "type": REQUEST_TYPE,
            "id": id.as_str(),
            "kind": subject.kind().as_str(),
            "subject": subject.to_string(),
            "audience": audience.as_str(),
            "justification": justification.as_str(),
            "failed_gates": failed_gates.iter().map(Gate::as_str).collect::<Vec<_>>(),
            "requester": requester.as_str(),
            "quorum": groups,
            "algorithms": algorithm_names(algorithms),
            "nonce": hex::encode(nonce),
            "created": created.to_string(),
            "expires": expires.to_string(),
            "use_within_secs": use_within.as_secs(),
        })
    }

    /// Reads a request in its one spelling, and checks every rule again.
    ///
    /// # Errors
    ///
    /// A [`ReadRequestError`].
    pub fn from_json(text: &str) -> Result<Self, ReadRequestError> {
        if text.len() > Self::MAX_LEN {
            return Err(ReadRequestError::TooLong { found: text.len() });
        }
        let raw: RawRequest = serde_json::from_str(text).map_err(|error| ReadRequestError::json(&error))?;
        let request = Self::of_raw(raw)?;
        if request.to_json() != text {
            return Err(ReadRequestError::NotCanonical);
        }
        Ok(request)
    }

    pub(crate) fn of_raw(raw: RawRequest) -> Result<Self, ReadRequestError> {
        let RawRequest {
            r#type,
            id,
            kind,
            subject,
            audience,
            justification,
            failed_gates,
            requester,
            quorum,
            algorithms,
            nonce,
            created,
            expires,
            use_within_secs,
        } = raw;
        if r#type != REQUEST_TYPE {
            return Err(ReadRequestError::Type);
        }
        let name = ReadRequestError::Name;
        let kind: Kind = kind.parse().map_err(ReadRequestError::Kind)?;
        let time = |text: String, field| parse_time(&text).ok_or(ReadRequestError::Field { field });
        let field = |field| move |_| ReadRequestError::Field { field };
        if failed_gates.len() > Self::MAX_GATES {
            return Err(ReadRequestError::Rule(RequestRule::TooManyGates { found: failed_gates.len() }));
        }
        let groups = quorum.into_iter().map(|(role, needed)| Ok((role.parse()?, needed)));
        let groups: Vec<(Role, i64)> = groups.collect::<Result<_, _>>().map_err(name)?;
        let request = Self {
            id: id.parse().map_err(name)?,
            subject: Subject::parse(kind, &subject).map_err(ReadRequestError::Subject)?,
            audience: audience.parse().map_err(name)?,
            justification: justification.parse().map_err(ReadRequestError::Justification)?,
            failed_gates: failed_gates
                .iter()
                .map(|gate| gate.parse())
                .collect::<Result<_, _>>()
                .map_err(name)?,
            requester: requester.parse().map_err(name)?,
            quorum: Quorum::new(groups).map_err(ReadRequestError::Quorum)?,
            algorithms: algorithms
                .iter()
                .map(|id| id.parse())
                .collect::<Result<_, _>>()
                .map_err(field("algorithms"))?,
            nonce: hex::decode(&nonce)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(ReadRequestError::Field { field: "nonce" })?,
            created: time(created, "created")?,
            expires: time(expires, "expires")?,
            use_within: SignedDuration::from_secs(use_within_secs),
        };
        request.keeps_rules().map_err(ReadRequestError::Rule)?;
        Ok(request)
    }
}

const REQUEST_TYPE: &str = "aegis-approval-request-v1";

/// The names of algorithms, in the order of the names.
fn algorithm_names(algorithms: &BTreeSet<CustodianAlgorithm>) -> BTreeSet<&'static str> {
    algorithms.iter().map(|algorithm| algorithm.id()).collect()
}

/// A request as it was read. Nothing in it is to be believed yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRequest {
    r#type: String,
    id: String,
    kind: String,
    subject: String,
    audience: String,
    justification: String,
    failed_gates: Vec<String>,
    requester: String,
    quorum: BTreeMap<String, i64>,
    algorithms: Vec<String>,
    nonce: String,
    created: String,
    expires: String,
    use_within_secs: i64,
}

/// Which time is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// How long signatures are taken.
    Signing,
    /// How long an approval can be used.
    Use,
}

/// A rule that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRule {
    /// One of the failed gates is one that nobody can override.
    #[error("the gate {gate} cannot be overridden, by anybody")]
    FinalGate {
        /// The gate.
        gate: Gate,
    },
    /// Gates belong to overrides.
    #[error("a request of the kind {kind} has no failed gates")]
    GatesOfOther {
        /// The kind.
        kind: Kind,
    },
    /// More gates than there can be.
    #[error("a request names at most {} failed gates, this one names {found}", Request::MAX_GATES)]
    TooManyGates {
        /// How many.
        found: usize,
    },
    /// For hosts what is for a deployment, or the other way round.
    #[error("a request of the kind {kind} cannot be for {audience}")]
    Audience {
        /// The kind.
        kind: Kind,
        /// For what it was to be.
        audience: Audience,
    },
    /// No algorithm.
    #[error("a request names at least one algorithm by which it may be signed")]
    NoAlgorithm,
    /// Made by a clock that cannot be right.
    #[error("the request was made at {created}, before there were such requests")]
    Clock {
        /// The time.
        created: Timestamp,
    },
    /// Too short or too long.
    #[error("{} is from 1 minute to 30 days in whole seconds, not {seconds} seconds", match what {
        Lifetime::Signing => "the time in which a request can be signed",
        Lifetime::Use => "the time in which an approval can be used",
    })]
    Lifetime {
        /// Which time.
        what: Lifetime,
        /// How long it was to be.
        seconds: i64,
    },
}

impl RequestRule {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::FinalGate { .. } => "make the change simpler until the gate passes".to_owned(),
            Self::GatesOfOther { .. } => "leave the gates out".to_owned(),
            Self::TooManyGates { .. } => "ask for several overrides".to_owned(),
            Self::Audience { kind, .. } if kind.is_of_hosts() => "name host:NAME or group:NAME".to_owned(),
            Self::Audience { .. } => "name deployment:NAME".to_owned(),
            Self::Clock { .. } => "set the clock".to_owned(),
            Self::NoAlgorithm | Self::Lifetime { .. } => return None,
        })
    }
}

/// Why no request was made.
#[derive(Debug, thiserror::Error)]
pub enum NewRequestError {
    /// It would break a rule.
    #[error(transparent)]
    Rule(RequestRule),
    /// There are no random bytes.
    #[error("the request has no id")]
    Random(#[source] RandomError),
}

impl NewRequestError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Rule(rule) => rule.help(),
            Self::Random(error) => error.help(),
        }
    }
}

/// Why a text is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadRequestError {
    /// More than a request can have.
    #[error("a request has at most {} bytes, this text has {found}", Request::MAX_LEN)]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// Not the JSON of a request.
    #[error("this is not the JSON of a request, at line {line} column {column}")]
    Json {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// Something else, or of another version.
    #[error("the type of the request is not {REQUEST_TYPE}")]
    Type,
    /// A name that breaks its rule.
    #[error("a name in the request cannot be used")]
    Name(#[source] NameError),
    /// A kind that does not exist.
    #[error("the kind of the request cannot be used")]
    Kind(#[source] UnknownKind),
    /// A subject that does not fit the kind.
    #[error("the subject of the request cannot be used")]
    Subject(#[source] SubjectError),
    /// A justification that could mislead.
    #[error("the justification cannot be used")]
    Justification(#[source] TextError),
    /// A quorum that cannot be.
    #[error("the quorum of the request cannot be used")]
    Quorum(#[source] QuorumError),
    /// Another field that is not what it should be.
    #[error("the field {field} of the request cannot be used")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// It breaks a rule.
    #[error("the request breaks a rule")]
    Rule(#[source] RequestRule),
    /// Not in the one spelling.
    #[error(
        "the request is not in canonical JSON (RFC 8785), so it was not written by this program or was changed"
    )]
    NotCanonical,
}

impl ReadRequestError {
    fn json(error: &serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some("ask for the file again, and compare the hash with whoever made the request".to_owned())
    }
}

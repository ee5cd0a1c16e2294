//! The steps of the drill, each an operation of [`Host`] on the shadow and a look at what came of it.

use std::fs;

use aegis_approval::Subject;
use aegis_crypto::{KeyId, KeyIdPrefix, RandomError, SigningKey};
use aegis_policy::Limits;

use super::{BUILT_IN_POLICY, DrillStep, custodians::DrillCustodians};
use crate::{
    apply::{Applied, ApplyError, ApplyOptions, ApplyResult, Mode, Offer, SignatureRule},
    approval::{ApprovalError, ApprovalFile},
    counter::CounterRefusal,
    durable,
    health::cause_chain,
    host::{Caller, Host},
    keys::{KeyChangeError, Lockout},
    rotation::{Awaited, Canary, RotateRequest},
    sign::{PayloadSigner, PemSigner, SignRequest, cosign, sign},
    verify::{V1, VerifyError},
};

/// Other content for a version that was accepted.
const OTHER_POLICY: &[u8] = b"version=1\n\n[deny_path]\n/nonexistent/aegisbpf-drill\n";

const OPTIONS: ApplyOptions =
    ApplyOptions { signature: SignatureRule::Required, v1: V1::Refuse, mode: Mode::Apply };

/// What a step observed; the error is what went wrong.
type Observed = Result<String, String>;

pub(super) struct Rehearsal<'a> {
    shadow: Host,
    caller: &'a Caller,
    text: Vec<u8>,
    /// Throw-away keys, one more than a bundle needs here: the first is the one to be revoked, the last comes for it.
    signers: Vec<PemSigner>,
    /// The key that comes with the rotation.
    rotated_to: Option<PemSigner>,
    /// Throw-away custodians, once they are named.
    custodians: Option<DrillCustodians>,
    /// An approval that was used, and for which key.
    used: Option<(KeyId, ApprovalFile)>,
    /// A checkpoint of the shadow's log from the middle of the drill.
    kept: Vec<Vec<u8>>,
    progress: &'a mut dyn FnMut(&str),
    steps: Vec<DrillStep>,
}

impl<'a> Rehearsal<'a> {
    pub(super) fn new(
        shadow: Host,
        caller: &'a Caller,
        text: Vec<u8>,
        progress: &'a mut dyn FnMut(&str),
    ) -> Result<Self, RandomError> {
        let mut signers = Vec::new();
        for _ in 0..=shadow.config().required_signatures.max(1) {
            signers.push(PemSigner::new(SigningKey::generate()?));
        }
        let rotated_to = PemSigner::new(SigningKey::generate()?);
        Ok(Self {
            shadow,
            caller,
            text,
            signers,
            rotated_to: Some(rotated_to),
            custodians: None,
            used: None,
            kept: Vec::new(),
            progress,
            steps: Vec::new(),
        })
    }

    pub(super) fn run(mut self) -> Vec<DrillStep> {
        let last = self.signers.len() - 1;
        let (old, new) = (0..last, 1..last + 1);
        self.step("trust the current key", "it is trusted", |it| it.trust(old.clone()));
        self.step("apply a policy that it signed", "version 1 is in force", |it| it.applies(1, old.clone()));
        self.step("trust the next key", "it is trusted", |it| it.trust(last..last + 1));
        self.step("apply a policy that the next key signed", "version 2 is in force", |it| {
            it.applies(2, new.clone())
        });
        self.step("revoke the old key", "it is refused for ever", Self::revoke_old);
        self.step("trust the old key again", "refused: it was revoked", Self::revoked_stays_out);
        self.step("apply a policy that the old key signed", "refused: it was revoked", |it| {
            it.revoked_signer(3, old.clone())
        });
        self.step("apply an emergency policy that the next key signed", "version 4 is in force", |it| {
            it.applies(4, new.clone())
        });
        self.step("apply the older policy again", "refused: version 2 is older than 4", |it| {
            it.older(2, new.clone())
        });
        self.step("apply other content as version 4", "refused: version 4 has other content", |it| {
            it.other_content(4, new.clone())
        });
        self.step("load the policy in force again, as at start-up", "unchanged", |it| {
            it.again(4, new.clone())
        });
        self.step("roll back", "version 2 is in force, the counter stays at 4", Self::rolls_back);
        self.step("apply the next policy", "version 5 is in force", |it| it.applies(5, new.clone()));
        self.step("name two custodians", "the rule of two is on", Self::custodians_on);
        self.step(
            "trust a key without an approval",
            "refused: it needs an approval",
            Self::unapproved_stays_out,
        );
        self.step(
            "trust a key that was copied into place by hand",
            "refused: nobody approved it",
            Self::by_hand,
        );
        self.step("rotate to a key with both approvals", "the next key signs, the old one is gone", |it| {
            it.rotates(6, 2..last + 2)
        });
        self.step("use an approval a second time", "refused: it was used", Self::replay_refused);
        self.step("verify the audit log of all this", "nothing is wrong", Self::log_verifies);
        self.steps
    }

    fn step(&mut self, name: &str, expected: &str, act: impl FnOnce(&mut Self) -> Observed) {
        (self.progress)(name);
        let (observed, passed) = match act(self) {
            Ok(observed) => (observed, true),
            Err(observed) => (observed, false),
        };
        let (name, expected) = (name.to_owned(), expected.to_owned());
        self.steps.push(DrillStep { name, expected, observed, passed });
    }

    fn trust(&mut self, which: std::ops::Range<usize>) -> Observed {
        let mut ids = Vec::new();
        for (number, signer) in self.signers.iter().enumerate().skip(which.start).take(which.len()) {
            let id = self.add(signer, number).map_err(|error| cause_chain(&error))?;
            let trusted = self.shadow.trusted_keys().map_err(|error| cause_chain(&error))?;
            if !trusted.by_id().contains_key(&id) {
                return Err(format!("key {} was added and is not trusted", id.fingerprint()));
            }
            ids.push(id.fingerprint());
        }
        Ok(format!("trusted: {}", ids.join(", ")))
    }

    /// With its proof of possession, whether this host demands one or not.
    fn add(&self, signer: &PemSigner, number: usize) -> Result<KeyId, KeyChangeError> {
        self.add_as(self.caller, signer, number)
    }

    fn add_as(&self, caller: &Caller, signer: &PemSigner, number: usize) -> Result<KeyId, KeyChangeError> {
        let key = signer.public_key();
        let challenge = self.shadow.key_challenge(key)?;
        let proof = signer.sign(challenge.as_bytes()).ok();
        let name = format!("drill-{number}");
        let pem = key.to_spki_pem();
        self.shadow
            .add_key(caller, pem.as_bytes(), "drill", Some(&name), proof.as_ref())
            .map(|added| added.id)
    }

    fn applies(&mut self, version: u64, by: std::ops::Range<usize>) -> Observed {
        let bundle = self.bundle(version, by, &self.text)?;
        let applied = self.apply(&bundle).map_err(|error| cause_chain(&error))?;
        if applied.result != ApplyResult::Applied || applied.policy_version != Some(version) {
            return Err(format!("{:?} version {:?}", applied.result, applied.policy_version));
        }
        self.in_force(&bundle)?;
        self.counter_is(version)?;
        Ok(format!("version {version} is in force, and the counter is at {version}"))
    }

    fn revoke_old(&mut self) -> Observed {
        let id = self.old_id()?;
        let prefix: KeyIdPrefix = id.to_string().parse().map_err(|error| cause_chain(&error))?;
        let revoked = self
            .shadow
            .revoke_key(self.caller, &prefix, "revocation drill", Lockout::Refuse)
            .map_err(|error| cause_chain(&error))?;
        let trusted = self.shadow.trusted_keys().map_err(|error| cause_chain(&error))?;
        let listed = self.shadow.revoked_keys().map_err(|error| cause_chain(&error))?;
        if trusted.by_id().contains_key(&id) || listed.get(&id).is_none() {
            return Err(format!("key {} was revoked and is still trusted, or not listed", id.fingerprint()));
        }
        // Kept from here on: what the log says up to the revocation must still be in it at the end.
        self.kept.extend(self.shadow.audit().checkpoint().map_err(|error| cause_chain(&error))?);
        Ok(format!("key {} is revoked, and {} can sign", id.fingerprint(), revoked.usable_left))
    }

    fn revoked_stays_out(&mut self) -> Observed {
        let old = self.old_id()?;
        let signer = self.signers.first().ok_or("no key was made")?;
        match self.add(signer, 0) {
            Err(KeyChangeError::Revoked { id, .. }) if id == old => Ok("refused: it was revoked".to_owned()),
            Err(error) => Err(format!("refused for another reason: {}", cause_chain(&error))),
            Ok(_) => Err("it is trusted again".to_owned()),
        }
    }

    fn revoked_signer(&mut self, version: u64, by: std::ops::Range<usize>) -> Observed {
        let old = self.old_id()?;
        let bundle = self.bundle(version, by, &self.text)?;
        self.refuses(&bundle, |error| matches!(error, ApplyError::Verify(VerifyError::Revoked { key_id, .. }) if *key_id == old))
    }

    fn older(&mut self, version: u64, by: std::ops::Range<usize>) -> Observed {
        let bundle = self.bundle(version, by, &self.text)?;
        self.refuses(&bundle, |error| {
            matches!(error, ApplyError::Refused(CounterRefusal::Rollback { offered, .. }) if *offered == version)
        })
    }

    fn other_content(&mut self, version: u64, by: std::ops::Range<usize>) -> Observed {
        let other = if self.text == OTHER_POLICY { BUILT_IN_POLICY } else { OTHER_POLICY };
        let bundle = self.bundle(version, by, other)?;
        self.refuses(&bundle, |error| {
            matches!(error, ApplyError::Refused(CounterRefusal::OtherContent { .. }))
        })
    }

    fn again(&mut self, version: u64, by: std::ops::Range<usize>) -> Observed {
        // Ed25519 gives the same signature again, so this is what is in force, byte for byte.
        let bundle = self.bundle(version, by, &self.text)?;
        let applied = self.apply(&bundle).map_err(|error| cause_chain(&error))?;
        if applied.result != ApplyResult::Unchanged {
            return Err(format!("{:?}", applied.result));
        }
        self.in_force(&bundle)?;
        self.counter_is(version)?;
        Ok("unchanged".to_owned())
    }

    fn rolls_back(&mut self) -> Observed {
        let done = self.shadow.rollback(self.caller).map_err(|error| cause_chain(&error))?;
        if (done.from_version, done.to_version) != (Some(4), 2) {
            return Err(format!("from version {:?} to {}", done.from_version, done.to_version));
        }
        self.counter_is(4)?;
        Ok("version 2 is in force, the counter is at 4".to_owned())
    }

    fn custodians_on(&mut self) -> Observed {
        let custodians = DrillCustodians::new(self.caller.now)?;
        let registrations = custodians.write(&self.shadow)?;
        let done = self
            .shadow
            .init_custodians(self.caller, custodians.offer(&registrations))
            .map_err(|error| cause_chain(&error))?;
        let trusted = self.shadow.trusted_keys().map_err(|error| cause_chain(&error))?.len();
        self.custodians = Some(custodians);
        match done.approved_keys.len() == trusted {
            true => Ok(format!("still trusted: {trusted}")),
            false => Err("the keys that were trusted are not those that are approved".to_owned()),
        }
    }

    fn unapproved_stays_out(&mut self) -> Observed {
        let next = self.rotated_to.as_ref().ok_or("no key was made")?;
        match self.add(next, 99) {
            Err(KeyChangeError::Approval(ApprovalError::Needed { .. })) => {
                Ok("refused: it needs an approval".to_owned())
            }
            Err(error) => Err(format!("refused for another reason: {}", cause_chain(&error))),
            Ok(_) => Err("it is trusted".to_owned()),
        }
    }

    fn by_hand(&mut self) -> Observed {
        let next = self.rotated_to.as_ref().ok_or("no key was made")?;
        let path = self.shadow.paths().keys_dir.join("by-hand.pub");
        durable::write_atomic(&path, next.public_key().to_spki_pem().as_bytes(), 0o644)
            .map_err(|error| cause_chain(&error))?;
        let trusted = self.shadow.trusted_keys().map_err(|error| cause_chain(&error))?;
        durable::remove_synced(&path).map_err(|error| cause_chain(&error))?;
        match trusted.by_id().contains_key(&next.public_key().key_id()) {
            true => Err("it is trusted".to_owned()),
            false => Ok("not trusted".to_owned()),
        }
    }

    /// The whole operation, stopped where something is missing and gone on with.
    fn rotates(&mut self, version: u64, by: std::ops::Range<usize>) -> Observed {
        let next = self.rotated_to.take().ok_or("no key was made")?;
        let (new, old) =
            (*next.public_key(), self.signers.get(1).ok_or("no key was made")?.public_key().key_id());
        self.signers.push(next);
        let custodians = self.custodians.as_ref().ok_or("there are no custodians")?;
        let add = custodians.approve(Subject::KeysAdd(new.key_id()), self.caller.now)?;
        let remove = custodians.approve(Subject::KeysRemove(old), self.caller.now)?;
        let path = self.shadow.paths().state_dir.join("drill-next.pub");
        let bundle_file = self.shadow.paths().state_dir.join("drill-next.signed");
        let bundle = self.bundle(version, by, &self.text)?;
        for (path, bytes) in [(&path, new.to_spki_pem().as_bytes()), (&bundle_file, bundle.as_slice())] {
            durable::write_atomic(path, bytes, 0o644).map_err(|error| cause_chain(&error))?;
        }
        let prefix: KeyIdPrefix = old.to_string().parse().map_err(|error| cause_chain(&error))?;
        let challenge = self.shadow.key_challenge(&new).map_err(|error| cause_chain(&error))?;
        let signer = self.signers.last().ok_or("no key was made")?;
        let proof = signer.sign(challenge.as_bytes()).ok();
        let request = |new: Option<&'static str>, bundle: bool| RotateRequest {
            new: new.map(|_| path.as_path()),
            old: new.map(|_| &prefix),
            name: None,
            proof: proof.as_ref(),
            canary: Canary::None,
            bundle: bundle.then_some(bundle_file.as_path()),
        };
        let steps = [
            (Vec::new(), request(Some("begin"), false), Some(Awaited::ApprovalToAdd)),
            (vec![add.clone()], request(None, false), Some(Awaited::Canary)),
            (Vec::new(), request(None, true), Some(Awaited::ApprovalToRemove)),
            (vec![remove.clone()], request(None, false), None),
        ];
        for (approvals, request, awaits) in steps {
            let caller = self.caller.clone().with_approvals(approvals);
            let report = self.shadow.rotate(&caller, &request).map_err(|error| cause_chain(&error))?;
            if report.awaits != awaits {
                return Err(format!("it stands at {} and awaits {:?}", report.step.as_str(), report.awaits));
            }
        }
        self.used = Some((old, remove));
        self.in_force(&bundle)?;
        let trusted = self.shadow.trusted_keys().map_err(|error| cause_chain(&error))?.by_id();
        match (trusted.contains_key(&old), trusted.contains_key(&new.key_id())) {
            (false, true) => {
                Ok(format!("version {version} is in force, and the old key is not trusted any more"))
            }
            _ => Err("the old key is still trusted, or the new one is not".to_owned()),
        }
    }

    fn replay_refused(&mut self) -> Observed {
        let (old, approval) = self.used.clone().ok_or("no approval was used")?;
        let caller = self.caller.clone();
        let custodians = self.custodians.as_ref().ok_or("there are no custodians")?;
        // The key comes back with an approval of its own, and the one that removed it is of no use again.
        let add = custodians.approve(Subject::KeysAdd(old), self.caller.now)?;
        let signer = self.signers.get(1).ok_or("no key was made")?;
        self.add_as(&caller.clone().with_approvals(vec![add]), signer, 1)
            .map_err(|error| cause_chain(&error))?;
        let prefix: KeyIdPrefix = old.to_string().parse().map_err(|error| cause_chain(&error))?;
        match self.shadow.remove_key(&caller.with_approvals(vec![approval]), &prefix, Lockout::Refuse) {
            Err(KeyChangeError::Approval(ApprovalError::Used { .. })) => {
                Ok("refused: it was used".to_owned())
            }
            Err(error) => Err(format!("refused for another reason: {}", cause_chain(&error))),
            Ok(_) => Err("it was used again".to_owned()),
        }
    }

    fn log_verifies(&mut self) -> Observed {
        if self.kept.is_empty() {
            return Err("there is no checkpoint from before to hold it against".to_owned());
        }
        let report =
            self.shadow.audit().verify(&self.kept, &mut |_, _| ()).map_err(|error| cause_chain(&error))?;
        Ok(format!("{} entries, and nothing is wrong", report.size))
    }

    /// Offers a bundle that must be refused for one reason, and must change nothing.
    fn refuses(&self, bundle: &[u8], reason: impl FnOnce(&ApplyError) -> bool) -> Observed {
        let applied = self.shadow.paths().applied();
        let read = || fs::read(&applied).map_err(|error| cause_chain(&error));
        let (before, counter) = (read()?, self.counter()?);
        match self.apply(bundle) {
            Ok(_) => return Err("it was put in force".to_owned()),
            Err(error) if reason(&error) => {}
            Err(error) => return Err(format!("refused for another reason: {}", cause_chain(&error))),
        }
        if read()? != before || self.counter()? != counter {
            return Err("refused, but something was changed".to_owned());
        }
        Ok("refused, and nothing was changed".to_owned())
    }

    fn bundle(&self, version: u64, by: std::ops::Range<usize>, policy: &[u8]) -> Result<Vec<u8>, String> {
        let request = SignRequest {
            policy,
            policy_version: version,
            epoch: 0,
            issued_at: self.caller.now,
            expires_at: None,
            // The shadow judges the size by the host's own limits.
            limits: Limits { max_bytes: usize::MAX, max_rules: usize::MAX },
        };
        let mut signers = self.signers.iter().skip(by.start).take(by.len());
        let first = signers.next().ok_or("no key was made")?;
        let bundle = sign(&request, first).map_err(|error| cause_chain(&error))?;
        signers.try_fold(bundle, |bundle, signer| {
            cosign(bundle, signer, self.caller.now).map_err(|error| cause_chain(&error))
        })
    }

    fn apply(&self, bundle: &[u8]) -> Result<Applied, ApplyError> {
        self.shadow.apply(self.caller, Offer::Bytes { name: "drill", bytes: bundle.to_vec() }, &OPTIONS)
    }

    fn in_force(&self, bundle: &[u8]) -> Result<(), String> {
        let applied = fs::read(self.shadow.paths().applied()).map_err(|error| cause_chain(&error))?;
        match applied == bundle {
            true => Ok(()),
            false => Err("something else is in force".to_owned()),
        }
    }

    fn counter_is(&self, version: u64) -> Result<(), String> {
        match self.counter()? {
            Some(found) if found == version => Ok(()),
            found => Err(format!("the counter is at {found:?}")),
        }
    }

    fn counter(&self) -> Result<Option<u64>, String> {
        let counter = self.shadow.counter().map_err(|error| cause_chain(&error))?;
        Ok(counter.map(|counter| counter.policy_version))
    }

    fn old_id(&self) -> Result<KeyId, String> {
        Ok(self.signers.first().ok_or("no key was made")?.public_key().key_id())
    }
}

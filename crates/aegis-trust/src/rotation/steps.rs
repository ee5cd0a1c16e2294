//! The steps of a rotation, each a change of the host on its own.

use std::path::Path;

use aegis_approval::Subject;
use aegis_audit::{Action, Event, Outcome};
use aegis_crypto::{Digest, KeyId, PublicKey, parse_public_key_file, sha256};
use jiff::SignedDuration;

use super::{
    Awaited, Canary, FORMAT, RotateError, RotateRequest, Rotation, RotationChange, RotationReport,
    RotationStep,
};
use crate::{
    apply::{Applied, ApplyError, ApplyOptions, Mode, Offer, SignatureRule},
    approval::{ApprovalError, ApprovalFile},
    bundle::{self, SignedBundle},
    durable::{self, ReadError},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
    key_dir::MAX_KEY_FILE_LEN,
    keys::{KeyChangeError, Lockout},
    manifest::truncate_to_seconds,
    sign::{PayloadSigner, SignRequest, sign},
    verify::{self, V1},
};

/// What a canary says on a host that has no policy.
const CANARY_POLICY: &[u8] = b"version=1\n\n[deny_path]\n/nonexistent/aegisbpf-canary\n";

/// What the policy in force says of its signers.
struct InForce {
    version: Option<u64>,
    signers: Vec<KeyId>,
    /// Whether it is a signed policy at all.
    is_signed: bool,
}

impl Host {
    /// Goes on with a rotation, or begins one, as far as it can with what the caller brings.
    ///
    /// # Errors
    ///
    /// [`RotateError`] if something that was brought is refused. Every step before stands.
    pub fn rotate(
        &self,
        caller: &Caller,
        request: &RotateRequest<'_>,
    ) -> Result<RotationReport, RotateError> {
        let rotated = self.begin_or_resume(caller, request).and_then(|rotation| {
            self.check_approvals(caller, &rotation)?;
            self.take_steps(caller, request, rotation)
        });
        if let Err(error) = &rotated {
            self.log_rotation_refusal(caller, request, error);
        }
        rotated
    }

    /// How the rotation stands that is under way; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`RotateError`] if it cannot be told.
    pub fn rotation_status(&self) -> Result<Option<RotationReport>, RotateError> {
        let Some(rotation) = Rotation::load(self.paths())? else { return Ok(None) };
        let awaits = match rotation.step {
            RotationStep::Begun if !self.trusts(&rotation.new)? => {
                self.has_custodians().then_some(Awaited::ApprovalToAdd)
            }
            RotationStep::Begun | RotationStep::Added => Some(Awaited::Canary),
            RotationStep::Proved if !self.does_without(&rotation)? => Some(Awaited::Bundle),
            RotationStep::Proved | RotationStep::CutOver => {
                (self.has_custodians() && self.trusts(&rotation.old)?).then_some(Awaited::ApprovalToRemove)
            }
            RotationStep::Done | RotationStep::Abandoned => None,
        };
        Ok(Some(self.rotation_report(&rotation, rotation.step, awaits)))
    }

    /// Gives a rotation up. What was done stays: a key that was added is trusted until it is removed.
    ///
    /// # Errors
    ///
    /// [`RotateError`]; nothing was changed.
    pub fn abandon_rotation(&self, caller: &Caller) -> Result<RotationReport, RotateError> {
        let abandoned = Rotation::load(self.paths()).and_then(|rotation| {
            let rotation = rotation.ok_or(RotateError::NotBegun)?;
            self.step_to(caller, Some(&rotation), None, RotationStep::Abandoned, &rotation)?;
            Ok(self.rotation_report(&rotation, RotationStep::Abandoned, None))
        });
        if let Err(error) = &abandoned {
            let nothing = RotateRequest {
                new: None,
                old: None,
                name: None,
                proof: None,
                canary: Canary::None,
                bundle: None,
            };
            self.log_rotation_refusal(caller, &nothing, error);
        }
        abandoned
    }

    fn begin_or_resume(&self, caller: &Caller, request: &RotateRequest<'_>) -> Result<Rotation, RotateError> {
        // What an interrupted step left is put right first: it may be the state that is read here.
        drop(self.begin_change(caller).map_err(RotateError::Change)?);
        let under_way = Rotation::load(self.paths())?;
        let new = request.new.map(read_new_key).transpose()?;
        let Some(rotation) = under_way else {
            let new = new.ok_or(RotateError::NotBegun)?;
            return self.begin(caller, request, &new);
        };
        let (old, id) = (rotation.old, rotation.new);
        let is_other = new.is_some_and(|new| new.key_id() != id)
            || request.old.is_some_and(|prefix| !prefix.matches(&old));
        match is_other {
            true => Err(RotateError::Other { old, new: id }),
            false => Ok(rotation),
        }
    }

    fn begin(
        &self,
        caller: &Caller,
        request: &RotateRequest<'_>,
        new: &PublicKey,
    ) -> Result<Rotation, RotateError> {
        let keys = self.trusted_keys().map_err(RotateError::Keys)?;
        let revoked = self.revoked_keys().map_err(RotateError::Keys)?;
        let id = new.key_id();
        let old = match request.old {
            Some(prefix) => keys.find(prefix).map_err(RotateError::Find)?.id,
            None => {
                let others: Vec<KeyId> =
                    keys.by_id().into_keys().filter(|key| *key != id && revoked.get(key).is_none()).collect();
                match others.as_slice() {
                    [old] => *old,
                    others => return Err(RotateError::WhichOld { found: others.len() }),
                }
            }
        };
        if old == id {
            return Err(RotateError::SameKey { id });
        }
        let stem = request.new.and_then(Path::file_stem).and_then(|stem| stem.to_str());
        let now = truncate_to_seconds(caller.now);
        let rotation = Rotation {
            format: FORMAT,
            old,
            new: id,
            new_pem: new.to_spki_pem(),
            // A name that cannot be one is refused when the key is added.
            name: request.name.or(stem).map(|name| name.chars().take(100).collect()),
            started_at: now,
            step: RotationStep::Begun,
            updated_at: now,
            canary_sha256: None,
        };
        self.step_to(caller, None, Some(rotation.clone()), RotationStep::Begun, &rotation)?;
        Ok(rotation)
    }

    /// Every approval that came along is for a step of this rotation.
    fn check_approvals(&self, caller: &Caller, rotation: &Rotation) -> Result<(), RotateError> {
        for approval in &caller.approvals {
            let subject = approval.subject().map_err(RotateError::Approval)?;
            if subject != Subject::KeysAdd(rotation.new) && subject != Subject::KeysRemove(rotation.old) {
                return Err(RotateError::OtherApproval { subject: Box::new(subject) });
            }
        }
        Ok(())
    }

    fn take_steps(
        &self,
        caller: &Caller,
        request: &RotateRequest<'_>,
        mut rotation: Rotation,
    ) -> Result<RotationReport, RotateError> {
        let waits =
            |rotation: &Rotation, awaited| Ok(self.rotation_report(rotation, rotation.step, Some(awaited)));
        if !self.trusts(&rotation.new)? {
            let source = rotation.name.clone().unwrap_or_default();
            let added = self.add_key(
                &caller.for_subject(&Subject::KeysAdd(rotation.new)),
                rotation.new_pem.as_bytes(),
                &source,
                request.name.or(rotation.name.as_deref()),
                request.proof,
            );
            match added {
                Ok(_) => {}
                Err(KeyChangeError::Approval(ApprovalError::Needed { .. })) => {
                    return waits(&rotation, Awaited::ApprovalToAdd);
                }
                Err(source) => return Err(RotateError::Add { source: Box::new(source) }),
            }
        }
        if rotation.step < RotationStep::Added {
            rotation = self.advance(caller, &rotation, RotationStep::Added, None)?;
        }
        if rotation.step < RotationStep::Proved {
            let Some(digest) = self.prove(caller, request, &rotation)? else {
                return waits(&rotation, Awaited::Canary);
            };
            rotation = self.advance(caller, &rotation, RotationStep::Proved, Some(digest))?;
        }
        if let Some(file) = request.bundle {
            self.check_offer(caller, file, &rotation)?;
            self.apply(&caller.without_approvals(), Offer::File(file), &options(Mode::Apply))
                .map_err(|source| RotateError::Apply { source: Box::new(source) })?;
        }
        if !self.does_without(&rotation)? {
            return waits(&rotation, Awaited::Bundle);
        }
        if rotation.step < RotationStep::CutOver {
            rotation = self.advance(caller, &rotation, RotationStep::CutOver, rotation.canary_sha256)?;
        }
        if self.trusts(&rotation.old)? {
            let whole = rotation.old.to_string().parse().map_err(|_| RotateError::Raced)?;
            let removed = self.remove_key(
                &caller.for_subject(&Subject::KeysRemove(rotation.old)),
                &whole,
                Lockout::Refuse,
            );
            match removed {
                Ok(_) => {}
                Err(KeyChangeError::Approval(ApprovalError::Needed { .. })) => {
                    return waits(&rotation, Awaited::ApprovalToRemove);
                }
                Err(source) => return Err(RotateError::Remove { source: Box::new(source) }),
            }
        }
        self.step_to(caller, Some(&rotation), None, RotationStep::Done, &rotation)?;
        Ok(self.rotation_report(&rotation, RotationStep::Done, None))
    }

    /// Looks at a bundle that the new key signed; gives the digest of the file, or nothing if there is no such bundle.
    fn prove(
        &self,
        caller: &Caller,
        request: &RotateRequest<'_>,
        rotation: &Rotation,
    ) -> Result<Option<Digest>, RotateError> {
        match (&request.canary, request.bundle) {
            (Canary::File(file), _) => self.check_offer(caller, file, rotation).map(Some),
            (Canary::None, Some(file)) => self.check_offer(caller, file, rotation).map(Some),
            (Canary::Signer(signer), _) => self.prove_by_signer(caller, *signer, rotation).map(Some),
            // What is in force was verified when it was applied, by the keys of then; it is asked again by those of now.
            (Canary::None, None) => match self.applied_file() {
                Some(file) if self.signed_in_force().signers.contains(&rotation.new) => {
                    let digest = sha256(&file);
                    self.check_bytes(caller, "policy.applied", file, rotation).map(|()| Some(digest))
                }
                _ => Ok(None),
            },
        }
    }

    fn check_offer(&self, caller: &Caller, file: &Path, rotation: &Rotation) -> Result<Digest, RotateError> {
        let name = file.display().to_string();
        let bytes = durable::read_bounded(file, self.max_file_len()).map_err(|source| {
            RotateError::Canary { name: name.clone(), source: Box::new(ApplyError::Read { source }) }
        })?;
        let digest = sha256(&bytes);
        self.check_bytes(caller, &name, bytes, rotation).map(|()| digest)
    }

    /// Everything that an apply asks, without putting it in force; and that the new key signed it.
    fn check_bytes(
        &self,
        caller: &Caller,
        name: &str,
        bytes: Vec<u8>,
        rotation: &Rotation,
    ) -> Result<(), RotateError> {
        let offer = Offer::Bytes { name, bytes };
        let Applied { signers, .. } = self
            .apply(&caller.without_approvals(), offer, &options(Mode::DryRun))
            .map_err(|source| RotateError::Canary { name: name.to_owned(), source: Box::new(source) })?;
        match signers.contains(&rotation.new) {
            true => Ok(()),
            false => Err(RotateError::NotByNewKey { name: name.to_owned(), new: rotation.new }),
        }
    }

    fn prove_by_signer(
        &self,
        caller: &Caller,
        signer: &dyn PayloadSigner,
        rotation: &Rotation,
    ) -> Result<Digest, RotateError> {
        let name = "what the signer made";
        if signer.public_key().key_id() != rotation.new {
            return Err(RotateError::NotByNewKey { name: name.to_owned(), new: rotation.new });
        }
        let counter = self.counter().map_err(|source| RotateError::Counter { source })?;
        let text = match self.applied_file() {
            Some(file) if bundle::is_bundle(&file) => SignedBundle::parse(file)
                .map_or_else(|_| CANARY_POLICY.to_vec(), |bundle| bundle.policy().to_vec()),
            Some(file) => file,
            None => CANARY_POLICY.to_vec(),
        };
        let canary = SignRequest {
            policy: &text,
            policy_version: self.next_version().map_err(|source| RotateError::Counter { source })?,
            epoch: counter.map_or(0, |counter| counter.epoch),
            issued_at: caller.now,
            // It is of no use to whoever might keep it: the policy is the one in force, and soon nobody takes it.
            expires_at: caller.now.checked_add(SignedDuration::from_hours(1)).ok(),
            limits: self.config().policy_limits(),
        };
        let bytes = sign(&canary, signer).map_err(|source| RotateError::Sign { source: Box::new(source) })?;
        let digest = sha256(&bytes);
        if self.config().required_signatures <= 1 {
            return self.check_bytes(caller, name, bytes, rotation).map(|()| digest);
        }
        // Alone it cannot sign what this host takes; that it signs at all is seen by itself.
        SignedBundle::parse(bytes)
            .map_err(|source| verify::VerifyError::Bundle { source })
            .and_then(|bundle| verify::verify_by_key(bundle, *signer.public_key(), V1::Refuse, caller.now))
            .map(|_| digest)
            .map_err(|source| RotateError::Signed { source: Box::new(source) })
    }

    fn advance(
        &self,
        caller: &Caller,
        from: &Rotation,
        step: RotationStep,
        canary_sha256: Option<Digest>,
    ) -> Result<Rotation, RotateError> {
        let to =
            Rotation { step, updated_at: truncate_to_seconds(caller.now), canary_sha256, ..from.clone() };
        self.step_to(caller, Some(from), Some(to.clone()), step, &to)?;
        Ok(to)
    }

    /// One step of the file, under the lock, journalled and logged.
    fn step_to(
        &self,
        caller: &Caller,
        from: Option<&Rotation>,
        to: Option<Rotation>,
        step: RotationStep,
        of: &Rotation,
    ) -> Result<(), RotateError> {
        let _lock = self.begin_change(caller).map_err(RotateError::Change)?;
        self.require_sound_log().map_err(RotateError::Change)?;
        if Rotation::load(self.paths())?.as_ref() != from {
            return Err(RotateError::Raced);
        }
        let Rotation { old, new, canary_sha256, .. } = *of;
        let change = RotationChange { to, step, old, new, canary_sha256 };
        let journal = Journal::new(caller.now, &caller.actor, Change::Rotation(Box::new(change.clone())));
        if let Err(source) = journal.write(self.paths()) {
            self.give_up().map_err(RotateError::Change)?;
            return Err(RotateError::Change(ChangeError::Journal { source }));
        }
        self.install_rotation(&change).map_err(|source| RotateError::Change(ChangeError::Step { source }))?;
        self.finish_change(&journal, rotation_event(caller, &change)).map_err(RotateError::Change)
    }

    fn trusts(&self, id: &KeyId) -> Result<bool, RotateError> {
        let keys = self.trusted_keys().map_err(RotateError::Keys)?;
        let revoked = self.revoked_keys().map_err(RotateError::Keys)?;
        Ok(keys.by_id().contains_key(id) && revoked.get(id).is_none())
    }

    /// Whether the policy in force does without the old key. One that is not signed needs none.
    fn does_without(&self, rotation: &Rotation) -> Result<bool, RotateError> {
        let in_force = self.signed_in_force();
        if !in_force.is_signed {
            return Ok(true);
        }
        let keys = self.trusted_keys().map_err(RotateError::Keys)?.by_id();
        let others = in_force.signers.iter().filter(|id| **id != rotation.old && keys.contains_key(*id));
        let required = usize::try_from(self.config().required_signatures).unwrap_or(usize::MAX);
        Ok(in_force.signers.contains(&rotation.new) && others.count() >= required)
    }

    fn has_custodians(&self) -> bool {
        // If that cannot be told, an approval is what it will ask for once it can.
        !matches!(self.custodians(), Ok(None))
    }

    fn applied_file(&self) -> Option<Vec<u8>> {
        durable::read_state(&self.paths().applied(), self.max_file_len()).ok().flatten()
    }

    fn signed_in_force(&self) -> InForce {
        let file = self.applied_file();
        let is_signed = file.as_deref().is_some_and(bundle::is_bundle);
        let version = self.version_in_force();
        let mut signers = self.signers_in_force();
        signers.sort();
        signers.dedup();
        InForce { version, signers, is_signed }
    }

    fn rotation_report(
        &self,
        rotation: &Rotation,
        step: RotationStep,
        awaits: Option<Awaited>,
    ) -> RotationReport {
        let InForce { version, signers, is_signed: _ } = self.signed_in_force();
        RotationReport {
            old: rotation.old,
            new: rotation.new,
            started_at: rotation.started_at,
            step,
            awaits,
            policy_version: version,
            policy_signed_by: signers,
        }
    }

    fn log_rotation_refusal(&self, caller: &Caller, request: &RotateRequest<'_>, error: &RotateError) {
        // What another change refused, or will be finished, is logged under its own name.
        if let RotateError::Add { .. }
        | RotateError::Remove { .. }
        | RotateError::Apply { .. }
        | RotateError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. }) = error
        {
            return;
        }
        let (outcome, refusal) = match error {
            RotateError::Change(_) => (Outcome::Failed, "other"),
            RotateError::NotAKey { .. } | RotateError::NewKey { .. } | RotateError::Malformed { .. } => {
                (Outcome::Refused, "malformed")
            }
            RotateError::NotByNewKey { .. } | RotateError::Signed { .. } => {
                (Outcome::Refused, "bad_signature")
            }
            RotateError::Approval(error) => (Outcome::Refused, error.refusal()),
            _ => (Outcome::Refused, "other"),
        };
        let object = request.new.map_or_else(|| "rotation".to_owned(), |path| path.display().to_string());
        let event = Event::new(caller.now, caller.actor.clone(), Action::KeyRotate, object)
            .outcome(outcome)
            .reason(crate::health::cause_chain(error))
            .detail("refusal", refusal);
        self.log_refusal(&event);
    }
}

impl Caller {
    /// The same with only those approvals that are for `subject`. What cannot be read was refused before.
    fn for_subject(&self, subject: &Subject) -> Self {
        let approvals = self.approvals.iter();
        let approvals = approvals.filter(|file| file.subject().is_ok_and(|found| found == *subject)).cloned();
        Self { approvals: approvals.collect(), ..self.clone() }
    }

    fn without_approvals(&self) -> Self {
        Self { approvals: Vec::<ApprovalFile>::new(), ..self.clone() }
    }
}

pub(super) fn rotation_event(caller: &Caller, change: &RotationChange) -> Event {
    let RotationChange { to: _, step, old, new, canary_sha256 } = change;
    let event = Event::new(caller.now, caller.actor.clone(), Action::KeyRotate, new.to_string())
        .detail("step", step.as_str())
        .detail("key_id", new.to_string())
        .detail("old_key_id", old.to_string());
    match canary_sha256 {
        Some(digest) => event.detail("canary_sha256", digest.to_string()),
        None => event,
    }
}

const fn options(mode: Mode) -> ApplyOptions {
    ApplyOptions { signature: SignatureRule::Required, v1: V1::Refuse, mode }
}

fn read_new_key(path: &Path) -> Result<PublicKey, RotateError> {
    let bytes = durable::read_bounded(path, MAX_KEY_FILE_LEN)
        .map_err(|source: ReadError| RotateError::NewKey { source })?;
    let parsed = parse_public_key_file(&bytes)
        .map_err(|source| RotateError::NotAKey { path: path.to_owned(), source })?;
    Ok(parsed.key)
}

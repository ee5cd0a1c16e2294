//! A custodian's key may be in the wrong hands: it goes at once, another one comes, and everything it touched is named.
//!
//! | step | what is done | what a kill after it leaves to the next run |
//! |---|---|---|
//! | begun | it is written down that it has to be done | everything else |
//! | key revoked | no signature of the key counts from here on | the new key, and what follows |
//! | key registered | its holder has another one; may come later | which open requests dropped back |
//! | requests reopened | those are named, to be signed again | the report |
//! | reported | every decision that the key took part in was written down | DEKs, if they are to be rotated |
//! | done | | nothing |
//!
//! Each step looks whether it was done before it does it, so doing it again does nothing twice. Requests drop back by
//! themselves, in the instant in which the key is revoked.

use aegis_crypto::KeyId;
use jiff::Timestamp;

use crate::approvals::{Approvals, ChangeCustodianError, NotStored, RegisterError, holds_active};
use crate::canonical::to_second;
use crate::name::{PersonId, RequestId};
use crate::observer::{Act, EmergencyAct, MayFail};
use crate::registration::Registration;
use crate::registry::{CustodianKey, KeyState};
use crate::report::{Finding, Report, ReportError};
use crate::standing::State;
use crate::store::{ConflictKind, Rotation, RotationStep, StoreError};
use crate::text::Line;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct EmergencyOrder<'a> {
    /// The key that may be in the wrong hands.
    pub old_key: KeyId,
    /// Why.
    pub reason: &'a Line,
    /// Whether DEKs are to be rotated as well.
    pub with_deks: bool,
}

/// The key that comes.
#[derive(Debug, Clone, Copy)]
pub enum NewKey<'a> {
    /// It is not there yet. The rotation waits for it.
    Later,
    /// It is in this registration.
    Registration(&'a Registration),
    /// It was registered for the same person before.
    Registered(KeyId),
    /// There will be none: the person signs no more.
    None,
}

/// An emergency rotation that was begun.
#[derive(Debug)]
pub struct Emergency<'a> {
    approvals: &'a Approvals,
    rotation: Rotation,
}

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The key has to be revoked.
    Revoke,
    /// The new key has to be registered.
    NewKey,
    /// The open requests that dropped back have to be named.
    Reopen,
    /// The report has to be written.
    Report,
    /// DEKs have to be rotated.
    Deks,
    /// Only that it is done has to be written down.
    Finish,
    /// Nothing.
    Nothing,
}

impl Approvals {
    /// Begins the emergency rotation of a key, or takes up the one that was begun. A run that asks for DEKs as well is
    /// heard as long as it is not done.
    ///
    /// # Errors
    ///
    /// An [`EmergencyError`].
    pub fn emergency(
        &self,
        order: EmergencyOrder<'_>,
        now: Timestamp,
    ) -> Result<Emergency<'_>, EmergencyError> {
        // To its last digit: a DEK that was made before it in the same second is told from one made after it.
        let EmergencyOrder { old_key, reason, with_deks } = order;
        if let Some(found) = self.rotation(old_key)? {
            return self.take_up(found, with_deks, now);
        }
        let registry = self.registry().map_err(stored)?;
        let act = EmergencyAct {
            person: registry.holder(old_key).map(|(custodian, _)| custodian.person.clone()),
            old_key,
            new_key: None,
            reason: reason.to_string(),
            step: RotationStep::Begun,
            count: None,
            requests: Vec::new(),
        };
        let Some(person) = act.person.clone() else {
            let act = Act::Emergency(Box::new(act));
            return self.told(&act, Err(EmergencyError::NobodysKey { key: old_key }));
        };
        let rotation = Rotation {
            old_key,
            person,
            reason: reason.to_string(),
            started: now,
            new_key: None,
            with_deks,
            step: RotationStep::Begun,
            updated: now,
        };
        let act = Act::Emergency(Box::new(act));
        self.before(&act).map_err(EmergencyError::NotStored)?;
        match self.store().begin_rotation(&rotation) {
            Ok(()) => self.told(&act, Ok(Emergency { approvals: self, rotation })),
            // Somebody else began it in this instant.
            Err(StoreError::Conflict { what }) => match self.rotation(old_key)? {
                Some(found) => self.take_up(found, with_deks, now),
                None => Err(stored(StoreError::Conflict { what })),
            },
            Err(error) => self.told(&act, Err(stored(error))),
        }
    }

    /// Takes up the emergency rotation of a key that was begun before.
    ///
    /// # Errors
    ///
    /// [`EmergencyError::NotBegun`].
    pub fn resume_emergency(&self, old_key: KeyId) -> Result<Emergency<'_>, EmergencyError> {
        let rotation = self.rotation(old_key)?.ok_or(EmergencyError::NotBegun { key: old_key })?;
        Ok(Emergency { approvals: self, rotation })
    }

    fn rotation(&self, key: KeyId) -> Result<Option<Rotation>, EmergencyError> {
        self.store().rotation(key).map_err(stored)
    }

    fn take_up(
        &self,
        found: Rotation,
        with_deks: bool,
        now: Timestamp,
    ) -> Result<Emergency<'_>, EmergencyError> {
        let mut emergency = Emergency { approvals: self, rotation: found };
        while with_deks && !emergency.rotation.with_deks && emergency.rotation.step != RotationStep::Done {
            let more = Rotation { with_deks, updated: now, ..emergency.rotation.clone() };
            emergency.store_step(more)?;
        }
        Ok(emergency)
    }
}

impl Emergency<'_> {
    /// How far it has come.
    pub const fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// What is to be done next.
    pub const fn left(&self) -> Left {
        match self.rotation.step {
            RotationStep::Begun => Left::Revoke,
            RotationStep::KeyRevoked => Left::NewKey,
            RotationStep::KeyRegistered => Left::Reopen,
            RotationStep::RequestsReopened => Left::Report,
            RotationStep::Reported if self.rotation.with_deks => Left::Deks,
            RotationStep::Reported => Left::Finish,
            RotationStep::Done => Left::Nothing,
        }
    }

    /// Revokes the old key, unless that was done.
    ///
    /// # Errors
    ///
    /// An [`EmergencyError`].
    pub fn revoke(&mut self, now: Timestamp) -> Result<(), EmergencyError> {
        if self.rotation.step >= RotationStep::KeyRevoked {
            return Ok(());
        }
        let old_key = self.rotation.old_key;
        let registry = self.approvals.registry().map_err(stored)?;
        let is_revoked = |held: &CustodianKey| matches!(held.state, KeyState::Revoked { .. });
        // By an interrupted run, or by hand.
        if !registry.holder(old_key).is_some_and(|(_, held)| is_revoked(held)) {
            match self.approvals.revoke_key(old_key, now) {
                Ok(_) | Err(ChangeCustodianError::RevokedAlready { .. }) => {}
                Err(error) => return Err(EmergencyError::Revoke(error)),
            }
        }
        self.advance(RotationStep::KeyRevoked, self.rotation.new_key, None, now)
    }

    /// Registers the new key, unless that was done. Returns whether it need not be waited for any longer.
    ///
    /// # Errors
    ///
    /// An [`EmergencyError`].
    pub fn register(&mut self, new: NewKey<'_>, now: Timestamp) -> Result<bool, EmergencyError> {
        if self.rotation.step >= RotationStep::KeyRegistered {
            return self.check_same_key(new).map(|()| true);
        }
        let person = &self.rotation.person;
        let key = match new {
            NewKey::Later => return Ok(false),
            NewKey::None => {
                return self.advance(RotationStep::KeyRegistered, None, None, now).map(|()| true);
            }
            NewKey::Registered(key) => key,
            NewKey::Registration(registration) => registration.key().key_id(),
        };
        if let NewKey::Registration(registration) = new
            && registration.person() != person
        {
            let (old_key, person) = (self.rotation.old_key, person.clone());
            let registration = registration.person().clone();
            return Err(EmergencyError::OfAnother { old_key, person, registration });
        }
        let registry = self.approvals.registry().map_err(stored)?;
        if !holds_active(&registry, person, key) {
            match new {
                NewKey::Registration(registration) => {
                    self.approvals.register(registration, now).map_err(EmergencyError::Register)?;
                }
                NewKey::Registered(_) | NewKey::Later | NewKey::None => {
                    return Err(EmergencyError::NotTheirs { key, person: person.clone() });
                }
            }
        }
        self.advance(RotationStep::KeyRegistered, Some(key), None, now).map(|()| true)
    }

    /// The new key was registered: another one is not what this run was told.
    fn check_same_key(&self, new: NewKey<'_>) -> Result<(), EmergencyError> {
        let asked = match new {
            NewKey::Later | NewKey::None => return Ok(()),
            NewKey::Registered(key) => key,
            NewKey::Registration(registration) => registration.key().key_id(),
        };
        match self.rotation.new_key {
            Some(registered) if registered == asked => Ok(()),
            registered => Err(EmergencyError::OtherNewKey { registered, asked }),
        }
    }

    /// Hands over each open request that the key had signed and that has to be signed again, and logs which they are,
    /// unless that was done. Returns how many there are.
    ///
    /// # Errors
    ///
    /// An [`EmergencyError`], also one of `each`.
    pub fn reopen(
        &mut self,
        now: Timestamp,
        each: &mut dyn FnMut(&Finding) -> Result<(), ReportError>,
    ) -> Result<u64, EmergencyError> {
        self.check_reached(RotationStep::KeyRevoked)?;
        let mut reopened = Reopened::default();
        let report = self.report_source(now)?;
        let handed = report.each(&mut |finding| {
            if dropped_back(finding) {
                reopened.add(&finding.request);
                each(finding)?;
            }
            Ok(())
        });
        handed.map_err(EmergencyError::Report)?;
        let count = reopened.count;
        if self.rotation.step == RotationStep::KeyRegistered {
            let new_key = self.rotation.new_key;
            self.advance(RotationStep::RequestsReopened, new_key, Some(reopened), now)?;
        }
        Ok(count)
    }

    /// Has the report written by `write`, and then writes down that it was, unless that was done before: it can be written
    /// as often as need be. `write` must not return `Ok` before the report is where it stays.
    ///
    /// # Errors
    ///
    /// An [`EmergencyError`], also one of `write`.
    pub fn report<T>(
        &mut self,
        now: Timestamp,
        write: impl FnOnce(&Report<'_>) -> Result<T, ReportError>,
    ) -> Result<T, EmergencyError> {
        let written = write(&self.report_source(now)?).map_err(EmergencyError::Report)?;
        if self.rotation.step == RotationStep::RequestsReopened {
            self.advance(RotationStep::Reported, self.rotation.new_key, None, now)?;
        }
        Ok(written)
    }

    fn report_source(&self, now: Timestamp) -> Result<Report<'_>, EmergencyError> {
        self.approvals.report(self.rotation.old_key, now).map_err(EmergencyError::Report)
    }

    /// Writes down that nothing is left to do. If DEKs were to be rotated, the caller has done that.
    ///
    /// # Errors
    ///
    /// [`EmergencyError::StepsLeft`] before the report was written.
    pub fn finish(&mut self, now: Timestamp) -> Result<(), EmergencyError> {
        self.check_reached(RotationStep::Reported)?;
        if self.rotation.step == RotationStep::Done {
            return Ok(());
        }
        self.advance(RotationStep::Done, self.rotation.new_key, None, now)
    }

    fn check_reached(&self, needed: RotationStep) -> Result<(), EmergencyError> {
        let reached = self.rotation.step;
        if reached >= needed { Ok(()) } else { Err(EmergencyError::StepsLeft { reached, needed }) }
    }

    /// Takes it to `step`, unless somebody else did.
    fn advance(
        &mut self,
        step: RotationStep,
        new_key: Option<KeyId>,
        about: Option<Reopened>,
        now: Timestamp,
    ) -> Result<(), EmergencyError> {
        let (count, requests) = match about {
            Some(Reopened { count, named }) => (Some(count), named),
            None => (None, Vec::new()),
        };
        while self.rotation.step < step {
            let act = Act::Emergency(Box::new(EmergencyAct {
                person: Some(self.rotation.person.clone()),
                old_key: self.rotation.old_key,
                new_key,
                reason: self.rotation.reason.clone(),
                step,
                count,
                requests: requests.clone(),
            }));
            self.approvals.before(&act).map_err(EmergencyError::NotStored)?;
            let to = Rotation { step, new_key, updated: to_second(now), ..self.rotation.clone() };
            match self.store_step(to) {
                Ok(true) => return self.approvals.told(&act, Ok(())),
                Ok(false) => {}
                Err(error) => return self.approvals.told(&act, Err(error)),
            }
        }
        Ok(())
    }

    /// Stores a state; `false` if somebody was faster: then theirs is read.
    fn store_step(&mut self, to: Rotation) -> Result<bool, EmergencyError> {
        match self.approvals.store().advance_rotation(&self.rotation, &to) {
            Ok(()) => {
                self.rotation = to;
                Ok(true)
            }
            Err(StoreError::Conflict { what: what @ ConflictKind::RotationChanged { .. } }) => {
                let found = self.approvals.rotation(self.rotation.old_key)?;
                match found {
                    Some(found) if found != self.rotation => {
                        self.rotation = found;
                        Ok(false)
                    }
                    _ => Err(stored(StoreError::Conflict { what })),
                }
            }
            Err(error) => Err(stored(error)),
        }
    }
}

/// Whether a request is open, and lacks the signature of the key.
fn dropped_back(finding: &Finding) -> bool {
    finding.closed.is_none() && matches!(finding.now, State::Pending | State::Partial)
}

/// The requests that dropped back.
#[derive(Debug, Default)]
struct Reopened {
    count: u64,
    named: Vec<RequestId>,
}

impl Reopened {
    fn add(&mut self, request: &RequestId) {
        self.count = self.count.saturating_add(1);
        if self.named.len() < EmergencyAct::MAX_NAMED {
            self.named.push(request.clone());
        }
    }
}

fn stored(error: StoreError) -> EmergencyError {
    EmergencyError::NotStored(NotStored::Store(error))
}

/// Why an emergency rotation did not come further. What was done stays done; running it again does what is left.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyError {
    /// The key is not registered, and never was.
    #[error("the key {} is no custodian's", key.fingerprint())]
    NobodysKey {
        /// The key.
        key: KeyId,
    },
    /// There is none to be taken up.
    #[error("no emergency rotation of the key {} was begun", key.fingerprint())]
    NotBegun {
        /// The key.
        key: KeyId,
    },
    /// The old key was not revoked.
    #[error("the key was not revoked")]
    Revoke(#[source] ChangeCustodianError),
    /// The new key is somebody else's.
    #[error("the key {} is {person}'s, and the registration is {registration}'s", old_key.fingerprint())]
    OfAnother {
        /// The key that goes.
        old_key: KeyId,
        /// Whose it is.
        person: PersonId,
        /// Whose the registration is.
        registration: PersonId,
    },
    /// The key that was named as the new one is none of the same person's active ones.
    #[error("{person} has no active key {}", key.fingerprint())]
    NotTheirs {
        /// The key.
        key: KeyId,
        /// Who.
        person: PersonId,
    },
    /// The rotation has come further, with another new key or without one.
    #[error(
        "this rotation has gone on {}, not with the key {}",
        registered.map_or_else(|| "without a new key".to_owned(), |key| format!("with the key {}", key.fingerprint())),
        asked.fingerprint()
    )]
    OtherNewKey {
        /// The one that was registered.
        registered: Option<KeyId>,
        /// The one that was to be.
        asked: KeyId,
    },
    /// The new key was not registered.
    #[error("the new key was not registered")]
    Register(#[source] RegisterError),
    /// There is no report.
    #[error(transparent)]
    Report(ReportError),
    /// Something comes before it.
    #[error("the emergency rotation is at the step {}, before {}", reached.as_str(), needed.as_str())]
    StepsLeft {
        /// How far it has come.
        reached: RotationStep,
        /// How far it has to have come.
        needed: RotationStep,
    },
    /// It was not stored.
    #[error(transparent)]
    NotStored(NotStored),
}

impl MayFail for EmergencyError {
    fn is_failure(&self) -> bool {
        match self {
            Self::NotStored(_) => true,
            Self::Revoke(error) => error.is_failure(),
            Self::Register(error) => error.is_failure(),
            Self::Report(error) => !matches!(error, ReportError::NobodysKey { .. }),
            Self::NobodysKey { .. }
            | Self::NotBegun { .. }
            | Self::OfAnother { .. }
            | Self::NotTheirs { .. }
            | Self::OtherNewKey { .. }
            | Self::StepsLeft { .. } => false,
        }
    }
}

impl EmergencyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NobodysKey { .. } => Some("name a key that is listed".to_owned()),
            Self::NotBegun { .. } => Some("begin it, and say why".to_owned()),
            Self::Revoke(error) => error.help(),
            Self::OfAnother { person, .. } => Some(format!("let {person} make the registration")),
            Self::NotTheirs { .. } => Some("give the registration of the new key".to_owned()),
            Self::OtherNewKey { .. } => {
                Some("run it again without a new key; a further key is registered like any other".to_owned())
            }
            Self::Register(error) => error.help(),
            Self::Report(error) => error.help(),
            Self::StepsLeft { .. } => Some("run the steps before it first".to_owned()),
            Self::NotStored(error) => error.help(),
        }
    }
}

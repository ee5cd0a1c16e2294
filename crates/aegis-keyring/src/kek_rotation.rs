//! From one KEK to another, as a job that may be stopped at any instant and run again.
//!
//! | step | what | stopped in it |
//! |---|---|---|
//! | prepare | the new KEK is enrolled as incoming; new DEKs are sealed to it too | |
//! | re-wrap | each DEK is opened with the old KEK and sealed to the new one | those that are left are done |
//! | verify | each new wrapping is read back and opened with the new KEK | those that are left are done |
//! | switch | the new KEK is active, the old one in grace: in one transaction, and only if all are verified | it is one or the other |
//! | grace | both KEKs open every DEK, those made meanwhile too | |
//! | retire | every DEK is opened with the active KEK once more; the old wrappings are erased | nothing was erased, or all |
//!
//! There is no file that says how far it came: the keyring itself does. Whoever is configured with the old KEK reads
//! everything until it is retired; whoever is configured with the new one, from the switch on. Until it is retired, the
//! old KEK can be rotated back to: its wrappings are verified again and those that are missing are made.

mod error;
mod pipeline;
mod retire;
mod rewrap;
mod verify;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Duration;

use aegis_crypto::KeyId;
use aegis_kek::{Kek, ProviderKind};
use jiff::Timestamp;

use crate::clock::later;
use crate::keyring::{Keyring, new_kek};
use crate::observer::{Change, KeyObject, outcome};
use crate::record::{KekRecord, KekState};
use crate::store_error::{ConflictKind, StoreError};

pub use error::{AbandonKekError, KekRotationError, RetireKekError, Unreadable};
pub use retire::Grace;
pub use verify::ImportCheck;

/// How long the KEK before is kept unless it is set otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often re-wrapping and verifying start over because DEKs were made meanwhile, or the keyring was changed.
const MAX_ROUNDS: u32 = 64;

/// How many rounds in a row have to find that nothing is left to be done, and DEKs missing all the same.
const MAX_STUCK: u32 = 2;

/// How a KEK rotation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KekRotationOptions {
    /// Threads that open and seal.
    pub threads: NonZeroUsize,
    /// How long the old KEK is kept after the switch.
    pub grace: Duration,
    /// How much of each wrapping's content is checked.
    pub import: ImportCheck,
}

impl Default for KekRotationOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads, grace: DEFAULT_GRACE, import: ImportCheck::Sample }
    }
}

/// What a rotation is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KekPhase {
    /// DEKs are sealed to the new KEK.
    Rewrap,
    /// Wrappings are opened with the KEK that is to be relied on.
    Verify,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KekProgress {
    /// What it is at.
    pub phase: KekPhase,
    /// DEKs done, those of earlier runs too.
    pub done: u64,
    /// DEKs in all. DEKs that are made meanwhile make it grow.
    pub total: u64,
}

/// Is told how far a job came, after each batch; what it breaks off can be run again.
pub type OnProgress<'a> = dyn FnMut(KekProgress) -> ControlFlow<()> + 'a;

/// The keyring is under the new KEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KekRotated {
    /// The KEK before.
    pub from: KeyId,
    /// The active one.
    pub to: KeyId,
    /// Until when the one before is kept; `None` if it is retired already.
    pub grace_until: Option<Timestamp>,
    /// DEKs that this run wrapped.
    pub rewrapped: u64,
    /// Wrappings that this run opened and found good.
    pub verified: u64,
    /// Whether this run made the switch, or found it made.
    pub switched_now: bool,
}

/// A rotation from one KEK to another. Run it, and run it again if it was stopped.
#[derive(Debug)]
pub struct KekRotation<'a> {
    keyring: &'a Keyring,
    old: &'a Kek,
    new: &'a Kek,
    provider: ProviderKind,
    options: KekRotationOptions,
}

/// What the keyring says of the two KEKs.
enum Standing {
    /// To be enrolled.
    Unprepared,
    /// Under way.
    Prepared,
    /// Done.
    Switched { grace_until: Option<Timestamp> },
}

impl<'a> KekRotation<'a> {
    /// A rotation from `old`, the active KEK, to `new`, which rests at `provider`. Both were loaded, so both providers work.
    pub const fn new(
        keyring: &'a Keyring,
        old: &'a Kek,
        new: &'a Kek,
        provider: ProviderKind,
        options: KekRotationOptions,
    ) -> Self {
        Self { keyring, old, new, provider, options }
    }

    /// Does what is left, up to the switch. Once it is made, running it again changes nothing.
    ///
    /// # Errors
    ///
    /// A [`KekRotationError`]. The active KEK is what it was, and what was done is not done again.
    pub fn run(&self, progress: &mut OnProgress<'_>) -> Result<KekRotated, KekRotationError> {
        let (from, to) = (self.old.key_id(), self.new.key_id());
        let (old, new) = (Some(KeyObject::Kek(from)), KeyObject::Kek(to));
        match self.prepare() {
            Ok(Standing::Switched { grace_until }) => {
                return Ok(KekRotated {
                    from,
                    to,
                    grace_until,
                    rewrapped: 0,
                    verified: 0,
                    switched_now: false,
                });
            }
            Ok(Standing::Prepared | Standing::Unprepared) => {}
            Err(error) => {
                let refused = Err(error);
                self.keyring.note(Change::KekRotationBegun, new, old, outcome(&refused));
                return refused;
            }
        }
        let switched = self.finish(progress);
        if !matches!(switched, Ok(KekRotated { switched_now: false, .. })) {
            self.keyring.note(Change::KekSwitched, new, old, outcome(&switched));
        }
        switched
    }

    /// Enrols the new KEK, unless that is done.
    fn prepare(&self) -> Result<Standing, KekRotationError> {
        for _ in 0..MAX_ROUNDS {
            match self.standing()? {
                Standing::Unprepared => {}
                standing @ (Standing::Prepared | Standing::Switched { .. }) => return Ok(standing),
            }
            let incoming = new_kek(self.new, self.provider, KekState::Incoming, self.keyring.now());
            match self.keyring.store().enrol_incoming_kek(&incoming, self.old.key_id()) {
                Ok(()) => {
                    let new = KeyObject::Kek(self.new.key_id());
                    let old = KeyObject::Kek(self.old.key_id());
                    self.keyring.note(Change::KekRotationBegun, new, Some(old), Ok(()));
                    return Ok(Standing::Prepared);
                }
                // Another process was faster: look again, whether with this KEK or with another one.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(KekRotationError::Store(error)),
            }
        }
        Err(KekRotationError::NotSettling { rounds: MAX_ROUNDS })
    }

    /// Re-wraps and verifies until the store agrees that nothing is left, and switches.
    fn finish(&self, progress: &mut OnProgress<'_>) -> Result<KekRotated, KekRotationError> {
        let (from, to) = (self.old.key_id(), self.new.key_id());
        let (mut rewrapped, mut verified) = (0_u64, 0_u64);
        let mut dropped = verify::Dropped::default();
        let mut stuck = 0_u32;
        for _ in 0..MAX_ROUNDS {
            let done = self
                .rewrap(progress)
                .and_then(|made| Ok((made, self.verify(&mut dropped, progress)?)))
                .and_then(|done| Ok((done, self.switch()?)));
            match done {
                Ok(((made, good), switch)) => {
                    rewrapped = rewrapped.saturating_add(made);
                    verified = verified.saturating_add(good);
                    match switch {
                        Switch::Made { grace_until } => {
                            let grace_until = Some(grace_until);
                            let switched_now = true;
                            return Ok(KekRotated {
                                from,
                                to,
                                grace_until,
                                rewrapped,
                                verified,
                                switched_now,
                            });
                        }
                        // DEKs were made meanwhile, or bad wrappings dropped; or others at the same job have them in hand.
                        Switch::NotYet(error) => {
                            stuck = if self.is_stuck()? { stuck.saturating_add(1) } else { 0 };
                            if stuck >= MAX_STUCK {
                                return Err(KekRotationError::Store(error));
                            }
                        }
                    }
                }
                // The rotation was finished or given up by another process.
                Err(KekRotationError::Store(StoreError::Conflict { .. })) => match self.standing()? {
                    Standing::Switched { grace_until } => {
                        let switched_now = false;
                        return Ok(KekRotated { from, to, grace_until, rewrapped, verified, switched_now });
                    }
                    Standing::Unprepared => return Err(KekRotationError::Abandoned { kek: to }),
                    Standing::Prepared => {}
                },
                Err(error) => return Err(error),
            }
        }
        Err(KekRotationError::NotSettling { rounds: MAX_ROUNDS })
    }

    fn switch(&self) -> Result<Switch, KekRotationError> {
        let now = self.keyring.now();
        let grace_until = later(now, self.options.grace);
        match self.keyring.store().switch_kek(self.new.key_id(), now, grace_until) {
            Ok(()) => Ok(Switch::Made { grace_until }),
            Err(error @ StoreError::NotVerified { .. }) => Ok(Switch::NotYet(error)),
            Err(error) => Err(KekRotationError::Store(error)),
        }
    }

    /// Whether DEKs are missing under the new KEK though there is none left to wrap or to verify, nor was one by others
    /// while this looked. Such a DEK has no wrapping under the old KEK either.
    fn is_stuck(&self) -> Result<bool, KekRotationError> {
        let (from, to) = (self.old.key_id(), self.new.key_id());
        let store = self.keyring.store();
        let look = || -> Result<bool, StoreError> {
            let before = store.wrap_progress(to)?;
            Ok(before.verified < before.deks
                && store.wrappings_to_make(from, to, None, 1)?.is_empty()
                && store.wrappings_under(to, true, None, 1)?.is_empty()
                && store.wrap_progress(to)? == before)
        };
        look().map_err(KekRotationError::Store)
    }

    /// What is to be done with these two KEKs, if anything may be.
    fn standing(&self) -> Result<Standing, KekRotationError> {
        let (from, to) = (self.old.key_id(), self.new.key_id());
        if from == to {
            return Err(KekRotationError::SameKek { kek: to });
        }
        let keks = self.keyring.store().keks().map_err(KekRotationError::Store)?;
        let find = |id: KeyId| keks.iter().find(|kek| kek.key_id() == id);
        let in_state = |state: KekState| keks.iter().find(|kek| kek.state == state).map(KekRecord::key_id);
        let Some(active) = in_state(KekState::Active) else { return Err(KekRotationError::NoKek) };
        let Some(old) = find(from) else {
            return Err(KekRotationError::OldUnknown { old: from, active });
        };
        if active == to {
            return match old.state {
                KekState::Grace => Ok(Standing::Switched { grace_until: old.grace_until }),
                KekState::Retired => Ok(Standing::Switched { grace_until: None }),
                KekState::Incoming | KekState::Active => {
                    Err(KekRotationError::OldNotActive { old: from, state: old.state, active })
                }
            };
        }
        if active != from {
            return Err(KekRotationError::OldNotActive { old: from, state: old.state, active });
        }
        match (find(to).map(|new| new.state), in_state(KekState::Incoming)) {
            (Some(KekState::Incoming), _) => Ok(Standing::Prepared),
            (_, Some(incoming)) => Err(KekRotationError::OtherUnderWay { incoming }),
            (Some(KekState::Retired), None) => Err(KekRotationError::NewRetired { kek: to }),
            (None | Some(KekState::Grace | KekState::Active), None) => Ok(Standing::Unprepared),
        }
    }
}

enum Switch {
    Made { grace_until: Timestamp },
    NotYet(StoreError),
}

impl Keyring {
    /// Gives up the rotation that is under way. The incoming KEK is forgotten; one that came back from grace is in grace
    /// again.
    ///
    /// # Errors
    ///
    /// [`AbandonKekError::NoRotation`] if there is none; after the switch there is none either.
    pub fn abandon_kek_rotation(&self) -> Result<KeyId, AbandonKekError> {
        let incoming = self.incoming_kek();
        let abandoned = incoming.and_then(|incoming| match self.store().abandon_incoming_kek(incoming) {
            Ok(()) => Ok(incoming),
            Err(StoreError::Conflict { what: ConflictKind::KekNotIncoming }) => {
                Err(AbandonKekError::NoRotation)
            }
            Err(error) => Err(AbandonKekError::Store(error)),
        });
        let object = abandoned.as_ref().map_or(KeyObject::Keyring, |kek| KeyObject::Kek(*kek));
        self.note(Change::KekRotationAbandoned, object, None, outcome(&abandoned));
        abandoned
    }

    fn incoming_kek(&self) -> Result<KeyId, AbandonKekError> {
        let keks = self.store().keks().map_err(AbandonKekError::Store)?;
        let incoming = keks.iter().find(|kek| kek.state == KekState::Incoming);
        incoming.map(KekRecord::key_id).ok_or(AbandonKekError::NoRotation)
    }
}

//! What is in force, read from the kernel itself.

use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::{Enforcement, name, slot_of};
use crate::compile::Mode;
use crate::error::KernelError;
use crate::layout::{NOW_GENERATION, PolicyValue, policy_flag, u32_at, u64_at};

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Counted up by each swap.
    pub generation: u64,
    /// The policy's version; none for an unsigned one.
    pub policy_version: Option<u64>,
    /// SHA-256 of its text.
    pub policy_sha256: [u8; 32],
    /// Whether it denies, or only tells.
    pub mode: Mode,
    /// How many rules it has.
    pub rules: u64,
    /// Entries in the kernel's maps.
    pub entries: u64,
    /// When it was put in force, in milliseconds of Unix time.
    pub applied_at: u64,
    /// How long until the policy before it counts again, unless it is confirmed.
    pub unconfirmed_for: Option<Duration>,
    /// How long what it denies is only told, in an emergency.
    pub lifted_for: Option<Duration>,
    /// The policy that was applied last was not confirmed in time, so this is the one before it.
    pub fell_back: bool,
}

/// What the programs counted since they were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Operations that were denied.
    pub denied: u64,
    /// Operations that would have been denied, in enforce mode.
    pub audited: u64,
    /// Events for which there was no room.
    pub lost: u64,
    /// Programs that the kernel could not hash.
    pub unmeasured: u64,
    /// Files that came under a name of the policy, and there was no room to mark them.
    pub unmarked: u64,
    /// Decisions that a swap overtook, and that were made again.
    pub retried: u64,
}

impl Enforcement {
    /// The generation that counts; 0 before the first policy.
    pub(crate) fn generation(&self) -> Result<u64, KernelError> {
        Ok(self.now()? & NOW_GENERATION)
    }

    /// `aegis_now`
    pub(super) fn now(&self) -> Result<u64, KernelError> {
        let value = self.read(self.map(name::CONTROL)?, name::CONTROL, 0)?;
        Ok(value.map_or(0, |bytes| u64_at(&bytes, 0)))
    }

    /// The slot whose policy counts: of the generation, or of the one before if that was not confirmed in time.
    pub(super) fn counting_slot(&self) -> Result<u32, KernelError> {
        let slot = slot_of(self.generation()?);
        let value = self.policy_in(slot)?;
        let over = value.is_some_and(|value| value.deadline > 0 && boot_time_ns() > value.deadline);
        Ok(if over { slot ^ 1 } else { slot })
    }

    /// What is in force, or none before the first policy.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub fn in_force(&self) -> Result<Option<InForce>, KernelError> {
        let generation = self.generation()?;
        if generation == 0 {
            return Ok(None);
        }
        let counting = self.counting_slot()?;
        let Some(value) = self.policy_in(counting)? else { return Ok(None) };
        let left = value.deadline.checked_sub(boot_time_ns()).filter(|_| value.deadline > 0);
        Ok(Some(InForce {
            generation,
            policy_version: value.signed.then_some(value.version),
            policy_sha256: value.sha256,
            mode: if value.flags & policy_flag::ENFORCE != 0 { Mode::Enforce } else { Mode::Audit },
            rules: value.rules,
            entries: value.entries.iter().sum(),
            applied_at: value.applied_at,
            unconfirmed_for: left.map(Duration::from_nanos),
            lifted_for: value
                .lifted
                .checked_sub(boot_time_ns())
                .filter(|left| *left > 0)
                .map(Duration::from_nanos),
            fell_back: counting != slot_of(generation),
        }))
    }

    /// What the programs counted, over all processors.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        let map = self.map(name::COUNTERS)?;
        let values = map.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let values = values.map_err(|source| failed("read", name::COUNTERS, source))?.unwrap_or_default();
        let sum = |at: usize| values.iter().map(|value| u64_at(value, at)).sum();
        Ok(Counters {
            denied: sum(0),
            audited: sum(8),
            lost: sum(16),
            unmeasured: sum(24),
            unmarked: sum(32),
            retried: sum(40),
        })
    }

    /// Whether the maps that do not change by themselves still have as many entries as they were filled with.
    ///
    /// # Errors
    ///
    /// [`KernelError::Differs`], or what the kernel says.
    pub fn verify(&self) -> Result<(), KernelError> {
        let slot = self.counting_slot()?;
        let Some(value) = self.policy_in(slot)? else { return Ok(()) };
        let tables = [name::NAMES, name::HASHES, name::COMMS, name::GROUPS, name::NET, name::CIDRS];
        for (name, meant) in tables.into_iter().zip(value.entries.into_iter().skip(1)) {
            let found = match self.inner(name, slot)? {
                Some(map) => super::fill::sum_of(&map, name, |_| true)?.entries,
                None => 0,
            };
            if found != meant {
                return Err(KernelError::Differs { name, found, meant });
            }
        }
        Ok(())
    }

    pub(super) fn policy_in(&self, slot: u32) -> Result<Option<PolicyValue>, KernelError> {
        let Some(inner) = self.inner(name::POLICY, slot)? else { return Ok(None) };
        let value = self.read(&inner, name::POLICY, 0)?;
        Ok(value.map(|bytes| PolicyValue::from_bytes(&bytes)))
    }

    /// The map that a slot holds.
    pub(super) fn inner(&self, name: &'static str, slot: u32) -> Result<Option<MapHandle>, KernelError> {
        let Some(id) = self.read(self.map(name)?, name, slot)? else { return Ok(None) };
        match MapHandle::from_map_id(u32_at(&id, 0)) {
            Ok(map) => Ok(Some(map)),
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("open", name, source)),
        }
    }

    fn read(&self, map: &MapHandle, name: &'static str, key: u32) -> Result<Option<Vec<u8>>, KernelError> {
        map.lookup(&key.to_ne_bytes(), MapFlags::ANY).map_err(|source| failed("read", name, source))
    }
}

/// The clock of deadlines: it goes on while the host sleeps, and nobody can set it.
pub(super) fn boot_time_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

pub(super) fn deadline_after(time: Duration) -> u64 {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    boot_time_ns().saturating_add(nanoseconds).max(1)
}

fn failed(action: &'static str, name: &str, source: libbpf_rs::Error) -> KernelError {
    KernelError::Map { action, name: name.to_owned(), source }
}

//! Loads, attaches, pins, adopts, swaps.
//!
//! Programs and maps are pinned below one directory of a BPF file system. That directory is filled under another name and
//! then renamed, so that it is there whole or not at all; who finds it adopts what is in it.

mod attach;
mod bulk;
mod fill;
mod moves;
mod pins;
mod state;
mod trie;
mod widen;

use std::path::PathBuf;
use std::time::Duration;

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle};

use crate::compile::Compiled;
use crate::error::KernelError;
use crate::layout::{FileId, NOW_ASK, POLICY, PolicyValue, SelfKind, now_word, self_key};

pub use self::attach::{Backend, try_load};
pub use self::state::{Counters, InForce};

/// Names of the maps, as the object has them.
pub(crate) mod name {
    /// Pinned as that; in the object it is a section of its own, for programs to read without a call.
    pub(crate) const CONTROL: &str = "aegis_control";
    pub(crate) const CONTROL_IN_OBJECT: &str = ".data.aegis_now";
    /// The same for what the programs count, and for how far they had counted when paths were resolved.
    pub(crate) const MOVED: &str = "aegis_moved";
    pub(crate) const RESOLVED: &str = "aegis_resolved";
    pub(crate) const MOVED_IN_OBJECT: &str = ".data.aegis_moved";
    pub(crate) const RESOLVED_IN_OBJECT: &str = ".data.aegis_resolved";
    pub(crate) const POLICY: &str = "aegis_policy";
    pub(crate) const FILTER: &str = "aegis_filter";
    pub(crate) const FILES: &str = "aegis_files";
    pub(crate) const NAMES: &str = "aegis_names";
    pub(crate) const HASHES: &str = "aegis_hashes";
    pub(crate) const COMMS: &str = "aegis_comms";
    pub(crate) const GROUPS: &str = "aegis_groups";
    pub(crate) const NET: &str = "aegis_net";
    pub(crate) const CIDRS: &str = "aegis_cidrs";
    pub(crate) const SELF: &str = "aegis_self";
    pub(crate) const COUNTERS: &str = "aegis_counters";
    pub(crate) const EVENTS: &str = "aegis_events";
    pub(crate) const META: &str = "aegis_meta";

    /// Those with a slot for each of two policies.
    pub(crate) const SLOTTED: [&str; 9] = [POLICY, FILTER, FILES, NAMES, HASHES, COMMS, GROUPS, NET, CIDRS];
    /// All that the agent uses.
    pub(crate) const ALL: [&str; 15] = [
        CONTROL, MOVED, RESOLVED, POLICY, FILTER, FILES, NAMES, HASHES, COMMS, GROUPS, NET, CIDRS, SELF,
        COUNTERS, EVENTS,
    ];

    /// What the object calls it.
    pub(crate) fn in_object(name: &'static str) -> &'static str {
        match name {
            CONTROL => CONTROL_IN_OBJECT,
            MOVED => MOVED_IN_OBJECT,
            RESOLVED => RESOLVED_IN_OBJECT,
            other => other,
        }
    }
}

/// Where pins are on a host.
pub const PINS: &str = "/sys/fs/bpf/aegisbpf";

/// What to load, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to pin. Without, everything ends with the process.
    pub pins: Option<PathBuf>,
    /// Only what runs in this control group or below is judged.
    pub scope: Option<PathBuf>,
    /// Attach to the hooks of BPF-LSM.
    pub lsm: bool,
    /// Attach the network programs to this control group: where there is no BPF-LSM.
    pub group: Option<PathBuf>,
    /// Programs that are the agent: they pass every rule and may change what is the agent's.
    pub programs: Vec<FileId>,
    /// Directories whose entries only the agent may change.
    pub directories: Vec<FileId>,
}

/// Which policy it is, for those who look later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its version; none for an unsigned policy.
    pub version: Option<u64>,
    /// SHA-256 of its text.
    pub sha256: [u8; 32],
    /// Now, in milliseconds of Unix time.
    pub now: u64,
}

/// What is loaded in the kernel.
#[derive(Debug)]
pub struct Enforcement {
    maps: Vec<(&'static str, MapHandle)>,
    /// What is attached as long as this process lives; empty if it is pinned.
    links: Vec<Link>,
    pins: Option<PathBuf>,
    backend: Backend,
}

/// What a swap did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swapped {
    /// The generation that counts now.
    pub generation: u64,
    /// Entries in the kernel's maps.
    pub entries: u64,
}

impl Enforcement {
    /// Which hooks it is on.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    pub(crate) fn map(&self, name: &'static str) -> Result<&MapHandle, KernelError> {
        let found = self.maps.iter().find(|(known, _)| *known == name);
        found.map(|(_, map)| map).ok_or(KernelError::NoMap { name })
    }

    pub(crate) fn events(&self) -> Result<&MapHandle, KernelError> {
        self.map(name::EVENTS)
    }

    /// Puts `policy` in force in place of the one before. With `confirm_within`, the one before counts again after that
    /// time, by the kernel's own clock, unless [`Self::confirm`] comes.
    ///
    /// # Errors
    ///
    /// [`KernelError`]; until the last write nothing has changed.
    pub fn swap(
        &self,
        policy: &Compiled,
        label: &Label,
        confirm_within: Option<Duration>,
    ) -> Result<Swapped, KernelError> {
        let current = self.generation()?;
        let counting = self.counting_slot()?;
        let mut generation = current + 1;
        if current > 0 && slot_of(generation) == counting {
            // The policy in force was not confirmed, so the one before it counts, in the slot that would be next. Its
            // own slot is free; whoever still looks at it is done before it is filled.
            generation += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        let slot = slot_of(generation);
        let (filled, digest, resolution) = fill::fill(policy)?;
        let deadline = confirm_within.map_or(0, state::deadline_after);
        // An emergency goes on when the same policy is loaded again, as when a mount has changed what a path is.
        let same = self.policy_in(counting)?.filter(|value| value.sha256 == label.sha256);
        let lifted = same.map_or(0, |value| value.lifted);
        let value = PolicyValue {
            deadline,
            version: label.version.unwrap_or(0),
            rules: policy.rules,
            applied_at: label.now,
            flags: policy.flags,
            group_levels: policy.group_levels,
            signed: label.version.is_some(),
            lines: policy.lines,
            sha256: label.sha256,
            digest,
            entries: policy.entries(),
            lifted,
            resolution,
        };
        let header = fill::header(&value)?;
        let inner = filled.iter().map(|(name, map)| (*name, map)).chain([(name::POLICY, &header)]);
        self.set_slot(slot, &inner.collect::<Vec<_>>())?;
        let timed = if deadline > 0 { NOW_ASK } else { 0 };
        self.set_now(now_word(generation, policy.flags) | timed)?;
        if deadline == 0 && current > 0 {
            self.clear_slot(slot ^ 1);
        }
        Ok(Swapped { generation, entries: value.entries.iter().sum() })
    }

    /// Keeps the policy that was applied with a time limit.
    ///
    /// # Errors
    ///
    /// [`KernelError::NothingToConfirm`], [`KernelError::TooLate`], or what the kernel says.
    pub fn confirm(&self) -> Result<(), KernelError> {
        let generation = self.generation()?;
        let slot = slot_of(generation);
        let Some(mut value) = self.policy_in(slot)?.filter(|value| value.deadline > 0) else {
            return Err(KernelError::NothingToConfirm);
        };
        if state::boot_time_ns() > value.deadline {
            return Err(KernelError::TooLate);
        }
        value.deadline = 0;
        self.write_policy(slot, &value)?;
        self.set_now(now_word(generation, value.flags))?;
        self.clear_slot(slot ^ 1);
        Ok(())
    }

    /// For `time`, by the kernel's own clock, what the policy in force denies is only told. [`Duration::ZERO`] ends it.
    /// The next [`Self::swap`] to another policy ends it too.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoPolicy`], or what the kernel says.
    pub fn lift(&self, time: Duration) -> Result<(), KernelError> {
        let slot = self.counting_slot()?;
        let Some(mut value) = self.policy_in(slot)? else { return Err(KernelError::NoPolicy) };
        value.lifted = if time.is_zero() { 0 } else { state::deadline_after(time) };
        self.write_policy(slot, &value)
    }

    /// Names programs and directories that are the agent's, beside those that are known.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn own(&self, programs: &[FileId], directories: &[FileId]) -> Result<(), KernelError> {
        let programs = programs.iter().map(|file| self_key(*file, SelfKind::Program));
        let directories = directories.iter().map(|file| self_key(*file, SelfKind::Directory));
        for key in programs.chain(directories) {
            self.write(name::SELF, &key, &1_u32.to_ne_bytes())?;
        }
        Ok(())
    }

    /// Lets no other programs be the agent: those of a build before this one are not any more.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn own_only(&self, programs: &[FileId]) -> Result<(), KernelError> {
        self.own(programs, &[])?;
        let map = self.map(name::SELF)?;
        let kept: Vec<_> = programs.iter().map(|file| self_key(*file, SelfKind::Program)).collect();
        let is_program = |key: &[u8]| crate::layout::u32_at(key, 12) == SelfKind::Program as u32;
        let others: Vec<Vec<u8>> = map
            .keys()
            .filter(|key| is_program(key) && !kept.iter().any(|kept| kept == key.as_slice()))
            .collect();
        for key in others {
            let deleted = map.delete(&key);
            deleted.map_err(|source| KernelError::Map {
                action: "write",
                name: name::SELF.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// The kernel may write a value byte by byte. So whoever looks while it does is sent to the maps, which know, by a flag
    /// that is in a byte of its own both times that it changes.
    fn set_now(&self, word: u64) -> Result<(), KernelError> {
        for word in [self.now()? | NOW_ASK, word | NOW_ASK, word] {
            self.write(name::CONTROL, &0_u32.to_ne_bytes(), &word.to_ne_bytes())?;
        }
        Ok(())
    }

    fn write(&self, name: &'static str, key: &[u8], value: &[u8]) -> Result<(), KernelError> {
        let result = self.map(name)?.update(key, value, MapFlags::ANY);
        result.map_err(|source| KernelError::Map { action: "write", name: name.to_owned(), source })
    }

    fn set_slot(&self, slot: u32, inner: &[(&'static str, &MapHandle)]) -> Result<(), KernelError> {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        let outer: Result<Vec<_>, KernelError> =
            inner.iter().map(|(name, inner)| Ok((*name, self.map(name)?, *inner))).collect();
        let written = together(&outer?, |(name, outer, inner)| {
            let fd = inner.as_fd().as_raw_fd();
            let result = outer.update(&slot.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY);
            result.map_err(|source| KernelError::Map { action: "write", name: (*name).to_owned(), source })
        });
        written.into_iter().collect()
    }

    /// Frees what a policy took that nothing looks at any more. What cannot be freed is overwritten by the next swap.
    fn clear_slot(&self, slot: u32) {
        let outer = |name: &&'static str| self.map(name).ok();
        let (header, rest) = name::SLOTTED.split_at(1);
        // When the first is gone, who looked at the old policy has decided.
        for maps in [header, rest] {
            let maps: Vec<&MapHandle> = maps.iter().filter_map(outer).collect();
            together(&maps, |map| map.delete(&slot.to_ne_bytes()).is_ok());
        }
    }

    /// The value is written whole; its words are looked at one by one, and none of those that change depends on another.
    fn write_policy(&self, slot: u32, value: &PolicyValue) -> Result<(), KernelError> {
        let inner = self.inner(name::POLICY, slot)?.ok_or(KernelError::NoMap { name: name::POLICY })?;
        let bytes: [u8; POLICY] = value.to_bytes();
        inner.update(&0_u32.to_ne_bytes(), &bytes, MapFlags::ANY).map_err(|source| KernelError::Map {
            action: "write",
            name: name::POLICY.to_owned(),
            source,
        })
    }
}

/// Does all at once. The kernel holds up each write to such a map until no program looks at what was there before, and
/// those waits can be one.
fn together<T: Sync, R: Send>(all: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let act = &act;
    std::thread::scope(|scope| {
        let begin = |one| std::thread::Builder::new().spawn_scoped(scope, move || act(one));
        let begun: Vec<_> = all.iter().map(|one| (one, begin(one))).collect();
        let end = |(one, thread): (_, std::io::Result<std::thread::ScopedJoinHandle<'_, R>>)| {
            // Without a thread, and after one that ended badly, it is done here.
            thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(|| act(one))
        };
        begun.into_iter().map(end).collect()
    })
}

pub(crate) fn slot_of(generation: u64) -> u32 {
    u32::from(generation & 1 == 1)
}

//! What became of the names on the way to what a policy names: the programs count, the agent resolves anew.

use std::collections::HashSet;

use libbpf_rs::{MapCore as _, MapFlags};

use super::{Enforcement, name};
use crate::error::KernelError;
use crate::layout::{FileEntry, FileId, RESOLVED_UNKNOWN, file_key, u64_at};

/// How often the count is read until it is the same twice.
const READS: usize = 8;

impl Enforcement {
    /// How often names on the way to what the policy names were given to something else, as far as the programs saw. To be
    /// read before paths are resolved, and handed to [`Self::set_resolved`] when they are in force.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub fn moved(&self) -> Result<u64, KernelError> {
        let mut last = self.word(name::MOVED)?;
        // The kernel may copy it byte by byte while a program counts: then it is another one each time.
        for _ in 0..READS {
            let again = self.word(name::MOVED)?;
            if again == last {
                return Ok(again);
            }
            last = again;
        }
        // Never reached, so paths are resolved again.
        Ok(RESOLVED_UNKNOWN - 1)
    }

    /// What was told to [`Self::set_resolved`] last.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub fn resolved(&self) -> Result<u64, KernelError> {
        self.word(name::RESOLVED)
    }

    /// Says that the paths in force were resolved when [`Self::moved`] had been `moved`. As long as it is another one by
    /// now, the programs look at the names above a file, too.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn set_resolved(&self, moved: u64) -> Result<(), KernelError> {
        // As in `set_now`: bytes of two words are no word that was counted.
        for word in [self.resolved()? | RESOLVED_UNKNOWN, moved | RESOLVED_UNKNOWN, moved] {
            self.write(name::RESOLVED, &0_u32.to_ne_bytes(), &word.to_ne_bytes())?;
        }
        Ok(())
    }

    /// What names of the policy in force were when it was resolved: [`Compiled::resolution`](crate::Compiled::resolution).
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub fn resolution(&self) -> Result<Option<u64>, KernelError> {
        Ok(self.policy_in(self.counting_slot()?)?.map(|value| value.resolution))
    }

    /// Those of `files` that the policy in force says nothing of by their number.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub(crate) fn unnamed(
        &self,
        files: impl Iterator<Item = FileId>,
    ) -> Result<HashSet<FileId>, KernelError> {
        let Some(map) = self.inner(name::FILES, self.counting_slot()?)? else { return Ok(HashSet::new()) };
        let failed = |source| KernelError::Map { action: "read", name: name::FILES.to_owned(), source };
        let mut unnamed = HashSet::new();
        for file in files {
            if map.lookup(&file_key(file, 0), MapFlags::ANY).map_err(failed)?.is_none() {
                unnamed.insert(file);
            }
        }
        Ok(unnamed)
    }

    /// The files that the policy in force denies by their number, with its rules for them.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub(crate) fn named_files(&self) -> Result<Vec<FileEntry>, KernelError> {
        let Some(map) = self.inner(name::FILES, self.counting_slot()?)? else { return Ok(Vec::new()) };
        let failed = |source| KernelError::Map { action: "read", name: name::FILES.to_owned(), source };
        // All at once: see `sum_of`.
        let all = map.max_entries().saturating_add(1);
        let entries = map.lookup_batch(all, MapFlags::ANY, MapFlags::ANY).map_err(failed)?;
        Ok(entries.filter_map(|(key, rule)| Some((key.try_into().ok()?, rule.try_into().ok()?))).collect())
    }

    fn word(&self, name: &'static str) -> Result<u64, KernelError> {
        let value = self.map(name)?.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let value =
            value.map_err(|source| KernelError::Map { action: "read", name: name.to_owned(), source })?;
        Ok(value.map_or(0, |bytes| u64_at(&bytes, 0)))
    }
}

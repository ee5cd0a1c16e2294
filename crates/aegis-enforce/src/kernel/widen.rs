//! What a policy that waits for its confirmation comes to name meanwhile. It is not loaded anew: that would take the place of
//! the policy to which it may have to go back. What it denies is only added to.

use std::collections::HashMap;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use super::{Enforcement, fill, name, slot_of};
use crate::compile::Compiled;
use crate::error::KernelError;
use crate::layout::{
    FILE_KEY, FileId, GROUP_DIRECTORY, RULE, Rule, file_hash, file_key, filter_place, rule_flag, u32_at,
};

/// How often the filter is looked at for what the programs have put into the one before.
const LOOKS: usize = 8;

type Files = HashMap<[u8; FILE_KEY], [u8; RULE]>;

impl Enforcement {
    /// Adds to the policy that waits what `now` names and it does not, where `now` is the same policy, resolved again: files,
    /// and directories as those of the names that lead to them. Whether there was anything to add.
    ///
    /// Each is one entry of a map, so whoever asks meanwhile has the policy with it or without.
    ///
    /// # Errors
    ///
    /// [`KernelError`]; what was added until then stays.
    pub(crate) fn widen(&self, now: &Compiled, root: Option<FileId>) -> Result<bool, KernelError> {
        let slot = slot_of(self.generation()?);
        if self.counting_slot()? != slot {
            return Ok(false);
        }
        let (Some(files), Some(names)) = (self.inner(name::FILES, slot)?, self.inner(name::NAMES, slot)?)
        else {
            return Ok(false);
        };
        let known: Files = self.named_files()?.into_iter().collect();
        let nodes = nodes_of(now, root, &known, &names)?;
        let mut new: Vec<([u8; FILE_KEY], [u8; RULE])> = Vec::new();
        for (key, rule) in now.tables.files.keys().iter().zip(now.tables.files.values()) {
            let before = known.get(key).map(|rule| Rule::from_bytes(*rule));
            let mut rule = Rule::from_bytes(*rule);
            match u32_at(key, 12) {
                GROUP_DIRECTORY => {
                    let Some(node) = nodes.get(&rule.line) else { continue };
                    rule.line = *node;
                    if before.is_some_and(|before| before.line == *node && !has_gone(&before)) {
                        continue;
                    }
                }
                0 => {
                    let denied = |before: &Rule| !has_gone(before) && !is_weaker(before, &rule);
                    if before.is_some_and(|before| denied(&before)) {
                        continue;
                    }
                }
                // Control groups are numbered anew each time; those that come are looked for when it is confirmed.
                _ => continue,
            }
            new.push((*key, rule.to_bytes()));
        }
        if new.is_empty() {
            return Ok(false);
        }
        self.widen_filter(slot, &new)?;
        for (key, rule) in new {
            let put = files.update(&key, &rule, MapFlags::ANY);
            put.map_err(|source| failed("fill", name::FILES, source))?;
        }
        Ok(true)
    }

    /// First the bits, so that nobody who looks in between takes their absence for an answer.
    fn widen_filter(&self, slot: u32, new: &[([u8; FILE_KEY], [u8; RULE])]) -> Result<(), KernelError> {
        let mut wanted: Vec<(usize, u64)> = new.iter().map(|(key, _)| filter_place(file_hash(key))).collect();
        // The programs add to it as well, and what they put into the one before while this was made is not in this one.
        for _ in 0..LOOKS {
            let Some(before) = self.inner(name::FILTER, slot)? else { return Ok(()) };
            let mut words = words_of(&before)?;
            let mut differs = false;
            for (at, bits) in wanted.drain(..) {
                if let Some(word) = words.get_mut(at) {
                    differs |= *word & bits != bits;
                    *word |= bits;
                }
            }
            if !differs {
                return Ok(());
            }
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let map = fill::filter(&bytes)?;
            // When this returns, no program looks at the one before any more.
            self.set_slot(slot, &[(name::FILTER, &map)])?;
            let late = words_of(&before)?.into_iter().enumerate();
            wanted = late
                .filter(|(at, word)| words.get(*at).is_some_and(|known| known | word != *known))
                .collect();
        }
        Ok(())
    }
}

/// Of the nodes of `now`, which they are in the policy that is loaded: that of the root, and from there down by names.
fn nodes_of(
    now: &Compiled,
    root: Option<FileId>,
    known: &Files,
    names: &MapHandle,
) -> Result<HashMap<u32, u32>, KernelError> {
    let mut below: HashMap<u32, Vec<(&[u8], u32)>> = HashMap::new();
    for (key, rule) in now.tables.names.keys().iter().zip(now.tables.names.values()) {
        let child = u32_at(rule, 8);
        if child != 0 {
            below.entry(u32_at(key, 0)).or_default().push((key.as_slice(), child));
        }
    }
    let root = root.map(|root| file_key(root, GROUP_DIRECTORY));
    let of = |rule: Option<&[u8; RULE]>| rule.map(|rule| Rule::from_bytes(*rule).line);
    let pair = root.and_then(|root| Some((of(now.tables.files.get(&root))?, of(known.get(&root))?)));
    let mut nodes = HashMap::new();
    let mut left: Vec<(u32, u32)> = pair.into_iter().collect();
    while let Some((here, there)) = left.pop() {
        if nodes.contains_key(&here) {
            continue;
        }
        nodes.insert(here, there);
        for (key, child) in below.get(&here).into_iter().flatten() {
            let key: Vec<u8> = there
                .to_ne_bytes()
                .into_iter()
                .chain(key.get(4..).unwrap_or_default().iter().copied())
                .collect();
            let found = names.lookup(&key, MapFlags::ANY);
            let found = found.map_err(|source| failed("read", name::NAMES, source))?;
            if let Some(node) = found.map(|rule| u32_at(&rule, 8)).filter(|node| *node != 0) {
                left.push((*child, node));
            }
        }
    }
    Ok(nodes)
}

fn words_of(filter: &MapHandle) -> Result<Vec<u64>, KernelError> {
    let bytes = filter.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
    let bytes = bytes.map_err(|source| failed("read", name::FILTER, source))?.unwrap_or_default();
    Ok(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

fn has_gone(rule: &Rule) -> bool {
    rule.flags & rule_flag::GONE != 0
}

/// A denial goes before a protection.
fn is_weaker(known: &Rule, new: &Rule) -> bool {
    known.flags & rule_flag::PROTECT > new.flags & rule_flag::PROTECT
}

fn failed(action: &'static str, name: &str, source: libbpf_rs::Error) -> KernelError {
    KernelError::Map { action, name: name.to_owned(), source }
}

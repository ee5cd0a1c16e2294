//! Rules for paths, and for files by whatever they are named.
//!
//! Tables are larger than what a processor keeps at hand, and so is what the kernel looks through for a path. So entries wait
//! until there are many, and are put in together: the memory for all of them is fetched at once, and not one after the other.

use aegis_policy::Rule as PolicyRule;

use super::Compiler;
use super::table::Entry;
use crate::layout::{
    self, FILE_KEY, FileId, NAME_KEY, NAME_RULE, RULE, Rule, file_key, policy_flag, rule_flag,
};
use crate::resolve::Found;

/// So many entries wait at most.
pub(super) const MOST_WAITING: usize = 1024;

/// What paths have come to that is in no table yet, in the order of rules.
#[derive(Debug, Default)]
pub(super) struct Paths {
    files: Vec<Entry<FILE_KEY, RULE>>,
    names: Vec<Entry<NAME_KEY, NAME_RULE>>,
    /// The directory that was asked for last, and its node, since rules come in the order of directories.
    last: Option<(String, u32)>,
}

impl Compiler<'_> {
    /// The file that a path names now, and its name in its directory for what will have it later.
    pub(super) fn path(&mut self, rule: &PolicyRule<'_>, path: &str, value: Rule) {
        self.flags |= policy_flag::FILES | policy_flag::NAMES;
        let mut link = None;
        let file = match self.resolver.look(path) {
            Found::File(file) => Some(file),
            Found::Link(target) => {
                link = target;
                self.resolver.file(path)
            }
            Found::Nothing => None,
        };
        if file.is_some_and(|file| self.spared.contains(&file)) {
            // What leads there is watched all the same.
            self.place(path.rsplit_once('/').unwrap_or_default().0);
            return;
        }
        match file {
            Some(file) => self.paths.files.push((file_key(file, 0), value.to_bytes())),
            None => self.note(rule, true),
        }
        if let Some((node, directory, name)) = self.parted(path) {
            self.name(node, name, value);
            if let Some(target) = link {
                self.behind(directory, target, value);
            }
        }
        if self.paths.files.len().max(self.paths.names.len()) >= MOST_WAITING {
            self.put_waiting();
        }
    }

    /// The node of the directory of a path, the path of that, and the name in it. The root directory has none.
    fn parted<'p>(&mut self, path: &'p str) -> Option<(u32, &'p str, &'p str)> {
        if let Some((directory, node)) = &self.paths.last
            && let Some(name) = path.strip_prefix(directory.as_str()).and_then(|rest| rest.strip_prefix('/'))
            && !name.is_empty()
            && !name.as_bytes().contains(&b'/')
        {
            return Some((*node, path.get(..directory.len())?, name));
        }
        let (directory, name) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty())?;
        let node = self.place(directory).node;
        self.paths.last = Some((directory.to_owned(), node));
        Some((node, directory, name))
    }

    /// A rule for a name in a directory.
    pub(super) fn name(&mut self, node: u32, name: &str, rule: Rule) {
        let key = layout::name_key(node, name.as_bytes());
        self.paths.names.push((key, layout::name_rule(Some(rule), 0)));
    }

    /// A name in a directory is one itself. What waits says nothing of that, so the order of the two is the same.
    pub(super) fn leads(&mut self, node: u32, name: &str, child: u32) {
        let key = layout::name_key(node, name.as_bytes());
        let new = layout::name_rule(None, child);
        self.tables.names.put(key, new, |known| merge_names(known, &new));
    }

    pub(super) fn file(&mut self, file: FileId, group: u32, value: Rule) {
        // Of two rules for one file, the order counts.
        if !self.paths.files.is_empty() {
            self.put_waiting();
        }
        let new = value.to_bytes();
        self.tables.files.put(file_key(file, group), new, |known| merge_files(known, &new));
    }

    /// Puts into the tables what waits for it.
    pub(super) fn put_waiting(&mut self) {
        self.tables.files.put_all(&self.paths.files, merge_files);
        self.tables.names.put_all(&self.paths.names, merge_names);
        self.paths.files.clear();
        self.paths.names.clear();
    }
}

fn merge_files(entry: &mut [u8; RULE], new: &[u8; RULE]) {
    let (known, value) = (Rule::from_bytes(*entry), Rule::from_bytes(*new));
    if known.flags & rule_flag::PROTECT > value.flags & rule_flag::PROTECT {
        *entry = *new;
    } else if value.flags & rule_flag::STATIC > known.flags & rule_flag::STATIC
        && known.flags & rule_flag::PROTECT == 0
    {
        *entry = Rule { flags: known.flags | rule_flag::STATIC, ..known }.to_bytes();
    }
}

fn merge_names(entry: &mut [u8; NAME_RULE], new: &[u8; NAME_RULE]) {
    let rule = match (rule_of(entry), rule_of(new)) {
        // A denial goes before a protection, and the first of two before the second.
        (Some(known), Some(new)) if known.flags & rule_flag::PROTECT > new.flags & rule_flag::PROTECT => {
            Some(new)
        }
        (Some(known), _) => Some(known),
        (None, new) => new,
    };
    let child = layout::u32_at(new, 8).max(layout::u32_at(entry, 8));
    *entry = layout::name_rule(rule, child);
}

fn rule_of(entry: &[u8; NAME_RULE]) -> Option<Rule> {
    let has_rule = layout::u32_at(entry, 12) != 0;
    let (rule, _) = entry.split_first_chunk::<RULE>()?;
    has_rule.then(|| Rule::from_bytes(*rule))
}

//! The tree of names: what leads to the names of a policy, directory by directory.
//!
//! One directory is one node, however many paths lead to it, and a symbolic link on the way is a name of the tree, too: it
//! leads to the node that its target is. So the kernel sees it when a link is switched, wherever it is.

use std::collections::HashMap;
use std::rc::Rc;

use super::Compiler;
use crate::layout::{self, FileId, GROUP_DIRECTORY, Rule, file_key};
use crate::resolve::Found;

/// Links that are followed on one way: as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Directories that links alone lead to. Who may make links on the way of a path does not choose how much memory they take.
const MAX_BEHIND_LINKS: usize = 16_384;
/// Bytes of a path, as the kernel has it.
const MAX_PATH: usize = 4096;

/// A directory of the tree.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) node: u32,
    /// Its path without links; empty for the root.
    path: Rc<str>,
}

/// The directories that were seen.
#[derive(Debug)]
pub(super) struct Tree {
    /// By each path that led to one.
    places: HashMap<Rc<str>, Place>,
    nodes: u32,
    /// How many directories links may still lead to, and how many names.
    directories_left: usize,
    names_left: usize,
}

impl Tree {
    pub(super) fn new(rules: usize) -> Self {
        Self {
            places: HashMap::new(),
            nodes: 0,
            directories_left: MAX_BEHIND_LINKS,
            names_left: MAX_BEHIND_LINKS.saturating_add(rules.saturating_mul(4)),
        }
    }
}

/// A link whose target is being walked.
struct Followed {
    /// How much of the way is left behind it.
    left: usize,
    above: Place,
    name: String,
    path: Rc<str>,
}

impl Compiler<'_> {
    /// The directory at a path of the policy.
    pub(super) fn place(&mut self, directory: &str) -> Place {
        if let Some(place) = self.tree.places.get(directory) {
            return place.clone();
        }
        // Down from the longest part of the way that is known.
        let mut end = directory.len();
        let mut at = loop {
            match directory.get(..end).and_then(|way| way.rfind('/')) {
                Some(above) => end = above,
                None => break self.root(),
            }
            if let Some(place) = directory.get(..end).and_then(|way| self.tree.places.get(way)) {
                break place.clone();
            }
        };
        for name in directory.get(end..).unwrap_or_default().split('/').skip(1) {
            end += 1 + name.len();
            at = match self.walk(&at, name, false) {
                Some(place) => place,
                None => self.child(&at, name, directory.get(..end).unwrap_or(directory).into(), None),
            };
            if let Some(way) = directory.get(..end).filter(|way| !self.tree.places.contains_key(*way)) {
                self.tree.places.insert(way.into(), at.clone());
            }
        }
        at
    }

    /// A denied name is a symbolic link: the name that it leads to is denied as well, since who opens the one opens what
    /// is by the other, now or later.
    pub(super) fn behind(&mut self, directory: &str, target: String, value: Rule) {
        let (mut at, mut target) = (self.place(directory), target);
        for _ in 0..MAX_LINKS {
            let (way, name) = target.rsplit_once('/').unwrap_or(("", &target));
            let start = if target.starts_with('/') { self.root() } else { at };
            let Some(place) = self.walk(&start, way, true) else { return };
            // That is a directory, which is known by its number.
            if matches!(name, "" | "." | "..") || self.tree.names_left == 0 {
                return;
            }
            self.tree.names_left -= 1;
            self.name(place.node, name, value);
            let path = format!("{}/{name}", place.path);
            let Found::Link(Some(next)) = self.resolver.look(&path) else { return };
            (at, target) = (place, next);
        }
    }

    /// Goes down `way` from a directory. None if links lead too far.
    fn walk(&mut self, from: &Place, way: &str, of_link: bool) -> Option<Place> {
        let mut at = from.clone();
        // What is still to be walked, the last first.
        let mut left: Vec<String> = way.split('/').rev().map(str::to_owned).collect();
        let mut links: Vec<Followed> = Vec::new();
        let mut followed = 0;
        while let Some(name) = left.pop() {
            at = match name.as_str() {
                "" | "." => at,
                ".." => self.above(&at),
                _ => {
                    let path: Rc<str> = format!("{}/{name}", at.path).into();
                    match self.tree.places.get(&path) {
                        Some(place) => place.clone(),
                        None => match self.resolver.look(&path) {
                            Found::Link(Some(target)) => {
                                followed += 1;
                                if followed > MAX_LINKS {
                                    return None;
                                }
                                let start = if target.starts_with('/') { self.root() } else { at.clone() };
                                links.push(Followed { left: left.len(), above: at, name, path });
                                left.extend(target.split('/').rev().map(str::to_owned));
                                start
                            }
                            found => {
                                if of_link || !links.is_empty() {
                                    if path.len() >= MAX_PATH {
                                        return None;
                                    }
                                    self.tree.directories_left = self.tree.directories_left.checked_sub(1)?;
                                }
                                let file = match found {
                                    Found::File(file) => Some(file),
                                    Found::Link(_) => self.resolver.file(&path),
                                    Found::Nothing => None,
                                };
                                self.child(&at, &name, path, Some(file))
                            }
                        },
                    }
                }
            };
            while let Some(link) = links.pop_if(|link| link.left == left.len()) {
                at = self.led(link, at);
            }
        }
        Some(at)
    }

    /// What a link is: the directory that its target was found to be.
    fn led(&mut self, link: Followed, target: Place) -> Place {
        let Followed { left: _, above, name, path } = link;
        let at = if target.path.is_empty() { "/" } else { &target.path };
        let file = self.resolver.file(&path);
        if file != self.resolver.file(at) {
            // What it says is not where it leads, as with some of /proc.
            return self.child(&above, &name, path, Some(file));
        }
        self.leads(above.node, &name, target.node);
        self.tree.places.insert(path, target.clone());
        target
    }

    fn root(&mut self) -> Place {
        if let Some(root) = self.tree.places.get("") {
            return root.clone();
        }
        let file = self.resolver.file("/");
        let root = Place { node: self.number(file, None), path: "".into() };
        self.tree.places.insert(Rc::clone(&root.path), root.clone());
        root
    }

    /// The directory that `..` is: its path has no links.
    fn above(&mut self, place: &Place) -> Place {
        let above = place.path.rsplit_once('/').and_then(|(above, _)| self.tree.places.get(above));
        above.cloned().unwrap_or_else(|| self.root())
    }

    /// The directory by a name in another; its name is put in there. `file` is what is at `path`, if that was asked.
    fn child(&mut self, above: &Place, name: &str, path: Rc<str>, file: Option<Option<FileId>>) -> Place {
        let file = file.unwrap_or_else(|| self.resolver.file(&path));
        let known = self.tables.names.get(&layout::name_key(above.node, name.as_bytes()));
        let known = known.map(|rule| layout::u32_at(rule, 8)).filter(|node| *node != 0);
        let node = self.number(file, known);
        self.leads(above.node, name, node);
        let place = Place { node, path: Rc::clone(&path) };
        self.tree.places.insert(path, place.clone());
        place
    }

    /// The number of a directory: that which it has by another path, or by its name, or a new one.
    fn number(&mut self, file: Option<FileId>, by_name: Option<u32>) -> u32 {
        let key = file.map(|file| file_key(file, GROUP_DIRECTORY));
        if let Some(mark) = key.and_then(|key| self.tables.files.get(&key)) {
            return Rule::from_bytes(*mark).line;
        }
        let node = by_name.unwrap_or_else(|| {
            self.tree.nodes = self.tree.nodes.saturating_add(1);
            self.tree.nodes
        });
        if let Some(key) = key {
            let mark = Rule { line: node, section: 0, protocols: 0, flags: 0 };
            self.tables.files.insert(key, mark.to_bytes());
        }
        node
    }
}

//! JSON Pointers, as a tree that is followed down with the event.

use std::collections::BTreeMap;

/// A tree of pointers' tokens.
#[derive(Debug, Clone)]
pub(crate) struct Pointers {
    nodes: Vec<Node>,
}

/// What may follow a token. In a map, because configuration can put thousands of names into one object.
#[derive(Debug, Clone, Default)]
struct Node {
    /// By token, for members.
    members: BTreeMap<Box<[u8]>, usize>,
    /// By number, for elements.
    elements: BTreeMap<usize, usize>,
    /// After `*`, for all elements.
    every_element: Option<usize>,
    is_end: bool,
}

/// Whether a text is a pointer to something inside an event.
pub(super) fn is_well_formed(pointer: &str) -> bool {
    let Some(tokens) = pointer.strip_prefix('/') else { return false };
    tokens.split('/').all(|token| token.split('~').skip(1).all(|after| after.starts_with(['0', '1'])))
}

/// A token of envelopes, in a place where it would be sealed: last, or `_aegis` first.
pub(super) fn reserved_token(pointer: &str) -> Option<&str> {
    let first = pointer.split('/').nth(1).filter(|token| *token == "_aegis");
    first.or_else(|| pointer.rsplit('/').next().filter(|token| crate::envelope::MEMBERS.contains(token)))
}

impl Pointers {
    pub(crate) fn new<'a>(pointers: impl Iterator<Item = &'a str>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for pointer in pointers {
            tree.insert(pointer);
        }
        tree
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    fn insert(&mut self, pointer: &str) {
        let mut place = 0;
        for token in pointer.split('/').skip(1) {
            // In this order, or ~01 would become a slash.
            let token = token.replace("~1", "/").replace("~0", "~");
            place = self.child(place, &token);
        }
        if let Some(node) = self.nodes.get_mut(place) {
            node.is_end = true;
        }
    }

    fn child(&mut self, parent: usize, token: &str) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(parent) else { return parent };
        if let Some(child) = node.members.get(token.as_bytes()) {
            return *child;
        }
        node.members.insert(token.as_bytes().into(), new);
        if token == "*" {
            node.every_element = Some(new);
        }
        // A number with a leading zero names no element.
        if let Some(index) = token.parse().ok().filter(|index: &usize| index.to_string() == token) {
            node.elements.insert(index, new);
        }
        self.nodes.push(Node::default());
        new
    }
}

/// Where in the tree the scan of an event is.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// The nodes of each open object or array, one after the other.
    active: Vec<usize>,
    /// Where in `active` each one's nodes begin.
    levels: Vec<usize>,
    /// The nodes of the value that comes next.
    pending: Vec<usize>,
}

impl Follower {
    pub(crate) fn restart(&mut self) {
        self.active.clear();
        self.levels.clear();
        self.pending.clear();
        self.pending.push(0);
    }

    pub(crate) fn enter(&mut self) {
        self.levels.push(self.active.len());
        self.active.append(&mut self.pending);
    }

    pub(crate) fn leave(&mut self) {
        if let Some(start) = self.levels.pop() {
            self.active.truncate(start);
        }
        self.pending.clear();
    }

    /// A member of this name comes next. Whether a pointer ends there.
    pub(crate) fn member(&mut self, pointers: &Pointers, name: &[u8]) -> bool {
        self.step(pointers, |node| [node.members.get(name).copied(), None])
    }

    /// An element comes next.
    pub(crate) fn element(&mut self, pointers: &Pointers, index: usize) -> bool {
        self.step(pointers, |node| [node.elements.get(&index).copied(), node.every_element])
    }

    fn step(&mut self, pointers: &Pointers, follow: impl Fn(&Node) -> [Option<usize>; 2]) -> bool {
        self.pending.clear();
        let start = self.levels.last().copied().unwrap_or(0);
        let open = self.active.get(start..).unwrap_or_default();
        let nodes = open.iter().filter_map(|node| pointers.nodes.get(*node));
        self.pending.extend(nodes.flat_map(follow).flatten());
        self.pending.iter().any(|node| pointers.nodes.get(*node).is_some_and(|node| node.is_end))
    }
}

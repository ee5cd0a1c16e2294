//! Files that a policy names by path: those that are there, and those that come later.
//!
//! Every directory on the way to a named file is watched by inotify, and the directory that it is in has a mark, so that
//! whoever opens something there waits for an answer. The kernel queues the news of a file before the call returns that
//! made it; so who first reads all news and then decides knows of every file that can be opened.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_policy::Section;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::StartError;
use super::marks::Marks;
use super::rules::Origin;
use super::subject::{Instant, Subject};
use crate::layout::FileId;

/// At most so many pieces of news are read at once: more than the kernel keeps.
const MAX_NEWS: usize = 65_536;
/// At most so many rules are asked about a file whose number says nothing.
const MAX_NAMESAKES: usize = 64;
/// Links that are followed on one way: as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// At most so many names that links lead over are watched for one name of a policy.
const MAX_WAY: usize = 256;
/// The root of the tree of names.
const ROOT: usize = 0;

/// The names of one policy.
#[derive(Debug)]
pub(super) struct Names {
    inotify: Arc<OwnedFd>,
    nodes: Vec<Node>,
    /// Which nodes a watched directory is.
    watches: HashMap<i32, Vec<usize>>,
    /// Where a symbolic link leads, or over which other links: directory and name, and the node of the link.
    targets: HashMap<(i32, Vec<u8>), Vec<usize>>,
    /// Files that came later, watched for their end.
    lives: HashMap<i32, FileId>,
    files: HashMap<FileId, Known>,
    namesakes: HashMap<Vec<u8>, Vec<usize>>,
    /// How often something could not be marked or watched after the start.
    pub(super) faults: u64,
}

#[derive(Debug)]
struct Node {
    path: PathBuf,
    children: HashMap<Vec<u8>, usize>,
    rule: Option<Origin>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    node: usize,
    rule: Origin,
    born: Option<Instant>,
}

/// What could not be done for a path.
type Fault = StartError;

impl Names {
    /// The names of rules. Nothing is watched before [`refresh_all`](Self::refresh_all).
    pub(super) fn new(paths: &[(String, Origin)]) -> Result<Self, StartError> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| StartError::Watch { path: PathBuf::from("/"), source: error.into() })?;
        let root = Node { path: PathBuf::from("/"), children: HashMap::new(), rule: None };
        let mut names = Self {
            inotify: Arc::new(inotify),
            nodes: vec![root],
            watches: HashMap::new(),
            targets: HashMap::new(),
            lives: HashMap::new(),
            files: HashMap::new(),
            namesakes: HashMap::new(),
            faults: 0,
        };
        for (path, origin) in paths {
            names.insert(path, *origin);
        }
        Ok(names)
    }

    /// Where news comes from.
    pub(super) fn inotify(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.inotify)
    }

    /// Looks at every name.
    ///
    /// # Errors
    ///
    /// The first thing that could not be watched or marked; the others are.
    pub(super) fn refresh_all(&mut self, marks: &mut Marks) -> Result<(), StartError> {
        if self.nodes.len() > 1 { self.refresh(ROOT, marks, false) } else { Ok(()) }
    }

    /// Takes in what has happened to the watched directories until now.
    pub(super) fn read_news(&mut self, marks: &mut Marks) {
        let mut stale = HashSet::new();
        let mut read = 0;
        // News that comes meanwhile is of no file that the question at hand is about.
        while read < MAX_NEWS {
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut reader = inotify::Reader::new(&*self.inotify, &mut buffer);
            let mut news = Vec::new();
            while let Ok(event) = reader.next() {
                news.push((
                    event.wd(),
                    event.events(),
                    event.file_name().map(|name| name.to_bytes().to_vec()),
                ));
                if reader.is_buffer_empty() {
                    break;
                }
            }
            if news.is_empty() {
                break;
            }
            read += news.len();
            for (watch, what, name) in news {
                self.take_news(watch, what, name, &mut stale);
            }
            // One look at a name is enough, however often it changed.
            for node in stale.drain() {
                if self.refresh(node, marks, true).is_err() {
                    self.faults += 1;
                }
            }
        }
    }

    /// The rule for a file that somebody opens; `name` is the last part of the name that he used.
    pub(super) fn rule(&mut self, file: &Subject, name: Option<&[u8]>, marks: &mut Marks) -> Option<Origin> {
        if let Some(known) = self.files.get(&file.id).copied() {
            if known.born.is_none() || file.born.is_none() || known.born == file.born {
                return Some(known.rule);
            }
            // The number is another file's now, unless an overlay has copied the file.
            self.files.remove(&file.id);
        }
        // Where the kernel tells no news (network file systems, layers of an overlay), the name decides.
        let namesakes = self.namesakes.get(name?)?.iter().take(MAX_NAMESAKES);
        let node = namesakes.copied().find(|node| {
            let path = self.nodes.get(*node).map(|node| node.path.as_path());
            path.and_then(|path| Subject::at(path).ok()).is_some_and(|found| found.id == file.id)
        })?;
        if self.refresh(node, marks, true).is_err() {
            self.faults += 1;
        }
        self.files.get(&file.id).map(|known| known.rule)
    }

    fn insert(&mut self, path: &str, origin: Origin) {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            let child = *node.children.entry(name.as_bytes().to_vec()).or_insert(next);
            if child == next {
                let path = node.path.join(name);
                self.nodes.push(Node { path, children: HashMap::new(), rule: None });
            }
            at = child;
        }
        let Some(node) = self.nodes.get_mut(at) else { return };
        if node.rule.is_none() {
            let name = path.rsplit('/').find(|name| !name.is_empty()).unwrap_or_default();
            self.namesakes.entry(name.as_bytes().to_vec()).or_default().push(at);
        }
        if node.rule.is_none_or(|rule| wins(origin, rule)) {
            node.rule = Some(origin);
        }
    }

    fn take_news(&mut self, watch: i32, what: ReadFlags, name: Option<Vec<u8>>, stale: &mut HashSet<usize>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            stale.insert(ROOT);
        }
        if what.contains(ReadFlags::IGNORED) {
            self.watches.remove(&watch);
            self.targets.retain(|(other, _), _| *other != watch);
            if let Some(file) = self.lives.remove(&watch) {
                self.files.remove(&file);
            }
        }
        if !what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            return;
        }
        let Some(name) = name else { return };
        for node in self.watches.get(&watch).into_iter().flatten() {
            stale.extend(self.nodes.get(*node).and_then(|node| node.children.get(&name)));
        }
        stale.extend(self.targets.get(&(watch, name)).into_iter().flatten());
    }

    /// Looks at a name and all below it.
    fn refresh(&mut self, start: usize, marks: &mut Marks, later: bool) -> Result<(), Fault> {
        let mut result = Ok(());
        let mut waiting = vec![start];
        while let Some(index) = waiting.pop() {
            match self.look(index, marks, later) {
                Ok(true) => {
                    let nodes = self.nodes.get(index).into_iter();
                    waiting.extend(nodes.flat_map(|node| node.children.values()));
                }
                Ok(false) => {}
                Err(fault) => result = result.and(Err(fault)),
            }
        }
        result
    }

    /// Looks at one name. True: it is a directory with names in it, and is watched.
    fn look(&mut self, index: usize, marks: &mut Marks, later: bool) -> Result<bool, Fault> {
        let Some(node) = self.nodes.get(index) else { return Ok(false) };
        let (path, rule, parent) = (node.path.clone(), node.rule, !node.children.is_empty());
        let mark_fault = |source| StartError::Mark { path: path.clone(), source };
        self.watch_way(index, &path)?;
        // Without opening it: that would be an event, which we had to answer ourselves.
        let fd = match rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                return Err(mark_fault(error.into()));
            }
            Err(_) => return Ok(false),
        };
        let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let found = Subject::at(&link).map_err(|error| mark_fault(error.into()))?;
        if let Some(rule) = rule {
            marks.file(&link, found.id, found.is_directory()).map_err(mark_fault)?;
            self.learn(index, rule, &found, &link, later);
            self.follow(index, &path, &link, marks)?;
        }
        if !parent || !found.is_directory() {
            return Ok(false);
        }
        // First the watch, then the look at what is in it: nothing comes in between unseen.
        let watch = self.watch(&link, &path)?;
        let nodes = self.watches.entry(watch).or_default();
        if !nodes.contains(&index) {
            nodes.push(index);
        }
        if self.has_named_files(index) {
            marks.directory(&link, found.id).map_err(mark_fault)?;
        }
        Ok(true)
    }

    fn has_named_files(&self, index: usize) -> bool {
        let children = self.nodes.get(index).into_iter().flat_map(|node| node.children.values());
        children.filter_map(|child| self.nodes.get(*child)).any(|child| child.rule.is_some())
    }

    fn learn(&mut self, node: usize, rule: Origin, found: &Subject, link: &Path, later: bool) {
        let known = Known { node, rule, born: found.born };
        let before = self.files.get(&found.id);
        if before.is_some_and(|before| {
            before.born == found.born && before.node != node && !wins(rule, before.rule)
        }) {
            return;
        }
        let new = self.files.insert(found.id, known).is_none();
        if new && later {
            // So that what is known does not grow with every file that comes and goes.
            let flags = WatchFlags::DELETE_SELF | WatchFlags::MASK_ADD;
            if let Ok(watch) = inotify::add_watch(&*self.inotify, link, flags) {
                self.lives.insert(watch, found.id);
            }
        }
    }

    /// Where the name is a symbolic link, watches the directory that it leads to.
    fn follow(&mut self, index: usize, path: &Path, link: &Path, marks: &mut Marks) -> Result<(), Fault> {
        if rustix::fs::readlink(path, Vec::new()).is_err() {
            return Ok(());
        }
        let Ok(target) = std::fs::read_link(link) else { return Ok(()) };
        let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else { return Ok(()) };
        let Ok(found) = Subject::at(directory) else { return Ok(()) };
        let watch = self.watch(directory, directory)?;
        let nodes = self.targets.entry((watch, name.as_encoded_bytes().to_vec())).or_default();
        if !nodes.contains(&index) {
            nodes.push(index);
        }
        let fault = |source| StartError::Mark { path: directory.to_path_buf(), source };
        marks.directory(directory, found.id).map_err(fault)
    }

    /// Where a name is a symbolic link, watches each name on the way to where it leads: any of them may be given to
    /// something else. Of what is not there yet the first is watched.
    fn watch_way(&mut self, index: usize, path: &Path) -> Result<(), Fault> {
        let (Ok(target), Some(directory)) = (std::fs::read_link(path), path.parent()) else { return Ok(()) };
        let Ok(mut at) = std::fs::canonicalize(directory) else { return Ok(()) };
        let mut left: Vec<OsString> = target.components().rev().map(|part| part.as_os_str().into()).collect();
        let (mut links, mut names) = (1, 0);
        while let Some(name) = left.pop() {
            match name.as_bytes() {
                b"/" => at = PathBuf::from("/"),
                b"." => {}
                b".." => drop(at.pop()),
                bytes => {
                    names += 1;
                    let Some(watch) = self.watch_if_there(&at)?.filter(|_| names <= MAX_WAY) else {
                        return Ok(());
                    };
                    let nodes = self.targets.entry((watch, bytes.to_vec())).or_default();
                    if !nodes.contains(&index) {
                        nodes.push(index);
                    }
                    let next = at.join(&name);
                    match std::fs::read_link(&next) {
                        Ok(target) if links < MAX_LINKS => {
                            links += 1;
                            left.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
                        }
                        _ => at = next,
                    }
                }
            }
        }
        Ok(())
    }

    fn watch_if_there(&self, directory: &Path) -> Result<Option<i32>, Fault> {
        match self.watch(directory, directory) {
            Ok(watch) => Ok(Some(watch)),
            Err(StartError::Watch { source, .. }) if !is_shortage(&source) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn watch(&self, link: &Path, path: &Path) -> Result<i32, Fault> {
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        inotify::add_watch(self.inotify.as_fd(), link, flags)
            .map_err(|error| StartError::Watch { path: path.to_path_buf(), source: error.into() })
    }
}

/// Whether there could be no watch, rather than nothing to be watched.
fn is_shortage(error: &std::io::Error) -> bool {
    let shortage = [Errno::NOSPC, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    shortage.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A denial goes before a protection.
fn wins(new: Origin, old: Origin) -> bool {
    new.section == Section::DenyPath && old.section != Section::DenyPath
}

//! Reading a log that may be written and rotated at the same time.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::vec;

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::{Operation, Outcome, RuleSection};
use super::line::{Line, LineError, Lines};
use super::{CURRENT, LogError, failed, numbered};

/// More files than any log has.
const MAX_FILES: u32 = 100;

/// Which events somebody wants to see. What is `None` lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// By a rule of this section.
    pub section: Option<RuleSection>,
    /// Of this operation.
    pub operation: Option<Operation>,
    /// Only what was stopped.
    pub denied_only: bool,
    /// By this process.
    pub pid: Option<u32>,
    /// At most so many, the last ones.
    pub last: Option<usize>,
}

impl Filter {
    /// Whether a line is wanted. Losses are, whatever they were of. Does not look at `last`.
    pub fn matches(&self, line: &Line) -> bool {
        let Self { since, until, section, operation, denied_only, pid, last: _ } = self;
        let time = line.time();
        if since.is_some_and(|since| time < since) || until.is_some_and(|until| time >= until) {
            return false;
        }
        let Line::Event(event) = line else { return true };
        section.is_none_or(|section| event.rule.section == section)
            && operation.is_none_or(|operation| event.operation == operation)
            && (!denied_only || event.outcome == Outcome::Denied)
            && pid.is_none_or(|pid| event.process.pid == pid)
    }
}

/// The lines of a log that somebody wants, the earliest first; and errors for lines that are damaged.
#[derive(Debug)]
pub struct Entries {
    files: vec::IntoIter<File>,
    lines: Option<Lines<BufReader<File>>>,
    filter: Filter,
    last: Option<vec::IntoIter<Line>>,
    /// Damaged lines that the search for the last ones came across.
    damage: VecDeque<LineError>,
}

/// Reads the log in `dir`, from the earliest line that is kept. No log is an empty one.
///
/// # Errors
///
/// [`LogError`] if the log is there and cannot be read.
pub fn read(dir: &Path, filter: &Filter) -> Result<Entries, LogError> {
    let mut entries = Entries {
        files: open_all(dir)?.into_iter(),
        lines: None,
        filter: filter.clone(),
        last: None,
        damage: VecDeque::new(),
    };
    if let Some(wanted) = filter.last {
        let mut last = VecDeque::new();
        while let Some(line) = entries.next_line() {
            match line {
                Ok(line) => last.push_back(line),
                Err(error) => entries.damage.push_back(error),
            }
            if last.len() > wanted {
                last.pop_front();
            }
            // Somebody else's file is damaged in every line.
            if entries.damage.len() > 100 {
                entries.damage.pop_front();
            }
        }
        entries.last = Some(Vec::from(last).into_iter());
    }
    Ok(entries)
}

impl Entries {
    fn next_line(&mut self) -> Option<Result<Line, LineError>> {
        loop {
            let Some(lines) = &mut self.lines else {
                self.lines = Some(Lines::new(BufReader::with_capacity(128 * 1024, self.files.next()?)));
                continue;
            };
            match lines.next() {
                None => self.lines = None,
                Some(Ok(line)) if !self.filter.matches(&line) => {}
                Some(line) => return Some(line),
            }
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Line, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.damage.pop_front() {
            return Some(Err(error));
        }
        match &mut self.last {
            Some(last) => last.next().map(Ok),
            None => self.next_line(),
        }
    }
}

/// The files of a log, the oldest first. A rotation only ever gives a file a higher number, so whoever opens them in the
/// order of their numbers misses none, and may meet one twice.
fn open_all(dir: &Path) -> Result<Vec<File>, LogError> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for number in 0..MAX_FILES {
        let path = if number == 0 { dir.join(CURRENT) } else { numbered(dir, number) };
        match open_to_read(&path)? {
            Some((file, identity)) if seen.insert(identity) => files.push(file),
            Some(_) => {}
            // A killed rotation leaves a gap of one.
            None if number > 1 && !numbered(dir, number + 1).exists() => break,
            None => {}
        }
    }
    files.reverse();
    Ok(files)
}

/// Which file it is, whatever its name: device and inode.
pub(super) type Identity = (u64, u64);

/// Opens a file of a log, and tells which one it is.
pub(super) fn open_to_read(path: &Path) -> Result<Option<(File, Identity)>, LogError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(LogError::NotAFile(aegis_durable::ReadError::Link { path: path.to_owned() }));
        }
        opened => opened.map_err(failed("open", path))?,
    };
    let metadata = file.metadata().map_err(failed("examine", path))?;
    aegis_durable::check_regular(&metadata, path).map_err(LogError::NotAFile)?;
    Ok(Some((file, (metadata.dev(), metadata.ino()))))
}

//! Accepts a policy, or says everything that is wrong with it.
//!
//! One pass over the bytes tells which lines need their characters looked at; one over the lines accepts common
//! entries in `fast` and reads all else closely. Nothing is stored for a rule, so time is linear and memory
//! constant, whatever is read.

use crate::entry::{Entry, Refusal};
use crate::error::{Companion, MAX_REPORTED, PolicyError, PolicyErrorKind, PolicyErrors};
use crate::line::{Line, Lines};
use crate::policy::Policy;
use crate::section::Section;

mod characters;
pub(crate) mod fast;

/// How large a policy may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the text in bytes.
    pub max_bytes: usize,
    /// Number of entries in all sections.
    pub max_rules: usize,
}

impl Default for Limits {
    /// 64 MiB and 2,000,000 rules.
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_rules: 2_000_000 }
    }
}

/// Reads a policy.
///
/// # Errors
///
/// All that is wrong with it, with line and column. A file over `limits.max_bytes` is not looked at.
pub fn parse<'a>(source: &'a [u8], limits: &Limits) -> Result<Policy<'a>, PolicyErrors> {
    // Lines and columns are counted in 32 bits.
    let max_bytes = limits.max_bytes.min(u32::MAX as usize - 1);
    if source.len() > max_bytes {
        let kind = PolicyErrorKind::TooLarge { bytes: source.len(), limit: max_bytes };
        return Err(PolicyErrors { errors: vec![located(1, 1, 1, kind)], total: 1 });
    }
    let mut parser = Parser {
        max_rules: limits.max_rules,
        faults: Faults::default(),
        version: None,
        place: Place::Header,
        rules: 0,
        counts: [0; Section::COUNT],
        first_lines: [0; Section::COUNT],
        first_carriage_return: None,
        carriage_returns: 0,
    };
    let mut lines = Lines::all(source, parser.byte_order_mark(source));
    // Up to here nothing needs a closer look at its characters. Each byte is looked at once for it.
    let mut plain_until = 0;
    loop {
        if lines.position() >= plain_until {
            plain_until = characters::first_special(source, lines.position());
        }
        if let Place::Section(section) = parser.place {
            let most = parser.max_rules.saturating_sub(parser.rules);
            let taken = fast::take_entries(section, &mut lines, plain_until, most);
            parser.add_rules(section, taken);
        }
        let Some(line) = lines.next() else { break };
        if lines.position() <= plain_until || parser.characters(&line) {
            parser.line(&line);
        }
    }
    parser.whole_file();
    parser.finish(source)
}

/// Where in the file the parser is.
#[derive(Clone, Copy)]
enum Place {
    Header,
    Section(Section),
    /// Below a section that does not exist.
    UnknownSection,
}

struct Parser {
    max_rules: usize,
    faults: Faults,
    version: Option<(u8, u32)>,
    place: Place,
    rules: usize,
    counts: [u32; Section::COUNT],
    first_lines: [u32; Section::COUNT],
    first_carriage_return: Option<(u32, usize)>,
    carriage_returns: u32,
}

impl Parser {
    #[inline]
    fn line(&mut self, line: &Line<'_>) {
        // Never fails: the characters of the line have been looked at.
        let Ok(mut text) = std::str::from_utf8(line.text) else { return };
        if text.is_empty() || line.is_comment() {
            return;
        }
        if let Some(at) = line.comment_at {
            self.report(line, at, text.len() - at, || PolicyErrorKind::InlineComment);
            text = text.get(..at).unwrap_or_default().trim_end();
        }
        match (self.place, text.as_bytes().first()) {
            // An IPv6 address in brackets is no header: no name of a section has a colon.
            (Place::Section(section), first) if first != Some(&b'[') || text.contains(':') => {
                self.entry(line, section, text);
            }
            (_, Some(b'[')) => self.header(line, text),
            (Place::Header, _) => self.version(line, text),
            (Place::UnknownSection | Place::Section(_), _) => {}
        }
    }

    #[inline]
    fn entry(&mut self, line: &Line<'_>, section: Section, text: &str) {
        if section.is_flag() || text.starts_with("version=") {
            return self.misplaced(line, section, text);
        }
        self.add_rules(section, 1);
        if self.rules > self.max_rules {
            return self.over_the_limit(line);
        }
        if let Err(refusal) = Entry::read(section, text) {
            self.refuse(line, section, text, refusal);
        }
    }

    fn add_rules(&mut self, section: Section, more: usize) {
        self.rules = self.rules.saturating_add(more);
        if let Some(count) = self.counts.get_mut(section.index()) {
            *count = count.saturating_add(clamp(more));
        }
    }

    #[cold]
    fn refuse(&mut self, line: &Line<'_>, section: Section, text: &str, refusal: Refusal) {
        let Refusal { at, len, error } = refusal;
        self.report(line, at, len, || PolicyErrorKind::BadEntry {
            section,
            error,
            fits: another_section(section, text),
        });
    }

    #[cold]
    fn misplaced(&mut self, line: &Line<'_>, section: Section, text: &str) {
        if text.starts_with("version=") {
            self.faults.about_version = true;
            self.report(line, 0, text.len(), || PolicyErrorKind::VersionInSection { section });
        } else {
            self.report(line, 0, text.len(), || PolicyErrorKind::EntryInFlag { section });
        }
    }

    /// Says once that there are too many rules.
    #[cold]
    fn over_the_limit(&mut self, line: &Line<'_>) {
        if self.rules == self.max_rules.saturating_add(1) {
            let limit = self.max_rules;
            let column = self.column(line, 0);
            self.faults.always(located(line.number, column, 1, PolicyErrorKind::TooManyRules { limit }));
        }
    }

    fn header(&mut self, line: &Line<'_>, text: &str) {
        let name = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let Some(name) = name.filter(|name| name.bytes().all(|byte| byte != b' ' && byte != b'\t')) else {
            self.place = Place::UnknownSection;
            return self.report(line, 0, text.len(), || PolicyErrorKind::MalformedSection);
        };
        let Some(section) = Section::from_name(name) else {
            self.place = Place::UnknownSection;
            return self.report(line, 0, text.len(), || PolicyErrorKind::UnknownSection {
                nearest: Section::nearest(name),
            });
        };
        self.place = Place::Section(section);
        let since = section.since_version();
        if let Some((version, _)) = self.version
            && version < since
        {
            self.report(line, 0, text.len(), || PolicyErrorKind::SectionTooNew { section, since, version });
        }
        let first_line = self.first_lines.get(section.index()).copied().unwrap_or(0);
        if first_line == 0 {
            if let Some(first) = self.first_lines.get_mut(section.index()) {
                *first = line.number;
            }
        } else if section.is_flag() {
            self.report(line, 0, text.len(), || PolicyErrorKind::DuplicateFlag { section, first_line });
        }
    }

    fn version(&mut self, line: &Line<'_>, text: &str) {
        let Some(value) = text.strip_prefix("version=") else {
            return self.report(line, 0, text.len(), || PolicyErrorKind::NotAHeader);
        };
        if let Some((_, first_line)) = self.version {
            return self.report(line, 0, text.len(), || PolicyErrorKind::DuplicateVersion { first_line });
        }
        match value.as_bytes() {
            [digit @ b'1'..=b'6'] => self.version = Some((digit - b'0', line.number)),
            _ => {
                self.faults.about_version = true;
                self.report(line, 8, value.len(), || PolicyErrorKind::BadVersion);
            }
        }
    }

    /// Looks at the characters of a line; false if the line is not worth reading further.
    fn characters(&mut self, line: &Line<'_>) -> bool {
        let mut raw = line.raw;
        if let Some(shorter) = raw.strip_suffix(b"\r") {
            raw = shorter;
            self.carriage_returns = self.carriage_returns.saturating_add(1);
            self.first_carriage_return.get_or_insert((line.number, shorter.len()));
        }
        let found = if line.is_comment() { characters::in_comment(raw) } else { characters::in_entry(raw) };
        let Some((at, kind)) = found else { return true };
        self.faults.add(line.number, at, 1, || kind);
        false
    }

    /// Refuses a byte-order mark and says where the text after it begins.
    fn byte_order_mark(&mut self, source: &[u8]) -> usize {
        if source.starts_with(b"\xef\xbb\xbf") {
            self.faults.always(located(1, 1, 3, PolicyErrorKind::ByteOrderMark));
            return 3;
        }
        0
    }

    /// What can only be said at the end.
    fn whole_file(&mut self) {
        if let Some((line, at)) = self.first_carriage_return {
            let kind = PolicyErrorKind::CarriageReturn { lines: self.carriage_returns };
            self.faults.always(located(line, at.saturating_add(1), 1, kind));
        }
        if self.version.is_none() && !self.faults.about_version {
            self.faults.always(located(1, 1, 1, PolicyErrorKind::MissingVersion));
        }
        let protected = self.line_of(Section::ProtectConnect) > 0 || self.count(Section::ProtectPath) > 0;
        self.needs(Section::ProtectRuntimeDeps, protected, Companion::ProtectedResource);
        let trusted = self.count(Section::TrustedExecHash) > 0;
        self.needs(Section::ImaFailClosed, trusted, Companion::TrustedExecHash);
    }

    fn needs(&mut self, section: Section, there: bool, needs: Companion) {
        let line = self.line_of(section);
        if line > 0 && !there {
            let kind = PolicyErrorKind::MissingCompanion { section, needs };
            self.faults.always(located(line, 1, section.name().len() + 2, kind));
        }
    }

    fn finish(mut self, source: &[u8]) -> Result<Policy<'_>, PolicyErrors> {
        if self.faults.total == 0
            && let Some((version, _)) = self.version
        {
            let Self { counts, first_lines, .. } = self;
            return Ok(Policy { source, version, counts, first_lines });
        }
        self.faults.errors.sort_by_key(|error| (error.line, error.column));
        Err(PolicyErrors { total: self.faults.total, errors: self.faults.errors })
    }

    #[cold]
    fn report(&mut self, line: &Line<'_>, at: usize, length: usize, kind: impl FnOnce() -> PolicyErrorKind) {
        self.faults.add(line.number, line.indent + at, length, kind);
    }

    fn column(&self, line: &Line<'_>, at: usize) -> usize {
        line.indent + at + 1
    }

    fn count(&self, section: Section) -> u32 {
        self.counts.get(section.index()).copied().unwrap_or(0)
    }

    fn line_of(&self, section: Section) -> u32 {
        self.first_lines.get(section.index()).copied().unwrap_or(0)
    }
}

/// The errors found so far. Beyond the first [`MAX_REPORTED`] they are counted, and cost nothing more.
#[derive(Default)]
struct Faults {
    errors: Vec<PolicyError>,
    total: usize,
    /// A `version=` was found and refused, so that it is not called missing as well.
    about_version: bool,
}

impl Faults {
    fn add(&mut self, line: u32, at: usize, length: usize, kind: impl FnOnce() -> PolicyErrorKind) {
        self.total = self.total.saturating_add(1);
        if self.errors.len() < MAX_REPORTED {
            let kind = kind();
            self.errors.push(located(line, at.saturating_add(1), length, kind));
        }
    }

    /// For the few that are said once a file.
    fn always(&mut self, error: PolicyError) {
        self.total = self.total.saturating_add(1);
        self.errors.push(error);
    }
}

fn located(line: u32, column: usize, length: usize, kind: PolicyErrorKind) -> PolicyError {
    let hint = kind.help();
    PolicyError { line, column: clamp(column), length: clamp(length.max(1)), kind, hint }
}

/// Offsets are below the size limit, which is below 2^32.
fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The section, if exactly one kind of section does, that would take an entry which this one does not.
fn another_section(section: Section, text: &str) -> Option<Section> {
    // Anything short is a program name, and any path a file: only telling forms count.
    const TELLING: [Section; 7] = [
        Section::DenyIpPort,
        Section::DenyCidr,
        Section::DenyIp,
        Section::DenyBinaryHash,
        Section::CgroupDenyInode,
        Section::CgroupDenyIp,
        Section::CgroupDenyPort,
    ];
    TELLING.into_iter().find(|other| *other != section && Entry::read(*other, text).is_ok())
}

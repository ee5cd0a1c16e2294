//! `policy simulate`: what a policy would have said about events that were recorded under another one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_enforce::event::{
    EventGroup, Filter, Line, LineError, Lines, Outcome, RuleRef, Simulated, Simulation, Simulator, read,
};
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use clap::Args;
use rustix::fs::OFlags;

use super::text::Text;
use crate::events::{Damage, unreadable};
use crate::session::Session;

/// Groups of events that are shown to a person, of each kind.
const SHOWN: usize = 20;

#[derive(Args)]
pub(crate) struct SimulateArguments {
    /// Events as `events --json` prints them: a file, the directory of a log, or `-` for standard input
    events: PathBuf,
    /// The policy or bundle, `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    form: Form,
}

pub(super) fn simulate(arguments: &SimulateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let SimulateArguments { events, file, form: _ } = arguments;
    let name = input::name(events);
    if input::is_stdin(events) && input::is_stdin(file) {
        return Err(Failure::because(
            "cannot simulate",
            "events and policy cannot both come from standard input",
        )
        .with_help("name a file for one of them"));
    }
    let host = session.host()?;
    let text = Text::read(file, &host)?;
    let policy = text.parse(&host)?;
    let mut simulator = Simulator::new(&policy);
    let mut damage = Damage::default();
    let mut add = |line: Result<Line, LineError>| {
        if let Some(line) = damage.take(line) {
            simulator.add(&line);
        }
    };
    if input::is_stdin(events) {
        Lines::new(io::stdin().lock()).for_each(&mut add);
    } else if events.is_dir() {
        let lines = read(events, &Filter::default()).map_err(|error| unreadable(events, &error))?;
        lines.for_each(&mut add);
    } else {
        Lines::new(open(events)?).for_each(&mut add);
    }
    let simulation = simulator.finish();
    // Of a file that has no event at all there is nothing to report.
    if simulation.events > 0 || damage.is_none() {
        session.output.report(&simulation, |out| print(out, &simulation, &name, &input::name(file)))?;
    }
    damage.finish(&name)
}

/// A file of any length: it is read line by line.
fn open(path: &Path) -> Result<impl BufRead, Failure> {
    let failed = |error: &dyn std::error::Error, help: Option<String>| {
        Failure::new(format!("cannot read {}", path.display()), error, help)
    };
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file =
        File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| {
            let help = if error.kind() == io::ErrorKind::PermissionDenied {
                "run it as root, or as the owner of the file"
            } else {
                "check the path"
            };
            failed(&error, Some(help.to_owned()))
        })?;
    let metadata = file.metadata().map_err(|error| failed(&error, None))?;
    aegis_trust::durable::check_regular(&metadata, path).map_err(|error| failed(&error, error.help()))?;
    Ok(BufReader::with_capacity(128 * 1024, file))
}

fn print(out: &mut dyn Write, simulation: &Simulation, events: &str, policy: &str) -> io::Result<()> {
    let Simulation { newly_denied, no_longer_denied, groups, notes, .. } = simulation;
    writeln!(out, "{} against {} events of {}", Escaped(policy), simulation.events, Escaped(events))?;
    let recorded = |count: &u64, what: &str| match count {
        0 => String::new(),
        count => format!(" ({what} when recorded: {count})"),
    };
    writeln!(out, "  would deny            {}{}", simulation.deny, recorded(newly_denied, "let through"))?;
    if simulation.deny_unless_verified > 0 {
        writeln!(out, "  deny unless verified  {}", simulation.deny_unless_verified)?;
    }
    writeln!(out, "  would let through     {}{}", simulation.pass, recorded(no_longer_denied, "denied"))?;
    if simulation.unknown > 0 {
        writeln!(out, "  cannot be told        {}", simulation.unknown)?;
    }
    if simulation.agent > 0 {
        writeln!(out, "  on the agent itself   {}, which every policy denies", simulation.agent)?;
    }
    for (heading, kind) in HEADINGS {
        let mut of_kind = groups.iter().filter(|group| kind_of(group) == *kind).peekable();
        if of_kind.peek().is_none() {
            continue;
        }
        writeln!(out, "\n{heading}:")?;
        for group in of_kind.by_ref().take(SHOWN) {
            print_group(out, group)?;
        }
        let more = of_kind.count();
        if more > 0 {
            writeln!(out, "  and {more} more kinds; --json has them")?;
        }
    }
    if !notes.is_empty() {
        writeln!(out)?;
    }
    notes.iter().try_for_each(|note| writeln!(out, "note: {}", Escaped(note)))
}

/// What a person looks for, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NoLonger,
    Newly,
    Maybe,
    Unknown,
    Still,
    Rest,
}

const HEADINGS: &[(&str, Kind)] = &[
    ("no longer denied", Kind::NoLonger),
    ("newly denied", Kind::Newly),
    ("denied unless the program is verified", Kind::Maybe),
    ("cannot be told", Kind::Unknown),
    ("denied as before", Kind::Still),
];

fn kind_of(group: &EventGroup) -> Kind {
    match (group.verdict, group.recorded) {
        (Simulated::Pass, Outcome::Denied) => Kind::NoLonger,
        (Simulated::Deny, Outcome::Audited) => Kind::Newly,
        (Simulated::DenyUnlessVerified, _) => Kind::Maybe,
        (Simulated::Unknown, _) => Kind::Unknown,
        (Simulated::Deny, Outcome::Denied) => Kind::Still,
        (Simulated::Pass, Outcome::Audited) | (Simulated::Agent, _) => Kind::Rest,
    }
}

fn print_group(out: &mut dyn Write, group: &EventGroup) -> io::Result<()> {
    let EventGroup { operation, object, comm, recorded_rule, rule, unknown_because, events, .. } = group;
    write!(out, "  {events:>6} x {operation}")?;
    if let Some(object) = object {
        write!(out, " {} {}", operation.preposition(), Escaped(object))?;
    }
    write!(out, " by {}: ", Escaped(comm))?;
    match (rule, unknown_because) {
        (Some(rule), _) => writeln!(out, "{}", Escaped(told(rule))),
        (None, Some(because)) => writeln!(out, "{because}"),
        (None, None) => writeln!(out, "was {}", Escaped(told(recorded_rule))),
    }
}

/// `[deny_path] line 4: /etc/shadow`.
fn told(rule: &RuleRef) -> String {
    let RuleRef { section, line, entry } = rule;
    let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
    let entry = entry.as_deref().map(|entry| format!(": {entry}")).unwrap_or_default();
    format!("[{section}]{line}{entry}")
}

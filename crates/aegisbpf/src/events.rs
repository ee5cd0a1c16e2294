//! `aegisbpf events`: what was denied, or would have been, as the agent wrote it down.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use aegis_enforce::event::{
    Event, Filter, Follower, Line, LineError, LogError, Lost, Operation, RuleSection, ocsf, read,
};
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::json;
use aegis_terminal::moment::{Moment, parse_moment};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::session::Session;

/// How often the log is looked at while it is followed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many events `--follow` begins with, if nothing is said.
const FOLLOW_FROM: usize = 10;

#[derive(Args)]
pub(crate) struct EventsArguments {
    /// Go on and print what comes, until interrupted
    #[arg(short, long, conflicts_with = "until")]
    follow: bool,
    /// Print a line of JSON an event: as in the log, or for a SIEM
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<Format>,
    /// Only events of this time or later: RFC 3339, a UTC date, or an age such as 7d
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Moment>,
    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Moment>,
    /// Only by rules of this section, such as deny_path; or `agent`, for attempts on the agent itself
    #[arg(long, value_name = "SECTION")]
    section: Option<RuleSection>,
    /// Only this operation, such as open, exec or connect
    #[arg(long, value_name = "OPERATION")]
    operation: Option<Operation>,
    /// Only what was stopped, not what was let through in audit mode
    #[arg(long)]
    denied: bool,
    /// Only by the process of this number
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// At most N events, the last ones; with --follow, so many to begin with [default: all; with --follow, 10]
    #[arg(short = 'n', long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: Option<u32>,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As in the log
    Json,
    /// Open Cybersecurity Schema Framework, version 1.3.0
    Ocsf,
}

/// How a line is printed.
enum Print {
    Text,
    Json,
    /// With the name of this host.
    Ocsf(String),
}

pub(crate) fn run(arguments: &EventsArguments, session: &Session) -> Result<ExitCode, Failure> {
    let dir = session.paths()?.events_dir();
    let filter = filter(arguments)?;
    let print = match arguments.format {
        Some(Format::Ocsf) => Print::Ocsf(host_name()),
        Some(Format::Json) => Print::Json,
        None if session.output.is_json() => Print::Json,
        None => Print::Text,
    };
    // Whoever may not look there is told so when it is read.
    if std::fs::metadata(&dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        session.output.warn(&format!("there are no events in {} yet", dir.display()));
        if !arguments.follow {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut damage = Damage::default();
    if arguments.follow {
        follow(&dir, &filter, arguments, &print, session)?;
    } else {
        let entries = read(&dir, &filter).map_err(|error| unreadable(&dir, &error))?;
        let mut lines = entries.filter_map(|line| damage.take(line));
        session.output.stream(|out| lines.try_for_each(|line| print.line(out, &line)))?;
    }
    damage.finish(&format!("the events in {}", dir.display())).map_err(|failure| {
        failure.with_help("the rest was printed; once it was looked at, move the damaged file away")
    })
}

fn filter(arguments: &EventsArguments) -> Result<Filter, Failure> {
    let now = Timestamp::now();
    let resolve = |moment: Option<Moment>| {
        let resolved = moment.map(|moment| {
            moment.resolve(now).ok_or_else(|| {
                Failure::because("cannot select events", "the time lies before any that can be written")
            })
        });
        resolved.transpose()
    };
    let (since, until) = (resolve(arguments.since)?, resolve(arguments.until)?);
    if since.zip(until).is_some_and(|(since, until)| until <= since) {
        return Err(Failure::because(
            "cannot select events",
            "the time of --until is not after that of --since",
        ));
    }
    Ok(Filter {
        since,
        until,
        section: arguments.section,
        operation: arguments.operation,
        denied_only: arguments.denied,
        pid: arguments.pid,
        last: arguments.lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
    })
}

/// Prints what is there, then what comes, until standard output is closed or the program is interrupted.
fn follow(
    dir: &Path,
    filter: &Filter,
    arguments: &EventsArguments,
    print: &Print,
    session: &Session,
) -> Result<(), Failure> {
    let first = match (filter.last, arguments.since) {
        (Some(first), _) => first,
        (None, Some(_)) => usize::MAX,
        (None, None) => FOLLOW_FROM,
    };
    let mut follower = Follower::from_earliest(dir, filter).map_err(|error| unreadable(dir, &error))?;
    let mut failed = None;
    let mut poll = |lines: &mut VecDeque<Line>| match follower.poll() {
        Ok(found) => {
            let is_end = found.is_empty();
            let mut damage = Damage::default();
            lines.extend(found.into_iter().filter_map(|line| damage.take(line)));
            // It is said at once: nobody waits for the end.
            if let Some(text) = damage.in_a_line() {
                session.output.warn(&text);
            }
            Some(is_end)
        }
        Err(error) => {
            failed = Some(unreadable(dir, &error));
            None
        }
    };
    session.output.stream(|out| {
        let mut lines = VecDeque::new();
        loop {
            let Some(is_end) = poll(&mut lines) else { return Ok(()) };
            // With a bound, what is there already is cut to it before any of it is printed.
            while lines.len() > first {
                lines.pop_front();
            }
            if is_end || first == usize::MAX {
                print.lines(out, &mut lines)?;
            }
            if is_end {
                break;
            }
        }
        loop {
            match poll(&mut lines) {
                None => return Ok(()),
                Some(true) => thread::sleep(LOOK_EVERY),
                Some(false) => {}
            }
            print.lines(out, &mut lines)?;
        }
    })?;
    failed.map_or(Ok(()), Err)
}

impl Print {
    fn lines(&self, out: &mut dyn Write, lines: &mut VecDeque<Line>) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        lines.drain(..).try_for_each(|line| self.line(out, &line))?;
        out.flush()
    }

    fn line(&self, out: &mut dyn Write, line: &Line) -> io::Result<()> {
        match (self, line) {
            (Self::Text, Line::Event(event)) => print_event(out, event),
            (Self::Text, Line::Lost(Lost { time, lost })) => writeln!(out, "{time:.3}  lost {lost} events"),
            (Self::Json, line) => json::write_line(out, line),
            (Self::Ocsf(host), Line::Event(event)) => json::write_line(out, &ocsf::value(event, host)),
            // The schema has no event for what is not known; the log of the receiver must not have a gap unsaid.
            (Self::Ocsf(host), Line::Lost(lost)) => json::write_line(out, &ocsf::lost(lost, host)),
        }
    }
}

fn print_event(out: &mut dyn Write, event: &Event) -> io::Result<()> {
    writeln!(out, "{:.3}  {}", event.time, Escaped(event))
}

/// Lines that could not be read: what came after them is printed all the same.
#[derive(Default)]
pub(crate) struct Damage {
    lines: u64,
    first: Option<LineError>,
}

impl Damage {
    /// The line, or nothing.
    pub(crate) fn take(&mut self, line: Result<Line, LineError>) -> Option<Line> {
        line.map_err(|error| {
            self.lines += 1;
            self.first.get_or_insert(error);
        })
        .ok()
    }

    /// Whether all lines could be read.
    pub(crate) fn is_none(&self) -> bool {
        self.first.is_none()
    }

    /// The first of them, and how many there are.
    fn in_a_line(&self) -> Option<String> {
        let error = self.first.as_ref()?;
        Some(match self.lines.saturating_sub(1) {
            0 => format!("in the events: {error}"),
            more => format!("in the events: {error}, and {more} lines more cannot be read"),
        })
    }

    /// Success, unless something was damaged.
    pub(crate) fn finish(self, of: &str) -> Result<ExitCode, Failure> {
        let Some(error) = self.first else { return Ok(ExitCode::SUCCESS) };
        let what = match self.lines {
            1 => format!("cannot read a line of {of}"),
            lines => format!("cannot read {lines} lines of {of}; the first of them"),
        };
        Err(Failure::new(what, &error, error.help()))
    }
}

pub(crate) fn unreadable(path: &Path, error: &LogError) -> Failure {
    Failure::new(format!("cannot read the events in {}", path.display()), error, error.help())
}

/// What events of this host are labelled with.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

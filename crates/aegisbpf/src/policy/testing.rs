//! `policy test`: a command under a policy, and nothing else on the host.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_enforce::coverage::{Coverage, Unenforced};
use aegis_enforce::event::{Event, Outcome};
use aegis_enforce::probe::Probe;
use aegis_enforce::{TrialError, try_command, whole_host};
use aegis_terminal::Form;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use clap::Args;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::force::ModeArgument;
use super::text::Text;
use crate::session::Session;

/// So many events are listed; all are counted.
const MAX_LISTED: usize = 10_000;

#[derive(Args)]
pub(crate) struct TestArguments {
    /// The policy or bundle, `-` for standard input
    file: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
    /// Whether what the policy denies is refused, or only told
    #[arg(long, value_enum, default_value_t = ModeArgument::Enforce)]
    mode: ModeArgument,
    /// Try what this kernel can enforce of it
    #[arg(long)]
    audit_unenforced: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Serialize)]
struct Report<'a> {
    /// The command's; null if a signal ended it or it did not run.
    exit_code: Option<i32>,
    signal: Option<i32>,
    denied: u64,
    audited: u64,
    events: &'a [Event],
}

pub(super) fn test(arguments: &TestArguments, session: &Session) -> Result<ExitCode, Failure> {
    let TestArguments { file, command, mode, audit_unenforced, form: _ } = arguments;
    let name = input::name(file);
    let what = format!("cannot test {name}");
    let host = session.host()?;
    let text = Text::read(file, &host)?;
    let policy = text.parse(&host)?;
    let unenforced = if *audit_unenforced { Unenforced::Accept } else { Unenforced::Refuse };
    let probe = Probe::of_host_tried();
    let missing = probe.missing_privileges();
    if !missing.is_empty() {
        let missing = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Failure::because(&what, format!("it takes {missing}")).with_help("run it as root"));
    }
    if let Some(refusal) = Coverage::of(&policy, &probe).refusal(unenforced) {
        return Err(Failure::new(&what, &refusal, refusal.help()));
    }
    if *audit_unenforced {
        for section in whole_host(&policy, &probe) {
            session
                .output
                .warn(&format!("{section} is not tried: fanotify enforces it here, and for the whole host"));
        }
    }
    let (mut denied, mut audited, mut events) = (0_u64, 0_u64, Vec::new());
    let mut on_event = |event: Event| {
        match event.outcome {
            Outcome::Denied => denied += 1,
            Outcome::Audited => audited += 1,
        }
        if !session.output.is_json() {
            session.output.diagnostics(&format!("{event}\n"));
        }
        if events.len() < MAX_LISTED {
            events.push(event);
        }
    };
    let (program, rest) =
        command.split_first().map_or((OsString::new(), &[][..]), |(first, rest)| (first.clone(), rest));
    let mut command = Command::new(program);
    command.args(rest);
    if session.output.is_json() {
        // Standard output is the report's.
        command.stdout(Stdio::from(io::stderr()));
    }
    let signal = stop_signals().map_err(|error| Failure::new(&what, &error, None))?;
    let stop = || signal.load(Ordering::Relaxed) != 0;
    let terms = ((*mode).into(), unenforced);
    let tried = try_command(&policy, &probe, terms, &mut command, &stop, &mut on_event)
        .map_err(|error| Failure::new(&what, &error, error.help()))?;
    let status = tried.ended.as_ref().ok();
    let report = Report {
        exit_code: status.and_then(std::process::ExitStatus::code),
        signal: status.and_then(std::process::ExitStatus::signal),
        denied,
        audited,
        events: &events,
    };
    if session.output.is_json() {
        session.output.document(&report)?;
    } else {
        session.output.diagnostics(&format!("{denied} denied, {audited} only told\n"));
    }
    match tried.ended {
        // As a shell tells it.
        Ok(status) => Ok(ExitCode::from(status.code().map_or_else(
            || u8::try_from(128 + status.signal().unwrap_or(0)).unwrap_or(u8::MAX),
            |code| u8::try_from(code).unwrap_or(u8::MAX),
        ))),
        Err(TrialError::Ended) => {
            Ok(ExitCode::from(u8::try_from(128 + signal.load(Ordering::Relaxed)).unwrap_or(u8::MAX)))
        }
        Err(error) => Err(Failure::new(what, &error, error.help())),
    }
}

/// The signal that came, or 0. What runs under the policy must not outlive it.
fn stop_signals() -> io::Result<Arc<AtomicUsize>> {
    let came = Arc::new(AtomicUsize::new(0));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or(0);
        signal_hook::flag::register_usize(signal, Arc::clone(&came), number)?;
    }
    Ok(came)
}

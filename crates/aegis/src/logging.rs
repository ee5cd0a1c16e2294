//! What happens inside, on standard error: `AEGIS_LOG=error|warn|info|debug|trace`, `warn` if it is not set.
//!
//! The crates of others are never heard above `warn`: at lower levels an SDK may print what it sends and receives.

use std::io::{self, Write};

use aegis_terminal::{Escaped, Failure};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const VARIABLE: &str = "AEGIS_LOG";
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Starts the log of this process.
pub(crate) fn start() -> Result<(), Failure> {
    let level = level()?;
    // Our targets are the crates' names, which all begin so; no other crate's does.
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("aegis", level);
    // A span is one line, with all that was found out in it, when it is over.
    let lines = tracing_subscriber::fmt::layer()
        .without_time()
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(|| EscapedStderr);
    // It is started once; were it not, there would be a log already.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
    Ok(())
}

fn level() -> Result<LevelFilter, Failure> {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(LevelFilter::WARN);
    };
    let found = LEVELS.iter().find(|(name, _)| value == *name);
    found.map(|(_, level)| *level).ok_or_else(|| {
        let names = LEVELS.map(|(name, _)| name).join(", ");
        let because = format!("{VARIABLE} is {:?}, not one of {names}", value.to_string_lossy());
        Failure::because("cannot start the log", because)
            .with_help(format!("unset {VARIABLE}, or set it to one of these"))
    })
}

/// Standard error, where foreign text in a line cannot steer the terminal.
struct EscapedStderr;

impl Write for EscapedStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = Escaped(text.trim_end_matches('\n'));
        io::stderr().lock().write_all(format!("{text}\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

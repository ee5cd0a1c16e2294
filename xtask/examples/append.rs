//! `append DIR COUNT`: appends to an audit log, and beside each append the bare system calls for the same bytes.
//!
//! Prints three medians in nanoseconds: an append; one write and fsync of a line as long; and the two syncs that an
//! append needs (the line; the checkpoint under a temporary name, then renamed), with the same sizes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result goes to the benchmark")]

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aegis_audit::{Action, Actor, AuditLog, Event};
use jiff::Timestamp;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), Some(count)) = (arguments.next(), arguments.next()) else {
        return ExitCode::from(2);
    };
    let Some(count) = count.to_str().and_then(|count| count.parse().ok()) else { return ExitCode::from(2) };
    match measure(Path::new(&directory), count) {
        Ok([append, one_sync, all_syncs]) => {
            println!("{} {} {}", append.as_nanos(), one_sync.as_nanos(), all_syncs.as_nanos());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(directory: &Path, count: usize) -> io::Result<[Duration; 3]> {
    let log_directory = directory.join("audit");
    let log = AuditLog::new(&log_directory);
    append(&log)?; // makes the log and the host key
    let line = vec![b'x'; length_of_last_line(&log_directory)?];
    let checkpoint = std::fs::read(log_directory.join("checkpoint"))?;
    let mut plain = File::create(directory.join("plain"))?;
    let mut times = [const { Vec::new() }; 3];
    let [appends, one_syncs, all_syncs] = &mut times;
    for _ in 0..count {
        appends.push(timed(|| append(&log))?);
        one_syncs.push(timed(|| {
            plain.write_all(&line)?;
            plain.sync_all()
        })?);
        all_syncs.push(timed(|| {
            plain.write_all(&line)?;
            plain.sync_all()?;
            let temporary = directory.join("plain.new");
            let mut file = File::create(&temporary)?;
            file.write_all(&checkpoint)?;
            file.sync_all()?;
            std::fs::rename(&temporary, directory.join("plain.checkpoint"))
        })?);
    }
    Ok(times.map(median))
}

fn append(log: &AuditLog) -> io::Result<()> {
    let event = Event::new(Timestamp::now(), Actor::current("bench"), Action::PolicyApply, "policy.signed");
    log.append(&event).map(|_| ()).map_err(io::Error::other)
}

fn length_of_last_line(log_directory: &Path) -> io::Result<usize> {
    let text = std::fs::read(log_directory.join("log.jsonl"))?;
    Ok(text.split_inclusive(|byte| *byte == b'\n').next_back().map_or(0, <[u8]>::len))
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

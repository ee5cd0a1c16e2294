//! What one run of a program costs, and the middle of several runs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::failure::{Failure, Outcome};

/// The cost of one run.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// From before the program was started until it ended.
    pub(crate) wall: Duration,
    /// What the program itself spent on a processor: it does not grow when the machine is busy.
    pub(crate) cpu: Duration,
}

/// A program with its arguments, and the exit code that it must have.
pub(crate) struct Work<'a> {
    pub(crate) name: &'a str,
    pub(crate) command: Vec<String>,
    pub(crate) exit: i32,
}

/// The middle of each of several programs' costs.
///
/// They take turns (A B A B …), so that a machine that slows down slows all of them.
pub(crate) fn medians(works: &[Work<'_>], rounds: usize) -> Outcome<Vec<Cost>> {
    let mut costs: Vec<Vec<Cost>> = works.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for work in works {
        run_once(work)?; // warms the page cache
    }
    for _ in 0..rounds {
        for (work, costs) in works.iter().zip(&mut costs) {
            costs.push(run_once(work)?);
        }
    }
    Ok(costs
        .into_iter()
        .map(|costs| Cost {
            wall: median(costs.iter().map(|cost| cost.wall)),
            cpu: median(costs.iter().map(|cost| cost.cpu)),
        })
        .collect())
}

/// The middle value; of an even number, the higher of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Runs a program and reads what it cost before the kernel forgets it.
pub(crate) fn run_once(work: &Work<'_>) -> Outcome<Cost> {
    let began = Instant::now();
    let mut child = start(work)?;
    let pid = pid_of(&child)?;
    rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        .map_err(|error| Failure::new(format!("cannot wait for {}: {error}", work.name)))?;
    let wall = began.elapsed();
    // A process that has ended but was not waited for still has its account. First field: nanoseconds on a processor.
    let account = std::fs::read_to_string(format!("/proc/{}/schedstat", child.id()))
        .map_err(Failure::of("read the processor time of a process (schedstat)"))?;
    let nanos = account.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0);
    finish(work, &mut child)?;
    Ok(Cost { wall, cpu: Duration::from_nanos(nanos) })
}

/// The most memory that a program held at once, in KiB: the highest `VmHWM` seen while it ran.
pub(crate) fn peak_memory_kib(work: &Work<'_>) -> Outcome<u64> {
    let mut child = start(work)?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // The mark only rises, so what is missed is what was taken in the last fraction of a millisecond.
        if let Ok(text) = std::fs::read_to_string(&status) {
            let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib =
                mark.and_then(|mark| mark.split_whitespace().next()).and_then(|field| field.parse().ok());
            peak = peak.max(kib.unwrap_or(0));
        }
        if child.try_wait().map_err(Failure::of("wait"))?.is_some() {
            return Ok(peak);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn start(work: &Work<'_>) -> Outcome<Child> {
    let (program, arguments) =
        work.command.split_first().ok_or_else(|| Failure::new(format!("{} has no program", work.name)))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::of(format_args!("run {program}")))
}

fn finish(work: &Work<'_>, child: &mut Child) -> Outcome {
    let status = child.wait().map_err(Failure::of(format_args!("wait for {}", work.name)))?;
    if status.code() == Some(work.exit) {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{} ended with {status}, not exit code {}: {}",
            work.name,
            work.exit,
            work.command.join(" ")
        )))
    }
}

fn pid_of(child: &Child) -> Outcome<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::new(format!("{} is no process id", child.id())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_middle_of_the_values() {
        let of = |values: &[u64]| median(values.iter().copied().map(Duration::from_secs)).as_secs();
        assert_eq!([of(&[3, 1, 2]), of(&[9]), of(&[4, 1, 3, 2])], [2, 9, 3]);
    }

    #[test]
    fn measures_what_a_program_spends_and_refuses_a_wrong_end() {
        let spin = |exit| Work {
            name: "spin",
            command: ["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3"]
                .map(str::to_owned)
                .into(),
            exit,
        };
        let cost = run_once(&spin(3)).unwrap();
        assert!(cost.cpu > Duration::from_micros(500), "{:?}", cost.cpu);
        assert!(run_once(&spin(0)).is_err());
    }
}

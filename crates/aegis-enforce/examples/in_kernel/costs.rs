//! One operation at a time, again and again.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aegis_enforce::event::{BootClock, Context};
use aegis_enforce::{Enforcement, EventReader, Options};
use libbpf_rs::{Link, ObjectBuilder, OpenObject};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::targets::Targets;
use crate::{LABEL, Made, compiled, parsed, policies, this_program};

/// Programs that do nothing.
const EMPTY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o"));
/// The programs that enforce.
const FULL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/aegis.bpf.o"));

/// Batches of which the middle one counts.
const BATCHES: usize = 15;
/// Operations in a batch: so few that their events have room in the kernel until they are taken out.
const OPENS: u32 = 200;
const CONNECTS: u32 = 200;
const RUNS: u32 = 12;
/// So long nothing is done, that what an earlier step left to the kernel's own threads is done. Where instructions are the
/// clock, it takes no time.
const SETTLE: Duration = Duration::from_secs(5);

/// All rows, up to policies of so many rules.
pub(crate) fn measure(most: u32) -> Made {
    // Putting a policy in force waits for the kernel's grace periods, which last long where processors are emulated.
    let _ = fs::write("/sys/kernel/rcu_expedited", "1");
    let targets = Targets::new()?;
    all_pass(&targets, "none", None)?;
    {
        let links = attach_empty()?;
        all_pass(&targets, "empty-program", None)?;
        drop(links);
    }
    let enforcement =
        Enforcement::load(&Options { lsm: true, programs: this_program(), ..Options::default() })?;
    let mut events = enforcement.reader()?;
    enforcement.swap(&compiled(&parsed(policies::EMPTY)?), &LABEL, None)?;
    all_pass(&targets, "empty-policy", Some(&mut events))?;
    let mut rules = 10;
    while rules <= most {
        let entries = {
            let text = policies::mixed(rules, &targets);
            let begun = Instant::now();
            let swapped = enforcement.swap(&compiled(&parsed(&text)?), &LABEL, None)?;
            println!("load-{rules} {}", begun.elapsed().as_nanos());
            swapped.entries
        };
        println!("entries-{rules} {entries}");
        all_pass(&targets, &rules.to_string(), Some(&mut events))?;
        all_denied(&targets, &rules.to_string(), &mut events)?;
        rules = if rules == 10 { 10_000.min(most.max(11)) } else { rules.saturating_mul(100) };
    }
    let counters = enforcement.counters()?;
    if counters.lost > 0 {
        return Err(format!("{} events had no room", counters.lost).into());
    }
    enforcement.swap(&compiled(&parsed(policies::EMPTY)?), &LABEL, None)?;
    drop(events);
    drop(enforcement);
    all_pass(&targets, "none-again", None)
}

fn all_pass(targets: &Targets, name: &str, mut events: Option<&mut EventReader<'_>>) -> Made {
    std::thread::sleep(SETTLE);
    let mut print = |what: &str, count: u32, act: &mut dyn FnMut() -> Made| {
        report(&format!("{what}-{name}"), count, events.as_deref_mut(), act)
    };
    print("open", OPENS, &mut || opened(&targets.plain, Ok(())))?;
    print("open-neighbour", OPENS, &mut || opened(&targets.neighbour, Ok(())))?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    print("connect", CONNECTS, &mut || Ok(socket.connect(targets.address)?))?;
    print("exec", RUNS, &mut || run(&targets.program, true))
}

fn all_denied(targets: &Targets, name: &str, events: &mut EventReader<'_>) -> Made {
    let mut print = |what: &str, count: u32, act: &mut dyn FnMut() -> Made| {
        report(&format!("{what}-denied-{name}"), count, Some(events), act)
    };
    print("open", OPENS, &mut || opened(&targets.denied_by_inode, Err(Errno::PERM)))?;
    print("open-neighbour", OPENS, &mut || opened(&targets.denied_by_path, Err(Errno::PERM)))?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let address = format!("{}:9", targets.denied_address);
    print("connect", CONNECTS, &mut || match socket.connect(&address) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => Err(format!("connecting to a denied address: {other:?}").into()),
    })?;
    print("exec", RUNS, &mut || run(&targets.denied_program, false))
}

fn opened(path: &str, expected: Result<(), Errno>) -> Made {
    let result = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(drop);
    if result == expected { Ok(()) } else { Err(format!("opening {path}: {result:?}").into()) }
}

fn run(program: &str, runs: bool) -> Made {
    match Command::new(program).stdin(Stdio::inherit()).status() {
        Ok(status) if runs && status.success() => Ok(()),
        Err(error) if !runs && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => Err(format!("running {program}: {other:?}").into()),
    }
}

/// Prints what one operation costs: that of the middle batch.
fn report(
    name: &str,
    count: u32,
    mut events: Option<&mut EventReader<'_>>,
    act: &mut dyn FnMut() -> Made,
) -> Made {
    let context = Context::of_clock(BootClock::measure());
    let mut batches = Vec::with_capacity(BATCHES);
    // The first finds nothing where it will be from then on.
    for _ in 0..=BATCHES {
        let begun = Instant::now();
        for _ in 0..count {
            act()?;
        }
        batches.push(begun.elapsed() / count);
        if let Some(events) = &mut events {
            events.next(Duration::ZERO, &context);
        }
    }
    let mut batches: Vec<u128> = batches.iter().skip(1).map(Duration::as_nanos).collect();
    batches.sort_unstable();
    println!("{name} {}", batches.get(batches.len() / 2).ok_or("no batch")?);
    Ok(())
}

/// Puts a program that does nothing on every hook that ours are on.
fn attach_empty() -> Made<Vec<Link>> {
    let object = ObjectBuilder::default().open_memory(EMPTY)?;
    let ours = ObjectBuilder::default().open_memory(FULL)?;
    if hooks(&object) != hooks(&ours) {
        let differ: Vec<String> = hooks(&object).symmetric_difference(&hooks(&ours)).cloned().collect();
        return Err(format!("bpf/empty.bpf.c is not on the hooks of ours: {}", differ.join(", ")).into());
    }
    let object = object.load()?;
    let attach = |program: libbpf_rs::ProgramMut<'_>| program.attach_lsm();
    object
        .progs_mut()
        .map(attach)
        .collect::<Result<_, _>>()
        .map_err(|error| -> Box<dyn Error> { error.into() })
}

fn hooks(object: &OpenObject) -> BTreeSet<String> {
    let sections = object.progs().map(|program| program.section().to_string_lossy().into_owned());
    sections.filter(|section| section.starts_with("lsm")).collect()
}

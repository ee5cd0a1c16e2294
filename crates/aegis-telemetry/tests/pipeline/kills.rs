//! A process that is killed at random while it emits, and a receiver that comes and goes.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use test_services::scratch;

use crate::child::{emitting, numbers_said, small_spool};
use crate::fixture::{
    KEY, LONG, Reader, Ring, Taken, assert_no_plaintext, builder, quick_with_spool, wait_until, workers,
};
use crate::receiver::{Answer, Receiver, status};

const KILLS: u64 = 100;

/// A cheap sequence that looks random, the same in every run.
fn next(state: &AtomicU64) -> u64 {
    let step = |mut x: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^ x << 17
    };
    step(state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(step(x))).unwrap())
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    // Takes, refuses, takes without saying so, or hangs up, in spells of some requests.
    let spell = AtomicU64::new(0x5eed_0001);
    let receiver = Receiver::start(move |number, _| {
        if number % 5 == 0 {
            next(&spell);
        }
        match spell.load(Ordering::SeqCst) % 4 {
            0 => status(503),
            1 => Answer::Reset,
            2 => Answer::TakeAndReset,
            _ => Answer::Take,
        }
    });
    let dice = AtomicU64::new(0x5eed_0002);
    let (mut first, mut acknowledged) = (1, Vec::new());
    for kill in 0..KILLS {
        let mut command = emitting(dir.path(), &receiver.url(), KEY.public_key(), first);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("said: started") {
            assert_ne!(reader.read_line(&mut text).unwrap(), 0, "kill {kill}: {text}");
        }
        std::thread::sleep(Duration::from_micros(next(&dice) % 60_000));
        child.kill().unwrap();
        // What it said before it was killed.
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        child.wait().unwrap();
        let said = numbers_said(&text, "acknowledged");
        if let Some(last) = said.last() {
            acknowledged.extend(first..=*last);
        }
        // Every event has a number of its own, so that none stands for another.
        first += 100_000;
    }
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());

    // The last run finds a sink that takes what is left.
    let rest = Taken::default();
    let pipeline = builder(&ring, workers(1))
        .add_sink("rest", rest.sink(), quick_with_spool(small_spool(dir.path())))
        .start()
        .unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("the spool is drained", || metrics.sinks()[0].spool_events.value() == 0);
    pipeline.close(LONG).unwrap();

    let lines = receiver.lines();
    let mut arrived: HashSet<u64> = Reader::new(&ring).numbers(&lines).into_iter().collect();
    arrived.extend(rest.numbers(&ring));
    let lost: Vec<_> = acknowledged.iter().filter(|number| !arrived.contains(number)).collect();
    assert!(lost.is_empty(), "{lost:?} of {} are lost", acknowledged.len());
    // Sealed, also what was on its way when the process was killed.
    for request in receiver.seen() {
        assert!(!String::from_utf8_lossy(&request.body).contains("@example.org"));
    }
    assert_no_plaintext("what arrived", &lines, acknowledged.iter().take(50).copied());
}

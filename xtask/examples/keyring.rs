//! A KEK rotation beside the cryptography that it cannot do without, and a KEK from the environment.
//!
//! | arguments | what it does | what it prints |
//! |---|---|---|
//! | `make DIR COUNT` | makes a keyring of so many DEKs, each wrapped by itself, and two KEKs | nothing |
//! | `rotate DIR THREADS` | rotates from the one KEK to the other: re-wraps, verifies all, switches | three numbers |
//! | `provider ROUNDS` | gets the provider of the environment and loads its KEK, each time in a new process | one number |
//!
//! The numbers are nanoseconds: of the rotation by the clock; of the processor for all threads of it; and of one
//! decapsulation with one encapsulation, which is the least that moves a DEK that was wrapped by itself. The latter is
//! measured before and after the rotation, in the same thread of the same process.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result goes to the benchmark")]

use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_crypto::{
    AssociatedData, Encapsulation, HybridPrivateKey, Purpose, decapsulate, encapsulate, seal, sha256,
};
use aegis_kek::{EnvironmentKekProvider, Kek, ProviderKind, Variables, get_kek_provider};
use aegis_keyring::clock::SystemClock;
use aegis_keyring::{
    DekRecord, DekState, DekVersion, KekRecord, KekRotation, KekRotationOptions, KekState, Keyring,
    NewWrapping, Scope, SqliteStore, Store, StoreError, Usage,
};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Key pairs among which the DEKs are shared out. Moving one does not depend on the key, and making one is slow.
const KEY_PAIRS: usize = 64;
/// Pairs of operations in each measurement of the floor.
const FLOOR_OPERATIONS: u32 = 2000;

type Made<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["make", directory, count] => make(Path::new(directory), count),
        ["rotate", directory, threads] => rotate(Path::new(directory), threads),
        ["provider", rounds] => provider(rounds),
        ["load"] => load(),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(&*error);
            while let Some(error) = cause {
                eprintln!("error: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// The KEKs come from their names: whoever has this file has them, and they protect nothing.
fn kek(name: &str) -> Made<Kek> {
    Ok(Kek::new(HybridPrivateKey::import(sha256(name.as_bytes()).as_bytes())?))
}

fn open(directory: &Path) -> Made<Arc<SqliteStore>> {
    Ok(Arc::new(SqliteStore::open(&directory.join("keyring.db"))?))
}

fn make(directory: &Path, count: &str) -> Made {
    let count: u32 = count.parse()?;
    let old = kek("old")?;
    let now = Timestamp::now();
    let pairs = (0..KEY_PAIRS).map(|_| HybridPrivateKey::generate()).collect::<Result<Vec<_>, _>>()?;
    let record = KekRecord {
        public_key: old.public_key().clone(),
        provider: ProviderKind::InMemory,
        state: KekState::Active,
        created_at: now,
        changed_at: now,
        grace_until: None,
    };
    let mut version = DekVersion::first_of(now);
    let mut deks = pairs.iter().cycle().zip(1..=count).map(|(private, number)| {
        let state = if number == count { DekState::Active } else { DekState::DecryptOnly };
        let dek = wrapped(private, version, state, &old, now).ok_or(StoreError::SourceFailed)?;
        version = version.next().ok_or(StoreError::SourceFailed)?;
        Ok(dek)
    });
    open(directory)?.restore(&[record], &mut deks)?;
    Ok(())
}

/// A DEK whose wrapping has an encapsulation of its own, as every new DEK's.
fn wrapped(
    private: &HybridPrivateKey,
    version: DekVersion,
    state: DekState,
    kek: &Kek,
    now: Timestamp,
) -> Option<(DekRecord, Vec<NewWrapping>)> {
    let (public_key, kek_id) = (private.public_key().clone(), kek.key_id());
    let (name, dek_id) = (version.to_string(), public_key.key_id());
    let place = AssociatedData::new([b"aegis/dek/v1", name.as_bytes(), dek_id.as_bytes(), kek_id.as_bytes()]);
    let sealed = seal(kek.public_key(), Purpose::DekWrap, &place, private.dangerous_expose()).ok()?;
    let record = DekRecord {
        version,
        scope: Scope::default(),
        state,
        public_key,
        created_at: now,
        changed_at: now,
        destroy_after: None,
        usage: Usage::default(),
    };
    Some((record, vec![NewWrapping { version, kek: kek_id, sealed }]))
}

fn rotate(directory: &Path, threads: &str) -> Made {
    let threads: NonZeroUsize = threads.parse()?;
    let (old, new) = (kek("old")?, kek("new")?);
    let floor_before = floor(&old, &new)?;
    let (began, began_cpu) = (Instant::now(), processor_time()?);
    let keyring = Keyring::new(open(directory)?, Arc::new(SystemClock));
    let options = KekRotationOptions { threads, ..KekRotationOptions::default() };
    let rotated = KekRotation::new(&keyring, &old, &new, ProviderKind::Environment, options)
        .run(&mut |_| ControlFlow::Continue(()))?;
    let (wall, cpu) = (began.elapsed(), processor_time()?.saturating_sub(began_cpu));
    if rotated.rewrapped == 0 || rotated.verified != rotated.rewrapped {
        return Err(format!("{} re-wrapped, {} verified", rotated.rewrapped, rotated.verified).into());
    }
    let floor = (floor_before + floor(&old, &new)?) / 2;
    println!("{} {} {}", wall.as_nanos(), cpu.as_nanos(), floor.as_nanos());
    Ok(())
}

/// Processor time of one decapsulation with one encapsulation.
fn floor(old: &Kek, new: &Kek) -> Made<Duration> {
    let encapsulations = (0..16)
        .map(|_| encapsulate(old.public_key()).map(|(encapsulation, _)| encapsulation))
        .collect::<Result<Vec<Encapsulation>, _>>()?;
    let began = processor_time()?;
    for (encapsulation, _) in encapsulations.iter().cycle().zip(0..FLOOR_OPERATIONS) {
        black_box(decapsulate(old.private_key(), black_box(encapsulation))?);
        black_box(encapsulate(black_box(new.public_key()))?);
    }
    Ok(processor_time()?.saturating_sub(began) / FLOOR_OPERATIONS)
}

fn provider(rounds: &str) -> Made {
    let rounds: usize = rounds.parse()?;
    let made = kek("environment")?;
    let file = EnvironmentKekProvider::provision(made.private_key());
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let mut child = Command::new(std::env::current_exe()?);
        child.env_clear();
        for (name, value) in file.iter() {
            child.env(name, value.expose());
        }
        let output = child.arg("load").output()?;
        times.push(Duration::from_nanos(String::from_utf8(output.stdout)?.trim().parse()?));
    }
    times.sort_unstable();
    println!("{}", times.get(times.len() / 2).copied().unwrap_or_default().as_nanos());
    Ok(())
}

fn load() -> Made {
    let began = Instant::now();
    let loaded = get_kek_provider(None, &Variables::of_process())?.load()?;
    let took = began.elapsed();
    black_box(loaded);
    println!("{}", took.as_nanos());
    Ok(())
}

/// Of all threads.
fn processor_time() -> Made<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

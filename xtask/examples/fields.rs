//! `fields EVENTS [SECONDS]`: our library on the events of a file, for `bench peers`, where others do the same events.
//!
//! With SECONDS, two lines: `encrypt RATE` and `decrypt RATE`, in events per second of processor; every event is first
//! sealed, opened and compared. Without, the names of the members that are personal in every event, a line each.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result goes to the benchmark")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{
    Catalogue, DecryptorOptions, DekName, DekUnavailable, EncryptorOptions, Limits, Moment, OpeningDekSource,
    PersonalValues, PiiDecryptor, PiiEncryptor, SealingDek,
};
use rustix::time::{ClockId, clock_gettime};

/// Any failure: the benchmark has nothing to measure then.
type Made<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [events] => read(events).and_then(|events| print_names(&events)),
        [events, seconds] => read(events).and_then(|events| {
            let seconds = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            print_rates(&events, seconds.ok_or("no number of seconds")?)
        }),
        _ => Err("usage: fields EVENTS [SECONDS]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &str) -> Made<Vec<Vec<u8>>> {
    let text = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let events: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let events: Vec<Vec<u8>> = events.into_iter().filter(|event| !event.is_empty()).collect();
    if events.is_empty() { Err(format!("{path}: no event")) } else { Ok(events) }
}

/// Members of the outermost object; the others would have to find nested ones, and to do the same work.
fn print_names(events: &[Vec<u8>]) -> Made {
    let mut values = PersonalValues::new(Catalogue::guide(), Limits::for_encryption());
    let mut names: Option<BTreeSet<String>> = None;
    for event in events {
        let found = values.find(event).map_err(|error| error.to_string())?;
        let found: BTreeSet<String> = found
            .map(|value| String::from_utf8_lossy(value.pointer).trim_start_matches('/').to_owned())
            .collect();
        if names.as_ref().is_some_and(|names| *names != found) || found.iter().any(|name| name.contains('/'))
        {
            return Err("the events do not all have the same personal members".to_owned());
        }
        names = Some(found);
    }
    names.into_iter().flatten().for_each(|name| println!("{name}"));
    Ok(())
}

struct Key(Arc<HybridPrivateKey>);

impl OpeningDekSource for Key {
    fn private_key(&self, _: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        Ok(Arc::clone(&self.0))
    }
}

fn print_rates(events: &[Vec<u8>], duration: Duration) -> Made {
    let key = Arc::new(HybridPrivateKey::generate().map_err(|error| error.to_string())?);
    let name = "dek-v1-20260101".parse().map_err(|_| "no name of a DEK")?;
    let dek = Arc::new(SealingDek { public_key: key.public_key().clone(), name });
    let mut encryptor = PiiEncryptor::new(Arc::new(dek), EncryptorOptions::default())
        .map_err(|error| format!("no encryptor: {error}"))?;
    let mut decryptor = PiiDecryptor::new(Arc::new(Key(key)), DecryptorOptions::default());
    let mut out = Vec::new();
    let mut sealed = Vec::new();
    for event in events {
        let boxes = encryptor.encrypt(event).map_err(|error| error.to_string())?;
        out.clear();
        decryptor.decrypt_event(&boxes, &mut out).map_err(|error| error.to_string())?;
        if out != *event {
            return Err("an event came back changed".to_owned());
        }
        sealed.push(boxes);
    }
    let encrypt = rate(events, duration, |event| {
        out.clear();
        encryptor.encrypt_event(Moment::now(), event, &mut out).map_err(|error| error.to_string())?;
        black_box(&out);
        Ok(())
    })?;
    let decrypt = rate(&sealed, duration, |event| {
        out.clear();
        decryptor.decrypt_event(event, &mut out).map_err(|error| error.to_string())?;
        black_box(&out);
        Ok(())
    })?;
    println!("encrypt {encrypt:.1}\ndecrypt {decrypt:.1}");
    Ok(())
}

/// Events per second of processor.
fn rate(events: &[Vec<u8>], duration: Duration, mut work: impl FnMut(&[u8]) -> Made) -> Made<f64> {
    let start = processor_time()?;
    let mut done = 0_u32;
    loop {
        for event in events {
            work(event)?;
            done = done.saturating_add(1);
        }
        let spent = processor_time()?.saturating_sub(start);
        if spent >= duration {
            return Ok(f64::from(done) / spent.as_secs_f64());
        }
    }
}

fn processor_time() -> Made<Duration> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).map_err(|_| "no time of the processor")?;
    Ok(Duration::new(time.tv_sec.unsigned_abs(), nanos))
}

//! Measures sealing and opening beside the work that nobody can save and beside what people do without this crate, all
//! in one run on one core: `cargo run --release -p aegis-pii --example pii_speed [SECONDS]`.
//!
//! - the floor: find the values, splice, base64, and as many bytes of output, without any cryptography;
//! - the naive scheme: serde_json, one KEM a field.
//!
//! One line a work: events a second, and the ratio to the floor. `--json` prints one object instead. `--only NAME EVENTS`
//! does one work so many times and prints nothing: for a profiler. `--events COUNT` prints events, a line each, and
//! `--naive COUNT` the same ones sealed naively: for whoever measures whole programs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for developers: whatever goes wrong here, the answer is to look"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, BufWriter, Write as _};
use std::sync::Arc;
use std::time::Duration;

use aegis_crypto::{ALGORITHM, AssociatedData, HybridPrivateKey, Purpose, seal, sha256};
use aegis_pii::{
    Catalogue, DecryptorOptions, DekName, DekUnavailable, EncryptorOptions, EnvelopeForm, Limits, Moment,
    OpeningDekSource, PersonalValues, PiiDecryptor, PiiEncryptor, SealingDek,
};
use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::{PAD, STANDARD};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const DEK: &str = "dek-v1-20260101";

/// Different events, so that no branch predictor learns them by heart; and few enough, sealed, for the second-level cache,
/// where a filter's input is when it was just read.
const EVENTS: usize = 32;

struct Key(Arc<HybridPrivateKey>);

impl OpeningDekSource for Key {
    fn private_key(&self, _: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        Ok(Arc::clone(&self.0))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--only", name, times] => {
            let (mut works, times) = (works(), times.parse().unwrap());
            let (_, work) = works.iter_mut().find(|(known, _)| known == name).unwrap();
            (0..times).for_each(work);
        }
        ["--events", count] => print_lines(count.parse().unwrap(), event),
        ["--naive", count] => {
            let key = HybridPrivateKey::generate().unwrap();
            let dek = SealingDek { public_key: key.public_key().clone(), name: DEK.parse().unwrap() };
            print_lines(count.parse().unwrap(), |number| naive_event(&event(number), &dek));
        }
        _ => {
            let secs = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1.0);
            print(&measure(secs), words.contains(&"--json"));
        }
    }
}

fn print_lines(count: usize, line: impl Fn(usize) -> Vec<u8>) {
    let mut out = BufWriter::new(io::stdout().lock());
    for number in 0..count {
        out.write_all(&line(number)).unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.flush().unwrap();
}

type Work = Box<dyn FnMut(usize)>;

/// Each in turn for a short while, around and around, so that a slow moment of the machine hits all; by the time that
/// this thread had a processor. The best turn of each counts.
fn measure(secs: f64) -> Vec<(&'static str, f64)> {
    const TURNS: u32 = 10;
    let mut works = works();
    let mut best = vec![0.0_f64; works.len()];
    for _ in 0..TURNS {
        for ((_, work), best) in works.iter_mut().zip(&mut best) {
            let turn = Duration::from_secs_f64(secs) / TURNS;
            let (start, mut events) = (processor_time(), 0);
            while processor_time() - start < turn {
                // The clock is not asked after each event.
                for _ in 0..16 {
                    work(events);
                    events += 1;
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let rate = events as f64 / (processor_time() - start).as_secs_f64();
            *best = best.max(rate);
        }
    }
    works.iter().map(|(name, _)| *name).zip(best).collect()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn print(rates: &[(&'static str, f64)], is_json: bool) {
    let rate_of = |wanted: &str| rates.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let (floor, naive) = (rate_of("floor"), rate_of("naive"));
    if is_json {
        let rates: BTreeMap<_, _> = rates.iter().copied().collect();
        println!("{}", json!(rates));
        return;
    }
    println!("{:<20} {:>12} {:>10} {:>10}", "work", "events/s", "of floor", "of naive");
    for (name, rate) in rates {
        println!("{name:<20} {rate:>12.0} {:>10} {:>10.1}", format!("1/{:.2}", floor / rate), rate / naive);
    }
}

fn works() -> Vec<(&'static str, Work)> {
    let key = Arc::new(HybridPrivateKey::generate().unwrap());
    let dek = Arc::new(SealingDek { public_key: key.public_key().clone(), name: DEK.parse().unwrap() });
    let events: Arc<Vec<Vec<u8>>> = Arc::new((0..EVENTS).map(event).collect());

    let encrypt = |form| -> Work {
        let options = EncryptorOptions { form, ..EncryptorOptions::default() };
        let mut encryptor = PiiEncryptor::new(Arc::new(Arc::clone(&dek)), options).unwrap();
        let (events, mut out) = (Arc::clone(&events), Vec::new());
        Box::new(move |number| {
            out.clear();
            encryptor.encrypt_event(Moment::now(), &events[number % EVENTS], &mut out).unwrap();
            black_box(&out);
        })
    };
    let decrypt = |form| -> Work {
        let options = EncryptorOptions { form, ..EncryptorOptions::default() };
        let mut encryptor = PiiEncryptor::new(Arc::new(Arc::clone(&dek)), options).unwrap();
        let sealed: Vec<Vec<u8>> = events.iter().map(|event| encryptor.encrypt(event).unwrap()).collect();
        let mut decryptor = PiiDecryptor::new(Arc::new(Key(Arc::clone(&key))), DecryptorOptions::default());
        let mut out = Vec::new();
        Box::new(move |number| {
            out.clear();
            decryptor.decrypt_event(&sealed[number % EVENTS], &mut out).unwrap();
            black_box(&out);
        })
    };
    let naive = {
        let (events, dek) = (Arc::clone(&events), Arc::clone(&dek));
        Box::new(move |number: usize| {
            black_box(naive_event(&events[number % EVENTS], &dek));
        })
    };
    let naive_decrypt: Work = {
        let sealed: Vec<Vec<u8>> = events.iter().take(16).map(|event| naive_event(event, &dek)).collect();
        let mut decryptor = PiiDecryptor::new(Arc::new(Key(Arc::clone(&key))), DecryptorOptions::default());
        let mut out = Vec::new();
        Box::new(move |number| {
            out.clear();
            // More encapsulations in turn than are kept, so that each is opened anew.
            decryptor.decrypt_event(&sealed[number % 16], &mut out).unwrap();
            black_box(&out);
        })
    };
    vec![
        ("floor", floor(Arc::clone(&events))),
        ("encrypt", encrypt(EnvelopeForm::SelfContained)),
        ("decrypt", decrypt(EnvelopeForm::SelfContained)),
        ("encrypt compact", encrypt(EnvelopeForm::Compact)),
        ("decrypt compact", decrypt(EnvelopeForm::Compact)),
        ("scan", scan(Arc::clone(&events))),
        ("naive", naive),
        ("decrypt naive", naive_decrypt),
    ]
}

/// 1.1 kB: 8 personal members and 13 others.
fn event(number: usize) -> Vec<u8> {
    let mut text = String::new();
    let id = sha256(&number.to_le_bytes()).to_string();
    let (a, b) = id.split_at(32);
    write!(
        text,
        concat!(
            r#"{{"event_id":"{a}","timestamp":"2026-03-01T12:00:{second:02}.123456Z","service":"governance-gate","#,
            r#""environment":"production","region":"eu-central-1","version":"2.14.{second}","schema":"telemetry/v3","#,
            r#""workflow_id":"wf-{b}","actor_id":"user-{number}@example.org","author_id":"author-{number}@example.org","#,
            r#""decision_actor":"lead-{number}@example.org","decision_rationale":"accepted until the next review because the "#,
            r#"rollback was rehearsed and the exposure is small","override_justification":"customer deadline, see CHG-{number}","#,
            r#""requested_by":"requester-{number}@example.org","risk_lead_signature":"{a}{b}","latency_ms":{number}.25,"#,
            r#""attempt":1,"ok":true,"tags":["gate","override","two-key"],"scores":{{"risk":0.{number},"cost":12.5,"#,
            r#""complexity":0.75}},"message":"decision recorded, and the proposal moved to the next stage of its life; the gates for "#,
            r#"risk, profit, novelty and complexity had passed before, the one for quality was overridden by two custodians, and "#,
            r#"the next review is due in fourteen days at the latest"}}"#
        ),
        a = a,
        b = b,
        number = number,
        second = number % 60,
    )
    .unwrap();
    text.into_bytes()
}

fn scan(events: Arc<Vec<Vec<u8>>>) -> Work {
    let mut values = PersonalValues::new(Catalogue::guide(), Limits::for_encryption());
    Box::new(move |number| {
        black_box(values.find(&events[number % EVENTS]).unwrap().count());
    })
}

/// What encryption has to do besides the cryptography: random bytes stand for boxes and digests.
fn floor(events: Arc<Vec<Vec<u8>>>) -> Work {
    let mut values = PersonalValues::new(Catalogue::guide(), Limits::for_encryption());
    let prefix = format!(
        r#"{{"_encrypted":true,"_algorithm":"{ALGORITHM}","_dek_version":"{DEK}","_ciphertext":"{}"#,
        "A".repeat(1492)
    );
    let hash = format!(
        r#"","_plaintext_hash":"hmac-sha256:{}","_encrypted_at":"2026-03-01T12:00:00Z"}}"#,
        "0".repeat(64)
    );
    let (mut out, mut body) = (Vec::new(), Vec::new());
    let engine = Simd::standard(PAD);
    Box::new(move |number| {
        out.clear();
        let event = &events[number % EVENTS];
        let mut at = 0;
        for value in values.find(event).unwrap() {
            out.extend_from_slice(&event[at..value.bytes.start]);
            at = value.bytes.end;
            out.extend_from_slice(prefix.as_bytes());
            body.clear();
            body.extend_from_slice(&[0; 13]);
            body.extend_from_slice(&event[value.bytes]);
            body.extend_from_slice(&[0; 16]);
            let start = out.len();
            out.resize(start + body.len().div_ceil(3) * 4, 0);
            engine.encode_slice(&body, &mut out[start..]).unwrap();
            out.extend_from_slice(hash.as_bytes());
        }
        out.extend_from_slice(&event[at..]);
        black_box(&out);
    })
}

/// What one would write in an afternoon.
fn naive_event(event: &[u8], dek: &SealingDek) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(event).unwrap();
    let time = "2026-03-01T12:00:00Z";
    for field in Catalogue::guide().fields() {
        let name = field.selector.as_str();
        let Some(member) = value.get_mut(name) else { continue };
        let plaintext = serde_json::to_vec(member).unwrap();
        let parts =
            [&b"name+sha256"[..], name.as_bytes(), DEK.as_bytes(), ALGORITHM.as_bytes(), time.as_bytes()];
        let boxed = seal(&dek.public_key, Purpose::Field, &AssociatedData::new(parts), &plaintext).unwrap();
        *member = json!({
            "_encrypted": true, "_algorithm": ALGORITHM, "_dek_version": DEK,
            "_ciphertext": STANDARD.encode(boxed),
            "_plaintext_hash": format!("sha256:{}", sha256(&plaintext)),
            "_encrypted_at": time,
        });
    }
    serde_json::to_vec(&value).unwrap()
}

//! Sealed boxes and the hybrid KEM beside the bare primitives of the same library, in one process (`examples/crypto.rs`).

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use super::table::Table;
use super::{Effort, example};
use crate::failure::{Failure, Outcome};

/// A pair that the program measures, and how many times the floor's time ours may take.
struct Pair {
    name: &'static str,
    what: &'static str,
    most: f64,
}

/// Half the rate is twice the time.
const TARGETS: &[Pair] = &[
    Pair { name: "seal", what: "seal 64 bytes, warm context / AES-256-GCM + random nonce", most: 2.0 },
    Pair { name: "open", what: "open 64 bytes, cached context / AES-256-GCM", most: 2.0 },
    Pair { name: "encapsulate", what: "encapsulate / ML-KEM-768 + X25519 twice + SHA3-256", most: 1.15 },
];

const FOR_INFORMATION: &[(&str, &str)] = &[
    ("seal-event", "  seal an event of 8 fields / 8 times AES-256-GCM + random nonce"),
    ("open-body", "  open into memory that is used again / AES-256-GCM"),
    ("decapsulate", "  decapsulate / ML-KEM-768 + X25519 + SHA3-256"),
];

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    let output = Command::new(example("crypto"))
        .arg(effort.rounds(201).to_string())
        .output()
        .map_err(Failure::of("run the crypto program"))?;
    if !output.status.success() {
        return Err(Failure::new(format!("crypto: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let measured: HashMap<&str, (Duration, Duration)> = printed.lines().filter_map(pair).collect();
    let find = |name| {
        measured
            .get(name)
            .copied()
            .ok_or_else(|| Failure::new(format!("crypto measured no {name}: {printed}")))
    };
    for Pair { name, what, most } in TARGETS {
        let (ours, floor) = find(name)?;
        table.ratio(what, ours, floor, *most);
    }
    for (name, what) in FOR_INFORMATION {
        let (ours, floor) = find(name)?;
        table.ratio_for_information(what, ours, floor);
    }
    Ok(())
}

/// `NAME OURS FLOOR`, in nanoseconds.
fn pair(line: &str) -> Option<(&str, (Duration, Duration))> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let ours = Duration::from_nanos(words.next()?.parse().ok()?);
    Some((name, (ours, Duration::from_nanos(words.next()?.parse().ok()?))))
}

//! Any bytes as a dead letter, of a pipeline or of a stream.

use std::sync::LazyLock;

use aegis_crypto::HybridPrivateKey;
use aegis_telemetry::DeadLetterRecord;

use super::{Letter, LetterOrigin};

/// The first key of `docs/vectors/sealed-box-v1.json`, for which the letters of the corpus are.
const SEED: [u8; 32] = [
    0xc8, 0xaa, 0xd4, 0x24, 0x00, 0x06, 0xc8, 0x78, 0x17, 0xd3, 0xc9, 0xa8, 0xe1, 0x05, 0xe8, 0xc3, 0xf3,
    0xbc, 0x03, 0x70, 0x1c, 0x29, 0x3b, 0x03, 0x24, 0x66, 0x70, 0x57, 0xed, 0x0c, 0x36, 0x5b,
];

/// A letter that a pipeline wrote.
const GOOD: &[u8] = include_bytes!("../corpus/dead_letter/boxed");

static KEY: LazyLock<HybridPrivateKey> =
    LazyLock::new(|| HybridPrivateKey::import(&SEED).expect("every 32 bytes are a seed"));

/// A letter opens as it was written, or not at all; and what a list shows of it is no more than a list can bear.
pub(crate) fn run(bytes: &[u8]) {
    let letter = Letter::parse(bytes);
    if let Err(error) = &letter {
        assert!(error.to_string().len() < 200, "a refusal repeats the letter");
    }
    match DeadLetterRecord::parse(bytes) {
        Ok(record) => {
            let letter = letter.expect("a pipeline's letter is a letter");
            assert_eq!((letter.at.as_ref(), letter.len), (Some(&record.at), record.len as u64));
            assert!(record.id.len() <= 45 && record.at.len() <= 40, "a name or a time without end");
            if let Some(event) = record.sealed_event() {
                assert!(
                    bytes.windows(event.len()).any(|window| window == event),
                    "an event that was not there"
                );
            }
            if let Ok(event) = record.open(&KEY) {
                let good = DeadLetterRecord::parse(GOOD).expect("it was written by a pipeline");
                assert_eq!((&record.id, &record.at, record.reason), (&good.id, &good.at, good.reason));
                assert_eq!(*event, *good.open(&KEY).expect("it is for this key"), "another event opens");
            }
        }
        Err(_) => {
            if let Ok(letter) = letter {
                assert!(matches!(letter.origin, LetterOrigin::Stream { .. }), "it is none of a pipeline's");
            }
        }
    }
}

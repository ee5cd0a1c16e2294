//! What is promised of sealed fields, from outside: round trips, refusals, hostile events.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the lint table allows these in test functions; here every function serves one"
)]

mod catalogues;
mod envelopes;
mod events;
mod familiar;
mod frozen;
mod grammar;
mod hostile;
mod inspection;
mod limits;
mod moved;
mod rotation;
mod round_trip;
mod together;
mod tokens;

/// What the fuzzer says of any event.
#[path = "../../../../fuzz/entry/pii_event.rs"]
mod pii_event;

use std::sync::{Arc, LazyLock};

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{
    DecryptorOptions, DekName, DekUnavailable, EncryptorOptions, EnvelopeForm, OpeningDekSource,
    PiiDecryptor, PiiEncryptor, SealingDek,
};

const DEK: &str = "dek-v1-20260101";

/// Made once; importing a key takes milliseconds.
static KEY: LazyLock<Arc<HybridPrivateKey>> =
    LazyLock::new(|| Arc::new(HybridPrivateKey::generate().unwrap()));

/// Has one DEK.
struct OneDek;

impl OpeningDekSource for OneDek {
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        if name.as_str() == DEK { Ok(Arc::clone(&KEY)) } else { Err(DekUnavailable::Unknown) }
    }
}

fn dek() -> Arc<SealingDek> {
    Arc::new(SealingDek { public_key: KEY.public_key().clone(), name: DEK.parse().unwrap() })
}

fn encryptor(options: EncryptorOptions) -> PiiEncryptor {
    PiiEncryptor::new(Arc::new(dek()), options).unwrap()
}

fn encryptor_of(form: EnvelopeForm) -> PiiEncryptor {
    encryptor(EncryptorOptions { form, ..EncryptorOptions::default() })
}

fn decryptor() -> PiiDecryptor {
    decryptor_with(DecryptorOptions::default())
}

fn decryptor_with(options: DecryptorOptions) -> PiiDecryptor {
    PiiDecryptor::new(Arc::new(OneDek), options)
}

const FORMS: [EnvelopeForm; 2] = [EnvelopeForm::SelfContained, EnvelopeForm::Compact];

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

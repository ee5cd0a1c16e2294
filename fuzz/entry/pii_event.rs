//! Any bytes as an event, to be encrypted and decrypted.

use std::sync::{Arc, LazyLock, Mutex};

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{
    Catalogue, DecryptorOptions, DekName, DekUnavailable, EncryptorOptions, EnvelopeForm, Inspector, Limits,
    Moment, OpeningDekSource, PiiDecryptor, PiiEncryptor, SealingDek, Unopenable,
};

/// The first key of `docs/vectors/sealed-box-v1.json`, under which `docs/vectors/pii-event-v1.json` is sealed.
const SEED: [u8; 32] = [
    0xc8, 0xaa, 0xd4, 0x24, 0x00, 0x06, 0xc8, 0x78, 0x17, 0xd3, 0xc9, 0xa8, 0xe1, 0x05, 0xe8, 0xc3, 0xf3,
    0xbc, 0x03, 0x70, 0x1c, 0x29, 0x3b, 0x03, 0x24, 0x66, 0x70, 0x57, 0xed, 0x0c, 0x36, 0x5b,
];
const DEK: &str = "dek-v1-20260101";

static BENCH: LazyLock<Mutex<Bench>> = LazyLock::new(|| Mutex::new(Bench::new()));

/// What is said of any event.
pub(crate) fn run(bytes: &[u8]) {
    let mut bench = BENCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Bench { encryptors, decryptor, inspector } = &mut *bench;
    for encryptor in encryptors {
        let mut sealed = b"before".to_vec();
        let Ok(done) = encryptor.encrypt_event(Moment::now(), bytes, &mut sealed) else {
            assert_eq!(sealed, b"before", "nothing is written of an event that is refused");
            continue;
        };
        let sealed = sealed.get(6..).expect("it begins with what was there");
        if done.sealed == 0 {
            assert_eq!(sealed, bytes, "an event with nothing to seal is copied");
        }
        let inspection = inspector.inspect(sealed).expect("what was written is an event");
        assert_eq!(inspection.clear, [], "nothing personal is left in the clear");
        assert!(inspection.sealed.len() >= done.sealed + done.already_sealed);

        let mut again = Vec::new();
        let second =
            encryptor.encrypt_event(Moment::now(), sealed, &mut again).expect("and it can be sealed");
        assert_eq!((second.sealed, again.as_slice()), (0, sealed), "a second encryption changes nothing");

        // Events may hold fields that were sealed before, as the corpus does. So they open to the same either way.
        let opened = decryptor.decrypt(sealed).expect("what was written can be read");
        assert_eq!(opened, decryptor.decrypt(bytes).expect("and what was given"));
        if inspector.inspect(bytes).is_ok_and(|before| before.sealed.is_empty()) {
            assert_eq!(opened, bytes, "what was sealed comes back");
        }
    }
}

/// Used for one input after the other, because it keeps buffers and keys between them.
struct Bench {
    encryptors: Vec<PiiEncryptor>,
    decryptor: PiiDecryptor,
    inspector: Inspector,
}

impl Bench {
    fn new() -> Self {
        let key = Arc::new(HybridPrivateKey::import(&SEED).expect("every 32 bytes are a seed"));
        let catalogue =
            Catalogue::from_json(br#"{"extend":[{"pointer":"/users/*/email"},{"pointer":"/list/1"}]}"#)
                .expect("the pointers are good");
        let dek = SealingDek {
            public_key: key.public_key().clone(),
            name: DEK.parse().expect("it is the vectors' DEK"),
        };
        let dek = Arc::new(dek);
        let encryptor = |form| {
            let options =
                EncryptorOptions { catalogue: catalogue.clone(), form, ..EncryptorOptions::default() };
            PiiEncryptor::new(Arc::new(Arc::clone(&dek)), options).expect("the options are good")
        };
        let options = DecryptorOptions { unopenable: Unopenable::Leave, ..DecryptorOptions::default() };
        Self {
            encryptors: [EnvelopeForm::SelfContained, EnvelopeForm::Compact].map(encryptor).into(),
            decryptor: PiiDecryptor::new(Arc::new(OneKey(key)), options),
            inspector: Inspector::new(catalogue, Limits::for_decryption()),
        }
    }
}

struct OneKey(Arc<HybridPrivateKey>);

impl OpeningDekSource for OneKey {
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        if name.as_str() == DEK { Ok(Arc::clone(&self.0)) } else { Err(DekUnavailable::Unknown) }
    }
}

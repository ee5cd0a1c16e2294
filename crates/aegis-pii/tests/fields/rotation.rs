//! DEKs that rotate while events flow, and DEKs that are gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{
    DecryptError, DecryptorOptions, DekName, DekUnavailable, EncryptError, EncryptorOptions, FieldFault,
    Moment, OpeningDekSource, PiiDecryptor, PiiEncryptor, SealingDek, SealingDekSource, Unopenable,
};

use crate::FORMS;

/// A keyring as small as can be.
#[derive(Default)]
struct Ring {
    active: Mutex<Option<Arc<SealingDek>>>,
    keys: Mutex<HashMap<DekName, Arc<HybridPrivateKey>>>,
    asked: Mutex<usize>,
}

impl Ring {
    fn rotate(&self, version: &str) {
        let key = Arc::new(HybridPrivateKey::generate().unwrap());
        let name: DekName = version.parse().unwrap();
        let dek = SealingDek { public_key: key.public_key().clone(), name: name.clone() };
        self.keys.lock().unwrap().insert(name, key);
        *self.active.lock().unwrap() = Some(Arc::new(dek));
    }
}

impl SealingDekSource for Ring {
    fn active(&self) -> Result<Arc<SealingDek>, DekUnavailable> {
        self.active.lock().unwrap().clone().ok_or(DekUnavailable::Unreachable)
    }
}

impl OpeningDekSource for Ring {
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        *self.asked.lock().unwrap() += 1;
        self.keys.lock().unwrap().get(name).cloned().ok_or(DekUnavailable::Destroyed)
    }
}

#[test]
fn follows_a_rotation_in_the_middle_of_a_stream() {
    let ring = Arc::new(Ring::default());
    let event = br#"{"actor_id":"alice"}"#;
    for form in FORMS {
        let options = EncryptorOptions { form, ..EncryptorOptions::default() };
        let mut encryptor = PiiEncryptor::new(Arc::clone(&ring) as _, options).unwrap();
        let mut decryptor = PiiDecryptor::new(Arc::clone(&ring) as _, DecryptorOptions::default());
        let mut stream = Vec::new();
        for version in ["dek-v1-20260101", "dek-v1-20260401", "dek-v1-20260401-2"] {
            ring.rotate(version);
            for _ in 0..3 {
                let mut sealed = Vec::new();
                let done = encryptor.encrypt_event(Moment::now(), event, &mut sealed).unwrap();
                assert_eq!(done.dek.unwrap().name.as_str(), version);
                stream.push(sealed);
            }
        }
        *ring.asked.lock().unwrap() = 0;
        for _ in 0..2 {
            for sealed in &stream {
                assert_eq!(decryptor.decrypt(sealed).unwrap(), event);
            }
        }
        assert_eq!(*ring.asked.lock().unwrap(), 3, "the source is asked once a version");
        ring.keys.lock().unwrap().clear();
        assert!(decryptor.decrypt(&stream[0]).is_ok(), "what is kept, is kept");
        decryptor.forget();
        let error = decryptor.decrypt(&stream[0]).unwrap_err();
        assert!(matches!(
            error,
            DecryptError::Field { fault: FieldFault::Dek(DekUnavailable::Destroyed), .. }
        ));
        assert!(error.to_string().contains("dek-v1-20260101"));
    }
}

#[test]
fn one_key_opens_whatever_version_an_event_names() {
    let key = Arc::new(HybridPrivateKey::generate().unwrap());
    let mut decryptor = PiiDecryptor::new(Arc::new(Arc::clone(&key)), DecryptorOptions::default());
    for version in ["dek-v1-20260101", "dek-v1-20270101-2"] {
        let dek = SealingDek { public_key: key.public_key().clone(), name: version.parse().unwrap() };
        let mut encryptor = PiiEncryptor::new(Arc::new(Arc::new(dek)), EncryptorOptions::default()).unwrap();
        let sealed = encryptor.encrypt(b"{\"actor_id\":7}").unwrap();
        assert_eq!(decryptor.decrypt(&sealed).unwrap(), b"{\"actor_id\":7}");
    }
}

#[test]
fn without_an_active_dek_nothing_comes_out() {
    let ring = Arc::new(Ring::default());
    let mut encryptor = PiiEncryptor::new(ring, EncryptorOptions::default()).unwrap();
    let mut out = b"before".to_vec();
    let error = encryptor.encrypt_event(Moment::now(), br#"{"actor_id":"alice"}"#, &mut out).unwrap_err();
    assert_eq!(error, EncryptError::Dek(DekUnavailable::Unreachable));
    assert_eq!(out, b"before");
    // Nothing to seal needs no key.
    assert!(encryptor.encrypt(br#"{"x":"y"}"#).is_ok());
}

#[test]
fn a_fault_that_may_pass_leaves_no_field_sealed_by_mistake() {
    struct Away;
    impl OpeningDekSource for Away {
        fn private_key(&self, _: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
            Err(DekUnavailable::Unreachable)
        }
    }
    let sealed = crate::encryptor_of(FORMS[0]).encrypt(br#"{"actor_id":"alice"}"#).unwrap();
    let options = DecryptorOptions { unopenable: Unopenable::Leave, ..DecryptorOptions::default() };
    let mut decryptor = PiiDecryptor::new(Arc::new(Away), options);
    assert!(matches!(
        decryptor.decrypt(&sealed),
        Err(DecryptError::Field { fault: FieldFault::Dek(DekUnavailable::Unreachable), .. })
    ));
}

#[test]
fn the_context_is_replaced_in_time_and_can_be_prepared_ahead() {
    let start = Instant::now();
    let moment = |secs| Moment { monotonic: start + Duration::from_secs(secs), wall: Moment::now().wall };
    let mut encryptor = crate::encryptor_of(FORMS[0]);
    let event = br#"{"actor_id":"alice"}"#;
    let mut encapsulation_at = |secs| {
        let mut out = Vec::new();
        encryptor.encrypt_event(moment(secs), event, &mut out).unwrap();
        if encryptor.wants_preparation(moment(secs)) {
            encryptor.prepare(moment(secs)).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        let at = text.find("_ciphertext").unwrap();
        text[at..at + 1000].to_owned()
    };
    let first = encapsulation_at(0);
    assert_eq!(first, encapsulation_at(45));
    assert_ne!(first, encapsulation_at(61));
}

#[test]
fn threads_each_have_their_own_and_agree() {
    let event = br#"{"actor_id":"alice"}"#;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let mut encryptor = crate::encryptor_of(FORMS[1]);
                scope.spawn(move || encryptor.encrypt(event).unwrap())
            })
            .collect();
        for worker in workers {
            assert_eq!(crate::decryptor().decrypt(&worker.join().unwrap()).unwrap(), event);
        }
    });
}

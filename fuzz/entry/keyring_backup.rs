//! Any bytes as a keyring backup: for a KEK, for an age recipient, and as what is inside.

use std::sync::LazyLock;

use aegis_crypto::{HybridPrivateKey, sha256};
use aegis_kek::Kek;
use aegis_keyring::{AgeIdentities, BackupKey, BackupLock, BackupSummary, check_plaintext, verify_backup};

/// The keys that the good backups were made for. They serve nothing else.
const KEK_SEED: [u8; 32] = [0x2b; 32];
const AGE_IDENTITY: &str = include_str!("../fixtures/keyring_backup/identity.txt");
/// A keyring with two KEKs and two DEKs, one of either at the end of its life, in both forms.
const FOR_KEK: &[u8] = include_bytes!("../corpus/keyring_backup/good-kek");
const FOR_AGE: &[u8] = include_bytes!("../corpus/keyring_backup/good-age");

struct Keys {
    kek: Kek,
    identities: AgeIdentities,
    for_kek: BackupSummary,
    for_age: BackupSummary,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let kek = Kek::new(HybridPrivateKey::import(&KEK_SEED).expect("every 32 bytes are a seed"));
    let identities = AgeIdentities::parse(AGE_IDENTITY).expect("the identity is good");
    let for_kek = verify_backup(&mut &*FOR_KEK, BackupKey::Kek(&kek), None).expect("it is good");
    let for_age = verify_backup(&mut &*FOR_AGE, BackupKey::Age(&identities), Some(&kek)).expect("it is good");
    Keys { kek, identities, for_kek, for_age }
});

/// What is accepted has one spelling; and of all files one opens in each way, the one that was made so.
pub(crate) fn run(bytes: &[u8]) {
    let Keys { kek, identities, for_kek, for_age } = &*KEYS;
    if let Ok(printed) = check_plaintext(bytes) {
        assert_eq!(printed, bytes);
    }
    let lock = BackupLock::of(bytes);
    match verify_backup(&mut &*bytes, BackupKey::Kek(kek), None) {
        Ok(summary) => {
            assert_eq!(lock, Some(BackupLock::Kek(kek.key_id())));
            assert_eq!(summary, *for_kek, "a changed backup verifies");
        }
        Err(_) => assert!(bytes != FOR_KEK, "the good backup is refused"),
    }
    match verify_backup(&mut &*bytes, BackupKey::Age(identities), Some(kek)) {
        Ok(summary) => {
            assert_eq!(lock, Some(BackupLock::Age));
            assert_eq!((summary.bytes, summary.sha256), (bytes.len() as u64, sha256(bytes)));
            // Age may have two spellings of a header; of what is in it there is one.
            let BackupSummary { bytes, sha256, .. } = *for_age;
            assert_eq!(BackupSummary { bytes, sha256, ..summary }, *for_age, "a changed backup verifies");
        }
        Err(_) => assert!(bytes != FOR_AGE, "the good backup is refused"),
    }
}

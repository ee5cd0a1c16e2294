//! No private key is in what a keyring writes: its files, its backups, its messages.

use std::path::Path;
use std::time::Duration;

use aegis_kek::Kek;
use aegis_keyring::{AgeIdentities, AgeRecipient, BackupRecipient, Retired};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};

use crate::fixture::{Ring, assert_all_open, kek, version};

/// A piece of a private key, in every form in which it could have been written.
pub(crate) struct Needle {
    name: String,
    forms: Vec<Vec<u8>>,
}

/// The halves of a key that are secret: X25519, and the start of the private vector of ML-KEM.
fn needles(name: &str, private: &[u8]) -> Vec<Needle> {
    let piece = |what: &str, bytes: &[u8]| {
        let hex = hex::encode(bytes);
        let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
        // Base64 of a longer text depends on where in a group of three the piece begins.
        for skip in 0..3 {
            let whole = &bytes[skip..skip + (bytes.len() - skip) / 3 * 3];
            forms.push(Base64::encode_string(whole).into_bytes());
            forms.push(Base64UrlUnpadded::encode_string(whole).into_bytes());
        }
        Needle { name: format!("{what} of {name}"), forms }
    };
    vec![piece("X25519", &private[..32]), piece("ML-KEM", &private[32..64])]
}

pub(crate) fn needles_of(keks: &[&Kek], ring: &Ring, open_with: &Kek) -> Vec<Needle> {
    let mut all = Vec::new();
    for (nth, kek) in keks.iter().enumerate() {
        all.extend(needles(&format!("KEK {nth}"), kek.private_key().dangerous_expose()));
    }
    for dek in assert_all_open(&ring.keyring, open_with) {
        all.extend(needles(&dek.version().to_string(), dek.private_key().dangerous_expose()));
    }
    all
}

#[track_caller]
pub(crate) fn assert_absent(needles: &[Needle], place: &str, bytes: &[u8]) {
    for needle in needles {
        for form in &needle.forms {
            let found = bytes.windows(form.len()).any(|window| window == form);
            assert!(!found, "{} is in {place}", needle.name);
        }
    }
}

fn files_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.display().to_string(), std::fs::read(path).unwrap())
    };
    std::fs::read_dir(dir).unwrap().map(read).collect()
}

#[test]
fn no_private_key_is_in_the_store_or_a_backup() {
    let ring = Ring::with_deks(3);
    let new = kek();
    ring.rotate_kek(&ring.kek, &new).unwrap();
    ring.make(1);
    let needles = needles_of(&[&ring.kek, &new], &ring, &new);
    // The search finds what is there.
    let found = std::panic::catch_unwind(|| {
        assert_absent(&needles, "itself", new.private_key().dangerous_expose());
    });
    assert!(found.is_err(), "the search is blind");

    for (path, bytes) in files_of(ring.dir.path()) {
        assert_absent(&needles, &path, &bytes);
    }
    // Neither in the file nor in what is decrypted from it.
    let identity = age::x25519::Identity::generate();
    let recipient: AgeRecipient = identity.to_public().to_string().parse().unwrap();
    let mut backup = Vec::new();
    ring.keyring.backup(&BackupRecipient::Age(recipient), &mut backup).unwrap();
    assert_absent(&needles, "a backup", &backup);
    let plaintext = age::decrypt(&identity, &backup).unwrap();
    assert!(plaintext.starts_with(b"aegis-keyring 1\n"));
    assert_absent(&needles, "a decrypted backup", &plaintext);
}

#[test]
fn a_destroyed_dek_is_nowhere_in_the_files() {
    let ring = Ring::with_deks(2);
    let dek = version("dek-v1-20260115");
    let sealed = ring.store().wrapping(dek, ring.kek.key_id()).unwrap().unwrap();
    let body = sealed[1120..].to_vec();
    let is_there = |ring: &Ring| {
        files_of(ring.dir.path())
            .iter()
            .any(|(_, bytes)| bytes.windows(64).any(|window| window == &body[..64]))
    };
    assert!(is_there(&ring), "the search is blind");
    ring.keyring.mark_for_destruction(dek, Duration::ZERO).unwrap();
    ring.keyring.destroy(dek).unwrap();
    assert!(!is_there(&ring));
}

#[test]
fn what_is_shown_of_keys_is_their_names() {
    let ring = Ring::with_deks(1);
    let dek = ring.keyring.open(version("dek-v1-20260115"), &ring.kek, Retired::Refuse).unwrap();
    let identity = age::x25519::Identity::generate();
    let secret_text = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    let identities = AgeIdentities::parse(&secret_text).unwrap();
    let shown = format!("{dek:?} {:?} {identities:?} {:?}", ring.kek, ring.keyring);
    assert!(shown.contains("dek-v1-20260115") && shown.contains(&dek.key_id().to_string()), "{shown}");
    assert!(!shown.contains(&secret_text));
    let mut needles = needles("the DEK", dek.private_key().dangerous_expose());
    needles.extend(self::needles("the KEK", ring.kek.private_key().dangerous_expose()));
    assert_absent(&needles, "what is shown", shown.as_bytes());

    let broken = format!("# mine\n{}X\n", &secret_text[..secret_text.len() - 1]);
    let error = AgeIdentities::parse(&broken).unwrap_err();
    assert_eq!(error.to_string(), "line 2 of the age identities is no AGE-SECRET-KEY-1…");
}

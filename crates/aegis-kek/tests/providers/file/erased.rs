//! What a key file was made of, or gave, is in no memory of this process afterwards.

use std::process::Command;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use aegis_kek::{FileKekProvider, KekProvider, Passphrase, PassphraseSource};
use test_services::scratch;

use crate::memory::{Inverted, found, inverted};

const NONE: [usize; 0] = [];

/// Runs `body` in a process of its own, where nothing else works. `test` is the path of the test that calls it.
fn alone(test: &str, body: impl FnOnce()) {
    const CHILD: &str = "AEGIS_TEST_ALONE";
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let output = Command::new("/proc/self/exe")
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let printed =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // A wrong name would be no test at all, and pass.
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

/// Pieces of a private key from both halves.
fn pieces(private: &HybridPrivateKey) -> Vec<Inverted> {
    [16, 40, 600, 1160, 2416].map(|at| inverted(&private.dangerous_expose()[at..])).to_vec()
}

/// A passphrase that stands in no file, and what to look for.
fn passphrase() -> (Passphrase, Inverted) {
    let mut random = aegis_crypto::Secret::<16>::random().unwrap().expose().map(|byte| b'a' + byte % 26);
    let passphrase = Passphrase::new(str::from_utf8(&random).unwrap()).unwrap();
    let wanted = inverted(&random);
    random.fill(0);
    std::hint::black_box(&mut random);
    (passphrase, wanted)
}

#[test]
fn nothing_is_left_of_a_key_that_was_put_into_a_file() {
    alone("file::erased::nothing_is_left_of_a_key_that_was_put_into_a_file", || {
        let dir = scratch::dir();
        let private = HybridPrivateKey::generate().unwrap();
        let (passphrase, word) = passphrase();
        let wanted = [pieces(&private), vec![word]].concat();
        assert_eq!(found(&wanted).len(), wanted.len(), "the search does not see what is there");
        FileKekProvider::create(&dir.path().join("kek"), &passphrase, &private).unwrap();
        drop(private);
        drop(passphrase);
        assert_eq!(found(&wanted), NONE);
    });
}

/// Makes a key file whose key and passphrase are known to nobody afterwards.
fn forgotten(path: &std::path::Path) -> (HybridPublicKey, Passphrase, Vec<Inverted>) {
    let private = HybridPrivateKey::generate().unwrap();
    let (passphrase, word) = passphrase();
    let wanted = [pieces(&private), vec![word]].concat();
    FileKekProvider::create(path, &passphrase, &private).unwrap();
    (private.public_key().clone(), passphrase, wanted)
}

#[test]
fn nothing_is_left_of_a_key_that_a_file_gave() {
    alone("file::erased::nothing_is_left_of_a_key_that_a_file_gave", || {
        let dir = scratch::dir();
        let path = dir.path().join("kek");
        let (public_key, passphrase, wanted) = forgotten(&path);
        let provider = FileKekProvider::open(&path, PassphraseSource::Given(passphrase)).unwrap();
        let kek = provider.load().unwrap();
        assert_eq!(kek.public_key(), &public_key);
        assert_eq!(found(&wanted).len(), wanted.len(), "the search does not see what is there");
        drop(kek);
        drop(provider);
        assert_eq!(found(&wanted), NONE);
    });
}

#[test]
fn nothing_is_left_of_a_key_whose_passphrase_was_changed() {
    alone("file::erased::nothing_is_left_of_a_key_whose_passphrase_was_changed", || {
        let dir = scratch::dir();
        let path = dir.path().join("kek");
        let (_, old, mut wanted) = forgotten(&path);
        let (new, word) = passphrase();
        wanted.push(word);
        FileKekProvider::change_passphrase(&path, &old, &new).unwrap();
        drop((old, new));
        assert_eq!(found(&wanted), NONE);
    });
}

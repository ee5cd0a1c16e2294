use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aegis_crypto::{PrivateKeyKind, PublicKeyError};
use rustix::fs::Mode;

use super::*;
use crate::sign::samples::{id, key, public, skipped};

/// A directory with a mode that nobody else can write to, whatever the umask.
fn key_dir() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("keys");
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o755);
    (root, dir)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn put(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    set_mode(&path, 0o644);
    path
}

fn fifo(path: &Path) {
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// A directory with one good key, in which `name` is bad; the error must name it.
fn refused(name: &str, spoil: impl FnOnce(&Path)) -> KeysError {
    let (_root, dir) = key_dir();
    put(&dir, "good.pub", public(1).to_spki_pem());
    spoil(&dir);
    let error = TrustedKeys::load(&dir).expect_err("a bad file was skipped");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains(&dir.join(name).display().to_string()), "{text}");
    error
}

fn names(keys: &TrustedKeys) -> Vec<&str> {
    keys.iter().map(|key| key.name.as_str()).collect()
}

#[test]
fn reads_all_three_spellings_in_the_order_of_names() {
    let (_root, dir) = key_dir();
    put(&dir, "c.pub", public(1).to_spki_pem());
    put(&dir, "a.pub", public(2).to_hex());
    put(&dir, "b.pub", public(3).to_openssh("ops@example"));
    let keys = TrustedKeys::load(&dir).unwrap();
    assert_eq!(names(&keys), ["a", "b", "c"]);
    assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), [id(2), id(3), id(1)]);
    assert_eq!(keys.by_id().into_keys().collect::<Vec<_>>().len(), 3);
    for key in keys.iter() {
        assert_eq!(key.path, dir.join(format!("{}.pub", key.name)));
        assert_eq!(key.key.key_id(), key.id);
    }
}

#[test]
fn a_directory_that_is_not_there_holds_no_keys() {
    let (root, dir) = key_dir();
    assert!(TrustedKeys::load(&dir).unwrap().is_empty());
    assert!(TrustedKeys::load(&root.path().join("none")).unwrap().is_empty());
}

#[test]
fn one_key_in_two_files_is_one_key() {
    let (_root, dir) = key_dir();
    put(&dir, "a.pub", public(1).to_spki_pem());
    put(&dir, "b.pub", public(1).to_hex());
    let keys = TrustedKeys::load(&dir).unwrap();
    assert_eq!((keys.len(), keys.iter().count(), keys.files_of(&id(1)).len()), (1, 2, 2));
    assert_eq!(keys.find(&id(1).to_string()[..8].parse().unwrap()).unwrap().id, id(1));
}

#[test]
fn finds_a_key_by_the_digits_that_tell_it_apart() {
    let (_root, dir) = key_dir();
    put(&dir, "a.pub", public(1).to_spki_pem());
    put(&dir, "b.pub", public(2).to_spki_pem());
    let keys = TrustedKeys::load(&dir).unwrap();
    for number in [1, 2] {
        for len in [8, 16, 64] {
            let typed = id(number).to_string()[..len].to_uppercase();
            assert_eq!(keys.find(&typed.parse().unwrap()).unwrap().id, id(number), "{typed}");
        }
    }
    let none: KeyIdPrefix = "00000000".parse().unwrap();
    assert!(matches!(keys.find(&none), Err(FindKeyError::None { .. })));
    // No two ids share eight digits by chance, so the two answers of `find` are made by hand.
    let mut same = keys.clone();
    same.files[1].id = id(3);
    same.files[0].id = id(3);
    assert_eq!(same.find(&id(3).to_string().parse().unwrap()).unwrap().id, id(3));
}

#[test]
fn ignores_what_is_not_named_like_a_key() {
    let (_root, dir) = key_dir();
    put(&dir, "good.pub", public(1).to_spki_pem());
    for name in [
        ".hidden.pub",
        ".good.pub.tmp",
        "README",
        "good.pub~",
        "good.pub.bak",
        "revoked",
        "good.PUB",
        "pub",
        ".pub",
    ] {
        put(&dir, name, b"junk");
    }
    fs::create_dir(dir.join("old")).unwrap();
    symlink("/dev/zero", dir.join("link")).unwrap();
    fifo(&dir.join("fifo"));
    assert_eq!(names(&TrustedKeys::load(&dir).unwrap()), ["good"]);
}

#[test]
fn refuses_a_link() {
    let outside = tempfile::tempdir().unwrap();
    let target = put(outside.path(), "elsewhere.pub", public(2).to_spki_pem());
    for to in [
        target.as_path(),
        Path::new("good.pub"),
        Path::new("nowhere"),
        Path::new("bad.pub"),
        Path::new("/dev/zero"),
    ] {
        let error = refused("bad.pub", |dir| symlink(to, dir.join("bad.pub")).unwrap());
        assert!(matches!(error, KeysError::File { source: ReadError::Link { .. } }), "{error:?}");
    }
}

#[test]
fn refuses_what_is_not_a_file_without_waiting_for_it() {
    let error = refused("bad.pub", |dir| fifo(&dir.join("bad.pub")));
    assert!(
        matches!(error, KeysError::File { source: ReadError::NotAFile { kind: "a FIFO", .. } }),
        "{error:?}"
    );
    let error = refused("bad.pub", |dir| fs::create_dir(dir.join("bad.pub")).unwrap());
    assert!(
        matches!(error, KeysError::File { source: ReadError::NotAFile { kind: "a directory", .. } }),
        "{error:?}"
    );
    let error = refused("bad.pub", |dir| drop(UnixListener::bind(dir.join("bad.pub")).unwrap()));
    assert!(
        matches!(error, KeysError::File { source: ReadError::NotAFile { kind: "a socket", .. } }),
        "{error:?}"
    );
}

#[test]
fn refuses_what_others_can_write() {
    for mode in [0o664, 0o646, 0o666, 0o622, 0o777, 0o620, 0o602] {
        let error = refused("bad.pub", |dir| set_mode(&put(dir, "bad.pub", public(2).to_spki_pem()), mode));
        assert!(matches!(error, KeysError::Permissions { .. }), "{mode:o}: {error:?}");
        assert!(error.help().unwrap().contains("chmod go-w"));
    }
    for mode in [0o644, 0o600, 0o444, 0o755] {
        let (_root, dir) = key_dir();
        set_mode(&put(&dir, "good.pub", public(1).to_spki_pem()), mode);
        TrustedKeys::load(&dir).unwrap();
    }
    for mode in [0o775, 0o757, 0o777, 0o1777] {
        let (_root, dir) = key_dir();
        put(&dir, "good.pub", public(1).to_spki_pem());
        set_mode(&dir, mode);
        assert!(
            matches!(TrustedKeys::load(&dir), Err(KeysError::Permissions { path, .. }) if path == dir),
            "{mode:o}"
        );
        // An empty directory that others can fill is no better.
        fs::remove_file(dir.join("good.pub")).unwrap();
        assert!(matches!(TrustedKeys::load(&dir), Err(KeysError::Permissions { .. })), "{mode:o}");
    }
}

#[test]
fn refuses_what_belongs_to_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can give a file to somebody else");
        return;
    }
    let give = |path: &Path| chown(path, Some(12_345), None).unwrap();
    let error = refused("bad.pub", |dir| give(&put(dir, "bad.pub", public(2).to_spki_pem())));
    assert!(
        matches!(&error, KeysError::Permissions { problem, .. } if problem.contains("12345")),
        "{error:?}"
    );
    let (_root, dir) = key_dir();
    put(&dir, "good.pub", public(1).to_spki_pem());
    give(&dir);
    assert!(matches!(TrustedKeys::load(&dir), Err(KeysError::Permissions { path, .. }) if path == dir));
}

#[test]
fn refuses_junk() {
    let small_order = format!("01{}", "00".repeat(31));
    let contents: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("text", b"hello\n".to_vec()),
        ("binary", (0..=255).collect()),
        ("NUL after", [public(2).to_spki_pem().as_bytes(), b"\0"].concat()),
        ("BOM", ["\u{feff}".as_bytes(), public(2).to_hex().as_bytes()].concat()),
        ("two keys", (public(2).to_spki_pem() + &public(3).to_spki_pem()).into_bytes()),
        ("a digit short", public(2).to_hex().as_bytes()[1..].to_vec()),
        ("HTML", b"<html>404 Not Found</html>".to_vec()),
        ("small order", small_order.clone().into_bytes()),
    ];
    for (name, content) in contents {
        let error = refused("bad.pub", |dir| drop(put(dir, "bad.pub", &content)));
        assert!(matches!(error, KeysError::Key { .. }), "{name}: {error:?}");
        assert!(error.help().is_some(), "{name}");
    }
    let error = refused("bad.pub", |dir| drop(put(dir, "bad.pub", &small_order)));
    assert!(
        matches!(error, KeysError::Key { source: PublicKeyFileError::Key(PublicKeyError::SmallOrder), .. }),
        "{error:?}"
    );
    let len = usize::try_from(MAX_KEY_FILE_LEN).unwrap() + 1;
    let error = refused("bad.pub", |dir| drop(put(dir, "bad.pub", vec![b' '; len])));
    assert!(matches!(error, KeysError::File { source: ReadError::TooLarge { .. } }), "{error:?}");
    // Sparse: 65 MiB that cost nothing to make, and must cost nothing to refuse.
    let error = refused("bad.pub", |dir| {
        File::options().write(true).open(put(dir, "bad.pub", b"")).unwrap().set_len(65 << 20).unwrap();
    });
    assert!(matches!(error, KeysError::File { source: ReadError::TooLarge { .. } }), "{error:?}");
}

#[test]
fn refuses_a_private_key_and_shows_none_of_it() {
    let pem = key(2).to_pkcs8_pem();
    let error = refused("bad.pub", |dir| drop(put(dir, "bad.pub", pem.as_bytes())));
    assert!(
        matches!(&error, KeysError::Key { source: PublicKeyFileError::PrivateKey { .. }, .. }),
        "{error:?}"
    );
    let secret = pem.lines().nth(1).unwrap();
    assert!(!format!("{error:?} {error} {:?}", error.help()).contains(secret));
    let expanded = "11".repeat(64);
    let error = refused("bad.pub", |dir| drop(put(dir, "bad.pub", &expanded)));
    assert!(
        matches!(
            &error,
            KeysError::Key { source: PublicKeyFileError::PrivateKey { kind: PrivateKeyKind::Hex }, .. }
        ),
        "{error:?}"
    );
    assert!(!format!("{error:?} {error}").contains("1111"));
}

#[test]
fn refuses_a_name_that_is_not_text() {
    use std::os::unix::ffi::OsStrExt;
    let (_root, dir) = key_dir();
    let path = dir.join(std::ffi::OsStr::from_bytes(b"\xff.pub"));
    if fs::write(&path, public(1).to_spki_pem()).is_err() {
        skipped("this file system takes no such names");
        return;
    }
    let error = TrustedKeys::load(&dir).unwrap_err();
    assert!(error.to_string().contains("\\xff.pub"), "{error}");
}

#[test]
fn takes_256_keys_and_no_more() {
    let (_root, dir) = key_dir();
    let hex = public(1).to_hex();
    for number in 0..MAX_KEYS {
        put(&dir, &format!("{number}.pub"), &hex);
    }
    assert_eq!(TrustedKeys::load(&dir).unwrap().iter().count(), MAX_KEYS);
    put(&dir, "more.pub", &hex);
    assert!(matches!(TrustedKeys::load(&dir), Err(KeysError::TooMany { .. })));
}

#[test]
fn refuses_a_directory_that_is_a_link_or_no_directory() {
    let (root, dir) = key_dir();
    put(&dir, "good.pub", public(1).to_spki_pem());
    let link = root.path().join("link");
    symlink(&dir, &link).unwrap();
    let dangling = root.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    let file = put(root.path(), "file", b"");
    let pipe = root.path().join("pipe");
    fifo(&pipe);
    for path in [&link, &dangling, &file, &pipe] {
        assert!(
            matches!(TrustedKeys::load(path), Err(KeysError::NotADirectory { .. })),
            "{}",
            path.display()
        );
    }
}

#[test]
fn a_directory_that_is_swapped_while_it_is_read_gives_one_set_of_keys() {
    const LOADS: usize = 2_000;
    let (root, dir) = key_dir();
    let other = root.path().join("other");
    fs::create_dir(&other).unwrap();
    set_mode(&other, 0o755);
    // The same names on both sides, so that a mix would not show in them but in the keys.
    for (dir, first) in [(&dir, 1), (&other, 5)] {
        for number in 0..2 {
            put(dir, &format!("{number}.pub"), public(first + number).to_hex());
        }
    }
    let set = |first: u8| (first..first + 2).map(id).collect::<Vec<_>>();
    let sets = [set(1), set(5)];
    let swap = || {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &dir, rustix::fs::CWD, &other, flags)
    };
    if let Err(error) = swap() {
        skipped(&format!("this file system cannot exchange two directories ({error})"));
        return;
    }
    let done = AtomicBool::new(false);
    let mut seen = [0_usize; 2];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap().unwrap();
                // Back to back, the swaps would hold the lock of the file system all the time.
                thread::sleep(Duration::from_micros(50));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..LOADS {
                let found: Vec<KeyId> = TrustedKeys::load(&dir).unwrap().iter().map(|key| key.id).collect();
                let which = sets.iter().position(|set| *set == found).expect("a mix of both sets");
                seen[which] += 1;
            }
        }));
        done.store(true, Ordering::Relaxed);
        result.unwrap();
    });
    assert!(seen[0] > 0 && seen[1] > 0, "the directory was never swapped: {seen:?}");
}

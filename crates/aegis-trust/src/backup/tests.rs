//! Round trips, everything that is kept, archives that lie, and every place where a kill can leave a restore.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use aegis_audit::{Actor, Entry};
use aegis_crypto::SigningKey;
use aegis_policy::Policy;
use tar::Header;

use super::{
    archive::{self, NewFile},
    contents::Contents,
    *,
};
use crate::{
    HostPaths,
    apply::{ApplyOptions, Mode, Offer, SignatureRule},
    enforce::{Enforcement, Enforcer, PolicyIdentity},
    journal::{Change, Journal},
    keys::Lockout,
    sign::{
        SignRequest,
        samples::{id, key, now, signer, time},
        sign,
    },
    verify::V1,
};

struct TestHost {
    dir: tempfile::TempDir,
    host: Host,
    caller: Caller,
}

fn policy(version: u64) -> String {
    format!("version=1\n[deny_path]\n/v{version}\n")
}

fn bundle_of(number: u8, version: u64, epoch: u32, text: &str) -> Vec<u8> {
    let request = SignRequest {
        policy: text.as_bytes(),
        policy_version: version,
        epoch,
        issued_at: time("2026-01-01T00:00:00Z"),
        expires_at: Some(time("2026-04-01T00:00:00Z")),
        limits: aegis_policy::Limits::default(),
    };
    sign(&request, &signer(number)).unwrap()
}

fn bundle(version: u64) -> Vec<u8> {
    bundle_of(1, version, 0, &policy(version))
}

/// A full id, as a person would type it.
fn named(key: &KeyId) -> RestoreTrust {
    RestoreTrust::HostKey(key.to_string().parse().unwrap())
}

impl TestHost {
    fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::open(HostPaths::under(dir.path())).unwrap();
        let caller = Caller { now: now(), actor: Actor::current("test"), approvals: Vec::new() };
        Self { dir, host, caller }
    }

    /// Trusts keys 1 and 2.
    fn new() -> Self {
        let this = Self::bare();
        this.trust(1);
        this.trust(2);
        this
    }

    /// With everything that a backup can hold but a rollback that stands.
    fn full() -> Self {
        let this = Self::bare();
        this.configure("required_signatures = 1\nrequire_signature = true\n");
        let this = this.reopen();
        this.trust(1);
        this.trust(2);
        this.trust(3);
        this.apply(bundle(4));
        this.apply(bundle(5));
        this.revoke(3);
        this
    }

    fn reopen(self) -> Self {
        let host = Host::open(HostPaths::under(self.dir.path())).unwrap();
        Self { host, ..self }
    }

    fn paths(&self) -> &HostPaths {
        self.host.paths()
    }

    fn configure(&self, text: &str) {
        durable::make_dir(&self.paths().config_dir, 0o755).unwrap();
        durable::write_atomic(&self.paths().config_file(), text.as_bytes(), 0o640).unwrap();
    }

    fn trust(&self, number: u8) {
        let pem = key(number).public_key().to_spki_pem();
        self.host
            .add_key(&self.caller, pem.as_bytes(), "key.pub", Some(&format!("key-{number}")), None)
            .unwrap();
    }

    fn revoke(&self, number: u8) {
        let prefix = id(number).to_string().parse().unwrap();
        self.host.revoke_key(&self.caller, &prefix, "lost", Lockout::Force).unwrap();
    }

    fn try_apply(&self, bytes: Vec<u8>) -> Result<crate::apply::Applied, crate::apply::ApplyError> {
        let options =
            ApplyOptions { signature: SignatureRule::Configured, v1: V1::Refuse, mode: Mode::Apply };
        self.host.apply(&self.caller, Offer::Bytes { name: "policy", bytes }, &options)
    }

    fn apply(&self, bytes: Vec<u8>) {
        self.try_apply(bytes).unwrap();
    }

    fn backup(&self) -> (tempfile::TempDir, PathBuf, BackupCreated) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup.tar");
        let created = self.host.backup_create(&self.caller, &path).unwrap();
        (dir, path, created)
    }

    fn restore(&self, path: &Path, trust: RestoreTrust) -> Result<BackupRestored, BackupError> {
        self.host.backup_restore(&self.caller, path, trust)
    }

    fn entries(&self) -> Vec<Entry> {
        match self.host.audit().exists() {
            true => self.host.audit().entries().unwrap().map(Result::unwrap).collect(),
            false => Vec::new(),
        }
    }

    fn restores_logged(&self) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| entry.action == Action::BackupRestore).collect()
    }

    fn version(&self) -> Option<u64> {
        self.host.counter().unwrap().map(|counter| counter.policy_version)
    }

    fn in_force(&self) -> Option<u64> {
        self.host.version_in_force()
    }

    /// Every file but the log and the lock, with its content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(root: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true if entry.file_name() == "audit" => {}
                    true => walk(root, &entry.path(), files),
                    false if entry.file_name() == "lock" => {}
                    false => {
                        let name = entry.path().strip_prefix(root).unwrap().to_owned();
                        files.insert(name, fs::read(entry.path()).unwrap());
                    }
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(self.dir.path(), self.dir.path(), &mut files);
        files
    }
}

/// Compares what two hosts hold, and says which files differ rather than printing them.
#[track_caller]
fn assert_same_files(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>, when: &str) {
    let names = found.keys().chain(expected.keys());
    let differ: Vec<&PathBuf> = names.filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(differ.is_empty(), "{when}: {differ:?}");
}

fn why<'a>(report: &'a BackupRestored, what: &str) -> &'a str {
    let found = report.kept.iter().find(|kept| kept.what == what);
    &found.unwrap_or_else(|| panic!("{what} was not kept: {report:?}")).why
}

fn restored(report: &BackupRestored, what: &str) -> bool {
    report.restored.iter().any(|line| line.starts_with(what))
}

#[test]
fn brings_a_lost_host_back_whole() {
    let old = TestHost::full();
    let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_770_000_000);
    let key_file = old.paths().keys_dir.join("key-1.pub");
    fs::File::options().write(true).open(&key_file).unwrap().set_modified(written).unwrap();
    let (_dir, path, created) = old.backup();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

    let new = TestHost::bare();
    let report = new.restore(&path, named(&created.host_key)).unwrap();
    assert_eq!(report.kept, []);
    let new = new.reopen();
    let expected = old.files();
    // The one is the old log's head; the host's own record of what it enforces is written anew, to the same bytes.
    let mut found = new.files();
    let checkpoint = found.remove(Path::new("var/lib/aegisbpf/audit-checkpoint.restored")).unwrap();
    assert!(!checkpoint.is_empty());
    assert_same_files(&found, &expected, "restored");

    let metadata = fs::metadata(new.paths().keys_dir.join("key-1.pub")).unwrap();
    assert_eq!(metadata.mtime(), 1_770_000_000, "a restored key is as old as it was");
    assert_eq!(fs::metadata(new.paths().config_file()).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(new.version(), Some(5));
    assert!(new.try_apply(bundle(4)).is_err(), "the restored counter refuses what is older");
    assert!(
        new.try_apply(bundle_of(3, 6, 0, &policy(6))).is_err(),
        "the restored list refuses the revoked key"
    );
    new.apply(bundle(6));
    assert_eq!(new.restores_logged().len(), 1);
    new.host.audit().verify(&[], &mut |_, _| ()).unwrap();
    // The old log still agrees with the checkpoint that travelled.
    old.host.audit().verify(&[checkpoint], &mut |_, _| ()).unwrap();
}

#[test]
fn says_what_it_holds_and_holds_no_private_key() {
    let host = TestHost::full();
    let (_dir, path, created) = host.backup();
    let verified = backup_verify(&path).unwrap();
    assert_eq!(verified.host_key, host.host.audit().host_public_keys().unwrap()[0].key_id());
    assert_eq!((verified.host_key, verified.archive_sha256), (created.host_key, created.archive_sha256));
    assert_eq!(verified.counter, host.host.counter().unwrap());
    assert_eq!((verified.policy_version, verified.revoked_keys), (Some(5), 1));
    assert_eq!(verified.trusted_keys, [id(1), id(2)]);
    assert_eq!(verified.created_at, now());
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, created.size);
    assert!(!bytes.windows(7).any(|window| window == b"PRIVATE"));
    let seed = fs::read(host.paths().audit_dir().join("host.key")).unwrap();
    let secret = seed.split(|&byte| byte == b'\n').nth(1).unwrap();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    // Any tar program reads it.
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "manifest.json",
            "aegisbpf.toml",
            "bundle_format",
            "version_counter",
            "keys/revoked",
            "keys/key-1.pub",
            "keys/key-2.pub",
            "policy.applied",
            "policy.applied.prev",
            "audit-checkpoint"
        ]
    );
    assert_eq!(verified.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), names[1..]);
}

#[test]
fn refuses_every_changed_byte_and_every_cut() {
    let host = TestHost::new();
    host.apply(bundle(1));
    let (_dir, path, _) = host.backup();
    let good = fs::read(&path).unwrap();
    let limit = host.host.backup_policy_limit();
    Archive::parse(good.clone(), limit).unwrap();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(Archive::parse(changed, limit).is_err(), "byte {at} of {}", good.len());
    }
    for len in (0..good.len()).step_by(61).chain([good.len() - 512, good.len() - 1]) {
        assert!(Archive::parse(good[..len].to_vec(), limit).is_err(), "cut to {len} bytes");
    }
    for tail in [&b"\0"[..], &[0; 512], &[0; 10240], b"x"] {
        let longer = [good.as_slice(), tail].concat();
        assert!(
            matches!(Archive::parse(longer, limit), Err(ArchiveError::Trailing)),
            "{} more bytes",
            tail.len()
        );
    }
    let twice = [good.as_slice(), good.as_slice()].concat();
    assert!(matches!(Archive::parse(twice, limit), Err(ArchiveError::Trailing)));
}

/// An archive with a signed list that says anything at all.
fn forged(files: &[(BackupFile, Vec<u8>, Header)]) -> Vec<u8> {
    let key = key(9);
    let listed = files.iter().map(|(file, _, _)| file.clone()).collect();
    let list = Contents::new(now(), key.public_key(), listed).sign(&key);
    let mut archive = Vec::new();
    let mut put = |header: &Header, bytes: &[u8]| {
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    };
    put(
        &raw_header("manifest.json", list.len() as u64, 0o600, u64::try_from(now().as_second()).unwrap()),
        &list,
    );
    for (_, bytes, header) in files {
        put(header, bytes);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn raw_header(name: &str, size: u64, mode: u32, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    let end = name.len().min(100);
    header.as_mut_bytes()[..end].copy_from_slice(&name.as_bytes()[..end]);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    header
}

fn listed(name: &str, bytes: &[u8]) -> (BackupFile, Vec<u8>, Header) {
    let size = bytes.len() as u64;
    let file = BackupFile {
        name: name.to_owned(),
        size,
        sha256: aegis_crypto::sha256(bytes),
        mode: 0o644,
        mtime: 7,
    };
    (file, bytes.to_vec(), raw_header(name, size, 0o644, 7))
}

fn parse_forged(files: &[(BackupFile, Vec<u8>, Header)]) -> Result<Archive, ArchiveError> {
    Archive::parse(forged(files), 64 << 20)
}

#[test]
fn takes_what_the_forger_of_these_tests_makes_if_nothing_is_wrong() {
    let counter = host_counter(3);
    let pem = key(1).public_key().to_spki_pem();
    parse_forged(&[]).unwrap();
    parse_forged(&[
        listed("version_counter", &counter),
        listed("keys/revoked", b""),
        listed("keys/a.pub", pem.as_bytes()),
        listed("policy.applied", &bundle(3)),
    ])
    .unwrap();
}

fn host_counter(version: u64) -> Vec<u8> {
    Counter {
        policy_version: version,
        policy_sha256: aegis_crypto::sha256(policy(version).as_bytes()),
        epoch: 0,
    }
    .to_bytes()
}

#[test]
fn refuses_names_that_lead_elsewhere_repeat_or_mean_nothing() {
    let pem = key(1).public_key().to_spki_pem();
    let long = format!("keys/{}.pub", "a".repeat(65));
    for name in [
        "../etc/passwd",
        "/etc/passwd",
        "keys/../../x.pub",
        "keys/..pub",
        "keys/.pub",
        "keys/.hidden.pub",
        "keys/a/b.pub",
        "keys//a.pub",
        "./keys/a.pub",
        "keys/a\nb.pub",
        "keys/\u{e4}.pub",
        "keys/a.key",
        "keys",
        "keys/",
        "",
        "host.key",
        "policy.staged",
        "journal.json",
        "manifest.json",
        &long,
    ] {
        let found = parse_forged(&[listed(name, pem.as_bytes())]);
        assert!(matches!(found, Err(ArchiveError::Name { .. })), "{name:?}: {found:?}");
    }
    let (a, b) = (listed("keys/a.pub", pem.as_bytes()), listed("keys/b.pub", pem.as_bytes()));
    assert!(matches!(parse_forged(&[a.clone(), a.clone()]), Err(ArchiveError::Order { .. })));
    assert!(matches!(parse_forged(&[b, a]), Err(ArchiveError::Order { .. })));
}

#[test]
fn refuses_links_devices_and_everything_that_is_not_a_file() {
    let pem = key(1).public_key().to_spki_pem();
    for kind in *b"123456xgLKSZ\0V" {
        let (file, bytes, mut header) = listed("keys/a.pub", pem.as_bytes());
        header.as_mut_bytes()[156] = kind;
        header.set_cksum();
        let found = parse_forged(&[(file.clone(), bytes, header.clone())]);
        assert!(
            matches!(found, Err(ArchiveError::NotAFile { .. } | ArchiveError::Header { .. })),
            "type {kind}: {found:?}"
        );
        header.as_mut_bytes()[157..168].copy_from_slice(b"/etc/shadow");
        header.set_cksum();
        assert!(parse_forged(&[(file, Vec::new(), header)]).is_err(), "type {kind} with a target");
    }
}

#[test]
fn refuses_sizes_and_headers_that_the_list_does_not_bear_out() {
    let counter = host_counter(3);
    let case = |change: fn(&mut BackupFile, &mut Vec<u8>, &mut Header)| {
        let (mut file, mut bytes, mut header) = listed("version_counter", &counter);
        change(&mut file, &mut bytes, &mut header);
        header.set_cksum();
        parse_forged(&[(file, bytes, header)])
    };
    assert!(case(|_, _, _| ()).is_ok());
    assert!(matches!(case(|file, _, _| file.size = u64::MAX), Err(ArchiveError::TooLarge { .. })));
    assert!(matches!(case(|file, _, _| file.size = 257), Err(ArchiveError::TooLarge { limit: 256, .. })));
    assert!(matches!(case(|file, _, _| file.size = 256), Err(ArchiveError::Header { .. })));
    assert!(matches!(case(|_, _, header| header.set_size(u64::MAX)), Err(ArchiveError::Header { .. })));
    assert!(matches!(case(|_, _, header| header.set_size(0)), Err(ArchiveError::Header { .. })));
    assert!(matches!(case(|_, _, header| header.set_uid(1000)), Err(ArchiveError::Header { .. })));
    assert!(matches!(case(|_, _, header| header.set_mtime(8)), Err(ArchiveError::Header { .. })));
    assert!(matches!(case(|_, _, header| header.set_mode(0o4755)), Err(ArchiveError::Header { .. })));
    assert!(matches!(
        case(|file, _, header| {
            file.mode = 0o4755;
            header.set_mode(0o4755);
        }),
        Err(ArchiveError::Mode { mode: 0o4755, .. })
    ));
    assert!(matches!(
        case(|file, _, header| {
            file.mode = 0o666;
            header.set_mode(0o666);
        }),
        Err(ArchiveError::Mode { .. })
    ));
    assert!(
        case(|file, _, header| {
            file.mtime = u64::MAX;
            header.set_mtime(u64::MAX);
        })
        .is_ok(),
        "a time that no clock shows is harmless: restored files are never from the future"
    );
    assert!(matches!(case(|_, bytes, _| bytes[0] = b'4'), Err(ArchiveError::Digest { .. })));
    let (mut file, _, mut header) = listed("policy.applied", b"");
    file.size = 65 << 20;
    header.set_size(65 << 20);
    header.set_cksum();
    assert!(matches!(
        parse_forged(&[(file, Vec::new(), header)]),
        Err(ArchiveError::TooLarge { limit: 0x400_0000, .. })
    ));
    let (mut file, _, mut header) = listed("policy.applied", b"");
    file.size = 64 << 20;
    header.set_size(64 << 20);
    header.set_cksum();
    assert!(matches!(parse_forged(&[(file, Vec::new(), header)]), Err(ArchiveError::Short { .. })));
    let many: Vec<_> = (0..332).map(|number| listed(&format!("keys/{number:04}.pub"), b"")).collect();
    assert!(matches!(parse_forged(&many), Err(ArchiveError::TooManyFiles { count: 332 })));
}

#[test]
fn refuses_files_that_are_not_what_their_name_says() {
    let mut other = bundle(3);
    *other.last_mut().unwrap() = b' ';
    let pem = key(1).public_key().to_spki_pem();
    let checkpoint = b"log\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\xe2\x80\x94 log AAAAAAAA\n";
    type Expected = fn(&ArchiveError) -> bool;
    let cases: [(&str, &[u8], Expected); 12] = [
        ("version_counter", b"", |error| matches!(error, ArchiveError::Counter { .. })),
        ("version_counter", b"-1\n", |error| matches!(error, ArchiveError::Counter { .. })),
        ("aegisbpf.toml", b"[", |error| matches!(error, ArchiveError::Config { .. })),
        ("aegisbpf.toml", b"unknown = 1", |error| matches!(error, ArchiveError::Config { .. })),
        ("bundle_format", b"3\n", |error| matches!(error, ArchiveError::BundleFormat)),
        ("keys/revoked", b"junk\n", |error| matches!(error, ArchiveError::Revoked { line: 1 })),
        ("keys/a.pub", b"junk", |error| matches!(error, ArchiveError::Key { .. })),
        ("policy.applied", b"AEGIS-POLICY-BUNDLE-V2\njunk", |error| {
            matches!(error, ArchiveError::Bundle { .. })
        }),
        ("policy.applied", &other, |error| matches!(error, ArchiveError::PolicyDigest { .. })),
        ("policy.applied.prev", pem.as_bytes(), |error| matches!(error, ArchiveError::Policy { .. })),
        ("audit-checkpoint", b"junk", |error| matches!(error, ArchiveError::Checkpoint { .. })),
        ("audit-checkpoint", checkpoint, |error| matches!(error, ArchiveError::CheckpointKey)),
    ];
    for (name, bytes, expected) in cases {
        let error = parse_forged(&[listed(name, bytes)]).unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
    }
    let private = key(1).to_pkcs8_pem();
    assert!(matches!(
        parse_forged(&[listed("keys/a.pub", private.as_bytes())]),
        Err(ArchiveError::Key { .. })
    ));
}

#[test]
fn refuses_what_is_no_archive_without_reading_it_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let check = |path: &Path| backup_verify(path).unwrap_err();
    fs::write(&path, b"").unwrap();
    assert!(matches!(check(&path), BackupError::Archive { source: ArchiveError::Short { .. } }));
    fs::File::create(&path).unwrap().set_len(65 << 20).unwrap();
    assert!(matches!(check(&path), BackupError::Archive { source: ArchiveError::NoContents }));
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(check(&path), BackupError::Read { source: ReadError::TooLarge { .. } }));
    assert!(matches!(
        check(Path::new("/dev/zero")),
        BackupError::Read { source: ReadError::NotAFile { .. } }
    ));
    assert!(matches!(check(dir.path()), BackupError::Read { source: ReadError::NotAFile { .. } }));
    let mut huge = raw_header("manifest.json", 2 << 20, 0o600, 0).as_bytes().to_vec();
    huge.resize(4 << 20, b' ');
    fs::write(&path, huge).unwrap();
    assert!(matches!(check(&path), BackupError::Archive { source: ArchiveError::ContentsTooLong { .. } }));
}

#[test]
fn refuses_a_list_that_claims_another_key_or_format() {
    let host = key(9);
    let build = |json: String| {
        let list = crate::host_statement::sign(&host, PAYLOAD_TYPE, json.as_bytes());
        let mut archive = raw_header("manifest.json", list.len() as u64, 0o600, 0).as_bytes().to_vec();
        archive.extend_from_slice(&list);
        archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
        Archive::parse(archive, 1 << 20).map(drop)
    };
    let contents = Contents::new(Timestamp::UNIX_EPOCH, host.public_key(), Vec::new());
    let json = serde_json::to_string(&contents).unwrap();
    build(json.clone()).unwrap();
    let other = SigningKey::generate().unwrap();
    let pem = |key: &SigningKey| serde_json::to_string(&key.public_key().to_spki_pem()).unwrap();
    let cases = [
        json.replace(&host.public_key().key_id().to_string(), &other.public_key().key_id().to_string()),
        json.replace(&pem(&host), &pem(&other)),
        json.replace("\"format\":1", "\"format\":2"),
        json.replace("\"format\":1", "\"format\":1,\"format\":1"),
        json.replace("\"format\":1", "\"format\":1,\"more\":1"),
        json.replace("\"files\":[]", "\"files\": []"),
        json.replace("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.0Z"),
        json.replace("BEGIN PUBLIC KEY", "BEGIN PRIVATE KEY"),
    ];
    for case in cases {
        assert_ne!(case, json);
        assert!(build(case.clone()).is_err(), "{case}");
    }
}

#[test]
fn never_overwrites_and_leaves_nothing_when_it_fails() {
    let host = TestHost::full();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("taken");
    fs::write(&path, b"precious").unwrap();
    let error = host.host.backup_create(&host.caller, &path).unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let refused = host.entries().pop().unwrap();
    assert_eq!((refused.action, refused.outcome), (Action::BackupCreate, Outcome::Refused));

    let path = dir.path().join("backup.tar");
    let breaks: [(PathBuf, &[u8]); 4] = [
        (host.paths().keys_dir.join("junk.pub"), b"junk"),
        (host.paths().version_counter.clone(), b"-1\n"),
        (host.paths().applied(), b"AEGIS-POLICY-BUNDLE-V2\njunk"),
        (host.paths().bundle_format(), b"9\n"),
    ];
    for (file, bytes) in breaks {
        let before = fs::read(&file).ok();
        fs::write(&file, bytes).unwrap();
        host.host.backup_create(&host.caller, &path).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{} broken", file.display());
        match before {
            Some(before) => fs::write(&file, before).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
    }
    host.host.backup_create(&host.caller, &path).unwrap();
}

#[test]
fn believes_its_own_backups_and_others_only_by_name() {
    let (host, other) = (TestHost::full(), TestHost::full());
    let (_dir, path, created) = host.backup();
    host.restore(&path, RestoreTrust::ThisHost).unwrap();
    // A key that was handed over still counts as this host's.
    let event = Event::new(host.caller.now, host.caller.actor.clone(), Action::AuditHandOver, "host key");
    host.host.audit().rotate_host_key(&event).unwrap();
    host.restore(&path, RestoreTrust::ThisHost).unwrap();

    let before = other.files();
    let refused = [
        (RestoreTrust::ThisHost, "is not a key of this host"),
        (named(&id(1)), "not by one that begins with"),
        (RestoreTrust::HostKey(created.host_key.to_string()[..15].parse().unwrap()), "15 digits"),
    ];
    for (trust, expected) in refused {
        let error = other.restore(&path, trust).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let entry = other.entries().pop().unwrap();
        assert_eq!((entry.action, entry.outcome), (Action::BackupRestore, Outcome::Refused));
    }
    assert_same_files(&other.files(), &before, "nothing was changed");
    let fresh = TestHost::bare();
    let error = fresh.restore(&path, RestoreTrust::ThisHost).unwrap_err();
    assert!(error.help().unwrap().contains(&created.host_key.to_string()), "the id to compare is named");
    assert!(fresh.files().is_empty());
    fresh.restore(&path, RestoreTrust::HostKey(created.host_key.fingerprint().parse().unwrap())).unwrap();
}

#[test]
fn keeps_what_is_newer_and_names_it() {
    let host = TestHost::new();
    host.apply(bundle(4));
    host.apply(bundle(5));
    let (_dir, path, _) = host.backup();
    host.apply(bundle(6));
    host.apply(bundle(9));
    host.trust(4);
    host.revoke(2);
    host.configure("require_signature = true\n");
    let host = host.reopen();
    let before = host.files();
    let report = host.restore(&path, RestoreTrust::ThisHost).unwrap();
    let mut after = host.files();
    after.remove(Path::new("var/lib/aegisbpf/audit-checkpoint.restored")).unwrap();
    assert_same_files(&after, &before, "nothing is newer in the backup");
    assert!(why(&report, "version_counter").contains("at version 9 here, and at 5"));
    assert!(why(&report, "policy.applied").contains("version 9 is in force here, and version 5"));
    assert!(why(&report, "policy.applied.prev").contains("belongs to"));
    assert!(why(&report, "keys/key-2.pub").contains("revoked (lost)"));
    assert!(why(&report, "keys/key-4.pub").contains("is not in the backup"));
    assert!(why(&report, "keys/key-1.pub").contains("already"));
    assert!(why(&report, "bundle_format").contains("same or newer"));
    assert_eq!(host.host.trusted_keys().unwrap().by_id().keys().filter(|key| **key == id(2)).count(), 0);
    // Once more changes nothing at all.
    let report = host.restore(&path, RestoreTrust::ThisHost).unwrap();
    assert_eq!(report.restored, Vec::<String>::new());
}

#[test]
fn fills_in_what_is_missing_and_raises_what_is_older() {
    let host = TestHost::full();
    let (_dir, path, _) = host.backup();
    let whole = host.files();
    for name in
        ["etc/aegisbpf/keys/key-1.pub", "etc/aegisbpf/aegisbpf.toml", "var/lib/aegisbpf/policy.applied"]
    {
        fs::remove_file(host.dir.path().join(name)).unwrap();
    }
    for name in
        ["var/lib/aegisbpf/policy.applied.prev", "etc/aegisbpf/keys/revoked", "var/lib/aegisbpf/revoked"]
    {
        fs::remove_file(host.dir.path().join(name)).unwrap();
    }
    fs::remove_file(host.paths().version_counter.clone()).unwrap();
    let host = host.reopen();
    let report = host.restore(&path, RestoreTrust::ThisHost).unwrap();
    let mut after = host.files();
    after.remove(Path::new("var/lib/aegisbpf/audit-checkpoint.restored")).unwrap();
    assert_same_files(&after, &whole, "filled in");
    for what in [
        "version_counter",
        "the revocation of key",
        "aegisbpf.toml",
        "keys/key-1.pub",
        "policy.applied (version 5)",
    ] {
        assert!(restored(&report, what), "{what}: {report:?}");
    }
    // An older policy in force than the one in the backup.
    let old = TestHost::new();
    old.apply(bundle(3));
    let made_by = backup_verify(&path).unwrap().host_key;
    let report = old.restore(&path, named(&made_by)).unwrap();
    assert_eq!((old.in_force(), old.version()), (Some(5), Some(5)));
    assert!(restored(&report, "policy.applied.prev"));
    assert_eq!(fs::read(old.paths().previous()).unwrap(), bundle(4));
    assert_eq!(old.host.enforcer().state().unwrap().unwrap().policy.policy_version, Some(5));
}

#[test]
fn a_key_under_a_name_that_is_taken_stays_out() {
    let (host, other) = (TestHost::new(), TestHost::bare());
    let (_dir, path, created) = host.backup();
    let pem = key(7).public_key().to_spki_pem();
    other.host.add_key(&other.caller, pem.as_bytes(), "x", Some("key-1"), None).unwrap();
    let report = other.restore(&path, named(&created.host_key)).unwrap();
    let keys = other.host.trusted_keys().unwrap().by_id();
    assert!(keys.contains_key(&id(7)) && keys.contains_key(&id(2)) && !keys.contains_key(&id(1)));
    assert!(why(&report, "keys/key-1.pub").contains(&id(7).to_string()));
}

#[test]
fn a_key_with_a_name_that_cannot_travel_goes_by_its_id() {
    let host = TestHost::new();
    let pem = key(6).public_key().to_spki_pem();
    fs::write(host.paths().keys_dir.join("Anna\u{2019}s key, 2026.pub"), pem).unwrap();
    let (_dir, path, created) = host.backup();
    let other = TestHost::bare();
    other.restore(&path, named(&created.host_key)).unwrap();
    let keys = other.host.trusted_keys().unwrap();
    assert_eq!(keys.files_of(&id(6))[0].name, id(6).to_string());
}

#[test]
fn a_revocation_in_the_backup_reaches_the_host() {
    let host = TestHost::full();
    let (_dir, path, created) = host.backup();
    let other = TestHost::new();
    other.trust(3);
    let report = other.restore(&path, named(&created.host_key)).unwrap();
    assert!(other.host.revoked_keys().unwrap().get(&id(3)).is_some());
    assert!(why(&report, "keys/key-3.pub").contains("revoked (lost) and refused"));
    assert!(other.try_apply(bundle_of(3, 6, 0, &policy(6))).is_err());
}

#[test]
fn the_policy_must_be_signed_by_a_key_that_is_trusted_after_the_restore() {
    let host = TestHost::new();
    host.apply(bundle(5));
    let (_dir, path, created) = host.backup();
    let other = TestHost::bare();
    other.trust(4);
    other.revoke(1);
    let report = other.restore(&path, named(&created.host_key)).unwrap();
    assert!(why(&report, "policy.applied").contains("revoked"));
    assert_eq!((other.in_force(), other.version()), (None, Some(5)));
    // More signatures are asked for here than it has.
    let strict = TestHost::bare();
    strict.configure("required_signatures = 2\n");
    let strict = strict.reopen();
    let report = strict.restore(&path, named(&created.host_key)).unwrap();
    assert!(why(&report, "policy.applied").contains("1 trusted keys have signed it"), "{report:?}");
    assert_eq!(strict.in_force(), None);
}

#[test]
fn an_expired_policy_comes_back_because_it_was_in_force() {
    let host = TestHost::new();
    host.apply(bundle(5));
    let (_dir, path, created) = host.backup();
    let mut other = TestHost::bare();
    other.caller.now = time("2027-01-01T00:00:00Z");
    other.restore(&path, named(&created.host_key)).unwrap();
    assert_eq!(other.in_force(), Some(5));
}

/// A backup that a host with this key could have made, of these files.
fn backup_of(files: Vec<(FileKind, Vec<u8>)>) -> (tempfile::TempDir, PathBuf, RestoreTrust) {
    let new = |(kind, bytes)| NewFile { kind, bytes, mode: 0o644, mtime: 7 };
    let bytes = archive::build(files.into_iter().map(new).collect(), &key(9), now());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup.tar");
    fs::write(&path, bytes).unwrap();
    (dir, path, named(&id(9)))
}

fn public_file(number: u8) -> (FileKind, Vec<u8>) {
    (FileKind::Key(format!("key-{number}")), key(number).public_key().to_spki_pem().into_bytes())
}

#[test]
fn a_policy_that_the_counter_does_not_bear_out_stays_out() {
    let other_seven = bundle_of(1, 7, 0, "version=1\n[deny_path]\n/other\n");
    let cases = [
        (Some(host_counter(6)), bundle(7), "above the counter at 6"),
        (Some(host_counter(7)), other_seven, "with other content"),
        (Some(host_counter(7)), bundle_of(1, 7, 1, &policy(7)), "epoch 1"),
        (None, bundle(7), "no counter that accepted it"),
    ];
    for (counter, applied, expected) in cases {
        let mut files =
            vec![public_file(1), (FileKind::Applied, applied.clone()), (FileKind::Previous, applied)];
        files.extend(counter.clone().map(|counter| (FileKind::Counter, counter)));
        let (_dir, path, trust) = backup_of(files);
        let host = TestHost::bare();
        let report = host.restore(&path, trust).unwrap();
        assert!(why(&report, "policy.applied").contains(expected), "{report:?}");
        assert!(!host.paths().applied().exists() && !host.paths().previous().exists());
        assert_eq!(fs::read(&host.paths().version_counter).ok(), counter);
    }
}

#[test]
fn an_older_policy_may_fill_a_gap_and_the_counter_stays_above_it() {
    let (_dir, path, trust) =
        backup_of(vec![public_file(1), (FileKind::Counter, host_counter(5)), (FileKind::Applied, bundle(5))]);
    let host = TestHost::new();
    host.apply(bundle(9));
    fs::remove_file(host.paths().applied()).unwrap();
    let report = host.restore(&path, trust).unwrap();
    assert_eq!((host.in_force(), host.version()), (Some(5), Some(9)));
    assert!(restored(&report, "policy.applied (version 5; the counter is at 9"));
    assert!(host.try_apply(bundle(8)).is_err());
    host.apply(bundle(9));
}

#[test]
fn an_unsigned_policy_comes_back_only_where_one_could_be_applied() {
    let text = policy(1).into_bytes();
    let (_dir, path, trust) = backup_of(vec![(FileKind::Applied, text.clone())]);
    let host = TestHost::bare();
    host.restore(&path, trust.clone()).unwrap();
    assert_eq!(fs::read(host.paths().applied()).unwrap(), text);
    let signed = TestHost::new();
    let report = signed.restore(&path, trust.clone()).unwrap();
    assert!(why(&report, "policy.applied").contains("signed policies only"));
    let strict = TestHost::bare();
    strict.configure("require_signature = true\n");
    strict.restore(&path, trust.clone()).unwrap();
    assert!(!strict.paths().applied().exists());
    // Its keys are gone, but it took a signed policy before.
    let (_other, with_format, trust_format) =
        backup_of(vec![(FileKind::BundleFormat, b"2\n".to_vec()), (FileKind::Applied, text)]);
    let before = TestHost::bare();
    let report = before.restore(&with_format, trust_format).unwrap();
    assert!(why(&report, "policy.applied").contains("signed policies only"));
    // What is in force unsigned is not replaced: nobody can say which is newer.
    let other = TestHost::bare();
    other.apply(policy(2).into_bytes());
    let report = other.restore(&path, trust).unwrap();
    assert!(why(&report, "policy.applied").contains("unsigned policy in force"));
}

#[test]
fn a_rollback_that_stands_is_not_undone() {
    let host = TestHost::new();
    host.apply(bundle(4));
    host.apply(bundle(5));
    let (_dir, before_rollback, _) = host.backup();
    host.host.rollback(&host.caller).unwrap();
    let files = host.files();
    let report = host.restore(&before_rollback, RestoreTrust::ThisHost).unwrap();
    assert!(why(&report, "policy.applied").contains("rollback"), "{report:?}");
    let mut after = host.files();
    after.remove(Path::new("var/lib/aegisbpf/audit-checkpoint.restored")).unwrap();
    assert_same_files(&after, &files, "the rollback stands");
    // And one that stood comes back with the rest, so that health still says so.
    let (_dir, with_rollback, created) = host.backup();
    let other = TestHost::bare();
    other.restore(&with_rollback, named(&created.host_key)).unwrap();
    assert_eq!((other.in_force(), other.version()), (Some(4), Some(5)));
    assert_eq!(fs::read(other.paths().rolled_back()).unwrap(), bundle(5));
    // A newer policy in a backup ends it.
    let newer = vec![public_file(1), (FileKind::Counter, host_counter(8)), (FileKind::Applied, bundle(8))];
    let (_dir, newer, trust) = backup_of(newer);
    other.restore(&newer, trust).unwrap();
    assert_eq!((other.in_force(), other.version()), (Some(8), Some(8)));
    assert!(!other.paths().rolled_back().exists());
}

#[test]
fn a_lost_or_damaged_counter_never_comes_back_lower_than_the_host_can_prove() {
    let host = TestHost::new();
    host.apply(bundle(5));
    let (_dir, path, _) = host.backup();
    host.apply(bundle(9));
    // The last one names a higher version; from then on the log knows it too.
    for damage in [None, Some(&b""[..]), Some(b"7\n"), Some(b"-1\n"), Some(b"\xff\0"), Some(b"12\njunk\n")] {
        let _ = fs::remove_file(&host.paths().version_counter);
        if let Some(bytes) = damage {
            fs::write(&host.paths().version_counter, bytes).unwrap();
        }
        assert!(host.host.counter().is_err());
        host.restore(&path, RestoreTrust::ThisHost).unwrap();
        let least = if damage == Some(b"12\njunk\n") { 12 } else { 9 };
        assert_eq!(host.version(), Some(least), "{damage:?}");
        fs::write(&host.paths().version_counter, host_counter(9)).unwrap();
    }
    // Even with nothing else left, the log remembers.
    for path in [host.paths().applied(), host.paths().previous(), host.paths().version_counter.clone()] {
        fs::remove_file(path).unwrap();
    }
    host.restore(&path, RestoreTrust::ThisHost).unwrap();
    assert_eq!(host.version(), Some(12));
}

#[test]
fn does_not_begin_what_it_cannot_end() {
    let host = TestHost::full();
    let (_dir, path, _) = host.backup();
    fs::write(host.paths().keys_dir.join("junk.pub"), b"junk").unwrap();
    let before = host.files();
    assert!(matches!(host.restore(&path, RestoreTrust::ThisHost), Err(BackupError::Keys { .. })));
    assert_same_files(&host.files(), &before, "nothing was changed");
    fs::remove_file(host.paths().keys_dir.join("junk.pub")).unwrap();
    fs::remove_file(&host.paths().version_counter).unwrap();
    fs::create_dir(&host.paths().version_counter).unwrap();
    assert!(matches!(host.restore(&path, RestoreTrust::ThisHost), Err(BackupError::Counter { .. })));
    assert!(!host.paths().journal().exists() && !host.paths().restore_staging().exists());
}

#[test]
fn what_a_restored_policy_replaces_is_what_a_rollback_goes_back_to() {
    let files = vec![public_file(1), (FileKind::Counter, host_counter(8)), (FileKind::Applied, bundle(8))];
    let (_dir, path, trust) = backup_of(files);
    let host = TestHost::new();
    host.apply(bundle(3));
    host.apply(bundle(4));
    host.restore(&path, trust.clone()).unwrap();
    assert_eq!(host.host.rollback(&host.caller).unwrap().to_version, 4);
    assert_eq!((host.in_force(), host.version()), (Some(4), Some(8)));
    // A damaged one is replaced, and is nothing to go back to.
    let damaged = TestHost::new();
    damaged.apply(bundle(4));
    fs::write(damaged.paths().applied(), b"AEGIS-POLICY-BUNDLE-V2\njunk").unwrap();
    damaged.restore(&path, trust).unwrap();
    assert_eq!(damaged.in_force(), Some(8));
    assert!(!damaged.paths().previous().exists());
}

#[test]
fn a_step_that_fails_is_told_and_finished_by_the_next_command() {
    let host = TestHost::full();
    let (_dir, path, created) = host.backup();
    let other = TestHost::new();
    // A directory with something in it stands where a file should go.
    let obstacle = other.paths().state_dir.join("audit-checkpoint.restored");
    fs::create_dir_all(obstacle.join("x")).unwrap();
    let error = other.restore(&path, named(&created.host_key)).unwrap_err();
    assert!(matches!(error, BackupError::Interrupted { .. }), "{error:?}");
    assert_eq!((other.version(), other.restores_logged().len()), (Some(5), 0), "what comes first is done");
    assert!(other.host.begin_change(&other.caller).is_err(), "nothing else is begun before it is finished");
    fs::remove_dir_all(obstacle).unwrap();
    drop(other.host.begin_change(&other.caller).unwrap());
    assert_eq!((other.in_force(), other.version()), (Some(5), Some(5)));
    assert_eq!(other.restores_logged().len(), 1);
}

/// Refuses everything.
struct Stubborn;

impl Enforcer for Stubborn {
    fn name(&self) -> &'static str {
        "stubborn"
    }
    fn enforce(&self, _: &Policy<'_>, _: &PolicyIdentity) -> Result<Enforcement, EnforceError> {
        Err(EnforceError::Rejected { backend: "stubborn", detail: "no".to_owned(), help: None })
    }
    fn state(&self) -> Result<Option<Enforcement>, EnforceError> {
        Ok(None)
    }
}

#[test]
fn a_policy_that_cannot_be_enforced_is_named_and_the_rest_comes_back() {
    let host = TestHost::full();
    let (_dir, path, created) = host.backup();
    let other = TestHost::bare();
    let stubborn = Host::with_enforcer(HostPaths::under(other.dir.path()), Box::new(Stubborn)).unwrap();
    let report = stubborn.backup_restore(&other.caller, &path, named(&created.host_key)).unwrap();
    assert!(why(&report, "policy.applied").contains("refused the policy: no"));
    assert_eq!((other.in_force(), other.version()), (None, Some(5)));
    assert_eq!(other.host.trusted_keys().unwrap().len(), 2);
}

/// Copies files of a finished restore into a host in the order in which the restore writes them: what a kill after
/// `count` of them leaves.
fn killed_after(
    count: usize,
    finished: &TestHost,
    path: &Path,
    steps: &[PathBuf],
    journal: &Journal,
) -> TestHost {
    let host = TestHost::bare();
    // Something was here before, so that there is a log to go on with.
    host.trust(5);
    durable::make_dir(&host.paths().restore_staging(), 0o700).unwrap();
    fs::copy(path, host.paths().restore_staging().join("archive.tar")).unwrap();
    journal.write(host.paths()).unwrap();
    for step in steps.iter().take(count) {
        let to = host.dir.path().join(step);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(finished.dir.path().join(step), to).unwrap();
    }
    host
}

#[test]
fn killed_at_any_step_the_next_command_finishes_it_and_logs_it_once() {
    // With a rollback that stands, which is the most that there is to restore.
    let old = TestHost::full();
    old.apply(bundle(6));
    old.host.rollback(&old.caller).unwrap();
    let (_dir, path, created) = old.backup();
    let journal = Journal::new(
        now(),
        &old.caller.actor,
        Change::Restore { source: "backup.tar".to_owned(), archive_sha256: created.archive_sha256 },
    );
    let finished = TestHost::bare();
    finished.trust(5);
    finished.restore(&path, named(&created.host_key)).unwrap();
    let steps: Vec<PathBuf> = [
        "var/lib/aegisbpf/version_counter",
        "var/lib/aegisbpf/revoked",
        "etc/aegisbpf/keys/revoked",
        "var/lib/aegisbpf/bundle_format",
        "etc/aegisbpf/aegisbpf.toml",
        "etc/aegisbpf/keys/key-1.pub",
        "etc/aegisbpf/keys/key-2.pub",
        "var/lib/aegisbpf/enforcement.json",
        "var/lib/aegisbpf/policy.applied.rolled-back",
        "var/lib/aegisbpf/policy.applied",
        "var/lib/aegisbpf/audit-checkpoint.restored",
    ]
    .map(PathBuf::from)
    .to_vec();
    let expected = finished.files();
    for step in &steps {
        assert!(expected.contains_key(step), "{} is a step of the restore", step.display());
    }
    assert_eq!(expected.len(), steps.len() + 1, "every file but key 5 is a step");
    for count in 0..=steps.len() {
        let host = killed_after(count, &finished, &path, &steps, &journal).reopen();
        drop(host.host.begin_change(&host.caller).unwrap());
        // The staged archive goes when the next one begins.
        drop(host.host.begin_change(&host.caller).unwrap());
        assert_same_files(&host.files(), &expected, &format!("killed after {count} steps"));
        assert_eq!((host.in_force(), host.version()), (Some(5), Some(6)));
        let logged = host.restores_logged();
        assert_eq!(logged.len(), 1, "killed after {count} steps");
        assert_eq!(logged[0].outcome, Outcome::Accepted);
        host.host.audit().verify(&[], &mut |_, _| ()).unwrap();
    }
}

#[test]
fn killed_between_log_and_journal_it_is_logged_once() {
    let old = TestHost::full();
    let (_dir, path, created) = old.backup();
    let host = TestHost::bare();
    host.restore(&path, named(&created.host_key)).unwrap();
    let entry = host.restores_logged().pop().unwrap();
    let change = Change::Restore { source: "backup.tar".to_owned(), archive_sha256: created.archive_sha256 };
    let journal =
        Journal { transaction: entry.transaction.unwrap(), ..Journal::new(now(), &old.caller.actor, change) };
    // With the staged archive, and without it: either way it was done, and is in the log already.
    for staged in [true, false] {
        if staged {
            durable::make_dir(&host.paths().restore_staging(), 0o700).unwrap();
            fs::copy(&path, host.paths().restore_staging().join("archive.tar")).unwrap();
        }
        journal.write(host.paths()).unwrap();
        drop(host.host.begin_change(&host.caller).unwrap());
        drop(host.host.begin_change(&host.caller).unwrap());
        assert_eq!(host.restores_logged().len(), 1);
        assert!(!host.paths().journal().exists() && !host.paths().restore_staging().exists());
    }
}

#[test]
fn a_staged_archive_that_no_journal_names_is_removed() {
    let host = TestHost::full();
    let before = host.files();
    durable::make_dir(&host.paths().restore_staging(), 0o700).unwrap();
    fs::write(host.paths().restore_staging().join("archive.tar"), b"half").unwrap();
    drop(host.host.begin_change(&host.caller).unwrap());
    assert_same_files(&host.files(), &before, "nothing was changed");
    assert!(!host.paths().restore_staging().exists());
}

#[test]
fn a_staged_archive_that_is_gone_or_changed_is_given_up() {
    for content in [None, Some(&b"half"[..])] {
        let host = TestHost::full();
        let before = host.files();
        if let Some(content) = content {
            durable::make_dir(&host.paths().restore_staging(), 0o700).unwrap();
            fs::write(host.paths().restore_staging().join("archive.tar"), content).unwrap();
        }
        let change = Change::Restore {
            source: "backup.tar".to_owned(),
            archive_sha256: aegis_crypto::sha256(b"whole"),
        };
        Journal::new(now(), &host.caller.actor, change).write(host.paths()).unwrap();
        drop(host.host.begin_change(&host.caller).unwrap());
        drop(host.host.begin_change(&host.caller).unwrap());
        assert_same_files(&host.files(), &before, "nothing was changed");
        let logged = host.restores_logged();
        assert_eq!((logged.len(), logged[0].outcome), (1, Outcome::Failed));
    }
}

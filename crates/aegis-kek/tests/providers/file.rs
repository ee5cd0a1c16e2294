//! The file provider: a key file under a passphrase.

mod erased;
mod passphrase;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use aegis_kek::file::{FileFault, KekFileWriteError, PassphraseError};
use aegis_kek::{
    FileKekProvider, KekFile, KekFileError, KekFileFault, KekProvider, LoadError, MAX_KEK_FILE_LEN,
    Passphrase, PassphraseSource, PrivateFileError, ProviderFault, ProviderKind, SettingsError, Variables,
};
use age::secrecy::SecretString;
use base64ct::{Base64, Encoding};
use test_services::scratch;

use crate::conformance::{Made, Refusal, Subject, assert_opens, conforms, refusal};
use crate::watch::{Watch, chain, private_parts};

const FILE: &str = "AEGIS_KEK_FILE";
const PASSPHRASE: &str = "correct horse battery staple";

struct File {
    dir: tempfile::TempDir,
    key: HybridPrivateKey,
    passphrase: String,
}

/// A key of its own and a passphrase of its own, since its log lines are looked through beside those of other tests.
fn subject() -> Option<File> {
    let (dir, key) = (scratch::dir(), HybridPrivateKey::generate().unwrap());
    let passphrase = format!("{PASSPHRASE} {}", key.public_key().key_id().fingerprint());
    let file = File { dir, key, passphrase };
    FileKekProvider::create(&file.path(), &Passphrase::new(&file.passphrase).unwrap(), &file.key).unwrap();
    Some(file)
}

impl File {
    fn path(&self) -> PathBuf {
        self.dir.path().join("kek")
    }

    fn made(&self, path: &Path, passphrase: &str) -> Made {
        let path = path.to_str().unwrap();
        let variables = Variables::of_pairs([(FILE, path), ("AEGIS_PASSPHRASE", passphrase)]);
        FileKekProvider::from_environment(&variables).map(|provider| Box::new(provider) as _)
    }

    fn with_content(&self, content: &[u8]) -> Made {
        let path = self.dir.path().join("changed");
        let _ = fs::remove_file(&path);
        write_private(&path, content);
        self.made(&path, &self.passphrase)
    }
}

fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Subject for File {
    fn kind(&self) -> ProviderKind {
        ProviderKind::File
    }

    fn provider(&self) -> Box<dyn KekProvider> {
        self.made(&self.path(), &self.passphrase).unwrap()
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let mut secrets = private_parts(&self.key);
        secrets.push(self.passphrase.clone().into_bytes());
        secrets
    }

    fn wrapping(&self) -> Option<Vec<u8>> {
        Some(fs::read(self.path()).unwrap())
    }

    fn with_wrapping(&self, wrapping: &[u8]) -> Made {
        self.with_content(wrapping)
    }

    fn with_public_key(&self, public_key: &HybridPublicKey) -> Option<Made> {
        let text = String::from_utf8(fs::read(self.path()).unwrap()).unwrap();
        let [old, new] = [self.key.public_key(), public_key].map(|key| Base64::encode_string(key.as_bytes()));
        Some(self.with_content(text.replace(&old, &new).as_bytes()))
    }

    fn with_another_wrapping_key(&self) -> Option<Made> {
        Some(self.made(&self.path(), "another passphrase"))
    }

    fn break_down(&self) -> bool {
        fs::rename(self.path(), self.dir.path().join("away")).unwrap();
        true
    }

    fn mend(&self) {
        fs::rename(self.dir.path().join("away"), self.path()).unwrap();
    }

    fn most_changes(&self) -> usize {
        // Each that still looks like a key file has its passphrase stretched.
        12
    }
}

conforms!(subject());

/// One key file for the tests that only read it.
static SAMPLE: LazyLock<(HybridPrivateKey, Vec<u8>)> = LazyLock::new(|| {
    let dir = scratch::dir();
    let key = HybridPrivateKey::generate().unwrap();
    let path = dir.path().join("kek");
    FileKekProvider::create(&path, &Passphrase::new(PASSPHRASE).unwrap(), &key).unwrap();
    let text = fs::read(&path).unwrap();
    (key, text)
});

/// A key file that holds what the program would never write.
fn sealed_otherwise(content: &[u8], recipient: &dyn age::Recipient) -> Vec<u8> {
    let mut encrypted = Vec::new();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
    let mut writer = encryptor.wrap_output(&mut encrypted).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap();
    armoured(&encrypted)
}

fn armoured(encrypted: &[u8]) -> Vec<u8> {
    let public = Base64::encode_string(SAMPLE.0.public_key().as_bytes());
    let body = Base64::encode_string(encrypted);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!(
        "AEGIS-KEK-FILE-V1\npublic {public}\n-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n",
        lines.join("\n")
    )
    .into_bytes()
}

/// A recipient that is quick: its work factor is for tests that do not care.
fn quick(passphrase: &str) -> age::scrypt::Recipient {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(2);
    recipient
}

fn loaded(text: &[u8], passphrase: &str) -> Result<aegis_kek::Kek, LoadError> {
    let dir = scratch::dir();
    let path = dir.path().join("kek");
    write_private(&path, text);
    let passphrase = PassphraseSource::Given(Passphrase::new(passphrase).unwrap());
    FileKekProvider::open(&path, passphrase).unwrap().load()
}

#[track_caller]
fn fault(loaded: Result<aegis_kek::Kek, LoadError>) -> FileFault {
    match loaded.unwrap_err() {
        LoadError::Broken { source: ProviderFault::File(fault), .. }
        | LoadError::Denied { source: ProviderFault::File(fault), .. } => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn holds_the_key_as_an_age_file_that_other_programs_open() {
    let (key, text) = &*SAMPLE;
    let text = str::from_utf8(text).unwrap();
    let (_, armour) = text.split_at(text.find("-----BEGIN").unwrap());
    let reader = age::armor::ArmoredReader::new(armour.as_bytes());
    let decryptor = age::Decryptor::new_buffered(reader).unwrap();
    let identity = age::scrypt::Identity::new(SecretString::from(PASSPHRASE.to_owned()));
    let mut private = Vec::new();
    decryptor.decrypt(std::iter::once(&identity as _)).unwrap().read_to_end(&mut private).unwrap();
    assert_eq!(private, key.dangerous_expose());
    // The work factor stands in the header, and is what the document says.
    let encrypted = KekFile::parse(text.as_bytes()).unwrap().encrypted().to_vec();
    let header = String::from_utf8_lossy(&encrypted[..120]).into_owned();
    assert!(header.starts_with("age-encryption.org/v1\n-> scrypt "), "{header}");
    assert!(header.lines().nth(1).unwrap().ends_with(" 17"), "{header}");
}

#[test]
fn gives_its_public_key_without_a_passphrase() {
    let subject = subject().unwrap();
    let path = subject.path();
    let variables = Variables::of_pairs([(FILE, path.to_str().unwrap())]);
    let provider = FileKekProvider::from_environment(&variables).unwrap();
    assert_eq!(provider.public_key(), subject.key.public_key());
    assert_eq!(aegis_kek::master_public_key(&variables).unwrap(), *subject.key.public_key());
}

#[test]
fn makes_files_for_their_owner_only_and_never_over_another() {
    let dir = scratch::dir();
    let path = dir.path().join("kek");
    let key = &SAMPLE.0;
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    FileKekProvider::create(&path, &passphrase, key).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let written = fs::read(&path).unwrap();
    assert!(written.len() < MAX_KEK_FILE_LEN / 2);

    let error = FileKekProvider::create(&path, &passphrase, key).unwrap_err();
    assert!(error.help().unwrap().contains("never replaced"));
    assert!(matches!(error, KekFileWriteError::Write(_)));
    let elsewhere = dir.path().join("link");
    symlink(dir.path().join("nothing"), &elsewhere).unwrap();
    FileKekProvider::create(&elsewhere, &passphrase, key).unwrap_err();
    FileKekProvider::create(&dir.path().join("no/such/directory"), &passphrase, key).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), written);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn puts_a_key_under_another_passphrase() {
    let subject = subject().unwrap();
    let path = subject.path();
    let [old, new] = [subject.passphrase.as_str(), "new"].map(|text| Passphrase::new(text).unwrap());
    let before = fs::read(&path).unwrap();

    let error = FileKekProvider::change_passphrase(&path, &new, &old).unwrap_err();
    assert!(matches!(error, KekFileWriteError::Load(LoadError::Denied { .. })), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);

    let open_since_before = subject.provider();
    FileKekProvider::change_passphrase(&path, &old, &new).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(subject.dir.path()).unwrap().count(), 1);
    assert!(matches!(open_since_before.load().unwrap_err(), LoadError::Denied { .. }));
    let Refusal::Load(LoadError::Denied { .. }) = refusal(subject.made(&path, &subject.passphrase)) else {
        panic!()
    };
    let kek = subject.made(&path, "new").unwrap().load().unwrap();
    assert_opens(subject.key.public_key(), &kek);

    let absent = subject.dir.path().join("absent");
    let error = FileKekProvider::change_passphrase(&absent, &old, &new).unwrap_err();
    assert!(matches!(error, KekFileWriteError::Load(_)) && !absent.exists());
}

#[test]
fn tells_a_wrong_passphrase_from_a_damaged_file() {
    let (key, text) = &*SAMPLE;
    assert_eq!(loaded(text, PASSPHRASE).unwrap().key_id(), key.public_key().key_id());
    let error = loaded(text, "Correct horse battery staple").unwrap_err();
    assert!(matches!(
        error,
        LoadError::Denied { source: ProviderFault::File(FileFault::WrongPassphrase { .. }), .. }
    ));
    assert!(error.help().is_some());

    let encrypted = KekFile::parse(text).unwrap().encrypted().to_vec();
    let payload = encrypted.len() - 2432 - 16;
    for at in [payload, payload + 1000, encrypted.len() - 1] {
        let mut damaged = encrypted.clone();
        damaged[at] ^= 1;
        let error = loaded(&armoured(&damaged), PASSPHRASE).unwrap_err();
        assert!(matches!(
            error,
            LoadError::Broken { source: ProviderFault::File(FileFault::Damaged { .. }), .. }
        ));
    }
    for len in [encrypted.len() - 1, payload + 16, payload, payload - 1, 100, 22] {
        let fault = fault(loaded(&armoured(&encrypted[..len]), PASSPHRASE));
        assert!(matches!(fault, FileFault::Damaged { .. }), "{len}: {fault:?}");
    }
}

#[test]
fn refuses_an_age_file_that_is_not_a_key_under_a_passphrase() {
    let private = SAMPLE.0.dangerous_expose();
    // Not vacuous: made in the same way, a good one opens.
    loaded(&sealed_otherwise(private, &quick("x")), "x").unwrap();

    let for_somebody = age::x25519::Identity::generate().to_public();
    let fault_of = |text: &[u8]| fault(loaded(text, "x"));
    assert!(matches!(fault_of(&sealed_otherwise(private, &for_somebody)), FileFault::NoPassphrase { .. }));
    for content in [&private[..2431], &[private.as_slice(), b"\n"].concat(), &private[..32], b""] {
        assert!(matches!(fault_of(&sealed_otherwise(content, &quick("x"))), FileFault::Damaged { .. }));
    }
    for content in [[0; 2432].as_slice(), HybridPrivateKey::generate().unwrap().dangerous_expose()] {
        let error = loaded(&sealed_otherwise(content, &quick("x")), "x").unwrap_err();
        assert!(matches!(error, LoadError::WrongKey { .. }), "{error:?}");
        assert!(error.help().is_some());
    }
}

#[test]
fn refuses_a_file_that_asks_for_too_much_work() {
    let good = KekFile::parse(&sealed_otherwise(SAMPLE.0.dangerous_expose(), &quick("x"))).unwrap();
    let header = good.encrypted().split(|byte| *byte == b'\n').nth(1).unwrap();
    let after = &good.encrypted()[22 + header.len()..];
    for factor in [20, 30, 63] {
        let hostile = [&header[..header.len() - 1], factor.to_string().as_bytes()].concat();
        let hostile = armoured(&[b"age-encryption.org/v1\n".as_slice(), &hostile, after].concat());
        // With the work done first, the last of these would take longer than anybody waits, and all memory.
        let fault = fault(loaded(&hostile, "x"));
        assert!(matches!(fault, FileFault::Work { found, .. } if found == factor), "{fault:?}");
        assert!(fault.help().is_some());
    }
    for factor in ["0", "64", "255", "256", "-1", "017", "1e9"] {
        let hostile = [&header[..header.len() - 1], factor.as_bytes()].concat();
        let hostile = armoured(&[b"age-encryption.org/v1\n".as_slice(), &hostile, after].concat());
        let fault = fault(loaded(&hostile, "x"));
        assert!(
            matches!(
                fault,
                FileFault::Damaged { .. } | FileFault::Work { .. } | FileFault::WrongPassphrase { .. }
            ),
            "{factor}: {fault:?}"
        );
    }
}

#[test]
fn refuses_a_text_that_is_not_exactly_a_key_file() {
    let text = str::from_utf8(&SAMPLE.1).unwrap();
    KekFile::parse(text.as_bytes()).unwrap();
    let replaced = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    let body_line = text.lines().nth(3).unwrap();
    let cases = [
        (Vec::new(), KekFileFault::Header),
        (b"\xff".to_vec(), KekFileFault::Header),
        (replaced("AEGIS", "aegis"), KekFileFault::Header),
        ([b"\n", text.as_bytes()].concat(), KekFileFault::Header),
        (replaced("-V1", "-V2"), KekFileFault::Version),
        (replaced("-V1\n", "-V1\r\n"), KekFileFault::Version),
        (replaced("public ", "public  "), KekFileFault::PublicLine),
        (replaced("public ", "private "), KekFileFault::PublicLine),
        (replaced("=\n", "=\n\n"), KekFileFault::Armour),
        (b"AEGIS-KEK-FILE-V1\n".to_vec(), KekFileFault::PublicLine),
        (replaced("-----BEGIN", "----BEGIN"), KekFileFault::Armour),
        (replaced("FILE-----\n", "FILE-----\n\n"), KekFileFault::Armour),
        (replaced(body_line, &body_line[1..]), KekFileFault::Armour),
        (replaced(body_line, &format!("{}\n{}", &body_line[..4], &body_line[4..])), KekFileFault::Armour),
        (replaced(body_line, &format!("{body_line}\r")), KekFileFault::Armour),
        (replaced("YWdl", "YWdm"), KekFileFault::NotAge),
        ([text.as_bytes(), b"\n"].concat(), KekFileFault::Armour),
        ([text.as_bytes(), text.as_bytes()].concat(), KekFileFault::Armour),
        (text.trim_end().as_bytes().to_vec(), KekFileFault::Armour),
        (vec![b'A'; MAX_KEK_FILE_LEN + 1], KekFileFault::TooLarge { found: MAX_KEK_FILE_LEN + 1 }),
    ];
    for (number, (text, expected)) in cases.into_iter().enumerate() {
        assert_eq!(KekFile::parse(&text).unwrap_err(), expected, "case {number}");
    }
    let short = Base64::encode_string(&[9; 30]);
    let public = text.lines().nth(1).unwrap().strip_prefix("public ").unwrap();
    assert!(matches!(KekFile::parse(&replaced(public, &short)), Err(KekFileFault::PublicKey(_))));
    assert_eq!(KekFile::parse(&replaced(public, &public[1..])), Err(KekFileFault::PublicLine));
}

#[test]
fn what_parses_prints_back_the_same() {
    let text = &SAMPLE.1;
    assert_eq!(KekFile::parse(text).unwrap().to_text().as_bytes(), text);
    for at in 0..text.len() {
        for value in [b'\n', b'A', b'=', b' ', text[at] ^ 1, text[at] ^ 0x20] {
            let mut changed = text.clone();
            changed[at] = value;
            if let Ok(file) = KekFile::parse(&changed) {
                assert_eq!(file.to_text().as_bytes(), changed, "byte {at}");
            }
        }
        if let Ok(file) = KekFile::parse(&text[..at]) {
            panic!("{file:?} is cut off at {at}");
        }
    }
}

#[test]
fn refuses_links_and_files_that_others_can_read() {
    let dir = scratch::dir();
    let path = dir.path().join("kek");
    write_private(&path, &SAMPLE.1);
    let opened = |path: &Path| KekFile::read(path).map(|_| ());
    opened(&path).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    for (none, what) in [
        (link.as_path(), "symbolic link"),
        (dir.path(), "a directory"),
        (Path::new("/dev/null"), "a device"),
        (&dir.path().join("absent"), "absent"),
    ] {
        let error = opened(none).unwrap_err();
        assert!(chain(&error).contains(what), "{}", chain(&error));
        assert!(error.help().is_some());
    }
    let fifo = dir.path().join("fifo");
    let made = Command::new("mkfifo").arg("-m600").arg(&fifo).status().unwrap();
    assert!(made.success() && chain(&opened(&fifo).unwrap_err()).contains("a FIFO"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = opened(&path).unwrap_err();
    assert!(matches!(error, KekFileError::Read(PrivateFileError::Mode { mode: 0o640, .. })), "{error:?}");
    let large = dir.path().join("large");
    write_private(&large, &vec![b'A'; MAX_KEK_FILE_LEN + 1]);
    assert!(matches!(opened(&large), Err(KekFileError::Read(PrivateFileError::Read(_)))));
}

#[test]
fn refuses_settings_that_do_not_fit_the_file() {
    let dir = scratch::dir();
    let path = dir.path().join("kek");
    write_private(&path, &SAMPLE.1);
    let path = path.to_str().unwrap();
    let with = |name: &str, value: &str| {
        FileKekProvider::from_environment(&Variables::of_pairs([(FILE, path), (name, value)])).map(|_| ())
    };
    let own = Base64::encode_string(SAMPLE.0.public_key().as_bytes());
    with("AEGIS_MASTER_KEK_PUBLIC", &own).unwrap();
    let other = HybridPrivateKey::generate().unwrap();
    let other = Base64::encode_string(other.public_key().as_bytes());
    let error = with("AEGIS_MASTER_KEK_PUBLIC", &other).unwrap_err();
    assert!(matches!(error, SettingsError::OtherPublicKey { name: FILE, .. }) && error.help().is_some());
    assert!(matches!(with("AEGIS_MASTER_KEK_PUBLIC", "?"), Err(SettingsError::Malformed { .. })));
    let too_long = "x".repeat(1025);
    for passphrase in ["line\nbreak", &too_long] {
        let error = with("AEGIS_PASSPHRASE", passphrase).unwrap_err();
        assert!(!chain(&error).contains(passphrase));
        assert!(matches!(error, SettingsError::Passphrase(PassphraseError::Unusable { .. })), "{error:?}");
    }
    let error = FileKekProvider::from_environment(&Variables::of_pairs([])).unwrap_err();
    assert!(matches!(error, SettingsError::Missing { names, .. } if names == [FILE]));
    let absent = Variables::of_pairs([(FILE, "/no/such/file")]);
    assert!(matches!(FileKekProvider::from_environment(&absent), Err(SettingsError::KekFile(_))));
}

#[test]
fn a_replaced_file_is_not_taken_for_the_one_that_was_opened() {
    let subject = subject().unwrap();
    let provider = subject.provider();
    write_private(&subject.path(), &SAMPLE.1);
    assert!(matches!(fault(provider.load()), FileFault::OtherKek { .. }));
    fs::remove_file(subject.path()).unwrap();
    assert!(matches!(provider.load().unwrap_err(), LoadError::Unavailable { .. }));
}

#[test]
fn neither_changing_a_passphrase_nor_failing_shows_a_secret() {
    let watch = Watch::start();
    let subject = subject().unwrap();
    let path = subject.path();
    let [old, new] = [subject.passphrase.as_str(), "the next one"].map(|text| Passphrase::new(text).unwrap());
    let failed = FileKekProvider::change_passphrase(&path, &new, &old).unwrap_err();
    FileKekProvider::change_passphrase(&path, &old, &new).unwrap();
    let again = FileKekProvider::create(&path, &new, &subject.key).unwrap_err();
    let said = format!("{failed:?} {} {again:?} {} {old:?}", chain(&failed), chain(&again));
    let mut secrets = subject.secrets();
    secrets.push(b"the next one".to_vec());
    watch.assert_shows_none_of(&secrets, &said);
    let text = fs::read(&path).unwrap();
    watch.assert_shows_none_of(&secrets, &String::from_utf8(text).unwrap());
}

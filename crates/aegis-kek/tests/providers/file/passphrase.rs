//! Where the passphrase of a key file comes from: a file, a variable, a terminal.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aegis_kek::file::{FileFault, PassphraseError, PassphraseFault};
use aegis_kek::{FileKekProvider, KekProvider, Passphrase, PassphraseSource, PrivateFileError, Variables};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use test_services::{scratch, tools};

use super::{FILE, PASSPHRASE, SAMPLE, fault, quick, sealed_otherwise, write_private};
use crate::watch::chain;

#[test]
fn takes_the_passphrase_from_the_first_line_of_a_private_file() {
    let dir = scratch::dir();
    let path = dir.path().join("passphrase");
    let kek = sealed_otherwise(SAMPLE.0.dangerous_expose(), &quick("the first line"));
    let kek_path = dir.path().join("kek");
    write_private(&kek_path, &kek);
    let load = |content: &[u8]| {
        write_private(&path, content);
        let variables = Variables::of_pairs([
            (FILE, kek_path.to_str().unwrap()),
            ("AEGIS_PASSPHRASE_FILE", path.to_str().unwrap()),
        ]);
        FileKekProvider::from_environment(&variables).unwrap().load()
    };
    for good in ["the first line", "the first line\n", "the first line\r\n", "the first line\nthe second\n"] {
        load(good.as_bytes()).unwrap();
    }
    let unusable = [
        (b"".as_slice(), PassphraseFault::Empty),
        (b"\nthe first line", PassphraseFault::Empty),
        (b"the\tfirst line", PassphraseFault::ControlCharacter),
        (b"the first line\r", PassphraseFault::Empty),
        (b"\xff", PassphraseFault::NotUnicode),
        (&[b'x'; 1025], PassphraseFault::TooLong { found: 1025 }),
    ];
    for (content, expected) in unusable {
        let loaded = load(content);
        if content == b"the first line\r" {
            loaded.unwrap();
            continue;
        }
        let FileFault::Passphrase(PassphraseError::Unusable { source, .. }) = fault(loaded) else {
            panic!("{content:?}")
        };
        assert_eq!(source, expected);
    }
    write_private(&path, b"the first line");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Passphrase::from_file(&path).unwrap_err();
    assert!(matches!(error, PassphraseError::Read(PrivateFileError::Mode { .. })), "{error:?}");
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Passphrase::from_file(&link).unwrap();
    assert!(Passphrase::from_file(&dir.path().join("absent")).is_err());
}

#[test]
fn a_variable_comes_before_a_file_and_a_named_file_before_both() {
    let dir = scratch::dir();
    let [named, set] = ["named", "set"].map(|name| dir.path().join(name));
    let variables =
        || Variables::of_pairs([("AEGIS_PASSPHRASE", "x"), ("AEGIS_PASSPHRASE_FILE", set.to_str().unwrap())]);
    assert!(matches!(PassphraseSource::of(&variables()).unwrap(), PassphraseSource::Given(_)));
    let with_named = variables().with_passphrase_file(&named).unwrap();
    assert!(
        matches!(PassphraseSource::of(&with_named).unwrap(), PassphraseSource::File(path) if path == named)
    );
    let file_only = Variables::of_pairs([("AEGIS_PASSPHRASE_FILE", set.to_str().unwrap())]);
    assert!(matches!(PassphraseSource::of(&file_only).unwrap(), PassphraseSource::File(path) if path == set));
    assert!(matches!(PassphraseSource::of(&Variables::of_pairs([])).unwrap(), PassphraseSource::Terminal));
}

/// Run by the next two tests, in a session of its own.
#[test]
fn child_asks_for_a_passphrase() {
    let Some(kek) = std::env::var_os("AEGIS_TEST_CHILD_OF_FILE") else { return };
    let source = PassphraseSource::of(&Variables::of_pairs([])).unwrap();
    if std::env::var_os("AEGIS_TEST_TWICE").is_some() {
        match source.take_new(Path::new(&kek)) {
            Ok(_) => println!("it was the same twice"),
            Err(error) => println!("{error}"),
        }
        return;
    }
    match FileKekProvider::open(Path::new(&kek), source).unwrap().load() {
        Ok(kek) => println!("loaded {}", kek.key_id()),
        Err(error) => println!("{}; {}", chain(&error), error.help().unwrap_or_default()),
    }
}

/// What a terminal shows at the end.
const ENDED: &str = "and-nothing-follows";

fn child(kek: &Path) -> (String, Vec<(&'static str, String)>) {
    // This program itself, also if a build has replaced its file by now.
    let command = format!(
        "/proc/{}/exe file::passphrase::child_asks_for_a_passphrase --exact --nocapture",
        std::process::id()
    );
    (command, vec![("AEGIS_TEST_CHILD_OF_FILE", kek.display().to_string())])
}

#[test]
fn does_not_ask_where_there_is_no_terminal() {
    if !tools::need("does_not_ask_where_there_is_no_terminal", &["setsid"]) {
        return;
    }
    let dir = scratch::dir();
    let kek = dir.path().join("kek");
    write_private(&kek, &SAMPLE.1);
    let (command, variables) = child(&kek);
    // A new session has no terminal. What is on standard input is not taken for an answer.
    let mut child = Command::new("setsid")
        .args(["--wait", "sh", "-c", &command])
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSPHRASE}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("there is no terminal") && said.contains("--passphrase-file"), "{said}");
}

/// Runs the child on a terminal of its own, types the lines of `typed`, and gives what the terminal showed.
fn on_a_terminal(kek: &Path, typed: &str, twice: bool) -> String {
    let lines: Vec<_> = typed.lines().map(|line| format!("{line}\n").into_bytes()).collect();
    let (shown, modes) = typed_on_a_terminal(kek, &lines, twice);
    assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG), "{modes:?}");
    shown
}

/// The same with bytes for an answer; and how the terminal was left.
fn typed_on_a_terminal(kek: &Path, typed: &[Vec<u8>], twice: bool) -> (String, LocalModes) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = fs::File::options().read(true).write(true).open(slave).unwrap();
    let left = slave.try_clone().unwrap();
    let (command, mut variables) = child(kek);
    if twice {
        variables.push(("AEGIS_TEST_TWICE", "1".to_owned()));
    }
    // Where the suite runs in the background of a script, ^C is ignored, and children inherit that.
    let mut child = Command::new("env")
        .args(["--default-signal=INT", "setsid", "--ctty", "--wait", "sh", "-c"])
        .arg(format!("{command}; echo {ENDED}"))
        .envs(variables)
        .stdin(slave.try_clone().unwrap())
        .stdout(slave)
        .spawn()
        .unwrap();

    let mut terminal = fs::File::from(master);
    let (mut shown, mut answers, mut byte) = (Vec::new(), typed.iter(), [0]);
    // This test holds the other end, to see how the terminal was left: so the child says when it has ended.
    while !shown.ends_with(ENDED.as_bytes()) && terminal.read(&mut byte).unwrap() == 1 {
        shown.push(byte[0]);
        if shown.ends_with(b": ")
            && let Some(answer) = answers.next()
        {
            // As a person would, types when the prompt has been there for a moment: it comes before the echo is off.
            while tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO) {
                std::thread::sleep(Duration::from_millis(1));
            }
            terminal.write_all(answer).unwrap();
        }
    }
    child.wait().unwrap();
    (String::from_utf8_lossy(&shown).into_owned(), tcgetattr(&left).unwrap().local_modes)
}

#[test]
fn asks_on_a_terminal_and_does_not_show_what_is_typed() {
    if !tools::need("asks_on_a_terminal_and_does_not_show_what_is_typed", &["setsid"]) {
        return;
    }
    let dir = scratch::dir();
    let kek = dir.path().join("kek");
    write_private(&kek, &SAMPLE.1);
    let shown = on_a_terminal(&kek, PASSPHRASE, false);
    let id = SAMPLE.0.public_key().key_id().to_string();
    assert!(shown.contains("Passphrase for ") && shown.contains(&format!("loaded {id}")), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    let shown = on_a_terminal(&kek, "wrong", false);
    assert!(shown.contains("the passphrase does not open") && !shown.contains("wrong"), "{shown}");
    let shown = on_a_terminal(&kek, "\n", false);
    assert!(shown.contains("holds no usable passphrase"), "{shown}");
    let shown = on_a_terminal(&kek, "battery\nbattery", true);
    assert!(shown.contains("it was the same twice") && !shown.contains("battery"), "{shown}");
    let shown = on_a_terminal(&kek, "battery\nstaple", true);
    assert!(shown.contains("not the same the second time"), "{shown}");
}

#[test]
fn a_question_that_is_broken_off_leaves_the_terminal_as_it_was() {
    if !tools::need("a_question_that_is_broken_off_leaves_the_terminal_as_it_was", &["setsid"]) {
        return;
    }
    let dir = scratch::dir();
    let kek = dir.path().join("kek");
    write_private(&kek, &SAMPLE.1);
    // ^C, first and in the middle; ^D.
    for keys in [b"\x03".as_slice(), b"corr\x03", b"\x04"] {
        let (shown, modes) = typed_on_a_terminal(&kek, &[keys.to_vec()], false);
        assert!(
            modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG),
            "{keys:?} {modes:?}"
        );
        assert!(!shown.contains("loaded") && !shown.contains("corr"), "{keys:?} {shown}");
        // ^C ends the process, as it would at any other time.
        assert_eq!(shown.contains("no passphrase was typed"), keys == b"\x04", "{keys:?} {shown}");
    }
    // What was typed wrongly is taken back, a character at a time or all of it.
    let keys = format!("wrong\x15{PASSPHRASE}\u{fc}x\x7f\x08\r").into_bytes();
    let (shown, _) = typed_on_a_terminal(&kek, &[keys], false);
    assert!(shown.contains("loaded"), "{shown}");
    let (shown, _) = typed_on_a_terminal(&kek, &[[b"x".repeat(5000), b"\n".to_vec()].concat()], false);
    assert!(shown.contains("holds no usable passphrase"), "{shown}");
}

#[test]
fn refuses_a_passphrase_that_is_none() {
    assert_eq!(Passphrase::new("").unwrap_err(), PassphraseFault::Empty);
    assert_eq!(Passphrase::new("a\nb").unwrap_err(), PassphraseFault::ControlCharacter);
    assert_eq!(Passphrase::new(&"é".repeat(513)).unwrap_err(), PassphraseFault::TooLong { found: 1026 });
    Passphrase::new(&"é".repeat(512)).unwrap();
    let said = format!("{:?}", PassphraseSource::Given(Passphrase::new("very secret").unwrap()));
    assert!(!said.contains("secret"), "{said}");
}

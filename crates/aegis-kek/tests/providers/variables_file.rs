//! The variables file, which a service manager and a shell read alike.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use aegis_kek::{
    LineFault, MAX_VARIABLES_FILE_LEN, PrivateFileError, SettingFault, Variables, VariablesFile,
    VariablesFileError,
};
use proptest::collection::vec;
use proptest::prelude::*;
use test_services::{scratch, tools};

use crate::watch::chain;

fn pairs(file: &VariablesFile) -> Vec<(String, String)> {
    file.iter().map(|(name, value)| (name.to_owned(), value.expose().to_owned())).collect()
}

fn of(settings: &[(&str, &str)]) -> VariablesFile {
    let mut file = VariablesFile::new();
    for (name, value) in settings {
        file.set(name, value).unwrap();
    }
    file
}

#[test]
fn reads_what_people_write() {
    let text = "\
# a comment, with 'quotes' and $signs

  AEGIS_KMS_KEY_ID=arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab\t
export AEGIS_HSM_TOKEN_LABEL='aegis governance'
\texport \t AEGIS_HSM_WRAPPING_KEY_LABEL=\"it's\"
EMPTY=
QUOTED=''
export=1
BASE64=AA+/==
LAST=100%";
    let file = VariablesFile::parse(text.as_bytes()).unwrap();
    let expected = [
        ("AEGIS_KMS_KEY_ID", "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab"),
        ("AEGIS_HSM_TOKEN_LABEL", "aegis governance"),
        ("AEGIS_HSM_WRAPPING_KEY_LABEL", "it's"),
        ("EMPTY", ""),
        ("QUOTED", ""),
        ("export", "1"),
        ("BASE64", "AA+/=="),
        ("LAST", "100%"),
    ];
    assert_eq!(pairs(&file), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn writes_quotes_where_they_are_needed() {
    let file = of(&[
        ("A", "plain/1.so"),
        ("B", "two words"),
        ("C", "it's"),
        ("D", "say \"$HOME\" `id`"),
        ("E", ""),
        ("F", "ключ #1"),
    ]);
    let text = file.to_text();
    let expected = "A=plain/1.so\nB='two words'\nC=\"it's\"\nD='say \"$HOME\" `id`'\nE=\nF='ключ #1'\n";
    assert_eq!(text.expose(), expected);
    assert_eq!(pairs(&VariablesFile::parse(text.expose().as_bytes()).unwrap()), pairs(&file));
}

#[test]
fn refuses_lines_that_readers_would_take_differently() {
    let repeated = LineFault::Repeated { name: "A".to_owned() };
    let cases: [(&[u8], usize, LineFault); 29] = [
        (b"A", 1, LineFault::NoAssignment),
        (b"export A", 1, LineFault::NoAssignment),
        (b"; comment of one reader only", 1, LineFault::NoAssignment),
        (b"A=1\n=2", 2, LineFault::Name),
        (b"1A=2", 1, LineFault::Name),
        (b"A B=2", 1, LineFault::Name),
        (b"A =2", 1, LineFault::Name),
        (b"export  =2", 1, LineFault::Name),
        ("Ä=2".as_bytes(), 1, LineFault::Name),
        ("\u{feff}A=2".as_bytes(), 1, LineFault::Name),
        (b"A=1\nB=1\n\nA=2\n", 4, repeated.clone()),
        (b"A=1\nexport A='1'", 2, repeated),
        (b"A= 1", 1, LineFault::NeedsQuotes),
        (b"A=1 # comment", 1, LineFault::NeedsQuotes),
        (b"A=$B", 1, LineFault::NeedsQuotes),
        (b"A=~/key", 1, LineFault::NeedsQuotes),
        (b"A=x\\ y", 1, LineFault::NeedsQuotes),
        (b"A=x'y'", 1, LineFault::NeedsQuotes),
        (b"A='x", 1, LineFault::OpenQuote),
        (b"A=\"x'", 1, LineFault::OpenQuote),
        (b"A='x'y", 1, LineFault::AfterQuote),
        (b"A='x' # comment", 1, LineFault::AfterQuote),
        (b"A='x''y'", 1, LineFault::AfterQuote),
        (b"A=\"x$y\"", 1, LineFault::Expanded),
        (b"A=\"`x`\"", 1, LineFault::Expanded),
        (b"A='x\\y'", 1, LineFault::Expanded),
        (b"A=1\r\nB=2", 1, LineFault::Character),
        (b"# \x1b[2K", 1, LineFault::Character),
        (b"A=1\nB=\xff", 2, LineFault::NotUnicode),
    ];
    for (text, expected_line, expected) in cases {
        let error = VariablesFile::parse(text).unwrap_err();
        assert!(error.help().is_some() && chain(&error).contains(&format!("line {expected_line} ")));
        let VariablesFileError::Line { line, source } = error else { panic!("{error:?}") };
        assert_eq!((line, source), (expected_line, expected), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn refuses_more_than_it_could_rightly_hold() {
    let long = vec![b'#'; MAX_VARIABLES_FILE_LEN + 1];
    assert!(matches!(VariablesFile::parse(&long), Err(VariablesFileError::TooLarge { .. })));
    VariablesFile::parse(&long[1..]).unwrap();
    let many: String = (0..257).map(|number| format!("A{number}=\n")).collect();
    let error = VariablesFile::parse(many.as_bytes()).unwrap_err();
    assert!(matches!(error, VariablesFileError::Line { line: 257, source: LineFault::TooMany }));
    let name = "A".repeat(129);
    assert!(VariablesFile::parse(format!("{name}=1").as_bytes()).is_err());
    VariablesFile::parse(format!("{}=1", &name[1..]).as_bytes()).unwrap();
}

#[test]
fn refuses_to_write_what_it_could_not_represent() {
    let cases = [
        ("", "x", SettingFault::Name),
        ("1A", "x", SettingFault::Name),
        ("A B", "x", SettingFault::Name),
        ("TAKEN", "x", SettingFault::Repeated),
        ("A", "two\nlines", SettingFault::Character),
        ("A", "nul\0", SettingFault::Character),
        ("A", "tab\t", SettingFault::Character),
        ("A", "back\\slash", SettingFault::Character),
        ("A", "it's \"both\"", SettingFault::Quotes),
        ("A", "it's $5", SettingFault::Quotes),
        ("A", "it's `id`", SettingFault::Quotes),
    ];
    for (name, value, expected) in cases {
        let mut file = of(&[("TAKEN", "y")]);
        let error = file.set(name, value).unwrap_err();
        assert_eq!(error.fault, expected, "{name}={value:?}");
        assert!(!value.contains(' ') || !chain(&error).contains(value), "{}", chain(&error));
        assert_eq!(pairs(&file).len(), 1);
    }
    let mut file = VariablesFile::new();
    assert_eq!(file.set("A", &"x".repeat(MAX_VARIABLES_FILE_LEN)).unwrap_err().fault, SettingFault::TooLong);
    for number in 0..256 {
        file.set(&format!("A{number}"), "").unwrap();
    }
    assert_eq!(file.set("B", "").unwrap_err().fault, SettingFault::TooMany);
}

#[test]
fn is_written_for_its_owner_only_and_never_over_another() {
    let dir = scratch::dir();
    let path = dir.path().join("kek.env");
    let file = of(&[("AEGIS_HSM_TOKEN_LABEL", "aegis governance")]);
    file.write_new(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(pairs(&VariablesFile::read(&path).unwrap()), pairs(&file));
    let error = of(&[("OTHER", "1")]).write_new(&path).unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(pairs(&VariablesFile::read(&path).unwrap()), pairs(&file));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn refuses_files_that_others_can_read_or_that_are_none() {
    let dir = scratch::dir();
    let path = dir.path().join("kek.env");
    fs::write(&path, "A=1\n").unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Variables::from_file(&path).unwrap_err();
        assert!(error.help().unwrap().contains("chmod 600"));
        let VariablesFileError::Read(PrivateFileError::Mode { mode: found, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(found, mode);
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(Variables::from_file(&path).unwrap().is_set("A"));
    }
    // A service manager hands credentials over as links.
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(Variables::from_file(&link).unwrap().is_set("A"));
    for none in [dir.path().join("absent"), dir.path().to_owned(), "/dev/null".into()] {
        let error = Variables::from_file(&none).unwrap_err();
        assert!(matches!(error, VariablesFileError::Read(PrivateFileError::Read(_))), "{error:?}");
        assert!(error.help().is_some() && chain(&error).contains(&*none.to_string_lossy()));
    }
    let large = dir.path().join("large");
    fs::write(&large, vec![b'#'; MAX_VARIABLES_FILE_LEN + 1]).unwrap();
    fs::set_permissions(&large, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Variables::from_file(&large), Err(VariablesFileError::Read(PrivateFileError::Read(_)))));
}

/// What a POSIX shell makes of a file, by `set -a; . FILE`.
fn of_the_shell(text: &str, names: &[&str]) -> Vec<String> {
    let dir = scratch::dir();
    let path = dir.path().join("kek.env");
    fs::write(&path, text).unwrap();
    let print: String = names.iter().map(|name| format!("printf '%s\\0' \"${name}\"; ")).collect();
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("set -a; . \"$0\"; {print}"))
        .arg(&path)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{text:?}: {output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn a_shell_reads_the_same() {
    if !tools::need("a_shell_reads_the_same", &["sh"]) {
        return;
    }
    let values = [
        "plain",
        "two words",
        "it's",
        "$HOME",
        "`id`",
        "say \"x\"",
        "a#b",
        "# c",
        "*",
        "~",
        "!x",
        "a;b&c|d",
        "ключ",
        "",
        "  padded  ",
        "%h %%",
        "(x)",
        "{a,b}",
        "<x>",
        "-n",
        "=",
        "'",
    ];
    let mut file = VariablesFile::new();
    let names: Vec<_> = (0..values.len()).map(|number| format!("V{number}")).collect();
    for (name, value) in names.iter().zip(values) {
        file.set(name, value).unwrap();
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(of_the_shell(file.to_text().expose(), &names), values);
}

#[test]
fn shows_names_only() {
    let file = of(&[("AEGIS_HSM_PIN", "very secret pin")]);
    let said = format!("{file:?}");
    assert!(said.contains("AEGIS_HSM_PIN") && !said.contains("secret"), "{said}");
    let error = VariablesFile::parse(b"AEGIS_HSM_PIN=very secret pin").unwrap_err();
    assert!(!format!("{error:?} {}", chain(&error)).contains("secret"));
}

/// Values of characters that mean something to one reader or another.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        vec(proptest::sample::select(b" \t\n\r'\"$`\\#~!*?=:;%/-+_aZ0\0\x1b".to_vec()), 0..12)
            .prop_map(|bytes| String::from_utf8(bytes).unwrap()),
        "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(values in vec(value(), 0..8)) {
        let mut file = VariablesFile::new();
        for (number, value) in values.iter().enumerate() {
            // What it refuses to write is in a table above; here it must only not be written wrongly.
            let _ = file.set(&format!("V{number}"), value);
        }
        let text = file.to_text();
        let read = VariablesFile::parse(text.expose().as_bytes()).unwrap();
        prop_assert_eq!(pairs(&read), pairs(&file));
        let again = read.to_text();
        prop_assert_eq!(again.expose(), text.expose());
    }

    #[test]
    fn whatever_is_read_can_be_written(text in "(export )?[A-C ]{0,2}=?[ -~]{0,12}\n[A-C]=['\"]?[ -~]{0,8}['\"]?") {
        if let Ok(file) = VariablesFile::parse(text.as_bytes()) {
            let read = VariablesFile::parse(file.to_text().expose().as_bytes()).unwrap();
            prop_assert_eq!(pairs(&read), pairs(&file));
        }
    }

    #[test]
    fn bytes_at_random_never_panic(bytes in vec(any::<u8>(), 0..256)) {
        let _ = VariablesFile::parse(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_shell_reads_any_file_that_is_read_here(text in "A=['\"]?[ -~]{0,12}['\"]?\nB=[a-z'\"# ;$]{0,6}") {
        if let Ok(file) = VariablesFile::parse(text.as_bytes()) && tools::find("sh").is_some() {
            let (names, values): (Vec<_>, Vec<_>) = pairs(&file).into_iter().unzip();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            prop_assert_eq!(of_the_shell(&text, &names), values);
        }
    }
}

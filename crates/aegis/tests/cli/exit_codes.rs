//! 0 done, 1 refused or failed, 2 wrong usage; and what else holds for every command.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::program::{command, dir, expect, run, run_with};

#[test]
fn done_refused_and_wrong_usage_differ() {
    let dir = dir();
    let dir = dir.path();
    let steps: &[(i32, &[&str])] = &[
        (2, &[]),
        (2, &["dek", "lst"]),
        (2, &["dek", "show", "v1"]),
        (2, &["dek", "list", "--state", "resting"]),
        (2, &["dek", "create", "--scope", "Not A Scope"]),
        (2, &["dek", "rotate", "--max-age", "90d"]),
        (2, &["dek", "destroy", "dek-v1-20260101", "--wait", "1d", "--cancel"]),
        (2, &["kek", "provision", "--provider", "paper"]),
        (2, &["kek", "provision", "--provider", "environment"]),
        (2, &["kek", "provision", "--provider", "file"]),
        (2, &["kek", "rotate"]),
        (2, &["kek", "rotate", "--to", "x", "--abandon"]),
        (2, &["kek", "retire", "abc"]),
        (2, &["backup", "create", "x", "--recipient", "age1nobody"]),
        (2, &["init", "--passphrase", "secret"]),
        (1, &["doctor"]),
        (1, &["dek", "list"]),
        (1, &["dek", "rotate"]),
        (1, &["kek", "status"]),
        (1, &["kek", "provision", "--provider", "in_memory"]),
        (1, &["kek", "rotate", "--to", "missing.env"]),
        (1, &["backup", "restore", "missing"]),
        (1, &["init", "--passphrase-file", "missing"]),
        (0, &["init"]),
        (0, &["init"]),
        (0, &["doctor"]),
        (0, &["dek", "list"]),
        (0, &["kek", "status"]),
        (0, &["kek", "verify"]),
        (0, &["audit", "verify"]),
        (1, &["dek", "retire", "dek-v1-20200101"]),
        (1, &["dek", "show", "dek-v1-20200101"]),
        (1, &["kek", "retire"]),
        (1, &["kek", "rotate", "--abandon"]),
        (1, &["audit", "checkpoint", "-o", "/dev/full"]),
        (0, &["--help"]),
        (0, &["--version"]),
    ];
    for (code, arguments) in steps {
        expect(dir, *code, arguments);
    }
}

#[test]
fn an_error_in_json_is_one_line_on_standard_error() {
    let dir = dir();
    expect(dir.path(), 0, &["init"]);
    for arguments in [
        &["dek", "show", "dek-v1-20200101", "--json"][..],
        &["dek", "retire", "dek-v1-20200101", "--json"],
        &["kek", "rotate", "--to", "missing.env", "--json"],
        &["backup", "verify", "passphrase", "--json"],
        &["init", "--passphrase-file", "missing", "--json"],
    ] {
        let output = run(dir.path(), arguments);
        if arguments.first() == Some(&"init") {
            // Everything is there, so no passphrase is needed.
            assert_eq!(output.status.code(), Some(0));
            continue;
        }
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.matches('\n').count(), 1, "{stderr}");
        let error: serde_json::Value = serde_json::from_str(&stderr).unwrap();
        assert!(error["error"].is_string() && !error["because"].as_array().unwrap().is_empty(), "{stderr}");
    }
}

#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    let dir = dir();
    expect(dir.path(), 0, &["init"]);
    for arguments in [&["man"][..], &["completions", "bash"]] {
        let mut child = command(dir.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let dir = dir();
    expect(dir.path(), 0, &["init"]);
    for arguments in [&["dek", "list"][..], &["kek", "status", "--json"], &["doctor"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = command(dir.path()).args(arguments).stdout(full).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn no_output_goes_where_the_deployment_keeps_its_files_or_over_a_key() {
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    expect(dir, 0, &["kek", "provision", "--provider", "environment", "--out", "kek.env"]);
    std::os::unix::fs::symlink("state/kek.age", dir.join("link")).unwrap();
    let kept =
        ["state/kek.age", "state/keyring.sqlite", "state/audit/log.jsonl", "state/new", "link", "kek.env"];
    for file in kept {
        let before = std::fs::read(dir.join(file)).ok();
        for arguments in [
            &["kek", "provision", "--provider", "environment", "--out"][..],
            &["kek", "provision", "--provider", "file", "--kek-file"],
            &["backup", "create"],
        ] {
            expect(dir, 1, &[arguments, &[file]].concat());
        }
        if file != "kek.env" {
            expect(dir, 1, &["audit", "checkpoint", "-o", file]);
        }
        let after = std::fs::read(dir.join(file)).ok();
        let unchanged = before == after || file.ends_with("log.jsonl");
        assert!(unchanged, "{file}");
    }
}

#[test]
fn a_dash_is_no_file_of_that_name() {
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    for arguments in [
        &["kek", "provision", "--provider", "environment", "--out", "-"][..],
        &["kek", "provision", "--provider", "file", "--kek-file", "-"],
        &["backup", "create", "-"],
    ] {
        let output = run(dir, arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.contains("--print-secret"), arguments.contains(&"--out"), "{stderr}");
        assert!(!dir.join("-").exists(), "{arguments:?}");
    }
    expect(dir, 0, &["backup", "create", "./-"]);
    assert!(dir.join("-").exists());
}

#[test]
fn what_went_missing_is_put_back_and_not_made_anew() {
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    std::fs::rename(dir.join("state/kek.age"), dir.join("copy")).unwrap();
    for arguments in [["kek", "status"].as_slice(), &["kek", "verify"], &["doctor"], &["init"]] {
        let output = run(dir, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("from its copy") && !said.contains("`aegis init`"), "{arguments:?} {said}");
    }
    std::fs::rename(dir.join("copy"), dir.join("state/kek.age")).unwrap();
    expect(dir, 0, &["kek", "status"]);

    std::os::unix::fs::symlink("/dev/null", dir.join("state/pending/x.json")).unwrap();
    let output = run(dir, &["dek", "rotate"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("it is a link") && !said.contains("owner"), "{said}");

    std::os::unix::fs::symlink("nowhere", dir.join("dangling")).unwrap();
    for arguments in [["init"].as_slice(), &["dek", "list"], &["doctor"]] {
        let output = command(dir).env("AEGIS_STATE_DIR", "dangling").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("leads nowhere") && said.contains("help: mount or make"), "{said}");
    }
}

#[test]
fn what_is_secret_is_written_for_its_owner_alone_and_printed_on_request_only() {
    let dir = dir();
    let dir = dir.path();
    let shown =
        expect(dir, 0, &["kek", "provision", "--provider", "environment", "--out", "kek.env", "--json"]);
    let written = std::fs::read_to_string(dir.join("kek.env")).unwrap();
    let private = written.lines().find_map(|line| line.strip_prefix("AEGIS_MASTER_KEK_PRIVATE=")).unwrap();
    assert!(private.len() > 3000 && !shown.contains(private.trim_matches('\'')));
    assert_eq!(std::fs::metadata(dir.join("kek.env")).unwrap().permissions().mode() & 0o7777, 0o600);
    let shown = expect(dir, 0, &["kek", "provision", "--provider", "environment", "--print-secret"]);
    assert!(shown.contains("AEGIS_MASTER_KEK_PRIVATE="));
}

#[test]
fn a_private_key_is_imported_in_each_of_its_forms() {
    let dir = dir();
    let dir = dir.path();
    let ids: Vec<String> = [&[7_u8; 32][..], b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n  BwcHBwc=\n"]
        .iter()
        .map(|key| {
            let arguments = [
                "kek",
                "provision",
                "--provider",
                "environment",
                "--print-secret",
                "--import",
                "-",
                "--json",
            ];
            let output = run_with(dir, &arguments, key);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            report["kek"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
    for bad in [&b""[..], b"nonsense!", &[7; 31], &[0xff; 2432]] {
        let arguments = ["kek", "provision", "--provider", "environment", "--print-secret", "--import", "-"];
        assert_eq!(run_with(dir, &arguments, bad).status.code(), Some(1), "{} bytes", bad.len());
    }
}

#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    let name = "evil\u{1b}[2J\u{9b}31m\u{202e}\nerror: x.conf";
    std::fs::write(dir.join(name), format!("{{\"_dek_version\":{name:?}}}\n").replace("\\u{1b}", "\\u001b"))
        .unwrap();
    for arguments in [
        &["dek", "usage", name][..],
        &["dek", "show", name],
        &["dek", "create", "--scope", name],
        &["kek", "rotate", "--to", name],
        &["kek", "provision", "--provider", "environment", "--out", name, "--import", name],
        &["backup", "verify", name, "--json"],
        &["backup", "restore", name],
        &["init", "--passphrase-file", name],
        &[name],
    ] {
        let output = run(dir, arguments);
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!printed.contains(steers), "{arguments:?} {printed:?}");
        assert!(!printed.lines().any(|line| line.starts_with("error: x.conf")), "{printed}");
    }
}

#[test]
fn the_log_is_silent_unless_it_is_asked_for_and_refuses_a_level_it_does_not_know() {
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    let quiet = run(dir, &["dek", "rotate"]);
    assert_eq!(String::from_utf8(quiet.stderr).unwrap(), "");
    let loud = command(dir).args(["dek", "rotate"]).env("AEGIS_LOG", "trace").output().unwrap();
    let loud = String::from_utf8(loud.stderr).unwrap();
    assert!(loud.contains("INFO aegis_keyring") && !loud.contains("rusqlite"), "{loud}");
    let wrong = command(dir).args(["dek", "list"]).env("AEGIS_LOG", "loud").output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("warn"));
}

#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    let dir = dir();
    let dir = dir.path();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = expect(dir, 0, &["completions", shell]);
        assert!(script.contains("rotate-key") && script.contains("hsm-wrap"), "{shell}");
    }
    std::fs::create_dir(dir.join("man")).unwrap();
    expect(dir, 0, &["man", "-o", "man"]);
    for page in ["aegis.1", "aegis-kek-provision.1", "aegis-dek-destroy.1", "aegis-audit-export.1"] {
        let page = std::fs::read_to_string(dir.join("man").join(page)).unwrap();
        assert!(
            page.contains(".SH NAME") && page.contains(".SH EXAMPLES") && !page.contains("EXTRA"),
            "{page}"
        );
    }
}

#[test]
fn a_file_name_that_is_no_text_is_as_good_as_another() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    let name = |name: &[u8]| std::ffi::OsStr::from_bytes(name).to_owned();
    let steps: &[(&[&str], _)] = &[
        (&["backup", "create"], name(b"backup-\xff")),
        (&["backup", "verify", "--json"], name(b"backup-\xff")),
        (&["kek", "provision", "--provider", "environment", "--json", "--out"], name(b"kek-\xff.env")),
        (&["kek", "rotate", "--json", "--to"], name(b"kek-\xff.env")),
    ];
    for (arguments, file) in steps {
        let output = command(dir).args(*arguments).arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?} {output:?}");
        assert!(dir.join(file).exists(), "{arguments:?}");
    }
    let state = command(dir).env("AEGIS_STATE_DIR", name(b"state-\xff")).arg("init").output().unwrap();
    assert_eq!(state.status.code(), Some(1), "{state:?}");
    assert!(!dir.join(name(b"state-\xff")).exists());
}

#[test]
fn a_password_in_a_list_of_settings_is_not_shown() {
    let dir = dir();
    expect(dir.path(), 0, &["init"]);
    for arguments in [["init", "--json"].as_slice(), &["doctor"], &["kek", "status"], &["dek", "list"]] {
        let keyring = "host=127.0.0.1 port=1 user=u password=s3cret-s3cret";
        let output = command(dir.path())
            .args(arguments)
            .env("AEGIS_KEYRING", keyring)
            .env("AEGIS_LOG", "trace")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("s3cret"), "{arguments:?}");
    }
    assert!(
        std::fs::read_dir(dir.path())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().contains("s3cret") })
    );
}

#[test]
fn a_keyring_that_was_lost_is_not_replaced_by_an_empty_one() {
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    expect(dir, 0, &["backup", "create", "keyring.backup"]);
    let before = expect(dir, 0, &["dek", "list"]);
    // The variable that names it was forgotten; or the file is gone.
    let elsewhere = command(dir).env("AEGIS_KEYRING", "elsewhere.sqlite").arg("init").output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(1), "{elsewhere:?}");
    std::fs::remove_file(dir.join("state/keyring.sqlite")).unwrap();
    expect(dir, 1, &["init"]);
    expect(dir, 1, &["dek", "list"]);
    expect(dir, 0, &["backup", "restore", "keyring.backup"]);
    expect(dir, 0, &["init"]);
    assert_eq!(expect(dir, 0, &["dek", "list"]), before);
}

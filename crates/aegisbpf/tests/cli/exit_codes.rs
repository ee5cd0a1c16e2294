//! 0 done, 1 refused or failed, 2 wrong usage; `health` 0 ok, 1 degraded, 2 failed.

use std::io::Read as _;
use std::process::{Command, Stdio};

use aegis_crypto::SigningKey;

use crate::program::{expect, fixtures, run, run_with};

#[test]
fn done_refused_and_wrong_usage_differ() {
    let dir = fixtures();
    let dir = dir.path();
    let steps: &[(i32, &[&str])] = &[
        (2, &[]),
        (2, &["policy", "aply"]),
        (2, &["keys", "show", "abc"]),
        (2, &["policy", "apply", "policy.conf", "--require-signature", "--allow-unsigned"]),
        (2, &["policy", "sign", "policy.conf", "-o", "x"]),
        (1, &["keys", "add", "missing.pub"]),
        (1, &["policy", "apply", "policy.conf", "--require-signature"]),
        (1, &["policy", "lint", "broken.conf"]),
        (1, &["audit", "checkpoint", "-o", "/dev/full"]),
        (0, &["policy", "lint", "policy.conf"]),
        (0, &["keys", "add", "first.pub"]),
        (0, &["keys", "list"]),
        (0, &["policy", "apply", "bundle.signed", "--require-signature"]),
        (0, &["--help"]),
        (0, &["--version"]),
    ];
    for (code, arguments) in steps {
        expect(dir, *code, arguments);
    }
}

#[test]
fn health_is_its_own_exit_code() {
    let dir = fixtures();
    let dir = dir.path();
    let status = |code| {
        let json: serde_json::Value =
            serde_json::from_str(&expect(dir, code, &["health", "--json"])).unwrap();
        json["status"].as_str().unwrap().to_owned()
    };
    expect(dir, 0, &["keys", "add", "first.pub"]);
    expect(dir, 0, &["policy", "apply", "bundle.signed", "--require-signature"]);
    // Nothing is enforced yet, and health says so.
    assert_eq!(status(1), "degraded");
    std::fs::write(dir.join("host/var/lib/aegisbpf/version_counter"), "junk\n").unwrap();
    assert_eq!(status(2), "failed");
}

#[test]
fn an_error_in_json_is_one_line_on_standard_error() {
    let dir = fixtures();
    for arguments in [
        &["--root", "host", "policy", "apply", "missing.signed", "--json"][..],
        &["--root", "host", "keys", "add", "first.key", "--json"],
        &["--root", "host", "policy", "explain", "broken.conf", "/bin/sh", "--json"],
        &["--root", "host", "keys", "show", "34750f98", "--json"],
    ] {
        let output = run(dir.path(), arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.matches('\n').count(), 1, "{stderr}");
        let error: serde_json::Value = serde_json::from_str(&stderr).unwrap();
        assert!(error["error"].is_string() && !error["because"].as_array().unwrap().is_empty(), "{stderr}");
    }
}

#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    let dir = fixtures();
    let rules: String = (1..50_000).map(|number| format!("/opt/{number}\n")).collect();
    std::fs::write(dir.path().join("long.conf"), format!("version=1\n[deny_path]\n{rules}")).unwrap();
    for arguments in
        [&["policy", "show", "long.conf"][..], &["policy", "show", "long.conf", "--json"], &["man"]]
    {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aegisbpf"))
            .args(arguments)
            .current_dir(dir.path())
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
    let dir = fixtures();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_aegisbpf"))
        .args(["policy", "show", "policy.conf"])
        .current_dir(dir.path())
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn no_output_replaces_a_private_key_or_what_the_host_keeps() {
    let dir = fixtures();
    let dir = dir.path();
    expect(dir, 0, &["keys", "add", "first.pub"]);
    expect(dir, 0, &["policy", "apply", "bundle.signed", "--require-signature"]);
    let state = "host/var/lib/aegisbpf";
    std::os::unix::fs::symlink(dir.join(state).join("version_counter"), dir.join("link")).unwrap();
    let kept = ["first.key", "link"].map(str::to_owned).into_iter();
    let kept = kept.chain(
        ["version_counter", "policy.applied", "audit/log.jsonl", "audit/host.key"]
            .map(|name| format!("{state}/{name}")),
    );
    for file in kept.chain(["host/etc/aegisbpf/keys/first.pub".to_owned()]) {
        let before = std::fs::read(dir.join(&file)).unwrap();
        let sign = ["policy", "sign", "policy.conf", "--key", "first.key", "--policy-version", "8", "-o"];
        for arguments in [
            &sign[..],
            &["policy", "lint", "policy.conf", "--fix", "--out"],
            &["audit", "checkpoint", "-o"],
            &["audit", "export", "--format", "json", "-o"],
            &["keys", "drill", "--report"],
        ] {
            expect(dir, 1, &[arguments, &[file.as_str()]].concat());
        }
        // Reads of the log and the drill are logged, behind what was there.
        let after = std::fs::read(dir.join(&file)).unwrap();
        assert!(after.starts_with(&before), "{file}");
    }
    for place in ["host/etc/aegisbpf/keys", "host/etc/aegisbpf/keys/below"] {
        expect(dir, 1, &["keys", "generate", "--out", place]);
    }
    expect(dir, 1, &["backup", "create", "host/etc/aegisbpf/keys/backup.pub"]);
    assert_eq!(std::fs::read_dir(dir.join("host/etc/aegisbpf/keys")).unwrap().count(), 1);
}

#[test]
fn no_output_replaces_a_link_that_leads_to_no_file() {
    let dir = fixtures();
    let dir = dir.path();
    // What /dev/stdout is when standard output is a pipe: the name of a thing that is in no directory.
    for (link, target) in [("stdout", "/proc/self/fd/1"), ("dangling", "nowhere")] {
        std::os::unix::fs::symlink(target, dir.join(link)).unwrap();
        for arguments in [
            &["policy", "sign", "policy.conf", "--key", "first.key", "--policy-version", "8", "-o"][..],
            &["policy", "lint", "policy.conf", "--fix", "--out"],
            &["audit", "checkpoint", "-o"],
            &["audit", "export", "--format", "json", "-o"],
        ] {
            expect(dir, 0, &["keys", "add", "first.pub"]);
            expect(dir, 1, &[arguments, &[link]].concat());
            assert_eq!(std::fs::read_link(dir.join(link)).unwrap(), std::path::Path::new(target));
        }
        assert!(!dir.join("nowhere").exists());
    }
}

#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let dir = fixtures();
    let name = "evil\u{1b}[2J\u{9b}31m\u{202e}\nerror: x.conf";
    std::fs::copy(dir.path().join("broken.conf"), dir.path().join(name)).unwrap();
    for arguments in [
        &["policy", "lint", name][..],
        &["policy", "lint", name, "--json"],
        &["policy", "show", name],
        &["policy", "diff", name, name, "--json"],
        &["policy", "apply", name],
        &["keys", "add", name],
        &["keys", "add", "first.pub", "--name", name],
        &["policy", "verify", name, "--json"],
        &["policy", "explain", "policy.conf", name],
        &["keys", "show", name],
        &["keys", "list", name],
        &["keys", name],
    ] {
        let output = run(dir.path(), &[&["--root", "host"], arguments].concat());
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!printed.contains(steers), "{printed:?}");
        assert!(!printed.lines().any(|line| line.starts_with("error: x.conf")), "{printed}");
    }
}

#[test]
fn standard_input_is_bounded_and_named() {
    let dir = fixtures();
    let dir = dir.path();
    let key = std::fs::read(dir.join("first.pub")).unwrap();
    assert_eq!(run_with(dir, &["--root", "host", "keys", "add", "-"], &key).status.code(), Some(0));
    let policy = std::fs::read(dir.join("unsorted.conf")).unwrap();
    let fixed = run_with(dir, &["policy", "lint", "-", "--fix"], &policy);
    let lines = String::from_utf8(fixed.stdout).unwrap();
    assert_eq!(fixed.status.code(), Some(0));
    assert!(lines.starts_with("version=2\n") && lines.contains("/usr/bin/nc\n"), "{lines}");
    let long = run_with(dir, &["--root", "host", "keys", "add", "-"], &[b'a'; 100_000]);
    let stderr = String::from_utf8(long.stderr).unwrap();
    assert_eq!(long.status.code(), Some(1));
    assert!(stderr.contains("standard input") && stderr.contains("bytes"), "{stderr}");
}

#[test]
fn a_key_whose_proof_is_demanded_comes_with_it_or_not_at_all() {
    let dir = fixtures();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("host/etc/aegisbpf")).unwrap();
    std::fs::write(dir.join("host/etc/aegisbpf/aegisbpf.toml"), "require_key_proof = true\n").unwrap();
    let sign = |key: &str, text: &str| {
        let key = SigningKey::from_pkcs8_pem(&std::fs::read(dir.join(key)).unwrap()).unwrap();
        key.sign(text.as_bytes()).to_string()
    };
    let challenge = expect(dir, 0, &["keys", "challenge", "first.pub"]);
    expect(dir, 1, &["keys", "add", "first.pub"]);
    expect(dir, 1, &["keys", "add", "first.pub", "--proof", &sign("second.key", &challenge)]);
    expect(dir, 1, &["keys", "add", "second.pub", "--proof", &sign("second.key", &challenge)]);
    std::fs::write(dir.join("first.proof"), format!("{}\n", sign("first.key", &challenge))).unwrap();
    expect(dir, 0, &["keys", "add", "first.pub", "--proof", "first.proof"]);
    let challenge = expect(dir, 0, &["keys", "challenge", "second.pub"]);
    expect(dir, 0, &["keys", "add", "second.pub", "--proof", &sign("second.key", &challenge)]);
}

#[test]
fn a_written_file_never_replaces_what_is_not_a_file() {
    let dir = fixtures();
    let dir = dir.path();
    std::fs::create_dir(dir.join("folder")).unwrap();
    for target in ["/dev/null", "folder", "folder/missing/x"] {
        expect(
            dir,
            1,
            &["policy", "sign", "policy.conf", "-o", target, "--policy-version", "1", "--key", "first.key"],
        );
        expect(dir, 1, &["policy", "lint", "policy.conf", "--fix", "--out", target]);
    }
    // A link stays one, and its file keeps its mode.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.join("unsorted.conf"), PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("unsorted.conf", dir.join("link.conf")).unwrap();
    expect(dir, 0, &["policy", "lint", "link.conf", "--fix"]);
    assert!(dir.join("link.conf").is_symlink());
    assert_eq!(std::fs::metadata(dir.join("unsorted.conf")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(std::fs::metadata("/dev/null").unwrap().permissions().mode() & 0o170_000 == 0o020_000);
}

#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    let dir = fixtures();
    let dir = dir.path();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = expect(dir, 0, &["completions", shell]);
        assert!(script.contains("rotate-key") && script.contains("require-signature"), "{shell}");
    }
    std::fs::create_dir(dir.join("man")).unwrap();
    expect(dir, 0, &["man", "-o", "man"]);
    for page in
        ["aegisbpf.1", "aegisbpf-keys-add.1", "aegisbpf-policy-counter-repair.1", "aegisbpf-audit-export.1"]
    {
        let page = std::fs::read_to_string(dir.join("man").join(page)).unwrap();
        assert!(
            page.contains(".SH NAME") && page.contains(".SH EXAMPLES") && !page.contains("EXTRA"),
            "{page}"
        );
    }
}

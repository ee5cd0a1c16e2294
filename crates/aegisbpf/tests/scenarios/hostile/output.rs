//! What is printed: nothing that steers a terminal, nothing that is lost, nothing for wrong usage but exit 2.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use crate::host::{Host, PROGRAM, Run, clean};

/// File names that could clear a screen, forge a line or hide the end of a name.
const NAMES: &[&[u8]] = &[
    b"v6\x1b[2J\x1b[31m.signed",
    b"v6\nerror: all is well.signed",
    b"v6\r\x07.signed",
    b"v6\xff\xfe.signed",
    "v6\u{202e}dengis.\u{9b}31m".as_bytes(),
    b"v6\x7f\x00x.signed",
];

fn steers(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c))
}

#[test]
fn names_never_steer_the_terminal() {
    let host = Host::in_force(&[5]);
    let good = fs::read(host.sign(6, "first")).unwrap();
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    for name in NAMES.iter().filter(|name| !name.contains(&0)) {
        let name = OsStr::from_bytes(name);
        fs::write(host.dir().join(name), &forged).unwrap();
        let apply = [OsStr::new("policy"), OsStr::new("apply"), name, OsStr::new("--require-signature")];
        let run = host.refuses(&apply, "signed digest");
        assert!(!steers(&run.stderr), "{:?}", run.stderr);
        assert_eq!(
            run.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
            1,
            "{}",
            run.stderr
        );
        for command in
            [&["policy", "verify"][..], &["policy", "lint"], &["keys", "add"], &["backup", "verify"]]
        {
            let run = host.run(&[command.iter().map(OsStr::new).collect::<Vec<_>>(), vec![name]].concat());
            assert!(!steers(&run.stderr) && !steers(&run.stdout), "{command:?} {run:?}");
        }
        let missing =
            host.run(&[OsStr::new("policy"), OsStr::new("verify"), OsStr::from_bytes(b"no\x1b]0;x\x07such")]);
        assert!(!steers(&missing.stderr), "{:?}", missing.stderr);
    }
    for arguments in
        [&["audit", "show"][..], &["audit", "show", "--json"], &["audit", "query", "--outcome", "refused"]]
    {
        let run = host.ok(arguments);
        assert!(!steers(&run.stdout), "{arguments:?}");
    }
    // One entry stays one line for whoever reads the log.
    let refused = host.ok(&["audit", "query", "--outcome", "refused"]).stdout;
    let logged = host.log().iter().filter(|entry| entry["outcome"] == "refused").count();
    assert_eq!(refused.lines().count(), logged, "{refused}");
    for format in ["cef", "rfc5424", "json", "ocsf"] {
        let exported = host.ok(&["audit", "export", "--format", format]).stdout;
        assert!(!exported.contains('\x1b'), "{format}");
        assert_eq!(exported.lines().count(), host.log().len() - 1, "{format}: one event, one line");
    }
}

#[test]
fn what_cannot_be_printed_is_a_failure_and_a_reader_who_leaves_is_none() {
    let host = Host::in_force(&[5]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let run = Run::of({
        let mut command = host.command(&["keys", "list", "--json"]);
        command.stdout(full.try_clone().unwrap());
        // `output` would replace it.
        let output =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("cannot write to standard output"), "{stderr}");
        host.command(&["keys", "list"])
    });
    assert_eq!(run.code, Some(0));
    // The reader is gone before anything is written.
    for arguments in [
        &["keys", "list"][..],
        &["audit", "show"],
        &["health"],
        &["--help"],
        &["man"],
        &["completions", "bash"],
    ] {
        let mut command = host.command(arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(stderr, "", "{arguments:?}");
        assert!(status.code().is_some_and(|code| code < 2), "{arguments:?}: {status}");
    }
    // Without any standard streams a change is made all the same, and its files are not taken for a stream.
    host.sign(6, "first");
    let mut shell = Command::new("sh");
    clean(&mut shell).args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", PROGRAM, "--root"]).arg(host.rooted(""));
    let status =
        shell.args(["policy", "apply", "v6.signed", "--require-signature"]).current_dir(host.dir()).status();
    assert_eq!(status.unwrap().code(), Some(0));
    assert_eq!(host.state("policy.applied"), Some(fs::read(host.file("v6.signed")).unwrap()));
    host.is_sound("no standard streams");
}

#[test]
fn refusals_have_a_form_for_programs() {
    let host = Host::in_force(&[5]);
    host.sign(4, "first");
    let run = host.run(&["policy", "apply", "v4.signed", "--require-signature", "--json"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert!(error["because"][0].as_str().unwrap().contains("is older than 5"), "{error}");
    assert!(error["help"].as_str().unwrap().contains("version 6"), "{error}");
}

#[test]
fn wrong_usage_ends_with_2_and_touches_nothing() {
    let host = Host::in_force(&[5]);
    let before = crate::snapshot::snapshot(&host.rooted(""));
    let id = "ab".repeat(32);
    let commands: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["policy"],
        &["policy", "apply"],
        &["policy", "apply", "v5.signed", "--force=yes"],
        &["policy", "apply", "v5.signed", "--no-verify"],
        &["policy", "apply", "v5.signed", "--require-signature=false"],
        &["policy", "apply", "v5.signed", "--require-signature", "--allow-unsigned"],
        &["policy", "apply", "v5.signed", "v5.signed"],
        &["policy", "apply", "v5.signed", "--req"],
        &["policy", "rollback", "--to", "4"],
        &["policy", "counter", "repair"],
        &["policy", "counter", "repair", "--reason", "x", "--at-least", "-1"],
        &["policy", "counter", "repair", "--reason", "x", "--at-least", "1e3"],
        &["policy", "counter", "set", "1"],
        &["policy", "sign", "policy.conf", "-o", "x", "--policy-version", "0", "--key", "signer/first.key"],
        &[
            "policy",
            "sign",
            "policy.conf",
            "-o",
            "x",
            "--policy-version",
            "18446744073709551616",
            "--key",
            "signer/first.key",
        ],
        &["policy", "sign", "policy.conf", "-o", "x", "--policy-version", "6"],
        &[
            "policy",
            "sign",
            "policy.conf",
            "-o",
            "x",
            "--policy-version",
            "6",
            "--key",
            "k",
            "--sign-command",
            "c",
            "--public-key",
            "p",
        ],
        &["policy", "sign", "policy.conf", "-o", "x", "--policy-version", "6", "--sign-command", "c"],
        &["keys", "add"],
        &["keys", "add", "signer/first.pub", "--force"],
        &["keys", "remove", "xyz"],
        &["keys", "remove", "ab"],
        &["keys", "revoke", &id],
        &["keys", "unrevoke", &id],
        &["backup", "restore"],
        &["audit", "delete"],
        &["audit", "export"],
    ];
    for arguments in commands {
        let run = host.run(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert!(!run.stderr.is_empty() || arguments.is_empty(), "{arguments:?} said nothing");
    }
    crate::snapshot::same(&before, &crate::snapshot::snapshot(&host.rooted("")), "wrong usage");
}

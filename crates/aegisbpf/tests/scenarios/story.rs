//! The runbook as one story, on machines that end up as it promises.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::host::{Host, KEYS, PROGRAM, Run, STATE, clean};
use crate::tools;

fn sign(host: &Host, version: u64, key: &str, more: &[&str]) -> String {
    let out = format!("v{version}.signed");
    let (version, key) = (version.to_string(), format!("signer/{key}.key"));
    let sign = ["policy", "sign", "policy.conf", "-o", &out, "--policy-version", &version, "--key", &key];
    host.ok(&[&sign[..], more].concat());
    out
}

fn apply(bundle: &str) -> [&str; 4] {
    ["policy", "apply", bundle, "--require-signature"]
}

fn in_force(host: &Host) -> u64 {
    host.ok(&["policy", "show", "--json"]).json()["bundle"]["policy_version"].as_u64().unwrap()
}

#[test]
fn the_runbook_from_an_empty_machine_to_a_refused_rollback() {
    let host = Host::empty();
    assert_eq!(host.health()["keys"]["status"], "failed", "without a key nothing signed can be applied");

    // The first key, and the first policy.
    let spring = host.new_key("spring");
    assert_eq!(fs::metadata(host.file("signer/spring.key")).unwrap().permissions().mode() & 0o777, 0o600);
    host.ok(&["keys", "add", "signer/spring.pub"]);
    host.ok(&["policy", "lint", "policy.conf"]);
    sign(&host, 1, "spring", &["--expires", "90d"]);
    host.ok(&["policy", "verify", "v1.signed"]);
    let before = crate::snapshot::snapshot(&host.rooted(""));
    host.ok(&["policy", "apply", "v1.signed", "--require-signature", "--dry-run"]);
    crate::snapshot::same(&before, &crate::snapshot::snapshot(&host.rooted("")), "a dry run");
    host.ok(&apply("v1.signed"));
    host.refuses(&apply("policy.conf"), "not signed");

    // Rotate: the new key beside the old one, the next policy by the new one, then the old one goes.
    let summer = host.new_key("summer");
    host.ok(&["keys", "add", "signer/summer.pub"]);
    sign(&host, 2, "summer", &[]);
    host.ok(&apply("v2.signed"));
    let list = host.ok(&["keys", "list", "--json"]).json();
    for key in list["trusted"].as_array().unwrap() {
        assert_eq!(key["signs_applied"], key["id"] == summer.as_str(), "{key}");
    }
    host.ok(&["keys", "remove", &spring]);
    sign(&host, 3, "spring", &[]);
    host.refuses(&apply("v3.signed"), "no trusted key has signed it");
    host.refuses(&["keys", "remove", &summer], "it could accept no policy");

    // The signing laptop is stolen: a key that is not compromised, revocation, emergency policy.
    host.new_key("autumn");
    host.ok(&["keys", "add", "signer/autumn.pub"]);
    let revoked = host.ok(&["keys", "revoke", &summer, "--reason", "laptop stolen", "--json"]).json();
    assert_eq!(revoked["signed_applied"], true);
    assert_eq!(host.health()["signer"]["status"], "degraded", "the policy in force has a revoked signer");
    assert_eq!(in_force(&host), 2, "and stays in force");
    sign(&host, 4, "autumn", &["--expires", "14d"]);
    host.ok(&apply("v4.signed"));
    assert_eq!(host.health()["signer"]["status"], "ok");
    sign(&host, 5, "summer", &["--expires", "never"]);
    host.refuses(&apply("v5.signed"), "was revoked (laptop stolen)");
    host.refuses(&apply("v2.signed"), "was revoked");
    host.refuses(&apply("v1.signed"), "no trusted key");
    host.refuses(&["keys", "add", "signer/summer.pub"], "a revoked key never returns");
    host.ok(&["keys", "add", "signer/spring.pub"]);
    host.refuses(&apply("v1.signed"), "is older than 4");
    host.refuses(&["policy", "rollback"], "was revoked");
    assert_eq!((host.counter(), in_force(&host)), (Some(4), 4));

    // The honest way back: old content under a new version.
    let reissue =
        ["policy", "reissue", "--from", "v1.signed", "--policy-version", "auto", "-o", "v5b.signed", "--key"];
    host.ok(&[&reissue[..], &["signer/autumn.key"]].concat());
    host.ok(&apply("v5b.signed"));
    assert_eq!((host.counter(), in_force(&host)), (Some(5), 5));

    // The quick way back, and forward again.
    host.ok(&["policy", "rollback"]);
    assert_eq!((host.counter(), in_force(&host)), (Some(5), 4));
    assert_eq!(host.health()["rollback"]["status"], "degraded");
    sign(&host, 6, "autumn", &[]);
    host.ok(&apply("v6.signed"));
    assert_eq!(host.health()["rollback"]["status"], "ok");

    let drill = host.ok(&["keys", "drill", "--report", "drill.json", "--json"]).json();
    assert_eq!(drill["passed"], true);
    assert!(!fs::read(host.file("drill.json")).unwrap().is_empty());
    assert_eq!(in_force(&host), 6, "a drill touches nothing real");
    let health = host.health();
    for (name, check) in &health {
        let expected = if name == "enforcement" { "degraded" } else { "ok" };
        assert_eq!(check["status"], expected, "{name}: {}", check["message"]);
    }
    assert!(health["enforcement"]["message"].as_str().unwrap().contains("nothing is enforced"));
    host.ok(&["audit", "verify"]);
    // The log has the whole story: every change once, every refusal once.
    let log = host.log();
    let count = |action: &str, outcome: &str| {
        log.iter().filter(|entry| entry["action"] == action && entry["outcome"] == outcome).count()
    };
    assert_eq!((count("policy.apply", "accepted"), count("policy.apply", "refused")), (5, 6));
    assert_eq!((count("keys.add", "accepted"), count("keys.revoke", "accepted")), (4, 1));
    assert_eq!((count("keys.remove", "accepted"), count("keys.remove", "refused")), (1, 1));
    assert_eq!((count("policy.rollback", "accepted"), count("policy.rollback", "refused")), (1, 1));
}

#[test]
fn a_backup_brings_an_empty_machine_to_the_same_trust() {
    let host = Host::in_force(&[4, 5]);
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    host.ok(&["keys", "revoke", &"cd".repeat(32), "--reason", "seen elsewhere"]);
    host.ok(&["backup", "create", "backup.tar"]);
    host.refuses(&["backup", "create", "backup.tar"], "never overwrites");
    let verified = host.ok(&["backup", "verify", "backup.tar", "--json"]).json();
    assert_eq!(verified["counter"]["policy_version"], 5);
    let host_key = verified["host_key"].as_str().unwrap();
    // No private key of anybody is in it.
    let archive = fs::read(host.file("backup.tar")).unwrap();
    assert!(!String::from_utf8_lossy(&archive).contains("PRIVATE KEY"));

    let spare = Host::empty();
    fs::copy(host.file("backup.tar"), spare.file("backup.tar")).unwrap();
    spare.run(&["backup", "restore", "backup.tar"]).is_refusal("unasked", "is not a key of this host");
    spare.ok(&["backup", "restore", "backup.tar", "--host-key", host_key]);
    for name in ["policy.applied", "policy.applied.prev", "version_counter"] {
        assert_eq!(spare.state(name), host.state(name), "{name}");
    }
    let listing = |host: &Host| {
        let list = host.ok(&["keys", "list", "--json"]).json();
        let ids = |which: &str| -> Vec<String> {
            let mut ids: Vec<_> =
                list[which].as_array().unwrap().iter().map(|key| key["id"].to_string()).collect();
            ids.sort();
            ids
        };
        (ids("trusted"), ids("revoked"))
    };
    assert_eq!(listing(&spare), listing(&host));
    spare.is_sound("restored");
    // A signed policy applies, an old one does not.
    for version in [3, 4, 5, 6] {
        fs::copy(host.sign(version, "first"), spare.file(&format!("v{version}.signed"))).unwrap();
    }
    spare.refuses(&apply("v3.signed"), "is older than 5");
    spare.ok(&apply("v6.signed"));

    // On the host itself an older archive takes nothing back: not the counter, not a removal of trust for ever.
    let second = crate::forge::key(&host, "second").public_key().key_id().to_string();
    host.ok(&apply("v6.signed"));
    host.ok(&["keys", "revoke", &second, "--reason", "stolen after the backup"]);
    let restored = host.ok(&["backup", "restore", "backup.tar", "--json"]).json();
    assert!(!restored["kept"].as_array().unwrap().is_empty(), "{restored}");
    assert_eq!((host.counter(), in_force(&host)), (Some(6), 6));
    host.refuses(&["keys", "add", "signer/second.pub"], "a revoked key never returns");
    host.refuses(&apply("v5.signed"), "is older than 6");
    host.is_sound("restored over something newer");
    // Damaged anywhere, it is refused, and changes nothing.
    for at in (0..archive.len()).step_by(997) {
        let mut damaged = archive.clone();
        damaged[at] ^= 1;
        fs::write(host.file("damaged.tar"), damaged).unwrap();
        host.refuses_run(|| host.run(&["backup", "restore", "damaged.tar"]), &format!("byte {at}"), "");
    }
    for len in [0, 1, 511, 512, archive.len() / 2, archive.len() - 1] {
        fs::write(host.file("damaged.tar"), &archive[..len]).unwrap();
        host.refuses_run(|| host.run(&["backup", "restore", "damaged.tar"]), &format!("{len} bytes"), "");
    }
}

#[test]
fn a_backup_made_by_hand_with_cp_is_enough() {
    let host = Host::in_force(&[4, 5]);
    let copy = Host::empty();
    // What the runbook names, and nothing else: the keys, the counter, policy.applied*.
    for (dir, names) in
        [(KEYS, vec!["first.pub"]), (STATE, vec!["version_counter", "policy.applied", "policy.applied.prev"])]
    {
        fs::create_dir_all(copy.rooted(dir)).unwrap();
        for name in names {
            fs::copy(host.rooted(dir).join(name), copy.rooted(dir).join(name)).unwrap();
        }
    }
    let health = copy.health();
    for name in ["keys", "version_counter", "policy", "signer"] {
        assert_eq!(health[name]["status"], "ok", "{name}: {}", health[name]["message"]);
    }
    for version in [4, 5, 6] {
        fs::copy(host.sign(version, "first"), copy.file(&format!("v{version}.signed"))).unwrap();
    }
    copy.ok(&[
        "policy",
        "apply",
        &copy.rooted(STATE).join("policy.applied").display().to_string(),
        "--require-signature",
    ]);
    copy.refuses(&apply("v4.signed"), "is older than 5");
    copy.ok(&apply("v6.signed"));
    copy.is_sound("restored by hand");
}

#[test]
fn the_variables_of_the_runbook_work_without_root() {
    let test = "the_variables_of_the_runbook_work_without_root";
    if !tools::need_root(test) || !tools::need(test, &["setpriv"]) {
        return;
    }
    let _umask = Host::empty();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::copy(PROGRAM, path("aegisbpf")).unwrap();
    fs::write(path("policy.conf"), crate::host::policy(1)).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        clean(&mut command).args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(path("aegisbpf"));
        command
            .env("AEGIS_KEYS_DIR", path("my-keys"))
            .env("AEGIS_VERSION_COUNTER_PATH", path("my-state/counter"));
        command.env("AEGIS_CONFIG_DIR", path("my-config")).args(arguments).current_dir(dir.path());
        Run::of(command)
    };
    let ok = |arguments: &[&str]| {
        let done = run(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        done
    };
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    ok(&["keys", "generate", "--out", "signer", "--name", "mine"]);
    ok(&["keys", "add", "signer/mine.pub"]);
    ok(&["policy", "sign", "policy.conf", "-o", "v1.signed", "--key", "signer/mine.key"]);
    ok(&apply("v1.signed"));
    assert!(path("my-keys/mine.pub").exists() && path("my-state/policy.applied").exists());
    assert!(fs::read_to_string(path("my-state/counter")).unwrap().starts_with("1\n"));
    ok(&[
        "policy",
        "sign",
        "policy.conf",
        "-o",
        "v2.signed",
        "--key",
        "signer/mine.key",
        "--policy-version",
        "auto",
    ]);
    ok(&apply("v2.signed"));
    run(&apply("v1.signed")).is_refusal("older", "is older than 2");
    ok(&["audit", "verify"]);
    assert_eq!(run(&["health"]).code, Some(1));
}

#[test]
fn keys_counter_and_state_may_lie_on_different_file_systems() {
    let (disk, memory) =
        (Host::empty(), tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        clean(&mut command)
            .env("AEGIS_CONFIG_DIR", disk.file("config"))
            .env("AEGIS_STATE_DIR", disk.file("state"));
        command.env("AEGIS_KEYS_DIR", memory.path().join("keys"));
        command.env("AEGIS_VERSION_COUNTER_PATH", memory.path().join("counters/policy"));
        command.args(arguments).current_dir(disk.dir());
        Run::of(command)
    };
    disk.new_key("first");
    for (version, code) in [("1", 0), ("2", 0), ("1", 1)] {
        let out = format!("v{version}.signed");
        if version != "1" || code == 0 {
            disk.sign(version.parse().unwrap(), "first");
        }
        assert_eq!(run(&["keys", "add", "signer/first.pub"]).code, Some(0));
        let applied = run(&apply(&out));
        assert_eq!(applied.code, Some(code), "{applied:?}");
    }
    let counter = fs::read_to_string(memory.path().join("counters/policy")).unwrap();
    assert!(counter.starts_with("2\n"), "{counter}");
    assert_eq!(
        fs::read(disk.file("state/policy.applied")).unwrap(),
        fs::read(disk.file("v2.signed")).unwrap()
    );
    assert_eq!(run(&["audit", "verify"]).code, Some(0));
    assert_eq!(run(&["policy", "rollback"]).code, Some(0));
    let made = run(&["backup", "create", "backup.tar"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    fs::remove_dir_all(memory.path().join("counters")).unwrap();
    run(&apply("v2.signed")).is_refusal("the counter's disk is lost", "is missing");
    let restored = run(&["backup", "restore", "backup.tar"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(run(&apply("v2.signed")).code, Some(0));
}

#[test]
fn no_umask_makes_files_that_others_can_write_or_secrets_that_others_can_read() {
    for umask in ["000", "002", "022", "077"] {
        let host = Host::empty();
        let run = |arguments: &[&str]| {
            let mut command = Command::new("sh");
            clean(&mut command).args([
                "-c",
                &format!("umask {umask}; exec \"$0\" \"$@\""),
                PROGRAM,
                "--root",
            ]);
            command.arg(host.rooted("")).args(arguments).current_dir(host.dir());
            let run = Run::of(command);
            assert_eq!(run.code, Some(0), "umask {umask}: {arguments:?}: {run:?}");
        };
        run(&["keys", "generate", "--out", "signer", "--name", "first"]);
        run(&["keys", "add", "signer/first.pub"]);
        let sign = ["policy", "sign", "policy.conf", "--key", "signer/first.key", "-o"];
        for bundle in ["a.signed", "b.signed"] {
            run(&[&sign[..], &[bundle]].concat());
            run(&apply(bundle));
        }
        run(&["keys", "revoke", &"ab".repeat(32), "--reason", "seen elsewhere"]);
        run(&["policy", "rollback"]);
        run(&["backup", "create", "backup.tar"]);
        run(&["backup", "restore", "backup.tar"]);
        for (path, node) in crate::snapshot::snapshot(host.dir()) {
            let (name, mode) = (path.display().to_string(), node.mode & 0o777);
            assert_eq!(mode & 0o022, 0, "umask {umask}: {name} has mode {mode:o}");
            let secret =
                [".key", ".tar"].iter().any(|end| name.ends_with(end)) || name.ends_with("log.jsonl");
            assert!(!secret || mode & 0o077 == 0, "umask {umask}: {name} has mode {mode:o}");
        }
        host.is_sound(&format!("umask {umask}"));
    }
}

//! Ways around the signature: flags, subcommands, stored files, variables, start-up.

use std::fs;

use crate::forge::{Forgery, key};
use crate::host::{Host, Run};

/// A forged version 6: the policy of an attacker under an honest envelope.
fn forged(host: &Host) -> Vec<u8> {
    let good = fs::read_to_string(host.sign(6, "first")).unwrap();
    let forged = good.replacen("/etc/shadow", "/etc/motd12", 1);
    assert!(forged != good && forged.len() == good.len());
    forged.into_bytes()
}

#[test]
fn no_combination_of_flags_lets_a_forgery_through() {
    let host = Host::in_force(&[4, 5]);
    host.new_key("stranger");
    fs::write(host.file("forged.signed"), forged(&host)).unwrap();
    let stranger = Forgery::new(7).signed_by(&[&key(&host, "stranger")]);
    fs::write(host.file("stranger.signed"), stranger).unwrap();
    let flags = ["--require-signature", "--allow-unsigned", "--allow-v1", "--dry-run", "--json"];
    let mut tried = 0;
    for set in 0_usize..1 << flags.len() {
        let chosen: Vec<&str> =
            flags.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0).map(|(_, f)| *f).collect();
        if chosen.contains(&"--require-signature") && chosen.contains(&"--allow-unsigned") {
            continue;
        }
        for bundle in ["forged.signed", "stranger.signed"] {
            let arguments = [&["policy", "apply", bundle][..], &chosen].concat();
            let before = crate::snapshot::snapshot(&host.rooted(""));
            let logged = host.log().len();
            let run = host.run(&arguments);
            assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{arguments:?}: {run:?}");
            if chosen.contains(&"--dry-run") {
                crate::snapshot::same(&before, &crate::snapshot::snapshot(&host.rooted("")), "a dry run");
            } else {
                assert_eq!(host.log().len(), logged + 1, "{arguments:?}");
            }
            tried += 1;
        }
    }
    assert_eq!(tried, 48);
    assert_eq!(host.state("policy.applied"), fs::read(host.file("v5.signed")).ok());
    assert_eq!(host.counter(), Some(5));
}

#[test]
fn unsigned_policy_needs_to_be_asked_for_by_name() {
    let host = Host::in_force(&[5]);
    host.refuses(&["policy", "apply", "policy.conf"], "takes signed policies only");
    host.refuses(&["policy", "apply", "policy.conf", "--require-signature"], "a signature was required");
    host.refuses(&["policy", "apply", "policy.conf", "--allow-v1"], "takes signed policies only");
    // Without keys it is taken unless configuration says otherwise.
    let bare = Host::empty();
    fs::create_dir_all(bare.rooted("etc/aegisbpf")).unwrap();
    fs::write(bare.rooted("etc/aegisbpf/aegisbpf.toml"), "require_signature = true\n").unwrap();
    let run = bare.run(&["policy", "apply", "policy.conf"]);
    run.is_refusal("configured", "the configuration of this host requires a signature");
    assert_eq!(bare.state("policy.applied"), None);
    fs::remove_file(bare.rooted("etc/aegisbpf/aegisbpf.toml")).unwrap();
    let run = bare.ok(&["policy", "apply", "policy.conf"]);
    assert!(run.stderr.contains("not signed"), "{}", run.stderr);
    assert_eq!(bare.health()["policy"]["status"], "degraded");
    // Loaded again at start-up it does not push the policy before it out.
    fs::write(bare.file("next.conf"), crate::host::policy(2)).unwrap();
    bare.ok(&["policy", "apply", "next.conf"]);
    let again = bare.ok(&["policy", "apply", "next.conf", "--json"]).json();
    assert_eq!(again["result"], "unchanged");
    assert_eq!(bare.state("policy.applied.prev"), fs::read(bare.file("policy.conf")).ok());
}

#[test]
fn settings_that_cannot_be_read_are_not_taken_for_no_settings() {
    let host = Host::in_force(&[5]);
    host.sign(6, "first");
    let config = host.rooted("etc/aegisbpf/aegisbpf.toml");
    for text in
        ["require_signature = \"yes\"", "require_signatures = true", "[", "required_signatures = 0", "\u{0}"]
    {
        fs::write(&config, text).unwrap();
        let before = crate::snapshot::snapshot(&host.rooted(""));
        for arguments in [
            &["policy", "apply", "v6.signed"][..],
            &["policy", "rollback"],
            &["keys", "add", "signer/first.pub"],
        ] {
            host.run(arguments).is_refusal(&format!("{text:?} {arguments:?}"), "aegisbpf.toml");
        }
        crate::snapshot::same(&before, &crate::snapshot::snapshot(&host.rooted("")), text);
    }
    // Two signers are required, and one has signed.
    fs::write(&config, "required_signatures = 2\n").unwrap();
    host.refuses(&["policy", "apply", "v6.signed"], "this host requires 2");
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    host.refuses(&["policy", "apply", "v6.signed"], "this host requires 2");
    host.ok(&["policy", "cosign", "v6.signed", "--key", "signer/second.key"]);
    host.ok(&["policy", "apply", "v6.signed"]);
}

#[test]
fn rollback_verifies_what_it_brings_back() {
    let host = Host::in_force(&[4, 5]);
    let previous = host.rooted("var/lib/aegisbpf/policy.applied.prev");
    let honest = fs::read_to_string(&previous).unwrap();
    let strangers = {
        host.new_key("stranger");
        Forgery::new(4).signed_by(&[&key(&host, "stranger")])
    };
    let forged = honest.replacen("/etc/shadow", "/etc/motd12", 1).into_bytes();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("forged", forged, "signed digest"),
        ("a stranger's", strangers, "no trusted key has signed it"),
        ("unsigned", fs::read(host.file("policy.conf")).unwrap(), "is not signed"),
        ("cut", honest.as_bytes()[..100].to_vec(), ""),
        ("empty", Vec::new(), ""),
        ("what is in force", fs::read(host.file("v5.signed")).unwrap(), "no previous policy"),
    ];
    for (name, bytes, because) in cases {
        fs::write(&previous, bytes).unwrap();
        host.refuses_run(|| host.run(&["policy", "rollback"]), name, because);
    }
    fs::remove_file(&previous).unwrap();
    host.refuses(&["policy", "rollback"], "no previous policy");
    std::os::unix::fs::symlink(host.file("v4.signed"), &previous).unwrap();
    host.refuses(&["policy", "rollback"], "link");
    fs::remove_file(&previous).unwrap();
    fs::write(&previous, &honest).unwrap();
    host.ok(&["policy", "rollback"]);
    assert_eq!(host.state("policy.applied").unwrap(), honest.as_bytes());
    assert_eq!(host.state("policy.applied.rolled-back"), fs::read(host.file("v5.signed")).ok());
    assert_eq!(host.counter(), Some(5), "a rollback never lowers the counter");
    assert_eq!(host.health()["rollback"]["status"], "degraded");
    host.refuses(&["policy", "rollback"], "a rollback stands already");
    // An old bundle is still old; what is in force is still loaded again at start-up; the newer one may come back.
    host.sign(3, "first");
    host.refuses(&["policy", "apply", "v3.signed", "--require-signature"], "is older than 5");
    host.ok(&["policy", "apply", "v4.signed", "--require-signature"]);
    host.ok(&["policy", "apply", "v5.signed", "--require-signature"]);
    assert_eq!(host.health()["rollback"]["status"], "ok");
    host.is_sound("after rollback and return");
}

#[test]
fn rollback_leaves_a_policy_that_was_applied_again_under_other_signatures() {
    let host = Host::in_force(&[4, 5]);
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    host.ok(&["policy", "cosign", "v5.signed", "--key", "signer/second.key"]);
    host.ok(&["policy", "apply", "v5.signed", "--require-signature"]);
    assert_eq!(host.state("policy.applied"), fs::read(host.file("v5.signed")).ok());
    let rolled = host.ok(&["policy", "rollback", "--json"]).json();
    assert_eq!((&rolled["from_version"], &rolled["to_version"]), (&5.into(), &4.into()));
    assert_eq!(host.state("policy.applied"), fs::read(host.file("v4.signed")).ok());
}

#[test]
fn rollback_to_a_revoked_signer_is_refused() {
    let host = Host::in_force(&[4]);
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    host.sign(5, "second");
    host.ok(&["policy", "apply", "v5.signed", "--require-signature"]);
    let first = key(&host, "first").public_key().key_id().to_string();
    host.ok(&["keys", "revoke", &first, "--reason", "stolen"]);
    host.refuses(&["policy", "rollback"], "was revoked (stolen)");
}

#[test]
fn the_installed_bundle_is_applied_again_at_start_up() {
    let host = Host::in_force(&[4, 5]);
    let applied = host.rooted("var/lib/aegisbpf/policy.applied").display().to_string();
    let before = host.snapshot_without_log();
    for _ in 0..3 {
        let run = host.ok(&["policy", "apply", &applied, "--require-signature", "--json"]);
        assert_eq!(run.json()["result"], "unchanged");
    }
    let mut after = host.snapshot_without_log();
    // The enforcer is asked to load it again, and says so in its record.
    let record = std::path::Path::new("var/lib/aegisbpf/enforcement.json");
    assert_eq!(after[record].bytes, before[record].bytes);
    after.insert(record.to_owned(), before[record].clone());
    crate::snapshot::same(&before, &after, "applied again");
    // Put in the place of the installed one, a forgery is still a forgery.
    fs::write(host.rooted("var/lib/aegisbpf/policy.applied"), forged(&host)).unwrap();
    host.refuses(&["policy", "apply", &applied, "--require-signature"], "signed digest");
    assert_ne!(host.health()["signer"]["status"], "ok");
}

#[test]
fn an_archive_is_no_way_around_the_signature() {
    let victim = Host::in_force(&[4, 5]);
    let target = Host::in_force(&[3]);
    // The attacker holds the first host, whose key signs the archive, and no signing key.
    let files = [
        ("var/lib/aegisbpf/policy.applied", forged(&victim)),
        ("var/lib/aegisbpf/policy.applied.prev", forged(&victim)),
    ];
    for (name, bytes) in &files {
        fs::write(victim.rooted(name), bytes).unwrap();
    }
    let made = victim.run(&["backup", "create", "backup.tar"]);
    if made.code != Some(0) {
        made.is_refusal("a backup of a forged policy", "");
        return;
    }
    let id = host_key(&victim);
    fs::copy(victim.file("backup.tar"), target.file("backup.tar")).unwrap();
    let restore = || target.run(&["backup", "restore", "backup.tar"]);
    target.refuses_run(restore, "of another host, unasked", "");
    let trusted_before = trusted(&target);
    let run = target.run(&["backup", "restore", "backup.tar", "--host-key", &id]);
    for name in ["policy.applied", "policy.applied.prev"] {
        assert_ne!(target.state(name), Some(forged(&victim)), "{name} is the forgery: {run:?}");
    }
    assert!(trusted(&target).is_superset(&trusted_before));
    assert!(target.counter() >= Some(3));
    target.is_sound("after the archive");
}

fn trusted(host: &Host) -> std::collections::BTreeSet<String> {
    let list = host.ok(&["keys", "list", "--json"]).json();
    list["trusted"].as_array().unwrap().iter().map(|key| key["id"].to_string()).collect()
}

fn host_key(host: &Host) -> String {
    let Run { stdout, .. } = host.ok(&["audit", "verify", "--json"]);
    serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["host_key"].as_str().unwrap().to_owned()
}

#[test]
fn a_root_holds_every_path_that_a_variable_names() {
    let host = Host::in_force(&[5]);
    let outside = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("AEGIS_KEYS_DIR", ""),
        ("AEGIS_STATE_DIR", ""),
        ("AEGIS_KEYS_DIR", "/../../etc"),
        ("AEGIS_VERSION_COUNTER_PATH", "../counter"),
    ] {
        let mut command = host.command(&["policy", "apply", "v5.signed"]);
        command.env(name, value);
        Run::of(command).is_refusal(&format!("{name}={value}"), name);
    }
    let mut command = host.command(&["keys", "add", "signer/first.pub"]);
    command.env("AEGIS_KEYS_DIR", outside.path());
    assert_eq!(Run::of(command).code, Some(0));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "written outside of the root");
}

#[test]
fn lint_tells_before_signing_what_apply_would_refuse() {
    let host = Host::in_force(&[5]);
    // Sections that it does not know are an error; they are never dropped.
    let unknown = "version=1\n[deny_path]\n/b\n/a\n[deny_everything]\n/c\n";
    fs::write(host.file("unknown.conf"), unknown).unwrap();
    for arguments in [&["policy", "lint", "unknown.conf"][..], &["policy", "lint", "unknown.conf", "--fix"]] {
        assert_eq!(host.run(arguments).code, Some(1), "{arguments:?}");
        assert_eq!(fs::read_to_string(host.file("unknown.conf")).unwrap(), unknown);
    }
    // What this host has no room for.
    let config = host.rooted("etc/aegisbpf/aegisbpf.toml");
    fs::write(host.file("three.conf"), "version=1\n[deny_path]\n/a\n/b\n/c\n").unwrap();
    let sign = [
        "policy",
        "sign",
        "three.conf",
        "-o",
        "three.signed",
        "--policy-version",
        "6",
        "--key",
        "signer/first.key",
    ];
    host.ok(&sign);
    for limit in ["max_policy_rules = 2\n", "max_policy_bytes = 20\n"] {
        fs::write(&config, limit).unwrap();
        for arguments in [&["policy", "lint", "three.conf"][..], &sign] {
            let run = host.run(arguments);
            assert_eq!(run.code, Some(1), "{limit}{arguments:?}: {run:?}");
        }
        host.refuses(&["policy", "apply", "three.signed", "--require-signature"], "");
    }
    fs::remove_file(&config).unwrap();
    host.ok(&["policy", "apply", "three.signed", "--require-signature"]);
}

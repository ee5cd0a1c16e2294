//! A directory of custodians that is not to be trusted is an error, and never "no rule".

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use aegis_approval::Subject;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::custodians::story::{in_charge, trusted};
use crate::host::{CUSTODIANS, Host, KEYS, STATE};
use crate::people::{People, Person, key_id};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The file of a custodian on the host.
fn file_of(dir: &Path, person: &str) -> std::path::PathBuf {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(person)).unwrap()
}

#[test]
fn whatever_is_done_to_the_directory_the_rule_stays_on() {
    let (host, people) = in_charge();
    let second = key_id(&host.new_key("second"));
    people.approve(&host, "add.approval", Subject::KeysAdd(second));
    let eve = Person::new("eve", &["risk_lead", "security_lead"]);
    type Spoil = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Spoil, &str)> = vec![
        ("gone", Box::new(|dir| fs::remove_dir_all(dir).unwrap()), "is gone"),
        (
            "empty",
            Box::new(|dir| {
                fs::remove_dir_all(dir).unwrap();
                fs::create_dir(dir).unwrap();
            }),
            "threshold is missing",
        ),
        (
            "without its threshold",
            Box::new(|dir| fs::remove_file(dir.join("threshold")).unwrap()),
            "threshold is missing",
        ),
        (
            "without a custodian",
            Box::new(|dir| fs::remove_file(file_of(dir, "bo")).unwrap()),
            "1 of security_lead missing",
        ),
        (
            "another number",
            Box::new(|dir| fs::write(dir.join("threshold"), "2 of risk_lead\n").unwrap()),
            "cannot be 2 of risk_lead",
        ),
        (
            "below two",
            Box::new(|dir| fs::write(dir.join("threshold"), "1 of risk_lead\n").unwrap()),
            "below 2",
        ),
        (
            "another name",
            Box::new(|dir| {
                let text = fs::read_to_string(dir.join("threshold")).unwrap();
                fs::write(dir.join("threshold"), text.replace("web-1", "web-2")).unwrap();
            }),
            "was changed without an approval",
        ),
        (
            "another custodian",
            Box::new({
                let registration = eve.registration().to_json();
                move |dir| fs::write(dir.join("eve.custodian"), &registration).unwrap()
            }),
            "was changed without an approval",
        ),
        (
            "a changed registration",
            Box::new(|dir| {
                let file = file_of(dir, "ana");
                let text = fs::read_to_string(&file).unwrap();
                fs::write(&file, text.replace("\"ana\"", "\"eve\"")).unwrap();
            }),
            "the proof of the registration does not hold",
        ),
        (
            "a private key",
            Box::new(|dir| {
                fs::write(dir.join("eve.custodian"), "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
            }),
            "must never be given away",
        ),
        (
            "junk",
            Box::new(|dir| fs::write(dir.join("eve.custodian"), "junk").unwrap()),
            "eve.custodian does not register a custodian",
        ),
        (
            "a link in it",
            Box::new(|dir| {
                fs::rename(dir.join("threshold"), dir.join("elsewhere")).unwrap();
                symlink("elsewhere", dir.join("threshold")).unwrap();
            }),
            "symbolic link",
        ),
        (
            "a FIFO in it",
            Box::new(|dir| {
                mknodat(CWD, dir.join("x.custodian"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            }),
            "a FIFO",
        ),
        (
            "a directory in it",
            Box::new(|dir| fs::create_dir(dir.join("x.custodian")).unwrap()),
            "a directory",
        ),
        (
            "too much in it",
            Box::new(|dir| {
                let registration = fs::read(file_of(dir, "ana")).unwrap();
                (0..65).for_each(|number| {
                    fs::write(dir.join(format!("{number}.custodian")), &registration).unwrap();
                });
            }),
            "more than 64",
        ),
        ("too long", Box::new(|dir| fs::write(dir.join("threshold"), vec![b'#'; 20_000]).unwrap()), "bytes"),
        (
            "a file for others",
            Box::new(|dir| set_mode(&dir.join("threshold"), 0o666)),
            "can be written by others",
        ),
        ("for others", Box::new(|dir| set_mode(dir, 0o777)), "can be written by others"),
        (
            "a link",
            Box::new(|dir| {
                fs::rename(dir, dir.with_file_name("elsewhere")).unwrap();
                symlink("elsewhere", dir).unwrap();
            }),
            "symbolic link or not a directory",
        ),
        (
            "a file",
            Box::new(|dir| {
                fs::remove_dir_all(dir).unwrap();
                fs::write(dir, "").unwrap();
            }),
            "symbolic link or not a directory",
        ),
    ];
    for (name, spoil, because) in cases {
        let host = host.copy();
        spoil(&host.rooted(CUSTODIANS));
        let add = ["keys", "add", "signer/second.pub"];
        host.refuses_run(|| host.run(&add), name, because);
        host.refuses_run(|| host.run(&[&add[..], &["--approval", "add.approval"]].concat()), name, because);
        host.refuses_run(|| host.run(&["custodians", "off", "--approval", "add.approval"]), name, because);
        assert_eq!(host.health()["custodians"]["status"], "failed", "{name}");
        host.run(&["custodians", "verify"]).is_refusal(name, because);
        // The keys that were approved sign on: a broken directory does not keep an emergency policy out.
        host.sign(6, "first");
        host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
    }
}

#[test]
fn what_the_state_remembers_is_not_changed_unseen() {
    let (host, people) = in_charge();
    let second = key_id(&host.new_key("second"));
    people.approve(&host, "add.approval", Subject::KeysAdd(second));
    let add = ["keys", "add", "signer/second.pub", "--approval", "add.approval"];
    let record = host.rooted(STATE).join("custodians.json");
    let text = fs::read_to_string(&record).unwrap();
    for (name, other) in [
        ("junk", "junk".to_owned()),
        ("nothing", String::new()),
        ("another spelling", text.replace(':', ": ")),
        ("another format", text.replace("\"format\":1", "\"format\":2")),
        ("more", text.replace("\"format\":1", "\"format\":1,\"more\":1")),
    ] {
        fs::write(&record, other).unwrap();
        host.refuses_run(|| host.run(&add), name, "the record of approvals");
        // Nobody can tell which keys were approved, so none is trusted.
        host.sign(6, "first");
        host.refuses(&["policy", "apply", "v6.signed", "--require-signature"], "the record of approvals");
        assert_eq!(host.health()["keys"]["status"], "failed", "{name}");
    }
    fs::write(&record, &text).unwrap();
    set_mode(&record, 0o666);
    host.refuses(&add, "can be written by others");
    // Taken away, the log still says that there was one.
    fs::remove_file(&record).unwrap();
    host.refuses(&add, "the audit log says that this host has taken the rule up");
    // Also together with the directory.
    let both = host.copy();
    fs::remove_dir_all(both.rooted(CUSTODIANS)).unwrap();
    both.refuses(&add, "the audit log says that this host has taken the rule up");
    both.refuses(
        &["keys", "add", "signer/second.pub"],
        "the audit log says that this host has taken the rule up",
    );
    let init = ["custodians", "init", "ana.custodian", "bo.custodian", "--host", "web-1"];
    let init = [&init[..], &["--require", "1:risk_lead", "--require", "1:security_lead"]].concat();
    both.refuses(&init, "the audit log says that this host has taken the rule up");
    fs::write(&record, &text).unwrap();
    host.ok(&add);
}

#[test]
fn a_directory_that_was_put_there_by_hand_is_a_rule_and_is_taken_up_by_its_first_approval() {
    let (host, people) = (Host::in_force(&[5]), People::new());
    let second = key_id(&host.new_key("second"));
    let dir = host.rooted(CUSTODIANS);
    fs::create_dir_all(&dir).unwrap();
    for person in people.both() {
        fs::write(dir.join(format!("{}.custodian", person.name)), person.registration().to_json()).unwrap();
    }
    let add = ["keys", "add", "signer/second.pub", "--approval", "add.approval"];
    people.approve(&host, "add.approval", Subject::KeysAdd(second));
    host.refuses(&add, "threshold is missing");
    fs::write(dir.join("threshold"), "# two\n1 of risk_lead\n1 of security_lead\nhost:web-1\n").unwrap();
    host.refuses(&add[..3], "keys.add");
    assert_eq!(host.health()["custodians"]["status"], "degraded", "not taken up");
    host.refuses(&["custodians", "off"], "custodians.off");
    let again = host.copy();
    host.ok(&add);
    let listing = host.ok(&["custodians", "list", "--json"]).json();
    assert_eq!((&listing["taken_up"], listing["approved_keys"].as_array().unwrap().len()), (&true.into(), 2));
    assert!(host.ok(&add).stdout.starts_with("already trusted"));
    fs::remove_dir_all(&dir).unwrap();
    host.new_key("third");
    host.refuses(&["keys", "add", "signer/third.pub"], "custodians is gone");
    // Or it is taken up by hand.
    again.ok(&["custodians", "init"]);
    again.ok(&["custodians", "init"]);
    assert_eq!(again.changes_logged("custodians.init").len(), 1);
    fs::remove_dir_all(again.rooted(CUSTODIANS)).unwrap();
    again.refuses(&add, "custodians is gone");
}

#[test]
fn init_needs_two_people_who_can_decide() {
    let (host, people) = (Host::in_force(&[5]), People::new());
    let (ana, bo) = (people.ana.register(&host), people.bo.register(&host));
    let init = |more: &[&str]| {
        let all = ["custodians", "init", ana.as_str(), bo.as_str(), "--host", "web-1"];
        [&all[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (require, because) in [
        (&["--require", "1:risk_lead"][..], "below 2"),
        (&["--require", "0:risk_lead", "--require", "2:security_lead"], "0 of risk_lead cannot be asked for"),
        (&["--require", "17:risk_lead"], "17 of risk_lead cannot be asked for"),
        (&["--require=-1:risk_lead", "--require", "3:security_lead"], "-1 of risk_lead cannot be asked for"),
    ] {
        host.refuses(&init(require), because);
    }
    host.refuses(&init(&["--require", "2:risk_lead"]), "1 of risk_lead missing");
    host.refuses(&init(&["--require", "1:risk_lead", "--require", "1:legal"]), "1 of legal missing");
    let both = ["--require", "1:risk_lead", "--require", "1:security_lead"];
    // One key of two people, one person with two sets of roles, one registration twice, and what registers nobody.
    let double = Person { name: "cleo", roles: &["legal"], key: crate::people::copy_of(&people.ana) };
    let again = Person::new("ana", &["legal"]);
    for (person, because) in [(&double, "is registered for ana and for cleo"), (&again, "different roles")] {
        fs::write(host.file("third.custodian"), person.registration().to_json()).unwrap();
        let mut command = init(&both);
        command.insert(2, "third.custodian".to_owned());
        host.refuses(&command, because);
    }
    let mut command = init(&both);
    command.insert(2, ana.clone());
    host.refuses(&command, "is registered for ana and for ana");
    fs::write(host.file("bad.custodian"), people.ana.key.dangerous_to_secret_text().as_bytes()).unwrap();
    for (file, because) in [
        ("bad.custodian", "must never be given away"),
        ("policy.conf", "does not register"),
        ("missing", "No such file"),
    ] {
        let mut command = init(&both);
        command.insert(2, file.to_owned());
        let run = host.refuses(&command, because);
        assert!(
            !run.stderr.contains(people.ana.key.dangerous_to_secret_text().as_str()),
            "a secret was shown"
        );
    }
    assert!(!host.rooted(CUSTODIANS).exists());
    host.refuses(&["custodians", "init"], "there is no directory");
    // A key that was there before is trusted on; a second init with others is refused.
    host.ok(&init(&both));
    assert_eq!(trusted(&host), [("first".to_owned(), true)]);
    host.ok(&init(&both));
    let mut other = init(&both);
    other.extend(["--group".to_owned(), "edge".to_owned()]);
    host.refuses(&other, "this host has custodians already");
    assert_eq!(host.changes_logged("custodians.init").len(), 1);
    // What was removed by hand is missed.
    fs::remove_file(host.rooted(KEYS).join("first.pub")).unwrap();
    assert_eq!(host.health()["approved_keys"]["status"], "degraded");
    host.sign(6, "first");
    host.refuses(
        &["policy", "apply", "v6.signed", "--require-signature"],
        "no trusted key is installed on this host",
    );
}

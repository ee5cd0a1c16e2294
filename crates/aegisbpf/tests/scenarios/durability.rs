//! What a power cut would keep. A kill loses nothing that was written, so the order of syncs is read from a trace: every
//! file is on the disk before it gets its name, and every name before the next step depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::faults;
use crate::host::Host;
use crate::tools;

/// Walks a trace, and gives what was done without being on the disk first.
#[derive(Default)]
struct Disk {
    /// Files with bytes that are not synced.
    unsynced: BTreeSet<String>,
    /// Directories with names that are not synced, and what changed in them.
    names: BTreeMap<String, Vec<String>>,
    order: Vec<String>,
}

impl Disk {
    fn step(&mut self, shown: &str) {
        let call = shown.split('(').next().unwrap();
        let paths: Vec<&str> = shown.split('"').skip(1).step_by(2).collect();
        let handle =
            || shown.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
        match call {
            "write" | "pwrite64" | "writev" | "ftruncate" => {
                self.unsynced.insert(handle().unwrap().to_owned());
            }
            "fsync" | "fdatasync" => {
                let path = handle().unwrap();
                self.unsynced.remove(path);
                self.names.remove(path);
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                let (from, to) = (paths[0], paths[1]);
                // The log syncs its files through names relative to its folder, and keeps a cache there unsynced.
                if from.starts_with('/') {
                    assert!(
                        !self.unsynced.contains(from),
                        "{from} gets its name before it is on the disk: {shown}"
                    );
                    self.depends(to);
                    self.changed(to);
                    if call.starts_with("rename") {
                        self.changed(from);
                    }
                    self.order.push(to.rsplit('/').next().unwrap().to_owned());
                }
            }
            "unlink" | "unlinkat" => {
                if let Some(path) = paths.first().filter(|path| path.starts_with('/')) {
                    if path.ends_with("/journal.json") {
                        assert!(
                            self.names.is_empty(),
                            "the journal ends before {:?} is on the disk",
                            self.names
                        );
                    }
                    self.changed(path);
                }
            }
            "mkdir" | "mkdirat" => {
                if let Some(path) = paths.first().filter(|path| path.starts_with('/')) {
                    self.changed(path);
                }
            }
            _ => {}
        }
    }

    fn changed(&mut self, path: &str) {
        let dir = Path::new(path).parent().unwrap().to_str().unwrap();
        // A name that nobody reads may come and go.
        if !path.ends_with(".tmp") {
            self.names.entry(dir.to_owned()).or_default().push(path.to_owned());
        }
    }

    /// The counter is on the disk before the policy, the journal before everything.
    fn depends(&self, to: &str) {
        let pending = |name: &str| self.names.values().flatten().any(|path| path.ends_with(name));
        if to.ends_with("/policy.applied") {
            assert!(
                !pending("/version_counter") && !pending("/policy.staged"),
                "{:?} before {to}",
                self.names
            );
        }
        assert!(!pending("/journal.json"), "{:?} before {to}", self.names);
    }
}

/// Runs a command under a trace and checks the order of its syncs; gives the names in the order they were given.
fn order(test: &str, host: &Host, arguments: &[&str]) -> Vec<String> {
    if !tools::need(test, &["strace"]) {
        return Vec::new();
    }
    let mut disk = Disk::default();
    for point in faults::points(host, arguments) {
        disk.step(&point.shown);
    }
    let left: Vec<_> = disk.names.into_iter().filter(|(dir, _)| !dir.ends_with("/audit")).collect();
    assert!(left.is_empty(), "{arguments:?} ends before {left:?} is on the disk");
    disk.order.retain(|name| !name.ends_with(".tmp"));
    disk.order
}

const APPLY: &[&str] = &["policy", "apply", "v6.signed", "--require-signature"];

#[test]
fn an_apply_is_on_the_disk_step_by_step() {
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    let order = order("an_apply_is_on_the_disk_step_by_step", &host, APPLY);
    let expected =
        ["journal.json", "version_counter", "enforcement.json", "policy.applied.prev", "policy.applied"];
    assert!(order.is_empty() || order == expected, "{order:?}");
}

#[test]
fn the_first_apply_and_the_first_key_are_on_the_disk_with_their_directories() {
    let test = "the_first_apply_and_the_first_key_are_on_the_disk_with_their_directories";
    let host = Host::empty();
    host.new_key("first");
    order(test, &host, &["keys", "add", "signer/first.pub"]);
    host.sign(6, "first");
    order(test, &host, APPLY);
}

#[test]
fn key_changes_and_rollbacks_are_on_the_disk_before_they_are_called_done() {
    let test = "key_changes_and_rollbacks_are_on_the_disk_before_they_are_called_done";
    let host = Host::in_force(&[4, 5]);
    host.new_key("second");
    host.new_key("third");
    let id = |name: &str| crate::forge::key(&host, name).public_key().key_id().to_string();
    order(test, &host, &["policy", "rollback"]);
    order(test, &host, &["keys", "add", "signer/second.pub"]);
    order(test, &host, &["keys", "add", "signer/third.pub"]);
    order(test, &host, &["keys", "remove", &id("second")]);
    let revoked = order(test, &host, &["keys", "revoke", &id("third"), "--reason", "stolen"]);
    assert!(
        revoked.is_empty() || revoked.iter().filter(|name| *name == "revoked").count() == 2,
        "{revoked:?}"
    );
    order(test, &host, &["backup", "create", "backup.tar"]);
    order(test, &host, &["backup", "restore", "backup.tar"]);
    let lost = Host::empty();
    std::fs::copy(host.file("backup.tar"), lost.file("backup.tar")).unwrap();
    let host_key = host.ok(&["audit", "verify", "--json"]).json()["host_key"].as_str().unwrap().to_owned();
    order(test, &lost, &["backup", "restore", "backup.tar", "--host-key", &host_key]);
}

//! Control groups: rules for one, a group that every rule lets pass, and programs that judge one group alone.

use std::fs;
use std::path::Path;

use aegis_enforce::{Enforcement, Mode, Options};

use super::{Place, Scenario, Start, inode_of, judged, load, swap, until};
use crate::probe::{DENIED, ask};

pub(super) const ALL: &[Scenario] = &[
    ("cgroup_deny_inode", Start::Loaded(scoped_inode)),
    ("cgroup_deny_ip", Start::Loaded(scoped_ip)),
    ("cgroup_deny_port", Start::Loaded(scoped_port)),
    ("allow_cgroup", Start::Loaded(allowed_group)),
    ("only a control group is judged", Start::Bare(scope)),
];

/// A group, one below it, and one beside it.
struct Groups(String);

impl Groups {
    fn new(name: &str) -> Self {
        let root = format!("/sys/fs/cgroup/{name}");
        fs::create_dir_all(format!("{root}/group/below")).unwrap();
        fs::create_dir_all(format!("{root}/beside")).unwrap();
        Self(root)
    }

    fn group(&self) -> String {
        format!("{}/group", self.0)
    }

    /// The same question from each of them.
    fn inside(&self, what: &str) -> [String; 2] {
        [format!("in {0}/group {what}", self.0), format!("in {0}/group/below {what}", self.0)]
    }

    fn outside(&self, what: &str) -> [String; 3] {
        [what.to_owned(), format!("in {0}/beside {what}", self.0), format!("in {0} {what}", self.0)]
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for below in ["group/below", "group", "beside", ""] {
            let _ = fs::remove_dir(Path::new(&self.0).join(below));
        }
    }
}

fn judged_in(enforcement: &Enforcement, policy: &str, groups: &Groups, denied: &[&str], allowed: &[&str]) {
    let inside: Vec<String> = denied.iter().flat_map(|what| groups.inside(what)).collect();
    let outside = denied.iter().flat_map(|what| groups.outside(what));
    let outside: Vec<String> = outside.chain(allowed.iter().flat_map(|what| groups.inside(what))).collect();
    let (inside, outside): (Vec<&str>, Vec<&str>) =
        (inside.iter().map(String::as_str).collect(), outside.iter().map(String::as_str).collect());
    judged(enforcement, policy, &inside, &outside);
}

fn scoped_inode(enforcement: &Enforcement) {
    let (place, groups) = (Place::new("scoped_inode"), Groups::new("scoped_inode"));
    let (secret, open) = (place.file("secret", "x"), place.file("open", "x"));
    let policy = format!("version=6\n[cgroup_deny_inode]\n{} {}\n", groups.group(), inode_of(&secret));
    judged_in(enforcement, &policy, &groups, &[&format!("open {secret}")], &[&format!("open {open}")]);
}

fn scoped_ip(enforcement: &Enforcement) {
    let groups = Groups::new("scoped_ip");
    let policy = format!("version=6\n[cgroup_deny_ip]\n{} 127.0.0.5\n", groups.group());
    judged_in(
        enforcement,
        &policy,
        &groups,
        &["udp 127.0.0.5 9", "sendto 127.0.0.5 9"],
        &["udp 127.0.0.6 9"],
    );
}

fn scoped_port(enforcement: &Enforcement) {
    let groups = Groups::new("scoped_port");
    let policy =
        format!("version=6\n[cgroup_deny_port]\n{0} 1001:tcp:egress\n{0} 1002:udp:bind\n", groups.group());
    let denied = ["tcp 127.0.0.1 1001", "bind-udp 127.0.0.1 1002"];
    judged_in(enforcement, &policy, &groups, &denied, &["udp 127.0.0.1 1001", "bind-tcp 127.0.0.1 1002"]);
}

fn allowed_group(enforcement: &Enforcement) {
    let (place, groups) = (Place::new("allowed_group"), Groups::new("allowed_group"));
    let (secret, tool) = (place.file("secret", "x"), place.other_probe("sometool"));
    let number =
        fs::metadata(groups.group()).map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata)).unwrap();
    let rules = format!(
        "[deny_path]\n{secret}\n[deny_comm]\nsometool\n[deny_ip]\n127.0.0.5\n[deny_ptrace]\n[deny_bpf]\n[deny_module_load]\n"
    );
    let (read, run) = (format!("open {secret}"), format!("exec {tool} nothing"));
    let what = [&read, &run, "udp 127.0.0.5 9", "seize", "bpf-load", "init-module"];
    for name in [groups.group(), format!("cgid:{number}"), groups.group().replace("/sys/fs/cgroup", "")] {
        let policy = format!("version=6\n[allow_cgroup]\n{name}\n{rules}");
        let outside: Vec<String> = what.iter().flat_map(|what| groups.outside(what)).collect();
        let inside: Vec<String> = what.iter().flat_map(|what| groups.inside(what)).collect();
        let (outside, inside): (Vec<&str>, Vec<&str>) =
            (outside.iter().map(String::as_str).collect(), inside.iter().map(String::as_str).collect());
        judged(enforcement, &policy, &outside, &inside);
    }
}

fn scope() {
    let (place, groups) = (Place::new("scope"), Groups::new("scope"));
    let secret = place.file("secret", "x");
    let enforcement = load(&Options { scope: Some(groups.group().into()), ..Options::default() });
    let policy = format!("version=6\n[deny_path]\n{secret}\n[deny_ip]\n127.0.0.5\n[deny_ptrace]\n");
    judged_in(
        &enforcement,
        &policy,
        &groups,
        &[&format!("open {secret}"), "udp 127.0.0.5 9", "seize"],
        &["udp 127.0.0.6 9"],
    );
    swap(&enforcement, &policy, Mode::Enforce);
    assert_eq!(ask(&format!("in {} open {secret}", groups.group())), DENIED);
    drop(enforcement);
    until("it goes with its process's handle", || ask(&format!("in {} open {secret}", groups.group())) == 0);
}

//! Hosts made up from files, and this one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aegis_policy::Limits;

use super::*;

const PASSWD: &str =
    "root:x:0:0:root:/root:/usr/bin/fish\ntoor:x:0:0::/root:\nana:x:1000:1000::/home/ana:/bin/zsh\n";

/// A host with `/bin` and `/sbin` linked to `/usr`, as most are.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self { dir: test_services::scratch::dir() };
        for (path, content) in [
            ("usr/lib/systemd/systemd", "systemd"),
            ("usr/bin/dash", "dash"),
            ("usr/bin/fish", "fish"),
            ("usr/bin/zsh", "zsh"),
            ("usr/bin/login", "login"),
            ("usr/sbin/agetty", "agetty"),
            ("usr/sbin/sulogin", "sulogin"),
            ("usr/sbin/aegisbpf", "agent"),
            ("usr/lib/libagent.so", "library"),
            ("etc/passwd", PASSWD),
            ("etc/shadow", "root:*:1::::::"),
            ("dev/console", ""),
            ("dev/null", ""),
            ("proc/self/maps", MAPS),
            ("proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/system.slice/emergency.service/cgroup.procs", ""),
            ("sys/fs/cgroup/user.slice/user-1000.slice/cgroup.procs", ""),
        ] {
            made.write(path, content.as_bytes());
        }
        for (link, target) in [
            ("bin", "usr/bin"),
            ("sbin", "usr/sbin"),
            ("usr/bin/sh", "dash"),
            ("usr/sbin/init", "/lib/systemd/systemd"),
            ("lib", "/usr/lib"),
            ("proc/self/exe", "/usr/sbin/aegisbpf"),
        ] {
            symlink(target, made.dir.path().join(link)).expect("a link");
        }
        made
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a relative path")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn host(&self) -> LiveHost {
        LiveHost::below(self.dir.path())
    }

    fn check(&self, policy: &str) -> Vec<LockOut> {
        let policy = aegis_policy::parse(policy.as_bytes(), &Limits::default()).expect("a policy");
        check(&policy, &self.host())
    }

    /// What a policy of version 6 locks out, each as role and path.
    fn lost(&self, policy: &str) -> Vec<(Role, Option<String>)> {
        let path = |path: PathBuf| path.display().to_string();
        let found = self.check(&format!("version=6\n{policy}\n"));
        found.into_iter().map(|lost| (lost.what, lost.path.map(path))).collect()
    }

    /// `device:inode` of a file.
    fn inode(&self, path: &str) -> String {
        let stat = rustix::fs::stat(self.dir.path().join(path)).expect("a file");
        format!("{}:{}", stat.st_dev, stat.st_ino)
    }

    fn sha256(&self, path: &str) -> String {
        format!("sha256:{}", aegis_crypto::sha256(&fs::read(self.dir.path().join(path)).expect("a file")))
    }
}

const MAPS: &str = "\
    55d0c0000000-55d0c0001000 r-xp 00000000 08:01 11 /usr/sbin/aegisbpf\n\
    7f0000000000-7f0000001000 r--p 00000000 08:01 12 /usr/bin/zsh\n\
    7f0000001000-7f0000002000 r-xp 00000000 08:01 13 /usr/lib/libagent.so\n\
    7f0000002000-7f0000003000 r-xp 00000000 08:01 14 /usr/lib/gone.so (deleted)\n\
    7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0 [vdso]\n";

fn one(role: Role, path: &str) -> Vec<(Role, Option<String>)> {
    vec![(role, Some(path.to_owned()))]
}

#[test]
fn refuses_a_path_that_leads_to_a_vital_file_by_whatever_name() {
    let made = Made::new();
    for (path, role) in [
        ("/sbin/init", Role::Init),
        ("/usr/lib/systemd/systemd", Role::Init),
        ("/lib/systemd/../systemd/systemd", Role::Init),
        ("/bin/sh", Role::Shell),
        ("/usr/bin/dash", Role::Shell),
        ("/usr/bin/fish", Role::Shell),
        ("/bin/login", Role::Login),
        ("/usr/sbin/agetty", Role::Login),
        ("/sbin/sulogin", Role::Login),
        ("/usr/sbin/aegisbpf", Role::Agent),
        ("/usr/lib/libagent.so", Role::Library),
        ("/etc/passwd", Role::File),
        ("/dev/console", Role::File),
    ] {
        let lost = made.lost(&format!("[deny_path]\n{path}"));
        assert_eq!(lost.iter().map(|(role, _)| *role).collect::<Vec<_>>(), [role], "{path}");
    }
}

#[test]
fn lets_a_policy_deny_what_a_host_can_do_without() {
    let made = Made::new();
    for path in [
        // What many policies are for.
        "/etc/shadow",
        // Nobody's shell who is root.
        "/bin/zsh",
        // Nothing is there.
        "/usr/bin/nc",
        // Directories: the files in them stay open.
        "/",
        "/usr/bin",
    ] {
        assert_eq!(made.lost(&format!("[deny_path]\n{path}")), [], "{path}");
    }
}

#[test]
fn a_link_leads_nowhere_outside_the_host_that_is_looked_at() {
    let made = Made::new();
    fs::remove_file(made.dir.path().join("usr/bin/sh")).expect("a link");
    symlink("../../../../../../../../../../usr/bin/dash", made.dir.path().join("usr/bin/sh"))
        .expect("a link");
    let vital = made.host().vital();
    let shell = vital.iter().find(|file| file.path == Path::new("/bin/sh")).expect("the shell");
    let own = fs::metadata(made.dir.path().join("usr/bin/dash")).expect("a file");
    assert_eq!(shell.id.inode, std::os::unix::fs::MetadataExt::ino(&own));
}

#[test]
fn refuses_an_inode_that_is_a_vital_file() {
    let made = Made::new();
    let inode = made.inode("usr/bin/dash");
    assert_eq!(made.lost(&format!("[deny_inode]\n{inode}")), one(Role::Shell, "/bin/sh"));
    assert_eq!(made.lost(&format!("[deny_inode]\n{}", made.inode("usr/bin/zsh"))), []);
}

#[test]
fn refuses_an_inode_for_a_group_only_where_a_console_is_in_it() {
    let made = Made::new();
    let inode = made.inode("usr/bin/dash");
    let id = |path: &str| {
        made.inode(path).split_once(':').map(|(_, inode)| inode.to_owned()).expect("two numbers")
    };
    let emergency = format!("cgid:{}", id("sys/fs/cgroup/system.slice/emergency.service"));
    for (group, lost) in [
        ("/", true),
        ("/sys/fs/cgroup", true),
        ("/system.slice", true),
        ("/sys/fs/cgroup/system.slice/emergency.service", true),
        (emergency.as_str(), true),
        ("/user.slice/user-1000.slice", false),
        ("/no.such.slice", false),
        ("cgid:18446744073709551615", false),
    ] {
        assert_eq!(!made.lost(&format!("[cgroup_deny_inode]\n{group} {inode}")).is_empty(), lost, "{group}");
    }
}

#[test]
fn refuses_the_name_by_which_a_vital_program_is_run() {
    let made = Made::new();
    for (name, role, path) in [
        ("sh", Role::Shell, Some("/bin/sh")),
        ("dash", Role::Shell, Some("/bin/sh")),
        ("fish", Role::Shell, Some("/usr/bin/fish")),
        ("init", Role::Init, Some("/sbin/init")),
        ("systemd", Role::Init, Some("/sbin/init")),
        ("login", Role::Login, Some("/bin/login")),
        ("aegisbpf", Role::Agent, Some("/usr/sbin/aegisbpf")),
        // There is none here, and it is the way in elsewhere.
        ("bash", Role::Shell, None),
    ] {
        assert_eq!(made.lost(&format!("[deny_comm]\n{name}")), [(role, path.map(str::to_owned))], "{name}");
    }
    for name in ["zsh", "xmrig", "shx", "libagent.so", "passwd"] {
        assert_eq!(made.lost(&format!("[deny_comm]\n{name}")), [], "{name}");
    }
}

#[test]
fn refuses_the_hash_of_a_vital_program_or_library() {
    let made = Made::new();
    let lost = |path: &str| {
        made.lost(&format!(
            "[deny_binary_hash]\n{}",
            made.sha256(path).to_uppercase().replace("SHA256", "sha256")
        ))
    };
    assert_eq!(lost("usr/lib/libagent.so"), one(Role::Library, "/usr/lib/libagent.so"));
    assert!(lost("usr/bin/dash").contains(&(Role::Shell, Some("/bin/sh".to_owned()))));
    assert_eq!(lost("usr/bin/zsh"), []);
    // What is read is not run.
    assert_eq!(lost("etc/passwd"), []);
}

const PROGRAMS: &[&str] = &[
    "usr/lib/systemd/systemd",
    "usr/bin/dash",
    "usr/bin/fish",
    "usr/bin/login",
    "usr/sbin/agetty",
    "usr/sbin/sulogin",
    "usr/sbin/aegisbpf",
];

#[test]
fn refuses_a_list_of_programs_that_lacks_a_vital_one() {
    let made = Made::new();
    for section in ["allow_binary_hash", "trusted_exec_hash"] {
        let list = |left_out: &str| {
            let hashes = PROGRAMS.iter().filter(|path| **path != left_out).map(|path| made.sha256(path));
            format!("[{section}]\n{}", hashes.collect::<Vec<_>>().join("\n"))
        };
        assert_eq!(made.lost(&list("")), [], "{section}");
        for left_out in PROGRAMS {
            let lost = made.lost(&list(left_out));
            assert!(!lost.is_empty(), "{section} without {left_out}");
            let found = made.check(&format!("version=6\n{}\n", list(left_out)));
            let lost = found.first().expect("a lock-out");
            assert_eq!((lost.line, lost.rule.as_deref()), (2, None));
            assert_eq!(lost.help(), format!("add {} to [{section}]", made.sha256(left_out)));
        }
    }
    // An empty list denies nothing.
    assert_eq!(made.lost("[allow_binary_hash]"), []);
}

#[test]
fn each_list_is_asked_on_its_own_and_a_denial_wins() {
    let made = Made::new();
    let all: Vec<String> = PROGRAMS.iter().map(|path| made.sha256(path)).collect();
    let all = all.join("\n");
    let only_trusted = made
        .lost(&format!("[allow_binary_hash]\n{}\n[trusted_exec_hash]\n{all}", made.sha256("usr/bin/zsh")));
    assert!(only_trusted.len() >= PROGRAMS.len());
    let denied = made
        .lost(&format!("[allow_binary_hash]\n{all}\n[deny_binary_hash]\n{}", made.sha256("usr/bin/fish")));
    assert_eq!(denied, one(Role::Shell, "/usr/bin/fish"));
}

#[test]
fn a_program_that_cannot_be_read_is_on_no_list() {
    let made = Made::new();
    let fish = made.dir.path().join("usr/bin/fish");
    let all: Vec<String> = PROGRAMS.iter().map(|path| made.sha256(path)).collect();
    fs::remove_file(&fish).expect("a file");
    fs::create_dir(&fish).expect("a directory");
    let found = made.check(&format!("version=6\n[allow_binary_hash]\n{}\n", all.join("\n")));
    assert_eq!(found.iter().map(|lost| &lost.why).collect::<Vec<_>>(), [&Reason::NotReadable]);
}

#[test]
fn protection_without_a_list_is_a_denial() {
    let made = Made::new();
    assert_eq!(made.lost("[protect_path]\n/bin/sh"), one(Role::Shell, "/bin/sh"));
    let all: Vec<String> = PROGRAMS.iter().map(|path| made.sha256(path)).collect();
    assert_eq!(made.lost(&format!("[protect_path]\n/bin/sh\n[allow_binary_hash]\n{}", all.join("\n"))), []);
}

#[test]
fn says_which_rule_does_it_and_what_to_do() {
    let made = Made::new();
    let found = made.check("version=1\n[deny_path]\n/usr/bin/nc\n/bin//sh\n");
    let lost = found.first().expect("a lock-out");
    assert_eq!(lost.to_string(), "[deny_path] /bin//sh on line 4 denies a shell of root, /bin/sh");
    assert_eq!(
        serde_json::to_value(lost).expect("JSON"),
        serde_json::json!({
            "what": "shell", "path": "/bin/sh", "section": "deny_path", "line": 4, "rule": "/bin//sh",
            "why": "denied",
            "message": "[deny_path] /bin//sh on line 4 denies a shell of root, /bin/sh",
            "help": "take the rule out, or use --force if the host is to be locked so",
        })
    );
}

#[test]
fn tells_of_a_hundred_and_stops() {
    let made = Made::new();
    let policy = format!("version=1\n[deny_path]\n{}", "/bin/sh\n".repeat(5000));
    assert_eq!(made.check(&policy).len(), MAX_LOCK_OUTS);
}

#[test]
fn a_host_whose_files_are_no_sense_is_looked_at_all_the_same() {
    let made = Made::new();
    made.write("etc/passwd", b"\xff\xfe:::::::\nroot\n:::0:::\n::0:::/bin/../../x\0y:\n");
    made.write("proc/self/maps", b"x\n- r-xp / \xff\n\x7f r-xp /\n");
    made.write("usr/bin/dash", b"\x7fELF\x02\x01");
    assert_eq!(made.lost("[deny_path]\n/bin/sh"), one(Role::Shell, "/bin/sh"));
    assert_eq!(LiveHost::below(test_services::scratch::dir().path()).vital(), []);
}

/// The test runs as its own agent; what it is linked to is what a loader found for it.
#[test]
fn of_this_host_it_finds_the_agent_its_loader_and_its_libraries() {
    let vital = LiveHost::new().vital();
    let agent = std::env::current_exe().expect("a path");
    assert!(vital.iter().any(|file| file.role == Role::Agent && file.path == agent));
    assert!(vital.iter().any(|file| file.role == Role::Shell && file.path == Path::new("/bin/sh")));
    if fs::read_to_string("/proc/self/maps").expect("a file").contains("/libc.so.6") {
        let named = |role, text: &str| {
            vital.iter().any(|file| file.role == role && file.path.to_string_lossy().contains(text))
        };
        assert!(named(Role::Library, "libc.so.6"));
        assert!(vital.iter().any(|file| file.role == Role::Loader));
    }
}

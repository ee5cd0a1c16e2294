//! Rules for programs, and for files by number: on a file system of the test's own, which is marked as a whole.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use aegis_enforce::fanotify::{Filesystems, Operation};
use aegis_enforce::{Mode, group_mount};
use aegis_policy::Section;
use test_services::tools;

use super::inside::{self, mount};
use super::{Watch, reads, runs, sha256_of, shell};

fn watch(policy: &str, mode: Mode, fs: &Path) -> Watch {
    Watch::start(policy, mode, Filesystems::Of(vec![fs.to_path_buf()]))
}

/// A program of the system, copied under another name. `with` makes it another content.
fn program(fs: &Path, from: &str, name: &str, with: &[u8]) -> PathBuf {
    let path = fs.join(name);
    let content = fs::read(tools::find(from).unwrap()).unwrap();
    fs::write(&path, [content.as_slice(), with].concat()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn starts(program: &Path) -> bool {
    runs(&mut Command::new(program))
}

#[test]
fn denies_programs_by_name_and_by_hash() {
    inside::run("denies_programs_by_name_and_by_hash", "programs::by_name_and_by_hash");
}

#[test]
#[ignore = "run by another test, in a mount namespace"]
fn by_name_and_by_hash() {
    let Some(fs) = inside::file_system() else { return };
    let named = program(&fs, "true", "evil", b"");
    let long = program(&fs, "true", "much-longer-than-15", b"");
    let (hashed, fine) = (program(&fs, "true", "hashed", b"1"), program(&fs, "true", "fine", b"2"));
    let policy = format!(
        "version=3\n[deny_comm]\nevil\nmuch-longer-tha\n[deny_binary_hash]\nsha256:{}\n",
        sha256_of(&hashed)
    );
    let running = watch(&policy, Mode::Enforce, &fs);
    assert!(starts(&fine), "{:?}", running.decisions(0));
    assert!(!starts(&named) && !starts(&long), "by name");
    assert!(!starts(&hashed), "by hash");
    let other = fs.join("other-name");
    fs::hard_link(&hashed, &other).unwrap();
    assert!(!starts(&other), "by hash, under another name");
    fs::copy(&hashed, fs.join("copy")).unwrap();
    assert!(!starts(&fs.join("copy")), "a copy");
    let link = fs.join("link");
    std::os::unix::fs::symlink("hashed", &link).unwrap();
    assert!(!starts(&link), "through a symbolic link");
    assert!(reads(&hashed), "running is denied, reading is not");
    let script = fs.join("script");
    fs::write(&script, format!("#!{}\n", hashed.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!starts(&script), "as a script's interpreter");
    let decisions = running.decisions(7);
    assert_eq!(decisions[0].section, Section::DenyComm);
    assert_eq!((decisions[0].operation, decisions[0].line), (Operation::Exec, 3));
    assert_eq!(decisions[2].section, Section::DenyBinaryHash);
    assert_eq!(decisions[2].sha256.unwrap().to_string(), sha256_of(&hashed));
    drop(running);
    let audited = watch(&policy, Mode::Audit, &fs);
    assert!(starts(&hashed) && starts(&named));
    assert!(audited.decisions(2).iter().all(|decision| !decision.denied));
}

#[test]
fn with_an_allow_list_nothing_else_runs() {
    inside::run("with_an_allow_list_nothing_else_runs", "programs::allow_list");
}

#[test]
#[ignore = "run by another test, in a mount namespace"]
fn allow_list() {
    let Some(fs) = inside::file_system() else { return };
    if !tools::need("with_an_allow_list_nothing_else_runs", &["chroot", "ldd"]) {
        return;
    }
    let listed = program(&fs, "cat", "listed", b"listed");
    let unlisted = program(&fs, "cat", "unlisted", b"unlisted");
    // A root of its own, so that the dynamic linker is on the watched file system, too.
    let libraries = Command::new("ldd").arg(&listed).output().unwrap().stdout;
    let libraries = String::from_utf8(libraries).unwrap();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let libraries: Vec<PathBuf> = libraries.map(PathBuf::from).collect();
    for library in &libraries {
        let copy = fs.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(library, copy).unwrap();
    }
    let chroot = |program: &str, arguments: &[&str]| {
        runs(Command::new("chroot").arg(&fs).arg(program).args(arguments))
    };
    assert!(chroot("/listed", &["/listed"]) && chroot("/unlisted", &["/listed"]), "before");
    let linker = libraries.iter().find(|path| path.to_string_lossy().contains("/ld-")).unwrap();
    let linker = linker.to_str().unwrap();
    assert!(chroot(linker, &["/unlisted", "/listed"]), "before");
    let policy = format!("version=3\n[allow_binary_hash]\nsha256:{}\n", sha256_of(&listed));
    let running = watch(&policy, Mode::Enforce, &fs);
    for _ in 0..3 {
        assert!(chroot("/listed", &["/listed"]), "listed: {:?}", running.decisions(0));
        assert!(!chroot("/unlisted", &["/listed"]), "not listed");
        assert!(!chroot(linker, &["/unlisted", "/listed"]), "the linker as a program");
    }
    let decisions = running.decisions(6);
    assert!(
        decisions.iter().all(|decision| decision.section == Section::AllowBinaryHash && decision.line == 2)
    );
    // Changed while it is listed: by its owner, so that no hash may be remembered.
    fs::write(&listed, fs::read(&unlisted).unwrap()).unwrap();
    assert!(!chroot("/listed", &["/listed"]), "changed");
    // The kernel measures nothing here: such a list is only watched.
    drop(running);
    let policy = format!("version=5\n[trusted_exec_hash]\nsha256:{}\n", "00".repeat(32));
    let watched = watch(&policy, Mode::Enforce, &fs);
    assert!(chroot("/unlisted", &["/listed"]));
    let decisions = watched.decisions(1);
    assert_eq!((decisions[0].section, decisions[0].denied), (Section::TrustedExecHash, false));
}

/// A control group, removed also if the test fails.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // Whoever was in it may be about to end.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn denies_by_number_through_bind_mounts_and_by_group() {
    inside::run("denies_by_number_through_bind_mounts_and_by_group", "programs::numbers_and_groups");
}

#[test]
#[ignore = "run by another test, in a mount namespace"]
fn numbers_and_groups() {
    let Some(fs) = inside::file_system() else { return };
    for directory in ["dir", "bound"] {
        fs::create_dir(fs.join(directory)).unwrap();
    }
    let names = ["dir/named", "dir/numbered", "scoped", "other", "file-bound"].map(|name| fs.join(name));
    names.iter().for_each(|name| fs::write(name, "x\n").unwrap());
    let [named, numbered, scoped, other, file_bound] = &names;
    mount(&["--bind", fs.join("dir").to_str().unwrap()], &fs.join("bound"));
    let number = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        format!("{}:{}", metadata.dev(), metadata.ino())
    };
    let group = group_mount().map(|mount| mount.join(format!("aegis-fanotify-{}", std::process::id())));
    let group = group.filter(|group| fs::create_dir(group).is_ok());
    let _removed = group.clone().map(Removed);
    if group.is_none() {
        tools::skip("denies_by_number_through_bind_mounts_and_by_group", "no control group can be made");
    }
    let group_name = group.as_deref().unwrap_or(Path::new("/none")).display();
    let files = format!(
        "[deny_path]\n{}\n[deny_inode]\n{}\n[cgroup_deny_inode]\n{group_name} {}\n",
        named.display(),
        number(numbered),
        number(scoped)
    );
    let running = watch(&format!("version=6\n{files}"), Mode::Enforce, &fs);
    assert!(!reads(named) && !reads(numbered) && reads(scoped) && reads(other));
    assert!(
        !reads(&fs.join("bound/named")) && !reads(&fs.join("bound/numbered")),
        "a directory bound elsewhere"
    );
    mount(&["--bind", named.to_str().unwrap()], file_bound);
    assert!(!reads(file_bound), "a file bound elsewhere");
    assert_eq!(running.decisions(2)[1].section, Section::DenyInode);
    let within = "echo $$ >\"$1/cgroup.procs\" && exec cat \"$2\"";
    if let Some(group) = &group {
        assert!(!shell(within, &[group, scoped]) && shell(within, &[group, other]), "the group's own rule");
        drop(running);
        let allowed = format!("version=6\n[allow_cgroup]\n{group_name}\n{files}");
        let by_number =
            format!("version=6\n[allow_cgroup]\ncgid:{}\n{files}", fs::metadata(group).unwrap().ino());
        for policy in [allowed, by_number] {
            let _running = watch(&policy, Mode::Enforce, &fs);
            for name in [named, numbered, scoped] {
                assert!(shell(within, &[group, name]), "exempt: {}", name.display());
            }
            assert!(!reads(named) && !reads(numbered), "others are not");
        }
    }
}

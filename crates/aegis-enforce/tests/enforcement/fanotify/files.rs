//! Rules that name files by path.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_enforce::Mode;
use aegis_enforce::fanotify::{Operation, StartError};
use aegis_policy::Section;
use test_services::scratch;

use super::{Watch, reads, runs, sha256_of, shell, supported, wait_until};

fn file(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, name).unwrap();
    path
}

#[test]
fn denies_a_named_file_by_every_name_and_nothing_else() {
    if !supported("denies_a_named_file_by_every_name_and_nothing_else") {
        return;
    }
    let dir = scratch::dir();
    let dir = dir.path();
    let (secret, other) = (file(dir, "secret"), file(dir, "other"));
    let before = dir.join("hard-link-before");
    fs::hard_link(&secret, &before).unwrap();
    fs::create_dir(dir.join("far")).unwrap();
    let policy = format!("version=1\n[deny_path]\n{}\n", secret.display());
    let watch = Watch::files(&policy, Mode::Enforce);
    assert!(!reads(&secret) && reads(&other));
    assert!(!reads(&before), "a hard link that was there");
    let names = ["hard-link", "far/hard-link"].map(|name| dir.join(name));
    for name in &names {
        fs::hard_link(&secret, name).unwrap();
        assert!(!reads(name), "{}", name.display());
    }
    let symlink = dir.join("symlink");
    std::os::unix::fs::symlink("secret", &symlink).unwrap();
    assert!(!reads(&symlink), "a symbolic link");
    assert!(!shell("exec 9<\"$1\"; cat /proc/self/fd/9/secret", &[dir]), "through a directory's descriptor");
    assert!(!shell(": >>\"$1\"", &[&secret]), "for writing");
    fs::rename(&secret, dir.join("far/renamed")).unwrap();
    assert!(!reads(&dir.join("far/renamed")), "renamed");
    assert!(reads(&other));
    let decisions = watch.decisions(8);
    for decision in &decisions {
        assert_eq!((decision.section, decision.line), (Section::DenyPath, 3));
        assert_eq!((decision.operation, decision.denied), (Operation::Open, true));
        assert!(decision.pid > 0 && decision.inode > 0);
    }
    assert_eq!(decisions[0].path.as_deref(), Some(secret.as_path()));
    assert_eq!(watch.fanotify().counters().denied, 8);
}

#[test]
fn denies_files_that_come_later() {
    if !supported("denies_files_that_come_later") {
        return;
    }
    let dir = scratch::dir();
    let dir = dir.path();
    let names =
        ["made", "moved", "linked", "created", "down/deep/made", "link", "sub"].map(|name| dir.join(name));
    let paths: Vec<_> = names.iter().map(|name| name.display().to_string()).collect();
    let target = file(dir, "target-of-link");
    std::os::unix::fs::symlink(&target, &names[5]).unwrap();
    let _watch = Watch::files(&format!("version=1\n[deny_path]\n{}\n", paths.join("\n")), Mode::Enforce);
    fs::write(&names[0], "x").unwrap();
    assert!(!reads(&names[0]), "made");
    let innocent = file(dir, "innocent");
    assert!(reads(&innocent));
    fs::rename(&innocent, &names[1]).unwrap();
    assert!(!reads(&names[1]), "moved there");
    let innocent = file(dir, "innocent");
    fs::hard_link(&innocent, &names[2]).unwrap();
    assert!(!reads(&names[2]), "linked there");
    assert!(!reads(&innocent), "and by its other name");
    assert!(!shell("echo x >\"$1\"", &[&names[3]]), "made by opening it");
    // Replaced by another file: both are denied, wherever they go.
    fs::hard_link(&names[0], dir.join("kept")).unwrap();
    fs::rename(file(dir, "new"), &names[0]).unwrap();
    assert!(!reads(&names[0]) && !reads(&dir.join("kept")), "replaced");
    // What a named link leads to.
    assert!(!reads(&target), "target of a named link");
    fs::rename(file(dir, "other-target"), &target).unwrap();
    assert!(!reads(&names[5]) && !reads(&target), "another target");
    fs::create_dir(&names[6]).unwrap();
    assert!(!runs(std::process::Command::new("ls").arg(&names[6])), "a directory");
    // A directory is known some microseconds after it was made.
    fs::create_dir_all(dir.join("down/deep")).unwrap();
    wait_until("the new directory is watched", || {
        fs::write(&names[4], "x").unwrap();
        let denied = !reads(&names[4]);
        fs::remove_file(&names[4]).unwrap();
        denied
    });
    fs::rename(file(dir, "new"), &names[4]).unwrap();
    assert!(!reads(&names[4]), "in a directory that came later");
}

/// Links on the way, one of them in no path of the policy, and trees that are renamed to the way. It is known some
/// microseconds after it happened.
#[test]
fn denies_what_the_way_to_a_name_comes_to_mean() {
    if !supported("denies_what_the_way_to_a_name_comes_to_mean") {
        return;
    }
    let dir = scratch::dir();
    let dir = dir.path();
    for name in ["opt", "srv", "v1", "v2", "real", "tree/a/b"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    let (one, two, tree) = (file(dir, "v1/key"), file(dir, "v2/key"), file(dir, "tree/a/b/key"));
    let middle = dir.join("srv/middle");
    let lead = |to: &str| {
        let _ = fs::remove_file(&middle);
        std::os::unix::fs::symlink(to, &middle).unwrap();
    };
    lead("../v1/.");
    std::os::unix::fs::symlink(dir.join("srv/../srv/middle"), dir.join("opt/current")).unwrap();
    std::os::unix::fs::symlink("nothing", dir.join("circle")).unwrap();
    std::os::unix::fs::symlink("circle", dir.join("nothing")).unwrap();
    std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
    let paths = ["opt/current/key", "circle/key", "way/a/b/key", "link/x", "real/y"];
    let paths = paths.map(|path| dir.join(path).display().to_string());
    let _watch = Watch::files(&format!("version=1\n[deny_path]\n{}\n", paths.join("\n")), Mode::Enforce);
    assert!(!reads(&one) && reads(&two) && reads(&tree));
    lead("../v2");
    wait_until("where the link leads now is known", || !reads(&two));
    lead("../v3");
    fs::create_dir(dir.join("v3")).unwrap();
    let three = file(dir, "v3/key");
    wait_until("a directory that came after the link is known", || !reads(&three));
    fs::rename(dir.join("tree"), dir.join("way")).unwrap();
    wait_until("a tree that was renamed is known", || !reads(&dir.join("way/a/b/key")));
    // Two paths of one directory.
    for name in ["x", "y"] {
        assert!(!reads(&file(dir, &format!("real/{name}"))), "{name}");
    }
    assert!(reads(&file(dir, "real/z")));
}

#[test]
fn a_new_file_with_the_number_of_a_denied_one_is_free() {
    if !supported("a_new_file_with_the_number_of_a_denied_one_is_free") {
        return;
    }
    let dir = scratch::dir();
    let secret = file(dir.path(), "secret");
    let _watch = Watch::files(&format!("version=1\n[deny_path]\n{}\n", secret.display()), Mode::Enforce);
    for round in 0..20 {
        assert!(!reads(&secret), "{round}");
        fs::remove_file(&secret).unwrap();
        // On many file systems it gets the number that has just become free.
        let other = file(dir.path(), "other");
        assert!(reads(&other), "{round}");
        fs::remove_file(&other).unwrap();
        file(dir.path(), "secret");
    }
}

#[test]
fn audit_mode_allows_and_tells() {
    if !supported("audit_mode_allows_and_tells") {
        return;
    }
    let dir = scratch::dir();
    let secret = file(dir.path(), "secret");
    let watch = Watch::files(&format!("version=1\n\n[deny_path]\n{}\n", secret.display()), Mode::Audit);
    assert!(reads(&secret));
    let decisions = watch.decisions(1);
    assert_eq!((decisions[0].denied, decisions[0].line, decisions.len()), (false, 4, 1));
    assert_eq!(watch.fanotify().counters().audited, 1);
}

#[test]
fn a_protected_file_opens_for_verified_programs_alone() {
    if !supported("a_protected_file_opens_for_verified_programs_alone") {
        return;
    }
    let dir = scratch::dir();
    let dir = dir.path();
    let (protected, denied) = (file(dir, "protected"), file(dir, "denied"));
    let verified = dir.join("cat");
    fs::copy(test_services::tools::find("cat").unwrap(), &verified).unwrap();
    // Another content, so another hash, and the same program.
    let altered = dir.join("altered-cat");
    fs::write(&altered, [fs::read(&verified).unwrap(), b"altered".to_vec()].concat()).unwrap();
    fs::set_permissions(&altered, fs::metadata(&verified).unwrap().permissions()).unwrap();
    // The altered one is the copy; the hash of the system's own is listed nowhere.
    let policy = format!(
        "version=4\n[allow_binary_hash]\nsha256:{}\n[protect_path]\n{}\n{}\n[deny_path]\n{}\n",
        sha256_of(&altered),
        protected.display(),
        denied.display(),
        denied.display()
    );
    let watch = Watch::files(&policy, Mode::Enforce);
    let opens = |program: &Path, file: &Path| runs(std::process::Command::new(program).arg(file));
    assert!(opens(&altered, &protected), "verified");
    assert!(!opens(&verified, &protected), "not verified");
    assert!(!opens(&altered, &denied), "a denial goes before a protection");
    let decisions = watch.decisions(2);
    assert_eq!(decisions[0].section, Section::ProtectPath);
    assert_eq!(decisions[0].sha256.unwrap().to_string(), sha256_of(&verified));
    assert_eq!(decisions[1].section, Section::DenyPath);
    // Its own program, read again and again, since anybody with its owner's rights could change it.
    assert!(opens(&altered, &protected));
    fs::write(&altered, [fs::read(&altered).unwrap(), b"again".to_vec()].concat()).unwrap();
    assert!(!opens(&altered, &protected), "changed since");
}

#[test]
fn an_open_is_judged_by_the_old_policy_or_by_the_new_one() {
    if !supported("an_open_is_judged_by_the_old_policy_or_by_the_new_one") {
        return;
    }
    let dir = scratch::dir();
    let dir = dir.path();
    let (secret, allowed) = (file(dir, "secret"), file(dir, "allowed"));
    let policy = format!("version=1\n[deny_path]\n{}\n", secret.display());
    let mut current = Watch::files(&policy, Mode::Enforce);
    let stop = Arc::new(AtomicBool::new(false));
    let hammers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, secret, allowed) = (Arc::clone(&stop), secret.clone(), allowed.clone());
            std::thread::spawn(move || {
                let mut rounds = 0;
                // Twenty of each by one process: the shell opens them itself.
                let script = "n=0; while [ $n -lt 20 ]; do n=$((n+1)); \
                    if read x <\"$1\"; then exit 7; fi; exec 8<\"$2\" || exit 8; done";
                while !stop.load(Ordering::SeqCst) {
                    let mut command = std::process::Command::new("sh");
                    command.args(["-c", script, "sh"]).arg(&secret).arg(&allowed);
                    let status = command.stderr(std::process::Stdio::null()).status().unwrap();
                    assert!(
                        status.success(),
                        "7: a denied file was opened, 8: an allowed one was not; {status}"
                    );
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    for _ in 0..40 {
        let new = Watch::files(&policy, Mode::Enforce);
        let old = std::mem::replace(&mut current, new).into_fanotify();
        current.fanotify().replace(old, &|_| ()).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let rounds: Vec<i32> = hammers.into_iter().map(|hammer| hammer.join().unwrap()).collect();
    assert!(rounds.iter().all(|rounds| *rounds > 0), "{rounds:?}");
}

#[test]
fn refuses_what_cannot_be_watched() {
    if !supported("refuses_what_cannot_be_watched") {
        return;
    }
    let start = |policy: &str| {
        let all_of_nothing = aegis_enforce::fanotify::Filesystems::Of(Vec::new());
        aegis_enforce::fanotify::Fanotify::start(super::rules(policy, Mode::Enforce, all_of_nothing))
    };
    // The kernel lets nobody wait for an answer there.
    let error = start("version=1\n[deny_path]\n/proc/version\n").unwrap_err();
    assert!(matches!(&error, StartError::Mark { path, .. } if path.starts_with("/proc")), "{error}");
    assert!(error.help().is_some());
    let error = start("version=1\n[deny_inode]\n4294967295:1\n").unwrap_err();
    assert!(matches!(error, StartError::NoDevice { section: Section::DenyInode, line: 3 }), "{error}");
    // A path that is nothing here is no error, nor is one through a file.
    let dir = scratch::dir();
    let other = file(dir.path(), "other");
    let policy =
        format!("version=1\n[deny_path]\n{0}/none\n{0}/a/b\n{1}/x\n", dir.path().display(), other.display());
    let _watch = Watch::files(&policy, Mode::Enforce);
    assert!(reads(&other));
}

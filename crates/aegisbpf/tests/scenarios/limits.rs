//! Disks that are really full or read-only, and processes that may open next to nothing: a small file system of its own,
//! with every amount of room from none to enough.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::host::{Host, PROGRAM, Run, clean};
use crate::tools;
use test_services::scratch::copy_tree;

/// A mount namespace with a small tmpfs over one directory. It is seen through the process that lives in it.
struct SmallDisk {
    holder: Child,
    mount: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system with these options over `dir`, or says why it may not.
    fn mount(dir: &Path, options: &str) -> Result<Self, String> {
        let script = format!("mount -t tmpfs -o {options} tmpfs \"$0\" && echo ready && exec sleep 600");
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(holder.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        if line != "ready\n" {
            holder.wait().unwrap();
            return Err("a file system cannot be mounted in a namespace here".to_owned());
        }
        let mount = PathBuf::from(format!("/proc/{}/root{}", holder.id(), dir.display()));
        Ok(Self { holder, mount })
    }

    fn run(&self, host: &Host, arguments: &[&str]) -> Run {
        let mut command = Command::new(PROGRAM);
        clean(&mut command)
            .arg("--root")
            .arg(self.mount.join("root"))
            .args(arguments)
            .current_dir(host.dir());
        Run::of(command)
    }

    fn state(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.mount.join("root").join(crate::host::STATE).join(name)).ok()
    }

    /// Fills the disk up to `free` bytes.
    fn fill(&self, free: u64) {
        let mut filler = File::create(self.mount.join("filler")).unwrap();
        let page = [0; 4096];
        while filler.write_all(&page).is_ok() {}
        let len = filler.metadata().unwrap().len() / 4096 * 4096;
        filler.set_len(len.saturating_sub(free)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs `arguments` with every amount of room, and checks what is left each time.
fn with_every_amount_of_room(test: &str, host: &Host, arguments: &[&str]) {
    if !tools::need_root(test) || !tools::need(test, &["unshare", "mount"]) {
        return;
    }
    let (mut failed, mut done) = (0, 0);
    for pages in 0..24_u64 {
        let dir = host.file("disk");
        let _ = fs::create_dir(&dir);
        let disk = match SmallDisk::mount(&dir, "size=1m") {
            Ok(disk) => disk,
            Err(why) => {
                tools::skip(test, &why);
                return;
            }
        };
        fs::create_dir(disk.mount.join("root")).unwrap();
        copy_tree(&host.rooted(""), &disk.mount.join("root"));
        let (old, old_counter) = (disk.state("policy.applied"), disk.state("version_counter"));
        disk.fill(pages * 4096);
        let run = disk.run(host, arguments);
        let what = format!("{} with {pages} pages left", arguments.join(" "));
        match run.code {
            Some(0) => done += 1,
            _ => {
                failed += 1;
                run.is_refusal_for_any_reason(&what);
                assert!(run.stderr.contains("No space left on device"), "{what}: {}", run.stderr);
                assert!(run.stderr.contains("  help: "), "{what}: {}", run.stderr);
                assert_eq!(disk.state("policy.applied"), old, "{what}");
            }
        }
        let counter = disk.state("version_counter");
        assert!(
            counter == old_counter || counter.as_deref().is_some_and(|text| text.starts_with(b"6\n")),
            "{what}"
        );
        // Whoever looks still gets an answer, and with room again the same command goes through.
        assert_eq!(disk.run(host, &["keys", "list"]).code, Some(0), "{what}");
        fs::remove_file(disk.mount.join("filler")).unwrap();
        let again = disk.run(host, arguments);
        assert_eq!(again.code, Some(0), "{what}: {}", again.stderr);
        let verified = disk.run(host, &["audit", "verify"]);
        assert_eq!(verified.code, Some(0), "{what}: {}", verified.stderr);
        let health = disk.run(host, &["health", "--json"]).json();
        for check in health["checks"].as_array().unwrap() {
            assert_ne!(check["status"], "failed", "{what}: {check}");
        }
        if done > 2 {
            break;
        }
    }
    assert!(failed > 2 && done > 0, "{failed} failed, {done} done: the disk was never full or always");
}

#[test]
fn a_full_disk_during_apply() {
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    with_every_amount_of_room(
        "a_full_disk_during_apply",
        &host,
        &["policy", "apply", "v6.signed", "--require-signature"],
    );
}

#[test]
fn a_full_disk_during_keys_add() {
    let host = Host::in_force(&[5]);
    host.new_key("second");
    with_every_amount_of_room("a_full_disk_during_keys_add", &host, &["keys", "add", "signer/second.pub"]);
}

#[test]
fn a_full_disk_during_keys_revoke() {
    let host = Host::in_force(&[5]);
    let revoke = ["keys", "revoke", &"ab".repeat(32), "--reason", "seen elsewhere"];
    with_every_amount_of_room("a_full_disk_during_keys_revoke", &host, &revoke);
}

#[test]
fn on_a_disk_without_a_free_inode() {
    let test = "on_a_disk_without_a_free_inode";
    if !tools::need_root(test) || !tools::need(test, &["unshare", "mount"]) {
        return;
    }
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    let apply = ["policy", "apply", "v6.signed", "--require-signature"];
    let dir = host.file("disk");
    fs::create_dir(&dir).unwrap();
    let (mut failed, mut done) = (0, 0);
    for inodes in 20..40 {
        let Ok(disk) = SmallDisk::mount(&dir, &format!("nr_inodes={inodes}")) else {
            tools::skip(test, "a file system cannot be mounted in a namespace here");
            return;
        };
        fs::create_dir(disk.mount.join("root")).unwrap();
        if std::panic::catch_unwind(|| copy_tree(&host.rooted(""), &disk.mount.join("root"))).is_err() {
            continue;
        }
        let old = disk.state("policy.applied");
        let run = disk.run(&host, &apply);
        match run.code {
            Some(0) => done += 1,
            _ => {
                failed += 1;
                run.is_refusal_for_any_reason(&format!("{inodes} inodes"));
                assert_eq!(disk.state("policy.applied"), old, "{inodes} inodes");
            }
        }
        assert_eq!(disk.run(&host, &["audit", "verify"]).code, Some(0), "{inodes} inodes");
    }
    assert!(failed > 0 && done > 0, "{failed} failed, {done} done");
}

#[test]
fn on_a_disk_that_is_read_only() {
    let test = "on_a_disk_that_is_read_only";
    if !tools::need_root(test) || !tools::need(test, &["unshare", "mount", "nsenter"]) {
        return;
    }
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    host.new_key("second");
    let dir = host.file("disk");
    fs::create_dir(&dir).unwrap();
    let Ok(disk) = SmallDisk::mount(&dir, "size=1m") else {
        tools::skip(test, "a file system cannot be mounted in a namespace here");
        return;
    };
    fs::create_dir(disk.mount.join("root")).unwrap();
    copy_tree(&host.rooted(""), &disk.mount.join("root"));
    let remount = Command::new("nsenter")
        .args(["-m", "-t", &disk.holder.id().to_string(), "mount", "-o", "remount,ro"])
        .arg(&dir)
        .status();
    assert!(remount.unwrap().success());
    for arguments in [
        &["policy", "apply", "v6.signed", "--require-signature"][..],
        &["policy", "rollback"],
        &["keys", "add", "signer/second.pub"],
        &["policy", "counter", "repair", "--reason", "why"],
        &["keys", "drill"],
    ] {
        disk.run(&host, arguments).is_refusal(&format!("{arguments:?}"), "Read-only file system");
    }
    for arguments in
        [&["keys", "list"][..], &["policy", "verify", "v6.signed"], &["audit", "verify"], &["audit", "show"]]
    {
        let run = disk.run(&host, arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {run:?}");
    }
}

#[test]
fn with_too_few_open_files_it_fails_with_a_reason() {
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    let (mut failed, mut done) = (0, 0);
    for files in 3..14 {
        let copy = host.copy();
        let mut command = Command::new("sh");
        clean(&mut command).args([
            "-c",
            &format!("ulimit -n {files}; exec \"$0\" \"$@\""),
            PROGRAM,
            "--root",
        ]);
        command.arg(copy.rooted("")).args(["policy", "apply", "v6.signed", "--require-signature"]);
        let run = Run::of({
            command.current_dir(copy.dir());
            command
        });
        let what = format!("{files} open files");
        match run.code {
            Some(0) => done += 1,
            Some(1) => {
                failed += 1;
                run.is_refusal_for_any_reason(&what);
            }
            // The loader itself cannot open the libraries.
            Some(127) => {}
            _ => panic!("{what}: {run:?}"),
        }
        assert!(!run.stderr.contains("panicked"), "{what}: {run:?}");
        let applied = copy.state("policy.applied");
        assert!(
            applied.is_some() && (applied == host.state("policy.applied") || run.code == Some(0)),
            "{what}"
        );
        copy.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
        copy.is_sound(&what);
    }
    assert!(failed > 0 && done > 0, "{failed} failed, {done} done");
}

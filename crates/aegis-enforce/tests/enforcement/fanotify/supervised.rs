//! A worker that is killed, and what becomes of those who wait.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aegis_enforce::Mode;
use aegis_enforce::fanotify::{Fanotify, Filesystems, Happened, Lifeline, Stop, supervise};

use super::inside;
use super::{reads, rules, runs, wait_until};

/// Where supervisor and worker find their policy.
const PLACE: &str = "AEGIS_TEST_FANOTIFY_PLACE";
/// Often enough to hit a worker at work, seldom enough to be quick.
const KILLS: usize = 20;

#[test]
fn a_denied_file_stays_so_when_the_worker_is_killed() {
    inside::run("a_denied_file_stays_so_when_the_worker_is_killed", "supervised::killed_again_and_again");
}

#[test]
#[ignore = "run by another test, in a mount namespace"]
fn killed_again_and_again() {
    let Some(fs) = inside::file_system() else { return };
    let place = Place::new(&fs);
    let [secret, allowed] = ["secret", "allowed"].map(|name| fs.join(name));
    [&secret, &allowed].iter().for_each(|path| fs::write(path, "x\n").unwrap());
    // Programs are watched as well, so that the new worker's own start is asked about.
    place.policy(&format!("version=1\n[deny_path]\n{}\n[deny_comm]\nevil\n", secret.display()));
    let evil = fs.join("evil");
    fs::copy(test_services::tools::find("true").unwrap(), &evil).unwrap();
    let supervisor = place.supervise();
    wait_until("the policy is in force", || !reads(&secret));
    assert!(!runs(&mut Command::new(&evil)) && reads(&allowed));
    let openers: Vec<_> = (0..3).map(|number| Opener::start(&place, number, &secret, &allowed)).collect();
    let rounds = |opener: &Opener| opener.lines("rounds");
    for kills in 0..KILLS as u64 {
        // At another point of its work each time.
        std::thread::sleep(Duration::from_micros(kills * 700));
        let before: Vec<_> = openers.iter().map(rounds).collect();
        let worker = supervisor.worker();
        kill(worker);
        wait_until("a new worker was started", || {
            supervisor.worker_if_any().is_some_and(|new| new != worker)
        });
        wait_until("everybody goes on", || {
            openers.iter().zip(&before).all(|(opener, before)| rounds(opener) > *before)
        });
    }
    assert!(!reads(&secret) && !runs(&mut Command::new(&evil)));
    for opener in &openers {
        assert_eq!(opener.lines("opened"), 0, "a denied file was opened");
        // What the dead worker had read is denied, whatever it was.
        assert!(opener.lines("refused") <= KILLS, "{} allowed opens were refused", opener.lines("refused"));
    }
    let log = fs::read_to_string(place.0.join("log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.starts_with("ended")).count(), KILLS, "{log}");
}

#[test]
fn who_waits_for_a_dead_worker_gets_an_answer() {
    inside::run("who_waits_for_a_dead_worker_gets_an_answer", "supervised::killed_while_it_reads");
}

#[test]
#[ignore = "run by another test, in a mount namespace"]
fn killed_while_it_reads() {
    let Some(fs) = inside::file_system() else { return };
    let place = Place::new(&fs);
    // So long that the worker is killed while it reads it.
    let long = fs.join("long");
    fs::File::create(&long).unwrap().set_len(1 << 30).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&long, mode).unwrap();
    let probe = fs.join("probe");
    fs::copy(test_services::tools::find("true").unwrap(), &probe).unwrap();
    place.policy(&format!("version=3\n[deny_comm]\nprobe\n[deny_binary_hash]\nsha256:{}\n", "00".repeat(32)));
    let supervisor = place.supervise();
    wait_until("the policy is in force", || !runs(&mut Command::new(&probe)));
    let mut waiting =
        Command::new("sh").args(["-c", "\"$1\"", "sh"]).arg(&long).stderr(Stdio::null()).spawn().unwrap();
    let worker = supervisor.worker();
    let reading = format!("/proc/{worker}/fd");
    wait_until("the worker reads it", || {
        let mut fds = fs::read_dir(&reading).unwrap().flatten();
        fds.any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == long))
    });
    kill(worker);
    let mut ended = None;
    wait_until("who waited got an answer", || {
        ended = waiting.try_wait().unwrap();
        ended.is_some()
    });
    // 126: found, and may not be run.
    assert_eq!(ended.unwrap().code(), Some(126));
    wait_until("a new worker is at work", || !runs(&mut Command::new(&probe)));
    let log = fs::read_to_string(place.0.join("log")).unwrap();
    assert!(log.contains("ended, 1 unanswered"), "{log}");
}

#[test]
#[ignore = "run by other tests"]
fn supervisor() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let mut log = fs::File::create(place.join("log")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fanotify::supervised::worker", "--ignored", "--nocapture"]);
    let stop = Stop::new().unwrap();
    let until = stop.clone();
    std::thread::spawn(move || {
        // Its end is the test's, however that one ends.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        until.request();
    });
    let status = supervise(&mut command, &stop, &mut |happened| {
        let _ = match happened {
            Happened::Started { pid } => writeln!(log, "started {pid}"),
            Happened::Ended { unanswered, status } => {
                writeln!(log, "ended, {unanswered} unanswered, signal {:?}", status.signal())
            }
            Happened::NotStarted { error } => writeln!(log, "{error}"),
        };
    });
    status.unwrap();
}

#[test]
#[ignore = "run by a supervisor"]
fn worker() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let lifeline = Lifeline::inherited().unwrap().expect("a supervisor");
    let policy = fs::read_to_string(place.join("policy")).unwrap();
    let file_system = Filesystems::Of(vec![place.parent().unwrap().to_path_buf()]);
    let fanotify = Fanotify::start(rules(&policy, Mode::Enforce, file_system)).unwrap();
    let stop = Stop::new().unwrap();
    lifeline.hold(&fanotify).unwrap();
    lifeline.run(&fanotify, &stop, &|_| ()).unwrap().unwrap();
}

/// A directory for what the processes of a test tell each other.
struct Place(PathBuf);

impl Place {
    fn new(fs: &Path) -> Self {
        let place = fs.join("place");
        fs::create_dir(&place).unwrap();
        // A program on the watched file system, so that its start is asked about.
        fs::copy(std::env::current_exe().unwrap(), place.join("program")).unwrap();
        Self(place)
    }

    fn policy(&self, text: &str) {
        fs::write(self.0.join("policy"), text).unwrap();
    }

    fn supervise(&self) -> Supervisor {
        let output = fs::File::create(self.0.join("output")).unwrap();
        let child = Command::new(self.0.join("program"))
            .args(["--exact", "fanotify::supervised::supervisor", "--ignored", "--nocapture"])
            .env(PLACE, &self.0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Supervisor(child)
    }
}

struct Supervisor(Child);

impl Supervisor {
    fn worker(&self) -> i32 {
        wait_until("there is a worker", || self.worker_if_any().is_some());
        self.worker_if_any().unwrap()
    }

    fn worker_if_any(&self) -> Option<i32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        children
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .next()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A process that opens a denied and an allowed file, again and again.
struct Opener {
    child: Child,
    notes: PathBuf,
}

impl Opener {
    fn start(place: &Place, number: usize, secret: &Path, allowed: &Path) -> Self {
        let notes = place.0.join(format!("notes-{number}"));
        fs::create_dir(&notes).unwrap();
        let script = "cd \"$3\"; while kill -0 $PPID; do \
            if read x <\"$1\"; then echo >>opened; fi; \
            if read x <\"$2\"; then :; else echo >>refused; fi; echo >>rounds; done";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(secret).arg(allowed).arg(&notes);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, notes }
    }

    fn lines(&self, note: &str) -> usize {
        fs::read(self.notes.join(note)).map_or(0, |text| text.len())
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

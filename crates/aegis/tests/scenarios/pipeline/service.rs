//! The running service.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use test_services::guarded::free_port;
use test_services::http::Message;

use crate::machine::Machine;

/// A value of the event `number` that nobody but a holder of the KEK may read.
pub(super) fn secret(number: u64) -> String {
    format!("person-{:016x}@example.org", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

pub(super) fn event(number: u64) -> String {
    format!(
        "{{\"n\":{number},\"service\":\"gate\",\"actor_id\":\"{0}\",\"score\":0.10,\"x\":{{\"decision_rationale\":[\"{0}\",1e400]}}}}",
        secret(number)
    )
}

pub(super) fn events(numbers: RangeInclusive<u64>) -> Vec<u8> {
    numbers.flat_map(|number| format!("{}\n", event(number)).into_bytes()).collect()
}

/// Nothing of any event is readable in it.
#[track_caller]
pub(super) fn assert_sealed(bytes: &[u8]) {
    assert!(!bytes.windows(7).any(|seven| seven == b"person-"), "there is plaintext");
}

/// Opens sealed events, which have to be those that were emitted, and gives their numbers.
#[track_caller]
pub(super) fn opened(machine: &Machine, sealed: &[u8]) -> Vec<u64> {
    assert_sealed(sealed);
    let dir = test_services::scratch::dir();
    let path = dir.path().join("sealed.jsonl");
    std::fs::write(&path, sealed).unwrap();
    let run = machine.ok(&["pii", "decrypt", path.to_str().unwrap()]);
    let number = |line: &str| {
        let event_of: Value = serde_json::from_str(&line.replace("1e400", "0")).unwrap();
        let number = event_of["n"].as_u64().unwrap();
        assert_eq!(line, event(number));
        number
    };
    run.stdout.lines().map(number).collect()
}

/// All files below a directory, one after another.
pub(super) fn all_bytes(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { std::fs::read(&path).unwrap_or_default() });
    }
    bytes
}

/// Long enough that only a hang passes it.
#[track_caller]
pub(super) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(180);
    while !done() {
        assert!(Instant::now() < end, "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A pipeline that runs. It ends with the test, however that one ends.
pub(super) struct Service {
    child: RefCell<Child>,
    stdin: RefCell<Option<ChildStdin>>,
    metrics: SocketAddr,
    dir: tempfile::TempDir,
}

/// How it ended.
pub(super) struct EndedService {
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Service {
    pub(super) fn start(machine: &Machine, config: &str) -> Self {
        Self::start_with(machine, config, |_| {})
    }

    /// The configuration gets an address for metrics, by which the test knows how far it is.
    pub(super) fn start_with(machine: &Machine, config: &str, more: impl FnOnce(&mut Command)) -> Self {
        let dir = test_services::scratch::dir();
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listen = format!("[pipeline]\nmetrics = \"{metrics}\"\n");
        let config = match config.contains("[pipeline]\n") {
            true => config.replace("[pipeline]\n", &listen),
            false => format!("{config}{listen}"),
        };
        // Beside each other: two of them may run on one machine.
        let name = format!("pipeline-{}.toml", metrics.port());
        std::fs::write(machine.file(&name), config).unwrap();
        let mut command = machine.command(&["pipeline", "run", &name, "--json"]);
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        command.stdin(Stdio::piped()).stdout(file("stdout")).stderr(file("stderr"));
        command.env("AEGIS_LOG", "info");
        more(&mut command);
        let mut child = command.spawn().unwrap();
        let stdin = RefCell::new(child.stdin.take());
        let service = Self { child: RefCell::new(child), stdin, metrics, dir };
        wait_until("the service has started", || {
            let ended = service.child.borrow_mut().try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", service.stderr());
            std::net::TcpStream::connect(metrics).is_ok()
        });
        service
    }

    pub(super) fn feed(&self, bytes: &[u8]) {
        self.stdin.borrow_mut().as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.borrow()), signal).unwrap();
    }

    /// Kills it as the kernel does.
    pub(super) fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Ends its input, and waits for it.
    pub(super) fn finish(self) -> EndedService {
        drop(self.stdin.borrow_mut().take());
        self.wait()
    }

    /// Asks it to end, and waits for it.
    pub(super) fn terminate(self) -> EndedService {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub(super) fn wait(self) -> EndedService {
        wait_until("the service has ended", || self.child.borrow_mut().try_wait().unwrap().is_some());
        let code = self.child.borrow_mut().wait().unwrap().code();
        let stdout = std::fs::read(self.dir.path().join("stdout")).unwrap();
        EndedService { code, stdout, stderr: self.stderr() }
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("stderr")).unwrap()).into_owned()
    }

    #[track_caller]
    pub(super) fn wait_for_stderr(&self, text: &str) {
        wait_until(text, || self.stderr().contains(text));
    }

    /// Its command line, as any other user sees it.
    pub(super) fn arguments(&self) -> Vec<u8> {
        std::fs::read(format!("/proc/{}/cmdline", self.child.borrow().id())).unwrap()
    }

    pub(super) const fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> Message {
        Message::request(method, path, &self.metrics.to_string(), &[], b"").send(self.metrics).unwrap()
    }

    pub(super) fn metrics(&self) -> String {
        String::from_utf8(self.ask("GET", "/metrics").body).unwrap()
    }

    /// The value of a metric.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let mut wanted = String::new();
        write!(wanted, "{name} ").unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
        value.unwrap_or_else(|| panic!("no {name} in:\n{metrics}")).parse().unwrap()
    }

    #[track_caller]
    pub(super) fn wait_for_metric(&self, name: &str, least: u64) {
        wait_until(name, || self.metric(name) >= least);
    }
}

impl EndedService {
    /// What it printed at its end.
    #[track_caller]
    pub(super) fn counts(&self) -> Value {
        let line = self.stderr.lines().find(|line| line.starts_with("{\"events\":"));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no counts in:\n{}", self.stderr))).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

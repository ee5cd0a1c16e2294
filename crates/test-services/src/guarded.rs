//! A process that ends with the test that started it, even if that test is killed.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Ends the server when the pipe on its standard input ends: the kernel closes it with the test's process, however that
/// one ends. A value in a `static` is never dropped, so dropping alone is not enough.
const WARDEN: &str = r#"
dir=$1; shift
"$@" </dev/null &
server=$!
trap 'kill -TERM $server 2>/dev/null' TERM
read -r _
kill -TERM $server 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $server 2>/dev/null || break; sleep 0.1; done
kill -KILL $server 2>/dev/null
wait $server
[ -z "$dir" ] || rm -rf -- "$dir"
"#;

/// A server, and the shell that watches over it.
pub struct Guarded {
    warden: Child,
    life: Option<ChildStdin>,
    log: std::path::PathBuf,
}

impl Guarded {
    /// Starts a command; what it prints goes into `log`.
    pub fn start(command: &Command, log: &Path) -> Self {
        Self::watch(command, log, Path::new(""))
    }

    /// Starts a command that keeps its files in a directory, and what it prints in `log` there. The directory is removed
    /// after the server has ended, also if the test is killed or keeps the server in a `static`.
    pub fn start_in(command: &Command, dir: TempDir) -> Self {
        let dir = dir.keep();
        Self::watch(command, &dir.join("log"), &dir)
    }

    fn watch(command: &Command, log: &Path, dir: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let mut warden = Command::new("bash");
        warden.args(["-c", WARDEN, "warden"]).arg(dir).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => warden.env(name, value),
                None => warden.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            warden.current_dir(dir);
        }
        let mut warden =
            warden.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let life = warden.stdin.take();
        Self { warden, life, log: log.to_owned() }
    }

    /// Waits until `ready`, at most 60 seconds; panics with the log if the server ends before.
    pub fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !ready() {
            let ended = self.warden.try_wait().unwrap();
            if ended.is_some() || Instant::now() > end {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{what} is not ready ({ended:?}):\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server, and waits for it.
    pub fn stop(&mut self) {
        drop(self.life.take());
        let _ = self.warden.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The ports that a kernel hands out by itself, if it does not say: those that IANA leaves free (RFC 6335 §6).
const EPHEMERAL: (u16, u16) = (49_152, u16::MAX);
/// Servers that listen where tests do not choose are below.
const LOWEST: u16 = 10_240;

/// A port of 127.0.0.1 that nobody listens on now, and that no other test is given while this process lives.
///
/// It is none of those that the kernel hands out: another process, or a connection that is tried while the server is away
/// (even to itself), could take one of them at any time. The name of an abstract socket stands for the reservation: it ends
/// with the process, and lies in the same network namespace as the port.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let (first, last) = ephemeral();
    let ports: Vec<u16> = (LOWEST..=u16::MAX).filter(|port| *port < first || *port > last).collect();
    assert!(!ports.is_empty(), "the kernel hands out every port from {LOWEST} on by itself");
    // Somewhere, so that processes seldom ask for the same.
    let random = RandomState::new().hash_one(std::process::id());
    let start = usize::try_from(random % ports.len() as u64).unwrap();
    for port in ports[start..].iter().chain(&ports[..start]) {
        let name = SocketAddr::from_abstract_name(format!("aegis test port {port}")).unwrap();
        let Ok(reservation) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind(("127.0.0.1", *port)).is_ok() {
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
            return *port;
        }
    }
    panic!("all {} ports of 127.0.0.1 that a test may take are taken", ports.len());
}

/// The first and the last port that the kernel hands out by itself.
fn ephemeral() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => (first, last),
        _ => EPHEMERAL,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::scratch;

    const CHILD: &str = "AEGIS_TEST_GUARDED_CHILD";

    #[test]
    fn a_server_and_its_directory_go_with_a_process_that_is_killed() {
        let notes = scratch::dir();
        let note = notes.path().join("server");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "guarded::tests::starts_a_server_and_waits", "--ignored", "--nocapture"])
            .env(CHILD, &note)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let wait_until = |what: &str, done: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(60);
            while !done() {
                assert!(Instant::now() < end, "not so: {what}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        wait_until("a server was started", &|| {
            std::fs::read_to_string(&note).is_ok_and(|text| text.lines().count() == 2)
        });
        let text = std::fs::read_to_string(&note).unwrap();
        let (server, dir) = text.trim().split_once('\n').unwrap();
        let server = Path::new("/proc").join(server);
        assert!(server.exists() && Path::new(dir).exists());
        // Without a chance to clean up, as when a test is stopped.
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("the server has ended", &|| !server.exists());
        wait_until("its directory is gone", &|| !Path::new(dir).exists());
    }

    #[test]
    fn no_port_is_given_twice_nor_one_that_the_kernel_gives() {
        let (first, last) = ephemeral();
        let ports: Vec<u16> = (0..200).map(|_| free_port()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        assert!(ports.iter().all(|port| *port < first || *port > last), "{ports:?}");
        // What is reserved is free to be listened on.
        drop(TcpListener::bind(("127.0.0.1", ports[0])).unwrap());
    }

    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn starts_a_server_and_waits() {
        let Some(note) = std::env::var_os(CHILD) else { return };
        let dir = scratch::dir();
        let script = "printf '%s\\n%s\\n' $$ \"$1\" > \"$2.new\"; mv \"$2.new\" \"$2\"; exec sleep 600";
        let mut command = Command::new("sh");
        command.args(["-c", script, "server"]).arg(dir.path()).arg(note);
        let _server = Guarded::start_in(&command, dir);
        std::thread::sleep(Duration::from_secs(600));
    }
}

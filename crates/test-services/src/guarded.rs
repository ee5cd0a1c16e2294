//! A process that ends with the test that started it, even if that test is killed.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
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

/// A port of 127.0.0.1 that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[cfg(test)]
mod tests {
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

//! PostgreSQL servers of the tests' own, each in a directory of its own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::{guarded, scratch, tools};

/// Ends the server and removes its directory when the pipe on standard input ends: the kernel closes it with the test's
/// process, however that one ends. A process that nobody waits for any more has no command line.
const KEEPER: &str = r#"
trap '' INT TERM HUP
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null; then
  for _ in $(seq 100); do
    [ -n "$(tr -d '\0' 2>/dev/null < "/proc/$pid/cmdline" || true)" ] 2>/dev/null || break
    sleep 0.1
  done
fi
rm -rf -- "$1"
"#;

/// Makes a certificate for localhost, and the authority that signed it.
const CERTIFICATES: &str = r#"
set -e
cd "$1"
umask 077
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj '/CN=test authority' \
  -addext basicConstraints=critical,CA:TRUE
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj '/CN=localhost'
printf 'subjectAltName=DNS:localhost' > san
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt
"#;

/// The user that a test connects as. It owns the databases, and is no superuser.
const USER: &str = "keeper";

/// A server: on 127.0.0.1, on a Unix socket, passwords by SCRAM-SHA-256.
pub struct Postgres {
    programs: PathBuf,
    dir: PathBuf,
    port: u16,
    password: String,
    settings: Vec<String>,
    server: Mutex<Child>,
    keeper: Child,
    life: Option<ChildStdin>,
}

/// A database of a server, empty at first.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// `postgres://USER:PASSWORD@127.0.0.1:PORT/NAME`.
    pub url: String,
    /// The password in it.
    pub password: String,
}

/// Where the newest installed server's programs are. Debian puts them on no path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, programs)| programs.join("postgres").is_file() && programs.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs).or_else(|| {
        let initdb = tools::find("initdb")?;
        tools::find("postgres").and(initdb.parent().map(Path::to_owned))
    })
}

impl Postgres {
    /// The server that all tests of a program share. `None` if it is not installed; then says so aloud.
    pub fn shared(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start_in(&programs()?, &[], false)).as_ref();
        if shared.is_none() {
            tools::skip(test, "PostgreSQL is not installed, or cannot be run by another user here");
        }
        shared
    }

    /// A server for one test, which may restart it.
    pub fn start(test: &str) -> Option<Self> {
        let started = programs().and_then(|programs| Self::start_in(&programs, &[], false));
        if started.is_none() {
            tools::skip(test, "PostgreSQL is not installed, or cannot be run by another user here");
        }
        started
    }

    /// As [`start`](Self::start), with TLS: a certificate for the name localhost, by [`authority`](Self::authority).
    pub fn start_with_tls(test: &str) -> Option<Self> {
        if !tools::need(test, &["openssl"]) {
            return None;
        }
        let started = programs().and_then(|programs| {
            Self::start_in(
                &programs,
                &["ssl=on", "ssl_cert_file=../server.crt", "ssl_key_file=../server.key"],
                true,
            )
        });
        if started.is_none() {
            tools::skip(test, "PostgreSQL is not installed, or cannot be run by another user here");
        }
        started
    }

    fn start_in(programs: &Path, settings: &[&str], with_tls: bool) -> Option<Self> {
        let dir = scratch::dir().keep();
        let owner = owner();
        if let Some((user, group)) = owner {
            let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
            rustix::fs::chown(&dir, Some(user), Some(group)).unwrap();
            if !as_owner(Path::new("test")).arg("-x").arg(&dir).status().is_ok_and(|status| status.success())
            {
                fs::remove_dir_all(&dir).unwrap();
                return None;
            }
        }
        let mut keeper = Command::new("bash")
            .args(["-c", KEEPER, "keeper"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let life = keeper.stdin.take();
        let password = random_word();
        if with_tls {
            run(as_owner(Path::new("bash")).args(["-c", CERTIFICATES, "certificates"]).arg(&dir));
        }
        let password_file = dir.join("password");
        run(as_owner(Path::new("bash"))
            .args(["-c", r#"umask 077; printf '%s\n' "$WORD" > "$1""#, "password"])
            .arg(&password_file)
            .env("WORD", &password));
        run(as_owner(&programs.join("initdb"))
            .arg("-D")
            .arg(dir.join("data"))
            .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"])
            .arg("--pwfile")
            .arg(&password_file));
        fs::remove_file(&password_file).unwrap();
        let port = guarded::free_port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect::<Vec<_>>();
        let server = Mutex::new(spawn(programs, &dir, port, &settings));
        let server =
            Self { programs: programs.to_owned(), dir, port, password, settings, server, keeper, life };
        server.wait();
        server.sql("postgres", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{}'", server.password));
        Some(server)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority(&self) -> String {
        fs::read_to_string(self.dir.join("ca.pem")).unwrap()
    }

    /// Makes a database that nobody else uses.
    pub fn database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        let url = format!("postgres://{USER}:{}@127.0.0.1:{}/{name}", self.password, self.port);
        Database { name, url, password: self.password.clone() }
    }

    /// Runs SQL as the superuser, and gives what `psql` prints.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = self.client("psql");
        command.args(["-qtAXv", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]).stdin(Stdio::piped());
        let mut psql = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        psql.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Everything that `pg_dump` has to say of a database.
    pub fn dump(&self, database: &str) -> Vec<u8> {
        let output = self.client("pg_dump").args(["-d", database]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        command.env("PGPASSWORD", &self.password).stdin(Stdio::null());
        command
    }

    /// Stops the server: every connection ends with an answer. It can be started again.
    pub fn stop(&self) {
        self.end(rustix::process::Signal::INT);
    }

    /// Kills the server: no connection gets an answer. It can be started again, and has to recover.
    pub fn kill(&self) {
        self.end(rustix::process::Signal::KILL);
    }

    /// Starts the server again after [`stop`](Self::stop) or [`kill`](Self::kill), and waits until it answers.
    pub fn start_again(&self) {
        *self.server.lock().unwrap() = spawn(&self.programs, &self.dir, self.port, &self.settings);
        self.wait();
    }

    /// Stops the server and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    fn end(&self, signal: rustix::process::Signal) {
        let mut server = self.server.lock().unwrap();
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, signal).unwrap();
        server.wait().unwrap();
        // What it had started ends as soon as it notices; until then a new server does not start.
        if signal == rustix::process::Signal::KILL {
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let mut probe = self.client("psql");
            let probe = probe.args(["-qtAX", "-d", "postgres", "-c", "SELECT 1"]).output().unwrap();
            if probe.status.success() {
                return;
            }
            let mut server = self.server.lock().unwrap();
            let ended = server.try_wait().unwrap();
            if ended.is_some() && Instant::now() < end {
                // A killed server's children may still hold its memory.
                *server = spawn(&self.programs, &self.dir, self.port, &self.settings);
            } else if Instant::now() > end {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                panic!("PostgreSQL does not answer:\n{}\n{log}", String::from_utf8_lossy(&probe.stderr));
            }
            drop(server);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.life.take());
        let _ = self.server.get_mut().unwrap().wait();
        let _ = self.keeper.wait();
    }
}

fn spawn(programs: &Path, dir: &Path, port: u16, settings: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = as_owner(&programs.join("postgres"));
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir).args(["-p", &port.to_string()]);
    // Tests end servers, not the machine: what the kernel has is as good as on the disk.
    for setting in ["listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off", "shared_buffers=32MB"]
    {
        command.args(["-c", setting]);
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    command.spawn().unwrap()
}

/// The user that the server runs as, if it cannot be this one: it refuses to run as root.
fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user of its own");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    Some((fields.next().unwrap(), fields.next().unwrap()))
}

fn as_owner(program: &Path) -> Command {
    match owner() {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={group}")]);
            command.args(["--clear-groups", "--"]).arg(program).current_dir("/");
            command
        }
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn random_word() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A copy of a file that only its owner can read, for a test to hand on.
pub fn private_copy(text: &str, path: &Path) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

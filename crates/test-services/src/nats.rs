//! NATS servers with JetStream, and just enough of the protocol to look into their streams without our client.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guarded::{Guarded, free_port};
use crate::http::Message;
use crate::{scratch, tools};

/// A server that runs. Its files go with it.
pub struct Nats {
    address: SocketAddr,
    monitor: SocketAddr,
    files: PathBuf,
    program: PathBuf,
    options: Vec<String>,
    login: Login,
    server: Guarded,
    _dir: tempfile::TempDir,
}

/// What the test's own client adds to its CONNECT, by the server's nonce.
type Login = Box<dyn Fn(&str) -> Value + Send + Sync>;

/// The program of the test Python, or an installed one.
fn program() -> Option<PathBuf> {
    let of_python = tools::python().map(|python| python.with_file_name("nats-server"));
    let program = of_python.filter(|path| path.is_file()).or_else(|| tools::find("nats-server"))?;
    // The package that brings it forgets to make it executable.
    let mode = program.metadata().unwrap().permissions().mode();
    if mode & 0o111 == 0 {
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode | 0o755)).unwrap();
    }
    Some(program)
}

impl Nats {
    /// Starts a server that asks nobody who they are, or `None` if there is no program.
    pub fn start() -> Option<Self> {
        Self::start_with(&[], None, Box::new(|_| json!({})))
    }

    /// Starts a server that wants a user and a password.
    pub fn with_password(user: &str, password: &str) -> Option<Self> {
        let login = json!({ "user": user, "pass": password });
        Self::start_with(&["--user", user, "--pass", password], None, Box::new(move |_| login.clone()))
    }

    /// Starts a server that is configured so. `login` is what the test's own client adds to its CONNECT, by the server's
    /// nonce; that client speaks no TLS, so such a server has to say `allow_non_tls`.
    pub fn with_config(config: &str, login: impl Fn(&str) -> Value + Send + Sync + 'static) -> Option<Self> {
        Self::start_with(&[], Some(config), Box::new(login))
    }

    fn start_with(options: &[&str], config: Option<&str>, login: Login) -> Option<Self> {
        let program = program()?;
        let dir = scratch::dir();
        let files = dir.path().to_owned();
        let mut options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        if let Some(config) = config {
            let path = files.join("nats.conf");
            std::fs::write(&path, config).unwrap();
            options.extend(["-c".to_owned(), path.to_str().unwrap().to_owned()]);
        }
        let [address, monitor] =
            [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let server = Self::run(&program, &options, address, monitor, &files);
        let mut server = Self { address, monitor, files, program, options, login, server, _dir: dir };
        server.wait();
        Some(server)
    }

    fn run(
        program: &std::path::Path,
        options: &[String],
        address: SocketAddr,
        monitor: SocketAddr,
        files: &std::path::Path,
    ) -> Guarded {
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string()]);
        command.args(["-m", &monitor.port().to_string(), "-js", "-sd"]).arg(files.join("js")).args(options);
        Guarded::start(&command, &files.join("log"))
    }

    fn wait(&mut self) {
        let monitor = self.monitor;
        self.server.wait_until("the NATS server", || {
            let request =
                Message::request("GET", "/healthz?js-enabled-only=true", &monitor.to_string(), &[], b"");
            request.send(monitor).is_ok_and(|answer| answer.status() == 200)
        });
    }

    /// For a client.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// For a client.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; its streams stay.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again at the same address, with its streams.
    pub fn start_again(&mut self) {
        self.server = Self::run(&self.program, &self.options, self.address, self.monitor, &self.files);
        self.wait();
    }

    /// Makes a stream of some subjects; `more` are further members of its configuration.
    pub fn make_stream(&self, name: &str, subjects: &[&str], more: &Value) {
        let mut configuration = json!({ "name": name, "subjects": subjects, "storage": "file" });
        for (member, value) in more.as_object().into_iter().flatten() {
            configuration[member] = value.clone();
        }
        let answer = self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), configuration.to_string().as_bytes());
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// How many messages a stream holds.
    pub fn count(&self, stream: &str) -> u64 {
        let answer = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), b"");
        answer["state"]["messages"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// The payloads of a stream, in order.
    pub fn messages(&self, stream: &str) -> Vec<Vec<u8>> {
        let state = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), b"")["state"].clone();
        let (first, last) = (state["first_seq"].as_u64().unwrap(), state["last_seq"].as_u64().unwrap());
        let mut connection = self.connect();
        let mut found = Vec::new();
        for sequence in first..=last {
            let question = json!({ "seq": sequence }).to_string();
            let answer = connection.ask(&format!("$JS.API.STREAM.MSG.GET.{stream}"), question.as_bytes());
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            found.push(from_base64(answer["message"]["data"].as_str().unwrap_or_default()));
        }
        found
    }

    /// Publishes a message into a stream, and waits until it is there.
    pub fn publish(&self, subject: &str, payload: &[u8]) {
        let answer = self.ask(subject, payload);
        assert!(answer["seq"].is_u64(), "{answer}");
    }

    /// Publishes many messages into a stream.
    pub fn publish_all(&self, subject: &str, payloads: impl IntoIterator<Item = Vec<u8>>) {
        let mut connection = self.connect();
        for payload in payloads {
            let answer: Value = serde_json::from_slice(&connection.ask(subject, &payload)).unwrap();
            assert!(answer["seq"].is_u64(), "{answer}");
        }
    }

    /// One request of JetStream's API.
    pub fn ask(&self, subject: &str, payload: &[u8]) -> Value {
        serde_json::from_slice(&self.connect().ask(subject, payload)).unwrap()
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut connection = Connection { reader: BufReader::new(stream), questions: 0 };
        let info = connection.line();
        let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        let mut login = json!({ "verbose": false, "pedantic": false, "lang": "test", "version": "1" });
        for (member, value) in (self.login)(info["nonce"].as_str().unwrap_or_default()).as_object().unwrap() {
            login[member] = value.clone();
        }
        connection.send(format!("CONNECT {login}\r\n").as_bytes());
        connection
    }
}

/// A client that asks one question at a time.
struct Connection {
    reader: BufReader<TcpStream>,
    questions: u64,
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the NATS server hung up");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, subject: &str, payload: &[u8]) -> Vec<u8> {
        self.questions += 1;
        let mut request = String::new();
        let inbox = format!("_INBOX.test.{}", self.questions);
        write!(request, "SUB {inbox} {0}\r\nUNSUB {0} 1\r\n", self.questions).unwrap();
        write!(request, "PUB {subject} {inbox} {}\r\n", payload.len()).unwrap();
        self.send(&[request.as_bytes(), payload, b"\r\n"].concat());
        loop {
            let line = self.line();
            let mut words = line.split(' ');
            match words.next() {
                Some("MSG") => {
                    let len: usize = words.next_back().unwrap().parse().unwrap();
                    return self.payload(len, 0);
                }
                // "HMSG subject sid headers total"
                Some("HMSG") => {
                    let total: usize = words.next_back().unwrap().parse().unwrap();
                    let headers: usize = words.next_back().unwrap().parse().unwrap();
                    return self.payload(total, headers);
                }
                Some("PING") => self.send(b"PONG\r\n"),
                Some("-ERR") => panic!("{line}"),
                _ => {}
            }
        }
    }

    fn payload(&mut self, len: usize, skip: usize) -> Vec<u8> {
        let mut bytes = vec![0; len + 2];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes[skip..len].to_vec()
    }
}

/// RFC 4648 §4, well-formed.
fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = DIGITS.iter().position(|digit| *digit == byte).unwrap();
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}

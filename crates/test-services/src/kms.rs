//! Emulators of AWS KMS. None does all that KMS does, so there are two; each says below what it does not.
//!
//! | | moto | ministack |
//! |---|---|---|
//! | encrypts for real, with encryption context | AES-256-GCM | yes, but a changed ciphertext gives another plaintext |
//! | checks signatures and permissions | in [`Moto::with_permissions`] | no |
//! | refuses a disabled key, and one that is pending deletion | no | yes |
//! | refuses a ciphertext of another key | `AccessDeniedException`; KMS: `IncorrectKeyException` | no |
//! | rotates a key on demand | yes | no |
//!
//! They are not asked through an AWS SDK here, so that a fault of one cannot hide itself.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guarded::{Guarded, free_port};
use crate::http::Message;
use crate::{scratch, tools};

/// Where keys are made, if a test does not care.
pub const REGION: &str = "eu-central-1";

/// An emulator that runs.
pub struct Kms {
    address: SocketAddr,
    _server: Guarded,
}

/// Credentials, and what they may do.
#[derive(Debug, Clone)]
pub struct User {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
}

impl Kms {
    /// Starts moto, or `None` if the test Python is not set up. It takes any credentials.
    pub fn moto() -> Option<Self> {
        Self::start_moto(&[])
    }

    /// Starts ministack, or `None` if the test Python is not set up. It takes any credentials.
    pub fn ministack() -> Option<Self> {
        let dir = scratch::dir();
        let files = dir.path().join("files");
        Self::start(dir, "/_localstack/health", |python, port| {
            let mut command = Command::new(python);
            command.args(["-m", "ministack"]);
            // Without the first it listens on every address, and without the last on port 8883.
            command.env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1");
            command.env("GATEWAY_PORT", port.to_string()).env("SERVICES", "kms").env("IOT_MTLS_ENABLED", "0");
            command.env("MINISTACK_REGION", REGION).env("S3_DATA_DIR", &files);
            command
        })
    }

    fn start_moto(variables: &[(&str, &str)]) -> Option<Self> {
        Self::start(scratch::dir(), "/moto-api/", |python, port| {
            let mut command = Command::new(python);
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
            command.env_remove("INITIAL_NO_AUTH_ACTION_COUNT").envs(variables.iter().copied());
            command
        })
    }

    fn start(dir: TempDir, ready: &str, command: impl Fn(&Path, u16) -> Command) -> Option<Self> {
        let python = tools::python()?;
        let port = free_port();
        let mut command = command(&python, port);
        command.current_dir(dir.path()).env("HOME", dir.path()).env("TMPDIR", dir.path());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Guarded::start_in(&command, dir);
        let host = address.to_string();
        server.wait_until("the KMS emulator", || {
            let request = Message::request("GET", ready, &host, &[], b"");
            request.send(address).is_ok_and(|answer| answer.status() == 200)
        });
        Some(Self { address, _server: server })
    }

    /// For a client, or a proxy.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// For a client.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks for one action of the KMS API in a region; panics if it is refused.
    pub fn ask(&self, region: &str, action: &str, parameters: &Value) -> Value {
        let answer = self.try_ask(region, action, parameters);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status(), 200, "{action}: {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// As [`ask`](Self::ask), whatever the answer.
    pub fn try_ask(&self, region: &str, action: &str, parameters: &Value) -> Message {
        let headers = [
            ("X-Amz-Target", &*format!("TrentService.{action}")),
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Authorization", &*unsigned("kms", region)),
        ];
        self.post("/", &headers, parameters.to_string().as_bytes())
    }

    /// Makes a symmetric key, and gives its ARN.
    pub fn key(&self, region: &str) -> String {
        let answer = self.ask(region, "CreateKey", &json!({ "Description": "test" }));
        answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// Gives a key a name, `alias/…`.
    pub fn alias(&self, region: &str, alias: &str, key: &str) {
        self.ask(region, "CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": key }));
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
        Message::request("POST", path, &self.address.to_string(), headers, body).send(self.address).unwrap()
    }
}

/// A moto that checks signatures and permissions, with one key and three users.
pub struct Moto {
    /// The server.
    pub kms: Kms,
    /// The ARN of the key, in [`REGION`].
    pub key: String,
    /// May do with keys what a provider does.
    pub allowed: User,
    /// May encrypt, and not decrypt.
    pub encrypts_only: User,
    /// May do nothing.
    pub nobody: User,
}

impl Moto {
    /// Starts it, or `None` if the test Python is not set up.
    pub fn with_permissions() -> Option<Self> {
        // Every call below until the checks begin: one for the key, and three or two for a user.
        let kms = Kms::start_moto(&[("INITIAL_NO_AUTH_ACTION_COUNT", "9")])?;
        let key = kms.key(REGION);
        let allowed = kms.user("allowed", &["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"]);
        let encrypts_only = kms.user("encrypts-only", &["kms:Encrypt", "kms:GenerateDataKey"]);
        let nobody = kms.user("nobody", &[]);
        Some(Self { kms, key, allowed, encrypts_only, nobody })
    }
}

impl Kms {
    fn user(&self, name: &str, actions: &[&str]) -> User {
        let _ = self.iam(&format!("Action=CreateUser&UserName={name}"));
        let made = self.iam(&format!("Action=CreateAccessKey&UserName={name}"));
        let between = |tag: &str| {
            let (_, rest) = made.split_once(&format!("<{tag}>")).unwrap();
            rest.split_once("</").unwrap().0.to_owned()
        };
        if !actions.is_empty() {
            let policy = json!({
                "Version": "2012-10-17",
                "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }],
            });
            let policy = form_encoded(&policy.to_string());
            let _ = self
                .iam(&format!("Action=PutUserPolicy&UserName={name}&PolicyName=use&PolicyDocument={policy}"));
        }
        User { access_key_id: between("AccessKeyId"), secret_access_key: between("SecretAccessKey") }
    }

    fn iam(&self, form: &str) -> String {
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Authorization", &*unsigned("iam", "us-east-1")),
        ];
        let answer = self.post("/", &headers, format!("{form}&Version=2010-05-08").as_bytes());
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(answer.status(), 200, "{text}");
        text
    }
}

/// What says which service and region is meant; an emulator that checks nothing looks no further.
fn unsigned(service: &str, region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn form_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    encoded
}

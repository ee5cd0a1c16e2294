//! Who we are to NATS, and whom we trust: each way to log in against a real server, and how each goes wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_crypto::{Secret, SigningKey};
use aegis_kek::SecretText;
use aegis_telemetry::{
    CertificateError, Certificates, ClientCertificate, NatsIdentity, NatsLogin, NatsServer, NatsSettings,
    NatsSink,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use test_services::authority::{Authority, Pair};
use test_services::nats::Nats;
use test_services::tools;

use crate::fixture::{Ring, builder, event, logs, quick, wait_until, workers};

/// Whether a stream gets an event from a client that logs in so. What its failure was is in the log.
fn gets_through(server: NatsServer) -> bool {
    let ring = Ring::new();
    let settings = NatsSettings { server, subject: "telemetry.sealed".to_owned(), stream: None };
    let sink = NatsSink::new(settings).unwrap();
    let pipeline = builder(&ring, workers(1)).add_sink("nats", sink, quick()).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("it is there, or was refused", || {
        pipeline.acknowledged().0 == 1 || metrics.sinks()[0].retries.value() >= 2
    });
    pipeline.close(Duration::from_millis(50)).is_ok()
}

fn at(server: &Nats) -> NatsServer {
    NatsServer { timeout: Duration::from_secs(5), ..NatsServer::at(server.url()) }
}

fn skipped<T>(found: Option<T>, test: &str) -> Option<T> {
    if found.is_none() {
        tools::skip(test, "nats-server is not installed");
    }
    found
}

/// An nkey of any kind, for the side of the test.
struct Nkey {
    key: SigningKey,
    kind: u8,
    seed: [u8; 32],
}

const USER: u8 = 20 << 3;
const ACCOUNT: u8 = 0;
const OPERATOR: u8 = 14 << 3;

impl Nkey {
    fn new(kind: u8, seed: u8) -> Self {
        let seed = [seed; 32];
        Self { key: SigningKey::from_seed(Secret::copy_of(&seed)).unwrap(), kind, seed }
    }

    fn public(&self) -> String {
        checked(&[self.kind], self.key.public_key().as_bytes())
    }

    fn seed(&self) -> String {
        checked(&[18 << 3 | self.kind >> 5, self.kind << 3], &self.seed)
    }

    fn sign(&self, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_bytes())
    }

    /// A JWT as `nsc` makes them.
    fn jwt(&self, subject: &Self, name: &str, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let body = json!({
            "jti": name, "iat": 1_700_000_000, "iss": self.public(), "name": name, "sub": subject.public(), "nats": claims,
        });
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(body.to_string()));
        format!("{signed}.{}", self.sign(&signed))
    }
}

/// Base32 of a prefix, a key and their CRC-16: another implementation than the one under test.
fn checked(prefix: &[u8], key: &[u8; 32]) -> String {
    let mut bytes = [prefix, key].concat();
    let mut crc = 0_u32;
    for byte in &bytes {
        crc ^= u32::from(*byte) << 8;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x1_0000 != 0 {
                crc ^= 0x1_1021;
            }
        }
    }
    bytes.extend([crc as u8, (crc >> 8) as u8]);
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits = bits.as_bytes().chunks(5).map(|five| {
        let five = format!("{:0<5}", str::from_utf8(five).unwrap());
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from_str_radix(&five, 2).unwrap()])
    });
    digits.collect()
}

fn identity(nkey: &Nkey) -> NatsLogin {
    NatsLogin::Identity(Arc::new(NatsIdentity::of_seed(&nkey.seed()).unwrap()))
}

#[test]
fn an_nkey_signs_in_and_another_does_not() {
    let (ours, other) = (Nkey::new(USER, 1), Nkey::new(USER, 2));
    let config = format!(
        "authorization {{ users = [ {{ nkey: {} }}, {{ user: test, password: t3st-p4ss }} ] }}\n",
        ours.public()
    );
    let login = |_: &str| json!({ "user": "test", "pass": "t3st-p4ss" });
    let Some(server) = skipped(Nats::with_config(&config, login), "an_nkey_signs_in") else { return };
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({}));
    assert!(gets_through(NatsServer { login: Some(identity(&ours)), ..at(&server) }));
    assert!(!gets_through(NatsServer { login: Some(identity(&other)), ..at(&server) }));
    assert!(!gets_through(at(&server)));
    assert_eq!(server.count("SEALED"), 1);
    let logs = String::from_utf8(logs()).unwrap();
    assert!(logs.contains("authorization violation"), "{logs}");
    assert!(!logs.contains(&ours.seed()) && !logs.contains(&other.seed()));
}

#[test]
fn a_credentials_file_signs_in_and_one_of_another_account_does_not() {
    let [operator, system, account] =
        [(OPERATOR, 3), (ACCOUNT, 4), (ACCOUNT, 5)].map(|(kind, seed)| Nkey::new(kind, seed));
    let (user, stranger, other_account) = (Nkey::new(USER, 6), Nkey::new(USER, 7), Nkey::new(ACCOUNT, 8));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = json!({ "limits": limits, "type": "account", "version": 2 });
    let of_system = json!({
        "limits": { "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 },
        "type": "account", "version": 2,
    });
    let of_user =
        json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let config = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{ {}: {}, {}: {} }}\n",
        operator.jwt(&operator, "O", &json!({ "type": "operator", "version": 2 })),
        system.public(),
        system.public(),
        operator.jwt(&system, "SYS", &of_system),
        account.public(),
        operator.jwt(&account, "A", &of_account),
    );
    let jwt = account.jwt(&user, "gate", &of_user);
    let own = (jwt.clone(), Nkey::new(USER, 6));
    let login = move |nonce: &str| json!({ "jwt": own.0, "sig": own.1.sign(nonce) });
    let Some(server) = skipped(Nats::with_config(&config, login), "a_credentials_file_signs_in") else {
        return;
    };
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({}));
    let with = |jwt: &str, key: &Nkey| {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n\
             ------END USER NKEY SEED------\n",
            key.seed()
        );
        let identity = NatsIdentity::of_credentials(text.as_bytes()).unwrap();
        gets_through(NatsServer { login: Some(NatsLogin::Identity(Arc::new(identity))), ..at(&server) })
    };
    assert!(with(&jwt, &user));
    // The key of somebody else, and a JWT of an account that nobody knows.
    assert!(!with(&jwt, &stranger));
    assert!(!with(&other_account.jwt(&stranger, "x", &of_user), &stranger));
    assert_eq!(server.count("SEALED"), 1);
    let logs = String::from_utf8(logs()).unwrap();
    assert!(!logs.contains(&user.seed()) && !logs.contains(&jwt));
}

#[test]
fn a_token_is_used_and_another_refused() {
    let config = "authorization { token: \"t0ken-of-n4ts\" }\n";
    let login = |_: &str| json!({ "auth_token": "t0ken-of-n4ts" });
    let Some(server) = skipped(Nats::with_config(config, login), "a_token_is_used") else { return };
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({}));
    let with =
        |token: &str| NatsServer { login: Some(NatsLogin::Token(SecretText::new(token))), ..at(&server) };
    assert!(gets_through(with("t0ken-of-n4ts")));
    assert!(!gets_through(with("an0ther-t0ken")));
    let logs = String::from_utf8(logs()).unwrap();
    assert!(!logs.contains("t0ken-of-n4ts") && !logs.contains("an0ther-t0ken"));
}

#[test]
fn speaks_tls_with_whom_it_trusts_and_shows_its_certificate() {
    let test = "NATS over TLS";
    let (Some(right), Some(other)) = (Authority::new(test), Authority::new(test)) else { return };
    let start = |name: &str| {
        let Pair { certificate, key } = right.server(name);
        // The test's own client looks in without TLS.
        Nats::with_config(
            &format!(
                "allow_non_tls: true\ntls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {:?}, verify: true }}\n",
                right.certificate()
            ),
            |_| json!({}),
        )
    };
    let Some(server) = skipped(start("IP:127.0.0.1"), test) else { return };
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({}));
    let own = |pair: &Pair| {
        Some(ClientCertificate { certificate: pair.certificate.clone(), key: pair.key.clone() })
    };
    let (gate, stranger) = (right.client("gate"), other.client("gate"));
    let with = |url: &str, trusted: &Authority, client| NatsServer {
        urls: vec![server.url().replace("nats://", url)],
        trusted_certificates: Some(trusted.certificate()),
        client_certificate: client,
        ..at(&server)
    };
    assert!(gets_through(with("tls://", &right, own(&gate))));
    // Whoever names certificates wants TLS, whatever the address begins with.
    assert!(gets_through(with("nats://", &right, own(&gate))));
    assert!(!gets_through(with("nats://", &other, own(&gate))));
    assert!(!gets_through(with("tls://", &right, own(&stranger))));
    assert!(!gets_through(with("tls://", &right, None)));
    assert_eq!(server.count("SEALED"), 2);
    let Some(elsewhere) = start("DNS:elsewhere.example") else { return };
    let mut to_elsewhere = with("tls://", &right, own(&gate));
    to_elsewhere.urls = vec![elsewhere.url().replace("nats://", "tls://")];
    assert!(!gets_through(to_elsewhere));

    // What is wrong with files is said before anything is connected.
    let key_of =
        |pair: &Pair| ClientCertificate { certificate: gate.certificate.clone(), key: pair.key.clone() };
    let error = |trusted: PathBuf, client| {
        let server =
            NatsServer { trusted_certificates: Some(trusted), client_certificate: client, ..at(&server) };
        server.check().unwrap_err()
    };
    let missing = error("no-such-file".into(), None);
    assert!(matches!(missing, CertificateError::Read { what: Certificates::Trusted, .. }), "{missing:?}");
    let not_a_pair = error(right.certificate(), Some(key_of(&stranger)));
    assert!(matches!(not_a_pair, CertificateError::NotAPair { .. }), "{not_a_pair:?}");
    std::fs::set_permissions(&gate.key, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let open = error(right.certificate(), own(&gate));
    assert!(matches!(open, CertificateError::Mode { mode: 0o640, .. }), "{open:?}");
}

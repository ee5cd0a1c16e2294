//! What the log says, and what it never says, whatever the program asked for.

use std::io;
use std::sync::{Arc, Mutex};

use aegis_crypto::HybridPrivateKey;
use aegis_kek::aws_kms::{KmsWrap, provision};
use test_services::kms::REGION;
use tracing::Level;

use super::chain::say;
use super::forms::base64;
use super::{access, load, moto, wrapped};

/// Everything that `work` logs, at every level.
pub(super) fn capture<T>(work: impl FnOnce() -> T) -> (T, String) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let done = tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    (done, text)
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pieces of a private key as a log could show them: base64 from each of its three places, hex, numbers, escapes.
pub(super) fn traces(private: &HybridPrivateKey) -> Vec<String> {
    let bytes = private.dangerous_expose();
    let mut traces = Vec::new();
    for start in [0, 1, 2, 1200, 1201, 1202] {
        let piece = &bytes[start..start + 24];
        traces.push(base64(&piece[..21]));
        traces.push(hex(piece));
        traces.push(hex(piece).to_uppercase());
        traces.push(format!("{piece:?}").trim_matches(['[', ']']).to_owned());
        traces.push(piece.escape_ascii().to_string());
    }
    traces
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// With one variable set, the SDK prints answers, and the one of `kms:Decrypt` is the private key. So this can be found,
/// and the tests that do not find it mean something.
#[test]
fn the_sdk_alone_prints_a_private_key_if_a_variable_tells_it_to() {
    let Some(kms) = moto("the_sdk_alone_prints_a_private_key_if_a_variable_tells_it_to") else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    let variables = [
        ("AEGIS_KMS_KEY_ID", &*key),
        ("AWS_ENDPOINT_URL_KMS", &*kms.url()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let said = say("sdk", &private, &wrapped, &variables);
    assert!(traces(&private).iter().any(|trace| said.contains(trace)), "{said}");
    let said = say("provider", &private, &wrapped, &variables);
    assert!(said.contains("loaded "), "{said}");
    assert!(traces(&private).iter().all(|trace| !said.contains(trace)), "the private key was logged");
}

#[test]
fn no_log_at_any_level_has_a_secret() {
    let Some(kms) = moto("no_log_at_any_level_has_a_secret") else { return };
    let key = kms.key(REGION);
    for wrap in [KmsWrap::Direct, KmsWrap::DataKey] {
        let private = HybridPrivateKey::generate().unwrap();
        let mine = || {
            let mut mine = access(&kms.url(), &key);
            let secret = aegis_kek::SecretText::new("SECRET+ACCESS/KEY+OF/A+TEST");
            if let Some(credentials) = &mut mine.credentials {
                credentials.secret_access_key = secret;
                credentials.session_token = Some(aegis_kek::SecretText::new("SESSION+TOKEN+OF+A+TEST"));
            }
            mine
        };
        let (_, log) = capture(|| {
            let wrapped = provision(mine(), &private, wrap).unwrap();
            load(mine(), &private, &wrapped).unwrap();
            let mut bad = wrapped.clone();
            *bad.last_mut().unwrap() ^= 1;
            load(mine(), &private, &bad).unwrap_err();
            tracing::trace!("the log is listened to");
        });
        assert!(log.contains("the log is listened to"));
        for trace in traces(&private) {
            assert!(!log.contains(&trace), "{trace} is in the log");
        }
        assert!(!log.contains("SECRET+ACCESS") && !log.contains("SESSION+TOKEN"), "{log}");
        assert!(!log.contains("Plaintext"), "a body is in the log:\n{log}");
    }
}

//! Looks for secrets in everything that a program says: log lines at the finest level, errors, `Debug`.

use std::error::Error;
use std::io;
use std::sync::{Mutex, Once, PoisonError};

use aegis_crypto::HybridPrivateKey;
use base64ct::{Base64, Base64Url, Encoding};
use memchr::memmem;

/// What all tests of this program have logged so far.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Everything is logged from here on.
pub(crate) struct Watch {
    from: usize,
}

impl Watch {
    /// Switches logging on, for all threads and at the finest level.
    pub(crate) fn start() -> Self {
        static LOGGING: Once = Once::new();
        LOGGING.call_once(|| {
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
                .with_writer(|| LogWriter)
                .with_ansi(false)
                .init();
        });
        Self { from: LOG.lock().unwrap_or_else(PoisonError::into_inner).len() }
    }

    /// What was logged since, by this and by other tests.
    pub(crate) fn logged(&self) -> String {
        let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log[self.from..]).into_owned()
    }

    /// Looks for each secret, in every spelling, in the log and in `said`.
    #[track_caller]
    pub(crate) fn assert_shows_none_of(&self, secrets: &[Vec<u8>], said: &str) {
        let logged = self.logged();
        for secret in secrets {
            assert!(secret.len() >= 4, "too short to be looked for");
            for spelling in spellings(secret) {
                for (place, text) in [("the log", logged.as_str()), ("what was said", said)] {
                    assert!(memmem::find(text.as_bytes(), &spelling).is_none(), "a secret is in {place}");
                }
            }
        }
    }
}

/// What a dump, a log line or a careless `Debug` would make of bytes.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let decimal = secret.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let lower: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // The last group depends on what follows.
    let whole = &secret[..secret.len() / 3 * 3];
    vec![
        secret.to_vec(),
        lower.to_uppercase().into_bytes(),
        lower.into_bytes(),
        Base64::encode_string(whole).into_bytes(),
        Base64Url::encode_string(whole).into_bytes(),
        decimal.into_bytes(),
    ]
}

/// Pieces of a private key that are in no public one: of the X25519 half and of the private vector of ML-KEM.
pub(crate) fn private_parts(private: &HybridPrivateKey) -> Vec<Vec<u8>> {
    [0, 3, 33, 600, 1161].map(|at| private.dangerous_expose()[at..at + 21].to_vec()).to_vec()
}

/// An error and its causes, as a terminal shows them.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn finds_a_secret_in_every_spelling() {
    for spelling in spellings(b"secret that is shown") {
        let said = format!("x{}y", String::from_utf8_lossy(&spelling));
        let watch = Watch { from: 0 };
        let found = std::panic::catch_unwind(|| {
            watch.assert_shows_none_of(&[b"secret that is shown".to_vec()], &said);
        });
        assert!(found.is_err(), "{said}");
    }
    Watch { from: 0 }.assert_shows_none_of(&[b"secret that is not shown".to_vec()], "nothing");
}

//! Signed notes of the C2SP (`c2sp.org/signed-note`), Ed25519 signatures only.
//!
//! A note is text that ends in a newline, an empty line, and signature lines
//! `— name base64(key hash ‖ signature)`. The key hash is the first 4 bytes of
//! SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key); 0x01 is the type of Ed25519.

use aegis_crypto::{PublicKey, Sha256, Signature, SigningKey};
use base64ct::{Base64, Encoding as _};

/// The longest note that is read, in bytes: 16 signatures, the most that every reader must take, may be
/// post-quantum ones of 5 kB.
pub(crate) const NOTE_LEN: usize = 128 * 1024;
/// The most signatures that are read.
const SIGNATURES: usize = 32;
/// Begins a signature line: an em dash and a space.
const DASH: &str = "\u{2014} ";
/// The signature type of Ed25519.
const ED25519: u8 = 0x01;

/// Why bytes are not a signed note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than any note is.
    #[error("it has {len} bytes, more than the {NOTE_LEN} of the longest note")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not UTF-8, or control characters other than newlines.
    #[error("it is not plain UTF-8 text")]
    NotText,
    /// No empty line between text and signatures, or no newline at the end.
    #[error("it does not end in an empty line and signature lines")]
    NoSignatures,
    /// A line after the text is not `— name base64`.
    #[error("signature line {line} is malformed")]
    SignatureLine {
        /// Which one, from 1.
        line: usize,
    },
    /// More signatures than are read.
    #[error("it has more than {SIGNATURES} signatures")]
    TooManySignatures,
}

impl NoteError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::TooLong { .. }
            | Self::NotText
            | Self::NoSignatures
            | Self::SignatureLine { .. }
            | Self::TooManySignatures => {
                Some("give a file as `aegisbpf audit checkpoint` wrote it".to_owned())
            }
        }
    }
}

/// A note as it was read. Whether a signature is good, [`Note::is_signed_by`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    hash: [u8; 4],
    signature: Vec<u8>,
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    ///
    /// [`NoteError`] says what is wrong with its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_LEN {
            return Err(NoteError::TooLong { len: bytes.len() });
        }
        let whole = str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if whole.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::NotText);
        }
        let (text, lines) = whole.rsplit_once("\n\n").ok_or(NoteError::NoSignatures)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        let mut signatures = Vec::new();
        for (at, line) in lines.split('\n').enumerate() {
            if at >= SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::SignatureLine { line: at + 1 })?);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text that is signed, with its newline at the end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `key`, under the name `name`, signed this text. Signatures of other keys are ignored; one of this key
    /// that does not verify spoils the note, whatever stands beside it.
    pub fn is_signed_by(&self, name: &str, key: &PublicKey) -> bool {
        let hash = key_hash(name, key);
        let mut own = self.signatures.iter().filter(|by| by.name == name && by.hash == hash).peekable();
        own.peek().is_some()
            && own.all(|by| {
                <[u8; 64]>::try_from(by.signature.as_slice())
                    .is_ok_and(|raw| key.verify(self.text.as_bytes(), &Signature::from_bytes(raw)).is_ok())
            })
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
            return None;
        }
        let raw = Base64::decode_vec(encoded).ok()?;
        let (hash, signature) = raw.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), hash: *hash, signature: signature.to_vec() })
    }
}

/// `text`, which ends in a newline, with one signature.
pub(crate) fn sign(text: &str, name: &str, key: &SigningKey) -> String {
    let mut raw = key_hash(name, key.public_key()).to_vec();
    raw.extend_from_slice(key.sign(text.as_bytes()).as_bytes());
    format!("{text}\n{DASH}{name} {}\n", Base64::encode_string(&raw))
}

fn key_hash(name: &str, key: &PublicKey) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update(b"\n");
    hash.update(&[ED25519]);
    hash.update(key.as_bytes());
    let digest = hash.finish();
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The note of the documentation of `golang.org/x/mod/sumdb/note`, and the key of its verifier
    /// `PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW`.
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const KEY: &str = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn key() -> PublicKey {
        let raw = Base64::decode_vec(KEY).unwrap();
        PublicKey::from_bytes(raw[1..].try_into().unwrap()).unwrap()
    }

    #[test]
    fn the_published_note_verifies() {
        assert_eq!(key_hash("PeterNeumann", &key()), [0xc7, 0x4f, 0x20, 0xa3]);
        let note = Note::parse(NOTE.as_bytes()).unwrap();
        assert!(note.is_signed_by("PeterNeumann", &key()));
        assert!(!note.is_signed_by("Peterneumann", &key()));
        let other = Note::parse(NOTE.replacen("think", "thank", 1).as_bytes()).unwrap();
        assert!(!other.is_signed_by("PeterNeumann", &key()));
    }

    #[test]
    fn a_note_verifies_beside_unknown_signatures() {
        let key = SigningKey::generate().unwrap();
        let ours = sign("text\n\nmore\n", "log/one", &key);
        let (body, line) = ours.rsplit_once("\n\n").unwrap();
        let note = Note::parse(format!("{body}\n\n\u{2014} witness AAAAAAAA\n{line}").as_bytes()).unwrap();
        assert_eq!(note.text(), "text\n\nmore\n");
        assert!(note.is_signed_by("log/one", key.public_key()));
    }

    #[test]
    fn a_bad_signature_of_a_known_key_spoils_the_note() {
        let key = SigningKey::generate().unwrap();
        let good = sign("text\n", "log", &key);
        let (_, line) = good.rsplit_once("\n\n").unwrap();
        let other = sign("other text\n", "log", &key);
        let (_, bad) = other.rsplit_once("\n\n").unwrap();
        for (lines, signed) in [
            (format!("{line}{line}"), true),
            (format!("{line}{bad}"), false),
            (format!("{bad}{line}"), false),
            (bad.to_owned(), false),
        ] {
            let note = Note::parse(format!("text\n\n{lines}").as_bytes()).unwrap();
            assert_eq!(note.is_signed_by("log", key.public_key()), signed, "{lines}");
        }
    }

    #[test]
    fn a_note_with_sixteen_post_quantum_signatures_is_read() {
        let key = SigningKey::generate().unwrap();
        let long = Base64::encode_string(&[7; 5000]);
        let witnesses: String = (1..16).map(|at| format!("{DASH}witness/{at} {long}\n")).collect();
        let note = format!("{}{witnesses}", sign("text\n", "log", &key));
        assert!(Note::parse(note.as_bytes()).unwrap().is_signed_by("log", key.public_key()));
    }

    #[test]
    fn refuses_a_note_with_one_thing_wrong() {
        let line = NOTE.rsplit_once("\n\n").unwrap().1;
        let cases = [
            ("no signatures", "text\n\n".to_owned(), NoteError::NoSignatures),
            ("no empty line", format!("text\n{line}"), NoteError::NoSignatures),
            ("no newline at the end", NOTE.trim_end().to_owned(), NoteError::NoSignatures),
            ("hyphen for dash", NOTE.replace('\u{2014}', "-"), NoteError::SignatureLine { line: 1 }),
            ("not base64", NOTE.replace("x08go", "x0_go"), NoteError::SignatureLine { line: 1 }),
            ("no name", NOTE.replace("PeterNeumann", ""), NoteError::SignatureLine { line: 1 }),
            ("a tab", NOTE.replace("you think", "you\tthink"), NoteError::NotText),
            ("a carriage return", NOTE.replace('\n', "\r\n"), NoteError::NotText),
            ("too many", format!("t\n\n{}", line.repeat(33)), NoteError::TooManySignatures),
            ("too long", "x".repeat(NOTE_LEN + 1), NoteError::TooLong { len: NOTE_LEN + 1 }),
            ("empty", String::new(), NoteError::NoSignatures),
        ];
        for (name, text, error) in cases {
            assert_eq!(Note::parse(text.as_bytes()), Err(error), "{name}");
        }
        assert_eq!(Note::parse(b"a\xff\n\n"), Err(NoteError::NotText));
    }
}

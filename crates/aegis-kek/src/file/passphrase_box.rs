//! Bytes under a passphrase: an age file, v1, with one scrypt recipient. `age --decrypt` opens it as well.
//!
//! A passphrase is stretched by scrypt with N = 2¹⁷, r = 8, p = 1: what OWASP asks for at least (Password Storage Cheat
//! Sheet), 128 MiB and about 0.3 s. Twice that would not let the smallest hosts open their own key, and is worth one bit;
//! a longer passphrase is worth more. Files that ask for up to 2¹⁹ (512 MiB) are opened; a file that asks for more is
//! refused before any of it is done.

use std::io::{self, Read, Write};
use std::iter;

use aegis_crypto::bleach_stack;
use age::secrecy::SecretString;
use age::{DecryptError, scrypt};
use zeroize::Zeroizing;

use super::passphrase::Passphrase;
use crate::armour;

/// The scrypt work factor of what is written, log₂ N.
const WORK_FACTOR: u8 = 17;
/// The highest work factor that is gone along with.
pub const MAX_WORK_FACTOR: u8 = 19;
/// As deep as the age library and its ciphers go below their caller.
const BLEACHED_KIB: usize = 64;

/// Encrypted bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseBox(Vec<u8>);

impl PassphraseBox {
    /// Encrypts, and opens it again, so that no key is lost to a fault in memory or in the program. `None` if that failed,
    /// for want of 128 MiB of memory most likely. The secret is nowhere else when it returns.
    pub fn seal(passphrase: &Passphrase, secret: &[u8]) -> Option<Self> {
        let mut recipient = scrypt::Recipient::new(of_age(passphrase));
        recipient.set_work_factor(WORK_FACTOR);
        let encryptor =
            age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient)).ok()?;
        let encrypted = encrypt(encryptor, secret);
        // The writer gives back the buffer of a chunk as it is, and ciphers leave a block in their frames.
        bleach_heap();
        bleach_stack::<BLEACHED_KIB>();
        let sealed = Self(encrypted.ok()?);
        let opened = sealed.open(passphrase, secret.len()).ok()?;
        (opened.as_slice() == secret).then_some(sealed)
    }

    /// The secret, of at most `max_len` bytes. It is nowhere else when it returns.
    ///
    /// # Errors
    ///
    /// [`PassphraseBoxFault`].
    pub fn open(
        &self,
        passphrase: &Passphrase,
        max_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, PassphraseBoxFault> {
        Self::open_bytes(&self.0, passphrase, max_len)
    }

    pub(super) fn open_bytes(
        encrypted: &[u8],
        passphrase: &Passphrase,
        max_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, PassphraseBoxFault> {
        let opened = decrypt_here(encrypted, passphrase, max_len);
        bleach_stack::<BLEACHED_KIB>();
        opened
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The armoured text, which ends in a line feed.
    pub fn to_text(&self) -> String {
        armour::wrap(&self.0)
    }

    /// Reads an armoured text: nothing before it, nothing after it, one spelling. `None` if it is none, or no age file is
    /// in it.
    pub fn from_text(text: &str) -> Option<Self> {
        armour::unwrap(text).filter(|bytes| armour::is_age_file(bytes)).map(Self)
    }
}

/// Why an age file does not give its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseBoxFault {
    /// Its key does not open. A changed file cannot always be told from that.
    #[error("the passphrase does not open it")]
    Passphrase,
    /// It wants more work than is gone along with.
    #[error("it asks for a work factor of 2^{found}, more than 2^{MAX_WORK_FACTOR}")]
    Work {
        /// log₂ of what it asks for.
        found: u8,
    },
    /// It is for somebody's key, not under a passphrase.
    #[error("it is not encrypted under a passphrase")]
    Recipient,
    /// Its header or its content was changed, or it holds something else.
    #[error("it is damaged")]
    Damaged,
}

#[inline(never)]
fn encrypt(encryptor: age::Encryptor, secret: &[u8]) -> io::Result<Vec<u8>> {
    let mut encrypted = Vec::new();
    let mut writer = encryptor.wrap_output(&mut encrypted)?;
    writer.write_all(secret)?;
    writer.finish()?;
    Ok(encrypted)
}

/// Overwrites the buffer of a chunk that was given back unerased, if the allocator gives it out again.
fn bleach_heap() {
    const CHUNK_LEN: usize = 64 * 1024;
    for _ in 0..4 {
        std::hint::black_box(vec![0_u8; CHUNK_LEN].as_mut_slice()).fill(0);
    }
}

#[inline(never)]
fn decrypt_here(
    encrypted: &[u8],
    passphrase: &Passphrase,
    max_len: usize,
) -> Result<Zeroizing<Vec<u8>>, PassphraseBoxFault> {
    let decryptor = age::Decryptor::new_buffered(encrypted).map_err(|_| PassphraseBoxFault::Damaged)?;
    if !decryptor.is_scrypt() {
        return Err(PassphraseBoxFault::Recipient);
    }
    let mut identity = scrypt::Identity::new(of_age(passphrase));
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let reader =
        decryptor.decrypt(iter::once(&identity as &dyn age::Identity)).map_err(|error| match error {
            DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
                PassphraseBoxFault::Passphrase
            }
            DecryptError::ExcessiveWork { required, .. } => PassphraseBoxFault::Work { found: required },
            _ => PassphraseBoxFault::Damaged,
        })?;
    // Made at its full length, so that it does not grow and leave a copy behind; a byte more shows what is too long.
    let mut secret = Zeroizing::new(Vec::with_capacity(max_len + 1));
    let limit = u64::try_from(max_len + 1).unwrap_or(u64::MAX);
    reader.take(limit).read_to_end(&mut secret).map_err(|_| PassphraseBoxFault::Damaged)?;
    if secret.len() <= max_len { Ok(secret) } else { Err(PassphraseBoxFault::Damaged) }
}

fn of_age(passphrase: &Passphrase) -> SecretString {
    SecretString::from(Box::<str>::from(passphrase.expose()))
}

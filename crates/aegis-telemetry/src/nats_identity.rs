//! Who we are to NATS: an nkey, alone or with the JWT of a credentials file.
//!
//! An nkey is an Ed25519 key (RFC 8032). The server sends a nonce, and the client signs it; the seed stays here.
//!
//! | bytes of a user's seed, in base32 (RFC 4648 §6) without padding | what |
//! |---|---|
//! | 2 | `95 00`: the type *seed* (18) in five bits, *user* (20) in the next five; prints as `SU` |
//! | 32 | the seed |
//! | 2 | CRC-16/XMODEM of these, least byte first |
//!
//! The public key is the byte `a0`, 32 bytes and a checksum likewise; it begins with `U`.

use std::fmt;

use aegis_crypto::{Secret, SigningKey};
use zeroize::Zeroizing;

/// *Seed* and *user*, as they lie in the first two bytes.
const SEED_OF_A_USER: [u8; 2] = [0x95, 0x00];
/// *User*, of a public key.
const USER: u8 = 0xa0;
/// Two bytes, a seed and a checksum.
const SEED_LEN: usize = 36;
/// The same in base32.
const SEED_TEXT_LEN: usize = 58;
/// The most bytes of a JWT.
const MAX_JWT: usize = 64 << 10;

/// An nkey of a user, and the JWT that an operator gave it.
pub struct NatsIdentity {
    key: SigningKey,
    jwt: Option<Zeroizing<String>>,
}

/// Why a text is no identity. Nothing of it is in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NatsIdentityError {
    /// It is no text.
    #[error("it is no text")]
    NotText,
    /// There is no part between its BEGIN and END.
    #[error("it has no {part} between BEGIN and END")]
    Missing {
        /// Which.
        part: &'static str,
    },
    /// The JWT is not three parts of base64url.
    #[error("its user JWT is not three parts of base64url, or longer than {} bytes", MAX_JWT)]
    Jwt,
    /// The seed has another length.
    #[error("the seed has {found} characters, not {SEED_TEXT_LEN}")]
    Length {
        /// Its characters.
        found: usize,
    },
    /// The seed is mistyped: not base32, or its checksum does not hold.
    #[error("the seed is mistyped: its checksum does not hold")]
    Checksum,
    /// It is the seed of an account, an operator or a server, which has no business here.
    #[error("the seed is not that of a user")]
    NotAUser,
    /// The public key where the seed belongs.
    #[error("it is the public key, not the seed")]
    Public,
}

impl NatsIdentityError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotText | Self::Missing { .. } | Self::Jwt => {
                "name the file that `nsc generate creds` wrote, as it is".to_owned()
            }
            Self::Length { .. } | Self::Checksum | Self::Public => {
                "a user's seed begins with SU, and stands alone in its line".to_owned()
            }
            Self::NotAUser => {
                "name a user's seed; that of an account or an operator signs others, and stays where it was made".to_owned()
            }
        })
    }
}

impl NatsIdentity {
    /// Reads the seed of a user, `SU…`.
    ///
    /// # Errors
    ///
    /// A [`NatsIdentityError`].
    pub fn of_seed(text: &str) -> Result<Self, NatsIdentityError> {
        Ok(Self { key: seed(text.trim_ascii())?, jwt: None })
    }

    /// Reads a credentials file: a user JWT and the seed that belongs to it, each between lines of dashes.
    ///
    /// # Errors
    ///
    /// A [`NatsIdentityError`].
    pub fn of_credentials(bytes: &[u8]) -> Result<Self, NatsIdentityError> {
        let text = std::str::from_utf8(bytes).map_err(|_| NatsIdentityError::NotText)?;
        let jwt = between(text, "NATS USER JWT").ok_or(NatsIdentityError::Missing { part: "user JWT" })?;
        let is_jwt = jwt.len() <= MAX_JWT
            && jwt.split('.').count() == 3
            && jwt.split('.').all(|part| !part.is_empty() && part.bytes().all(is_base64url));
        if !is_jwt {
            return Err(NatsIdentityError::Jwt);
        }
        let key =
            between(text, "USER NKEY SEED").ok_or(NatsIdentityError::Missing { part: "user nkey seed" })?;
        Ok(Self { key: seed(key)?, jwt: Some(Zeroizing::new(jwt.to_owned())) })
    }

    /// What the server knows us by, `U…`.
    pub fn public_key(&self) -> String {
        let mut bytes = vec![USER];
        bytes.extend_from_slice(self.key.public_key().as_bytes());
        let checksum = crc16(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        to_base32(&bytes)
    }

    /// The user JWT, if there is one.
    pub fn jwt(&self) -> Option<&str> {
        self.jwt.as_ref().map(|jwt| jwt.as_str())
    }

    /// Signs what the server asks.
    #[cfg(feature = "nats")]
    pub(crate) fn sign(&self, nonce: &[u8]) -> Vec<u8> {
        self.key.sign(nonce).as_bytes().to_vec()
    }
}

/// The public half alone.
impl fmt::Debug for NatsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsIdentity").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

/// The one line between `-----BEGIN NAME-----` and `------END NAME------`, with any number of dashes from three.
fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is_mark = |line: &str, word: &str| {
        let line = line.trim_ascii();
        line.starts_with("---") && line.ends_with("---") && {
            let inner = line.trim_matches('-');
            inner.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) == Some(name)
        }
    };
    let mut lines = text.lines();
    lines.find(|line| is_mark(line, "BEGIN"))?;
    let value = lines.next()?.trim_ascii();
    let end = lines.next()?;
    (is_mark(end, "END") && !value.is_empty()).then_some(value)
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn seed(text: &str) -> Result<SigningKey, NatsIdentityError> {
    if text.len() == 56 && text.starts_with('U') {
        return Err(NatsIdentityError::Public);
    }
    if text.len() != SEED_TEXT_LEN {
        return Err(NatsIdentityError::Length { found: text.chars().count() });
    }
    let bytes = from_base32(text).ok_or(NatsIdentityError::Checksum)?;
    let (body, checksum) = bytes.split_last_chunk::<2>().ok_or(NatsIdentityError::Checksum)?;
    if crc16(body).to_le_bytes() != *checksum {
        return Err(NatsIdentityError::Checksum);
    }
    let (kind, seed) = body.split_first_chunk::<2>().ok_or(NatsIdentityError::Checksum)?;
    if *kind != SEED_OF_A_USER {
        return Err(NatsIdentityError::NotAUser);
    }
    let seed: &[u8; 32] = seed.try_into().map_err(|_| NatsIdentityError::Checksum)?;
    SigningKey::from_seed(Secret::copy_of(seed)).map_err(|_| NatsIdentityError::Checksum)
}

/// 58 characters, whose last two bits are zero; `None` for anything else than they can be.
fn from_base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SEED_LEN));
    let (mut held, mut bits) = (Zeroizing::new(0_u32), 0);
    for character in text.bytes() {
        let digit = match character {
            b'A'..=b'Z' => character - b'A',
            b'2'..=b'7' => character - b'2' + 26,
            _ => return None,
        };
        *held = *held << 5 | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            let [.., byte] = (*held >> bits).to_be_bytes();
            bytes.push(byte);
            *held &= (1 << bits) - 1;
        }
    }
    (*held == 0).then_some(bytes)
}

fn to_base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0_u32, 0_u32);
    let mut put = |digit: u32| {
        let digit = usize::try_from(digit & 31).unwrap_or_default();
        text.push(char::from(DIGITS.get(digit).copied().unwrap_or(b'A')));
    };
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            put(held >> bits);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        put(held << (5 - bits));
    }
    text
}

/// CRC-16/XMODEM: polynomial 1021, beginning with zero.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of the documentation of nkeys, made for it.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    #[test]
    fn the_checksum_is_that_of_the_catalogue_of_crcs() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_seed_gives_its_public_key() {
        let identity = NatsIdentity::of_seed(&format!("{SEED}\n")).unwrap();
        assert_eq!((identity.public_key().as_str(), identity.jwt()), (PUBLIC, None));
        let shown = format!("{identity:?}");
        assert!(shown.contains(PUBLIC) && !shown.contains(&SEED[4..20]), "{shown}");
    }

    #[test]
    fn credentials_are_a_jwt_and_a_seed() {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\r\neyJ0.eyJq.c2ln\r\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\
             -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
        );
        let identity = NatsIdentity::of_credentials(text.as_bytes()).unwrap();
        assert_eq!((identity.public_key().as_str(), identity.jwt()), (PUBLIC, Some("eyJ0.eyJq.c2ln")));
        let part = |part| NatsIdentityError::Missing { part };
        for (from, to, wanted) in [
            ("BEGIN NATS USER JWT", "BEGIN JWT", part("user JWT")),
            ("END NATS USER JWT", "END JWT", part("user JWT")),
            ("eyJ0.eyJq.c2ln\r\n", "", part("user JWT")),
            ("eyJ0.eyJq.c2ln", "eyJ0.eyJq", NatsIdentityError::Jwt),
            ("eyJ0.eyJq.c2ln", "eyJ0.ey q.c2ln", NatsIdentityError::Jwt),
            ("BEGIN USER NKEY SEED", "BEGIN NKEY", part("user nkey seed")),
            (SEED, "SU", NatsIdentityError::Length { found: 2 }),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text);
            assert_eq!(NatsIdentity::of_credentials(broken.as_bytes()).unwrap_err(), wanted, "{from}");
        }
        assert_eq!(NatsIdentity::of_credentials(b"\xff").unwrap_err(), NatsIdentityError::NotText);
    }

    #[test]
    fn refuses_what_is_no_seed_of_a_user() {
        let error = |text: &str| NatsIdentity::of_seed(text).unwrap_err();
        assert_eq!(error(PUBLIC), NatsIdentityError::Public);
        assert_eq!(error(""), NatsIdentityError::Length { found: 0 });
        assert_eq!(error(&SEED[1..]), NatsIdentityError::Length { found: 57 });
        // Each character changed, in turn.
        for at in 0..SEED.len() {
            let mut text = SEED.as_bytes().to_vec();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(text).unwrap();
            assert_eq!(error(&text), NatsIdentityError::Checksum, "{text}");
        }
        assert_eq!(error(&SEED.replace('S', "s")), NatsIdentityError::Checksum);
        // That of an account: the type 0.
        let mut account = vec![0x90, 0x00];
        account.extend([7; 32]);
        account.extend(crc16(&account).to_le_bytes());
        assert_eq!(error(&to_base32(&account)), NatsIdentityError::NotAUser);
    }
}

//! What every key file must be before anything looks for a key in it: short, plain text.

/// Most bytes of a key file, public or private: 8 KiB. An Ed25519 key needs about 200.
pub const MAX_KEY_FILE_LEN: usize = 8 * 1024;

/// Why a key file is not plain text of a sensible size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlainTextError {
    /// No bytes, or only blanks.
    #[error("the key file is empty")]
    Empty,
    /// Over [`MAX_KEY_FILE_LEN`].
    #[error("the key file has {found} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        found: usize,
        /// [`MAX_KEY_FILE_LEN`].
        limit: usize,
    },
    /// It starts with a UTF-8 or UTF-16 byte-order mark.
    #[error("the key file starts with a byte-order mark")]
    ByteOrderMark,
    /// It is DER, the binary form of PEM.
    #[error("the key file is binary DER, not text")]
    Der,
    /// A NUL byte.
    #[error("the key file has a NUL byte at offset {at}")]
    Nul {
        /// Its offset, counted from 0.
        at: usize,
    },
    /// A control character, or a carriage return that ends no line.
    #[error("the key file has the control character 0x{byte:02x} at offset {at}")]
    Control {
        /// Its offset, counted from 0.
        at: usize,
        /// The character.
        byte: u8,
    },
}

impl PlainTextError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Empty => Some("put one key into the file".to_owned()),
            Self::TooLarge { .. } => Some("give a file that holds one key and nothing else".to_owned()),
            Self::ByteOrderMark | Self::Nul { .. } | Self::Control { .. } => {
                Some("save the file as plain ASCII text".to_owned())
            }
            Self::Der => {
                Some("convert it with `openssl pkey -inform DER` (add `-pubin` for a public key)".to_owned())
            }
        }
    }
}

/// The text between leading and trailing blanks. Never empty; it holds no control character but tabs and line ends.
pub(crate) fn check(bytes: &[u8]) -> Result<&[u8], PlainTextError> {
    if bytes.len() > MAX_KEY_FILE_LEN {
        return Err(PlainTextError::TooLarge { found: bytes.len(), limit: MAX_KEY_FILE_LEN });
    }
    if [b"\xef\xbb\xbf".as_slice(), b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(PlainTextError::ByteOrderMark);
    }
    match first_control(bytes) {
        Some(_) if crate::der::is_sequence(bytes) => return Err(PlainTextError::Der),
        Some((at, 0)) => return Err(PlainTextError::Nul { at }),
        Some((at, byte)) => return Err(PlainTextError::Control { at, byte }),
        None => {}
    }
    match trim(bytes) {
        [] => Err(PlainTextError::Empty),
        text => Ok(text),
    }
}

/// Takes blanks and line ends off both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

fn first_control(bytes: &[u8]) -> Option<(usize, u8)> {
    let next = bytes.iter().skip(1).map(Some).chain([None]);
    bytes.iter().zip(next).enumerate().find_map(|(at, (&byte, next))| match byte {
        b'\n' | b'\t' => None,
        b'\r' if next == Some(&b'\n') => None,
        0..0x20 | 0x7f => Some((at, byte)),
        _ => None,
    })
}

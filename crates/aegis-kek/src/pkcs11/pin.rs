//! The PIN of a token's user, and where it comes from.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_durable::Links;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use zeroize::Zeroizing;

use crate::known_variables::{HSM_PIN, HSM_PIN_FD, HSM_PIN_FILE};
use crate::private_file::{self, PrivateFileError};
use crate::variables::{SecretText, VariableError, Variables};

/// The most bytes of a PIN.
pub const MAX_PIN_LEN: usize = 255;
/// Room for the line break after it.
const MAX_SOURCE_LEN: usize = MAX_PIN_LEN + 2;

/// PINs that were read from descriptors, by the device and inode number of what those are open on.
static READ: Mutex<Vec<((u64, u64), Pin)>> = Mutex::new(Vec::new());

/// A PIN. Erased when the last clone is dropped, shown to nobody.
#[derive(Clone)]
pub struct Pin(Arc<SecretText>);

impl Pin {
    /// Where a PIN may be, in the order in which it is looked for.
    pub const VARIABLES: [&str; 3] = [HSM_PIN, HSM_PIN_FILE, HSM_PIN_FD];

    /// Takes a text of 1 to 255 bytes without control characters. The caller erases any other copy.
    ///
    /// # Errors
    ///
    /// [`PinError::Unusable`].
    pub fn new(text: &str, origin: &str) -> Result<Self, PinError> {
        Self::from_bytes(text.as_bytes(), origin)
    }

    /// Reads a PIN from a file that only its owner can read. One line break at the end is not part of it.
    ///
    /// # Errors
    ///
    /// [`PinError::Read`], [`PinError::Unusable`].
    pub fn from_file(path: &Path) -> Result<Self, PinError> {
        let bytes = private_file::read(path, Links::Follow, MAX_SOURCE_LEN as u64).map_err(PinError::Read)?;
        Self::from_bytes(without_line_break(&bytes), &path.display().to_string())
    }

    /// Reads a PIN from an open descriptor of this process, such as a pipe, up to its end or a line break.
    ///
    /// What was read is gone from it, so it is kept for the next caller: moving a KEK from one key of a token to another
    /// takes the PIN twice.
    ///
    /// # Errors
    ///
    /// [`PinError::Descriptor`], [`PinError::Unusable`].
    pub fn from_descriptor(number: i32) -> Result<Self, PinError> {
        let failed = |source| PinError::Descriptor { number, source };
        let mut file = duplicate(number).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let source = (metadata.dev(), metadata.ino());
        // Held while reading: of two that ask at once, one reads.
        let mut known = READ.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pin)) = known.iter().find(|(other, _)| *other == source) {
            return Ok(pin.clone());
        }
        let mut bytes = Zeroizing::new(vec![0; MAX_SOURCE_LEN]);
        let mut len = 0;
        while let Some(room) = bytes.get_mut(len..).filter(|room| !room.is_empty()) {
            let more = match file.read(room) {
                Ok(more) => more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let ended = more == 0 || room.get(..more).is_some_and(|read| read.contains(&b'\n'));
            len += more;
            if ended {
                break;
            }
        }
        bytes.truncate(len);
        let pin = Self::from_bytes(without_line_break(&bytes), &format!("descriptor {number}"))?;
        known.push((source, pin.clone()));
        Ok(pin)
    }

    /// Reads the PIN that the settings name: [`HSM_PIN`], else [`HSM_PIN_FILE`], else [`HSM_PIN_FD`]. `None` if none
    /// is set.
    ///
    /// # Errors
    ///
    /// [`PinError`].
    pub fn from_variables(variables: &Variables) -> Result<Option<Self>, PinError> {
        if let Some(pin) = variables.text(HSM_PIN).map_err(PinError::Variable)? {
            return Self::new(pin.expose(), &format!("the variable {HSM_PIN}")).map(Some);
        }
        if let Some(path) = variables.text(HSM_PIN_FILE).map_err(PinError::Variable)? {
            return Self::from_file(Path::new(path.expose())).map(Some);
        }
        match variables.number(HSM_PIN_FD, 0..=i32::MAX.unsigned_abs()).map_err(PinError::Variable)? {
            Some(number) => Self::from_descriptor(number.cast_signed()).map(Some),
            None => Ok(None),
        }
    }

    fn from_bytes(bytes: &[u8], origin: &str) -> Result<Self, PinError> {
        std::str::from_utf8(bytes)
            .ok()
            .filter(|text| (1..=MAX_PIN_LEN).contains(&text.len()) && !text.chars().any(char::is_control))
            .map(|text| Self(Arc::new(SecretText::new(text))))
            .ok_or_else(|| PinError::Unusable { origin: origin.to_owned() })
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").finish_non_exhaustive()
    }
}

/// A descriptor of this process once more, without unsafe code.
///
/// Opening `/dev/fd/N` would ask for the permission to open the file again, which a process that gave up its privileges may
/// not have. It is the second choice, for where `pidfd_getfd(2)` is not allowed.
fn duplicate(number: i32) -> std::io::Result<File> {
    let itself: Pid = getpid();
    let copied = pidfd_open(itself, PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()));
    match copied {
        Ok(descriptor) => Ok(File::from(descriptor)),
        Err(rustix::io::Errno::BADF) => Err(rustix::io::Errno::BADF.into()),
        Err(_) => File::open(format!("/dev/fd/{number}")),
    }
}

fn without_line_break(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Why there is no PIN. No message has any of it.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file was not read.
    #[error("cannot read the PIN")]
    Read(#[source] PrivateFileError),
    /// The descriptor was not read.
    #[error("cannot read the PIN from descriptor {number}")]
    Descriptor {
        /// Its number.
        number: i32,
        /// Why.
        source: std::io::Error,
    },
    /// A variable was not read.
    #[error("cannot read the PIN")]
    Variable(#[source] VariableError),
    /// Nothing, too much, or what is no text.
    #[error("{origin} has no PIN, which is 1 to {MAX_PIN_LEN} bytes of text on one line")]
    Unusable {
        /// Where it was to come from.
        origin: String,
    },
}

impl PinError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(source) => source.help(),
            Self::Variable(source) => source.help(),
            Self::Descriptor { .. } => {
                Some(format!("open it before starting, as in `{HSM_PIN_FD}=3 … 3< file`"))
            }
            Self::Unusable { .. } => Some("write the PIN there and nothing else".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn reads_a_pin_from_a_descriptor_up_to_the_line_break() {
        for (written, read) in
            [("1234", "1234"), ("1234\n", "1234"), ("1234\r\n", "1234"), (" 12 34 ", " 12 34 ")]
        {
            let (from, mut to) = std::io::pipe().unwrap();
            to.write_all(written.as_bytes()).unwrap();
            drop(to);
            for _ in 0..2 {
                assert_eq!(Pin::from_descriptor(from.as_raw_fd()).unwrap().expose(), read);
            }
        }
    }

    #[test]
    fn a_writer_that_stays_does_not_hold_up_a_pin_with_a_line_break() {
        let (from, mut to) = std::io::pipe().unwrap();
        to.write_all(b"1234\n").unwrap();
        assert_eq!(Pin::from_descriptor(from.as_raw_fd()).unwrap().expose(), "1234");
    }

    #[test]
    fn refuses_what_is_no_pin() {
        let long = "9".repeat(MAX_PIN_LEN + 1);
        for text in ["", "\n", "12\n34", "12\u{0}34", "12\t34", long.as_str()] {
            assert!(matches!(Pin::new(text, "here"), Err(PinError::Unusable { .. })), "{text:?}");
            let (from, mut to) = std::io::pipe().unwrap();
            to.write_all(text.as_bytes()).unwrap();
            drop(to);
            let read = Pin::from_descriptor(from.as_raw_fd());
            assert!(matches!(read, Err(PinError::Unusable { .. })), "{text:?}");
        }
        assert!(matches!(Pin::from_descriptor(i32::MAX), Err(PinError::Descriptor { .. })));
    }

    #[test]
    fn a_pin_is_shown_by_nothing() {
        let pin = Pin::new("hunter2-0000", "here").unwrap();
        assert!(!format!("{pin:?}").contains("hunter2"));
        let error = Pin::new("hunter2\n0000", "here").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}

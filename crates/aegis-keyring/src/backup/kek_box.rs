//! The file for a KEK: a header, then the plaintext in sealed boxes of 64 KiB. Layout: `docs/formats.md`.
//!
//! Each box is bound to the header, its number, and whether it is the last one: boxes that are left out, repeated,
//! exchanged, added or of another backup do not open where they stand.

use std::io::{Read, Write};
use std::time::Instant;

use aegis_crypto::{
    AssociatedData, BOX_OVERHEAD, HybridPublicKey, KeyId, OpenError, Opener, Purpose, RandomError, Sealer,
    Secret,
};
use aegis_kek::Kek;

use super::create::BackupError;
use super::read::{ReadBackupError, read_up_to};
use super::records::Pieces;

/// Bytes of plaintext in each box but the last, which has 1 to as many.
pub(super) const CHUNK_LEN: usize = 64 * 1024;

const MAGIC: &str = "AEGIS-KEYRING-BACKUP-V1\n";
const ID_LEN: usize = 16;
/// The magic line, `kek ` and 64 digits, `id ` and 32 digits, `---`; each with its line feed.
pub(super) const HEADER_LEN: usize = MAGIC.len() + 4 + 64 + 1 + 3 + 2 * ID_LEN + 1 + 4;

/// What stands before the boxes.
pub(super) struct Header {
    pub(super) kek: KeyId,
    id: [u8; ID_LEN],
}

impl Header {
    fn new(kek: KeyId) -> Result<Self, RandomError> {
        Ok(Self { kek, id: *Secret::random()?.expose() })
    }

    pub(super) fn print(&self) -> String {
        format!("{MAGIC}kek {}\nid {}\n---\n", self.kek, hex::encode(self.id))
    }

    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(MAGIC)?;
        let mut lines = rest.split('\n');
        let kek = lines.next()?.strip_prefix("kek ")?.parse().ok()?;
        let mut id = [0; ID_LEN];
        hex::decode_to_slice(lines.next()?.strip_prefix("id ")?, &mut id).ok()?;
        let header = Self { kek, id };
        (header.print().as_bytes() == bytes).then_some(header)
    }

    fn associated_data(&self, number: u64, place: Place) -> AssociatedData {
        let Self { kek, id } = self;
        let place = match place {
            Place::Before => b"more",
            Place::Last => b"last",
        };
        AssociatedData::new([
            b"aegis/keyring-backup/v1",
            kek.as_bytes(),
            id,
            number.to_be_bytes().as_slice(),
            place.as_slice(),
        ])
    }
}

/// Whether others follow.
#[derive(Clone, Copy)]
enum Place {
    Before,
    Last,
}

/// Writes boxes.
pub(super) struct Writer<W> {
    out: W,
    header: Header,
    sealer: Sealer,
    number: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub(super) fn start(kek: &HybridPublicKey, mut out: W) -> Result<Self, BackupError> {
        let header = Header::new(kek.key_id()).map_err(BackupError::Random)?;
        let sealer = Sealer::new(kek.clone(), Purpose::Backup, Instant::now()).map_err(BackupError::Seal)?;
        out.write_all(header.print().as_bytes()).map_err(BackupError::Output)?;
        Ok(Self { out, header, sealer, number: 0, buffer: Vec::with_capacity(2 * CHUNK_LEN) })
    }

    pub(super) fn write(&mut self, plaintext: &[u8]) -> Result<(), BackupError> {
        for piece in plaintext.chunks(CHUNK_LEN) {
            self.buffer.extend_from_slice(piece);
            // A full box is kept back until it is known that it is not the last.
            while self.buffer.len() > CHUNK_LEN {
                self.seal(Place::Before)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, BackupError> {
        self.seal(Place::Last)?;
        Ok(self.out)
    }

    fn seal(&mut self, place: Place) -> Result<(), BackupError> {
        let len = self.buffer.len().min(CHUNK_LEN);
        let plaintext = self.buffer.get(..len).unwrap_or_default();
        let associated_data = self.header.associated_data(self.number, place);
        let sealed =
            self.sealer.seal(Instant::now(), &associated_data, plaintext).map_err(BackupError::Seal)?;
        self.buffer.drain(..len);
        self.number = self.number.saturating_add(1);
        self.out.write_all(&sealed).map_err(BackupError::Output)
    }
}

/// Opens boxes.
pub(super) struct Reader<R> {
    input: R,
    header: Header,
    opener: Opener,
    number: u64,
    // The next box, which is the last if it is short or nothing follows it.
    ahead: Vec<u8>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Takes a file whose header was read already.
    pub(super) fn start(header: Header, kek: &Kek, mut input: R) -> Result<Self, ReadBackupError> {
        if header.kek != kek.key_id() {
            return Err(ReadBackupError::OtherKek { needed: header.kek, given: kek.key_id() });
        }
        let opener = Opener::new(kek.private_key().clone(), Purpose::Backup);
        let ahead = read_up_to(&mut input, CHUNK_LEN + BOX_OVERHEAD)?;
        Ok(Self { input, header, opener, number: 0, ahead, ended: false })
    }
}

impl<R: Read> Pieces for Reader<R> {
    fn next(&mut self, to: &mut Vec<u8>) -> Result<bool, ReadBackupError> {
        if self.ended {
            return Ok(false);
        }
        let following = if self.ahead.len() < CHUNK_LEN + BOX_OVERHEAD {
            Vec::new()
        } else {
            read_up_to(&mut self.input, CHUNK_LEN + BOX_OVERHEAD)?
        };
        self.ended = following.is_empty();
        let place = if self.ended { Place::Last } else { Place::Before };
        let number = self.number;
        let associated_data = self.header.associated_data(number, place);
        let opened = self.opener.open(&associated_data, &self.ahead, None).map_err(|error| match error {
            OpenError::TooShort { .. } | OpenError::NotAuthentic => {
                ReadBackupError::NotAuthentic { piece: number }
            }
            OpenError::Provider => ReadBackupError::Provider,
        })?;
        to.extend_from_slice(&opened);
        self.number = self.number.saturating_add(1);
        self.ahead = following;
        Ok(true)
    }
}

//! Where sealed events wait on the disk while their sink is down, and from where they are delivered in order.
//!
//! | file in the directory | what |
//! |---|---|
//! | `lock` | held by the process that has the spool open |
//! | `NNNNNNNNNNNNNNNN.spool` | a segment: a header, then frames; hex numbers that only rise |
//! | `cursor` | how far frames were delivered, and how far they were synced |
//!
//! A frame is one batch, so that a batch that is delivered after a restart is the very batch that was tried before, and
//! its idempotency key too. [`Spool::append`] returns when its frame is on the disk. At any instant the process may be
//! killed or the power go: what `append` returned for is there; a frame that was half written is cut off; a frame that was
//! delivered may be delivered again, if the cursor had not been written. Layout: `docs/formats.md`.

mod cursor;
mod error;
mod frame;
mod segment;

pub use error::SpoolError;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::event::Batch;
use crate::line_file::Locked;
use cursor::{Cursor, CursorFile};
use segment::{Segment, Tail};

/// How much a spool holds, and in which portions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Its directory, made with mode 0700 if it is not there. One spool, one sink, one process.
    pub dir: PathBuf,
    /// Most bytes of all segments together.
    pub max_bytes: u64,
    /// A segment that is this long is not added to.
    pub segment_bytes: u64,
    /// What happens when it is full.
    pub when_full: WhenFull,
}

/// What happens to events for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// They wait, and so does whoever emits more. Nothing is lost.
    #[default]
    Block,
    /// They are lost, counted and logged. What is in the spool already stays: it was acknowledged.
    Shed,
}

impl SpoolSettings {
    /// In a directory, with room for 1 GiB in segments of 16 MiB, and waiting when that is full.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: 1 << 30, segment_bytes: 16 << 20, when_full: WhenFull::Block }
    }
}

/// An open spool. The lock goes with it.
#[derive(Debug)]
pub struct Spool {
    settings: SpoolSettings,
    _lock: Locked,
    /// In order. The last one is added to while `tail` is there.
    segments: VecDeque<Segment>,
    tail: Option<Tail>,
    cursor: Cursor,
    cursor_file: CursorFile,
    head: Option<Head>,
    events: u64,
}

/// The frame that is to be delivered next.
#[derive(Debug)]
struct Head {
    batch: Batch,
    /// Where the frame after it begins.
    end: u64,
}

impl Spool {
    /// Opens a spool, and checks every frame that waits in it.
    ///
    /// # Errors
    ///
    /// A [`SpoolError`]; in particular if another process has it open, or if a frame that was on the disk is not as it
    /// was written.
    pub fn open(settings: SpoolSettings) -> Result<Self, SpoolError> {
        let dir = &settings.dir;
        aegis_durable::make_dir(dir, 0o700).map_err(SpoolError::Prepare)?;
        let lock = lock(dir)?;
        let (cursor, cursor_file) = CursorFile::open(dir)?;
        let mut spool = Self {
            _lock: lock,
            segments: VecDeque::new(),
            tail: None,
            cursor,
            cursor_file,
            head: None,
            events: 0,
            settings,
        };
        spool.take_stock()?;
        Ok(spool)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        // The last one is without a frame if the disk took its header and no more.
        !self.segments.front().is_some_and(Segment::has_frames)
    }

    /// How many events wait.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Bytes of the segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// What happens when it is full.
    pub const fn when_full(&self) -> WhenFull {
        self.settings.when_full
    }

    /// Adds a batch, and returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Full`], or the disk's; the spool is as it was.
    pub fn append(&mut self, batch: &Batch) -> Result<(), SpoolError> {
        let (bytes, payload_len) = (self.bytes(), frame::len_of(batch)?);
        let needed = frame::HEADER_LEN + payload_len;
        let with_it = bytes + needed + if self.segments.is_empty() { segment::HEADER_LEN } else { 0 };
        if with_it > self.settings.max_bytes {
            return Err(SpoolError::Full {
                dir: self.settings.dir.clone(),
                bytes,
                needed,
                limit: self.settings.max_bytes,
            });
        }
        self.make_tail(needed)?;
        let (Some(tail), Some(last)) = (&mut self.tail, self.segments.back_mut()) else {
            return Err(SpoolError::gone(&self.settings.dir));
        };
        let frame = frame::encode(batch, last.number, last.len)?;
        tail.append(last, &frame)?;
        self.events += batch.events().len() as u64;
        self.cursor.synced = (last.number, last.len);
        // Only a note for the next start, which does without it: no error of this event.
        self.cursor_file.write(&self.cursor);
        Ok(())
    }

    /// The batch that is to be delivered next.
    ///
    /// # Errors
    ///
    /// A [`SpoolError`] if it cannot be read, or is not as it was written.
    pub fn head(&mut self) -> Result<Option<&Batch>, SpoolError> {
        if self.head.is_none()
            && let Some(first) = self.segments.front().filter(|first| first.has_frames())
        {
            let at = self.delivered_of(first.number);
            let (batch, end) = segment::read_frame(&self.settings.dir, first, at)?;
            self.head = Some(Head { batch, end });
        }
        Ok(self.head.as_ref().map(|head| &head.batch))
    }

    /// Takes the batch away that [`head`](Self::head) gave: it was delivered.
    ///
    /// # Errors
    ///
    /// A [`SpoolError`] if a segment that was delivered could not be removed. The batch is not given again before a
    /// restart.
    pub fn advance(&mut self) -> Result<(), SpoolError> {
        let (Some(head), Some(first)) = (self.head.take(), self.segments.front()) else { return Ok(()) };
        self.events = self.events.saturating_sub(head.batch.events().len() as u64);
        self.cursor.delivered = (first.number, head.end);
        self.cursor_file.write(&self.cursor);
        if head.end < first.len {
            return Ok(());
        }
        let path = segment::path(&self.settings.dir, first.number);
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.tail = None;
        }
        std::fs::remove_file(&path).map_err(|source| SpoolError::Io { step: "remove", path, source })
    }

    /// Where the next frame of a segment begins.
    fn delivered_of(&self, number: u64) -> u64 {
        match self.cursor.delivered {
            (delivered, offset) if delivered == number => offset.max(segment::HEADER_LEN),
            _ => segment::HEADER_LEN,
        }
    }

    /// Makes sure of a segment that takes a frame.
    fn make_tail(&mut self, needed: u64) -> Result<(), SpoolError> {
        if let (Some(tail), Some(last)) = (&mut self.tail, self.segments.back()) {
            tail.mend(last)?;
            if last.len + needed <= self.settings.segment_bytes || !last.has_frames() {
                return Ok(());
            }
        }
        // A number above every one that was used, so that an old cursor never speaks of a new segment.
        let last = self.segments.back().copied().unwrap_or_default();
        let number = last.number.max(self.cursor.delivered.0).max(self.cursor.synced.0) + 1;
        let (tail, segment) = Tail::create(&self.settings.dir, number, last)?;
        self.tail = Some(tail);
        self.segments.push_back(segment);
        Ok(())
    }

    /// Looks at all segments, removes what was delivered, and cuts off what was half written.
    fn take_stock(&mut self) -> Result<(), SpoolError> {
        let dir = self.settings.dir.clone();
        let numbers = segment::numbers(&dir)?;
        for (place, number) in numbers.iter().copied().enumerate() {
            let next = numbers.get(place + 1).copied();
            let from = self.delivered_of(number);
            let stock = if number < self.cursor.delivered.0 {
                None
            } else {
                segment::check(&dir, number, from, self.known_len(number, next)?)?
            };
            match stock {
                Some(stock) if stock.segment.len > from => {
                    self.events += stock.events;
                    if next.is_none() {
                        self.tail = Some(Tail::reopen(&dir, &stock.segment)?);
                    }
                    self.segments.push_back(stock.segment);
                }
                _ => segment::remove(&dir, number)?,
            }
        }
        Ok(())
    }

    /// How long a segment has to be at least: what the one after it says, or the note of what was synced.
    fn known_len(&self, number: u64, next: Option<u64>) -> Result<u64, SpoolError> {
        let told = match next {
            Some(next) => segment::previous(&self.settings.dir, next)?,
            None => None,
        };
        Ok(match (told, self.cursor.synced) {
            (Some(told), _) if told.number == number => told.len,
            (_, (synced, len)) if synced == number => len,
            _ => 0,
        })
    }
}

fn lock(dir: &Path) -> Result<Locked, SpoolError> {
    let path = dir.join("lock");
    let failed = |step, source| SpoolError::Io { step, path: path.clone(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(&path)
        .map_err(|source| failed("open", source))?;
    let locked = Locked::try_lock(file).map_err(|source| failed("lock", source))?;
    locked.ok_or_else(|| SpoolError::InUse { dir: dir.to_owned() })
}

/// A file of the spool: no link is followed, and nothing but a regular file is taken.
fn open_own(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = options.mode(0o600).custom_flags(flags.bits().cast_signed()).open(path)?;
    match aegis_durable::check_regular(&file.metadata()?, path) {
        Ok(()) => Ok(file),
        Err(error) => Err(std::io::Error::other(error)),
    }
}

/// Reads a small file of the spool's own.
fn read_own(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, SpoolError> {
    aegis_durable::read_state(path, limit).map_err(SpoolError::Read)
}

//! Files of events: read and written through gzip (RFC 1952) or Zstandard (RFC 8878) if their name says so.
//!
//! Members of gzip and frames of Zstandard may follow one another in a file; the events of all are read. Reading takes the
//! same memory whatever the file says: a window of more than 8 MiB, which `zstd -19` does not have, is refused.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_pii::stream::{Input, Inputs, ReadAt};
use flate2::write::GzEncoder;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstandard,
}

/// The logarithm of the largest window that is read.
const WINDOW_LOG_MAX: u32 = 23;
/// What `zstd` calls -1: sealed events repeat themselves so much that more brings little.
const ZSTD_LEVEL: i32 = 1;

impl Compression {
    /// What the name of a file says.
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("gz") {
            Self::Gzip
        } else if extension.eq_ignore_ascii_case("zst") {
            Self::Zstandard
        } else {
            Self::None
        }
    }

    /// What `reader` holds.
    ///
    /// # Errors
    ///
    /// There is no memory to decompress it.
    pub fn reader(self, reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::None => Box::new(reader),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Self::Zstandard => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// A file of events that is written.
pub enum EventWriter {
    /// As it is.
    Plain(File),
    /// Through gzip.
    Gzip(Box<GzEncoder<File>>),
    /// Through Zstandard.
    Zstandard(Box<zstd::stream::write::Encoder<'static, File>>),
}

impl EventWriter {
    /// Writes to `file`.
    ///
    /// # Errors
    ///
    /// There is no memory to compress it.
    pub fn new(file: File, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(file),
            Compression::Gzip => Self::Gzip(Box::new(GzEncoder::new(file, flate2::Compression::fast()))),
            Compression::Zstandard => {
                let mut encoder = zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstandard(Box::new(encoder))
            }
        })
    }

    /// Writes what is left, and gives the file back.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn finish(self) -> io::Result<File> {
        match self {
            Self::Plain(file) => Ok(file),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstandard(encoder) => encoder.finish(),
        }
    }
}

impl Write for EventWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstandard(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstandard(encoder) => encoder.flush(),
        }
    }
}

impl std::fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventWriter").finish_non_exhaustive()
    }
}

/// Files of events to read, one after the other.
pub struct EventFiles {
    files: Vec<PathBuf>,
    told: Arc<dyn Fn(u64) + Send + Sync>,
}

impl EventFiles {
    /// These files, and `-` for standard input. `told` hears of bytes that were read, before decompression.
    pub fn new(files: Vec<PathBuf>, told: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { files, told: Arc::new(told) }
    }

    /// Bytes of all of them, if that is known: none is a pipe, and all are there.
    pub fn total_len(files: &[PathBuf]) -> Option<u64> {
        files.iter().try_fold(0_u64, |sum, file| {
            let metadata = match is_stdin(file) {
                true => stdin().and_then(|file| file.metadata()),
                false => std::fs::metadata(file),
            };
            metadata.ok().filter(std::fs::Metadata::is_file).map(|found| sum.saturating_add(found.len()))
        })
    }

    /// The files, each opened when it is its turn.
    pub fn into_inputs(self) -> Inputs {
        let Self { files, told } = self;
        Box::new(files.into_iter().map(move |path| {
            let (file, is_shared) =
                if is_stdin(&path) { (stdin()?, true) } else { (File::open(&path)?, false) };
            let told = Arc::clone(&told);
            let compression = Compression::of(&path);
            if compression == Compression::None
                && let Some(begin) = position(&file)?
            {
                let begin = if is_shared { begin } else { 0 };
                return Ok(Input::Anywhere(Arc::new(Placed::new(file, begin, is_shared, told))));
            }
            compression.reader(Told { file, told }).map(Input::InOrder)
        }))
    }
}

/// Standard input without a buffer: what has arrived is read at once, and in large pieces.
fn stdin() -> io::Result<File> {
    use std::os::fd::AsFd as _;
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Where a file stands, if it can be read at any place. What the kernel makes up while it is read (of /proc, of a trace)
/// says that it is a regular file without a byte, and may have no places.
fn position(mut file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    Ok(if metadata.is_file() && metadata.len() > 0 { file.stream_position().ok() } else { None })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file that is read at places.
struct Placed {
    file: File,
    /// Where it begins for whoever reads it: standard input may have been read from before.
    begin: u64,
    /// Whether whoever reads it next is to find what follows: it is standard input.
    is_shared: bool,
    /// Bytes from `begin` on that were read.
    read_to: AtomicU64,
    told: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Placed {
    fn new(file: File, begin: u64, is_shared: bool, told: Arc<dyn Fn(u64) + Send + Sync>) -> Self {
        Self { file, begin, is_shared, read_to: AtomicU64::new(0), told }
    }
}

impl ReadAt for Placed {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(into, self.begin.saturating_add(offset))?;
        if read > 0 {
            let end = offset.saturating_add(read as u64);
            // A piece may be read again; it counts once.
            let before = self.read_to.fetch_max(end, Ordering::Relaxed);
            (self.told)(end.saturating_sub(before));
        }
        Ok(read)
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.is_shared {
            let end = self.begin.saturating_add(*self.read_to.get_mut());
            // Whoever cannot be told where it ended reads what was read before.
            let _ = self.file.seek(SeekFrom::Start(end));
        }
    }
}

struct Told {
    file: File,
    told: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Read for Told {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        (self.told)(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_shared_is_read_from_where_it_stands_and_left_at_its_end() {
        let directory = test_services::scratch::dir();
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, "before{}\n{}\n").unwrap();
        let mut file = File::open(path).unwrap();
        for (is_shared, seek_to, begin, end) in [(true, 6, 6, 12), (false, 6, 0, 6), (true, 12, 12, 12)] {
            file.seek(SeekFrom::Start(seek_to)).unwrap();
            let told = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&told);
            let count = move |more| {
                counter.fetch_add(more, Ordering::Relaxed);
            };
            let stands_at = position(&file).unwrap().unwrap();
            assert_eq!(stands_at, seek_to);
            let placed = Placed::new(file.try_clone().unwrap(), begin, is_shared, Arc::new(count));
            let mut into = [0; 64];
            // In any order, and again.
            for offset in [3, 0, 0] {
                let read = placed.read_at(&mut into, offset).unwrap();
                let expected = b"before{}\n{}\n".get(usize::try_from(begin + offset).unwrap()..);
                assert_eq!(into.get(..read), expected.or(Some(&[])), "{is_shared} {offset}");
            }
            drop(placed);
            assert_eq!(file.stream_position().unwrap(), end);
            assert_eq!(told.load(Ordering::Relaxed), 12 - begin, "what is read again counts once");
        }
    }

    #[test]
    fn what_has_no_places_is_read_in_order() {
        let of = |path: &str| {
            let files = EventFiles::new(vec![path.into()], |_| {});
            files.into_inputs().next().unwrap().unwrap()
        };
        for path in ["/proc/self/comm", "/dev/null"] {
            assert!(matches!(of(path), Input::InOrder(_)), "{path}");
        }
        assert!(matches!(of("/proc/self/exe"), Input::Anywhere(_)));
    }
}

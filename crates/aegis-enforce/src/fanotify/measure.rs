//! SHA-256 of what is run.
//!
//! A hash is remembered only of files that nobody but root could change: a file that its owner has mapped can change
//! without its times saying so.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_crypto::{Digest, Sha256};

use super::subject::Subject;

/// Longer programs are not hashed: an answer must come in bounded time.
const MAX_PROGRAM: u64 = 1 << 30;
const CHUNK: usize = 128 << 10;
/// So many hashes are remembered.
const MAX_REMEMBERED: usize = 16_384;
/// What changed less than so many seconds ago may change again within one tick of the file system's clock.
const SETTLED_SECS: i64 = 2;
/// `FUSE_SUPER_MAGIC`: what such a file holds is for its server to say, anew at each reading.
const FUSE: i64 = 0x6573_5546;

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmeasured {
    #[error("not a regular file")]
    NotAFile,
    #[error("the program has more than {MAX_PROGRAM} bytes")]
    TooLong,
    #[error("the file is served by a program (FUSE)")]
    Served,
    #[error("the program changed while it was read")]
    Changed,
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// Hashes of programs by file.
#[derive(Debug, Default)]
pub(super) struct Measures {
    remembered: Mutex<HashMap<Subject, Digest>>,
}

impl Measures {
    /// The hash, if it is remembered.
    pub(super) fn known(&self, program: &Subject) -> Option<Digest> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(program).copied()
    }

    /// Reads the file. `link` is a path that is this very file.
    pub(super) fn measure(&self, file: impl AsFd, link: &std::path::Path) -> Result<Digest, Unmeasured> {
        let file = file.as_fd();
        let before = Subject::at(link).map_err(io::Error::from)?;
        if !before.is_file() {
            return Err(Unmeasured::NotAFile);
        }
        if before.size > MAX_PROGRAM {
            return Err(Unmeasured::TooLong);
        }
        if rustix::fs::fstatfs(file).map_err(io::Error::from)?.f_type == FUSE {
            return Err(Unmeasured::Served);
        }
        if let Some(digest) = self.known(&before) {
            return Ok(digest);
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0_u8; CHUNK];
        let mut offset = 0_u64;
        loop {
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut buffer, offset));
            let length = read.map_err(io::Error::from)?;
            let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else { break };
            hash.update(part);
            offset += length as u64;
            if offset > before.size {
                return Err(Unmeasured::Changed);
            }
        }
        let after = Subject::at(link).map_err(io::Error::from)?;
        if offset != before.size || after != before {
            return Err(Unmeasured::Changed);
        }
        let digest = hash.finish();
        if before.only_root_writes() && settled(&before) {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(before, digest);
        }
        Ok(digest)
    }
}

fn settled(program: &Subject) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let now = now.and_then(|now| i64::try_from(now.as_secs()).ok());
    now.is_some_and(|now| program.changed.0.saturating_add(SETTLED_SECS) < now)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::path::Path;

    use super::*;

    fn measure(measures: &Measures, path: &Path) -> Result<Digest, Unmeasured> {
        measures.measure(File::open(path).expect("it opens"), path)
    }

    #[test]
    fn a_hash_is_remembered_only_of_what_nobody_else_could_change() {
        let measures = Measures::default();
        let mut fresh = tempfile::NamedTempFile::new().expect("a temporary file");
        fresh.write_all(b"#!/bin/sh\n").expect("it takes bytes");
        let digest = measure(&measures, fresh.path()).expect("a hash");
        assert_eq!(digest, aegis_crypto::sha256(b"#!/bin/sh\n"));
        assert_eq!(measures.known(&Subject::at(fresh.path()).expect("a file")), None);
        let old = Subject::at(Path::new("/bin/sh")).expect("a file");
        let digest = measure(&measures, Path::new("/bin/sh")).expect("a hash");
        let remembered = old.only_root_writes().then_some(digest);
        assert_eq!(measures.known(&old), remembered);
    }

    #[test]
    fn refuses_what_has_no_content_of_its_own() {
        let measures = Measures::default();
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(matches!(measure(&measures, directory.path()), Err(Unmeasured::NotAFile)));
        let long = tempfile::NamedTempFile::new().expect("a temporary file");
        long.as_file().set_len(MAX_PROGRAM + 1).expect("a sparse file");
        assert!(matches!(measure(&measures, long.path()), Err(Unmeasured::TooLong)));
    }
}

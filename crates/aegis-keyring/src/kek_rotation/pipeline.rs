//! Pages from the store, worked on by threads, back to the store in batches. Memory does not grow with the keyring.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::record::StoredWrapping;
use crate::version::DekVersion;

/// Wrappings that the store gives at a time.
pub(super) const PAGE: usize = 256;
/// Results that are written in one transaction: so many share one sync of the disk.
const BATCH: usize = 512;
/// Wrappings that a worker takes at a time.
const CHUNK: usize = 32;
/// Chunks that wait for each worker, and for the writer.
const AHEAD: usize = 2;
/// Most workers, however many are asked for: more would only take memory.
const MAX_THREADS: usize = 256;

/// The system gives this process no thread.
pub(super) struct NoThread(pub(super) io::Error);

/// Reads pages until one is empty, has workers make a result of each wrapping, and writes batches of results.
///
/// Reading has a thread of its own; writing is done by the caller's. Where the system does not give as many threads as are
/// wanted, fewer do the work. The first error of any ends it all; what was written stays.
pub(super) fn run<O, E, W>(
    threads: NonZeroUsize,
    read: impl FnMut(Option<DekVersion>) -> Result<Vec<StoredWrapping>, E> + Send,
    worker: impl Fn() -> Result<W, E> + Sync,
    mut write: impl FnMut(Vec<O>) -> Result<(), E>,
) -> Result<(), E>
where
    O: Send,
    E: Send + From<NoThread>,
    W: FnMut(StoredWrapping) -> Result<O, E>,
{
    let threads = threads.get().min(MAX_THREADS);
    let queue = threads.saturating_mul(AHEAD);
    let (to_workers, work) = sync_channel(queue);
    let (to_writer, results) = sync_channel(queue);
    // Only workers hold the receiver: when the last of them ends, the reader cannot be left waiting for one.
    let work = Arc::new(Mutex::new(work));
    thread::scope(|scope| {
        let for_reader = to_writer.clone();
        start(scope, move || read_pages(read, &to_workers, &for_reader)).map_err(NoThread)?;
        for number in 0..threads {
            let (work, to_writer, worker) = (Arc::clone(&work), to_writer.clone(), &worker);
            match start(scope, move || work_on(&work, &to_writer, worker)) {
                Ok(()) => {}
                Err(error) if number == 0 => return Err(NoThread(error).into()),
                Err(error) => {
                    tracing::warn!(%error, wanted = threads, workers = number, "fewer threads than were wanted");
                    break;
                }
            }
        }
        drop((work, to_writer));

        let mut batch = Vec::with_capacity(BATCH);
        for result in results {
            batch.extend(result?);
            if batch.len() >= BATCH {
                write(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))?;
            }
        }
        if batch.is_empty() { Ok(()) } else { write(batch) }
    })
}

/// As `Scope::spawn`, which panics where there is no thread to be had.
fn start<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    thread::Builder::new().spawn_scoped(scope, work).map(drop)
}

type Results<O, E> = SyncSender<Result<Vec<O>, E>>;

/// A sender that fails has nobody left who waits: the caller has an error already.
fn read_pages<O, E>(
    mut read: impl FnMut(Option<DekVersion>) -> Result<Vec<StoredWrapping>, E>,
    to_workers: &SyncSender<Vec<StoredWrapping>>,
    to_writer: &Results<O, E>,
) {
    let mut after = None;
    loop {
        let mut page = match read(after) {
            Ok(page) => page,
            Err(error) => {
                let _ = to_writer.send(Err(error));
                return;
            }
        };
        let Some(last) = page.last() else { return };
        after = Some(last.version);
        while !page.is_empty() {
            let rest = page.split_off(page.len().min(CHUNK));
            if to_workers.send(std::mem::replace(&mut page, rest)).is_err() {
                return;
            }
        }
    }
}

fn work_on<O, E, W: FnMut(StoredWrapping) -> Result<O, E>>(
    work: &Mutex<Receiver<Vec<StoredWrapping>>>,
    to_writer: &Results<O, E>,
    worker: &impl Fn() -> Result<W, E>,
) {
    let mut worker = match worker() {
        Ok(worker) => worker,
        Err(error) => {
            let _ = to_writer.send(Err(error));
            return;
        }
    };
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(chunk) = next else { return };
        let results: Result<Vec<O>, E> = chunk.into_iter().map(&mut worker).collect();
        let failed = results.is_err();
        if to_writer.send(results).is_err() || failed {
            return;
        }
    }
}

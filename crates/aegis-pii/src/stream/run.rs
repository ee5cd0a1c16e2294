//! One thread, or several.
//!
//! Several take turns to read a chunk, transform it on their own, and leave it to whoever finishes the chunk that is next
//! in order to write all that are ready. There is no thread that only reads or writes, so two threads do twice the work.
//! Of a file they read at the same time, each its own piece; only to cut it into events is done in turn (see `input`).
//!
//! An event over [`LARGE`] is worked on alone: it is read, transformed and written while the others wait. What smaller ones
//! become is counted before there is memory for it, and waits while all threads together hold too much. So these
//! hold little more than one does.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::StreamOptions;
use super::chunk::{Done, EventError, EventPlace, OnRefusal, Rules, transform};
use super::commit::{Committer, Next};
use super::input::Inputs;
use super::memory::{Buffers, Memory, shrink};
use super::pool::{Loan, Pool};
use super::split::{ArrayFault, Chunk, SplitError, Splitter};
use super::transform::{Counts, Transform};

/// How a stream ended, if it did not fail.
#[derive(Debug)]
pub struct StreamEnd<W> {
    /// Where it was written. Nothing was flushed or closed.
    pub output: W,
    /// What was done.
    pub counts: Counts,
    /// Events that were refused.
    pub refused: u64,
    /// The first of them.
    pub first_refused: Option<EventPlace>,
    /// Whether whoever reads the output left before it ended (`| head`).
    pub reader_left: bool,
}

/// Why a stream ended early. What stood before that place was written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError<E: Error + 'static> {
    /// An input cannot be read.
    #[error("the input cannot be read")]
    Read {
        /// Its number, from 0.
        input: usize,
        /// Why.
        source: io::Error,
    },
    /// An event is refused, and that is where to stop.
    #[error("event {} is refused", place.number)]
    Event {
        /// Where it stands.
        place: EventPlace,
        /// Why.
        #[source]
        error: EventError<E>,
    },
    /// It is not one array.
    #[error("at byte {offset}: {fault}")]
    Array {
        /// The input, from 0.
        input: usize,
        /// Bytes before the fault in that input.
        offset: u64,
        /// What is wrong.
        fault: ArrayFault,
    },
    /// A refused event could not be handed over.
    #[error("event {} is refused, and could not be handed over", place.number)]
    HandOver {
        /// Where it stands.
        place: EventPlace,
        /// Why.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Write(#[source] io::Error),
}

/// Transforms the events of `inputs` and writes what becomes of them to `output`, in the same order.
///
/// `make` makes what transforms, once for each thread. If a thread is waiting for input when another one comes to the end
/// of it all, it is left behind until the input moves.
///
/// # Errors
///
/// A [`StreamError`].
pub fn run<T: Transform, W: Write + Send + 'static>(
    inputs: Inputs,
    output: W,
    options: &StreamOptions,
    on_refusal: OnRefusal<T::Error>,
    mut make: impl FnMut() -> T,
) -> Result<StreamEnd<W>, StreamError<T::Error>> {
    let rules = Rules { refusals: on_refusal.refusals(), max_event_len: options.max_event_len };
    let splitter = Splitter::new(inputs, options, on_refusal.too_long());
    let mut committer = Committer::new(output, on_refusal);
    let next = if options.threads.get() == 1 {
        alone(splitter, &mut committer, rules, make())
    } else {
        let shared = Arc::new(Shared::new(splitter, committer, rules, options));
        for thread in 0..options.threads.get() {
            start(&shared, thread, make());
        }
        let (ended, next) = shared.wait();
        committer = ended;
        next
    };
    let reader_left = match next {
        Next::Failed(error) => return Err(error),
        Next::ReaderLeft => true,
        Next::More | Next::End => false,
    };
    let Committer { output, counts, refused, first_refused, .. } = committer;
    Ok(StreamEnd { output, counts, refused, first_refused, reader_left })
}

/// The most bytes of an event that is worked on while other threads work on others.
const LARGE: usize = 256 << 10;
/// Threads that may be reading, or have read and wait for their turn. What they have read is no part of what the others
/// hold while one works on an event that is [`LARGE`].
const READING_AT_ONCE: u64 = 4;

fn alone<T: Transform, W: Write>(
    mut splitter: Splitter,
    committer: &mut Committer<W, T::Error>,
    rules: Rules,
    mut transformer: T,
) -> Next<T::Error> {
    let mut buffers = Buffers::default();
    loop {
        // One thread holds the most with its largest event; what it needed then, it may keep.
        let chunk = match splitter.next_chunk(buffers.bytes, None, &mut |_| {}) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Committer::<W, _>::end(None),
            Err(error) => return Committer::<W, _>::end(Some(error)),
        };
        let mut done = transform(&mut transformer, chunk, rules, buffers.out, &mut |_| {});
        let next = committer.commit(&mut done);
        if !matches!(next, Next::More) {
            return next;
        }
        buffers = done.into_buffers();
    }
}

/// What the threads share. Whoever holds both locks took `reading` first.
struct Shared<W, E: Error + 'static> {
    rules: Rules,
    /// Bytes of what a thread has read into that it keeps for itself.
    most_kept: usize,
    reading: Mutex<Reading>,
    /// A copy of [`Reading::turn`], to look at.
    turn: AtomicU64,
    /// It is the turn of another chunk, or there may be one more.
    turned: Condvar,
    writing: Mutex<Writing<W, E>>,
    /// The end has come.
    ended: Condvar,
    /// A chunk was written, and there is room for another one.
    written: Condvar,
}

struct Reading {
    splitter: Splitter,
    /// The number of the next chunk.
    next: u64,
    /// The number of the chunk that is cut next. From there on to `next`, threads read ahead.
    turn: u64,
    /// Threads that wait for `turned`.
    waiting: usize,
    /// Whether the last event was large. Then the next may be, and nobody reads ahead.
    was_large: bool,
    has_ended: bool,
}

impl Reading {
    /// Whether a thread may say now which chunk will be its own.
    fn is_free(&self) -> bool {
        let ahead = self.next.saturating_sub(self.turn);
        ahead == 0 || !self.was_large && ahead < READING_AT_ONCE && self.splitter.may_claim()
    }
}

struct Writing<W, E: Error + 'static> {
    /// `None` while a thread is writing.
    committer: Option<Committer<W, E>>,
    /// The number of the chunk that is written next.
    next: u64,
    ready: BTreeMap<u64, Ready<E>>,
    pool: Pool,
    /// Threads that wait for `written`. To notify nobody costs a system call too.
    waiting: usize,
    end: Option<Next<E>>,
    has_panicked: bool,
}

enum Ready<E: Error + 'static> {
    Chunk(Done<E>, Loan),
    End(Option<SplitError>),
}

/// What a thread has taken to work on.
struct Read {
    /// Which chunk it is, from the first.
    number: u64,
    /// The chunk, with memory for what becomes of it, or why there is no more: the end, or a fault.
    chunk: Result<(Chunk, Vec<u8>, Loan), Option<SplitError>>,
    /// Whether it is to be worked on alone: nobody else may read until it is written.
    is_alone: bool,
}

impl<W: Write + Send + 'static, E: Error + Send + 'static> Shared<W, E> {
    fn new(splitter: Splitter, committer: Committer<W, E>, rules: Rules, options: &StreamOptions) -> Self {
        Self {
            rules,
            most_kept: options.chunk_len.saturating_mul(2).min(LARGE),
            reading: Mutex::new(Reading {
                splitter,
                next: 0,
                turn: 0,
                waiting: 0,
                was_large: false,
                has_ended: false,
            }),
            turn: AtomicU64::new(0),
            turned: Condvar::new(),
            writing: Mutex::new(Writing {
                committer: Some(committer),
                next: 0,
                ready: BTreeMap::new(),
                pool: Pool::new(options.threads.get()),
                waiting: 0,
                end: None,
                has_panicked: false,
            }),
            ended: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// Waits for the end.
    fn wait(&self) -> (Committer<W, E>, Next<E>) {
        let mut writing = lock(&self.writing);
        loop {
            if let Writing { committer: committer @ Some(_), end: end @ Some(_), .. } = &mut *writing
                && let (Some(committer), Some(end)) = (committer.take(), end.replace(Next::End))
            {
                return (committer, end);
            }
            // What it wrote last may be half of an event, so nobody goes on.
            assert!(!writing.has_panicked, "a thread that transforms events panicked");
            writing = self.ended.wait(writing).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads the next chunk. `None` if there is no more to do.
    fn read<'a>(
        &'a self,
        thread: usize,
        kept: Option<MutexGuard<'a, Reading>>,
        own: &mut Memory,
    ) -> Option<(MutexGuard<'a, Reading>, Read)> {
        let (mut reading, Buffers { mut bytes, out }, loan) = self.begin(thread, kept)?;
        if bytes.used() == 0 {
            bytes = std::mem::take(own);
        }
        let number = reading.next;
        reading.next += 1;
        let mut piece = None;
        if !reading.was_large
            && let Some(claim) = reading.splitter.claim()
        {
            drop(reading);
            piece = Some(claim.read(&mut bytes));
            reading = self.wait_for_turn(number)?;
        }
        let mut is_alone = false;
        let chunk = reading.splitter.next_chunk(bytes, piece, &mut |len| {
            if len > LARGE && !is_alone {
                is_alone = true;
                self.wait_until(|writing| {
                    // Those before it are written, and those after it not cut.
                    (writing.next == number).then(|| writing.pool.shrink())
                });
            }
        });
        let chunk = match chunk {
            Ok(Some(chunk)) => Ok((chunk, out, loan)),
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        };
        reading.has_ended = chunk.is_err();
        reading.was_large = is_alone;
        reading.turn = number + 1;
        self.turn.store(reading.turn, Ordering::Relaxed);
        let waiting = reading.next.saturating_sub(reading.turn);
        reading.splitter.expect(waiting);
        if reading.waiting > 0 {
            self.turned.notify_all();
        }
        Some((reading, Read { number, chunk, is_alone }))
    }

    /// Waits until there is a chunk to be read, and memory for it.
    fn begin<'a>(
        &'a self,
        thread: usize,
        kept: Option<MutexGuard<'a, Reading>>,
    ) -> Option<(MutexGuard<'a, Reading>, Buffers, Loan)> {
        let mut reading = kept.unwrap_or_else(|| lock(&self.reading));
        loop {
            reading = self.wait_for(reading, Reading::is_free)?;
            if let Some((buffers, loan)) = lock(&self.writing).pool.take(thread) {
                return Some((reading, buffers, loan));
            }
            // Those that read ahead have to come to their turn, or nothing would be given back.
            drop(reading);
            self.wait_until(|writing| writing.pool.may_take(thread).then_some(()))?;
            reading = lock(&self.reading);
        }
    }

    /// Waits until it is the turn of a chunk. `None` if the end comes first.
    fn wait_for_turn(&self, number: u64) -> Option<MutexGuard<'_, Reading>> {
        /// So often it is looked at before the thread sleeps: for some microseconds, in which those before it have read what
        /// is as long. To fall asleep and to be woken takes longer.
        const LOOKS: usize = 400;
        for _ in 0..LOOKS {
            if self.turn.load(Ordering::Relaxed) == number {
                break;
            }
            std::hint::spin_loop();
        }
        self.wait_for(lock(&self.reading), |reading| reading.turn == number)
    }

    /// Waits for the turn of others. `None` if the end comes first.
    fn wait_for<'a>(
        &self,
        mut reading: MutexGuard<'a, Reading>,
        is_wanted: impl Fn(&Reading) -> bool,
    ) -> Option<MutexGuard<'a, Reading>> {
        while !reading.has_ended {
            if is_wanted(&reading) {
                return Some(reading);
            }
            reading.waiting += 1;
            reading = self.turned.wait(reading).unwrap_or_else(PoisonError::into_inner);
            reading.waiting -= 1;
        }
        None
    }

    /// After large events, gives back what a chunk that is not large does not need.
    fn make_small(&self, (mut chunk, mut out, loan): (Chunk, Vec<u8>, Loan)) -> (Chunk, Vec<u8>, Loan) {
        let held = chunk.bytes.shrink().saturating_add(shrink(&mut out));
        let loan = lock(&self.writing).pool.count_small(loan, held);
        (chunk, out, loan)
    }

    /// Waits until a chunk may have so many bytes of memory. What is next in order waits for nobody, so that there always
    /// is one that goes on.
    fn make_room(&self, number: u64, loan: &mut Loan, bytes: usize) {
        /// Asked for at a time, so that most events ask for nothing.
        const STEP: usize = 64 << 10;
        if bytes > loan.counted() {
            let bytes = bytes.next_multiple_of(STEP);
            self.wait_until(|writing| {
                let is_next = writing.next == number;
                writing.pool.grow(loan, bytes, is_next).then_some(())
            });
        }
    }

    /// Puts what became of a chunk where it is written from; writes what is next in order, unless another thread does.
    /// Whether there is more to do.
    fn hand_in(&self, number: u64, ready: Ready<E>) -> bool {
        let mut writing = lock(&self.writing);
        let ready = writing.count(ready);
        writing.ready.insert(number, ready);
        if let Some(mut committer) = writing.committer.take() {
            while writing.end.is_none() {
                let next = writing.next;
                let Some(ready) = writing.ready.remove(&next) else { break };
                drop(writing);
                let (next, used) = match ready {
                    Ready::Chunk(mut done, loan) => {
                        (committer.commit(&mut done), Some((loan, done.into_buffers())))
                    }
                    Ready::End(error) => (Committer::<W, E>::end(error), None),
                };
                writing = lock(&self.writing);
                writing.next += 1;
                if let Some((loan, buffers)) = used {
                    writing.pool.put_back(loan, buffers);
                }
                if !matches!(next, Next::More) {
                    writing.end = Some(next);
                }
                if writing.waiting > 0 {
                    self.written.notify_all();
                }
            }
            writing.committer = Some(committer);
            if writing.end.is_some() {
                self.ended.notify_all();
            }
        }
        !writing.has_ended()
    }

    /// Waits for chunks to be written until there is what is wanted. `None` if the end comes first.
    fn wait_until<A>(&self, mut wanted: impl FnMut(&mut Writing<W, E>) -> Option<A>) -> Option<A> {
        let mut writing = lock(&self.writing);
        while !writing.has_ended() {
            if let Some(found) = wanted(&mut writing) {
                return Some(found);
            }
            writing.waiting += 1;
            writing = self.written.wait(writing).unwrap_or_else(PoisonError::into_inner);
            writing.waiting -= 1;
        }
        None
    }
}

impl<W, E: Error + 'static> Writing<W, E> {
    fn has_ended(&self) -> bool {
        self.end.is_some() || self.has_panicked
    }

    /// Counts what the memory of a chunk has become.
    fn count(&mut self, ready: Ready<E>) -> Ready<E> {
        match ready {
            Ready::Chunk(done, loan) => {
                let loan = self.pool.count(loan, done.written());
                Ready::Chunk(done, loan)
            }
            end @ Ready::End(_) => end,
        }
    }
}

fn start<T: Transform, W: Write + Send + 'static>(
    shared: &Arc<Shared<W, T::Error>>,
    thread: usize,
    mut transformer: T,
) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let watched = Watched(&shared);
        // After a large event this thread reads the next one: it may be as large, and here is memory for it.
        let mut kept = None;
        // What it read last is in its processor's cache, and may be read into again as soon as it is transformed, however
        // long what became of it waits to be written.
        let mut own = Memory::default();
        loop {
            let is_after_large = kept.is_some();
            let Some((reading, Read { number, mut chunk, is_alone })) =
                shared.read(thread, kept.take(), &mut own)
            else {
                break;
            };
            if is_after_large && !is_alone {
                chunk = chunk.map(|chunk| shared.make_small(chunk));
                transformer.release_memory();
            }
            if is_alone {
                kept = Some(reading);
            } else {
                drop(reading);
            }
            let ready = match chunk {
                Err(error) => Ready::End(error),
                Ok((chunk, out, mut loan)) => {
                    let read = chunk.bytes.used();
                    let mut room = |out: usize| shared.make_room(number, &mut loan, read.saturating_add(out));
                    let mut done = transform(&mut transformer, chunk, shared.rules, out, &mut room);
                    if done.refused.is_empty() && done.bytes.used() <= shared.most_kept {
                        own = std::mem::take(&mut done.bytes);
                    }
                    Ready::Chunk(done, loan)
                }
            };
            if !shared.hand_in(number, ready) {
                break;
            }
            if let Some(reading) = &kept {
                shared.wait_until(|writing| (writing.next > number).then_some(()));
                if reading.turn < reading.next {
                    // It is the turn of another thread, which may have as large a one.
                    transformer.release_memory();
                    lock(&shared.writing).pool.shrink();
                    kept = None;
                }
            }
        }
        drop(watched);
    });
}

/// Says so if the thread panics.
struct Watched<'a, W, E: Error + 'static>(&'a Shared<W, E>);

impl<W, E: Error + 'static> Drop for Watched<'_, W, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.writing).has_panicked = true;
            self.0.ended.notify_all();
            self.0.written.notify_all();
            // Who waits for its turn would wait for ever.
            lock(&self.0.reading).has_ended = true;
            self.0.turned.notify_all();
        }
    }
}

/// A thread that panicked is found by who waits; nothing that it left behind is used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

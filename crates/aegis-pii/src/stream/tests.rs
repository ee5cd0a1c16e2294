//! The stream itself, with a transform that needs no key: it shouts, and refuses what says `bad`.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is bad")]
struct Bad;

struct Shout;

impl Transform for Shout {
    type Error = Bad;

    fn transform(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Counts, Bad> {
        if event.windows(3).any(|part| part == b"bad") {
            return Err(Bad);
        }
        out.extend(event.iter().map(u8::to_ascii_uppercase));
        Ok(Counts { sealed: 1, ..Counts::default() })
    }
}

/// Gives a piece at each read.
struct Pieces(VecDeque<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.0.pop_front() else { return Ok(0) };
        let len = piece.len().min(into.len());
        into[..len].copy_from_slice(&piece[..len]);
        if len < piece.len() {
            self.0.push_front(piece.split_off(len));
        }
        Ok(len)
    }
}

fn pieces(bytes: &[u8], len: usize) -> Input {
    Input::from(Box::new(Pieces(bytes.chunks(len.max(1)).map(<[u8]>::to_vec).collect())))
}

fn inputs(all: &[&[u8]], piece: usize) -> Inputs {
    let all: Vec<_> = all.iter().map(|bytes| Ok(pieces(bytes, piece))).collect();
    Box::new(all.into_iter())
}

/// A file of which so many bytes are read at once, at most.
struct Piecemeal(Vec<u8>, usize);

impl ReadAt for Piecemeal {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = rest.len().min(into.len()).min(self.1.max(1));
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

fn file(bytes: &[u8], piece: usize) -> Input {
    Input::Anywhere(Arc::new(Piecemeal(bytes.to_vec(), piece)))
}

/// Every second one is a file, or every first.
fn mixed(all: &[&[u8]], piece: usize, first: bool) -> Inputs {
    let of = |(number, bytes): (usize, &&[u8])| match (number % 2 == 0) == first {
        true => Ok(file(bytes, piece)),
        false => Ok(pieces(bytes, piece)),
    };
    let all: Vec<_> = all.iter().enumerate().map(of).collect();
    Box::new(all.into_iter())
}

fn options(framing: Framing, threads: usize, chunk_len: usize) -> StreamOptions {
    StreamOptions { framing, threads: NonZeroUsize::new(threads).unwrap(), chunk_len, max_event_len: 64 }
}

type Ended = Result<StreamEnd<Vec<u8>>, StreamError<Bad>>;

fn shout(all: &[&[u8]], framing: Framing, on_refusal: OnRefusal<Bad>) -> Ended {
    run(inputs(all, 7), Vec::new(), &options(framing, 1, 16), on_refusal, || Shout)
}

fn lines(all: &[&[u8]]) -> Vec<u8> {
    shout(all, Framing::Lines, OnRefusal::Stop).unwrap().output
}

fn array(all: &[u8]) -> Ended {
    shout(&[all], Framing::Array, OnRefusal::Skip)
}

#[test]
fn copies_what_is_no_event_byte_for_byte() {
    let cases: &[(&[&[u8]], &[u8])] = &[
        (&[b""], b""),
        (&[], b""),
        (&[b"a\n"], b"A\n"),
        (&[b"a"], b"A"),
        (&[b"a\r\nb\r\n"], b"A\r\nB\r\n"),
        (&[b"\n\n a\n \t\r\n\n"], b"\n\n A\n \t\r\n\n"),
        (&[b"\xef\xbb\xbfa\n"], b"\xef\xbb\xbfA\n"),
        (&[b"\xef\xbb\xbf"], b"\xef\xbb\xbf"),
        (&[b"\xef\xbb\xbfa", b"\xef\xbb\xbfb\n", b"c"], b"\xef\xbb\xbfA\nB\nC"),
        (&[b"a", b"", b"b"], b"A\nB"),
        (&[b"\xef\xbb\xbf", b"\xef\xbb\xbf", b"b"], b"\xef\xbb\xbfB"),
        (&[b"a\0b\n"], b"A\0B\n"),
    ];
    for (all, expected) in cases {
        assert_eq!(lines(all), *expected, "{all:?}");
    }
}

#[test]
fn an_array_stays_one_whatever_is_left_out_of_it() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"[]", b"[]"),
        (b" \n [ \n ] \r\n", b" \n [ \n ] \r\n"),
        (b"\xef\xbb\xbf[a]", b"\xef\xbb\xbf[A]"),
        (b"[a]", b"[A]"),
        (b"[ a , b ]\n", b"[ A , B ]\n"),
        (b"[bad]", b"[]"),
        (b"[bad,b]", b"[B]"),
        (b"[a, bad]", b"[A]"),
        (b"[bad, bad ,c,bad, d]", b"[C, D]"),
        (b"[[1,[2]],{\"a\":\"],\\\"}\\\\\"},\"b,]\"]", b"[[1,[2]],{\"A\":\"],\\\"}\\\\\"},\"B,]\"]"),
    ];
    for (all, expected) in cases {
        assert_eq!(array(all).unwrap().output, *expected, "{}", String::from_utf8_lossy(all));
    }
}

#[test]
fn refuses_what_is_not_one_array() {
    use ArrayFault::{NoArray, TrailingBytes, UnexpectedEnd};
    let cases: &[(&[u8], u64, ArrayFault)] = &[
        (b"", 0, NoArray),
        (b"  \n", 3, NoArray),
        (b"\xef\xbb", 2, NoArray),
        (b"  {}", 2, NoArray),
        (b"[", 1, UnexpectedEnd),
        (b"[a", 2, UnexpectedEnd),
        (b"[a,", 3, UnexpectedEnd),
        (b"[\"a]", 4, UnexpectedEnd),
        (b"[{]", 3, UnexpectedEnd),
        (b"[a]  b", 5, TrailingBytes),
        (b"[a],", 3, TrailingBytes),
        (b"[a]]", 3, TrailingBytes),
    ];
    for (all, at, wanted) in cases {
        match array(all) {
            Err(StreamError::Array { offset, fault, input: 0 }) => {
                assert_eq!((offset, fault), (*at, *wanted), "{}", String::from_utf8_lossy(all));
            }
            other => panic!("{}: {other:?}", String::from_utf8_lossy(all)),
        }
    }
    // A comma too many is an element that is not there; what transforms refuses it, as it is no JSON.
    let ended = array(b"[a,]").unwrap();
    assert_eq!((ended.output.as_slice(), ended.counts.events), (&b"[A,]"[..], 2));
}

#[test]
fn stops_at_the_first_refusal_and_writes_what_is_before_it() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let all: &[&[u8]] = &[b"a\nb\n", b"\n\nc\nbad\nd\n"];
    for threads in [1, 3] {
        written.lock().unwrap().clear();
        let output = Shared(Arc::clone(&written));
        let ended =
            run(inputs(all, 5), output, &options(Framing::Lines, threads, 4), OnRefusal::Stop, || Shout);
        let Err(StreamError::Event { place, error: EventError::Refused(Bad) }) = ended else {
            panic!("not refused")
        };
        assert_eq!(place, EventPlace { input: 1, number: 4, offset: 4 });
        assert_eq!(*written.lock().unwrap(), b"A\nB\n\n\nC\n");
    }
}

#[test]
fn skips_and_counts() {
    let ended = shout(&[b"bad\na\nbad", b"b\nbad\n"], Framing::Lines, OnRefusal::Skip).unwrap();
    assert_eq!(ended.output, b"A\nB\n");
    assert_eq!((ended.counts.events, ended.counts.sealed, ended.refused), (2, 2, 3));
    assert_eq!(ended.first_refused, Some(EventPlace { input: 0, number: 1, offset: 0 }));
}

type Taken = (EventPlace, u64, bool, Option<Vec<u8>>, String);

#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<Taken>>>);

impl RefusedEvents<Bad> for Letters {
    fn take(&mut self, event: &RefusedEvent<'_, Bad>) -> io::Result<()> {
        let RefusedEvent { place, len, sha256, bytes, error } = event;
        // Of what is over the limit, these tests know what it is.
        let long = vec![b'x'; usize::try_from(*len).unwrap()];
        let ends_in_lf = [&long[1..], b"\n"].concat();
        let digest = |bytes: &[u8]| aegis_crypto::sha256(bytes) == *sha256;
        let is_right = bytes.map_or_else(|| digest(&long) || digest(&ends_in_lf), digest);
        let taken = (*place, *len, is_right, bytes.map(<[u8]>::to_vec), error.to_string());
        self.0.lock().unwrap().push(taken);
        Ok(())
    }
}

#[test]
fn hands_over_what_is_refused_with_its_place_and_its_digest() {
    let long = "x".repeat(70);
    let all = format!("a\nbad\n{long}\nb\n{long}");
    for threads in [1, 2] {
        for piece in [1, 3, 1000] {
            let taken = Letters::default();
            let on_refusal = OnRefusal::HandOver(Box::new(taken.clone()));
            let ended = run(
                inputs(&[all.as_bytes()], piece),
                Vec::new(),
                &options(Framing::Lines, threads, 16),
                on_refusal,
                || Shout,
            );
            assert_eq!(ended.unwrap().output, b"A\nB\n", "{threads} {piece}");
            let place = |number, offset| EventPlace { input: 0, number, offset };
            let too_long = "it has more than 64 bytes".to_owned();
            let taken = taken.0.lock().unwrap().clone();
            assert_eq!(
                taken,
                [
                    (place(2, 2), 4, true, Some(b"bad\n".to_vec()), "it is bad".to_owned()),
                    (place(3, 6), 71, true, None, too_long.clone()),
                    (place(5, 79), 70, true, None, too_long),
                ],
                "{threads} {piece}"
            );
        }
    }
}

#[test]
fn an_event_over_the_limit_is_passed_over_without_being_held() {
    /// Counts what it gave, and never ends a line.
    struct Endless(Arc<AtomicUsize>);
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(b'x');
            self.0.fetch_add(into.len(), Ordering::Relaxed);
            Ok(into.len())
        }
    }
    // Stopping does not wait for the end of a line that has none.
    let given = Arc::new(AtomicUsize::new(0));
    let endless = Input::from(Box::new(Endless(Arc::clone(&given))));
    let ended = run(
        Box::new(std::iter::once(Ok(endless))),
        Vec::new(),
        &options(Framing::Lines, 1, 16),
        OnRefusal::Stop,
        || Shout,
    );
    assert!(matches!(ended, Err(StreamError::Event { error: EventError::TooLong { limit: 64 }, .. })));
    assert!(given.load(Ordering::Relaxed) < 200);

    // A long one: the digest is that of all of it.
    let long = vec![b'x'; 1 << 20];
    for (framing, all, rest) in [
        (Framing::Lines, [&long[..], b"\nb\n"].concat(), &b"B\n"[..]),
        (Framing::Array, [b"[", &long[..], b",b,", &long, b"]"].concat(), &b"[B]"[..]),
        (Framing::Array, [b"[a,\"", &long[..], b"\",b,[", &long, b",]]"].concat(), &b"[A,B]"[..]),
    ] {
        let ended =
            run(inputs(&[&all], 999), Vec::new(), &options(framing, 1, 16), OnRefusal::Skip, || Shout);
        let ended = ended.unwrap();
        assert_eq!(ended.output, rest);
        assert!(ended.refused >= 1);
    }
    let taken = Letters::default();
    let handed = run(
        inputs(&[&long], 999),
        Vec::new(),
        &options(Framing::Lines, 1, 16),
        OnRefusal::HandOver(Box::new(taken.clone())),
        || Shout,
    );
    handed.unwrap();
    let (_, len, is_right, ..) = taken.0.lock().unwrap()[0].clone();
    assert_eq!((len, is_right), (1 << 20, true));
}

/// A writer of which something is kept outside.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_has_arrived_is_written_before_more_is_asked_for() {
    /// Checks at each read that everything before was written.
    struct Asking(VecDeque<&'static [u8]>, Arc<Mutex<Vec<u8>>>, Vec<u8>);
    impl Read for Asking {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert_eq!(*self.1.lock().unwrap(), self.2);
            let Some(piece) = self.0.pop_front() else { return Ok(0) };
            into[..piece.len()].copy_from_slice(piece);
            let whole = piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            self.2.extend(piece[..whole].to_ascii_uppercase());
            Ok(piece.len())
        }
    }
    let written = Arc::new(Mutex::new(Vec::new()));
    let asking = Asking(VecDeque::from([&b"a\n"[..], b"b\nc\n", b"d\n"]), Arc::clone(&written), Vec::new());
    let asking = Input::from(Box::new(asking));
    let options = options(Framing::Lines, 1, 1 << 16);
    run(Box::new(std::iter::once(Ok(asking))), Shared(written), &options, OnRefusal::Stop, || Shout).unwrap();
}

#[test]
fn a_failing_input_or_output_ends_it_and_a_reader_who_left_is_no_failure() {
    struct Failing(io::ErrorKind);
    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for threads in [1, 2] {
        let options = options(Framing::Lines, threads, 16);
        let run_to = |kind| run(inputs(&[b"a\nb\n"], 2), Failing(kind), &options, OnRefusal::Stop, || Shout);
        assert!(run_to(io::ErrorKind::BrokenPipe).unwrap().reader_left);
        assert!(matches!(run_to(io::ErrorKind::StorageFull), Err(StreamError::Write(_))));

        let written = Arc::new(Mutex::new(Vec::new()));
        let all: Vec<io::Result<Input>> =
            vec![Ok(pieces(b"a\nb\n", 1)), Err(io::ErrorKind::NotFound.into()), Ok(pieces(b"c\n", 1))];
        let ended =
            run(Box::new(all.into_iter()), Shared(Arc::clone(&written)), &options, OnRefusal::Skip, || Shout);
        assert!(matches!(ended, Err(StreamError::Read { input: 1, .. })));
        assert_eq!(*written.lock().unwrap(), b"A\nB\n");
    }
}

#[test]
fn a_panic_of_a_thread_is_one_of_the_caller() {
    struct Panics;
    impl Transform for Panics {
        type Error = Bad;
        fn transform(&mut self, event: &[u8], _: &mut Vec<u8>) -> Result<Counts, Bad> {
            assert!(event != b"b", "on purpose");
            Ok(Counts::default())
        }
    }
    let options = options(Framing::Lines, 2, 2);
    let all = b"a\n".repeat(50).into_iter().chain(*b"b\n").chain(b"a\n".repeat(50)).collect::<Vec<_>>();
    let ended = std::panic::catch_unwind(move || {
        let _ = run(inputs(&[&all], 2), Vec::new(), &options, OnRefusal::Stop, || Panics);
    });
    assert!(ended.is_err());
}

#[test]
fn a_large_event_is_worked_on_while_nothing_else_is() {
    #[derive(Clone, Default)]
    struct Alone {
        at_work: Arc<AtomicUsize>,
        released: Arc<AtomicUsize>,
    }
    impl Transform for Alone {
        type Error = Bad;
        fn transform(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Counts, Bad> {
            let others = self.at_work.fetch_add(1, Ordering::SeqCst);
            if event.len() > 300 << 10 {
                // Whoever else began before is seen, and who would begin now has the time to.
                std::thread::sleep(std::time::Duration::from_millis(2));
                assert_eq!((others, self.at_work.load(Ordering::SeqCst)), (0, 1));
            }
            out.extend(event.iter().map(u8::to_ascii_uppercase));
            self.at_work.fetch_sub(1, Ordering::SeqCst);
            Ok(Counts::default())
        }
        fn release_memory(&mut self) {
            self.released.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (small, large) = ("a small event\n".repeat(300), format!("{}\n", "x".repeat(301 << 10)));
    let text = [&*small, &*large, &*large, &*small, &*large, &*small, &*large].concat();
    // Given back when something else follows, be it the end.
    for (threads, released) in [(1, 0), (4, 3)] {
        let alone = Alone::default();
        let options = StreamOptions { max_event_len: 1 << 20, ..options(Framing::Lines, threads, 200) };
        let all = inputs(&[text.as_bytes()], 30_000);
        let ended = run(all, Vec::new(), &options, OnRefusal::Stop, || alone.clone()).unwrap();
        assert!(ended.output == text.to_ascii_uppercase().into_bytes());
        assert_eq!(alone.released.load(Ordering::SeqCst), released);
    }
    // Also while others have read what comes after it.
    for chunk_len in [200, 10_000, 100_000] {
        let alone = Alone::default();
        let options = StreamOptions { max_event_len: 1 << 20, ..options(Framing::Lines, 4, chunk_len) };
        let all = mixed(&[text.as_bytes()], 1 << 20, true);
        let ended = run(all, Vec::new(), &options, OnRefusal::Stop, || alone.clone()).unwrap();
        assert!(ended.output == text.to_ascii_uppercase().into_bytes());
        assert!(alone.released.load(Ordering::SeqCst) >= 1);
    }
}

#[test]
fn several_threads_read_a_file_at_once() {
    /// Each read but the first waits until there was another one at the same time.
    struct Together {
        bytes: Vec<u8>,
        reading: Mutex<(usize, bool)>,
        changed: Condvar,
    }
    impl ReadAt for Together {
        fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
            let mut reading = self.reading.lock().unwrap();
            reading.0 += 1;
            reading.1 |= reading.0 > 1;
            self.changed.notify_all();
            if offset > 0 {
                let limit = std::time::Duration::from_secs(60);
                reading = self.changed.wait_timeout_while(reading, limit, |(_, met)| !*met).unwrap().0;
                assert!(reading.1, "nobody else reads");
            }
            reading.0 -= 1;
            drop(reading);
            Piecemeal(self.bytes.clone(), usize::MAX).read_at(into, offset)
        }
    }
    let text = b"some event\n".repeat(1000);
    let together = Together { bytes: text.clone(), reading: Mutex::default(), changed: Condvar::new() };
    let all = Box::new(std::iter::once(Ok(Input::Anywhere(Arc::new(together)))));
    let ended = run(all, Vec::new(), &options(Framing::Lines, 2, 500), OnRefusal::Stop, || Shout).unwrap();
    assert!(ended.output == text.to_ascii_uppercase());
}

#[test]
fn a_file_that_cannot_be_read_ends_it_where_that_is() {
    struct Torn;
    impl ReadAt for Torn {
        fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
            if offset >= 64 {
                return Err(io::ErrorKind::Other.into());
            }
            Piecemeal(b"a\n".repeat(32), usize::MAX).read_at(into, offset)
        }
    }
    for threads in [1, 2, 4] {
        let written = Arc::new(Mutex::new(Vec::new()));
        let all = Box::new(std::iter::once(Ok(Input::Anywhere(Arc::new(Torn)))));
        let options = options(Framing::Lines, threads, 16);
        let ended = run(all, Shared(Arc::clone(&written)), &options, OnRefusal::Stop, || Shout);
        assert!(matches!(ended, Err(StreamError::Read { input: 0, .. })));
        assert_eq!(*written.lock().unwrap(), b"A\n".repeat(32));
    }
}

#[test]
fn a_file_that_becomes_longer_or_shorter_meanwhile_is_read_to_where_it_ends() {
    /// Has as many lines as reads were made, or that many fewer.
    struct Changing {
        reads: AtomicUsize,
        grows: bool,
    }
    impl ReadAt for Changing {
        fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
            let reads = self.reads.fetch_add(1, Ordering::SeqCst);
            let lines = if self.grows { reads.min(100) } else { 100_usize.saturating_sub(reads) };
            let text: Vec<u8> = (0..lines).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
            Piecemeal(text, usize::MAX).read_at(into, offset)
        }
    }
    for (threads, grows) in [(1, true), (2, true), (4, true), (1, false), (2, false), (4, false)] {
        let changing = Changing { reads: AtomicUsize::new(3), grows };
        let all = Box::new(std::iter::once(Ok(Input::Anywhere(Arc::new(changing)))));
        let options = options(Framing::Lines, threads, 16);
        let ended = run(all, Vec::new(), &options, OnRefusal::Stop, || Shout).unwrap();
        let lines: Vec<String> =
            String::from_utf8(ended.output).unwrap().lines().map(str::to_owned).collect();
        // Nothing twice, nothing left out, nothing torn.
        let expected: Vec<String> = (0..lines.len()).map(|line| format!("LINE {line}")).collect();
        let torn = lines.len().saturating_sub(1);
        assert_eq!(lines.get(..torn), expected.get(..torn), "{threads} {grows}");
    }
}

/// What a simple program would do, all in memory.
fn expected(text: &[u8], skip: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let is_blank = line.iter().all(|byte| b" \t\r\n".contains(byte));
        let event = line.strip_suffix(b"\n").unwrap_or(line);
        let event = event.strip_suffix(b"\r").unwrap_or(event);
        let is_refused = event.len() > 64 || line.windows(3).any(|part| part == b"bad");
        match (is_blank, is_refused, skip) {
            (false, true, true) => {}
            (false, true, false) => return None,
            _ => out.extend(line.iter().map(u8::to_ascii_uppercase)),
        }
    }
    Some(out)
}

proptest! {
    #[test]
    fn is_what_a_simple_program_makes_of_it(
        parts in prop::collection::vec(prop_oneof!["[a-c ]{0,20}", Just("\n".to_owned()), Just("bad".to_owned()), "[x]{60,68}", "\r\n"], 0..40),
        piece in 1_usize..40,
        chunk_len in 1_usize..80,
        threads in 1_usize..6,
        skip: bool,
        is_file: bool,
    ) {
        let text = parts.concat().into_bytes();
        let on_refusal = if skip { OnRefusal::Skip } else { OnRefusal::Stop };
        let all = mixed(&[&text], piece, is_file);
        let ended = run(all, Vec::new(), &options(Framing::Lines, threads, chunk_len), on_refusal, || Shout);
        match (ended, expected(&text, skip)) {
            (Ok(ended), Some(expected)) => prop_assert_eq!(ended.output, expected),
            (Err(StreamError::Event { .. }), None) => {}
            (ended, expected) => prop_assert!(false, "{:?} {:?}", ended, expected),
        }
    }

    #[test]
    fn an_array_in_pieces_is_the_array_in_one(
        elements in prop::collection::vec("[ ]{0,3}(\"[a-c,\\]}]{0,9}\"|\\{[a-c\\[]{0,4}|[a-c]{1,9}|bad)[ \n]{0,3}", 0..20),
        before in "[ \n]{0,20}",
        after in "[ \n]{0,20}",
        piece in 1_usize..40,
        chunk_len in 1_usize..80,
        threads in 1_usize..6,
        is_file: bool,
    ) {
        let text = format!("{before}[{}]{after}", elements.join(","));
        let run = |piece, chunk_len, threads| {
            let options = options(Framing::Array, threads, chunk_len);
            let all = mixed(&[text.as_bytes()], piece, is_file);
            let ended = run(all, Vec::new(), &options, OnRefusal::Skip, || Shout);
            ended.map(|ended| (ended.output, ended.counts, ended.refused, ended.first_refused)).map_err(|e| e.to_string())
        };
        prop_assert_eq!(run(piece, chunk_len, threads), run(1000, 1000, 1));
    }

    #[test]
    fn files_and_pipes_one_after_the_other_are_what_they_are_in_turn(
        all in prop::collection::vec("(\u{feff}?[a-c\n]{0,60}|[x]{60,130}|bad\n)", 0..6),
        piece in 1_usize..100,
        chunk_len in 1_usize..80,
        threads in 2_usize..6,
        first: bool,
    ) {
        let all: Vec<_> = all.iter().map(String::as_bytes).collect();
        let run = |inputs, threads| {
            let options = options(Framing::Lines, threads, chunk_len);
            let ended = run(inputs, Vec::new(), &options, OnRefusal::Skip, || Shout).unwrap();
            (ended.output, ended.counts, ended.refused, ended.first_refused)
        };
        prop_assert_eq!(run(mixed(&all, piece, first), threads), run(inputs(&all, 1000), 1));
    }
}

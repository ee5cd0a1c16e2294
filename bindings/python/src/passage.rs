//! The way of events into the crates and back: one, or a list of them.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Once;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::enricher::choose;
use crate::event::{self, Excerpt, Form, LastEnvelope, Rules, Text};
use crate::failure::{Failure, OrRaise as _};

/// Events of a batch that are worked on while the interpreter is free: so many that taking it back costs nothing, and so few
/// that what they become is still in the processor's cache when it is copied.
const CHUNK_EVENTS: usize = 8;

/// What becomes of a batch in which an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    Raise,
    Return,
}

impl OnError {
    pub(crate) fn of_name(name: &str) -> PyResult<Self> {
        choose("errors", name, &[Self::Raise, Self::Return], |choice| match choice {
            Self::Raise => "raise",
            Self::Return => "return",
        })
    }
}

/// Takes events to `work`, which appends to `out` what they become, and back. The interpreter is free while it works.
pub(crate) struct Passage<'a, W> {
    pub(crate) rules: &'a Rules,
    pub(crate) last: &'a mut LastEnvelope,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) work: W,
}

/// An event as the crates are given it.
enum Taken<'py> {
    Whole(Form, Text),
    Excerpt(Excerpt<'py>),
}

impl<'py> Taken<'py> {
    fn of(event: &Bound<'py, PyAny>, rules: &Rules) -> PyResult<Self> {
        match Excerpt::of(event, rules) {
            Some(excerpt) => Ok(Self::Excerpt(excerpt)),
            None => event::take(event, rules.limit()).map(|(form, text)| Self::Whole(form, text)),
        }
    }

    fn text(&self) -> &[u8] {
        match self {
            Self::Whole(_, text) => text.as_slice(),
            Self::Excerpt(excerpt) => excerpt.text(),
        }
    }
}

impl<E: Failure + Send, W: FnMut(&[u8], &mut Vec<u8>) -> Result<(), E> + Send> Passage<'_, W> {
    /// Takes one event there and back.
    pub(crate) fn one<'py>(&mut self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let taken = Taken::of(event, self.rules)?;
        let done = self.run(event.py(), taken.text());
        self.give(event, taken, done.map(|()| 0..self.out.len()))
    }

    /// Takes a list of events there and back, piece by piece.
    pub(crate) fn many<'py>(
        &mut self,
        events: &Bound<'py, PyAny>,
        errors: OnError,
    ) -> PyResult<Bound<'py, PyList>> {
        keep_the_heap();
        let py = events.py();
        let done = PyList::empty(py);
        let mut events = events.try_iter()?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_EVENTS);
            for event in events.by_ref().take(CHUNK_EVENTS) {
                let taken = event.and_then(|event| Ok((Taken::of(&event, self.rules)?, event)));
                chunk.push(taken);
            }
            if chunk.is_empty() {
                return Ok(done);
            }
            let texts: Vec<Option<&[u8]>> =
                chunk.iter().map(|taken| taken.as_ref().ok().map(|(taken, _)| taken.text())).collect();
            let mut results = Vec::with_capacity(chunk.len());
            let Self { out, work, .. } = &mut *self;
            py.detach(|| {
                out.clear();
                for text in texts {
                    let start = out.len();
                    results.push(text.map(|text| work(text, out).map(|()| start..out.len())));
                }
            });
            for (taken, result) in chunk.into_iter().zip(results) {
                let given = match (taken, result) {
                    (Err(error), _) => Err(error),
                    (Ok((taken, event)), Some(result)) => self.give(&event, taken, result),
                    (Ok(_), None) => continue,
                };
                match (given, errors) {
                    (Ok(value), _) => done.append(value)?,
                    (Err(error), OnError::Raise) => {
                        // Where it can be seen which of them it was.
                        let _ = error.value(py).setattr("index", done.len());
                        return Err(error);
                    }
                    (Err(error), OnError::Return) => done.append(error.into_value(py))?,
                }
            }
        }
    }

    fn run(&mut self, py: Python<'_>, text: &[u8]) -> Result<(), E> {
        let Self { out, work, .. } = self;
        py.detach(|| {
            out.clear();
            work(text, out)
        })
    }

    /// What came of an event, in the form in which it came.
    fn give<'py>(
        &mut self,
        event: &Bound<'py, PyAny>,
        taken: Taken<'py>,
        result: Result<Range<usize>, E>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event.py();
        match (taken, result) {
            (Taken::Whole(form, _), result) => {
                let made = result.or_raise(py)?;
                form.give(py, self.out.get(made).unwrap_or_default())
            }
            (Taken::Excerpt(excerpt), Ok(made)) => {
                let given = excerpt.give(self.out.get(made).unwrap_or_default(), self.last);
                given.map_or_else(|| self.go_the_long_way(event), Ok)
            }
            (Taken::Excerpt(_), Err(_)) => self.go_the_long_way(event),
        }
    }

    /// Takes all of an event there and back, after an excerpt of it did not do. What is refused is said of the event itself.
    fn go_the_long_way<'py>(&mut self, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = event.py();
        let (form, text) = event::take(event, self.rules.limit())?;
        let Self { out, work, .. } = self;
        // Behind what else is there, for it may still be asked for.
        let start = out.len();
        py.detach(|| work(text.as_slice(), out)).or_raise(py)?;
        let given = form.give(py, out.get(start..).unwrap_or_default());
        out.truncate(start);
        given
    }
}

/// Has the C library keep what a batch's results took.
///
/// Where the free end of its heap is longer than a limit, 128 KiB at first, it goes back to the system, and the next batch
/// gets it again page by page, which takes as long as sealing does. The limit becomes twice the length of any block that was
/// mapped and is freed. So one is; its pages are never touched.
fn keep_the_heap() {
    const BLOCK: usize = 4 << 20;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(BLOCK))));
}

//! The search for envelopes, which needs no catalogue.

use crate::envelope::{EnvelopeReader, Reading};
use crate::json::{Courses, Frame, Interest, Watch, scan};
use crate::limits::shrink;
use crate::outermost::{HeaderPlace, Outermost};
use crate::place::{Place, Places};
use crate::search::{check_places, name_of};
use crate::{Limits, ScanError};

/// What a search found, in buffers that the next one uses again.
#[derive(Debug, Default)]
pub(crate) struct EnvelopeSearch {
    courses: Courses,
    frames: Vec<Frame>,
    name: Vec<u8>,
    pub(crate) places: Places,
    pub(crate) reader: EnvelopeReader,
    pub(crate) outermost: Outermost,
    /// The header of the compact fields, if the event has a good one and fields that need it.
    pub(crate) header: Option<HeaderPlace>,
    /// Objects that say they are encrypted and are no envelope.
    pub(crate) malformed: usize,
}

impl EnvelopeSearch {
    pub(crate) fn new(event_id_member: &str) -> Self {
        Self { outermost: Outermost::new(event_id_member), ..Self::default() }
    }

    /// Gives the memory of an unusually large event back.
    pub(crate) fn release_memory(&mut self) {
        self.places.release_memory();
        self.reader.release_memory();
        shrink(&mut self.name);
    }

    /// Finds the envelopes in `event`, in order.
    pub(crate) fn run(&mut self, event: &[u8], limits: &Limits) -> Result<(), ScanError> {
        self.clear(Reading::Deferred);
        let mut courses = std::mem::take(&mut self.courses);
        let is_known = courses.follow(event, limits, &mut self.searching().0);
        self.courses = courses;
        let found = if is_known { Ok(()) } else { self.find(event, limits, Reading::Deferred) };
        if self.reader.has_deferred() && !(found.is_ok() && self.reader.read_deferred()) {
            // Something was taken for an envelope that is none, so what was found or refused may not be right.
            self.find(event, limits, Reading::AtOnce)?;
        } else {
            found?;
        }
        self.find_header(event);
        Ok(())
    }

    /// Finds what may be envelopes, and is if base64 was read at once.
    fn find(&mut self, event: &[u8], limits: &Limits, reading: Reading) -> Result<(), ScanError> {
        self.clear(reading);
        let (mut watch, frames, courses) = self.searching();
        let mut course = if reading == Reading::Deferred { courses.begin() } else { None };
        scan(event, limits, frames, &mut watch, course.as_mut())?;
        check_places(event, &self.places)?;
        if let Some(course) = course {
            self.courses.remember(course, event, &mut self.places);
        }
        Ok(())
    }

    fn clear(&mut self, reading: Reading) {
        self.places.clear();
        self.reader.clear();
        self.reader.set_reading(reading);
        self.outermost.clear();
        self.malformed = 0;
    }

    const fn searching(&mut self) -> (Searching<'_>, &mut Vec<Frame>, &mut Courses) {
        let Self { courses, frames, name, places, reader, outermost, header: _, malformed } = self;
        (Searching { name, places, reader, outermost, malformed, last: None }, frames, courses)
    }

    /// Reads the header, and leaves compact fields out if there is no good one.
    fn find_header(&mut self, event: &[u8]) {
        let Self { reader, outermost, header, malformed, .. } = self;
        let place = outermost.header();
        let is_good = place.as_ref().is_some_and(|place| {
            event.get(place.value.clone()).is_some_and(|value| reader.read_header(value))
        });
        if !is_good {
            // Without what they have in common, compact fields are data like any other.
            *malformed += reader.drop_compact();
        }
        *header = place.filter(|_| is_good && reader.has_compact());
    }
}

struct Searching<'a> {
    name: &'a mut Vec<u8>,
    places: &'a mut Places,
    reader: &'a mut EnvelopeReader,
    outermost: &'a mut Outermost,
    malformed: &'a mut usize,
    /// Where the object is that was known last, if it is an envelope.
    last: Option<Place>,
}

impl Watch for Searching<'_> {
    #[inline]
    fn member(&mut self, event: &[u8], frames: &[Frame]) -> Interest {
        if frames.len() == 1 && self.outermost.wants(name_of(event, frames, self.name)) {
            Interest::Marked
        } else {
            Interest::Inside
        }
    }

    #[inline]
    fn element(&mut self, _: &[Frame]) -> Interest {
        Interest::Inside
    }

    #[inline]
    fn known_object(&mut self, event: &[u8], start: usize, frames: &[Frame]) -> Option<usize> {
        // An event that is an envelope itself stands at no place that could be bound.
        if frames.is_empty() {
            return None;
        }
        if let Some(end) = self.reader.known_header(event, start) {
            self.last = None;
            return Some(end);
        }
        let draft = self.reader.read_written(event, start)?;
        let end = draft.end;
        let place = self.places.note(event, frames);
        self.last = Some(place.clone());
        self.reader.keep(start, draft, place);
        Some(end)
    }

    #[inline]
    fn known_again(&mut self, event: &[u8], start: usize, place: Option<&Place>) -> Option<usize> {
        let Some(place) = place else { return self.reader.known_header(event, start) };
        let draft = self.reader.read_written(event, start)?;
        let end = draft.end;
        self.reader.keep(start, draft, place.clone());
        Some(end)
    }

    fn last_place(&self) -> Option<Place> {
        self.last.clone()
    }

    fn taken(&mut self, _: &[u8], _: usize, _: usize, _: &[Frame]) {}

    fn marked(&mut self, event: &[u8], frame: &Frame, start: usize, end: usize) {
        self.outermost.marked(event, frame, start, end);
    }

    fn claimed(&mut self, event: &[u8], start: usize, end: usize, frames: &[Frame]) {
        let draft = if frames.is_empty() { None } else { self.reader.read_any(event, start, end) };
        match draft {
            Some(draft) => {
                let place = self.places.note(event, frames);
                self.reader.keep(start, draft, place);
            }
            None => *self.malformed += 1,
        }
    }

    fn fields(&self) -> usize {
        self.reader.claims.len()
    }
}

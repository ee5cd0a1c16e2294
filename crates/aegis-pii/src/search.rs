//! The search for values that are personal, whoever asks.

use crate::catalogue::{Catalogue, Follower};
use crate::json::{Courses, Frame, Interest, Watch, scan, unescape};
use crate::limits::shrink;
use crate::outermost::Outermost;
use crate::place::{Place, Places};
use crate::{Limits, ScanError, ScanFault};

/// A value that the catalogue calls personal.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) place: Place,
}

/// What a search found, in buffers that the next one uses again.
#[derive(Debug, Default)]
pub(crate) struct Search {
    courses: Courses,
    frames: Vec<Frame>,
    follower: Follower,
    name: Vec<u8>,
    pub(crate) places: Places,
    pub(crate) found: Vec<Found>,
    pub(crate) outermost: Outermost,
    /// Objects elsewhere with a member `_encrypted`.
    pub(crate) other_claims: usize,
}

impl Search {
    pub(crate) fn new(event_id_member: &str) -> Self {
        Self { outermost: Outermost::new(event_id_member), ..Self::default() }
    }

    /// Gives the memory of an unusually large event back.
    pub(crate) fn release_memory(&mut self) {
        self.places.release_memory();
        shrink(&mut self.name);
        self.found.clear();
        self.found.shrink_to(64);
    }

    /// Finds the values in `event`, in order. All events have to be searched with the same catalogue.
    pub(crate) fn run(
        &mut self,
        event: &[u8],
        catalogue: &Catalogue,
        limits: &Limits,
    ) -> Result<(), ScanError> {
        self.clear();
        let has_pointers = !catalogue.pointers().is_empty();
        let mut courses = std::mem::take(&mut self.courses);
        let is_known = courses.follow(event, limits, &mut self.searching(catalogue, has_pointers));
        let found = if is_known { Ok(()) } else { self.scan(event, catalogue, limits, &mut courses) };
        self.courses = courses;
        found
    }

    /// Finds the values of an event whose like was not seen before.
    fn scan(
        &mut self,
        event: &[u8],
        catalogue: &Catalogue,
        limits: &Limits,
        courses: &mut Courses,
    ) -> Result<(), ScanError> {
        self.clear();
        let has_pointers = !catalogue.pointers().is_empty();
        let mut frames = std::mem::take(&mut self.frames);
        let mut watch = self.searching(catalogue, has_pointers);
        let mut course = courses.begin();
        let scanned = scan(event, limits, &mut frames, &mut watch, course.as_mut());
        self.frames = frames;
        scanned?;
        check_places(event, &self.places)?;
        if let Some(course) = course {
            courses.remember(course, event, &mut self.places);
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.places.clear();
        self.found.clear();
        self.outermost.clear();
        self.other_claims = 0;
        self.follower.restart();
    }

    const fn searching<'a>(&'a mut self, catalogue: &'a Catalogue, has_pointers: bool) -> Searching<'a> {
        let Self { courses: _, frames: _, follower, name, places, found, outermost, other_claims } = self;
        Searching { catalogue, has_pointers, follower, name, places, found, outermost, other_claims }
    }
}

/// The event is refused if a place in it was too long to be noted.
pub(crate) fn check_places(event: &[u8], places: &Places) -> Result<(), ScanError> {
    if places.has_too_long() {
        let fault = ScanFault::PointerTooLong { limit: Places::MAX_POINTER_LEN };
        return Err(ScanError { offset: event.len(), fault });
    }
    Ok(())
}

/// The name of the last frame's member, its escapes undone.
#[inline]
pub(crate) fn name_of<'a>(event: &'a [u8], frames: &[Frame], unescaped: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(frame) = frames.last() else { return &[] };
    let raw = event.get(frame.key_start..frame.key_end).unwrap_or_default();
    if !frame.key_is_escaped {
        return raw;
    }
    unescaped.clear();
    unescape(raw, unescaped);
    unescaped
}

struct Searching<'a> {
    catalogue: &'a Catalogue,
    has_pointers: bool,
    follower: &'a mut Follower,
    name: &'a mut Vec<u8>,
    places: &'a mut Places,
    found: &'a mut Vec<Found>,
    outermost: &'a mut Outermost,
    other_claims: &'a mut usize,
}

impl Watch for Searching<'_> {
    #[inline]
    fn member(&mut self, event: &[u8], frames: &[Frame]) -> Interest {
        let name = name_of(event, frames, self.name);
        let is_pointed_at = self.has_pointers && self.follower.member(self.catalogue.pointers(), name);
        if is_pointed_at || self.catalogue.names().contains(name) {
            Interest::Whole
        } else if frames.len() == 1 && self.outermost.wants(name) {
            Interest::Marked
        } else {
            Interest::Inside
        }
    }

    #[inline]
    fn element(&mut self, frames: &[Frame]) -> Interest {
        let index = frames.last().map_or(0, |frame| frame.index);
        if self.has_pointers && self.follower.element(self.catalogue.pointers(), index) {
            Interest::Whole
        } else {
            Interest::Inside
        }
    }

    #[inline]
    fn entered(&mut self) {
        if self.has_pointers {
            self.follower.enter();
        }
    }

    #[inline]
    fn left(&mut self) {
        if self.has_pointers {
            self.follower.leave();
        }
    }

    #[inline]
    fn known_object(&mut self, _: &[u8], _: usize, _: &[Frame]) -> Option<usize> {
        None
    }

    fn taken(&mut self, event: &[u8], start: usize, end: usize, frames: &[Frame]) {
        let place = self.places.note(event, frames);
        self.found.push(Found { start, end, place });
    }

    #[inline]
    fn taken_again(&mut self, start: usize, end: usize, place: &Place) {
        self.found.push(Found { start, end, place: place.clone() });
    }

    fn last_place(&self) -> Option<Place> {
        self.found.last().map(|found| found.place.clone())
    }

    fn marked(&mut self, event: &[u8], frame: &Frame, start: usize, end: usize) {
        self.outermost.marked(event, frame, start, end);
    }

    fn claimed(&mut self, _: &[u8], _: usize, _: usize, _: &[Frame]) {
        *self.other_claims += 1;
    }

    fn fields(&self) -> usize {
        self.found.len()
    }
}

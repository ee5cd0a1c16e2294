//! One pass over an event: the grammar checked, and a watcher told where things are.
//!
//! No recursion: what is open is in a vector of frames, which the caller keeps for the next event. Each byte is looked
//! at once, or twice in strings that are not ASCII.

use super::course::Course;
use super::fault::{ScanError, ScanFault};
use super::token::{skip_number, skip_string, skip_white_space};
use crate::Limits;
use crate::place::Place;

/// Whether a frame is an object or an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Array,
}

/// An object or array that is open, and where in it the scan is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) shape: Shape,
    /// Where it begins.
    start: usize,
    /// The current member's name, between its quotes.
    pub(crate) key_start: usize,
    pub(crate) key_end: usize,
    pub(crate) key_is_escaped: bool,
    /// The current element's number.
    pub(crate) index: usize,
    /// Whether a member is called `_encrypted`.
    claims: bool,
}

/// What a watcher wants of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// To look inside.
    Inside,
    /// All of it, and nothing inside.
    Whole,
    /// To be told where it is, and to look inside. Members of the outermost object only.
    Marked,
}

/// Told where things are. The frames say the place: the last one's current member or element is the value in question.
pub(crate) trait Watch {
    /// A member's value comes next.
    fn member(&mut self, event: &[u8], frames: &[Frame]) -> Interest;
    /// An array's element comes next.
    fn element(&mut self, frames: &[Frame]) -> Interest;
    /// An object or array was entered that nothing around it was taken whole.
    fn entered(&mut self) {}
    /// It was left.
    fn left(&mut self) {}
    /// An object begins at `start`. If all of it is known to be good JSON already: where it ends.
    fn known_object(&mut self, event: &[u8], start: usize, frames: &[Frame]) -> Option<usize>;
    /// The same, for one that stands where there was one in an earlier event: at the place that was noted of that, if one was.
    fn known_again(&mut self, _event: &[u8], _start: usize, _place: Option<&Place>) -> Option<usize> {
        None
    }
    /// A value was taken whole.
    fn taken(&mut self, event: &[u8], start: usize, end: usize, frames: &[Frame]);
    /// The same, for one that stands where one was taken in an earlier event: at this place.
    fn taken_again(&mut self, _start: usize, _end: usize, _place: &Place) {}
    /// The place of the object that was known last, or of the value that was taken; none if none was noted of it.
    fn last_place(&self) -> Option<Place> {
        None
    }
    /// A member of the outermost object was marked; its name begins at `key_start`.
    fn marked(&mut self, event: &[u8], frame: &Frame, start: usize, end: usize);
    /// An object with a member `_encrypted` ended, outside anything taken whole.
    fn claimed(&mut self, event: &[u8], start: usize, end: usize, frames: &[Frame]);
    /// How many fields were found.
    fn fields(&self) -> usize;
}

/// A member's name: where it is between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_escaped: bool,
}

impl Frame {
    /// An object of which only the current member's name is known.
    pub(super) const fn of_key(key: Key) -> Self {
        let Key { start: key_start, end: key_end, is_escaped: key_is_escaped } = key;
        Self { shape: Shape::Object, start: 0, key_start, key_end, key_is_escaped, index: 0, claims: false }
    }
}

/// The name by which an object claims to be an envelope.
const CLAIM: &[u8] = b"_encrypted";

/// Checks that `event` is one JSON text within the limits, and tells `watch` what it wants to know. Its course is noted if there
/// is something to note it in.
pub(crate) fn scan<W: Watch>(
    event: &[u8],
    limits: &Limits,
    frames: &mut Vec<Frame>,
    watch: &mut W,
    course: Option<&mut Course>,
) -> Result<(), ScanError> {
    frames.clear();
    if event.len() > limits.max_event_len {
        let fault = ScanFault::TooLong { found: event.len(), limit: limits.max_event_len };
        return Err(ScanError { offset: limits.max_event_len, fault });
    }
    Scan { event, limits, frames, watch, course, taken: None, mark: None }.run()
}

struct Scan<'a, W> {
    event: &'a [u8],
    limits: &'a Limits,
    frames: &'a mut Vec<Frame>,
    watch: &'a mut W,
    course: Option<&'a mut Course>,
    /// The value that is being taken whole: at how many frames, and where it begins.
    taken: Option<(usize, usize)>,
    /// Where the marked member's value begins.
    mark: Option<usize>,
}

/// What comes after a piece of the event.
enum Next {
    Value(usize),
    After(usize),
}

impl<W: Watch> Scan<'_, W> {
    fn run(mut self) -> Result<(), ScanError> {
        let mut next = Next::Value(skip_white_space(self.event, 0));
        loop {
            next = match next {
                Next::Value(at) => self.value(at)?,
                Next::After(at) if self.frames.is_empty() => return self.end(at),
                Next::After(at) => self.after(at)?,
            };
        }
    }

    /// A value begins at `at`.
    #[inline]
    fn value(&mut self, at: usize) -> Result<Next, ScanError> {
        let end = match self.event.get(at) {
            Some(b'{') => return self.object(at),
            Some(b'[') => return self.array(at),
            _ => match scalar_end(self.event, at) {
                Some(end) => end?,
                None => return Err(self.unexpected(at)),
            },
        };
        let is_taken = self.taken.is_some_and(|(depth, _)| depth == self.frames.len());
        let marked = self.marked();
        let next = self.ended(end);
        if let Some(course) = &mut self.course {
            let place = if is_taken { self.watch.last_place() } else { None };
            course.note((at, end), false, place, marked.as_ref());
        }
        Ok(next)
    }

    /// The outermost object, if its current member is marked and noted.
    #[inline]
    fn marked(&self) -> Option<Frame> {
        match (&self.course, self.mark, self.frames.as_slice()) {
            (Some(_), Some(_), [outermost]) => Some(*outermost),
            _ => None,
        }
    }

    /// A value ended before `end`.
    #[inline]
    fn ended(&mut self, end: usize) -> Next {
        if let Some((depth, start)) = self.taken
            && depth == self.frames.len()
        {
            self.taken = None;
            self.watch.taken(self.event, start, end, self.frames);
        }
        if let Some(start) = self.mark
            && let [outermost] = self.frames.as_slice()
        {
            self.mark = None;
            self.watch.marked(self.event, outermost, start, end);
        }
        Next::After(end)
    }

    fn object(&mut self, start: usize) -> Result<Next, ScanError> {
        if self.taken.is_none()
            && let Some(end) = self.watch.known_object(self.event, start, self.frames)
        {
            self.check_depth(start)?;
            self.check_fields(start, 0)?;
            let marked = self.marked();
            if let Some(course) = &mut self.course {
                course.note((start, end), true, self.watch.last_place(), marked.as_ref());
            }
            return Ok(self.ended(end));
        }
        self.open(Shape::Object, start)?;
        let at = skip_white_space(self.event, start + 1);
        match self.event.get(at) {
            Some(b'}') => self.close(at),
            _ => self.member(at),
        }
    }

    fn array(&mut self, start: usize) -> Result<Next, ScanError> {
        self.open(Shape::Array, start)?;
        let at = skip_white_space(self.event, start + 1);
        match self.event.get(at) {
            Some(b']') => self.close(at),
            _ => self.element(at),
        }
    }

    fn open(&mut self, shape: Shape, start: usize) -> Result<(), ScanError> {
        self.check_depth(start)?;
        if let Some(course) = &mut self.course
            && (self.taken.is_some() || self.mark.is_some())
        {
            // What is taken or marked has a beginning and an end between values.
            course.lose();
        }
        self.frames.push(Frame {
            shape,
            start,
            key_start: 0,
            key_end: 0,
            key_is_escaped: false,
            index: 0,
            claims: false,
        });
        if self.taken.is_none() {
            self.watch.entered();
        }
        Ok(())
    }

    /// The last frame's bracket is at `at`.
    fn close(&mut self, at: usize) -> Result<Next, ScanError> {
        let Some(frame) = self.frames.pop() else { return Ok(Next::After(at + 1)) };
        if self.taken.is_none() {
            self.watch.left();
            if frame.claims {
                if let Some(course) = &mut self.course {
                    course.lose();
                }
                self.watch.claimed(self.event, frame.start, at + 1, self.frames);
                self.check_fields(frame.start, 0)?;
            }
        }
        Ok(self.ended(at + 1))
    }

    /// A member begins at `at`, or has to.
    #[inline]
    fn member(&mut self, at: usize) -> Result<Next, ScanError> {
        if self.event.get(at) != Some(&b'"') {
            return Err(self.unexpected(at));
        }
        let key = skip_string(self.event, at + 1)?;
        let colon = skip_white_space(self.event, key.quote + 1);
        if self.event.get(colon) != Some(&b':') {
            return Err(self.unexpected(colon));
        }
        let start = skip_white_space(self.event, colon + 1);
        let Some(frame) = self.frames.last_mut() else { return Err(self.unexpected(at)) };
        (frame.key_start, frame.key_end, frame.key_is_escaped) = (at + 1, key.quote, key.is_escaped);
        frame.claims |=
            self.event.get(at + 1) == Some(&b'_') && self.event.get(at + 1..key.quote) == Some(CLAIM);
        if self.taken.is_none() {
            match self.watch.member(self.event, self.frames) {
                Interest::Inside => {}
                Interest::Whole => self.take(start)?,
                Interest::Marked => self.mark = Some(start),
            }
        }
        Ok(Next::Value(start))
    }

    /// An element begins at `at`, or has to.
    #[inline]
    fn element(&mut self, at: usize) -> Result<Next, ScanError> {
        if self.taken.is_none() && self.watch.element(self.frames) == Interest::Whole {
            self.take(at)?;
        }
        Ok(Next::Value(at))
    }

    fn take(&mut self, start: usize) -> Result<(), ScanError> {
        // It becomes an envelope, which is one level more.
        self.check_depth(start)?;
        self.check_fields(start, 1)?;
        self.taken = Some((self.frames.len(), start));
        Ok(())
    }

    /// A value of an object or array ended before `at`.
    #[inline]
    fn after(&mut self, at: usize) -> Result<Next, ScanError> {
        let at = skip_white_space(self.event, at);
        let Some(frame) = self.frames.last_mut() else { return Ok(Next::After(at)) };
        match (frame.shape, self.event.get(at)) {
            (Shape::Object, Some(b',')) => self.member(skip_white_space(self.event, at + 1)),
            (Shape::Array, Some(b',')) => {
                frame.index += 1;
                self.element(skip_white_space(self.event, at + 1))
            }
            (Shape::Object, Some(b'}')) | (Shape::Array, Some(b']')) => self.close(at),
            _ => Err(self.unexpected(at)),
        }
    }

    fn end(&self, at: usize) -> Result<(), ScanError> {
        let at = skip_white_space(self.event, at);
        if at == self.event.len() {
            Ok(())
        } else {
            Err(ScanError { offset: at, fault: ScanFault::TrailingBytes })
        }
    }

    fn check_depth(&self, offset: usize) -> Result<(), ScanError> {
        if self.frames.len() < self.limits.max_depth {
            return Ok(());
        }
        Err(ScanError { offset, fault: ScanFault::TooDeep { limit: self.limits.max_depth } })
    }

    /// Whether the fields found, and so many more, are within the limit.
    fn check_fields(&self, offset: usize, more: usize) -> Result<(), ScanError> {
        if self.watch.fields() + more <= self.limits.max_fields {
            return Ok(());
        }
        Err(ScanError { offset, fault: ScanFault::TooManyFields { limit: self.limits.max_fields } })
    }

    fn unexpected(&self, offset: usize) -> ScanError {
        unexpected(self.event, offset)
    }
}

/// Checks a string, a number or a literal, and finds its end. `None` if there is none of these.
#[inline(always)]
pub(super) fn scalar_end(event: &[u8], at: usize) -> Option<Result<usize, ScanError>> {
    Some(match event.get(at) {
        Some(b'"') => skip_string(event, at + 1).map(|string| string.quote + 1),
        Some(b'-' | b'0'..=b'9') => skip_number(event, at),
        Some(b't') => literal(event, at, b"true"),
        Some(b'f') => literal(event, at, b"false"),
        Some(b'n') => literal(event, at, b"null"),
        _ => return None,
    })
}

fn literal(event: &[u8], at: usize, literal: &[u8]) -> Result<usize, ScanError> {
    let found = event.get(at..).unwrap_or_default();
    if found.starts_with(literal) {
        return Ok(at + literal.len());
    }
    let same = found.iter().zip(literal).take_while(|(found, expected)| found == expected).count();
    Err(unexpected(event, at + same))
}

fn unexpected(event: &[u8], offset: usize) -> ScanError {
    let fault = if offset < event.len() { ScanFault::UnexpectedByte } else { ScanFault::UnexpectedEnd };
    ScanError { offset, fault }
}

/// Checks that `value` is one JSON value, with no white space around it.
pub(crate) fn check_value(value: &[u8], limits: &Limits, frames: &mut Vec<Frame>) -> Result<(), ScanError> {
    if value.trim_ascii().len() != value.len() {
        let offset = if value.first().is_some_and(u8::is_ascii_whitespace) { 0 } else { value.len() };
        return Err(ScanError { offset, fault: ScanFault::UnexpectedByte });
    }
    scan(value, limits, frames, &mut Nobody, None)
}

/// Wants nothing.
struct Nobody;

impl Watch for Nobody {
    fn member(&mut self, _: &[u8], _: &[Frame]) -> Interest {
        Interest::Inside
    }

    fn element(&mut self, _: &[Frame]) -> Interest {
        Interest::Inside
    }

    fn known_object(&mut self, _: &[u8], _: usize, _: &[Frame]) -> Option<usize> {
        None
    }

    fn taken(&mut self, _: &[u8], _: usize, _: usize, _: &[Frame]) {}

    fn marked(&mut self, _: &[u8], _: &Frame, _: usize, _: usize) {}

    fn claimed(&mut self, _: &[u8], _: usize, _: usize, _: &[Frame]) {}

    fn fields(&self) -> usize {
        0
    }
}

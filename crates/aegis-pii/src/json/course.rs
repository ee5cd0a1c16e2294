//! What stood between the values of earlier events, so that it need not be looked at again.
//!
//! The events of a stream have the same members in the same order, most of them. What a scan does between two values depends
//! on the bytes between them, and on what came before; so where both are the same again, it would do the same: the grammar
//! holds, the places are those of before, and the limits are kept. What is left to look at is the values.
//!
//! Such courses of events are kept as a tree: a step for each value, with the bytes from the end of the one before it up to its
//! beginning. An event that leaves the tree is scanned as if there were none, and found or refused by that.

use std::ops::Range;

use super::scan::{Frame, Key, Watch, scalar_end};
use crate::Limits;
use crate::place::{Place, Places};

/// Most steps of an event that is remembered.
const MAX_EVENT_STEPS: usize = 256;
/// Most steps that are remembered of all. Then it begins anew.
const MAX_STEPS: usize = 512;
/// Most bytes that are remembered of all.
const MAX_TEXT_LEN: usize = 16 << 10;
/// What may come after a value: more are not compared with.
const MAX_WAYS: usize = 8;
/// How many events have to be known for one that is not, lest time is lost on events that are all different.
const WORTH: u32 = 4;
/// How much may be lost before nothing is tried for a while.
const MOST_LOST: u32 = 64;
/// For so many events.
const REST: u32 = 256;

/// The courses of earlier events, under the same limits and watched for the same things.
#[derive(Debug, Default)]
pub(crate) struct Courses {
    steps: Vec<Step>,
    /// What stands between values.
    text: Vec<u8>,
    limits: Option<Limits>,
    /// How much was lost lately on events that were not known.
    lost: u32,
    /// For how many more events nothing is tried.
    rest: u32,
    /// Kept for its memory alone.
    values: Vec<Noted>,
}

/// From the end of a value to that of the next one.
#[derive(Debug)]
struct Step {
    /// What stands before the value, in [`Courses::text`].
    before: Range<u32>,
    value: Value,
    /// Where it stands, if the watcher wants to know.
    place: Option<Place>,
    /// Its name, if it is a member that is marked.
    key: Option<KeyBefore>,
    /// The step after it, and another one in the place of this one. There is none of the number zero there.
    next: u32,
    other: u32,
}

/// What is at the end of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// A string, a number or a literal.
    Scalar,
    /// An object that is known to be good JSON: see [`Watch::known_object`].
    Object,
    /// Nothing: the event ends.
    End,
}

/// A member's name, as it stands before its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyBefore {
    /// From the beginning of the name to that of the value.
    distance: usize,
    len: usize,
    is_escaped: bool,
}

/// The course of one event, noted while it is scanned. Only [`Courses::begin`] makes one.
#[derive(Debug)]
pub(crate) struct Course {
    values: Vec<Noted>,
    is_lost: bool,
}

#[derive(Debug)]
struct Noted {
    start: usize,
    end: usize,
    value: Value,
    place: Option<Place>,
    key: Option<KeyBefore>,
}

impl Course {
    /// Notes a value, with its name if that is marked.
    pub(super) fn note(
        &mut self,
        (start, end): (usize, usize),
        is_object: bool,
        place: Option<Place>,
        marked: Option<&Frame>,
    ) {
        if self.values.len() >= MAX_EVENT_STEPS {
            self.lose();
        }
        if self.is_lost {
            return;
        }
        let key = marked.map(|frame| KeyBefore {
            distance: start - frame.key_start,
            len: frame.key_end - frame.key_start,
            is_escaped: frame.key_is_escaped,
        });
        let value = if is_object { Value::Object } else { Value::Scalar };
        self.values.push(Noted { start, end, value, place, key });
    }

    /// The event has something in it that is not remembered.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
        self.values.clear();
    }
}

impl Courses {
    /// Tells `watch` of an event what a scan would. Whether that went well: if it did not, the watcher has to begin anew.
    pub(crate) fn follow<W: Watch>(&mut self, event: &[u8], limits: &Limits, watch: &mut W) -> bool {
        if self.limits != Some(*limits) {
            // They hold under the limits under which they were noted.
            self.steps.clear();
            self.limits = Some(*limits);
        }
        if self.rest > 0 || event.len() > limits.max_event_len {
            return false;
        }
        let is_known = self.follow_from_first(event, watch).is_some();
        if is_known {
            self.lost = self.lost.saturating_sub(1);
        }
        is_known
    }

    fn follow_from_first<W: Watch>(&self, event: &[u8], watch: &mut W) -> Option<()> {
        let (mut at, mut number) = (0, 0);
        loop {
            let rest = event.get(at..)?;
            let (step, start, end) = loop {
                let step = self.steps.get(number as usize)?;
                if let Some(after) = without_prefix(rest, self.text(&step.before)) {
                    let start = event.len() - after.len();
                    let end = match step.value {
                        Value::Scalar => scalar_end(event, start).and_then(Result::ok),
                        Value::Object => watch.known_again(event, start, step.place.as_ref()),
                        Value::End if after.is_empty() => return Some(()),
                        Value::End => None,
                    };
                    if let Some(end) = end {
                        break (step, start, end);
                    }
                }
                number = Some(step.other).filter(|other| *other > 0)?;
            };
            if let (Value::Scalar, Some(place)) = (step.value, &step.place) {
                watch.taken_again(start, end, place);
            }
            if let Some(KeyBefore { distance, len, is_escaped }) = step.key {
                let key_start = start.checked_sub(distance)?;
                let key = Key { start: key_start, end: key_start + len, is_escaped };
                watch.marked(event, &Frame::of_key(key), start, end);
            }
            at = end;
            number = Some(step.next).filter(|next| *next > 0)?;
        }
    }

    /// Where to note the course of an event that is not known, if it is worth it.
    pub(crate) fn begin(&mut self) -> Option<Course> {
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        Some(Course { values, is_lost: false })
    }

    /// Remembers the course of `event`, all of which was scanned and found to be good.
    pub(crate) fn remember(&mut self, course: Course, event: &[u8], places: &mut Places) {
        self.lost += WORTH;
        if self.lost > MOST_LOST {
            (self.lost, self.rest) = (0, REST);
        }
        let Course { values, is_lost } = course;
        if !is_lost && self.add(event, &values, places).is_none() {
            // There was no room. What comes will find some.
            self.forget(places);
        }
        self.values = values;
    }

    fn add(&mut self, event: &[u8], values: &[Noted], places: &mut Places) -> Option<()> {
        let (mut at, mut number) = (0, None);
        for noted in values {
            let before = event.get(at..noted.start)?;
            number = Some(self.step(number, before, Some(noted), places)?);
            at = noted.end;
        }
        self.step(number, event.get(at..)?, None, places).map(drop)
    }

    /// The step after another one, or the first one, which is there or is added. `None` if there is no room.
    fn step(
        &mut self,
        after: Option<u32>,
        before: &[u8],
        noted: Option<&Noted>,
        places: &mut Places,
    ) -> Option<u32> {
        let value = noted.map_or(Value::End, |noted| noted.value);
        let first = match after {
            None => Some(0).filter(|_| !self.steps.is_empty()),
            Some(after) => Some(self.steps.get(after as usize)?.next).filter(|next| *next > 0),
        };
        let (mut last, mut ways) = (None, 0);
        let mut number = first;
        while let Some(known) = number {
            let step = self.steps.get(known as usize)?;
            if step.value == value && self.text(&step.before) == before {
                return Some(known);
            }
            (last, ways) = (Some(known), ways + 1);
            number = Some(step.other).filter(|other| *other > 0);
        }
        if self.steps.len() >= MAX_STEPS || ways >= MAX_WAYS || self.text.len() + before.len() > MAX_TEXT_LEN
        {
            return None;
        }
        let added = u32::try_from(self.steps.len()).ok()?;
        let start = u32::try_from(self.text.len()).ok()?;
        self.text.extend_from_slice(before);
        let before = start..u32::try_from(self.text.len()).ok()?;
        let place = match noted.and_then(|noted| noted.place.as_ref()) {
            Some(place) => Some(places.keep(place)?),
            None => None,
        };
        let key = noted.and_then(|noted| noted.key);
        self.steps.push(Step { before, value, place, key, next: 0, other: 0 });
        match (last, after) {
            (Some(last), _) => self.steps.get_mut(last as usize)?.other = added,
            (None, Some(after)) => self.steps.get_mut(after as usize)?.next = added,
            (None, None) => {}
        }
        Some(added)
    }

    fn forget(&mut self, places: &mut Places) {
        self.steps.clear();
        self.text.clear();
        places.forget_kept();
    }

    #[inline]
    fn text(&self, range: &Range<u32>) -> &[u8] {
        self.text.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

/// What follows a prefix, if it is there. Most are so short that a call would take longer than the comparison.
#[inline]
fn without_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (found, after) = text.split_at_checked(prefix.len())?;
    let is_same = match prefix.len() {
        8..=16 => ends_are_same::<8>(found, prefix),
        17..=32 => ends_are_same::<16>(found, prefix),
        _ => found == prefix,
    };
    is_same.then_some(after)
}

/// Whether two texts have the same first and last bytes, which are all of them if they are at most twice as many.
#[inline]
fn ends_are_same<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    one.first_chunk::<N>() == other.first_chunk() && one.last_chunk::<N>() == other.last_chunk()
}

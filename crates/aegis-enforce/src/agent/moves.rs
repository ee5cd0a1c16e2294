//! When paths are to be resolved again, because names on the way to them have moved: at once, but neither all the time nor
//! for ever.

use std::time::{Duration, Instant};

/// At most so often, however often names move.
const EVERY: Duration = Duration::from_millis(100);
/// Resolving takes at most one part in so many of a processor.
const SHARE: u32 = 4;
/// A program counts a move before it happens. So what was resolved soon after is resolved again when it surely has.
const SURELY: Duration = Duration::from_secs(1);
/// How often a policy is loaded because it was resolved to something else, without anything that moved in between.
const MAX_LOADS: u32 = 3;

/// What there is to be seen of names that move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// How often they did.
    pub(super) moved: u64,
    /// Which policy: what moved while it was resolved, before it was in force, nobody has counted.
    pub(super) generation: u64,
}

/// What is known of names that move.
#[derive(Debug, Default)]
pub(super) struct Moves {
    seen: Option<(Seen, Instant)>,
    /// Paths have been resolved since, when all that was counted had surely happened; or need not be.
    done: bool,
    /// The next generation that is seen is one that was loaded because of this.
    ours: bool,
    /// Loaded so often since something moved.
    loads: u32,
    /// Not before, whatever moves.
    rested: Option<Instant>,
    /// Not before, unless something moves.
    again: Option<Instant>,
}

impl Moves {
    /// Takes in what is to be seen now. `resolved`: the programs need not climb.
    pub(super) fn see(&mut self, seen: Seen, resolved: bool, now: Instant) {
        match self.seen {
            Some((known, _)) if known == seen => self.done &= resolved || self.loads >= MAX_LOADS,
            Some((known, since)) if known.moved == seen.moved && self.ours => {
                self.seen = Some((seen, since));
                self.ours = false;
            }
            _ => *self = Self { seen: Some((seen, now)), rested: self.rested, ..Self::default() },
        }
    }

    /// Whether paths are to be resolved now.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        let is_over = |until: Option<Instant>| until.is_none_or(|until| now >= until);
        self.seen.is_some() && !self.done && is_over(self.rested) && is_over(self.again)
    }

    /// How long to wait for news, `longest` at most. The programs tell the first move alone.
    pub(super) fn patience(&self, now: Instant, longest: Duration) -> Duration {
        if self.seen.is_none() || self.done {
            return longest;
        }
        let left = self.rested.max(self.again).map_or(EVERY, |until| until.saturating_duration_since(now));
        left.clamp(Duration::from_millis(1), EVERY)
    }

    /// Paths were resolved from `begun` to `now`, to the same as before. If nothing of what was counted can have happened
    /// later, what that was.
    pub(super) fn same(&mut self, begun: Instant, now: Instant) -> Option<Seen> {
        self.rest(begun, now);
        let (seen, since) = self.seen?;
        self.done = begun.saturating_duration_since(since) >= SURELY;
        self.again = since.checked_add(SURELY);
        self.loads = 0;
        self.done.then_some(seen)
    }

    /// The policy was resolved to something else from `begun` to `now`, and loaded.
    pub(super) fn loaded(&mut self, begun: Instant, now: Instant) {
        self.rest(begun, now);
        self.ours = true;
        self.loads += 1;
        // What is another one each time is looked at when something has moved again.
        self.done |= self.loads >= MAX_LOADS;
    }

    /// What paths were resolved to cannot be put in force as a whole yet, so they are looked at again.
    pub(super) fn wait(&mut self, now: Instant, time: Duration) {
        if self.done {
            self.again = now.checked_add(time);
        }
    }

    /// There is no path to be resolved.
    pub(super) fn concern_nobody(&mut self) {
        self.done = true;
    }

    /// Nothing can be done about it for some time.
    pub(super) fn put_off(&mut self, now: Instant, time: Duration) {
        if self.are_due(now) {
            self.again = now.checked_add(time);
        }
    }

    fn rest(&mut self, begun: Instant, now: Instant) {
        let took = now.saturating_duration_since(begun);
        self.rested = now.checked_add((took * (SHARE - 1)).max(EVERY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seen(moved: u64, generation: u64) -> Seen {
        Seen { moved, generation }
    }

    #[test]
    fn a_move_is_looked_at_at_once_and_again_when_it_has_surely_happened() {
        let (mut moves, start) = (Moves::default(), Instant::now());
        assert!(!moves.are_due(start), "nothing is loaded");
        moves.see(seen(0, 1), true, start);
        assert!(moves.are_due(start), "what moved while it was put in force nobody counted");
        assert_eq!(moves.same(start + SURELY, start + SURELY), Some(seen(0, 1)));
        assert!(!moves.are_due(start + 60 * SURELY));
        assert_eq!(moves.patience(start, SURELY), SURELY);
        let moved = start + 5 * SURELY;
        moves.see(seen(1, 1), false, moved);
        assert!(moves.are_due(moved));
        assert_eq!(moves.same(moved, moved + MS), None, "it was counted before it happened");
        assert!(!moves.are_due(moved + SURELY - MS));
        moves.see(seen(1, 1), false, moved + SURELY);
        assert!(moves.are_due(moved + SURELY));
        assert_eq!(moves.same(moved + SURELY, moved + SURELY + MS), Some(seen(1, 1)));
        moves.see(seen(1, 1), true, moved + SURELY + MS);
        assert!(!moves.are_due(moved + 60 * SURELY));
        moves.see(seen(1, 1), false, moved + 60 * SURELY);
        assert!(moves.are_due(moved + 60 * SURELY), "somebody put in force what was resolved earlier");
    }

    #[test]
    fn whoever_moves_names_all_the_time_takes_a_quarter_of_a_processor_at_most() {
        let (mut moves, start) = (Moves::default(), Instant::now());
        let (mut now, mut busy, mut count, mut times) = (start, Duration::ZERO, 0, 0);
        while now < start + 60 * SURELY {
            count += 1;
            moves.see(seen(count, 1), false, now);
            assert!(moves.patience(now, SURELY) <= EVERY);
            if moves.are_due(now) {
                times += 1;
                let took = if times % 2 == 0 { 700 * MS } else { MS };
                moves.same(now, now + took);
                busy += took;
                now += took;
            }
            now += MS;
        }
        assert!(busy > 10 * SURELY && busy <= 15 * SURELY + 700 * MS, "{busy:?}");
    }

    #[test]
    fn what_is_something_else_each_time_is_loaded_a_few_times_only() {
        let (mut moves, start) = (Moves::default(), Instant::now());
        let (mut now, mut loads) = (start, 0);
        moves.see(seen(7, 1), false, now);
        for _ in 0..100 {
            now += SURELY;
            moves.see(seen(7, 1 + loads), true, now);
            if moves.are_due(now) {
                moves.loaded(now, now);
                loads += 1;
            }
        }
        assert_eq!(loads, u64::from(MAX_LOADS));
        moves.see(seen(7, 100), true, now);
        assert!(moves.are_due(now), "a policy of somebody else's");
    }

    #[test]
    fn what_waits_is_looked_at_again_but_not_all_the_time() {
        let (mut moves, start) = (Moves::default(), Instant::now());
        moves.see(seen(1, 1), false, start);
        let mut now = start;
        for _ in 0..5 {
            now += 3 * SURELY;
            moves.see(seen(1, 1), false, now);
            assert!(moves.are_due(now));
            moves.same(now, now + MS);
            moves.wait(now + MS, 2 * SURELY);
            moves.see(seen(1, 1), false, now + 2 * MS);
            assert!(!moves.are_due(now + SURELY));
        }
        moves.see(seen(2, 1), false, now + SURELY);
        assert!(moves.are_due(now + SURELY), "what moves is looked at at once");
    }

    #[test]
    fn what_cannot_be_done_is_not_tried_all_the_time() {
        let (mut moves, start) = (Moves::default(), Instant::now());
        moves.see(seen(1, 1), false, start);
        moves.put_off(start, 2 * SURELY);
        assert!(!moves.are_due(start + SURELY) && moves.are_due(start + 2 * SURELY));
        moves.concern_nobody();
        assert!(!moves.are_due(start + 2 * SURELY));
    }
}

//! The memory of several threads: bounded, and each thread's own.
//!
//! What a thread has written to is still in its processor's cache, and another one would have to fetch it from there. So
//! each uses what it used before.

use super::memory::Buffers;

/// For each thread, one pair to work on, and two that may wait for their turn to be written.
const EACH: usize = 3;
/// What all threads may hold: thirty pairs as they usually are. What more threads there are wait for these.
const MOST: usize = 8 << 20;
/// What a pair may keep while all hold much.
const KEPT: usize = 512 << 10;
/// What a chunk is thought to need before it was read.
const LEAST: usize = 32 << 10;

/// Buffers of all threads.
#[derive(Debug)]
pub(super) struct Pool {
    threads: Vec<Owned>,
    /// Bytes of all buffers, those in use as well.
    held: usize,
    /// Pairs that are in use.
    in_use: usize,
}

/// The buffers of one thread.
#[derive(Debug, Default)]
struct Owned {
    /// With the bytes of each that were ever written to: what it reserved beyond that is no memory yet.
    free: Vec<(Buffers, usize)>,
    in_use: usize,
}

/// Buffers in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loan {
    /// Whose they are.
    thread: usize,
    /// Bytes that were written to before.
    had: usize,
    /// Bytes for which they count.
    counted: usize,
    /// Bytes that were written to this time.
    written: usize,
}

impl Loan {
    /// Bytes for which they count.
    pub(super) const fn counted(&self) -> usize {
        self.counted
    }
}

impl Pool {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| Owned::default()).collect(), held: 0, in_use: 0 }
    }

    /// Buffers of this thread. `None` while all of them are in use, or all threads together hold too much; if nothing is
    /// in use, there always are some.
    pub(super) fn take(&mut self, thread: usize) -> Option<(Buffers, Loan)> {
        let (had, more) = self.had_and_more(thread)?;
        let owned = self.threads.get_mut(thread)?;
        self.held = self.held.saturating_add(more);
        self.in_use += 1;
        owned.in_use += 1;
        let (buffers, _) = owned.free.pop().unwrap_or_default();
        Some((buffers, Loan { thread, had, counted: had.saturating_add(more), written: 0 }))
    }

    /// Whether there are some now.
    pub(super) fn may_take(&self, thread: usize) -> bool {
        self.had_and_more(thread).is_some()
    }

    /// Bytes that the next buffers of a thread have, and how many more they are counted for.
    fn had_and_more(&self, thread: usize) -> Option<(usize, usize)> {
        let owned = self.threads.get(thread).filter(|owned| owned.in_use < EACH)?;
        let had = owned.free.last().map_or(0, |(_, held)| *held);
        let more = LEAST.saturating_sub(had);
        let is_too_much = self.in_use > 0 && self.held.saturating_add(more) > MOST;
        (!is_too_much).then_some((had, more))
    }

    /// Whether buffers in use may become so large, together. Those that are next in order may; others, if all hold less than
    /// they may. Then it is counted.
    pub(super) fn grow(&mut self, loan: &mut Loan, bytes: usize, is_next: bool) -> bool {
        let more = bytes.saturating_sub(loan.counted);
        let is_too_much = |pool: &Self| pool.held.saturating_add(more) > MOST;
        if more > 0 && is_too_much(self) {
            // What nobody uses is worth less than what somebody waits for.
            self.shrink();
            if is_too_much(self) && !is_next {
                return false;
            }
        }
        self.held = self.held.saturating_add(more);
        loan.counted = loan.counted.saturating_add(more);
        true
    }

    /// Counts what was written to buffers in use.
    pub(super) fn count(&mut self, loan: Loan, written: usize) -> Loan {
        let held = written.max(loan.had);
        self.held = self.held.saturating_sub(loan.counted).saturating_add(held);
        Loan { counted: held, written, ..loan }
    }

    /// Counts what is left of buffers in use that have become small.
    pub(super) fn count_small(&mut self, loan: Loan, held: usize) -> Loan {
        self.held = self.held.saturating_sub(loan.counted).saturating_add(held);
        Loan { had: held, counted: held, ..loan }
    }

    /// Takes buffers back. If all hold much, those become small that have more than is needed now.
    pub(super) fn put_back(&mut self, loan: Loan, mut buffers: Buffers) {
        let mut held = loan.counted;
        let is_more_than_needed = held > KEPT.max(loan.written.saturating_mul(2));
        if self.held > MOST || self.held > MOST / 2 && is_more_than_needed {
            held = buffers.shrink();
        }
        self.held = self.held.saturating_sub(loan.counted).saturating_add(held);
        self.in_use = self.in_use.saturating_sub(1);
        if let Some(owned) = self.threads.get_mut(loan.thread) {
            owned.in_use = owned.in_use.saturating_sub(1);
            owned.free.push((buffers, held));
        }
    }

    /// Makes all buffers small that are not in use.
    pub(super) fn shrink(&mut self) {
        for (buffers, held) in self.threads.iter_mut().flat_map(|owned| &mut owned.free) {
            self.held = self.held.saturating_sub(*held);
            *held = buffers.shrink();
            self.held = self.held.saturating_add(*held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(len: usize) -> Buffers {
        Buffers { out: vec![0; len], ..Buffers::default() }
    }

    #[test]
    fn lends_each_thread_a_few_of_its_own() {
        let mut pool = Pool::new(2);
        let lent: Vec<_> = std::iter::from_fn(|| pool.take(0)).collect();
        assert_eq!(lent.len(), EACH);
        assert!(pool.take(1).is_some(), "the other thread has its own");
        for (_, loan) in lent {
            let loan = pool.count(loan, 1000);
            pool.put_back(loan, of(1000));
        }
        assert_eq!(pool.take(0).map(|(buffers, _)| buffers.out.len()), Some(1000));
        assert!(pool.take(2).is_none(), "there is no such thread");
    }

    #[test]
    fn lends_no_more_while_much_is_held_and_gets_it_back() {
        let mut pool = Pool::new(4);
        let (_, mut first) = pool.take(0).unwrap();
        let (_, mut second) = pool.take(1).unwrap();
        assert!(pool.grow(&mut first, 3 << 20, false));
        assert!(!pool.grow(&mut second, 6 << 20, false), "nine are too many");
        assert!(pool.grow(&mut second, 5 << 20, false));
        assert_eq!(pool.held, MOST);
        assert!(pool.take(2).is_none());
        // Whatever is next in order has to go on.
        assert!(!pool.grow(&mut first, 4 << 20, false));
        assert!(pool.grow(&mut first, 4 << 20, true));
        assert_eq!(pool.held, 9 << 20);
        let (first, second) = (pool.count(first, 2 << 20), pool.count(second, 5 << 20));
        assert_eq!(pool.held, 7 << 20, "what was written counts in the end");
        for (loan, len) in [(first, 2 << 20), (second, 5 << 20)] {
            pool.put_back(loan, of(len));
        }
        assert_eq!(pool.held, 7 << 20, "as much may be needed again");
        // What nobody uses makes room.
        let (_, mut third) = pool.take(2).unwrap();
        assert!(pool.grow(&mut third, 6 << 20, false));
        assert!(pool.held < (6 << 20) + (64 << 10), "{pool:?}");
        // While nothing is in use, there always is something.
        let third = pool.count(third, 20 << 20);
        pool.in_use = 0;
        assert!(pool.take(3).is_some());
        pool.put_back(third, of(20 << 20));
        assert!(pool.held < 1 << 20, "{pool:?}");
    }

    #[test]
    fn what_is_larger_than_needed_becomes_small_if_much_is_held() {
        let mut pool = Pool::new(2);
        for (len, needed, left) in [(3 << 20, 1000, 3), (5 << 20, 3 << 20, 8), (5 << 20, 1000, 3)] {
            let thread = usize::from(len > 4 << 20);
            let (_, loan) = pool.take(thread).unwrap();
            let loan = pool.count(loan, len);
            pool.put_back(loan, of(len));
            let (buffers, loan) = pool.take(thread).unwrap();
            let loan = pool.count(loan, needed);
            pool.put_back(loan, buffers);
            assert_eq!(pool.held >> 20, left, "{len} {needed}");
        }
    }

    #[test]
    fn makes_small_what_nobody_uses() {
        let mut pool = Pool::new(1);
        let (_, used) = pool.take(0).unwrap();
        let (_, free) = pool.take(0).unwrap();
        let _used = pool.count(used, 1000 << 10);
        let free = pool.count(free, 500 << 10);
        pool.put_back(free, of(500 << 10));
        assert_eq!(pool.held, 1500 << 10);
        pool.shrink();
        assert!((1000 << 10..1010 << 10).contains(&pool.held), "{pool:?}");
    }
}

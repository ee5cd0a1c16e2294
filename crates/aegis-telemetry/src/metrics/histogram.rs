//! How long things take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of durations, in buckets from a microsecond to a minute.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

/// Upper bounds in nanoseconds, and as Prometheus writes them.
pub(super) const BOUNDS: [(u64, &str); 16] = [
    (1_000, "0.000001"),
    (2_500, "0.0000025"),
    (5_000, "0.000005"),
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (1_000_000, "0.001"),
    (5_000_000, "0.005"),
    (25_000_000, "0.025"),
    (100_000_000, "0.1"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (5_000_000_000, "5"),
    (15_000_000_000, "15"),
    (60_000_000_000, "60"),
];

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: Default::default(), sum_nanos: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.iter().position(|(bound, _)| nanos <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed))
    }

    /// For each bound, how many were at most so long; and how many there are.
    pub(super) fn cumulative(&self) -> (Vec<(&'static str, u64)>, u64) {
        let mut total = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (number, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            if let Some((_, bound)) = BOUNDS.get(number) {
                buckets.push((*bound, total));
            }
        }
        (buckets, total)
    }
}

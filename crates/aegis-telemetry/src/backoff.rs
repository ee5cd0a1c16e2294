//! How long to wait before the next attempt.

use std::time::Duration;

/// Waiting times that grow: each is drawn at random between half and all of a bound that doubles.
///
/// The randomness keeps many senders that lost one receiver from coming back at the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first waiting time.
    pub first: Duration,
    /// The bound that is not passed, except if the receiver asks for more.
    pub most: Duration,
}

/// The longest that a receiver may ask us to wait.
pub(crate) const MOST_ASKED: Duration = Duration::from_secs(3600);

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// How long to wait after so many failures, from 1. What the receiver asked for is waited at least.
    pub(crate) fn wait(self, failures: u32, asked: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let bound = self.first.saturating_mul(1 << doublings).min(self.most);
        let drawn = bound.mul_f64(0.5 + 0.5 * random_fraction());
        drawn.max(asked.unwrap_or_default().min(MOST_ASKED))
    }
}

/// From 0 to 1. Without randomness the wait is the longest, which is as good.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_double_up_to_a_bound_and_are_never_less_than_asked() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(2) };
        for (failures, bound) in [(1, 100), (2, 200), (3, 400), (5, 1600), (6, 2000), (u32::MAX, 2000)] {
            for _ in 0..20 {
                let wait = backoff.wait(failures, None);
                let bound = Duration::from_millis(bound);
                assert!(wait >= bound / 2 && wait <= bound, "{failures}: {wait:?}");
            }
        }
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(999_999))), MOST_ASKED);
    }
}

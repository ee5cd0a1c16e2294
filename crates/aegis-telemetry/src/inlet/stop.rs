//! Telling a source to stop, also while it waits for input.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Set once, by any thread; whoever waits wakes up.
#[derive(Debug)]
pub struct Stop {
    is_set: AtomicBool,
    /// A byte is written, and never read: so whoever waits, now or later, sees it.
    write: UnixStream,
    read: UnixStream,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    Stopped,
    Readable,
    TimedOut,
}

impl Stop {
    /// Not yet set.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no file descriptors.
    pub fn new() -> io::Result<Self> {
        let (write, read) = UnixStream::pair()?;
        write.set_nonblocking(true)?;
        Ok(Self { is_set: AtomicBool::new(false), write, read })
    }

    /// Tells everybody to stop.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        // One byte always has room; if it was set before, there is one already.
        let _ = (&self.write).write(&[0]);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// Waits so long, or until it is set, and says whether it is.
    pub fn wait(&self, how_long: Duration) -> bool {
        let _ = self.poll(None, Some(how_long));
        self.is_set()
    }

    /// Waits until there is something to be read, without an end if no time is given.
    pub(crate) fn wait_readable(&self, input: BorrowedFd<'_>, most: Option<Duration>) -> io::Result<Woken> {
        self.poll(Some(input), most)
    }

    fn poll(&self, input: Option<BorrowedFd<'_>>, most: Option<Duration>) -> io::Result<Woken> {
        let end = most.map(|most| Instant::now() + most);
        loop {
            if self.is_set() {
                return Ok(Woken::Stopped);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let own = PollFd::from_borrowed_fd(self.read.as_fd(), PollFlags::IN);
            let found = match input {
                Some(input) => {
                    let mut both = [own, PollFd::from_borrowed_fd(input, PollFlags::IN)];
                    poll(&mut both, timeout.as_ref()).map(|_| !both[1].revents().is_empty())
                }
                None => poll(&mut [own], timeout.as_ref()).map(|_| false),
            };
            match found {
                Ok(_) if self.is_set() => return Ok(Woken::Stopped),
                Ok(true) => return Ok(Woken::Readable),
                Ok(false) if left.is_some_and(|left| left.is_zero()) => return Ok(Woken::TimedOut),
                Ok(false) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn wakes_whoever_waits_for_input_that_never_comes() {
        let stop = Arc::new(Stop::new().unwrap());
        let (input, _kept) = UnixStream::pair().unwrap();
        let waiting = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || stop.wait_readable(input.as_fd(), None).unwrap())
        };
        stop.set();
        stop.set();
        assert_eq!(waiting.join().unwrap(), Woken::Stopped);
        assert!(stop.wait(Duration::from_secs(3600)));
    }

    #[test]
    fn input_is_seen_before_the_time_is_over_and_the_time_without_input() {
        let stop = Stop::new().unwrap();
        let (input, mut peer) = UnixStream::pair().unwrap();
        let wait = |most| stop.wait_readable(input.as_fd(), Some(most)).unwrap();
        assert_eq!(wait(Duration::from_millis(1)), Woken::TimedOut);
        peer.write_all(b"x").unwrap();
        assert_eq!(wait(Duration::from_secs(3600)), Woken::Readable);
        assert!(!stop.wait(Duration::from_millis(1)));
    }
}

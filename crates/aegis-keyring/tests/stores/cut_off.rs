//! Stands between a store and its server, and loses what a test says.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lose {
    /// The next commit never reaches the server.
    Commit,
    /// The server commits, and nobody hears of it.
    Answer,
}

/// A way to the server that loses things. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    server: u16,
    /// How many commits, or answers, are still to be lost.
    commits: AtomicUsize,
    answers: AtomicUsize,
    lost: AtomicUsize,
    /// After the next loss nobody comes through any more.
    closes: AtomicBool,
    closed: AtomicBool,
}

impl Way {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            server,
            commits: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            closes: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, state) = (client.unwrap(), Arc::clone(&shared));
                if !state.closed.load(Ordering::SeqCst) {
                    std::thread::spawn(move || pass(&client, &state));
                }
            }
        });
        Self { port, state }
    }

    pub(crate) fn lose(&self, what: Lose, times: usize) {
        match what {
            Lose::Commit => self.state.commits.store(times, Ordering::SeqCst),
            Lose::Answer => self.state.answers.store(times, Ordering::SeqCst),
        }
    }

    /// Lets nobody through any more after the next loss.
    pub(crate) fn close_after_it(&self) {
        self.state.closes.store(true, Ordering::SeqCst);
    }

    /// How often something was lost.
    pub(crate) fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }
}

fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn pass(client: &TcpStream, state: &Arc<State>) {
    let server = TcpStream::connect(("127.0.0.1", state.server)).unwrap();
    let muted = Arc::new(AtomicBool::new(false));
    let back = {
        let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let (muted, state) = (Arc::clone(&muted), Arc::clone(state));
        std::thread::spawn(move || {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(len @ 1..) = from.read(&mut bytes) {
                if muted.load(Ordering::SeqCst) {
                    lose(&state);
                    break;
                }
                if to.write_all(&bytes[..len]).is_err() {
                    break;
                }
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        })
    };
    let (mut from, mut to) = (client.try_clone().unwrap(), server);
    let mut bytes = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let is_commit = bytes[..len].windows(7).any(|window| window == b"COMMIT\0");
        if is_commit && take_one(&state.commits) {
            lose(state);
            break;
        }
        if is_commit && take_one(&state.answers) {
            muted.store(true, Ordering::SeqCst);
        }
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    back.join().unwrap();
}

fn lose(state: &State) {
    state.lost.fetch_add(1, Ordering::SeqCst);
    if state.closes.load(Ordering::SeqCst) {
        state.closed.store(true, Ordering::SeqCst);
    }
}

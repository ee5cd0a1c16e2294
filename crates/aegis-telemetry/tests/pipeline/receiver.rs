//! An HTTP receiver that does what a test says, and remembers what it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use test_services::http::Message;
use test_services::proxy::{Fate, Proxy};

/// What becomes of a request.
pub(crate) enum Answer {
    /// Taken.
    Take,
    /// Taken, but nobody is told.
    TakeAndReset,
    /// Not taken, with an answer.
    Say(Message),
    /// Not taken; the connection is reset.
    Reset,
    /// Taken, with an answer of 3 MiB.
    TakeAndTalk,
}

pub(crate) fn status(status: u16) -> Answer {
    Answer::Say(Message::answer(status, "text/plain", b"said"))
}

/// Listens until it is dropped.
pub(crate) struct Receiver {
    proxy: Proxy,
    taken: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    /// Asks `decide` with the number of each request, from 0, and the request.
    pub(crate) fn start(decide: impl Fn(usize, &Message) -> Answer + Send + Sync + 'static) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxy = Proxy::before(nobody, move |number, request| match decide(number, request) {
            Answer::Take => {
                kept.lock().unwrap().push(request.clone());
                Fate::Answer(Message::answer(200, "text/plain", b""))
            }
            Answer::TakeAndReset => {
                kept.lock().unwrap().push(request.clone());
                Fate::Reset
            }
            Answer::Say(answer) => Fate::Answer(answer),
            Answer::Reset => Fate::Reset,
            Answer::TakeAndTalk => {
                kept.lock().unwrap().push(request.clone());
                Fate::Answer(Message::answer(200, "text/plain", &vec![b'x'; 3 << 20]))
            }
        });
        Self { proxy, taken }
    }

    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }

    /// Every request, also those that were not taken.
    pub(crate) fn seen(&self) -> Vec<Message> {
        self.proxy.seen()
    }

    /// The requests that were taken.
    pub(crate) fn taken(&self) -> Vec<Message> {
        self.taken.lock().unwrap().clone()
    }

    /// The bodies of those that were taken.
    pub(crate) fn lines(&self) -> Vec<u8> {
        self.taken().iter().flat_map(|request| request.body.clone()).collect()
    }
}

pub(crate) fn key_of(request: &Message) -> String {
    request.header("Idempotency-Key").unwrap().to_owned()
}

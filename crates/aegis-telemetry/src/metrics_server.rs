//! The metrics for a Prometheus on this host: plain HTTP on a loopback address, one page, nothing else.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::inlet::Stop;
use crate::metrics::Metrics;

/// The most bytes of a request.
const MAX_REQUEST: usize = 8 * 1024;
/// For a whole exchange: one slow client is not to keep others waiting for long.
const EXCHANGE: Duration = Duration::from_secs(2);

/// Answers `GET /metrics` until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// Why metrics cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum MetricsServerError {
    /// Others could ask, and there is neither encryption nor a login.
    #[error("{address} is no loopback address")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The system said no.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

impl MetricsServerError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotLoopback { .. } => "listen on 127.0.0.1 or [::1]".to_owned(),
            Self::Listen { .. } => "choose a port that is free, or 0 for any".to_owned(),
        })
    }
}

impl MetricsServer {
    /// Listens.
    ///
    /// # Errors
    ///
    /// A [`MetricsServerError`].
    pub fn start(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, MetricsServerError> {
        if !address.ip().is_loopback() {
            return Err(MetricsServerError::NotLoopback { address });
        }
        let failed = |source| MetricsServerError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let stop = Arc::new(Stop::new().map_err(failed)?);
        let own = Arc::clone(&stop);
        let run = move || {
            while !own.is_set() {
                if own.wait_readable(listener.as_fd(), None).is_err() {
                    return;
                }
                match listener.accept() {
                    Ok((stream, _)) => {
                        // Whoever asked and did not wait for the answer has none.
                        let _ = answer(stream, &metrics);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // Such as when there are no file descriptors: not at once again.
                    Err(_) => drop(own.wait(Duration::from_millis(100))),
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("aegis-metrics".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { address: bound, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, metrics: &Metrics) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(EXCHANGE))?;
    let request = head(&mut stream)?;
    let mut words = request.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics") => {
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics.render())
        }
        (b"GET" | b"HEAD", _) => ("404 Not Found", "text/plain; charset=utf-8", "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain; charset=utf-8", "GET /metrics\n".to_owned()),
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if method != b"HEAD" {
        answer.push_str(&body);
    }
    stream.write_all(answer.as_bytes())
}

/// What stands before the first empty line.
fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let end = Instant::now() + EXCHANGE;
    let mut head = Vec::new();
    let mut block = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut block)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => head.extend_from_slice(block.get(..len).unwrap_or_default()),
        }
    }
    Ok(head)
}

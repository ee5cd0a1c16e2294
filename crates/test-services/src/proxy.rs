//! Stands between a client and a server, and does to each request what a test says.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::http::Message;

/// What happens to a request.
pub enum Fate {
    /// The server answers.
    Pass,
    /// This is the answer; the server is not asked.
    Answer(Message),
    /// The server answers, and the answer is changed.
    Change(Box<dyn Fn(&mut Message)>),
    /// The server answers, and the connection ends after so many bytes of the body.
    CutBody(usize),
    /// The headers of an answer, and then bytes without end.
    Endless,
    /// The connection is reset.
    Reset,
    /// No answer, until the client goes.
    Silence,
}

/// A listener that passes requests on, as far as it is told to. Ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

type Decide = Box<dyn Fn(usize, &Message) -> Fate + Send + Sync>;

struct Shared {
    target: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    fate: Decide,
    seen: Mutex<Vec<Message>>,
    ended: AtomicBool,
}

impl Proxy {
    /// Listens. `fate` is asked with the number of the request, from 0, and with the request.
    pub fn before(
        target: SocketAddr,
        fate: impl Fn(usize, &Message) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self::listen(target, None, Box::new(fate))
    }

    /// Listens with TLS, as the host of a certificate, and passes every request on without.
    pub fn with_tls(target: SocketAddr, certificate: &Path, key: &Path) -> Self {
        Self::listen_tls(target, certificate, key, None)
    }

    /// The same, for clients alone that have a certificate by this authority.
    pub fn with_tls_for(target: SocketAddr, certificate: &Path, key: &Path, clients: &Path) -> Self {
        Self::listen_tls(target, certificate, key, Some(clients))
    }

    fn listen_tls(target: SocketAddr, certificate: &Path, key: &Path, clients: Option<&Path>) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = config.with_single_cert(chain, key).unwrap();
        Self::listen(target, Some(Arc::new(config)), Box::new(|_, _| Fate::Pass))
    }

    fn listen(target: SocketAddr, tls: Option<Arc<ServerConfig>>, fate: Decide) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let (seen, ended) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { target, tls, fate, seen, ended });
        let listener = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut conversations = Vec::new();
                for client in socket.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let shared = Arc::clone(&shared);
                    // A client that gave up is nothing to report.
                    conversations.push(thread::spawn(move || client.and_then(|client| shared.serve(client))));
                }
                for conversation in conversations {
                    let _ = conversation.join().unwrap();
                }
            })
        };
        Self { address, shared, listener: Some(listener) }
    }

    /// The address to give to the client.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The requests that came so far.
    pub fn seen(&self) -> Vec<Message> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        // Short, so that a conversation whose client stays silent ends with the proxy.
        client.set_read_timeout(Some(Duration::from_secs(5)))?;
        client.set_write_timeout(Some(Duration::from_secs(5)))?;
        let socket = client.try_clone()?;
        match &self.tls {
            None => self.converse(client, &socket),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                let mut client = StreamOwned::new(connection, client);
                self.converse(&mut client, &socket)?;
                client.conn.send_close_notify();
                client.flush()
            }
        }
    }

    fn converse(&self, mut client: impl Read + Write, socket: &TcpStream) -> io::Result<()> {
        let mut request = Message::read(&mut client)?;
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let fate = (self.fate)(number, &request);
        request.frame();
        let ask = || {
            let mut answer = request.send(self.target)?;
            answer.frame();
            Ok::<_, io::Error>(answer)
        };
        match fate {
            Fate::Pass => client.write_all(&ask()?.to_bytes()),
            Fate::Answer(answer) => client.write_all(&answer.to_bytes()),
            Fate::Change(change) => {
                let mut answer = ask()?;
                change(&mut answer);
                answer.frame();
                client.write_all(&answer.to_bytes())
            }
            Fate::CutBody(len) => {
                let answer = ask()?;
                let bytes = answer.to_bytes();
                client.write_all(&bytes[..bytes.len() - answer.body.len().saturating_sub(len)])
            }
            Fate::Endless => self.pour(&mut client),
            // Closing sends RST instead of FIN.
            Fate::Reset => Ok(rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?),
            Fate::Silence => self.wait_until_gone(&mut client, socket),
        }
    }

    fn pour(&self, client: &mut impl Write) -> io::Result<()> {
        let block = [b' '; 64 * 1024];
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\r\n";
        client.write_all(head.as_bytes())?;
        while !self.ended.load(Ordering::SeqCst) {
            client.write_all(&block)?;
        }
        Ok(())
    }

    fn wait_until_gone(&self, client: &mut impl Read, socket: &TcpStream) -> io::Result<()> {
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        while !self.ended.load(Ordering::SeqCst) {
            match client.read(&mut [0; 64]) {
                Ok(0) => break,
                Err(error)
                    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
                {
                    break;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

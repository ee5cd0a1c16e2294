//! Just enough of HTTP/1.1 to speak to an emulator on this host, and to stand between it and a client.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The most bytes of a message.
const MAX_LEN: usize = 4 * 1024 * 1024;
/// For each read and write.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A request or an answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// The header lines, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// A request whose connection ends after the answer.
    pub fn request(method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut message = Self {
            start: format!("{method} {path} HTTP/1.1"),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.to_vec(),
        };
        message.set("Host", host);
        message.frame();
        message
    }

    /// An answer whose connection ends after it.
    pub fn answer(status: u16, content_type: &str, body: &[u8]) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        let mut message = Self { start: format!("HTTP/1.1 {status} Said"), headers, body: body.to_vec() };
        message.frame();
        message
    }

    /// Reads one, with the length that it says; an answer without one ends with its connection.
    pub fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let mut block = [0; 8192];
        let head_len = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut block)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => bytes.extend_from_slice(&block[..len]),
            }
            assert!(bytes.len() < MAX_LEN);
        };
        let head = String::from_utf8(bytes[..head_len].to_vec()).unwrap();
        let mut lines = head.lines();
        let start = lines.next().unwrap().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut message = Self { start, headers, body: bytes[head_len..].to_vec() };
        let len: Option<usize> = message.header("Content-Length").map(|len| len.parse().unwrap());
        while len.is_none_or(|len| message.body.len() < len) {
            // A request without a length has no body.
            if len.is_none() && !message.start.starts_with("HTTP/") {
                break;
            }
            match stream.read(&mut block)? {
                0 => break,
                len => message.body.extend_from_slice(&block[..len]),
            }
            assert!(message.body.len() < MAX_LEN);
        }
        Ok(message)
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.start).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// The method and the path of a request.
    pub fn target(&self) -> (&str, &str) {
        let mut words = self.start.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
    }

    /// Sets a header.
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Makes the headers say how long the body is, and that nothing follows.
    pub fn frame(&mut self) {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("Transfer-Encoding"));
        self.set("Content-Length", &self.body.len().to_string());
        self.set("Connection", "close");
    }

    /// Sends it to a server, and reads the answer.
    pub fn send(&self, to: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(&self.to_bytes())?;
        Self::read(&mut stream)
    }
}

//! Records as the programs write them, for tests.

use jiff::Timestamp;

use super::{BootClock, Context, Event};

/// A record, field by field, in the order of `struct event`.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) time: u64,
    pub(super) generation: u64,
    pub(super) line: u32,
    pub(super) section: u8,
    pub(super) operation: u32,
    pub(super) denied: u32,
    pub(super) pid: u32,
    pub(super) cgroup: u64,
    pub(super) exe: (u64, u32),
    pub(super) file: (u64, u32),
    pub(super) target: u32,
    pub(super) port: u16,
    pub(super) family: u8,
    pub(super) protocol: u8,
    pub(super) address: [u8; 16],
    pub(super) hash: Option<[u8; 32]>,
    pub(super) comm: Vec<u8>,
    pub(super) parents: Vec<(u32, Vec<u8>)>,
    pub(super) path_length: i32,
    pub(super) path: Vec<u8>,
}

/// When the machine of the samples started.
pub(super) const BOOT: &str = "2026-03-01T12:00:00Z";

pub(super) fn context() -> Context {
    Context::of_clock(BootClock::starting_at(BOOT.parse::<Timestamp>().expect("a time")))
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            time: 1_500_000_000,
            generation: 3,
            line: 4,
            section: 0,
            operation: 1,
            denied: 1,
            pid: 700,
            cgroup: 77,
            exe: (1234, 8 << 20 | 1),
            file: (5678, 259 << 20 | 2),
            target: 0,
            port: 0,
            family: 0,
            protocol: 0,
            address: [0; 16],
            hash: None,
            comm: b"cat".to_vec(),
            parents: vec![(600, b"bash".to_vec()), (1, b"systemd".to_vec())],
            path_length: 0,
            path: Vec::new(),
        }
    }
}

impl Sample {
    /// The opening of a file.
    pub(super) fn open(path: &[u8]) -> Self {
        Self::default().with_path(path)
    }

    /// A connection, or a socket that listens, by the number of the operation.
    pub(super) fn network(operation: u32, address: &str, port: u16, protocol: u8) -> Self {
        let address: std::net::IpAddr = address.parse().expect("an address");
        let (family, address) = match address {
            std::net::IpAddr::V4(address) => (4, address.to_ipv6_mapped().octets()),
            std::net::IpAddr::V6(address) => (6, address.octets()),
        };
        Self { operation, section: 8, file: (0, 0), family, address, port, protocol, ..Self::default() }
    }

    pub(super) fn with_path(mut self, path: &[u8]) -> Self {
        self.path = path.to_vec();
        self.path_length = i32::try_from(path.len() + 1).expect("a short path");
        self
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let text = |text: &[u8], len: usize| {
            let mut field = text.to_vec();
            field.resize(len, 0);
            field
        };
        out.extend(self.time.to_ne_bytes());
        out.extend(self.generation.to_ne_bytes());
        out.extend(self.line.to_ne_bytes());
        out.extend([self.section, 0, 0, 0]);
        out.extend(self.operation.to_ne_bytes());
        out.extend(self.denied.to_ne_bytes());
        for number in [self.pid, self.pid + 1, 1000, 100] {
            out.extend(number.to_ne_bytes());
        }
        for number in [self.cgroup, self.exe.0, self.file.0] {
            out.extend(number.to_ne_bytes());
        }
        for number in [self.exe.1, self.file.1, self.target] {
            out.extend(number.to_ne_bytes());
        }
        out.extend(self.port.to_ne_bytes());
        out.extend([self.family, self.protocol]);
        out.extend(self.address);
        out.extend(self.hash.unwrap_or_default());
        out.extend(text(&self.comm, 16));
        for index in 0..6 {
            let (pid, comm) = self.parents.get(index).cloned().unwrap_or_default();
            out.extend(pid.to_ne_bytes());
            out.extend(text(&comm, 16));
        }
        out.extend(u32::from(self.hash.is_some()).to_ne_bytes());
        out.extend(self.path_length.to_ne_bytes());
        out.extend(text(&self.path, 512));
        out
    }

    pub(super) fn event(&self) -> Event {
        Event::from_record(&self.to_bytes(), &context()).expect("a good record")
    }
}

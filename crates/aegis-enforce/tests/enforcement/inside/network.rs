//! The network: by address, by network, by port.

use std::time::Duration;

use aegis_enforce::event::{BootClock, Context};
use aegis_enforce::{Enforcement, Mode};

use super::{Scenario, Start, judged, swap};
use crate::probe::{DENIED, ask};

pub(super) const ALL: &[Scenario] = &[
    ("deny_ip", Start::Loaded(denied_ip)),
    ("deny_cidr", Start::Loaded(denied_cidr)),
    ("deny_port", Start::Loaded(denied_port)),
    ("deny_port of a port that the kernel chooses", Start::Loaded(chosen_port)),
    ("deny_ip_port", Start::Loaded(denied_endpoint)),
    ("what is bound to is told as it is", Start::Loaded(told)),
];

fn denied_ip(enforcement: &Enforcement) {
    judged(
        enforcement,
        "version=6\n[deny_ip]\n127.0.0.5\nfd00::5\n192.0.2.5\n",
        &[
            "udp 127.0.0.5 9",
            "tcp 127.0.0.5 9",
            "sendto 127.0.0.5 9",
            "sendmsg 127.0.0.5 9",
            "sendmmsg 127.0.0.5 9",
            "sctp-connect 127.0.0.5 9",
            "sctp-connect fd00::5 9",
            "raw 127.0.0.5 9",
            "fast-open 127.0.0.5 9",
            "udp ::ffff:127.0.0.5 9",
            "udp fd00::5 9",
            "tcp fd00::5 9",
            "sendto fd00::5 9",
            "tcp 192.0.2.5 9",
        ],
        &[
            "udp 127.0.0.6 9",
            "tcp 127.0.0.6 9",
            "sendto ::1 9",
            "udp fd00::6 9",
            "bind-udp 127.0.0.5 9",
            "sctp-connect 127.0.0.6 9",
            "sctp-bind 127.0.0.5 9",
            "any-of-bound 127.0.0.6",
        ],
    );
}

fn denied_cidr(enforcement: &Enforcement) {
    judged(
        enforcement,
        "version=6\n[deny_cidr]\n127.7.0.0/16\n127.8.8.0/25\n127.9.9.9/32\nfd00:7::/32\n::ffff:127.6.0.0/112\n",
        &[
            "udp 127.7.0.0 9",
            "tcp 127.7.255.255 9",
            "sendto 127.8.8.127 9",
            "udp 127.9.9.9 9",
            "udp ::ffff:127.7.1.1 9",
            "udp fd00:7:1::1 9",
            "udp 127.6.3.3 9",
        ],
        &["udp 127.5.255.255 9", "udp 127.8.8.128 9", "udp 127.9.9.8 9", "udp fd00:8::1 9", "udp ::1 9"],
    );
    judged(enforcement, "version=6\n[deny_cidr]\n0.0.0.0/0\n", &["udp 127.0.0.1 9"], &["udp ::1 9"]);
    judged(enforcement, "version=6\n[deny_cidr]\n::/0\n", &["udp ::1 9"], &["udp 127.0.0.1 9"]);
}

fn denied_port(enforcement: &Enforcement) {
    let rules = "version=6\n[deny_port]\n1001:tcp:egress\n1002:udp:egress\n1003:tcp:bind\n1004:udp:bind\n1005\n1006:any:bind\n";
    judged(
        enforcement,
        rules,
        &[
            "tcp 127.0.0.1 1001",
            "tcp ::1 1001",
            "fast-open 127.0.0.1 1001",
            "udp 127.0.0.1 1002",
            "sendto 127.0.0.1 1002",
            "bind-tcp 127.0.0.1 1003",
            "listen-tcp ::1 1003",
            "bind-udp 127.0.0.1 1004",
            "tcp 127.0.0.1 1005",
            "udp ::1 1005",
            "bind-tcp 127.0.0.1 1005",
            "bind-udp 127.0.0.1 1005",
            "bind-tcp 127.0.0.1 1006",
            "bind-udp ::1 1006",
            "sctp-connect 127.0.0.1 1005",
            "sctp-bind 127.0.0.1 1006",
        ],
        &[
            "udp 127.0.0.1 1001",
            "bind-tcp 127.0.0.1 1001",
            "tcp 127.0.0.1 1002",
            "bind-udp 127.0.0.1 1002",
            "tcp 127.0.0.1 1003",
            "bind-udp 127.0.0.1 1003",
            "udp 127.0.0.1 1004",
            "bind-tcp 127.0.0.1 1004",
            "tcp 127.0.0.1 1006",
            "udp 127.0.0.1 1006",
            "tcp 127.0.0.1 1007",
            "sctp-connect 127.0.0.1 1001",
            "sctp-bind 127.0.0.1 1003",
            "raw 127.0.0.1 1005",
        ],
    );
}

/// Who binds to no port in particular is given one; it is judged when he listens.
fn chosen_port(enforcement: &Enforcement) {
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    let before = std::fs::read_to_string(range).unwrap();
    std::fs::write(range, "4240 4241").unwrap();
    let policy = "version=6\n[deny_port]\n4240:tcp:bind\n4241:tcp:bind\n";
    judged(enforcement, policy, &["listen-tcp 127.0.0.1 0"], &["bind-tcp 127.0.0.1 0"]);
    std::fs::write(range, before).unwrap();
}

fn denied_endpoint(enforcement: &Enforcement) {
    judged(
        enforcement,
        "version=6\n[deny_ip_port]\n127.0.0.5:1001\n127.0.0.5:1002:tcp\n[fd00::5]:1001:udp\n",
        &[
            "tcp 127.0.0.5 1001",
            "udp 127.0.0.5 1001",
            "sendmsg 127.0.0.5 1001",
            "udp ::ffff:127.0.0.5 1001",
            "tcp 127.0.0.5 1002",
            "udp fd00::5 1001",
        ],
        &[
            "tcp 127.0.0.5 1003",
            "tcp 127.0.0.6 1001",
            "udp 127.0.0.5 1002",
            "tcp fd00::5 1001",
            "bind-tcp 127.0.0.5 1001",
        ],
    );
}

/// Who connects to 0.0.0.0 reaches this host; who binds to it is told with that.
fn told(enforcement: &Enforcement) {
    swap(enforcement, "version=6\n[deny_port]\n1003\n", Mode::Enforce);
    let context = Context::of_host(BootClock::measure(), None);
    let reader = enforcement.reader().unwrap();
    for (what, address) in [
        ("bind-tcp 0.0.0.0 1003", "0.0.0.0"),
        ("bind-udp :: 1003", "::"),
        ("bind-tcp 127.0.0.1 1003", "127.0.0.1"),
        ("tcp 0.0.0.0 1003", "127.0.0.1"),
        ("udp :: 1003", "::1"),
    ] {
        while !reader.next(Duration::ZERO, &context).is_empty() {}
        assert_eq!(ask(what), DENIED, "{what}");
        let events = reader.next(Duration::from_secs(60), &context);
        let told = events.into_iter().next().unwrap().unwrap().network.unwrap();
        assert_eq!(told.address.unwrap().to_string(), address, "{what}");
    }
}

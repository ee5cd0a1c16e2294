//! For measuring what a rule costs: writes a policy of any size, and reads one.
//!
//! ```text
//! measure_parse generate 1000000 > big.policy
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null measure_parse read big.policy
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null measure_parse parse big.policy
//! ```
//!
//! The difference of the two instruction counts, divided by the number of rules, is the cost of a rule.

use std::error::Error;
use std::io::{self, BufWriter, Write};

use aegis_policy::{Limits, lint, normalise, parse};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (what, which) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let mut out = BufWriter::new(io::stdout().lock());
    if what == "generate" {
        generate(which.parse()?, &mut out)?;
        return Ok(out.flush()?);
    }
    let source = std::fs::read(which)?;
    let limits = Limits::default();
    let answer = match what.as_str() {
        "read" => source.len(),
        "parse" => match parse(&source, &limits) {
            Ok(policy) => policy.rule_count(),
            Err(errors) => errors.total,
        },
        "rules" => parse(&source, &limits)?.rules().map(|rule| rule.text.len()).sum(),
        "lint" => lint(&source, &limits).warning_total,
        "normalise" => normalise(&parse(&source, &limits)?).len(),
        _ => return Err("usage: measure_parse generate N | read|parse|rules|lint|normalise FILE".into()),
    };
    Ok(writeln!(out, "{answer}")?)
}

/// Half of the rules are paths; the other half are addresses, networks, ports, endpoints and hashes.
fn generate(rules: u64, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# Generated: {rules} rules\nversion=6")?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let shares = [
        ("deny_path", 50),
        ("deny_inode", 5),
        ("deny_binary_hash", 10),
        ("deny_ip", 20),
        ("deny_cidr", 8),
        ("deny_port", 2),
        ("deny_ip_port", 5),
    ];
    for (section, percent) in shares {
        writeln!(out, "\n[{section}]")?;
        for _ in 0..rules * percent / 100 {
            let (a, b) = (next(), next());
            let [o1, o2, o3, o4, p1, p2, ..] = a.to_be_bytes();
            let port = u16::from_be_bytes([p1, p2]).max(1);
            match section {
                "deny_path" => {
                    writeln!(out, "/opt/app/{:06x}/bin/tool-{:05x}", a & 0xff_ffff, b & 0xf_ffff)?;
                }
                "deny_inode" => writeln!(out, "{}:{}", a % 4096, b >> 40)?,
                "deny_binary_hash" => writeln!(out, "sha256:{a:016x}{b:016x}{a:016x}{b:016x}")?,
                "deny_ip" if b % 10 == 0 => {
                    writeln!(out, "2001:db8:{:x}::{:x}", a & 0xffff, b & 0xffff)?;
                }
                "deny_ip" => writeln!(out, "{o1}.{o2}.{o3}.{o4}")?,
                "deny_cidr" => writeln!(out, "{o1}.{o2}.{o3}.0/24")?,
                "deny_port" => writeln!(out, "{port}:tcp:egress")?,
                _ => writeln!(out, "{o1}.{o2}.{o3}.{o4}:{port}:tcp")?,
            }
        }
    }
    Ok(())
}

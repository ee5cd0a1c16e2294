//! Policies of any size, with the kinds of rules that large policies really have.

use std::fmt::Write as _;

/// A policy of exactly `rules` rules: half paths, a quarter addresses, a quarter address and port.
///
/// Every rule is different, and the order is not sorted.
pub(crate) fn text(rules: usize) -> String {
    let addresses = rules / 4;
    let endpoints = rules / 4;
    let paths = rules.saturating_sub(addresses).saturating_sub(endpoints);
    let mut text = String::with_capacity(rules.saturating_mul(30).saturating_add(100));
    text.push_str("# Made by the benchmark.\nversion=2\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n[deny_path]");
    for number in scattered(paths) {
        let _ = writeln!(text, "/srv/data/{:03}/file-{number:07}.key", number % 1000);
    }
    let _ = writeln!(text, "\n[deny_ip]");
    for number in scattered(addresses) {
        let [_, a, b, c] = number.to_be_bytes();
        let _ = writeln!(text, "10.{a}.{b}.{c}");
    }
    let _ = writeln!(text, "\n[deny_ip_port]");
    for number in scattered(endpoints) {
        let [_, a, b, c] = number.to_be_bytes();
        let _ = writeln!(text, "10.{a}.{b}.{c}:443:tcp");
    }
    text
}

/// The numbers below `count`, each once, in an order that looks random: steps of a prime that does not divide it.
fn scattered(count: usize) -> impl Iterator<Item = u32> {
    const STEP: u64 = 982_451_653;
    let count = count as u64;
    (0..count).filter_map(move |index| u32::try_from((index * STEP) % count).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn has_exactly_as_many_different_rules_as_asked_for() {
        for rules in [10, 1_000, 9_999] {
            let text = text(rules);
            let entries: Vec<&str> =
                text.lines().filter(|line| line.starts_with('/') || line.starts_with("10.")).collect();
            assert_eq!(entries.len(), rules);
            assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), rules);
        }
    }
}

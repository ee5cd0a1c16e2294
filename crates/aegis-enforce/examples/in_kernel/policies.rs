//! Policies of any size.

use std::fmt::Write as _;

use crate::targets::Targets;

/// No rule.
pub(crate) const EMPTY: &str = "version=6\n";

/// A policy of exactly `rules` rules, 4 at least: those of the targets, and of the rest a third each for files (half of
/// those by path, half by number), addresses, and names of programs.
pub(crate) fn mixed(rules: u32, targets: &Targets) -> String {
    let rest = rules.saturating_sub(4);
    let (paths, inodes, addresses) = (rest / 6, rest / 6, rest / 3);
    let comms = rest - paths - inodes - addresses;
    let mut text = format!("version=6\n[deny_path]\n{}\n", targets.denied_by_path);
    deny_paths(&mut text, paths);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "[deny_inode]\n{}", targets.denied_inode);
    deny_inodes(&mut text, inodes);
    let _ = writeln!(text, "[deny_ip]\n{}", targets.denied_address);
    deny_addresses(&mut text, addresses);
    let _ = writeln!(text, "[deny_comm]\n{}", targets.denied_comm);
    for number in 0..comms {
        let _ = writeln!(text, "c{number:07}");
    }
    text
}

/// `[deny_ip]` alone.
pub(crate) fn of_addresses(rules: u32) -> String {
    let mut text = "version=6\n[deny_ip]\n".to_owned();
    deny_addresses(&mut text, rules);
    text
}

/// `[deny_inode]` alone.
pub(crate) fn of_inodes(rules: u32) -> String {
    let mut text = "version=6\n[deny_inode]\n".to_owned();
    deny_inodes(&mut text, rules);
    text
}

/// `[deny_binary_hash]` alone.
pub(crate) fn of_hashes(rules: u32) -> String {
    let mut text = "version=6\n[deny_binary_hash]\n".to_owned();
    deny_hashes(&mut text, rules);
    text
}

/// `[deny_cidr]` alone, of networks of 24 bits: 65,536 in 10.0.0.0/8 and beyond.
pub(crate) fn of_networks(rules: u32) -> String {
    let mut text = "version=6\n[deny_cidr]\n".to_owned();
    for number in 0..rules {
        let [_, a, b, c] = (number + (10 << 16)).to_be_bytes();
        let _ = writeln!(text, "{a}.{b}.{c}.0/24");
    }
    text
}

/// Numbers of files, addresses and hashes.
pub(crate) fn without_paths(files: u32, addresses: u32, hashes: u32) -> String {
    let mut text = "version=6\n[deny_inode]\n".to_owned();
    deny_inodes(&mut text, files);
    text.push_str("[deny_ip]\n");
    deny_addresses(&mut text, addresses);
    text.push_str("[deny_binary_hash]\n");
    deny_hashes(&mut text, hashes);
    text
}

/// `[deny_path]` alone.
pub(crate) fn of_paths(paths: &[String]) -> String {
    format!("version=6\n[deny_path]\n{}\n", paths.join("\n"))
}

fn deny_paths(text: &mut String, rules: u32) {
    for number in 0..rules {
        let _ = writeln!(text, "/srv/data/{:03}/file-{number:07}.key", number % 1000);
    }
}

fn deny_inodes(text: &mut String, rules: u32) {
    for number in 0..rules {
        // A device that no host has, and numbers as a file system gives them.
        let _ = writeln!(text, "65280:{}", 1_000_003 + 2 * u64::from(number));
    }
}

fn deny_hashes(text: &mut String, rules: u32) {
    for number in 0..rules {
        // Digits all over, as those of a hash are.
        let word = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let _ = writeln!(text, "sha256:{word:016x}{:016x}{number:032x}", word.rotate_left(32));
    }
}

fn deny_addresses(text: &mut String, rules: u32) {
    for number in 0..rules {
        let [_, a, b, c] = number.to_be_bytes();
        let _ = writeln!(text, "10.{a}.{b}.{c}");
    }
}

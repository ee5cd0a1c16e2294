//! The policy language: what a host is to deny, as a text that people write and review.
//!
//! This crate takes bytes and returns values. It opens no file, asks no clock and resolves no path: a
//! policy that names a path which does not exist here is as good as any other.
//!
//! | module | what it does | entry point |
//! |---|---|---|
//! | `parse` | accepts a policy or says everything that is wrong with it | [`parse`] |
//! | `policy` | a policy that was accepted; its rules in order | [`Policy`], [`Rule`] |
//! | `section`, `entry` | the vocabulary: sections, and what an entry of each may be | [`Section`], [`Entry`] |
//! | `error`, `render` | what is wrong, where, and what would be right | [`PolicyErrors`] |
//! | `lint` | what is accepted but surely not meant | [`lint`] |
//! | `normalise` | sorts, removes duplicates, keeps comments | [`normalise`] |
//! | `diff` | which rules were added and removed | [`diff`] |
//! | `explain` | which rule decides a question, and why | [`explain`] |
//!
//! # The language
//!
//! ```text
//! # Anything after a `#` at the beginning of a line is a comment.
//! version=2
//!
//! [deny_path]
//! /etc/shadow
//!
//! [deny_port]
//! 22:tcp:bind
//!
//! [deny_ptrace]
//! ```
//!
//! - **Lines** end in LF. CR LF is refused, once for the whole file. Blank lines are ignored, as are spaces and
//!   tabs around a line. The last line may lack its LF.
//! - **Characters** are printable ASCII. A comment may hold UTF-8 as well, but no control character and nothing
//!   that reorders text on a screen. NUL and a byte-order mark are refused.
//! - **Comments** have a line of their own. White space and `#` after an entry is refused, also in a path:
//!   the rest would silently be part of the path, and the file meant would go unprotected.
//! - **Header**: `version=1` to `version=6`, before the first section, once, and nothing else.
//! - **Sections** begin with `[name]`. One newer than the header's version is refused. List sections may be
//!   empty and may be repeated; flags take no entries and come once. `[protect_runtime_deps]` needs
//!   `[protect_connect]` or an entry in `[protect_path]`; `[ima_fail_closed]` needs an entry in
//!   `[trusted_exec_hash]`.
//! - **Entries**: see [`Section::entry_form`]. Two spellings of one entry are one rule: IPv6 in any spelling
//!   (canonical: RFC 5952), hashes in either case (lower), `443::egress` and `443:any:connect`
//!   (`443:any:egress`), paths with `//`, `/.` or a slash at the end (without). Numbers have no leading zeros,
//!   and a network has no bits beyond its prefix.
//!
//! # What the rules mean
//!
//! Everything is allowed unless a rule denies it, and then:
//!
//! 1. A process in an `allow_cgroup` group passes every rule.
//! 2. **Files.** `deny_path` and `deny_inode` name one file each: a rule for a directory denies opening that
//!    directory, not the files below it. A path is resolved when the policy is put in force, and the file that it
//!    then names is denied under every other name too. `protect_path` denies to all but verified programs;
//!    `deny_path` on the same path wins. There are no patterns.
//! 3. **Programs.** `deny_comm` denies by file name, `deny_binary_hash` by content. Once `allow_binary_hash` or
//!    `trusted_exec_hash` has entries, whatever is not listed there may not run. A denial wins over a listing.
//! 4. **Network**, for connecting: with `protect_connect`, only verified programs; then `deny_ip_port`, `deny_ip`,
//!    `deny_cidr` (of several networks the longest prefix is named), `deny_port` for `egress` or `both`. Listening
//!    is subject to `deny_port` for `bind` or `both` alone.
//! 5. A `cgroup_deny_*` rule adds a denial for one group; it never lifts another.

mod cost;
mod diff;
mod entry;
mod error;
mod explain;
mod line;
mod lint;
mod normalise;
mod parse;
mod policy;
mod render;
mod section;

pub use self::diff::{DiffRule, PolicyDiff, VersionChange, diff};
pub use self::entry::{
    Cgroup, Direction, Endpoint, Entry, EntryError, Field, Inode, MAX_COMM_LEN, MAX_PATH_LEN, Network,
    PortRule, Protocol,
};
pub use self::error::{Companion, MAX_REPORTED, PolicyError, PolicyErrorKind, PolicyErrors};
pub use self::explain::{Explanation, MatchedRule, Query, QueryError, Verdict, explain};
pub use self::lint::{LintReport, Warning, WarningKind, lint};
pub use self::normalise::normalise;
pub use self::parse::{Limits, parse};
pub use self::policy::{Policy, Rule, Rules};
pub use self::section::Section;

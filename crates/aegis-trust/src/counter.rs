//! The version counter: the highest policy this host has accepted, and the rule that nothing older comes back.
//!
//! ```text
//! 7
//! sha256 <64 hex digits of the policy accepted as version 7>
//! epoch 0
//! ```

use std::{fmt, path::PathBuf};

use aegis_crypto::Digest;
use serde::Serialize;

use crate::durable::ReadError;

/// The most bytes a counter file may have; the longest real one has 119.
pub const MAX_COUNTER_LEN: u64 = 256;

/// The highest accepted policy. Order is (epoch, version).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// The highest accepted version within the epoch.
    pub policy_version: u64,
    /// SHA-256 of the policy that was accepted as that version.
    pub policy_sha256: Digest,
    /// The epoch; only two custodians can move it forward.
    pub epoch: u32,
}

/// Why bytes are not a counter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CounterParseError {
    /// No byte at all.
    #[error("it is empty")]
    Empty,
    /// Not three lines, each ended by one line feed.
    #[error("it has {lines} lines; a counter has exactly 3, each ended by a line feed")]
    Lines {
        /// How many it has.
        lines: usize,
    },
    /// Line 1 is not a version.
    #[error("line 1 is not a decimal version from 1 to 18446744073709551615 without leading zeros")]
    Version,
    /// Line 2 is not a digest.
    #[error("line 2 is not `sha256 ` and 64 lowercase hex digits")]
    Digest,
    /// Line 3 is not an epoch.
    #[error("line 3 is not `epoch ` and a decimal number from 0 to 4294967295 without leading zeros")]
    Epoch,
}

/// What the counter says of an offered policy that may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The host has never accepted a signed policy.
    First,
    /// Higher version, same epoch.
    Newer,
    /// Same version, same content: accepted again, changes nothing.
    Same,
}

/// Why the counter refused a policy. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CounterRefusal {
    /// An older bundle, perhaps replayed by an attacker.
    #[error("policy version {offered} is older than {accepted}, the highest this host has accepted")]
    Rollback {
        /// The version in the bundle.
        offered: u64,
        /// The version in the counter.
        accepted: u64,
    },
    /// Two different policies under one version: one of them is not what the signers meant.
    #[error(
        "policy version {version} was accepted before with other content (sha256 {accepted}, offered {offered})"
    )]
    OtherContent {
        /// The version in both.
        version: u64,
        /// Digest in the bundle.
        offered: Digest,
        /// Digest in the counter.
        accepted: Digest,
    },
    /// From an epoch that was closed.
    #[error("epoch {offered} is older than {accepted}, the epoch of this host")]
    OlderEpoch {
        /// The epoch in the bundle.
        offered: u32,
        /// The epoch in the counter.
        accepted: u32,
    },
    /// A higher epoch starts the versions anew, so a signature alone is not enough.
    #[error(
        "epoch {offered} is higher than {accepted}, the epoch of this host, and no approval by two custodians came with it"
    )]
    EpochNeedsApproval {
        /// The epoch in the bundle.
        offered: u32,
        /// The epoch in the counter.
        accepted: u32,
    },
}

/// Why the counter of a host cannot be used. It is never read as zero.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// A policy was applied here, but its counter is gone, so no version can be trusted.
    #[error("the version counter {} is missing, but this host has applied a signed policy before ({evidence})", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// How the host knows.
        evidence: String,
    },
    /// It is there, but is not a counter.
    #[error("the version counter {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CounterParseError,
    },
    /// It cannot be read.
    #[error("cannot read the version counter {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// Somebody else than its owner could lower it, or it cannot be advanced.
    #[error("the version counter {} {problem}", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no higher version.
    #[error("the version counter {} is at 18446744073709551615, the highest version there is", path.display())]
    Exhausted {
        /// The file.
        path: PathBuf,
    },
    /// What was looked at to tell whether it should exist could not be read.
    #[error("cannot tell whether {} should exist: {} cannot be read", path.display(), evidence.display())]
    Evidence {
        /// The counter.
        path: PathBuf,
        /// The file that would tell.
        evidence: PathBuf,
        /// Why.
        source: ReadError,
    },
}

impl CounterError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } | Self::Malformed { .. } => {
                "restore it from a backup, or run `aegisbpf policy counter repair --reason TEXT`, \
                 which takes the highest version that this host can prove it accepted"
                    .to_owned()
            }
            Self::Read { .. } | Self::Evidence { .. } => {
                "run it as the owner of the file, and check the disk; do not delete the counter".to_owned()
            }
            Self::Permissions { path, .. } => format!(
                "find out who could have changed it, compare it with a backup, then `chmod 644 {0}`, `chown root {0}`, \
                 and the same for its directory with `chmod 755`",
                path.display()
            ),
            Self::Exhausted { .. } => {
                "a policy with this version was signed by somebody who should not have had the key: revoke that key; \
                 only a higher epoch, approved by two custodians, starts the versions anew"
                    .to_owned()
            }
        })
    }
}

impl CounterRefusal {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Rollback { accepted, .. } => match accepted.checked_add(1) {
                Some(next) => format!(
                    "sign it again as version {next} or higher (`aegisbpf policy reissue --from FILE --policy-version {next}`)"
                ),
                None => "only a higher epoch, approved by two custodians, can follow the highest version"
                    .to_owned(),
            },
            Self::OtherContent { version, .. } => match version.checked_add(1) {
                Some(next) => format!(
                    "find out which of the two the signers meant, and sign that one as version {next} or higher"
                ),
                None => "only a higher epoch, approved by two custodians, can follow the highest version"
                    .to_owned(),
            },
            Self::OlderEpoch { accepted, .. } => format!("sign it again with `--epoch {accepted}`"),
            Self::EpochNeedsApproval { accepted, .. } => format!(
                "sign it with `--epoch {accepted}`; to move the epoch, name custodians with `aegisbpf custodians init`, and \
                 let two of them approve it"
            ),
        })
    }
}

impl Counter {
    /// Reads the one spelling of a counter.
    ///
    /// # Errors
    ///
    /// [`CounterParseError`] for any other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, CounterParseError> {
        if bytes.is_empty() {
            return Err(CounterParseError::Empty);
        }
        let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        let [version, digest, epoch] = lines.as_slice() else {
            return Err(CounterParseError::Lines { lines: lines.len() });
        };
        let ended = |line: &'_ [u8]| {
            line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()).map(str::to_owned)
        };
        let Some(epoch) = ended(epoch) else { return Err(CounterParseError::Lines { lines: 3 }) };
        let policy_version =
            ended(version).as_deref().and_then(strict_decimal).filter(|&version| version != 0);
        let digest = ended(digest);
        let policy_sha256 =
            digest.as_deref().and_then(|line| line.strip_prefix("sha256 ")).and_then(|hex| hex.parse().ok());
        let epoch =
            epoch.strip_prefix("epoch ").and_then(strict_decimal).and_then(|epoch| u32::try_from(epoch).ok());
        Ok(Self {
            policy_version: policy_version.ok_or(CounterParseError::Version)?,
            policy_sha256: policy_sha256.ok_or(CounterParseError::Digest)?,
            epoch: epoch.ok_or(CounterParseError::Epoch)?,
        })
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The one rule of anti-rollback.
    ///
    /// # Errors
    ///
    /// [`CounterRefusal`]: `offered` is older, or contradicts what was accepted, or moves the epoch.
    pub fn judge(accepted: Option<&Self>, offered: &Self) -> Result<Judgement, CounterRefusal> {
        let Some(accepted) = accepted else { return Ok(Judgement::First) };
        if offered.epoch < accepted.epoch {
            return Err(CounterRefusal::OlderEpoch { offered: offered.epoch, accepted: accepted.epoch });
        }
        if offered.epoch > accepted.epoch {
            return Err(CounterRefusal::EpochNeedsApproval {
                offered: offered.epoch,
                accepted: accepted.epoch,
            });
        }
        match offered.policy_version.cmp(&accepted.policy_version) {
            std::cmp::Ordering::Greater => Ok(Judgement::Newer),
            std::cmp::Ordering::Equal if offered.policy_sha256 == accepted.policy_sha256 => {
                Ok(Judgement::Same)
            }
            std::cmp::Ordering::Equal => Err(CounterRefusal::OtherContent {
                version: offered.policy_version,
                offered: offered.policy_sha256,
                accepted: accepted.policy_sha256,
            }),
            std::cmp::Ordering::Less => Err(CounterRefusal::Rollback {
                offered: offered.policy_version,
                accepted: accepted.policy_version,
            }),
        }
    }

    /// The digest of a version whose content is not known. SHA-256 gives it for nothing that anybody will find, so no
    /// policy is taken as the same one.
    pub(crate) const UNKNOWN_CONTENT: Digest = Digest::from_bytes([0; 32]);

    /// Whether the content is known. Of two witnesses for one version, the one that knows it is better.
    pub(crate) fn knows_content(&self) -> bool {
        self.policy_sha256 != Self::UNKNOWN_CONTENT
    }

    /// What a damaged counter still says: all of it, or the version in its first line. For repairs only.
    pub(crate) fn salvage(bytes: &[u8]) -> Option<Self> {
        Self::parse(bytes).ok().or_else(|| {
            let line = std::str::from_utf8(bytes.split(|&byte| byte == b'\n').next()?).ok()?;
            let policy_version = strict_decimal(line.trim()).filter(|&version| version != 0)?;
            Some(Self { policy_version, policy_sha256: Self::UNKNOWN_CONTENT, epoch: 0 })
        })
    }

    /// (epoch, version), the order of policies.
    pub fn order(&self) -> (u32, u64) {
        (self.epoch, self.policy_version)
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nsha256 {}\nepoch {}\n", self.policy_version, self.policy_sha256, self.epoch)
    }
}

/// Digits only, no leading zero, no sign; what `str::parse` would let pass is refused.
pub(crate) fn strict_decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use aegis_crypto::sha256;
    use proptest::prelude::*;

    use super::*;

    fn counter(epoch: u32, policy_version: u64, content: &str) -> Counter {
        Counter { policy_version, policy_sha256: sha256(content.as_bytes()), epoch }
    }

    #[test]
    fn never_reads_a_malformed_file_as_a_number() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let good = format!("7\nsha256 {hex}\nepoch 0\n");
        assert_eq!(Counter::parse(good.as_bytes()).unwrap().to_bytes(), good.as_bytes());
        let version = |text: &str| format!("{text}\nsha256 {hex}\nepoch 0\n");
        let cases = [
            (String::new(), CounterParseError::Empty),
            ("7".to_owned(), CounterParseError::Lines { lines: 1 }),
            ("7\n".to_owned(), CounterParseError::Lines { lines: 1 }),
            (good.trim_end().to_owned(), CounterParseError::Lines { lines: 3 }),
            (format!("{good}\n"), CounterParseError::Lines { lines: 4 }),
            (format!("{good}x"), CounterParseError::Lines { lines: 4 }),
            (version("-1"), CounterParseError::Version),
            (version("+7"), CounterParseError::Version),
            (version("07"), CounterParseError::Version),
            (version("0"), CounterParseError::Version),
            (version("1e3"), CounterParseError::Version),
            (version(" 7"), CounterParseError::Version),
            (version("7\r"), CounterParseError::Version),
            (version(""), CounterParseError::Version),
            (version("18446744073709551616"), CounterParseError::Version),
            (good.replace("sha256 e", "sha256 E"), CounterParseError::Digest),
            (good.replace("sha256 ", "sha256  "), CounterParseError::Digest),
            (good.replace("sha256 e", "sha256 "), CounterParseError::Digest),
            (good.replace("epoch 0", "epoch -1"), CounterParseError::Epoch),
            (good.replace("epoch 0", "epoch 4294967296"), CounterParseError::Epoch),
            (good.replace("epoch 0", "epoch 00"), CounterParseError::Epoch),
        ];
        for (text, expected) in cases {
            assert_eq!(Counter::parse(text.as_bytes()), Err(expected), "{text:?}");
        }
        assert_eq!(Counter::parse(b"7\n\xff\nepoch 0\n"), Err(CounterParseError::Digest));
    }

    #[test]
    fn judges_by_epoch_and_version() {
        let accepted = counter(1, 7, "seven");
        let judge = |offered: &Counter| Counter::judge(Some(&accepted), offered);
        assert_eq!(Counter::judge(None, &accepted), Ok(Judgement::First));
        assert_eq!(judge(&counter(1, 8, "eight")), Ok(Judgement::Newer));
        assert_eq!(judge(&counter(1, u64::MAX, "last")), Ok(Judgement::Newer));
        assert_eq!(judge(&accepted), Ok(Judgement::Same));
        assert!(matches!(
            judge(&counter(1, 7, "other")),
            Err(CounterRefusal::OtherContent { version: 7, .. })
        ));
        assert!(matches!(
            judge(&counter(1, 6, "six")),
            Err(CounterRefusal::Rollback { offered: 6, accepted: 7 })
        ));
        assert!(matches!(judge(&counter(0, 9, "old")), Err(CounterRefusal::OlderEpoch { .. })));
        assert!(matches!(judge(&counter(2, 1, "new")), Err(CounterRefusal::EpochNeedsApproval { .. })));
    }

    proptest! {
        #[test]
        fn what_parses_prints_back_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(counter) = Counter::parse(&bytes) { prop_assert_eq!(counter.to_bytes(), bytes); }
        }

        #[test]
        fn a_counter_reads_back(epoch in any::<u32>(), version in 1_u64.., content in ".*") {
            let counter = counter(epoch, version, &content);
            prop_assert_eq!(Counter::parse(&counter.to_bytes()), Ok(counter));
        }
    }
}

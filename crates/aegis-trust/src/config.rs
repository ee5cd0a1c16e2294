//! `aegisbpf.toml`: what the host insists on. Absent means the defaults; broken is an error, never the defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::durable::{self, ReadError};

const MAX_CONFIG_LEN: u64 = 64 * 1024;

/// Who is handed the policies that are applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementSetting {
    /// The kernel, if this host's own files are in use; nobody below another root or with a state directory of another
    /// name, which is a rehearsal.
    #[default]
    Auto,
    /// The kernel, also with a state directory of another name. Never below another root.
    Kernel,
    /// Nobody: what would be enforced is recorded.
    Record,
}

/// The settings of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Refuse every policy that is not in a signed bundle, even on a host without trusted keys.
    pub require_signature: bool,
    /// How many different trusted keys must have signed a bundle; 1 to 16.
    pub required_signatures: u32,
    /// `keys add` demands a signature by the new key over its challenge.
    pub require_key_proof: bool,
    /// The most bytes a policy may have.
    pub max_policy_bytes: u64,
    /// The most rules a policy may have.
    pub max_policy_rules: u64,
    /// Who is handed the policies that are applied.
    pub enforcement: EnforcementSetting,
}

impl Default for Config {
    fn default() -> Self {
        let limits = aegis_policy::Limits::default();
        Self {
            require_signature: false,
            required_signatures: 1,
            require_key_proof: false,
            max_policy_bytes: limits.max_bytes as u64,
            max_policy_rules: limits.max_rules as u64,
            enforcement: EnforcementSetting::Auto,
        }
    }
}

/// Why the settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// Somebody else could have changed it.
    #[error("the configuration {} {problem}", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Not TOML, or a setting that does not exist or has the wrong type.
    #[error("the configuration {} is not valid", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the TOML reader said.
        source: Box<toml::de::Error>,
    },
    /// A number that no host can mean.
    #[error("{setting} in {} is {value}; it must be from {least} to {most}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: u64,
        /// The least that is taken.
        least: u64,
        /// The most that is taken.
        most: u64,
    },
}

impl ConfigError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } => source.help(),
            Self::Permissions { path, .. } => Some(format!(
                "find out who changed it, then `chown root {0}` and `chmod 644 {0}`",
                path.display()
            )),
            Self::Syntax { .. } | Self::Range { .. } => {
                Some("the settings are listed in docs/formats.md under \"Configuration\"".to_owned())
            }
        }
    }
}

impl Config {
    /// Reads `path`, or gives the defaults if it does not exist.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is there but cannot be used.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        // Who can write to the directory can take the file away, and with it all that it insists on.
        if let Some(dir) = path.parent()
            && let Ok(metadata) = dir.metadata()
            && let Some(problem) = durable::insecure(&metadata)
        {
            return Err(ConfigError::Permissions { path: dir.to_owned(), problem });
        }
        let read = durable::read_state_of(path, MAX_CONFIG_LEN)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let Some((bytes, metadata)) = read else { return Ok(Self::default()) };
        if let Some(problem) = durable::insecure(&metadata) {
            return Err(ConfigError::Permissions { path: path.to_owned(), problem });
        }
        let config: Self = toml::from_slice(&bytes)
            .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        config.check(path)?;
        Ok(config)
    }

    /// The limits for a policy, as the policy reader takes them.
    pub fn policy_limits(&self) -> aegis_policy::Limits {
        aegis_policy::Limits {
            max_bytes: usize::try_from(self.max_policy_bytes).unwrap_or(usize::MAX),
            max_rules: usize::try_from(self.max_policy_rules).unwrap_or(usize::MAX),
        }
    }

    fn check(&self, path: &std::path::Path) -> Result<(), ConfigError> {
        let ranges = [
            ("required_signatures", u64::from(self.required_signatures), 1, 16),
            ("max_policy_bytes", self.max_policy_bytes, 1, 1 << 30),
            ("max_policy_rules", self.max_policy_rules, 1, 100_000_000),
        ];
        for (setting, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::Range { path: path.to_owned(), setting, value, least, most });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn absent_is_default_and_broken_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aegisbpf.toml");
        assert_eq!(Config::load(&path).unwrap(), Config::default());
        durable::write_atomic(&path, b"require_signature = true\nrequired_signatures = 2\n", 0o644).unwrap();
        let config = Config::load(&path).unwrap();
        assert!(config.require_signature && config.required_signatures == 2);
        for (text, name) in [
            ("require_signatures = true", "unknown"),
            ("require_signature = 1", "type"),
            ("[", "syntax"),
            ("\u{0}", "NUL"),
        ] {
            durable::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
            assert!(matches!(Config::load(&path), Err(ConfigError::Syntax { .. })), "{name}");
        }
        for text in ["required_signatures = 0", "required_signatures = 17", "max_policy_bytes = 0"] {
            durable::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
            assert!(matches!(Config::load(&path), Err(ConfigError::Range { .. })), "{text}");
        }
        durable::write_atomic(&path, b"", 0o666).unwrap();
        assert!(matches!(Config::load(&path), Err(ConfigError::Permissions { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(Config::load(&path), Err(ConfigError::Read { .. })));
    }
}

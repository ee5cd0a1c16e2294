//! Where everything is on a host.

use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

use serde::Serialize;

/// The directories of a host, and the files in them.
///
/// | file | default | variable |
/// |---|---|---|
/// | trusted keys | `/etc/aegisbpf/keys` | `AEGIS_KEYS_DIR` |
/// | version counter | `/var/lib/aegisbpf/version_counter` | `AEGIS_VERSION_COUNTER_PATH` |
/// | configuration | `/etc/aegisbpf` | `AEGIS_CONFIG_DIR` |
/// | custodians | `/etc/aegisbpf/custodians` | `AEGIS_CUSTODIANS_DIR` |
/// | state | `/var/lib/aegisbpf`; the counter's directory if only that one is named | `AEGIS_STATE_DIR` |
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostPaths {
    /// Holds `aegisbpf.toml`.
    pub config_dir: PathBuf,
    /// Holds the trusted keys, `*.pub`, and `revoked`.
    pub keys_dir: PathBuf,
    /// Holds the custodians, `*.custodian`, and `threshold`.
    pub custodians_dir: PathBuf,
    /// Holds the policy in force, the audit log and what a crash must not lose.
    pub state_dir: PathBuf,
    /// The version counter.
    pub version_counter: PathBuf,
}

/// Why the paths could not be told.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// A variable is set to nothing, which would mean the current directory.
    #[error("the variable {name} is set but empty")]
    Empty {
        /// The variable.
        name: &'static str,
    },
    /// `..` would lead out of the root directory.
    #[error("{name} is {}, and `..` may not be used below a root directory", path.display())]
    Parent {
        /// The variable.
        name: &'static str,
        /// Its value.
        path: PathBuf,
    },
}

impl PathsError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let (Self::Empty { name } | Self::Parent { name, .. }) = self;
        Some(format!("unset {name}, or set it to a full path"))
    }
}

impl HostPaths {
    /// The paths that the environment names, each below `root` if there is one.
    ///
    /// # Errors
    ///
    /// [`PathsError`] for a variable that is set to something which cannot be meant.
    pub fn from_environment(root: Option<&Path>) -> Result<Self, PathsError> {
        Self::resolve(root, |name| std::env::var_os(name))
    }

    /// The default paths, all below `root`.
    pub fn under(root: &Path) -> Self {
        Self {
            config_dir: root.join("etc/aegisbpf"),
            keys_dir: root.join("etc/aegisbpf/keys"),
            custodians_dir: root.join("etc/aegisbpf/custodians"),
            state_dir: root.join("var/lib/aegisbpf"),
            version_counter: root.join("var/lib/aegisbpf/version_counter"),
        }
    }

    fn resolve(root: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, PathsError> {
        let read = |name: &'static str| match variable(name) {
            Some(value) if value.is_empty() => Err(PathsError::Empty { name }),
            Some(value) => {
                let path = PathBuf::from(value);
                if root.is_some() && path.components().any(|part| part == Component::ParentDir) {
                    return Err(PathsError::Parent { name, path });
                }
                Ok(Some(path))
            }
            None => Ok(None),
        };
        let config_dir = read("AEGIS_CONFIG_DIR")?.unwrap_or_else(|| "/etc/aegisbpf".into());
        let keys_dir = read("AEGIS_KEYS_DIR")?.unwrap_or_else(|| config_dir.join("keys"));
        let custodians_dir = read("AEGIS_CUSTODIANS_DIR")?.unwrap_or_else(|| config_dir.join("custodians"));
        let counter = read("AEGIS_VERSION_COUNTER_PATH")?;
        let beside_counter =
            counter.as_deref().and_then(Path::parent).map(|parent| match parent.as_os_str().is_empty() {
                true => PathBuf::from("."),
                false => parent.to_owned(),
            });
        let state_dir =
            read("AEGIS_STATE_DIR")?.or(beside_counter).unwrap_or_else(|| "/var/lib/aegisbpf".into());
        let version_counter = counter.unwrap_or_else(|| state_dir.join("version_counter"));
        let below = |path: PathBuf| match root {
            // Whatever was named, it ends below the root: `/etc` and `etc` alike.
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(&path)),
            None => path,
        };
        Ok(Self {
            config_dir: below(config_dir),
            keys_dir: below(keys_dir),
            custodians_dir: below(custodians_dir),
            state_dir: below(state_dir),
            version_counter: below(version_counter),
        })
    }

    /// `aegisbpf.toml`, what the host insists on.
    pub fn config_file(&self) -> PathBuf {
        self.config_dir.join("aegisbpf.toml")
    }
    /// The revoked ids, beside the trusted keys so that a copy of the one holds the other.
    pub fn revoked(&self) -> PathBuf {
        self.keys_dir.join("revoked")
    }
    /// A second copy of the revoked ids: an older copy of the keys directory cannot bring a revoked key back.
    pub fn revoked_copy(&self) -> PathBuf {
        self.state_dir.join("revoked")
    }
    /// What this host remembers of its custodians: that the rule is on, approved keys, used approvals.
    pub fn custodians_record(&self) -> PathBuf {
        self.state_dir.join("custodians.json")
    }
    /// A directory of custodians on its way, or on its way out: beside the real one, so that it can take its name.
    pub fn custodians_staging(&self) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.custodians_dir.file_name().unwrap_or_default());
        name.push(".tmp");
        self.custodians_dir.with_file_name(name)
    }
    /// The rotation of a key that is under way.
    pub fn rotation(&self) -> PathBuf {
        self.state_dir.join("rotation.json")
    }
    /// The file that was applied last: a bundle, or an unsigned policy.
    pub fn applied(&self) -> PathBuf {
        self.state_dir.join("policy.applied")
    }
    /// The one applied before it.
    pub fn previous(&self) -> PathBuf {
        self.state_dir.join("policy.applied.prev")
    }
    /// The one that a rollback took out of force; there only while a rollback stands.
    pub fn rolled_back(&self) -> PathBuf {
        self.state_dir.join("policy.applied.rolled-back")
    }
    /// A checked file on its way into force.
    pub fn staged(&self) -> PathBuf {
        self.state_dir.join("policy.staged")
    }
    /// The change that is under way.
    pub fn journal(&self) -> PathBuf {
        self.state_dir.join("journal.json")
    }
    /// The highest bundle format this host has accepted.
    pub fn bundle_format(&self) -> PathBuf {
        self.state_dir.join("bundle_format")
    }
    /// What the enforcer recorded.
    pub fn enforcement(&self) -> PathBuf {
        self.state_dir.join("enforcement.json")
    }
    /// The audit log.
    pub fn audit_dir(&self) -> PathBuf {
        self.state_dir.join("audit")
    }
    /// What the kernel denied, as the agent wrote it down.
    pub fn events_dir(&self) -> PathBuf {
        self.state_dir.join("events")
    }
    /// The signed evidence of the last revocation drill that passed.
    pub fn drill_report(&self) -> PathBuf {
        self.state_dir.join("drill.json")
    }
    /// Files of a backup on their way back.
    pub fn restore_staging(&self) -> PathBuf {
        self.state_dir.join("restore.staging")
    }

    /// Whether `path` is where this host keeps its trusted keys, its log, or what it decided. Only the commands for
    /// these may write there: a report or a bundle in such a place would undo a decision without a trace.
    pub fn reserves(&self, path: &Path) -> bool {
        let path = settled(path);
        let files = [
            self.version_counter.clone(),
            self.config_file(),
            self.revoked_copy(),
            self.custodians_record(),
            self.rotation(),
            self.applied(),
            self.previous(),
            self.rolled_back(),
            self.staged(),
            self.journal(),
            self.bundle_format(),
            self.enforcement(),
            self.drill_report(),
        ];
        let dirs = [
            self.keys_dir.clone(),
            self.custodians_dir.clone(),
            self.custodians_staging(),
            self.audit_dir(),
            self.events_dir(),
            self.restore_staging(),
        ];
        files.iter().any(|file| settled(file) == path)
            || dirs.iter().any(|dir| path.starts_with(settled(dir)))
    }
}

/// `path` without links and relative parts, as far as it exists.
fn settled(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => settled(Path::new(".")).join(name),
        (Some(parent), Some(name)) => settled(parent).join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(root: Option<&str>, variables: &[(&str, &str)]) -> Result<HostPaths, PathsError> {
        HostPaths::resolve(root.map(Path::new), |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn defaults_are_those_of_the_runbook() {
        let paths = resolve(None, &[]).unwrap();
        assert_eq!(paths.keys_dir, Path::new("/etc/aegisbpf/keys"));
        assert_eq!(paths.version_counter, Path::new("/var/lib/aegisbpf/version_counter"));
        assert_eq!(paths.applied(), Path::new("/var/lib/aegisbpf/policy.applied"));
        assert_eq!(resolve(Some("/r"), &[]).unwrap(), HostPaths::under(Path::new("/r")));
    }

    #[test]
    fn variables_move_and_a_root_holds_them_all() {
        let variables = [("AEGIS_KEYS_DIR", "/k"), ("AEGIS_VERSION_COUNTER_PATH", "/s/c")];
        let paths = resolve(None, &variables).unwrap();
        assert_eq!((paths.keys_dir.as_path(), paths.state_dir.as_path()), (Path::new("/k"), Path::new("/s")));
        let paths = resolve(Some("/r"), &variables).unwrap();
        assert_eq!(paths.keys_dir, Path::new("/r/k"));
        assert_eq!(paths.version_counter, Path::new("/r/s/c"));
        assert_eq!(paths.config_dir, Path::new("/r/etc/aegisbpf"));
        let relative = resolve(None, &[("AEGIS_VERSION_COUNTER_PATH", "counter")]).unwrap();
        assert_eq!(relative.state_dir, Path::new("."));
    }

    #[test]
    fn tells_what_the_host_keeps_from_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let paths = HostPaths::under(dir.path());
        std::fs::create_dir_all(&paths.state_dir).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&paths.state_dir, &link).unwrap();
        for kept in [
            "var/lib/aegisbpf/version_counter",
            "var/lib/aegisbpf/policy.applied",
            "var/lib/../lib/aegisbpf/policy.applied",
            "link/policy.applied.prev",
            "link/audit/log.jsonl",
            "etc/aegisbpf/keys/a.pub",
            "etc/aegisbpf/keys",
            "etc/aegisbpf/custodians/a.custodian",
            "etc/aegisbpf/custodians/threshold",
            "link/custodians.json",
            "etc/aegisbpf/aegisbpf.toml",
        ] {
            assert!(paths.reserves(&dir.path().join(kept)), "{kept}");
        }
        for other in [
            "policy.signed",
            "var/lib/aegisbpf/policy.signed",
            "etc/aegisbpf/policy.conf",
            "etc/aegisbpf/keys.tar",
            "a/keys/a.pub",
        ] {
            assert!(!paths.reserves(&dir.path().join(other)), "{other}");
        }
    }

    #[test]
    fn refuses_variables_that_cannot_be_meant() {
        assert!(matches!(
            resolve(None, &[("AEGIS_STATE_DIR", "")]),
            Err(PathsError::Empty { name: "AEGIS_STATE_DIR" })
        ));
        assert!(matches!(
            resolve(Some("/r"), &[("AEGIS_KEYS_DIR", "/../etc")]),
            Err(PathsError::Parent { .. })
        ));
    }
}

//! Where a deployment keeps what it keeps on this machine.
//!
//! | path | what | mode |
//! |---|---|---|
//! | the directory | `AEGIS_STATE_DIR`, else `$XDG_DATA_HOME/aegis`, else `~/.local/share/aegis` | 0700 |
//! | `kek.age` | the file KEK, if `init` made one | 0600 |
//! | `keyring.sqlite` | the keyring, unless `AEGIS_KEYRING` names another | 0600 |
//! | `approvals.sqlite` | custodians and requests, beside the keyring wherever that is | 0600 |
//! | `approval-rules.toml` | the rules of approvals, if somebody wrote some | |
//! | `audit/` | the log | 0700 |
//! | `pending/` | changes that are under way, so that each is logged once | 0700 |

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use aegis_durable::WriteError;

/// The variable that names the directory.
pub const STATE_DIR: &str = "AEGIS_STATE_DIR";

/// The state directory of a deployment. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// That directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory that the variables of this process name.
    ///
    /// # Errors
    ///
    /// [`StateDirError`].
    pub fn of_process() -> Result<Self, StateDirError> {
        Self::named(|name| std::env::var_os(name))
    }

    /// The directory that `variable` names.
    ///
    /// # Errors
    ///
    /// [`StateDirError`].
    pub fn named(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, StateDirError> {
        if let Some(path) = variable(STATE_DIR) {
            return if path.is_empty() { Err(StateDirError::Empty) } else { Self(path.into()).if_text() };
        }
        // The specification of XDG says that a relative path there counts for nothing.
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_DATA_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local/share")))
            .map(|data| Self(data.join("aegis")))
            .ok_or(StateDirError::NoHome)?
            .if_text()
    }

    /// The same, if a setting can name the key file in it.
    fn if_text(self) -> Result<Self, StateDirError> {
        if self.0.to_str().is_some() { Ok(self) } else { Err(StateDirError::NotText { path: self.0 }) }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file KEK that `init` makes.
    pub fn kek_file(&self) -> PathBuf {
        self.0.join("kek.age")
    }

    /// The keyring, unless another one is named.
    pub fn keyring(&self) -> PathBuf {
        self.0.join("keyring.sqlite")
    }

    /// The rules of approvals.
    pub fn approval_rules(&self) -> PathBuf {
        self.0.join("approval-rules.toml")
    }

    /// The log.
    pub fn audit_dir(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// Changes that are under way.
    pub fn pending_dir(&self) -> PathBuf {
        self.0.join("pending")
    }

    /// Whether `path` is in the directory, or leads into it: what is there is changed by the commands for it alone.
    pub fn reserves(&self, path: &Path) -> bool {
        let Ok(root) = fs::canonicalize(&self.0) else { return false };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        [fs::canonicalize(path), fs::canonicalize(parent)]
            .into_iter()
            .flatten()
            .any(|real| real.starts_with(&root))
    }

    /// Makes the directory if it is not there, and checks that nobody else can change it.
    ///
    /// # Errors
    ///
    /// [`StateDirError::Make`], and those of [`check`](Self::check).
    pub fn prepare(&self) -> Result<(), StateDirError> {
        self.check()?;
        aegis_durable::make_dir(&self.0, 0o700).map_err(StateDirError::Make)?;
        self.check().map(|_| ())
    }

    /// Removes what commands that were killed left on its way to a name: `.NAME.PID.N.tmp`. Under the lock only.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(temporary_of) else { continue };
            // Whoever writes the keyring's file without our lock is still there.
            if !Path::new("/proc").join(pid.to_string()).exists() {
                // One that stays is read by nobody.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Whether the directory is there. Who else can change it could put a keyring there, and the next DEK would be sealed
    /// to a KEK of theirs.
    ///
    /// # Errors
    ///
    /// [`StateDirError::Insecure`], [`StateDirError::Dangling`], [`StateDirError::Read`].
    pub fn check(&self) -> Result<Presence, StateDirError> {
        let path = || self.0.clone();
        match fs::metadata(&self.0) {
            Ok(found) if !found.is_dir() => {
                Err(StateDirError::Insecure { path: path(), why: "is not a directory".to_owned() })
            }
            Ok(found) => match aegis_durable::insecure(&found) {
                Some(why) => Err(StateDirError::Insecure { path: path(), why }),
                None => Ok(Presence::There),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.0.is_symlink() => {
                Err(StateDirError::Dangling { path: path() })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Presence::Absent),
            Err(source) => Err(StateDirError::Read { path: path(), source }),
        }
    }
}

/// The process that wrote a file of ours under a temporary name.
fn temporary_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix('.')?.strip_suffix(".tmp")?;
    let rest = ["kek.age.", "keyring.sqlite.", "approvals.sqlite."]
        .iter()
        .find_map(|known| rest.strip_prefix(known))?;
    let (pid, count) = rest.split_once('.')?;
    count.parse::<u64>().ok()?;
    pid.parse().ok()
}

/// Whether something exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    There,
    /// It does not.
    Absent,
}

/// Why there is no state directory to work with.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Set to nothing, which would mean the current directory.
    #[error("the variable {STATE_DIR} is set but empty")]
    Empty,
    /// Nothing says where it could be.
    #[error(
        "there is no place for the state directory: neither {STATE_DIR}, XDG_DATA_HOME nor HOME is an absolute path"
    )]
    NoHome,
    /// Its path is no text, and variables hold text.
    #[error("the path of the state directory, {}, is not valid UTF-8", path.display())]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot make the state directory")]
    Make(#[source] WriteError),
    /// It cannot be looked at.
    #[error("cannot look at the state directory {}", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A link, and nothing where it leads: a file system that is not mounted, perhaps.
    #[error("the state directory {} is a link that leads nowhere", path.display())]
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Others can change it.
    #[error("the state directory {} {why}", path.display())]
    Insecure {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl StateDirError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Empty => format!("unset {STATE_DIR}, or set it to a full path"),
            Self::NoHome | Self::NotText { .. } => format!("set {STATE_DIR} to a full path in UTF-8"),
            Self::Make(source) => return source.help(),
            Self::Read { .. } => "run it as the owner of the state directory".to_owned(),
            Self::Dangling { .. } => {
                "mount or make the directory that it leads to; for a new one here, remove the link".to_owned()
            }
            Self::Insecure { path, .. } => format!(
                "find out who could have changed it, then `chown` it to the user who runs this, and `chmod 700 {}`",
                path.display()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn is_where_the_variables_say() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case<'_>; 7] = [
            (&[("AEGIS_STATE_DIR", "/srv/aegis"), ("HOME", "/home/a")], Some("/srv/aegis")),
            (&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/a")], Some("/data/aegis")),
            (&[("XDG_DATA_HOME", "data"), ("HOME", "/home/a")], Some("/home/a/.local/share/aegis")),
            (&[("HOME", "/home/a")], Some("/home/a/.local/share/aegis")),
            (&[("HOME", "home")], None),
            (&[], None),
            (&[("AEGIS_STATE_DIR", ""), ("HOME", "/home/a")], None),
        ];
        for (variables, expected) in cases {
            let found = StateDir::named(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            });
            assert_eq!(found.ok().as_ref().map(StateDir::path), expected.map(Path::new), "{variables:?}");
        }
    }

    #[test]
    fn refuses_a_path_that_no_variable_could_hold() {
        use std::os::unix::ffi::OsStringExt as _;
        for name in [STATE_DIR, "XDG_DATA_HOME", "HOME"] {
            let found =
                StateDir::named(|asked| (asked == name).then(|| OsString::from_vec(b"/a\xff".to_vec())));
            assert!(matches!(found, Err(StateDirError::NotText { .. })), "{name}: {found:?}");
        }
    }

    #[test]
    fn is_made_for_its_owner_alone_and_refused_when_others_can_change_it() {
        let dir = test_services::scratch::dir();
        let state = StateDir::new(dir.path().join("a/b"));
        assert_eq!(state.check().unwrap(), Presence::Absent);
        state.prepare().unwrap();
        let mode = |mode| fs::set_permissions(state.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o7777, 0o700);
        let link = StateDir::new(dir.path().join("link"));
        std::os::unix::fs::symlink(dir.path().join("nowhere"), link.path()).unwrap();
        let dangling = link.prepare().unwrap_err();
        assert!(
            matches!(dangling, StateDirError::Dangling { .. }) && dangling.help().is_some(),
            "{dangling:?}"
        );
        mode(0o777);
        assert!(matches!(state.prepare(), Err(StateDirError::Insecure { .. })));
        mode(0o770);
        assert!(matches!(state.check(), Err(StateDirError::Insecure { .. })));
        mode(0o755);
        assert_eq!(state.check().unwrap(), Presence::There);
    }

    #[test]
    fn what_a_killed_command_left_is_swept_and_nothing_else() {
        let dir = test_services::scratch::dir();
        let state = StateDir::new(dir.path());
        let living = format!(".kek.age.{}.0.tmp", std::process::id());
        // No process has a number as high.
        let names = [
            ".kek.age.4194305.0.tmp",
            ".keyring.sqlite.4194305.7.tmp",
            &living,
            ".kek.age.tmp",
            "kek.age",
            ".x.4194305.0.tmp",
        ];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        state.sweep();
        let left: Vec<_> = names.into_iter().filter(|name| dir.path().join(name).exists()).collect();
        assert_eq!(left, names[2..]);
    }

    #[test]
    fn reserves_what_is_in_it_and_links_that_lead_there() {
        let dir = test_services::scratch::dir();
        let state = StateDir::new(dir.path().join("state"));
        assert!(!state.reserves(&dir.path().join("state/kek.age")));
        state.prepare().unwrap();
        fs::write(state.keyring(), "").unwrap();
        std::os::unix::fs::symlink(state.keyring(), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(state.path(), dir.path().join("folder")).unwrap();
        for reserved in ["state/kek.age", "state/keyring.sqlite", "link", "folder/new"] {
            assert!(state.reserves(&dir.path().join(reserved)), "{reserved}");
        }
        assert!(!state.reserves(&dir.path().join("backup")));
    }
}

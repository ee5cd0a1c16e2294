//! What is set, what would be taken, and what is not in order. Shows no value of a variable.

use std::fs;
use std::path::Path;

use aegis_kek::file::PassphraseSource;
use aegis_kek::known_variables::{
    HSM_PIN, HSM_PIN_FD, HSM_PIN_FILE, KEK_FILE, MASTER_KEK_PRIVATE, MASTER_KEK_PUBLIC, PASSPHRASE,
    PASSPHRASE_FILE, REQUIRE_DURABLE_KEK,
};
use aegis_kek::{KNOWN_VARIABLES, KnownVariable, ProviderKind, VariableState, Variables, get_kek_provider};
use aegis_keyring::clock::MAX_CLOCK_BEHIND;
use aegis_keyring::{DekQuery, DekRecord, DekState, KekRecord, KekState};
use jiff::Timestamp;

use crate::change_log::chain;
use crate::deployment::{Deployment, KEYRING, KeyringError};
use crate::kek_source::{KekOrigin, ProviderError, Purpose};
use crate::keks::Load;
use crate::state_dir::{Presence, STATE_DIR};

/// Variables that our programs read and that say nothing of a KEK.
const OTHER_VARIABLES: [(&str, &str, &str); 3] = [
    (STATE_DIR, "State directory", "nobody; else the XDG data directory"),
    (KEYRING, "Keyring: a path, sqlite:PATH or postgres://…", "nobody; else the one in the state directory"),
    ("AEGIS_LOG", "How much is said on standard error: error, warn, info, debug, trace", "nobody"),
];
/// Variables of the host program, which this one does not read.
const OF_THE_HOST_PROGRAM: [&str; 4] =
    ["AEGIS_CONFIG_DIR", "AEGIS_KEYS_DIR", "AEGIS_VERSION_COUNTER_PATH", "AEGIS_PKCS11_PIN"];

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// Each known variable, in the order of the guide.
    pub variables: Vec<VariableReport>,
    /// Variables that begin like ours and are none: misspelt, perhaps.
    pub unknown: Vec<String>,
    /// The provider that would be taken; `None` if none can be.
    pub provider: Option<ProviderKind>,
    /// Why that one.
    pub why: String,
    /// What was found out, each with how it stands.
    pub checks: Vec<Check>,
}

impl Examination {
    /// Whether this deployment can be used.
    pub fn is_usable(&self) -> bool {
        self.checks.iter().all(|check| check.status != Status::Failed)
    }
}

/// How a variable stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableReport {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub purpose: &'static str,
    /// Who needs it.
    pub required_by: &'static str,
    /// Whether it has a value.
    pub is_set: bool,
    /// Whether the value has the right form; `None` if there is none.
    pub well_formed: Option<bool>,
    /// Whether it does its work: the provider that it belongs to loads. `None` if that was not tried.
    pub usable: Option<bool>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, for programs.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was found, in a sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// In order.
    Ok,
    /// Not as it should be, and everything works.
    Degraded,
    /// Something does not work.
    Failed,
}

impl Status {
    /// The name in JSON and on a screen.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

impl Deployment {
    /// Looks at everything that a command would need. Changes nothing but the log, where a load is noted.
    pub fn examine(&self, passphrase_file: Option<&Path>, load: Load) -> Examination {
        let mut checks = Vec::new();
        // Before this command logs anything itself.
        let last_logged = self.last_logged();
        let process = Variables::of_process();
        let (settings, origin) = match self.settings(passphrase_file) {
            Ok(found) => found,
            Err(error) => {
                checks.push(failed("passphrase_file", &error, error.help()));
                (Variables::of_process(), KekOrigin::Nothing)
            }
        };
        let (provider, loads) = self.check_kek(&settings, &origin, load, &mut checks);
        self.check_state_dir(&mut checks);
        let known = self.check_keyring(provider.as_ref().map(|(_, key_id)| *key_id), &mut checks);
        self.check_log(&mut checks);
        checks.push(check_clock(Timestamp::now(), known.as_ref(), last_logged));
        let unknown = unknown(&process);
        if !unknown.is_empty() {
            checks.push(Check {
                name: "unknown_variables",
                status: Status::Degraded,
                message: format!("nothing reads {}", unknown.join(", ")),
                help: Some("check how they are spelt".to_owned()),
            });
        }
        let kind = provider.map(|(kind, _)| kind);
        let configured = crate::kek_source::configured(&settings).map(|(kind, _)| kind);
        let variables = KNOWN_VARIABLES.iter().map(|known| report(known, &process, configured, loads));
        let others = OTHER_VARIABLES
            .iter()
            .map(|(name, purpose, required_by)| other(name, purpose, required_by, &process));
        let why = match (&origin, configured) {
            (KekOrigin::Configured(set), Some(kind)) => {
                format!("{kind} is the first provider of which a variable is set: {}", set.join(", "))
            }
            (KekOrigin::StateDir, _) => {
                "nothing is configured, and the state directory has a key file".to_owned()
            }
            _ => "nothing is configured, and the state directory has no key file".to_owned(),
        };
        Examination { variables: variables.chain(others).collect(), unknown, provider: kind, why, checks }
    }

    /// Makes the provider, and loads its key if that needs nobody at a terminal.
    fn check_kek(
        &self,
        settings: &Variables,
        origin: &KekOrigin,
        load: Load,
        checks: &mut Vec<Check>,
    ) -> (Option<(ProviderKind, aegis_crypto::KeyId)>, Option<bool>) {
        if *origin == KekOrigin::Nothing {
            let missing = self.nothing_configured();
            checks.push(Check {
                name: "kek",
                status: Status::Failed,
                message: match &missing {
                    ProviderError::NothingConfigured => {
                        "no KEK is configured, and one in memory would be lost".to_owned()
                    }
                    missing => missing.to_string(),
                },
                help: missing.help(),
            });
            return (None, None);
        }
        let provider = match get_kek_provider(None, settings) {
            Ok(provider) => provider,
            Err(error) => {
                checks.push(failed("kek", &error, error.help()));
                return (None, Some(false));
            }
        };
        let found = (provider.kind(), provider.public_key().key_id());
        let name = format!("{} of the {} provider", found.1.fingerprint(), found.0);
        let asks_somebody = provider.kind() == ProviderKind::File
            && matches!(PassphraseSource::of(settings), Ok(PassphraseSource::Terminal));
        let (check, loads) = if load == Load::Offline || asks_somebody {
            let message = format!("{name} is configured; whether it loads was not tried");
            let help = asks_somebody.then(|| {
                "give --passphrase-file, or see with `aegis kek status`, which asks for the passphrase"
                    .to_owned()
            });
            (Check { name: "kek", status: Status::Ok, message, help }, None)
        } else {
            match self.load(&*provider, Purpose::Doctor) {
                Ok(_) => (
                    Check { name: "kek", status: Status::Ok, message: format!("{name} loads"), help: None },
                    Some(true),
                ),
                Err(error) => (failed("kek", &error, error.help()), Some(false)),
            }
        };
        checks.push(check);
        (Some(found), loads)
    }

    fn check_state_dir(&self, checks: &mut Vec<Check>) {
        let path = self.state_dir().path().display();
        let check = |status, message, help| Check { name: "state_dir", status, message, help };
        checks.push(match self.state_dir().check() {
            Ok(Presence::There) => check(Status::Ok, format!("{path} belongs to the right user"), None),
            Ok(Presence::Absent) => check(
                Status::Degraded,
                format!("{path} is not there yet"),
                Some("`aegis init` makes it".to_owned()),
            ),
            Err(error) => failed("state_dir", &error, error.help()),
        });
        use std::os::unix::fs::MetadataExt as _;
        let open: Vec<String> =
            [self.state_dir().kek_file(), self.state_dir().keyring(), self.state_dir().audit_dir()]
                .into_iter()
                .filter(|path| fs::symlink_metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0))
                .map(|path| path.display().to_string())
                .collect();
        if !open.is_empty() {
            checks.push(Check {
                name: "permissions",
                status: Status::Degraded,
                message: format!("others can read {}", open.join(", ")),
                help: Some(format!("`chmod go= {}`", open.join(" "))),
            });
        }
    }

    fn last_logged(&self) -> Option<Timestamp> {
        let entries = self.change_log().log().last_entries(1).ok()?;
        entries.filter_map(Result::ok).last().map(|entry| entry.time)
    }

    /// Gives what the keyring has, if it can be read.
    fn check_keyring(&self, kek: Option<aegis_crypto::KeyId>, checks: &mut Vec<Check>) -> Option<Known> {
        let check = |status, message, help| Check { name: "keyring", status, message, help };
        let keyring = match self.keyring() {
            Ok(keyring) => keyring,
            Err(error @ KeyringError::Absent { .. }) => {
                checks.push(check(Status::Failed, error.to_string(), error.help()));
                return None;
            }
            Err(error) => {
                checks.push(failed("keyring", &error, error.help()));
                return None;
            }
        };
        let found = keyring.store().keks().and_then(|keks| {
            let query = DekQuery { scope: None, state: Some(DekState::Active), after: None, limit: 1_000 };
            Ok((keks, keyring.list(&query)?))
        });
        let (keks, active) = match found {
            Ok(found) => found,
            Err(error) => {
                checks.push(failed("keyring", &error, error.help()));
                return None;
            }
        };
        let location = keyring.store().location();
        checks.push(match active.len() {
            0 => check(
                Status::Degraded,
                format!("{location} has no active DEK"),
                Some("`aegis init` makes the first one".to_owned()),
            ),
            scopes => check(Status::Ok, format!("{location}, scopes with an active DEK: {scopes}"), None),
        });
        let known = Known { keks, active };
        let Some(kek) = kek else { return Some(known) };
        let named = |status, message: String, help: Option<&str>| Check {
            name: "kek_in_keyring",
            status,
            message,
            help: help.map(str::to_owned),
        };
        checks.push(match known.keks.iter().find(|known| known.key_id() == kek).map(|known| known.state) {
            Some(KekState::Active) => {
                named(Status::Ok, "the configured KEK is the active one".to_owned(), None)
            }
            Some(state @ (KekState::Grace | KekState::Incoming)) => named(
                Status::Degraded,
                format!("the configured KEK is {state}, not the active one"),
                Some("put the variables of the active KEK in place, or finish the rotation"),
            ),
            Some(KekState::Retired) => named(
                Status::Failed,
                "the configured KEK is retired: it opens nothing".to_owned(),
                Some("put the variables of the active KEK in place"),
            ),
            None => named(
                Status::Failed,
                "the configured KEK is none of this keyring: it opens nothing".to_owned(),
                Some("set the variables of the keyring's KEK; `aegis kek status --offline` lists the KEKs"),
            ),
        });
        Some(known)
    }

    fn check_log(&self, checks: &mut Vec<Check>) {
        let log = self.change_log().log();
        let check = |status, message, help| Check { name: "audit_log", status, message, help };
        if !log.exists() {
            checks.push(check(Status::Ok, "nothing was logged yet".to_owned(), None));
            return;
        }
        checks.push(match log.quick_check() {
            Ok(found) => {
                check(Status::Ok, format!("{} entries, the last as its checkpoint says", found.size), None)
            }
            Err(error) => {
                let help = error.help().map(|help| help.replace("`aegisbpf audit", "`aegis audit"));
                failed("audit_log", &error, help)
            }
        });
    }
}

/// What the keyring has: every KEK, and the active DEKs.
struct Known {
    keks: Vec<KekRecord>,
    active: Vec<DekRecord>,
}

/// A clock that is behind what was done before makes DEKs of a day long ago, or none. `last_logged` is when the command
/// before this one was logged.
fn check_clock(now: Timestamp, known: Option<&Known>, last_logged: Option<Timestamp>) -> Check {
    let check = |status, message, help| Check { name: "clock", status, message, help };
    let is_ahead = |time: &Timestamp| now.checked_add(MAX_CLOCK_BEHIND).is_ok_and(|now| now < *time);
    let active = known.map_or(&[][..], |known| &known.active).iter().max_by_key(|dek| dek.created_at);
    if let Some(dek) = active.filter(|dek| is_ahead(&dek.created_at)) {
        let DekRecord { version, scope, created_at, .. } = dek;
        return check(
            Status::Failed,
            format!(
                "it says {now:.0}, and the active DEK {version} was made at {created_at:.0}, in the future"
            ),
            Some(format!(
                "set the clock of this machine; if it is right, that DEK was made while a clock was wrong: `aegis dek rotate \
                 --scope {scope} --replace {version}`"
            )),
        );
    }
    let live = known.map_or(&[][..], |known| &known.keks).iter().filter(|kek| kek.state.is_live());
    if let Some(changed_at) = live.map(|kek| kek.changed_at).max().filter(is_ahead) {
        return check(
            Status::Failed,
            format!("it says {now:.0}, and a KEK of the keyring was changed at {changed_at:.0}, in the future"),
            Some(
                "set the clock of this machine; if it is right, the KEK was enrolled while a clock was wrong: `aegis kek \
                 rotate` replaces it"
                    .to_owned(),
            ),
        );
    }
    match last_logged.filter(is_ahead) {
        Some(time) => check(
            Status::Failed,
            format!("it says {now:.0}, and the log was written to at {time:.0}, in the future"),
            Some(
                "set the clock of this machine; if it is right, it was wrong then, and the next entry has the right time"
                    .to_owned(),
            ),
        ),
        None => check(Status::Ok, "not behind what the keyring and the log know".to_owned(), None),
    }
}

fn failed(name: &'static str, error: &dyn std::error::Error, help: Option<String>) -> Check {
    Check { name, status: Status::Failed, message: chain(error), help }
}

/// Whose variable it is; `None` for those that every provider heeds.
fn owner(name: &str) -> Option<ProviderKind> {
    if name.starts_with("AEGIS_KMS_") {
        return Some(ProviderKind::AwsKms);
    }
    if name.starts_with("AEGIS_HSM_") || [HSM_PIN, HSM_PIN_FD, HSM_PIN_FILE].contains(&name) {
        return Some(ProviderKind::Hsm);
    }
    match name {
        MASTER_KEK_PRIVATE => Some(ProviderKind::Environment),
        KEK_FILE | PASSPHRASE | PASSPHRASE_FILE => Some(ProviderKind::File),
        _ => None,
    }
}

fn report(
    known: &'static KnownVariable,
    process: &Variables,
    configured: Option<ProviderKind>,
    loads: Option<bool>,
) -> VariableReport {
    let KnownVariable { name, purpose, required_by, form: _ } = *known;
    let state = process.state(known);
    let (well_formed, problem) = match &state {
        VariableState::NotSet => (None, None),
        VariableState::WellFormed => (Some(true), None),
        VariableState::Malformed(error) => (Some(false), Some(error.fault.to_string())),
    };
    let is_set = well_formed.is_some();
    let usable = match (well_formed, owner(name)) {
        (None, _) => None,
        (Some(false), _) => Some(false),
        (Some(true), Some(kind)) if Some(kind) == configured => loads,
        // Of a provider that is not taken.
        (Some(true), Some(_)) => None,
        (Some(true), None) if name == MASTER_KEK_PUBLIC => loads,
        (Some(true), None) if name == REQUIRE_DURABLE_KEK => Some(true),
        (Some(true), None) => None,
    };
    VariableReport { name, purpose, required_by, is_set, well_formed, usable, problem }
}

fn other(
    name: &'static str,
    purpose: &'static str,
    required_by: &'static str,
    process: &Variables,
) -> VariableReport {
    let (well_formed, problem) = match process.text(name) {
        Ok(None) => (None, None),
        Ok(Some(_)) => (Some(true), None),
        Err(error) => (Some(false), Some(error.fault.to_string())),
    };
    VariableReport {
        name,
        purpose,
        required_by,
        is_set: well_formed.is_some(),
        well_formed,
        usable: well_formed,
        problem,
    }
}

fn unknown(process: &Variables) -> Vec<String> {
    let is_ours = |name: &str| {
        KNOWN_VARIABLES.iter().any(|known| known.name == name)
            || OTHER_VARIABLES.iter().any(|(known, ..)| *known == name)
            || OF_THE_HOST_PROGRAM.contains(&name)
    };
    process.set_with_prefix("AEGIS_").into_iter().filter(|name| !is_ours(name)).collect()
}

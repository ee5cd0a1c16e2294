//! Changes to what a host trusts: add, remove, revoke; and how a key proves that its private half is held.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aegis_approval::Subject;
use aegis_audit::{Action, Event, Outcome};
use aegis_crypto::{
    KeyId, KeyIdPrefix, NotAuthentic, PublicKey, PublicKeyFileError, PublicKeyFormat, Signature,
    parse_public_key_file,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    approval::{ApprovalError, describe_consent},
    bundle::SignedBundle,
    custodians::record::{KeyEdit, Record, RecordChange},
    durable::{self, ReadError, WriteError},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
    key_dir::{FindKeyError, KeysError, MAX_KEY_FILE_LEN, MAX_KEYS, TrustedKey, TrustedKeys},
    manifest::truncate_to_seconds,
    recover::RecoverError,
    revoked::{MAX_REASON_LEN, MAX_REVOKED_LEN, RevokedKey, RevokedKeys, is_reason},
};

/// Keys older than this should be rotated.
pub const ROTATE_AFTER_DAYS: i64 = 90;
/// The most characters a key's name may have.
pub const MAX_NAME_LEN: usize = 64;

/// Whether the last usable key may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockout {
    /// No: this host could accept no policy any more.
    Refuse,
    /// Yes.
    Force,
}

/// One trusted key, as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct ListedKey {
    /// SHA-256 of the key.
    pub id: KeyId,
    /// Its short form for a screen.
    pub fingerprint: String,
    /// The file's name without `.pub`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// When the file was last written.
    pub added_at: Timestamp,
    /// Whole days since then.
    pub age_days: i64,
    /// Whether it is in the list of revoked keys too, which wins.
    pub revoked: bool,
    /// Whether it signed the policy in force.
    pub signs_applied: bool,
    /// On a host with custodians: whether they approved it. If not, it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<bool>,
}

/// All keys of a host.
#[derive(Debug, Clone, Serialize)]
pub struct KeyListing {
    /// Where they are.
    pub keys_dir: PathBuf,
    /// Those in the directory, by name.
    pub trusted: Vec<ListedKey>,
    /// Those that are refused for ever.
    pub revoked: Vec<RevokedKey>,
    /// On a host with custodians: those that were approved, and have no file in the directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<KeyId>,
}

/// One key in every form that other programs read.
#[derive(Debug, Clone, Serialize)]
pub struct KeyDetails {
    /// The key as it is listed.
    #[serde(flatten)]
    pub listed: ListedKey,
    /// 64 hex digits.
    pub hex: String,
    /// An OpenSSH line.
    pub openssh: String,
    /// An SPKI PEM.
    pub pem: String,
}

/// A key that is trusted now.
#[derive(Debug, Clone, Serialize)]
pub struct KeyAdded {
    /// SHA-256 of the key.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// What kind of file it came in.
    pub format: &'static str,
    /// Whether it was trusted before, so that nothing changed.
    pub already: bool,
    /// The approval that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

/// A key that is no longer trusted, and may return.
#[derive(Debug, Clone, Serialize)]
pub struct KeyRemoved {
    /// SHA-256 of the key.
    pub id: KeyId,
    /// The names of its files.
    pub names: Vec<String>,
    /// How many keys can still sign for this host.
    pub usable_left: usize,
    /// The approval that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

/// A key that is refused for ever.
#[derive(Debug, Clone, Serialize)]
pub struct KeyRevoked {
    /// SHA-256 of the key.
    pub id: KeyId,
    /// Why.
    pub reason: String,
    /// The names of its files, which were removed.
    pub names: Vec<String>,
    /// How many keys can still sign for this host.
    pub usable_left: usize,
    /// Whether it was revoked before, so that its first reason stands.
    pub already: bool,
    /// Whether the policy in force carries its signature.
    pub signed_applied: bool,
    /// Why the key directory could not be read, so that a file of this key may still be there. It is refused all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_unreadable: Option<String>,
    /// The approval that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

/// Why the trusted keys were not changed, or not told.
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    /// The keys that are there cannot be told.
    #[error(transparent)]
    Keys(KeysError),
    /// What was offered cannot be read.
    #[error(transparent)]
    Read {
        /// Why.
        source: ReadError,
    },
    /// What was offered is not a public key that can be trusted.
    #[error("it is not a public key that can be trusted")]
    NotAKey {
        /// Why.
        source: PublicKeyFileError,
    },
    /// The id was revoked.
    #[error("key {id} was revoked at {revoked_at} ({reason}), and a revoked key never returns")]
    Revoked {
        /// The key.
        id: KeyId,
        /// When.
        revoked_at: Timestamp,
        /// Why.
        reason: String,
    },
    /// The configuration demands a proof, and none came.
    #[error("this host adds a key only with a proof that its private half is held")]
    ProofMissing {
        /// The key.
        id: KeyId,
    },
    /// The proof is not by this key, or not over this host's challenge.
    #[error("the proof is not a signature by key {id} over this host's challenge")]
    ProofWrong {
        /// The key.
        id: KeyId,
        /// The verdict.
        source: NotAuthentic,
    },
    /// Not a name for a file.
    #[error(
        "{name:?} cannot be a key's name: use 1 to {MAX_NAME_LEN} of A-Z a-z 0-9 . _ -, not beginning with a dot"
    )]
    Name {
        /// What was asked for.
        name: String,
    },
    /// Another key has it.
    #[error("the name {name:?} is taken by key {id}")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: KeyId,
    },
    /// There is no room.
    #[error("{MAX_KEYS} keys are installed, and there can be no more")]
    Full,
    /// No one key is meant.
    #[error(transparent)]
    Find(FindKeyError),
    /// Nobody could sign for this host any more.
    #[error(
        "without key {id}, {left} usable keys would be left, and this host requires {required}: it could accept no policy"
    )]
    Lockout {
        /// The key.
        id: KeyId,
        /// How many would be left.
        left: usize,
        /// How many must sign.
        required: u32,
    },
    /// The reason cannot go into the list.
    #[error("the reason must be 1 to {MAX_REASON_LEN} printable ASCII characters")]
    Reason,
    /// Custodians have not agreed.
    #[error(transparent)]
    Approval(ApprovalError),
    /// There is no room for another revoked id.
    #[error("the list of revoked keys is full ({MAX_REVOKED_LEN} bytes)")]
    RevokedListFull,
    /// A challenge names the host by its audit key, and there is none.
    #[error("this host has no audit key, which the challenge names")]
    HostKey {
        /// Why.
        source: Box<aegis_audit::HostKeyError>,
    },
    /// The key file cannot be written. Nothing was changed.
    #[error("the key cannot be written")]
    Write {
        /// Why.
        source: WriteError,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl KeyChangeError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Keys(source) => source.help(),
            Self::Read { source } => source.help(),
            Self::NotAKey { source } => source.help(),
            Self::Revoked { .. } => Some("make a new key with `aegisbpf keys generate`".to_owned()),
            Self::ProofMissing { .. } | Self::ProofWrong { .. } => Some(
                "have the holder sign the exact output of `aegisbpf keys challenge FILE`, and give the signature with --proof"
                    .to_owned(),
            ),
            Self::Name { .. } | Self::NameTaken { .. } => Some("choose another with --name".to_owned()),
            Self::Full => Some("remove the keys that are no longer in use with `aegisbpf keys remove ID`".to_owned()),
            Self::Find(source) => source.help(),
            Self::Lockout { .. } => Some(
                "install the next key first with `aegisbpf keys add FILE`; to lock the host on purpose, give --force-lockout"
                    .to_owned(),
            ),
            Self::Reason => Some("say in a few words why, for the log".to_owned()),
            Self::Approval(source) => source.help(),
            Self::RevokedListFull => Some("remove the key with `aegisbpf keys remove ID`, and trust new keys only".to_owned()),
            Self::HostKey { source } => source.help(),
            Self::Write { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }
}

impl Host {
    /// Lists what is trusted and what is revoked.
    ///
    /// # Errors
    ///
    /// [`KeysError`].
    pub fn list_keys(&self, now: Timestamp) -> Result<KeyListing, KeysError> {
        let (keys, approved) = (self.installed_keys()?, self.approved_keys()?);
        let lister = self.lister(&approved, now)?;
        let is_missing = |id: &&KeyId| keys.files_of(id).is_empty() && lister.revoked.get(id).is_none();
        Ok(KeyListing {
            keys_dir: self.paths().keys_dir.clone(),
            trusted: keys.iter().map(|key| lister.listed(key)).collect(),
            missing: approved.iter().flatten().filter(is_missing).copied().collect(),
            revoked: lister.revoked.iter().cloned().collect(),
        })
    }

    /// One trusted key in every form.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError::Keys`], [`KeyChangeError::Find`].
    pub fn show_key(&self, id: &KeyIdPrefix, now: Timestamp) -> Result<KeyDetails, KeyChangeError> {
        let keys = self.installed_keys().map_err(KeyChangeError::Keys)?;
        let approved = self.approved_keys().map_err(KeyChangeError::Keys)?;
        let key = keys.find(id).map_err(KeyChangeError::Find)?;
        Ok(KeyDetails {
            listed: self.lister(&approved, now).map_err(KeyChangeError::Keys)?.listed(key),
            hex: key.key.to_hex(),
            openssh: key.key.to_openssh(&key.name),
            pem: key.key.to_spki_pem(),
        })
    }

    /// The ids that custodians approved; `None` on a host without them.
    fn approved_keys(&self) -> Result<Option<BTreeSet<KeyId>>, KeysError> {
        let record = Record::load(self.paths()).map_err(|source| KeysError::Approved { source })?;
        Ok(record.as_ref().and_then(Record::trusted_only).cloned())
    }

    /// The one approved key that begins so and has no file.
    fn approved_without_file(
        &self,
        keys: &TrustedKeys,
        prefix: &KeyIdPrefix,
    ) -> Result<Option<KeyId>, KeyChangeError> {
        let approved = self.approved_keys().map_err(KeyChangeError::Keys)?.unwrap_or_default();
        let mut found = approved.into_iter().filter(|id| prefix.matches(id) && keys.files_of(id).is_empty());
        Ok(found.next().filter(|_| found.next().is_none()))
    }

    fn lister<'a>(
        &self,
        approved: &'a Option<BTreeSet<KeyId>>,
        now: Timestamp,
    ) -> Result<Lister<'a>, KeysError> {
        Ok(Lister { revoked: self.revoked_keys()?, approved, signers: self.signers_in_force(), now })
    }

    /// The exact text that proves possession of `key` to this host, when it is signed by it.
    ///
    /// It names the host by its audit key: a proof for one host is none for another, and its first line keeps it apart
    /// from everything else that the key signs.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError::HostKey`] if the host's own key can be neither read nor made.
    pub fn key_challenge(&self, key: &PublicKey) -> Result<String, KeyChangeError> {
        let host =
            self.audit().host_key().map_err(|source| KeyChangeError::HostKey { source: Box::new(source) })?;
        Ok(format!("AEGIS-KEY-PROOF-V1\nkey {}\nhost {}\n", key.key_id(), host.public_key().key_id()))
    }

    /// Trusts the key in a file that somebody named; links are followed.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError`]; nothing was changed.
    pub fn add_key_file(
        &self,
        caller: &Caller,
        file: &Path,
        name: Option<&str>,
        proof: Option<&Signature>,
    ) -> Result<KeyAdded, KeyChangeError> {
        let source = file.display().to_string();
        match durable::read_bounded(file, MAX_KEY_FILE_LEN) {
            Ok(bytes) => self.add_key(caller, &bytes, &source, name, proof),
            // Refused like any other offer, and so logged like any other.
            Err(error) => {
                self.logged(caller, Action::KeyAdd, &source, || Err(KeyChangeError::Read { source: error }))
            }
        }
    }

    /// Trusts a key.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError`]; nothing was changed.
    pub fn add_key(
        &self,
        caller: &Caller,
        file: &[u8],
        source: &str,
        name: Option<&str>,
        proof: Option<&Signature>,
    ) -> Result<KeyAdded, KeyChangeError> {
        self.logged(caller, Action::KeyAdd, source, || {
            let parsed = parse_public_key_file(file).map_err(|source| KeyChangeError::NotAKey { source })?;
            let (key, id) = (parsed.key, parsed.key.key_id());
            let keys = self.installed_keys().map_err(KeyChangeError::Keys)?;
            let trusted = self.trusted_of(keys.clone()).map_err(KeyChangeError::Keys)?;
            let revoked = self.revoked_keys().map_err(KeyChangeError::Keys)?;
            if let Some(RevokedKey { id, revoked_at, reason }) = revoked.get(&id).cloned() {
                return Err(KeyChangeError::Revoked { id, revoked_at, reason });
            }
            self.check_proof(&key, proof)?;
            let format = format_name(parsed.format);
            if let Some(known) = trusted.files_of(&id).first() {
                let event = Event::new(caller.now, caller.actor.clone(), Action::KeyAdd, source);
                self.append(&event.detail("key_id", id.to_string()).detail("already", true))?;
                return Ok(KeyAdded {
                    id,
                    name: known.name.clone(),
                    path: known.path.clone(),
                    format,
                    already: true,
                    approval: None,
                });
            }
            // A file of it that somebody put there by hand is as good as one of ours, once it is approved.
            let by_hand = keys.files_of(&id).first().map(|file| file.name.clone());
            let name = match &by_hand {
                Some(name) => name.clone(),
                None => key_name(name, source, &id)?,
            };
            if let Some(other) = keys.iter().find(|other| other.name == name && other.id != id) {
                return Err(KeyChangeError::NameTaken { name, id: other.id });
            }
            if by_hand.is_none() && keys.iter().count() >= MAX_KEYS {
                return Err(KeyChangeError::Full);
            }
            let consent = self.consent_to(caller, &Subject::KeysAdd(id))?;
            let file_name = format!("{name}.pub");
            let path = self.key_path(&file_name);
            durable::make_dir(&self.paths().keys_dir, 0o755)
                .map_err(|source| KeyChangeError::Write { source })?;
            let change =
                Change::AddKey { id, file_name, source: source.to_owned(), consent: consent.clone() };
            let journal = self.begin_journal(caller, change)?;
            // Normalised: whatever form it came in, an SPKI PEM is what the next reader finds.
            if by_hand.is_none()
                && let Err(source) = durable::write_new_guarded(&path, key.to_spki_pem().as_bytes(), 0o644)
            {
                if source.is_in_place() {
                    return Err(KeyChangeError::Change(ChangeError::Step { source }));
                }
                self.give_up().map_err(KeyChangeError::Change)?;
                return Err(KeyChangeError::Write { source });
            }
            // The file first: until the record says that the key is approved, nobody trusts it.
            self.record_key(consent.as_deref(), KeyEdit::Approve(id))?;
            self.finish_change(&journal, add_event(caller, &id, &name, source, consent.as_deref()))
                .map_err(KeyChangeError::Change)?;
            Ok(KeyAdded { id, name, path, format, already: false, approval: approval_id(consent) })
        })
    }

    /// Trusts a key no longer. It may be added again.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError`]; nothing was changed.
    pub fn remove_key(
        &self,
        caller: &Caller,
        id: &KeyIdPrefix,
        lockout: Lockout,
    ) -> Result<KeyRemoved, KeyChangeError> {
        self.logged(caller, Action::KeyRemove, id.as_str(), || {
            let keys = self.installed_keys().map_err(KeyChangeError::Keys)?;
            let trusted = self.trusted_of(keys.clone()).map_err(KeyChangeError::Keys)?;
            let revoked = self.revoked_keys().map_err(KeyChangeError::Keys)?;
            let id = match keys.find(id) {
                Ok(key) => key.id,
                // Whose file somebody has taken away is approved until that is approved, too.
                Err(error) => self.approved_without_file(&keys, id)?.ok_or(KeyChangeError::Find(error))?,
            };
            let usable_left = self.check_lockout(&trusted, &revoked, &id, lockout)?;
            let consent = self.consent_to(caller, &Subject::KeysRemove(id))?;
            let file_names = file_names(&keys, &id);
            let change = Change::RemoveKey { id, file_names: file_names.clone(), consent: consent.clone() };
            let journal = self.begin_journal(caller, change)?;
            self.remove_files(&file_names)
                .map_err(|source| KeyChangeError::Change(ChangeError::Step { source }))?;
            self.record_key(consent.as_deref(), KeyEdit::Withdraw(id))?;
            self.finish_change(&journal, remove_event(caller, &id, &file_names, consent.as_deref()))
                .map_err(KeyChangeError::Change)?;
            Ok(KeyRemoved { id, names: file_names, usable_left, approval: approval_id(consent) })
        })
    }

    /// Refuses a key for ever. One that is not installed here can be revoked by its whole id.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError`]; nothing was changed.
    pub fn revoke_key(
        &self,
        caller: &Caller,
        id: &KeyIdPrefix,
        reason: &str,
        lockout: Lockout,
    ) -> Result<KeyRevoked, KeyChangeError> {
        self.logged(caller, Action::KeyRevoke, id.as_str(), || {
            if !is_reason(reason) {
                return Err(KeyChangeError::Reason);
            }
            // A directory that cannot be read must not keep a stolen key from being refused: its whole id is enough, and
            // this host accepts nothing until the directory is put right anyway.
            let (keys, keys_unreadable) = match self.installed_keys() {
                Ok(keys) => (keys, None),
                Err(error) if id.as_str().parse::<KeyId>().is_ok() => {
                    (TrustedKeys::default(), Some(crate::health::cause_chain(&error)))
                }
                Err(error) => return Err(KeyChangeError::Keys(error)),
            };
            let revoked = self.revoked_keys().map_err(KeyChangeError::Keys)?;
            let id = match keys.find(id) {
                Ok(key) => key.id,
                Err(FindKeyError::None { prefix }) => {
                    // A whole id needs no key: a stolen key can be refused before it ever arrives.
                    prefix
                        .parse()
                        .map_err(|_not_whole| KeyChangeError::Find(FindKeyError::None { prefix }))?
                }
                Err(error) => return Err(KeyChangeError::Find(error)),
            };
            let names = file_names(&keys, &id);
            let trusted = self.trusted_of(keys).map_err(KeyChangeError::Keys)?;
            let earlier = revoked.get(&id).cloned();
            let usable_left = match names.is_empty() || earlier.is_some() {
                true => usable(&trusted, &revoked, Some(&id)),
                false => self.check_lockout(&trusted, &revoked, &id, lockout)?,
            };
            let already = earlier.is_some();
            // Refused for ever it is already; nobody needs to agree to that once more.
            let consent = match already {
                true => None,
                false => self.consent_to(caller, &Subject::KeysRevoke(id))?,
            };
            let (revoked_at, reason) = match earlier {
                Some(RevokedKey { revoked_at, reason, .. }) => (revoked_at, reason),
                None => (truncate_to_seconds(caller.now), reason.to_owned()),
            };
            let mut all = revoked;
            all.insert(RevokedKey { id, revoked_at, reason: reason.clone() });
            if all.to_bytes().len() as u64 > MAX_REVOKED_LEN {
                return Err(KeyChangeError::RevokedListFull);
            }
            let change = Change::RevokeKey {
                id,
                revoked_at,
                reason: reason.clone(),
                file_names: names.clone(),
                consent: consent.clone(),
            };
            let journal = self.begin_journal(caller, change)?;
            self.refuse_for_ever(&all, &names)
                .map_err(|source| KeyChangeError::Change(ChangeError::Step { source }))?;
            self.record_key(consent.as_deref(), withdrawn(consent.as_deref(), id))?;
            let event = revoke_event(caller, &id, &reason, &names, consent.as_deref());
            let event = if already { event.detail("already", true) } else { event };
            self.finish_change(&journal, event).map_err(KeyChangeError::Change)?;
            let signed_applied = self.signers_in_force().contains(&id);
            let approval = approval_id(consent);
            Ok(KeyRevoked {
                id,
                reason,
                names,
                usable_left,
                already,
                signed_applied,
                keys_unreadable,
                approval,
            })
        })
    }

    /// Runs a change under the lock, and logs why it was refused.
    fn logged<T>(
        &self,
        caller: &Caller,
        action: Action,
        object: &str,
        change: impl FnOnce() -> Result<T, KeyChangeError>,
    ) -> Result<T, KeyChangeError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let begun = begun.and_then(|()| self.require_sound_log());
        let done = begun.map_err(KeyChangeError::Change).and_then(|()| change());
        if let Err(error) = &done
            && !matches!(
                error,
                KeyChangeError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. })
            )
        {
            let outcome = match error {
                KeyChangeError::Write { .. } | KeyChangeError::Change(_) | KeyChangeError::HostKey { .. } => {
                    Outcome::Failed
                }
                _ => Outcome::Refused,
            };
            let refusal = match error {
                KeyChangeError::NotAKey { .. } | KeyChangeError::Read { .. } => "malformed",
                KeyChangeError::ProofMissing { .. } | KeyChangeError::ProofWrong { .. } => "bad_signature",
                KeyChangeError::Approval(error) => error.refusal(),
                _ => "other",
            };
            let event = Event::new(caller.now, caller.actor.clone(), action, object)
                .outcome(outcome)
                .reason(crate::health::cause_chain(error))
                .detail("refusal", refusal);
            let event = match error {
                KeyChangeError::Revoked { id, .. }
                | KeyChangeError::ProofMissing { id }
                | KeyChangeError::ProofWrong { id, .. }
                | KeyChangeError::Lockout { id, .. } => event.detail("key_id", id.to_string()),
                KeyChangeError::Approval(error) => match error.request() {
                    Some(id) => event.detail("approval", id.to_string()),
                    None => event,
                },
                _ => event,
            };
            self.log_refusal(&event);
        }
        done
    }

    fn consent_to(
        &self,
        caller: &Caller,
        subject: &Subject,
    ) -> Result<Option<Box<RecordChange>>, KeyChangeError> {
        self.consent(caller, subject).map(|consent| consent.map(Box::new)).map_err(KeyChangeError::Approval)
    }

    fn record_key(&self, consent: Option<&RecordChange>, key: KeyEdit) -> Result<(), KeyChangeError> {
        self.record_change(consent, key)
            .map_err(|source| KeyChangeError::Change(ChangeError::Step { source }))
    }

    fn begin_journal(&self, caller: &Caller, change: Change) -> Result<Journal, KeyChangeError> {
        let journal = Journal::new(caller.now, &caller.actor, change);
        if let Err(source) = journal.write(self.paths()) {
            self.give_up().map_err(KeyChangeError::Change)?;
            return Err(KeyChangeError::Change(ChangeError::Journal { source }));
        }
        Ok(journal)
    }

    fn append(&self, event: &Event) -> Result<(), KeyChangeError> {
        let logged = self.audit().append(event).map(drop);
        logged.map_err(|source| KeyChangeError::Change(ChangeError::NotLogged { source: Box::new(source) }))
    }

    fn check_proof(&self, key: &PublicKey, proof: Option<&Signature>) -> Result<(), KeyChangeError> {
        let id = key.key_id();
        match proof {
            // A proof that is given is checked, also where none is demanded.
            Some(proof) => {
                let challenge = self.key_challenge(key)?;
                key.verify(challenge.as_bytes(), proof)
                    .map_err(|source| KeyChangeError::ProofWrong { id, source })
            }
            None if self.config().require_key_proof => Err(KeyChangeError::ProofMissing { id }),
            None => Ok(()),
        }
    }

    fn check_lockout(
        &self,
        keys: &TrustedKeys,
        revoked: &RevokedKeys,
        id: &KeyId,
        lockout: Lockout,
    ) -> Result<usize, KeyChangeError> {
        let (before, left) = (usable(keys, revoked, None), usable(keys, revoked, Some(id)));
        let required = self.config().required_signatures;
        let enough = |count: usize| count >= usize::try_from(required).unwrap_or(usize::MAX);
        // A host that is locked already is not locked by this.
        if lockout == Lockout::Refuse && enough(before) && !enough(left) {
            return Err(KeyChangeError::Lockout { id: *id, left, required });
        }
        Ok(left)
    }

    fn remove_files(&self, file_names: &[String]) -> Result<(), WriteError> {
        file_names.iter().try_for_each(|name| durable::remove_synced(&self.key_path(name)))
    }

    /// The list first, then the files: a crash between the two leaves a key that is refused, never one that is trusted.
    fn refuse_for_ever(&self, all: &RevokedKeys, files: &[String]) -> Result<(), WriteError> {
        let paths = self.paths();
        let bytes = all.to_bytes();
        durable::write_atomic(&paths.revoked_copy(), &bytes, 0o644)?;
        durable::make_dir(&paths.keys_dir, 0o755)?;
        durable::write_atomic(&paths.revoked(), &bytes, 0o644)?;
        self.remove_files(files)
    }

    pub(crate) fn resume_add(
        &self,
        journal: &Journal,
        id: &KeyId,
        file_name: &str,
        source: &str,
        consent: Option<&RecordChange>,
    ) -> Result<Option<Event>, RecoverError> {
        // The second name that a killed writer leaves.
        durable::remove_synced(&self.key_path(&format!(".{file_name}.tmp")))
            .map_err(|source| RecoverError::Step { source })?;
        // The file itself tells; another file that breaks the directory does not make this one unwritten.
        let path = self.key_path(file_name);
        let file = match durable::read_state(&path, MAX_KEY_FILE_LEN) {
            Ok(file) => file,
            // Not what this program writes.
            Err(ReadError::Link { .. } | ReadError::NotAFile { .. } | ReadError::TooLarge { .. }) => None,
            Err(source) => return Err(RecoverError::Read { source }),
        };
        let added = file
            .and_then(|file| parse_public_key_file(&file).ok())
            .is_some_and(|parsed| parsed.key.key_id() == *id);
        if added {
            durable::sync_parent(&path)
                .and_then(|()| self.record_change(consent, KeyEdit::Approve(*id)))
                .map_err(|source| RecoverError::Step { source })?;
        }
        let caller = Caller::of_journal(journal);
        let name = file_name.strip_suffix(".pub").unwrap_or(file_name);
        Ok(added.then(|| add_event(&caller, id, name, source, consent)))
    }

    pub(crate) fn resume_remove(
        &self,
        journal: &Journal,
        id: &KeyId,
        file_names: &[String],
        consent: Option<&RecordChange>,
    ) -> Result<Event, RecoverError> {
        self.remove_files(file_names)
            .and_then(|()| self.record_change(consent, KeyEdit::Withdraw(*id)))
            .map_err(|source| RecoverError::Step { source })?;
        Ok(remove_event(&Caller::of_journal(journal), id, file_names, consent))
    }

    pub(crate) fn resume_revoke(
        &self,
        journal: &Journal,
        entry: &RevokedKey,
        file_names: &[String],
        consent: Option<&RecordChange>,
    ) -> Result<Event, RecoverError> {
        let mut all = self.revoked_keys().map_err(|source| RecoverError::Keys { source })?;
        all.insert(entry.clone());
        self.refuse_for_ever(&all, file_names)
            .and_then(|()| self.record_change(consent, withdrawn(consent, entry.id)))
            .map_err(|source| RecoverError::Step { source })?;
        let caller = Caller::of_journal(journal);
        Ok(revoke_event(&caller, &entry.id, &entry.reason, file_names, consent))
    }

    /// Whose signatures the policy in force claims to carry.
    pub(crate) fn signers_in_force(&self) -> Vec<KeyId> {
        let file = durable::read_state(&self.paths().applied(), self.max_file_len()).ok().flatten();
        let bundle = file.and_then(|file| SignedBundle::parse(file).ok());
        bundle
            .map(|bundle| bundle.signatures().iter().map(|signature| signature.key_id).collect())
            .unwrap_or_default()
    }
}

/// How many different keys can sign for this host: trusted, not revoked, and not the one that is about to go.
fn usable(keys: &TrustedKeys, revoked: &RevokedKeys, without: Option<&KeyId>) -> usize {
    let ids: BTreeMap<KeyId, PublicKey> = keys.by_id();
    ids.keys().filter(|id| revoked.get(id).is_none() && Some(*id) != without).count()
}

fn file_names(keys: &TrustedKeys, id: &KeyId) -> Vec<String> {
    keys.files_of(id).into_iter().map(|file| format!("{}.pub", file.name)).collect()
}

/// Everything that is asked of a key which is listed.
struct Lister<'a> {
    revoked: RevokedKeys,
    approved: &'a Option<BTreeSet<KeyId>>,
    signers: Vec<KeyId>,
    now: Timestamp,
}

impl Lister<'_> {
    fn listed(&self, key: &TrustedKey) -> ListedKey {
        ListedKey {
            id: key.id,
            fingerprint: key.id.fingerprint(),
            name: key.name.clone(),
            path: key.path.clone(),
            added_at: truncate_to_seconds(key.added_at),
            age_days: self.now.duration_since(key.added_at).as_hours().max(0) / 24,
            revoked: self.revoked.get(&key.id).is_some(),
            signs_applied: self.signers.contains(&key.id),
            approved: self.approved.as_ref().map(|approved| approved.contains(&key.id)),
        }
    }
}

/// A key that is refused for ever is approved no longer. Refused once more, the record has nothing to say of it.
fn withdrawn(consent: Option<&RecordChange>, id: KeyId) -> KeyEdit {
    consent.map_or(KeyEdit::None, |_| KeyEdit::Withdraw(id))
}

fn approval_id(consent: Option<Box<RecordChange>>) -> Option<String> {
    consent?.approval.map(|approval| approval.id)
}

/// The name that was asked for, or the file's, or the fingerprint.
fn key_name(asked: Option<&str>, source: &str, id: &KeyId) -> Result<String, KeyChangeError> {
    if let Some(name) = asked {
        return match is_name(name) {
            true => Ok(name.to_owned()),
            false => Err(KeyChangeError::Name { name: name.chars().take(100).collect() }),
        };
    }
    let stem = std::path::Path::new(source).file_stem().and_then(|stem| stem.to_str());
    Ok(stem.filter(|stem| is_name(stem)).map_or_else(|| id.fingerprint(), str::to_owned))
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_NAME_LEN).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

fn format_name(format: PublicKeyFormat) -> &'static str {
    match format {
        PublicKeyFormat::SpkiPem => "spki-pem",
        PublicKeyFormat::Hex => "hex",
        PublicKeyFormat::OpenSsh => "openssh",
    }
}

fn add_event(caller: &Caller, id: &KeyId, name: &str, source: &str, consent: Option<&RecordChange>) -> Event {
    let event = Event::new(caller.now, caller.actor.clone(), Action::KeyAdd, source)
        .detail("key_id", id.to_string())
        .detail("name", name);
    describe_consent(event, consent)
}

fn remove_event(caller: &Caller, id: &KeyId, file_names: &[String], consent: Option<&RecordChange>) -> Event {
    let event = Event::new(caller.now, caller.actor.clone(), Action::KeyRemove, id.to_string())
        .detail("key_id", id.to_string())
        .detail("files", file_names.to_vec());
    describe_consent(event, consent)
}

fn revoke_event(
    caller: &Caller,
    id: &KeyId,
    reason: &str,
    file_names: &[String],
    consent: Option<&RecordChange>,
) -> Event {
    let event = Event::new(caller.now, caller.actor.clone(), Action::KeyRevoke, id.to_string())
        .reason(reason)
        .detail("key_id", id.to_string())
        .detail("files", file_names.to_vec());
    describe_consent(event, consent)
}

//! The enforcer of a host: what `aegisbpf policy apply` hands a policy to.
//!
//! It looks at what the kernel has, refuses what nothing here could enforce and what would lock everybody out, and puts the
//! rest in force by BPF-LSM, or where there is none, by the programs of the root control group and by fanotify. Where no
//! program can be loaded at all, the agent holds the policy alone, by fanotify.

mod remarks;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use aegis_crypto::Digest;
use aegis_policy::{Policy, Section};
use aegis_trust::HostPaths;
use aegis_trust::enforce::{
    Before, EnforceError, Enforcement as Report, EnforcementMode, Enforcer, PolicyIdentity,
    RecordingEnforcer, section_counts,
};
use jiff::{SignedDuration, Timestamp};

use crate::canary;
use crate::compile::{Canary, MAX_KEPT, Mode, compile_sparing};
use crate::coverage::{Backend as Chosen, Coverage, Unenforced};
use crate::error::KernelError;
use crate::handover::{Handover, HandoverError, Held, Meant, Request};
use crate::kernel::{Enforcement, Label, Options, PINS};
use crate::layout::FileId;
use crate::probe::{Answer, Probe};
use crate::resolve::{HostResolver, Resolver as _, read_proc};
use crate::survival::{self, LiveHost};

/// How a policy is to be put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether what is denied is refused, or only told.
    pub mode: Mode,
    /// Whether sections that nothing enforces here are taken all the same.
    pub unenforced: Unenforced,
    /// Whether a policy that locks out what brings a host back is taken all the same.
    pub force: bool,
    /// After this time the policy before it counts again, unless it is confirmed.
    pub confirm_within: Option<Duration>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { mode: Mode::Enforce, unenforced: Unenforced::Refuse, force: false, confirm_within: None }
    }
}

/// The kernel of this host.
#[derive(Debug)]
pub struct HostEnforcer {
    record: RecordingEnforcer,
    pins: PathBuf,
    state_dir: PathBuf,
    own_dirs: Vec<PathBuf>,
    handover: Handover,
    /// What the caller asks for; without, what was in force goes on as it was.
    terms: Option<Terms>,
}

impl HostEnforcer {
    /// For the host at `paths`. Without `terms` a policy is loaded on those that it was applied with.
    pub fn new(paths: &HostPaths, terms: Option<Terms>) -> Self {
        Self {
            record: RecordingEnforcer::new(paths),
            pins: PathBuf::from(PINS),
            state_dir: paths.state_dir.clone(),
            own_dirs: vec![paths.state_dir.clone(), paths.audit_dir(), paths.events_dir()],
            handover: Handover::of(&paths.state_dir),
            terms,
        }
    }

    /// The file that is denied to everybody.
    pub fn canary(&self) -> PathBuf {
        self.state_dir.join("canary")
    }

    /// What is loaded, if anything is.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn loaded(&self) -> Result<Option<Enforcement>, KernelError> {
        // Who may not look there must not take it for nothing.
        if let Err(source) = std::fs::symlink_metadata(&self.pins)
            && source.kind() == std::io::ErrorKind::PermissionDenied
        {
            return Err(KernelError::Pin { action: "look at", path: self.pins.clone(), source });
        }
        let loaded = Enforcement::look(&self.pins)?;
        if let Some(loaded) = &loaded {
            // Refused to a program that is not the agent yet, unless denials are off: then it is the one that replaces it.
            let _ = loaded.own(&own_program(), &self.own_directories(&HostResolver::new()));
        }
        Ok(loaded)
    }

    /// What is in force, whoever holds it.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel does not tell.
    pub fn held(&self) -> Result<Option<Held>, KernelError> {
        match self.loaded()? {
            Some(loaded) => Ok(loaded.in_force()?.as_ref().map(Held::from)),
            None => Ok(self.held_alone()),
        }
    }

    /// What the agent has in force by fanotify, where no program is loaded.
    pub fn held_alone(&self) -> Option<Held> {
        self.record.read().ok().flatten().filter(|recorded| recorded.backend == ALONE)?;
        let state = self.handover.state().ok().flatten().filter(|_| self.handover.agent_runs());
        state?.in_force?.held(Timestamp::now())
    }

    /// Those that are there already: the agent makes the others when it needs them, and is asked again.
    fn own_directories(&self, resolver: &HostResolver) -> Vec<FileId> {
        self.own_dirs.iter().filter_map(|dir| resolver.file(dir.to_str()?)).collect()
    }

    fn terms_for(&self, identity: &PolicyIdentity) -> Terms {
        if let Some(terms) = self.terms {
            return terms;
        }
        // Loaded again, by a recovery, a rollback or after a restart: it was accepted before.
        let recorded = self.record.read().ok().flatten();
        let known = recorded.as_ref().filter(|known| known.policy == *identity);
        let before =
            recorded.as_ref().and_then(|recorded| recorded.before).filter(|it| it.policy == *identity);
        let mode = match known.and_then(|known| known.mode).or(before.map(|before| before.mode)) {
            Some(EnforcementMode::Audit) => Mode::Audit,
            Some(EnforcementMode::Enforce) | None => Mode::Enforce,
        };
        // A restart confirms nothing: what is left of the time is left.
        let confirm_within = known.and_then(|known| known.confirm_by).map(|by| {
            let left = Duration::try_from(by.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
            left.max(Duration::from_secs(1))
        });
        Terms { mode, unenforced: Unenforced::Accept, force: true, confirm_within }
    }

    /// Whether `policy` was applied with a time limit that is over.
    pub fn is_overdue(&self, policy: &Digest) -> bool {
        let recorded =
            self.record.read().ok().flatten().filter(|known| known.policy.policy_sha256 == *policy);
        recorded.and_then(|known| known.confirm_by).is_some_and(|by| by <= Timestamp::now())
    }

    /// Whether sections that the agent alone can enforce are taken without one: because it was asked for, now or when
    /// what is in force was applied.
    fn is_waived(&self, watched: &[String]) -> bool {
        match self.terms {
            Some(terms) => terms.unenforced == Unenforced::Accept,
            None => self
                .record
                .read()
                .ok()
                .flatten()
                .is_some_and(|known| known.unenforced.iter().any(|section| watched.contains(section))),
        }
    }

    fn judge(&self, policy: &Policy<'_>, terms: &Terms) -> Result<(Probe, Coverage), EnforceError> {
        let probe = Probe::of_host_tried();
        let coverage = Coverage::of(policy, &probe);
        if let Some(refusal) = coverage.refusal(terms.unenforced) {
            return Err(rejected(&refusal, refusal.help()));
        }
        if !Chosen::ALL.iter().any(|backend| backend.is_available(&probe)) {
            return Err(EnforceError::Unavailable {
                backend: NAME,
                detail: "this host can put nothing in force: no program of BPF, and nothing by fanotify"
                    .to_owned(),
                help: Some("`aegisbpf probe` says what is missing".to_owned()),
            });
        }
        let alone = !Chosen::BpfLsm.is_available(&probe) && !Chosen::Cgroup.is_available(&probe);
        if alone && !self.handover.agent_runs() {
            return Err(EnforceError::Unavailable {
                backend: NAME,
                detail: "this host can load no program, so a policy is in force by the agent alone, by fanotify, and it does not run"
                    .to_owned(),
                help: Some("start the agent: systemctl start aegisbpf".to_owned()),
            });
        }
        // What answers for fanotify is a process; the kernel alone does not go on with it.
        let watched = sections_of(&coverage, Chosen::Fanotify);
        if !watched.is_empty() && !self.is_waived(&watched) && !self.handover.agent_runs() {
            return Err(EnforceError::Unavailable {
                backend: NAME,
                detail: format!(
                    "without BPF-LSM, {} can be enforced by the agent alone, by fanotify, and it does not run",
                    watched.join(", ")
                ),
                help: Some(
                    "start the agent: systemctl start aegisbpf; or give --audit-unenforced to put the rest in force"
                        .to_owned(),
                ),
            });
        }
        if !terms.force && terms.mode == Mode::Enforce {
            let locked = survival::check(policy, &LiveHost::new());
            if let Some(first) = locked.first() {
                let more = match locked.len() {
                    1 => String::new(),
                    count => format!(", and {} more", count - 1),
                };
                return Err(EnforceError::Rejected {
                    backend: NAME,
                    detail: format!("{first}{more}"),
                    help: Some(
                        "take the rule out; --force applies it all the same, and --confirm-within returns to the policy before it"
                            .to_owned(),
                    ),
                });
            }
        }
        Ok((probe, coverage))
    }

    /// Neither BPF-LSM nor a group: the agent alone holds the policy.
    fn options(&self, probe: &Probe) -> Options {
        let lsm = Chosen::BpfLsm.is_available(probe);
        // Also without rules for the network: these programs know which policy is in force, and until when it may be.
        let group = !lsm && Chosen::Cgroup.is_available(probe);
        Options {
            pins: Some(self.pins.clone()),
            scope: None,
            lsm,
            group: group.then(|| probe.cgroup2.clone()).flatten(),
            programs: Vec::new(),
            directories: Vec::new(),
        }
    }

    /// What is pinned, or loaded anew; none where nothing is and nothing can be. The second value: it still has to be
    /// settled.
    fn open(&self, options: &Options) -> Result<Option<(Enforcement, bool)>, KernelError> {
        if let Some(found) = Enforcement::adopt(&self.pins)? {
            let same = found.is_of_this_build()?;
            if same && (found.backend() == crate::kernel::Backend::BpfLsm) == options.lsm {
                return Ok(Some((found, false)));
            }
        } else if !options.lsm && options.group.is_none() {
            return Ok(None);
        }
        Enforcement::load(options).map(|loaded| Some((loaded, true)))
    }

    fn make_canary(&self) -> Result<Option<FileId>, KernelError> {
        let at = self.canary();
        canary::make(&at).map_err(|source| KernelError::Pin { action: "make the canary", path: at, source })
    }

    /// Hands a policy to the agent, which watches files and programs; waits until it does. Whether it does: without an
    /// agent, the policy is left for the next one.
    fn hand_over(
        &self,
        policy: &Policy<'_>,
        identity: &PolicyIdentity,
        terms: &Terms,
        before: Option<&Request>,
    ) -> Result<bool, HandoverError> {
        let wait = terms.confirm_within.and_then(|time| SignedDuration::try_from(time).ok());
        let confirm_by = wait.and_then(|time| Timestamp::now().checked_add(time).ok());
        let before = before.filter(|_| confirm_by.is_some()).and_then(|before| {
            // Asked for again: what it would go back to stays what it was.
            if before.confirm_by.is_some() && before.policy_sha256 == identity.policy_sha256 {
                return before.before.clone();
            }
            let Meant { policy_sha256, policy_version, audit } = before.meant(Timestamp::now());
            Some(Box::new(Request { policy_sha256, policy_version, audit, ..before.clone().confirmed() }))
        });
        let wanted = Request {
            serial: 0,
            policy_sha256: identity.policy_sha256,
            policy_version: identity.policy_version,
            audit: terms.mode == Mode::Audit || booted_for_audit(),
            lifted_until: None,
            confirm_by,
            before,
        };
        if self.handover.agent_runs() {
            return self.handover.ask(policy.source(), wanted).map(|()| true);
        }
        self.handover.leave(policy.source(), wanted).map(|_| false)
    }

    /// What the agent has in force, and the text of it.
    fn handed_over(&self) -> Option<(Request, Vec<u8>)> {
        let request = self.handover.state().ok()??.in_force?;
        let text = self.handover.text(&request.policy_sha256, MAX_POLICY).ok()?;
        Some((request, text))
    }

    /// The policy that the agent enforces by fanotify; none if there is no agent, or it has none.
    pub fn watched(&self) -> Option<Digest> {
        let state = self.handover.state().ok().flatten().filter(|_| self.handover.agent_runs());
        Some(state?.meant?.policy_sha256)
    }

    /// Whether the kernel holds it now. If not, the agent alone does.
    fn put_in_force(
        &self,
        policy: &Policy<'_>,
        identity: &PolicyIdentity,
        terms: &Terms,
        options: &Options,
    ) -> Result<bool, KernelError> {
        let Some((enforcement, fresh)) = self.open(options)? else { return Ok(false) };
        let file = self.make_canary()?;
        let mode = if booted_for_audit() { Mode::Audit } else { terms.mode };
        let resolver = HostResolver::new();
        // What moves from here on may not be what it was resolved to.
        let moved = enforcement.moved()?;
        let again = self.loads_again(&enforcement, identity)?;
        let spared = self.spared(&enforcement, identity)?;
        let mut compiled = compile_sparing(policy, &resolver, mode, &Canary { file }, &spared);
        // Whoever moves a directory away, or switches a link, does not open what was denied.
        if again && !compiled.keep(&enforcement.named_files()?) {
            return Err(KernelError::TooManyKept { most: MAX_KEPT });
        }
        enforcement.own(&[], &self.own_directories(&resolver))?;
        enforcement.own_only(&own_program())?;
        let label = Label {
            version: identity.policy_version,
            sha256: *identity.policy_sha256.as_bytes(),
            now: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
        };
        enforcement.swap(&compiled, &label, terms.confirm_within)?;
        // What is loaded again by an agent it looks at again: a move is counted before it happens.
        if self.terms.is_some() {
            enforcement.set_resolved(moved)?;
        }
        if fresh {
            enforcement.settle()?;
        }
        Ok(true)
    }

    /// Whether it is the policy in force that an agent loads, and nobody who applies one.
    fn loads_again(&self, enforcement: &Enforcement, identity: &PolicyIdentity) -> Result<bool, KernelError> {
        let in_force = enforcement.in_force()?;
        let is_same = in_force.is_some_and(|known| known.policy_sha256 == *identity.policy_sha256.as_bytes());
        Ok(self.terms.is_none() && is_same)
    }

    /// What a policy that is loaded again, because its names have come to mean something else, does not deny: whoever may
    /// switch a link on the way to a name does not lock out a host by it. What it denies already was accepted as it is.
    pub(crate) fn spared(
        &self,
        enforcement: &Enforcement,
        identity: &PolicyIdentity,
    ) -> Result<HashSet<FileId>, KernelError> {
        if !self.loads_again(enforcement, identity)? {
            return Ok(HashSet::new());
        }
        let vital = survival::Host::vital(&LiveHost::new());
        enforcement.unnamed(vital.iter().flat_map(|file| [file.id, file.hook_id]))
    }

    /// Whether the agent alone holds the policy, and it runs.
    fn is_alone(&self) -> Result<bool, EnforceError> {
        let loaded = self.loaded().map_err(|error| unavailable(&error))?;
        Ok(loaded.is_none() && self.held_alone().is_some())
    }

    fn on_loaded(
        &self,
        act: impl FnOnce(&Enforcement) -> Result<(), KernelError>,
    ) -> Result<(), EnforceError> {
        let loaded = self.loaded().map_err(|error| unavailable(&error))?;
        let recorded = self.record.read().ok().flatten();
        if loaded.is_none() && recorded.is_some_and(|recorded| recorded.backend == ALONE) {
            return Err(match self.held_alone() {
                _ if !self.handover.agent_runs() => not_handed_over(&HandoverError::NoAgent),
                Some(held) if held.fell_back => unavailable(&KernelError::TooLate),
                Some(_) => unavailable(&KernelError::NothingToConfirm),
                None => unavailable(&KernelError::NoPolicy),
            });
        }
        let nothing = KernelError::NotLoaded { path: self.pins.clone() };
        act(loaded.as_ref().ok_or(nothing).map_err(|error| unavailable(&error))?)
            .map_err(|error| unavailable(&error))
    }
}

/// On the kernel's command line: the way into a host that its policy keeps from starting.
const BOOT_AUDIT: &str = "aegisbpf.mode=audit";

fn booted_for_audit() -> bool {
    read_proc("/proc/cmdline", 64 << 10)
        .split(u8::is_ascii_whitespace)
        .any(|word| word == BOOT_AUDIT.as_bytes())
}

/// The name in reports and errors.
const NAME: &str = "kernel";
/// What enforces where the agent answers for files and programs.
const WATCHED: &str = "cgroup and fanotify";
/// What enforces where no program can be loaded.
const ALONE: &str = "fanotify";
/// The most that a policy may have, as in the configuration.
const MAX_POLICY: u64 = 1 << 30;

impl Enforcer for HostEnforcer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, policy: &Policy<'_>) -> Result<(), EnforceError> {
        self.judge(policy, &self.terms.unwrap_or_default()).map(drop)
    }

    fn enforce(&self, policy: &Policy<'_>, identity: &PolicyIdentity) -> Result<Report, EnforceError> {
        let terms = self.terms_for(identity);
        let (probe, coverage) = self.judge(policy, &terms)?;
        let options = self.options(&probe);
        // Before it is denied to everybody, and this process could not make it.
        self.make_canary().map_err(|error| unavailable(&error))?;
        let before = self.handed_over();
        // Where BPF-LSM enforces, nobody has to be asked; what an agent was given before is not in its way.
        let current = before.as_ref().map(|(request, _)| request);
        let watched = !options.lsm
            && self.hand_over(policy, identity, &terms, current).map_err(|error| not_handed_over(&error))?;
        let in_kernel = match self.put_in_force(policy, identity, &terms, &options) {
            Ok(in_kernel) => in_kernel,
            Err(error) => {
                // The other half goes back as well.
                if let Some((request, text)) = before.filter(|_| watched) {
                    self.handover.ask(&text, request).map_err(|error| not_handed_over(&error))?;
                }
                return Err(unavailable(&error));
            }
        };
        if !in_kernel && !watched {
            return Err(not_handed_over(&HandoverError::NoAgent));
        }
        let mut unenforced: Vec<String> =
            coverage.unenforced().map(|section| section.section.name().to_owned()).collect();
        if !watched {
            unenforced.extend(sections_of(&coverage, Chosen::Fanotify));
        }
        let confirm_by = terms
            .confirm_within
            .and_then(|time| SignedDuration::try_from(time).ok())
            .and_then(|time| Timestamp::now().checked_add(time).ok());
        let last = self.record.read()?;
        let before = match last {
            Some(last) if last.policy == *identity => last.before,
            Some(Report { policy, mode: Some(mode), .. }) => Some(Before { policy, mode }),
            _ => None,
        };
        let report = Report {
            backend: match (options.lsm, in_kernel, watched) {
                (true, ..) => "bpf-lsm",
                (false, true, true) => WATCHED,
                (false, true, false) => "cgroup",
                (false, false, _) => ALONE,
            }
            .to_owned(),
            enforced: true,
            policy: *identity,
            rules: policy.rule_count() as u64,
            sections: section_counts(policy),
            mode: Some(match terms.mode {
                Mode::Enforce => EnforcementMode::Enforce,
                Mode::Audit => EnforcementMode::Audit,
            }),
            unenforced,
            confirm_by,
            before,
            remarks: Vec::new(),
        };
        self.record.write(&report)?;
        Ok(report)
    }

    fn confirm(&self) -> Result<(), EnforceError> {
        // First what can fail; if the kernel says that it is too late, the agent goes back with it.
        let unconfirmed = self.handed_over().filter(|(request, _)| {
            self.handover.agent_runs() && request.confirm_by.is_some_and(|by| Timestamp::now() < by)
        });
        let confirmed = unconfirmed.is_some();
        if let Some((request, text)) = unconfirmed {
            self.handover.ask(&text, request.confirmed()).map_err(|error| not_handed_over(&error))?;
        }
        if !(confirmed && self.is_alone()?) {
            self.on_loaded(Enforcement::confirm)?;
        }
        if let Some(report) = self.record.read()? {
            self.record.write(&Report { confirm_by: None, ..report })?;
        }
        Ok(())
    }

    fn lift(&self, time: Duration) -> Result<(), EnforceError> {
        if !self.is_alone()? {
            self.on_loaded(|loaded| loaded.lift(time))?;
        }
        let Some((request, text)) = self.handed_over().filter(|_| self.handover.agent_runs()) else {
            return Ok(());
        };
        let until = SignedDuration::try_from(time).ok().filter(SignedDuration::is_positive);
        let lifted_until = until.and_then(|time| Timestamp::now().checked_add(time).ok());
        if request.lifted_until.is_none() && lifted_until.is_none() {
            return Ok(());
        }
        let wanted = Request { lifted_until, ..request };
        self.handover.ask(&text, wanted).map_err(|error| not_handed_over(&error))
    }

    fn state(&self) -> Result<Option<Report>, EnforceError> {
        let Some(recorded) = self.record.read()? else { return Ok(None) };
        let (enforced, remarks) = self.remarks(&recorded);
        Ok(Some(Report { enforced, remarks, ..recorded }))
    }
}

/// Whether files and programs are watched by the agent here: there is fanotify, and no BPF-LSM.
pub fn agent_answers() -> bool {
    let probe = Probe::of_host_tried();
    !Chosen::BpfLsm.is_available(&probe) && probe.fanotify == Answer::Yes
}

fn own_program() -> Vec<FileId> {
    HostResolver::new().file("/proc/self/exe").into_iter().collect()
}

fn unavailable(error: &KernelError) -> EnforceError {
    EnforceError::Unavailable { backend: NAME, detail: with_causes(error), help: error.help() }
}

fn not_handed_over(error: &HandoverError) -> EnforceError {
    let (detail, help) = (with_causes(error), error.help());
    match error {
        HandoverError::Refused { .. } => EnforceError::Rejected { backend: NAME, detail, help },
        _ => EnforceError::Unavailable { backend: NAME, detail, help },
    }
}

fn rejected(refusal: &crate::coverage::Refusal, help: Option<String>) -> EnforceError {
    EnforceError::Rejected { backend: NAME, detail: refusal.to_string(), help }
}

fn sections_of(coverage: &Coverage, backend: Chosen) -> Vec<String> {
    let of = coverage.sections.iter().filter(|section| section.backend() == Some(backend));
    of.map(|section| section.section)
        .filter(|section| *section != Section::ScanPaths)
        .map(|section| section.name().to_owned())
        .collect()
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody applies a policy in audit mode to have a rollback enforce it.
    #[test]
    fn what_is_loaded_again_is_as_strict_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let paths = HostPaths::under(dir.path());
        std::fs::create_dir_all(&paths.state_dir).unwrap();
        let identity = |number: u8| PolicyIdentity {
            policy_version: Some(u64::from(number)),
            policy_sha256: aegis_crypto::sha256(&[number]),
        };
        let (audited, enforced, unknown) = (identity(1), identity(2), identity(3));
        let report = Report {
            backend: "bpf-lsm".to_owned(),
            enforced: true,
            policy: enforced,
            rules: 1,
            sections: std::collections::BTreeMap::new(),
            mode: Some(EnforcementMode::Enforce),
            unenforced: Vec::new(),
            confirm_by: Some(Timestamp::now().checked_sub(SignedDuration::from_secs(1)).unwrap()),
            before: Some(Before { policy: audited, mode: EnforcementMode::Audit }),
            remarks: Vec::new(),
        };
        RecordingEnforcer::new(&paths).write(&report).unwrap();
        let host = HostEnforcer::new(&paths, None);
        assert_eq!(host.terms_for(&audited).mode, Mode::Audit);
        assert_eq!(host.terms_for(&audited).confirm_within, None);
        assert_eq!(host.terms_for(&enforced).mode, Mode::Enforce);
        assert_eq!(
            host.terms_for(&enforced).confirm_within,
            Some(Duration::from_secs(1)),
            "it was not confirmed"
        );
        assert_eq!(host.terms_for(&unknown).mode, Mode::Enforce);
        assert!(host.is_overdue(&enforced.policy_sha256) && !host.is_overdue(&audited.policy_sha256));
        let asked = Terms { mode: Mode::Audit, ..Terms::default() };
        assert_eq!(HostEnforcer::new(&paths, Some(asked)).terms_for(&unknown), asked);
    }
}

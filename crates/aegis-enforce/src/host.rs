//! The enforcer of a host: what `aegisbpf policy apply` hands a policy to.
//!
//! It looks at what the kernel has, refuses what nothing here could enforce and what would lock everybody out, and puts the
//! rest in force by BPF-LSM, or where there is none, by the programs of the root control group and by fanotify.

use std::path::PathBuf;
use std::time::Duration;

use aegis_crypto::Digest;
use aegis_policy::{Policy, Section};
use aegis_trust::HostPaths;
use aegis_trust::enforce::{
    EnforceError, Enforcement as Report, EnforcementMode, Enforcer, PolicyIdentity, RecordingEnforcer,
    Remark, section_counts,
};
use jiff::{SignedDuration, Timestamp};

use crate::canary::{self, Sign};
use crate::compile::{Canary, Mode, compile};
use crate::coverage::{Backend as Chosen, Coverage, Unenforced};
use crate::error::KernelError;
use crate::kernel::{Enforcement, InForce, Label, Options, PINS};
use crate::layout::FileId;
use crate::probe::{self, Answer, Probe};
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
            own_dirs: vec![paths.state_dir.clone(), paths.audit_dir()],
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
        let loaded = Enforcement::look(&self.pins)?;
        if let Some(loaded) = &loaded {
            // Refused to a program that is not the agent yet, unless denials are off: then it is the one that replaces it.
            let _ = loaded.own(&own_program(), &[]);
        }
        Ok(loaded)
    }

    fn terms_for(&self, identity: &PolicyIdentity) -> Terms {
        if let Some(terms) = self.terms {
            return terms;
        }
        // Loaded again, by a recovery or after a restart: it was accepted before.
        let known = self.record.read().ok().flatten().filter(|known| known.policy == *identity);
        let mode = match known.as_ref().and_then(|known| known.mode) {
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
        let recorded = self.record.read().ok().flatten().filter(|known| known.policy.policy_sha256 == *policy);
        recorded.and_then(|known| known.confirm_by).is_some_and(|by| by <= Timestamp::now())
    }

    fn judge(&self, policy: &Policy<'_>, terms: &Terms) -> Result<(Probe, Coverage), EnforceError> {
        let probe = Probe::of_host().settled(probe::try_bpf_lsm);
        let coverage = Coverage::of(policy, &probe);
        if let Some(refusal) = coverage.refusal(terms.unenforced) {
            return Err(rejected(&refusal, refusal.help()));
        }
        // What answers for fanotify is a process; the kernel alone does not go on with it.
        if coverage.backends().contains(&Chosen::Fanotify) && terms.unenforced == Unenforced::Refuse {
            return Err(EnforceError::Rejected {
                backend: NAME,
                detail: format!(
                    "without BPF-LSM, {} can be enforced by fanotify alone, which `policy apply` does not use",
                    sections_of(&coverage, Chosen::Fanotify).join(", ")
                ),
                help: Some(
                    "boot a kernel with `bpf` in its list of security modules, or give --audit-unenforced to put the rest in force"
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

    fn options(&self, coverage: &Coverage, probe: &Probe) -> Options {
        let lsm = probe.bpf_lsm == Answer::Yes;
        let network = coverage.backends().contains(&Chosen::Cgroup);
        Options {
            pins: Some(self.pins.clone()),
            scope: None,
            lsm,
            group: (!lsm && network).then(|| probe.cgroup2.clone()).flatten(),
            programs: Vec::new(),
            directories: Vec::new(),
        }
    }

    /// What is pinned, or loaded anew. The second value: it still has to be settled.
    fn open(&self, options: &Options) -> Result<(Enforcement, bool), KernelError> {
        if let Some(found) = Enforcement::adopt(&self.pins)? {
            let same = found.is_of_this_build()?;
            if same && (found.backend() == crate::kernel::Backend::BpfLsm) == options.lsm {
                return Ok((found, false));
            }
        }
        Enforcement::load(options).map(|loaded| (loaded, true))
    }

    fn put_in_force(
        &self,
        policy: &Policy<'_>,
        identity: &PolicyIdentity,
        terms: &Terms,
        options: &Options,
    ) -> Result<(), KernelError> {
        let at = self.canary();
        let file = canary::make(&at).map_err(|source| KernelError::Pin {
            action: "make the canary",
            path: at,
            source,
        })?;
        let mode = if booted_for_audit() { Mode::Audit } else { terms.mode };
        let resolver = HostResolver::new();
        let compiled = compile(policy, &resolver, mode, &Canary { file });
        let (enforcement, fresh) = self.open(options)?;
        let directories: Vec<FileId> =
            self.own_dirs.iter().filter_map(|dir| resolver.file(dir.to_str()?)).collect();
        enforcement.own(&[], &directories)?;
        enforcement.own_only(&own_program())?;
        let label = Label {
            version: identity.policy_version,
            sha256: *identity.policy_sha256.as_bytes(),
            now: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
        };
        enforcement.swap(&compiled, &label, terms.confirm_within)?;
        if fresh { enforcement.settle() } else { Ok(()) }
    }

    fn on_loaded(
        &self,
        act: impl FnOnce(&Enforcement) -> Result<(), KernelError>,
    ) -> Result<(), EnforceError> {
        let loaded = self.loaded().map_err(|error| unavailable(&error))?;
        let nothing = KernelError::NotLoaded { path: self.pins.clone() };
        act(loaded.as_ref().ok_or(nothing).map_err(|error| unavailable(&error))?)
            .map_err(|error| unavailable(&error))
    }

    /// What the kernel says against what was recorded.
    fn remarks(&self, recorded: &Report) -> (bool, Vec<Remark>) {
        let mut remarks = Vec::new();
        let failed =
            |message: String, help: &str| Remark { failed: true, message, help: Some(help.to_owned()) };
        let loaded = match self.loaded().and_then(|loaded| {
            loaded.map(|loaded| Ok((loaded.in_force()?, loaded.verify(), loaded))).transpose()
        }) {
            Err(error) => {
                remarks.push(failed(format!("{error}: {}", causes(&error)), "run it as root"));
                return (false, remarks);
            }
            Ok(None) => {
                let help = "`systemctl restart aegisbpf`, or `aegisbpf run`, loads the policy again";
                remarks.push(failed(
                    "the kernel holds no policy: it was restarted, or told to let go".to_owned(),
                    help,
                ));
                return (false, remarks);
            }
            Ok(Some(found)) => found,
        };
        let (in_force, verified, _) = loaded;
        if let Err(error) = verified {
            remarks.push(failed(error.to_string(), "apply the policy again"));
        }
        match in_force {
            None => {
                let help = "apply a policy again, and confirm it in time";
                remarks.push(failed(
                    "the kernel holds no policy: the first one was not confirmed".to_owned(),
                    help,
                ));
                return (false, remarks);
            }
            Some(in_force) => remarks.extend(mismatch(&in_force, recorded)),
        }
        remarks.extend(self.signs());
        let enforced = !remarks.iter().any(|remark| remark.failed);
        for section in &recorded.unenforced {
            remarks.push(Remark {
                failed: false,
                message: format!("nothing here enforces [{section}]"),
                help: Some("`aegisbpf probe` says what is missing".to_owned()),
            });
        }
        (enforced, remarks)
    }

    /// Whether a harmless denial comes, of each kind.
    fn signs(&self) -> Vec<Remark> {
        let signs = canary::signs(&self.canary());
        let of_lsm =
            matches!(self.loaded(), Ok(Some(loaded)) if loaded.backend() == crate::kernel::Backend::BpfLsm);
        let mut asked = vec![("connecting", signs.network)];
        if of_lsm {
            asked.push(("opening a file", signs.file));
        }
        let silent = asked.into_iter().filter(|(_, sign)| *sign != Sign::Denied);
        silent
            .map(|(what, sign)| Remark {
                failed: true,
                message: match sign {
                    Sign::Untried => format!("whether {what} is denied could not be tried"),
                    _ => format!("{what} that must be denied was let through"),
                },
                help: Some("apply the policy again; if that does not help, restart the host".to_owned()),
            })
            .collect()
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

fn mismatch(in_force: &InForce, recorded: &Report) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if in_force.fell_back {
        remarks.push(Remark {
            failed: true,
            message: "the policy applied last was not confirmed in time, so the one before it is in force"
                .to_owned(),
            help: Some(
                "`aegisbpf policy rollback` makes that official; or apply a corrected policy".to_owned(),
            ),
        });
    } else if in_force.policy_sha256 != *recorded.policy.policy_sha256.as_bytes() {
        remarks.push(Remark {
            failed: true,
            message: "the kernel holds another policy than the one that was applied".to_owned(),
            help: Some("apply the policy again".to_owned()),
        });
    }
    if let Some(left) = in_force.unconfirmed_for {
        remarks.push(Remark {
            failed: false,
            message: format!("the policy waits for `aegisbpf policy confirm`, {} s more", left.as_secs()),
            help: Some("confirm it, or the one before it is in force again".to_owned()),
        });
    }
    if in_force.mode == Mode::Audit && recorded.mode != Some(EnforcementMode::Audit) {
        remarks.push(Remark {
            failed: true,
            message: format!("this host was started with {BOOT_AUDIT}, so what is denied is only told"),
            help: Some("start it without, or apply the policy again".to_owned()),
        });
    }
    if let Some(left) = in_force.lifted_for {
        remarks.push(Remark {
            failed: true,
            message: format!(
                "denials are off in an emergency, for {} s more: they are only told",
                left.as_secs()
            ),
            help: Some("`aegisbpf emergency enable` ends it; it ends by itself after its time".to_owned()),
        });
    }
    remarks
}

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
        let options = self.options(&coverage, &probe);
        self.put_in_force(policy, identity, &terms, &options).map_err(|error| unavailable(&error))?;
        let mut unenforced: Vec<String> =
            coverage.unenforced().map(|section| section.section.name().to_owned()).collect();
        unenforced.extend(sections_of(&coverage, Chosen::Fanotify));
        let confirm_by = terms
            .confirm_within
            .and_then(|time| SignedDuration::try_from(time).ok())
            .and_then(|time| Timestamp::now().checked_add(time).ok());
        let report = Report {
            backend: if options.lsm { "bpf-lsm" } else { "cgroup" }.to_owned(),
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
            remarks: Vec::new(),
        };
        self.record.write(&report)?;
        Ok(report)
    }

    fn confirm(&self) -> Result<(), EnforceError> {
        self.on_loaded(Enforcement::confirm)?;
        if let Some(report) = self.record.read()? {
            self.record.write(&Report { confirm_by: None, ..report })?;
        }
        Ok(())
    }

    fn lift(&self, time: Duration) -> Result<(), EnforceError> {
        self.on_loaded(|loaded| loaded.lift(time))
    }

    fn state(&self) -> Result<Option<Report>, EnforceError> {
        let Some(recorded) = self.record.read()? else { return Ok(None) };
        let (enforced, remarks) = self.remarks(&recorded);
        Ok(Some(Report { enforced, remarks, ..recorded }))
    }
}

fn own_program() -> Vec<FileId> {
    HostResolver::new().file("/proc/self/exe").into_iter().collect()
}

fn unavailable(error: &KernelError) -> EnforceError {
    let detail = [error.to_string(), causes(error)].into_iter().filter(|part| !part.is_empty());
    EnforceError::Unavailable {
        backend: NAME,
        detail: detail.collect::<Vec<_>>().join(": "),
        help: error.help(),
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

fn causes(error: &KernelError) -> String {
    let mut text = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push(cause.to_string());
        source = cause.source();
    }
    text.join(": ")
}

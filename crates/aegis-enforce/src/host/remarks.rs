//! What is said of what is in force: what the kernel and the agent say, against what was recorded.

use aegis_trust::enforce::{Enforcement as Report, EnforcementMode, Remark};

use super::{ALONE, BOOT_AUDIT, HostEnforcer, WATCHED, with_causes};
use crate::canary::{self, Sign};
use crate::compile::Mode;
use crate::handover::Held;

impl HostEnforcer {
    /// What the kernel says against what was recorded.
    pub(super) fn remarks(&self, recorded: &Report) -> (bool, Vec<Remark>) {
        let mut remarks = Vec::new();
        let failed =
            |message: String, help: &str| Remark { failed: true, message, help: Some(help.to_owned()) };
        let loaded = match self.loaded().and_then(|loaded| {
            loaded.map(|loaded| Ok((loaded.in_force()?, loaded.verify(), loaded))).transpose()
        }) {
            Err(error) => {
                remarks.push(failed(with_causes(&error), "run it as root"));
                return (false, remarks);
            }
            Ok(None) if recorded.backend == ALONE => return self.remarks_alone(recorded),
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
            Some(in_force) => remarks.extend(mismatch(&Held::from(&in_force), recorded, "the kernel")),
        }
        let by_agent = recorded.backend == WATCHED;
        if by_agent {
            remarks.extend(self.agent_remarks(recorded));
        }
        remarks.extend(self.signs(by_agent));
        concluded(remarks, recorded)
    }

    /// The same, where the agent alone holds the policy.
    fn remarks_alone(&self, recorded: &Report) -> (bool, Vec<Remark>) {
        let mut remarks = Vec::new();
        match self.held_alone() {
            Some(held) => remarks.extend(mismatch(&held, recorded, "the agent")),
            None if !self.handover.agent_runs() => remarks.extend(self.agent_remarks(recorded)),
            None => remarks.push(Remark {
                failed: true,
                message: "the agent holds no policy: it could not put one in force, or the first one was not confirmed"
                    .to_owned(),
                help: Some("apply a policy again; `journalctl -u aegisbpf` shows what the agent says".to_owned()),
            }),
        }
        remarks.extend(silence("opening a file", canary::signs(&self.canary()).file));
        concluded(remarks, recorded)
    }

    /// What the agent says against what was recorded, where it answers for files and programs.
    fn agent_remarks(&self, recorded: &Report) -> Option<Remark> {
        let help = |text: &str| Some(text.to_owned());
        if !self.handover.agent_runs() {
            return Some(Remark {
                failed: true,
                message: "the agent does not run, so rules for files and programs are without effect"
                    .to_owned(),
                help: help("start the agent: systemctl start aegisbpf"),
            });
        }
        match self.watched() {
            Some(digest) if digest == recorded.policy.policy_sha256 => None,
            _ => Some(Remark {
                failed: true,
                message: "the agent has another policy for files and programs than the one that was applied"
                    .to_owned(),
                help: help("apply the policy again"),
            }),
        }
    }

    /// Whether a harmless denial comes, of each kind.
    fn signs(&self, by_agent: bool) -> Vec<Remark> {
        let signs = canary::signs(&self.canary());
        let of_lsm =
            matches!(self.loaded(), Ok(Some(loaded)) if loaded.backend() == crate::kernel::Backend::BpfLsm);
        let mut asked = vec![("connecting", signs.network)];
        if of_lsm || by_agent {
            asked.push(("opening a file", signs.file));
        }
        asked.into_iter().filter_map(|(what, sign)| silence(what, sign)).collect()
    }
}

/// What is to be said if a canary did not sing.
fn silence(what: &str, sign: Sign) -> Option<Remark> {
    let message = match sign {
        Sign::Denied => return None,
        Sign::Untried => format!("whether {what} is denied could not be tried"),
        Sign::Allowed => format!("{what} that must be denied was let through"),
    };
    let help = "apply the policy again; if that does not help, restart the host".to_owned();
    Some(Remark { failed: true, message, help: Some(help) })
}

/// Whether all of that means that the policy is in force; and what is not enforced, which does not change that.
fn concluded(mut remarks: Vec<Remark>, recorded: &Report) -> (bool, Vec<Remark>) {
    let enforced = !remarks.iter().any(|remark| remark.failed);
    remarks.extend(recorded.unenforced.iter().map(|section| Remark {
        failed: false,
        message: format!("nothing here enforces [{section}]"),
        help: Some("`aegisbpf probe` says what is missing".to_owned()),
    }));
    (enforced, remarks)
}

fn mismatch(in_force: &Held, recorded: &Report, who: &str) -> Vec<Remark> {
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
    } else if in_force.policy_sha256 != recorded.policy.policy_sha256 {
        remarks.push(Remark {
            failed: true,
            message: format!("{who} holds another policy than the one that was applied"),
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

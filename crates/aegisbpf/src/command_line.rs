//! The whole command line: global options, and one variant a command.

use std::path::PathBuf;

use aegis_terminal::audit::AuditCommand;
use aegis_terminal::manual::{CompletionsArguments, ManArguments};
use clap::Parser;

use crate::backup::BackupCommand;
use crate::custodians::CustodiansCommand;
use crate::emergency::EmergencyCommand;
use crate::events::EventsArguments;
use crate::health::HealthArguments;
use crate::keys::KeysCommand;
use crate::policy::PolicyCommand;
use crate::probe::ProbeArguments;
use crate::run::RunArguments;
use crate::session::AegisBpf;
use crate::status::StatusArguments;

/// Decide which signed policy this host will enforce, and prove what happened.
#[derive(Parser)]
#[command(name = "aegisbpf", version, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  sudo aegisbpf keys add signer.pub
  sudo aegisbpf policy apply policy.signed --require-signature
  aegisbpf health --json

Variables: AEGIS_CONFIG_DIR, AEGIS_KEYS_DIR, AEGIS_CUSTODIANS_DIR, AEGIS_STATE_DIR, AEGIS_VERSION_COUNTER_PATH.
Exit codes: 0 done; 1 refused or failed; 2 wrong usage. `health`: 0 ok, 1 degraded, 2 failed.")]
pub(crate) struct CommandLine {
    /// Put every path of this host below DIR, for rehearsals
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) root: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Subcommand,
}

// Deferred: the arguments of a command are built when it is named, which keeps the start cheap.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Subcommand {
    /// Make, trust, list, remove and revoke policy-signing keys
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegisbpf keys generate --out ./signer
  sudo aegisbpf keys add /path/to/new-key.pub
  sudo aegisbpf keys revoke 3f9a6c01 --reason \"laptop stolen\""
    )]
    Keys(KeysCommand),
    /// Name the people without two of whom nobody changes the keys of this host
    #[command(
        subcommand,
        after_help = "\
Examples:
  sudo aegisbpf custodians init ana.custodian bo.custodian --require 1:risk_lead --require 1:security_lead
  aegisbpf custodians list
  sudo aegisbpf custodians set ./new-custodians --approval set.approval"
    )]
    Custodians(CustodiansCommand),
    /// Write, sign, verify and apply policy
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegisbpf policy lint policy.conf
  aegisbpf policy sign policy.conf -o policy.signed --key signer.key
  sudo aegisbpf policy apply policy.signed --require-signature"
    )]
    Policy(Box<PolicyCommand>),
    /// Say what this kernel can enforce, section by section, and why not
    #[command(after_help = "\
With --root DIR, the kernel is the one that the files below DIR describe: /proc, /sys and /boot of another host.

Examples:
  sudo aegisbpf probe
  aegisbpf probe --json")]
    Probe(ProbeArguments),
    /// Run the agent: write down what is denied, and keep what is enforced in step with the host
    #[command(after_help = "\
The kernel enforces without it too. SIGTERM ends it; `packaging/aegisbpf.service` is a unit for systemd.

Examples:
  sudo aegisbpf run")]
    Run(RunArguments),
    /// Show what the kernel enforces now
    #[command(after_help = "\
Examples:
  sudo aegisbpf status
  sudo aegisbpf status --json | jq .in_force.generation")]
    Status(StatusArguments),
    /// Turn denials off for a time, in an emergency, and on again
    #[command(
        subcommand,
        after_help = "\
Examples:
  sudo aegisbpf emergency disable --reason \"INC-4711: the database does not start\"
  sudo aegisbpf emergency enable"
    )]
    Emergency(EmergencyCommand),
    /// Show what was denied, or would have been
    #[command(after_help = "\
The agent, `aegisbpf run`, writes them down. --json prints a line an event.

Examples:
  sudo aegisbpf events -n 20
  sudo aegisbpf events --follow --denied
  sudo aegisbpf events --since 1h --section deny_path --json
  sudo aegisbpf events --since 24h --format ocsf")]
    Events(EventsArguments),
    /// Check keys, counter, policy, enforcement and log; exit 0 ok, 1 degraded, 2 failed
    #[command(after_help = "\
Examples:
  sudo aegisbpf health --json
  sudo aegisbpf health || echo \"this host needs a look\"")]
    Health(HealthArguments),
    /// Save keys, settings, counter and policy in one archive, and bring them back
    #[command(
        subcommand,
        after_help = "\
Examples:
  sudo aegisbpf backup create /root/aegis.tar
  sudo aegisbpf backup restore /root/aegis.tar"
    )]
    Backup(BackupCommand),
    /// Read, verify and export the tamper-evident log
    #[command(
        subcommand,
        after_help = "\
Examples:
  sudo aegisbpf audit verify
  sudo aegisbpf audit export --format ocsf -o events.jsonl"
    )]
    Audit(AuditCommand<AegisBpf>),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  aegisbpf completions bash > /etc/bash_completion.d/aegisbpf
  aegisbpf completions fish | source")]
    Completions(CompletionsArguments),
    /// Print the manual page, or write one a command
    #[command(after_help = "\
Examples:
  aegisbpf man | man -l -
  aegisbpf man -o /usr/local/share/man/man1")]
    Man(ManArguments),
}

//! The whole command line: one variant a command.

use aegis_terminal::audit::AuditCommand;
use aegis_terminal::manual::{CompletionsArguments, ManArguments};
use clap::Parser;

use crate::approval::{ApprovalCommand, OverrideCommand};
use crate::backup::BackupCommand;
use crate::custodian::CustodianCommand;
use crate::dek::DekCommand;
use crate::doctor::DoctorArguments;
use crate::emergency::EmergencyCommand;
use crate::init::InitArguments;
use crate::kek::KekCommand;
use crate::pii::PiiCommand;
use crate::pipeline::PipelineCommand;
use crate::session::Aegis;

/// Keep the keys that protect data: make, rotate, retire and destroy them, and lose nothing
#[derive(Parser)]
#[command(name = "aegis", version, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  aegis init
  aegis dek rotate
  aegis kek status --json
  aegis doctor

Variables: AEGIS_STATE_DIR, AEGIS_KEYRING (a path, sqlite:PATH or postgres://…), AEGIS_LOG (error, warn, info, debug,
trace), and those that `aegis doctor` lists.
Exit codes: 0 done; 1 refused or failed; 2 wrong usage.")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Subcommand,
}

// Deferred: the arguments of a command are built when it is named, which keeps the start cheap.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Subcommand {
    /// Set this machine up: a KEK under a passphrase, a keyring, a first DEK
    #[command(after_help = "\
Makes what is missing and keeps what is there, so an interrupted run is finished by the next one. If a KEK is
configured (KMS, HSM, environment, file), that one is used, and no passphrase is asked for.

The passphrase is read from --passphrase-file, AEGIS_PASSPHRASE, or the terminal, twice.

Examples:
  aegis init
  aegis init --passphrase-file /run/secrets/aegis")]
    Init(InitArguments),
    /// Make, inspect, rotate and retire the key that protects the other keys
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis kek status
  aegis kek provision --provider kms --kms-key-id alias/aegis --out new-kek.env
  aegis kek rotate --to new-kek.env"
    )]
    Kek(Box<KekCommand>),
    /// List, rotate, retire and destroy the keys that protect data
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis dek list
  aegis dek rotate --if-due
  aegis dek usage events.jsonl"
    )]
    Dek(DekCommand),
    /// Seal the personal fields of events, and open them again
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis pii encrypt events.jsonl -o sealed.jsonl.zst
  aegis pii decrypt sealed.jsonl.zst | jq .actor_id
  aegis pii inspect sealed.jsonl.zst"
    )]
    Pii(PiiCommand),
    /// Seal telemetry on its way from a source to sinks, as a service
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis pipeline check pipeline.toml
  aegis pipeline run pipeline.toml"
    )]
    Pipeline(PipelineCommand),
    /// Make, register and revoke the keys of people who approve
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis custodian generate --person rita --role risk_lead --out rita.key
  aegis custodian register rita.custodian
  aegis custodian list"
    )]
    Custodian(Box<CustodianCommand>),
    /// Ask for an exception that two people sign, and use it once
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis override request 'PROP-7: raise the limit' --gate drift --requester ann --justification 'See the minutes'
  aegis override sign req-0123456789abcdef0123456789abcdef --key rita.key
  aegis override use req-0123456789abcdef0123456789abcdef"
    )]
    Override(Box<OverrideCommand>),
    /// Ask for a change to keys that two people sign
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis approval request policy.epoch 2 --for group:web --requester ann --justification 'The key ab12 was stolen'
  aegis approval sign req-0123456789abcdef0123456789abcdef --key rita.key
  aegis approval verify approval.json"
    )]
    Approval(Box<ApprovalCommand>),
    /// Rotate a custodian's key that may be in the wrong hands, and name everything it touched
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis emergency rotate-custodian 3f9a6c01 --reason 'Laptop of rita was stolen'
  aegis emergency status"
    )]
    Emergency(EmergencyCommand),
    /// Save the keyring in one encrypted file, and bring it back
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis backup create /mnt/safe/keyring.aegis
  aegis backup restore /mnt/safe/keyring.aegis"
    )]
    Backup(BackupCommand),
    /// Say which variables are set and usable, which KEK would be taken, and what is not in order
    #[command(after_help = "\
Shows no value. Exit code 0 if this deployment can be used, 1 if not.

Examples:
  aegis doctor
  aegis doctor --json")]
    Doctor(DoctorArguments),
    /// Read, verify and export the tamper-evident log
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis audit verify
  aegis audit export --format ocsf -o events.jsonl"
    )]
    Audit(AuditCommand<Aegis>),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  aegis completions bash > /etc/bash_completion.d/aegis
  aegis completions fish | source")]
    Completions(CompletionsArguments),
    /// Print the manual page, or write one a command
    #[command(after_help = "\
Examples:
  aegis man | man -l -
  aegis man -o /usr/local/share/man/man1")]
    Man(ManArguments),
}

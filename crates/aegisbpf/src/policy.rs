//! `aegisbpf policy …`: write, sign, verify and apply policy.

mod confirming;
mod counter;
mod force;
mod signing;
mod simulate;
mod testing;
mod text;
mod verifying;

use std::process::ExitCode;

use aegis_terminal::failure::Failure;
use clap::Subcommand;

pub(crate) use self::confirming::policy_of;
pub(crate) use self::force::time;
use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum PolicyCommand {
    /// Check a policy; with --fix, sort it and remove duplicates
    #[command(after_help = "\
Examples:
  aegisbpf policy lint policy.conf
  aegisbpf policy lint policy.conf --target host
  aegisbpf policy lint policy.conf --fix
  aegisbpf policy lint - --fix < draft.conf > policy.conf")]
    Lint(text::LintArguments),
    /// Show a policy or a bundle, or what is applied here
    #[command(after_help = "\
What is printed is itself a policy: what the bundle says about it stands in comments.

Examples:
  sudo aegisbpf policy show
  aegisbpf policy show policy.signed --json")]
    Show(text::ShowArguments),
    /// List the rules that B adds to A and removes from it
    #[command(after_help = "\
Examples:
  aegisbpf policy diff policy.conf draft.conf
  aegisbpf policy diff v6.signed v7.signed --json")]
    Diff(text::DiffArguments),
    /// Say which rule decides about a path or an address, and why
    #[command(after_help = "\
Examples:
  aegisbpf policy explain policy.conf /usr/bin/nc
  aegisbpf policy explain policy.signed 203.0.113.7:443
  aegisbpf policy explain policy.conf '[2001:db8::1]:22/tcp'")]
    Explain(text::ExplainArguments),
    /// Say which recorded events a policy would have denied, and which denials would end with it
    #[command(after_help = "\
Nothing is put in force. Events are what `aegisbpf events` shows: what a policy denied, or watched in audit mode.

Examples:
  sudo aegisbpf policy simulate /var/lib/aegisbpf/events draft.conf
  sudo aegisbpf events --since 7d --json | aegisbpf policy simulate - draft.conf --json
  aegisbpf policy simulate events.jsonl policy.signed")]
    Simulate(simulate::SimulateArguments),
    /// Sign a policy: make a bundle that hosts can verify
    #[command(after_help = "\
The signature is verified before anything is written.

Examples:
  aegisbpf policy sign policy.conf -o policy.signed --policy-version 7 --key signer.key
  aegisbpf policy sign policy.conf -o policy.signed --expires 2027-01-31 \\
    --sign-command ./kms-sign --public-key signer.pub
  aegisbpf policy sign policy.conf -o policy.signed --pkcs11-module /usr/lib/libsofthsm2.so \\
    --token aegis --key-label policy-2026 --pin-file pin")]
    Sign(Box<signing::SignArguments>),
    /// Add a signature to a bundle
    #[command(after_help = "\
Examples:
  aegisbpf policy cosign policy.signed --key second.key
  aegisbpf policy cosign policy.signed -o policy.signed2 --key second.key")]
    Cosign(Box<signing::CosignArguments>),
    /// Sign old content again under a new, higher version: the honest way back
    #[command(after_help = "\
Examples:
  aegisbpf policy reissue --from v6.signed --policy-version 8 -o v8.signed --key signer.key")]
    Reissue(Box<signing::ReissueArguments>),
    /// Verify the signatures, digest and expiry of a bundle; changes nothing
    #[command(after_help = "\
Examples:
  aegisbpf policy verify policy.signed
  aegisbpf policy verify policy.signed --public-key signer.pub --json")]
    Verify(verifying::VerifyArguments),
    /// Put a policy in force
    #[command(after_help = "\
Examples:
  sudo aegisbpf policy apply /path/to/policy.signed --require-signature
  sudo aegisbpf policy apply policy.signed --dry-run --json
  sudo aegisbpf policy apply policy.signed --mode audit
  sudo aegisbpf policy apply policy.signed --confirm-within 5m")]
    Apply(force::ApplyArguments),
    /// Run a command under a policy, in a control group of its own; nothing else on the host is touched
    #[command(after_help = "\
The command's exit code is passed on. What was denied is listed on standard error; with --json, standard output has the
report alone, and what the command prints goes to standard error.

Examples:
  sudo aegisbpf policy test draft.conf -- /usr/local/bin/backup --dry-run
  sudo aegisbpf policy test draft.conf --mode audit --json -- curl https://example.org")]
    Test(testing::TestArguments),
    /// Keep the policy that was applied with --confirm-within
    #[command(after_help = "\
Without it, the policy before it is in force again when the time is over.

Examples:
  sudo aegisbpf policy apply policy.signed --confirm-within 5m
  sudo aegisbpf policy confirm")]
    Confirm(confirming::ConfirmArguments),
    /// Put the previous verified policy in force again; the counter stays
    #[command(after_help = "\
Health is degraded until a newer bundle is applied.

Examples:
  sudo aegisbpf policy rollback")]
    Rollback(force::RollbackArguments),
    /// Show or repair the anti-rollback counter
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegisbpf policy counter show
  sudo aegisbpf policy counter repair --reason \"disk replaced\""
    )]
    Counter(counter::CounterCommand),
}

pub(crate) fn run(command: PolicyCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        PolicyCommand::Lint(arguments) => text::lint(&arguments, session),
        PolicyCommand::Show(arguments) => text::show(&arguments, session),
        PolicyCommand::Diff(arguments) => text::diff(&arguments, session),
        PolicyCommand::Explain(arguments) => text::explain(&arguments, session),
        PolicyCommand::Simulate(arguments) => simulate::simulate(&arguments, session),
        PolicyCommand::Sign(arguments) => signing::sign(&arguments, session),
        PolicyCommand::Cosign(arguments) => signing::cosign(&arguments, session),
        PolicyCommand::Reissue(arguments) => signing::reissue(&arguments, session),
        PolicyCommand::Verify(arguments) => verifying::verify(&arguments, session),
        PolicyCommand::Apply(arguments) => force::apply(&arguments, session),
        PolicyCommand::Test(arguments) => testing::test(&arguments, session),
        PolicyCommand::Confirm(_) => confirming::confirm(session),
        PolicyCommand::Rollback(_) => force::rollback(session),
        PolicyCommand::Counter(command) => counter::run(command, session),
    }
}

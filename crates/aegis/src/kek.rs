//! `aegis kek …`: the key that protects the other keys.

mod provisioning;
mod rotating;
mod status;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use aegis_approval::RequestId;
use aegis_crypto::KeyIdPrefix;
use aegis_terminal::moment::parse_span;
use aegis_terminal::{Failure, Form};
use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::session::{PassphraseArgument, Session};

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum KekCommand {
    /// Make a KEK, or import one, and print the variables to set
    #[command(after_help = "\
The private half goes where the provider finds it: wrapped by KMS or by an HSM, into a file under a passphrase, or
into a variable. Variables with a secret are printed only with --print-secret; --out writes all of them into a new
file of mode 0600, which `aegis kek rotate --to` reads, and systemd as EnvironmentFile=.

The PIN of an HSM is read from AEGIS_HSM_PIN, AEGIS_HSM_PIN_FILE or AEGIS_HSM_PIN_FD.

Examples:
  aegis kek provision --provider kms --kms-key-id alias/aegis
  aegis kek provision --provider hsm --hsm-lib /usr/lib/softhsm/libsofthsm2.so --hsm-token aegis --hsm-key kek-v1 \\
    --hsm-create-key --out hsm.env
  aegis kek provision --provider environment --out kek.env
  aegis kek provision --provider file --kek-file /srv/aegis/kek.age --passphrase-file /run/secrets/aegis
  aegis kek provision --provider kms --kms-key-id alias/aegis --import old-private-key")]
    Provision(ProvisionArguments),
    /// Say which KEK is configured, whether it loads, and what the keyring has under it
    #[command(after_help = "\
Exit code 1 if the KEK does not load.

Examples:
  aegis kek status
  aegis kek status --offline --json")]
    Status(StatusArguments),
    /// Load the KEK, and open every DEK with it
    #[command(after_help = "\
Examples:
  aegis kek verify
  aegis kek verify --passphrase-file /run/secrets/aegis --json")]
    Verify(VerifyArguments),
    /// Rewrap every DEK under another KEK, verify, and switch; can be stopped and run again
    #[command(after_help = "\
FILE is what `aegis kek provision --out` wrote. The old KEK has to be configured still. Both open every DEK until the
old one is retired, so the variables of each program can be exchanged one after the other.

From one key file to another: --passphrase-file is for the old one, AEGIS_PASSPHRASE_FILE in FILE for the new one.

Examples:
  aegis kek rotate --to new-kek.env
  aegis kek rotate --to new-kek.env --grace 90d --threads 2
  aegis kek rotate --abandon")]
    Rotate(RotateArguments),
    /// Erase what is wrapped under a KEK that was rotated away from
    #[command(after_help = "\
Every DEK is opened with the active KEK first. Without KEYID, the one in its grace period is meant.

Examples:
  aegis kek retire
  aegis kek retire 3f9a6c01 --force
  aegis kek retire 3f9a6c01 --approval req-0123456789abcdef0123456789abcdef")]
    Retire(RetireArguments),
}

/// Where the private half is to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum ProviderName {
    Kms,
    Hsm,
    Environment,
    File,
    /// Refused: it would be lost
    #[value(hide = true)]
    InMemory,
}

/// What KMS is to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KmsWrapName {
    Direct,
    DataKey,
}

/// In how many steps a token wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HsmWrapName {
    TwoStep,
    Direct,
}

#[derive(Args)]
pub(crate) struct ProvisionArguments {
    /// Where the private half is to rest
    #[arg(long, value_name = "P")]
    provider: ProviderName,
    /// Write all variables, with the secret ones, into a new file of mode 0600
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the secret variables too
    #[arg(long)]
    print_secret: bool,
    /// Take this private key, of 2,432 bytes or a seed of 96 or 32, raw or base64; `-` reads it
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// KMS: the key's ARN, alias or id; default AEGIS_KMS_KEY_ID
    #[arg(long, value_name = "KEY")]
    kms_key_id: Option<String>,
    /// KMS: encrypt the private key (direct), or a key for it (data-key)
    #[arg(long, value_name = "FORM", default_value = "direct", hide_possible_values = true)]
    kms_wrap: KmsWrapName,
    /// HSM: the PKCS#11 library; default AEGIS_HSM_PKCS11_LIB
    #[arg(long, value_name = "FILE")]
    hsm_lib: Option<PathBuf>,
    /// HSM: the label of the token; default AEGIS_HSM_TOKEN_LABEL
    #[arg(long, value_name = "LABEL")]
    hsm_token: Option<String>,
    /// HSM: the label of the AES-256 key that wraps; default AEGIS_HSM_WRAPPING_KEY_LABEL
    #[arg(long, value_name = "LABEL")]
    hsm_key: Option<String>,
    /// HSM: wrap the private key (direct), or a key for it (two-step)
    #[arg(long, value_name = "FORM", default_value = "two-step", hide_possible_values = true)]
    hsm_wrap: HsmWrapName,
    /// HSM: make the wrapping key, inside the token
    #[arg(long)]
    hsm_create_key: bool,
    /// File: the key file to make
    #[arg(long, value_name = "FILE", required_if_eq("provider", "file"))]
    kek_file: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct StatusArguments {
    /// Ask no device and no passphrase
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// Threads; one for each processor if it is not said
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RotateArguments {
    /// The variables of the new KEK
    #[arg(long, value_name = "FILE", required_unless_present = "abandon")]
    to: Option<PathBuf>,
    /// How long the old KEK is kept after the switch
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = parse_span)]
    grace: SignedDuration,
    /// Threads; one for each processor if it is not said
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Give the rotation up that is under way, before its switch
    #[arg(long, conflicts_with_all = ["to", "grace", "threads"])]
    abandon: bool,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RetireArguments {
    /// The KEK's id, or the first 8 or more digits of it
    #[arg(value_name = "KEYID")]
    kek: Option<KeyIdPrefix>,
    /// Cut the grace period short: whoever is still configured with that KEK will read nothing
    #[arg(long)]
    force: bool,
    /// The approved request that retiring uses up; the rules of the deployment may insist on one
    #[arg(long, value_name = "ID")]
    approval: Option<RequestId>,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: KekCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        KekCommand::Provision(arguments) => provisioning::provision(&arguments, session),
        KekCommand::Status(arguments) => status::status(&arguments, session),
        KekCommand::Verify(arguments) => status::verify(&arguments, session),
        KekCommand::Rotate(arguments) => rotating::rotate(&arguments, session),
        KekCommand::Retire(arguments) => rotating::retire(&arguments, session),
    }
}

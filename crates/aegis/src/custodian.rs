//! `aegis custodian …`: people who approve, and their keys.

mod changing;
mod key;
mod making;
mod showing;

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_approval::{PersonId, Role};
use aegis_crypto::{BitcoinNetwork, CustodianAlgorithm, KeyIdPrefix};
use aegis_terminal::{Failure, Form};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::session::Session;

pub(crate) use changing::{key_named, key_of, registry_of};
pub(crate) use key::KeyArgument;
pub(crate) use making::{every_algorithm, signature_in};

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum CustodianCommand {
    /// Make a custodian's key on the custodian's own machine, and a registration to send to the deployment
    #[command(after_help = "\
Writes two files. KEYFILE has the private key under a passphrase: it stays with its holder, and is needed to sign. The
registration has the public key, and a proof that its holder has the private one: it goes to the deployment and to
hosts. Needs no deployment and no network.

Examples:
  aegis custodian generate --person rita --role risk_lead --out rita.key
  aegis custodian generate --person sam --role security_lead --out sam.key --algorithm ed25519+ml-dsa-65
  aegis custodian generate --person rita --role risk_lead --out rita.key --import wallet.wif")]
    Generate(GenerateArguments),
    /// Register the key of a wallet: print what the wallet is to sign, then take its signature
    #[command(after_help = "\
Without --signature, prints the text that the wallet signs (BIP-322, as the Taproot address of the key), and says which
--at belongs to it. With --signature, writes the registration.

Examples:
  aegis custodian prove --person rita --role risk_lead --public-key rita.pub
  aegis custodian prove --person rita --role risk_lead --public-key rita.pub --at 2026-01-31T12:00:00Z \\
    --signature rita.sig --out rita.custodian")]
    Prove(ProveArguments),
    /// Take a registration: the person can approve from now on
    #[command(after_help = "\
A file with a private key in it is refused, and nothing of it is kept.

Examples:
  aegis custodian register rita.custodian sam.custodian
  aegis custodian register rita-2027.custodian --replaces 3f9a6c01")]
    Register(RegisterArguments),
    /// List custodians, their roles and keys
    #[command(after_help = "\
Examples:
  aegis custodian list
  aegis custodian list --json")]
    List(ListArguments),
    /// Show one custodian, with every key that they ever had
    #[command(after_help = "\
Examples:
  aegis custodian show rita
  aegis custodian show rita --json")]
    Show(ShowArguments),
    /// Give a custodian other roles
    #[command(after_help = "\
Examples:
  aegis custodian roles rita --role risk_lead --role auditor")]
    Roles(RolesArguments),
    /// Revoke a key for ever: no signature of it counts any more, whenever it was made
    #[command(after_help = "\
If the key may be in the wrong hands, `aegis emergency rotate-custodian` does this and everything that follows from it.

Examples:
  aegis custodian revoke 3f9a6c01")]
    Revoke(RevokeArguments),
    /// Print the Taproot address by which wallets and other programs verify a custodian's signatures
    #[command(after_help = "\
Examples:
  aegis custodian address rita
  aegis custodian address --file rita.custodian --network testnet")]
    Address(AddressArguments),
}

#[derive(Args)]
pub(crate) struct GenerateArguments {
    /// Who: 1 to 64 of a-z 0-9 . _ @ -
    #[arg(long, value_name = "NAME")]
    person: PersonId,
    /// What they answer for, such as risk_lead; once for each role
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// The file for the private key, mode 0600; it must not exist
    #[arg(long, value_name = "KEYFILE")]
    out: PathBuf,
    /// The file for the registration; default: KEYFILE with the ending .custodian
    #[arg(long, value_name = "FILE")]
    registration: Option<PathBuf>,
    /// bip322-p2tr, or ed25519+ml-dsa-65 against quantum computers too
    #[arg(long, value_name = "A", default_value_t = CustodianAlgorithm::Bip322)]
    algorithm: CustodianAlgorithm,
    /// Take the private key of a wallet, in WIF, from F (`-` reads it) instead of making one
    #[arg(long, value_name = "F", conflicts_with = "algorithm")]
    import: Option<PathBuf>,
    /// Read the passphrase for KEYFILE from the first line of F, mode 0600
    #[arg(long, value_name = "F")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ProveArguments {
    /// Who: 1 to 64 of a-z 0-9 . _ @ -
    #[arg(long, value_name = "NAME")]
    person: PersonId,
    /// What they answer for, such as risk_lead; once for each role
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// A file with the public key: bip322-p2tr:BASE64, or 64 hex digits of an x-only key
    #[arg(long, value_name = "F")]
    public_key: PathBuf,
    /// When it is signed; default: now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// A file with the wallet's signature
    #[arg(long, value_name = "F", requires_all = ["at", "out"])]
    signature: Option<PathBuf>,
    /// The file for the registration
    #[arg(long, value_name = "FILE", requires = "signature")]
    out: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RegisterArguments {
    /// Registrations, `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The person's key that this one takes the place of
    #[arg(long, value_name = "KEYID")]
    replaces: Option<KeyIdPrefix>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// Who
    person: PersonId,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RolesArguments {
    /// Who
    person: PersonId,
    /// All their roles from now on; once for each
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RevokeArguments {
    /// The key, by the first digits of its id
    #[arg(value_name = "KEYID")]
    key: KeyIdPrefix,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct AddressArguments {
    /// Whose; every active key of theirs
    #[arg(required_unless_present = "file")]
    person: Option<PersonId>,
    /// The key in this registration or key file instead, without a deployment
    #[arg(long, value_name = "F", conflicts_with = "person")]
    file: Option<PathBuf>,
    /// For which network the address is written: mainnet, testnet, signet, regtest
    #[arg(long, value_name = "N", default_value = "mainnet", value_parser = showing::network)]
    network: BitcoinNetwork,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: CustodianCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        CustodianCommand::Generate(arguments) => making::generate(arguments, session),
        CustodianCommand::Prove(arguments) => making::prove(arguments, session),
        CustodianCommand::Register(arguments) => changing::register(&arguments, session),
        CustodianCommand::List(_) => showing::list(session),
        CustodianCommand::Show(arguments) => showing::show(&arguments, session),
        CustodianCommand::Roles(arguments) => changing::roles(arguments, session),
        CustodianCommand::Revoke(arguments) => changing::revoke(&arguments, session),
        CustodianCommand::Address(arguments) => showing::address(&arguments, session),
    }
}

//! Who signs: a key file, an external command, or a key inside a PKCS#11 device. Exactly one of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::sign::{PayloadSigner, PemSigner};
use aegis_trust::signer_command::CommandSigner;
use aegis_trust::signer_pkcs11::{Pin, Pkcs11Signer};
use clap::{ArgGroup, Args};

use crate::keys::read_public_key;

/// A PKCS#8 Ed25519 key in PEM has 119 bytes; comments and CRLF may add to it.
const MAX_PRIVATE_KEY_FILE_LEN: u64 = 8 * 1024;
/// The variable that may hold the PIN. Never an argument: other users can read those.
const PIN_VARIABLE: &str = "AEGIS_PKCS11_PIN";

/// A signer that must be named.
#[derive(Args)]
#[command(group = ArgGroup::new("signer").required(true).args(["key", "sign_command", "pkcs11_module"]))]
pub(crate) struct SignerArguments {
    #[command(flatten)]
    options: SignerOptions,
}

/// A signer that may be named.
#[derive(Args)]
pub(crate) struct SignerOptions {
    /// Sign with the private key in PEM (PKCS#8)
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,

    /// Sign by running CMD: bytes to sign on its stdin, 128 hex characters on its stdout
    #[arg(long, value_name = "CMD", requires = "public_key")]
    sign_command: Option<String>,
    /// The public key of CMD's signatures; they are checked against it
    #[arg(long, value_name = "PUB", requires = "sign_command")]
    public_key: Option<PathBuf>,
    /// Give CMD at most SECS seconds
    #[arg(long, value_name = "SECS", requires = "sign_command", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    sign_timeout: u64,

    /// Sign with a key that stays inside the device behind this PKCS#11 library
    #[arg(long, value_name = "LIB", requires_all = ["token", "key_label"])]
    pkcs11_module: Option<PathBuf>,
    /// The label of the device's token
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    token: Option<String>,
    /// The label of the key in the token
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    key_label: Option<String>,
    /// Read the token's PIN from FILE instead of the variable AEGIS_PKCS11_PIN
    #[arg(long, value_name = "FILE", requires = "pkcs11_module")]
    pin_file: Option<PathBuf>,
}

impl SignerArguments {
    /// Opens the one signer that was named.
    pub(crate) fn open(&self) -> Result<Box<dyn PayloadSigner>, Failure> {
        let none = || Failure::because("cannot sign", "no signer is named").with_help("see --help");
        // The group lets clap refuse a command line without one.
        self.options.open()?.ok_or_else(none)
    }
}

impl SignerOptions {
    /// Opens the signer, if one was named.
    pub(crate) fn open(&self) -> Result<Option<Box<dyn PayloadSigner>>, Failure> {
        let Self { key, sign_command, public_key, sign_timeout, pkcs11_module, token, key_label, pin_file } =
            self;
        match (key, (sign_command, public_key), (pkcs11_module, token, key_label)) {
            (Some(file), ..) => open_pem(file).map(Some),
            (None, (Some(command), Some(public_key)), _) => Ok(Some(Box::new(CommandSigner {
                command: command.clone(),
                public_key: read_public_key(public_key)?,
                timeout: Duration::from_secs(*sign_timeout),
            }))),
            (None, _, (Some(module), Some(token), Some(key_label))) => {
                open_pkcs11(module, token, key_label, pin_file.as_deref()).map(Some)
            }
            // The `requires` above let clap refuse half a signer.
            _ => Ok(None),
        }
    }
}

fn open_pem(file: &Path) -> Result<Box<dyn PayloadSigner>, Failure> {
    let name = input::name(file);
    let what = format!("cannot use the private key {name}");
    let signer = if input::is_stdin(file) {
        let pem = input::read_secret(file, MAX_PRIVATE_KEY_FILE_LEN, &what)?;
        PemSigner::from_pem(&pem, &name)
    } else {
        PemSigner::from_file(file)
    }
    .map_err(|error| Failure::new(what, &error, error.help()))?;
    Ok(Box::new(signer))
}

fn open_pkcs11(
    module: &Path,
    token: &str,
    key_label: &str,
    pin_file: Option<&Path>,
) -> Result<Box<dyn PayloadSigner>, Failure> {
    let pin = match pin_file {
        Some(file) => Pin::from_file(file),
        None => Pin::from_variable(PIN_VARIABLE),
    }
    .map_err(|error| Failure::new("cannot read the token's PIN", &error, error.help()))?;
    let signer = Pkcs11Signer::open(module, token, key_label, pin)
        .map_err(|error| Failure::new(format!("cannot use token {token}"), &error, error.help()))?;
    Ok(Box::new(signer))
}

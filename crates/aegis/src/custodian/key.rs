//! The private key with which a custodian signs, from their key file.

use std::path::PathBuf;

use aegis_approval::CustodianKeyFile;
use aegis_crypto::CustodianPrivateKey;
use aegis_kek::file::PassphraseError;
use aegis_kek::{Passphrase, PassphraseSource};
use aegis_terminal::Failure;
use clap::Args;

// The key of whoever signs. (Doc comments would become the help of each command.)
#[derive(Args)]
pub(crate) struct KeyArgument {
    /// The key file that signs, as `aegis custodian generate` wrote it
    #[arg(long, value_name = "KEYFILE")]
    key: Option<PathBuf>,
    /// Read the passphrase of KEYFILE from the first line of F, mode 0600
    #[arg(long, value_name = "F", requires = "key")]
    passphrase_file: Option<PathBuf>,
}

impl KeyArgument {
    /// Opens the key file, if one is named.
    pub(crate) fn open(&self) -> Result<Option<CustodianPrivateKey>, Failure> {
        let Some(path) = &self.key else { return Ok(None) };
        let what = || format!("cannot sign with {}", path.display());
        let file =
            CustodianKeyFile::read(path).map_err(|error| Failure::new(what(), &error, error.help()))?;
        let passphrase = source(self.passphrase_file.clone()).take(path);
        let passphrase: Passphrase = passphrase.map_err(|error| no_passphrase(&what(), &error))?;
        file.open(&passphrase).map(Some).map_err(|error| Failure::new(what(), &error, error.help()))
    }
}

/// A custodian's passphrase is not the deployment's: no variable is read for it.
pub(super) fn source(file: Option<PathBuf>) -> PassphraseSource {
    file.map_or(PassphraseSource::Terminal, PassphraseSource::File)
}

/// What is said where nobody can be asked. The variables that its own help names are the deployment's.
pub(super) fn no_passphrase(what: &str, error: &PassphraseError) -> Failure {
    let help = match error {
        PassphraseError::NoTerminal => Some(
            "put it on the first line of a file of mode 0600, and name that with --passphrase-file"
                .to_owned(),
        ),
        _ => error.help(),
    };
    Failure::new(what, error, help)
}

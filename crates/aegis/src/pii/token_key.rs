//! The key of search tokens, from a file that only its owner can read.

use std::path::Path;

use aegis_crypto::Secret;
use aegis_pii::TokenKey;
use aegis_terminal::{Failure, input};
use std::os::unix::fs::MetadataExt as _;
use zeroize::Zeroizing;

/// 64 hex digits and the end of a line, with some room to say that there are too many.
const MAX_LEN: u64 = 256;

/// Reads the key of an epoch.
pub(super) fn read(path: &Path, epoch: u32) -> Result<TokenKey, Failure> {
    let what = format!("cannot read the key of search tokens {}", input::name(path));
    if !input::is_stdin(path) {
        let metadata = std::fs::metadata(path).map_err(|error| Failure::new(&what, &error, None))?;
        if metadata.mode() & 0o077 != 0 {
            let because = format!(
                "it can be read or written by others than its owner (mode {:04o})",
                metadata.mode() & 0o7777
            );
            return Err(Failure::because(what, because)
                .with_help(format!("chmod 600 {}, and ask yourself who has read it", path.display())));
        }
    }
    let text = input::read_secret(path, MAX_LEN, &what)?;
    let mut bytes = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(text.trim_ascii(), bytes.as_mut_slice()).map_err(|_| {
        Failure::because(what, "it does not hold 64 hex digits")
            .with_help(format!("make one with `openssl rand -hex 32 > {0} && chmod 600 {0}`", path.display()))
    })?;
    Ok(TokenKey::new(&Secret::copy_of(&bytes), epoch))
}

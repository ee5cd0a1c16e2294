//! Any bytes as a key file under a passphrase. Its passphrase is not stretched here: that is for the age library.

use aegis_kek::{KekFile, KekFileFault, MAX_KEK_FILE_LEN};

/// What parses has one spelling, and its public key is one.
pub(crate) fn run(bytes: &[u8]) {
    match KekFile::parse(bytes) {
        Ok(file) => {
            assert_eq!(file.to_text().as_bytes(), bytes);
            assert_eq!(file.public_key().as_bytes().len(), 1216);
            assert!(file.encrypted().starts_with(b"age-encryption.org/v1\n"));
        }
        Err(fault) => {
            assert_eq!(matches!(fault, KekFileFault::TooLarge { .. }), bytes.len() > MAX_KEK_FILE_LEN);
            assert!(!fault.to_string().is_empty());
        }
    }
}

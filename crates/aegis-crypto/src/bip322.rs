//! Signatures that a person's Bitcoin wallet can make and anybody's verifier can check: BIP-322 *simple*, over Taproot.
//!
//! The public key of a custodian is an x-only key (BIP-340). Its address is the one that wallets derive for such a key
//! (BIP-86: Taproot, no scripts), and a signature over a text is the witness that would spend from it in a virtual
//! transaction, which commits to the text and exists on no chain.
//!
//! | step | where | source |
//! |---|---|---|
//! | keys, signatures over bytes, nonces | `schnorr`, by libsecp256k1 | BIP-340 |
//! | key → output key, without scripts | `transactions` | BIP-341 "Constructing and spending Taproot outputs", BIP-86 |
//! | text → `to_spend` → `to_sign` → what is signed | `transactions` | BIP-322 "Full", BIP-341 "Common signature message" |
//! | witness ↔ text, `smp` | [`Bip322Signature`] | BIP-322 "Simple" |
//! | output key ↔ address | [`TaprootAddress`] | BIP-350 |
//! | private key ↔ WIF | [`Bip322PrivateKey::from_wif`] | Bitcoin Core, `base58` and `key_io` |
//!
//! What it refuses: witnesses with anything but one signature in them; signatures that do not commit to the whole
//! transaction; private keys of 0, or not under the order of the group; WIF that names an uncompressed public key.

mod address;
mod private_key;
mod provider;
mod public_key;
mod schnorr;
mod signature;
mod transactions;
mod wif;
mod witness;

#[cfg(test)]
mod tests;

pub use address::{BitcoinNetwork, TaprootAddress, TaprootAddressError};
pub use private_key::{Bip322PrivateKey, Bip322PrivateKeyError};
pub use provider::{Bip322Provider, Bip322SignError};
pub use public_key::{Bip322PublicKey, Bip322PublicKeyError};
pub use schnorr::Bip340Signature;
pub use signature::{Bip322Signature, Bip322SignatureError};
pub use wif::{WifError, WifNetwork};
pub use witness::{OtherAddressType, OtherVariant};

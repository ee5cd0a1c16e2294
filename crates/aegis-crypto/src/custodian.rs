//! Keys of custodians, by whichever algorithm: what they are called, what they may sign, and how they travel.
//!
//! | algorithm | public | private | signature | module |
//! |---|---|---|---|---|
//! | `bip322-p2tr` | 32 | 32 | 66 or 67, as `smp…` | [`Bip322Provider`](crate::Bip322Provider) |
//! | `ed25519+ml-dsa-65` | 1,984 | 64 | 3,373 | `ed25519_ml_dsa` |
//!
//! A custodian signs a [`Statement`]: short readable text with a line that names the algorithm. So the algorithm is
//! inside what is signed, whichever it is, and a signature by one cannot be passed off as an approval by another.
//! Adding an algorithm is a variant of [`CustodianAlgorithm`]; the compiler then asks for the rest.

mod algorithm;
mod ed25519_ml_dsa;
mod private_key;
mod public_key;
mod signature;
mod statement;

#[cfg(test)]
mod tests;

pub use algorithm::{CustodianAlgorithm, UnknownAlgorithm};
pub use private_key::{CustodianKeyError, CustodianPrivateKey, CustodianSignError};
pub use public_key::{CustodianPublicKey, CustodianPublicKeyError, CustodianVerifyError, PrivateMaterial};
pub use signature::{CustodianSignature, CustodianSignatureError};
pub use statement::{Statement, StatementError};

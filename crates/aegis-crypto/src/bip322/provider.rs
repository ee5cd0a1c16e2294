//! The provider: keys, signatures over hashes and texts, and their verification.

use super::address::{BitcoinNetwork, TaprootAddress};
use super::private_key::Bip322PrivateKey;
use super::public_key::Bip322PublicKey;
use super::schnorr::{self, Bip340Signature, SigningRandomness};
use super::signature::Bip322Signature;
use super::transactions::{HashType, digest_to_sign, tweak_without_scripts};
use crate::ed25519::NotAuthentic;
use crate::secret::RandomError;

/// Makes keys and BIP-322 *simple* signatures over Taproot, and verifies them. It has no state.
///
/// What is signed is any bytes. Of a hash they are its 32 bytes, as they are; of a text, its UTF-8, so that a wallet in
/// which a person has typed the same text makes a signature that verifies here, and the other way round.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bip322Provider;

impl Bip322Provider {
    /// What [`algorithm_name`](Self::algorithm_name) says.
    pub const ALGORITHM: &str = "bip322-p2tr";

    /// A provider.
    pub const fn new() -> Self {
        Self
    }

    /// The name in messages, registries and signed texts.
    pub const fn algorithm_name(&self) -> &'static str {
        Self::ALGORITHM
    }

    /// Makes a key pair: 32 private bytes, erased on drop, and 32 public ones.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the system's generator gave no bytes.
    pub fn generate_keypair(&self) -> Result<(Bip322PrivateKey, Bip322PublicKey), RandomError> {
        let private = Bip322PrivateKey::generate()?;
        let public = *private.public_key();
        Ok((private, public))
    }

    /// Signs a hash of 32 bytes: a BIP-322 signature over those bytes.
    ///
    /// # Errors
    ///
    /// A [`Bip322SignError`]; there is no signature.
    pub fn sign(
        &self,
        message_hash: &[u8; 32],
        private: &Bip322PrivateKey,
    ) -> Result<Bip322Signature, Bip322SignError> {
        sign_bytes(message_hash, private, &draw()?)
    }

    /// Verifies a signature over a hash of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`], whatever the reason.
    pub fn verify(
        &self,
        signature: &Bip322Signature,
        message_hash: &[u8; 32],
        public: &Bip322PublicKey,
    ) -> Result<(), NotAuthentic> {
        verify_bytes(signature, message_hash, public.output_key())
    }

    /// Signs a text, as a wallet does in which it was typed.
    ///
    /// # Errors
    ///
    /// A [`Bip322SignError`]; there is no signature.
    pub fn sign_message(
        &self,
        text: &str,
        private: &Bip322PrivateKey,
    ) -> Result<Bip322Signature, Bip322SignError> {
        sign_bytes(text.as_bytes(), private, &draw()?)
    }

    /// Verifies a signature over a text.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`], whatever the reason.
    pub fn verify_message(
        &self,
        signature: &Bip322Signature,
        text: &str,
        public: &Bip322PublicKey,
    ) -> Result<(), NotAuthentic> {
        verify_bytes(signature, text.as_bytes(), public.output_key())
    }

    /// Verifies a signature over a text, for an address whose key nobody has told.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`], whatever the reason. It is also the answer if a script of the address has signed.
    pub fn verify_message_for_address(
        &self,
        signature: &Bip322Signature,
        text: &str,
        address: &TaprootAddress,
    ) -> Result<(), NotAuthentic> {
        verify_bytes(signature, text.as_bytes(), address.output_key())
    }

    /// The Taproot address of a key, which is what a wallet signs with and what other verifiers want.
    pub const fn address(&self, public: &Bip322PublicKey, network: BitcoinNetwork) -> TaprootAddress {
        TaprootAddress::of(public, network)
    }

    /// Signs bytes by BIP-340 alone: no address, no transaction, under the key itself.
    ///
    /// The bytes are not hashed under a name first. Whoever signs things of several kinds with one key must see to it
    /// that no two of them have the same bytes. No such signature is a BIP-322 one, since that is under another key.
    ///
    /// # Errors
    ///
    /// A [`Bip322SignError`]; there is no signature.
    pub fn sign_bip340(
        &self,
        message: &[u8],
        private: &Bip322PrivateKey,
    ) -> Result<Bip340Signature, Bip322SignError> {
        schnorr::sign(private.expose(), None, message, &draw()?).ok_or(Bip322SignError::Fault)
    }

    /// Verifies a signature by BIP-340 alone.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`], whatever the reason.
    pub fn verify_bip340(
        &self,
        signature: &Bip340Signature,
        message: &[u8],
        public: &Bip322PublicKey,
    ) -> Result<(), NotAuthentic> {
        schnorr::verify(public.as_bytes(), message, signature)
    }
}

/// Signs with 64 bytes, which say `SIGHASH_DEFAULT`. Other implementations read both forms.
pub(super) fn sign_bytes(
    message: &[u8],
    private: &Bip322PrivateKey,
    randomness: &SigningRandomness,
) -> Result<Bip322Signature, Bip322SignError> {
    let public = private.public_key();
    let digest = digest_to_sign(public.output_key(), message, HashType::Default);
    let tweak = tweak_without_scripts(public.as_bytes());
    let signature =
        schnorr::sign(private.expose(), Some(&tweak), &digest, randomness).ok_or(Bip322SignError::Fault)?;
    Ok(Bip322Signature { signature, hash_type: HashType::Default })
}

fn verify_bytes(
    signature: &Bip322Signature,
    message: &[u8],
    output_key: &[u8; 32],
) -> Result<(), NotAuthentic> {
    let digest = digest_to_sign(output_key, message, signature.hash_type);
    schnorr::verify(output_key, &digest, &signature.signature)
}

fn draw() -> Result<SigningRandomness, Bip322SignError> {
    SigningRandomness::draw().map_err(Bip322SignError::Random)
}

/// Why nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bip322SignError {
    /// No random bytes for the nonce.
    #[error("cannot draw the nonce of a signature")]
    Random(#[source] RandomError),
    /// The signature does not verify. It was thrown away, since it may give the key away.
    #[error("the computation of a signature went wrong")]
    Fault,
}

impl Bip322SignError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Random(error) => error.help(),
            Self::Fault => {
                Some("sign on another machine: memory or processor of this one are broken".to_owned())
            }
        }
    }
}

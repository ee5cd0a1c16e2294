//! A signer that is a key inside a PKCS#11 device. The private key never leaves it.
//!
//! | step | call |
//! |---|---|
//! | find the token by its label | `C_GetSlotList`, `C_GetTokenInfo` |
//! | log in, once | `C_Login` |
//! | find the private key by its label, and its public half | `C_FindObjects`, `C_GetAttributeValue` |
//! | sign with Ed25519 | `C_Sign`, `CKM_EDDSA` without parameters |
//!
//! Source: PKCS#11 3.0, section 2.3.14 (EdDSA). Devices store the public point as 32 bytes, or as the DER octet string
//! of them (`04 20` before); both are read.

use std::{env, fmt, path::Path};

use aegis_crypto::{PublicKey, Signature};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use zeroize::Zeroizing;

use crate::sign::{DeviceAnswer, PayloadSigner, SignerError, read_private_file};

/// The most bytes of a PIN.
pub const MAX_PIN_LEN: usize = 255;

/// A PIN. Erased on drop, shown to nobody.
pub struct Pin(Zeroizing<Box<str>>);

/// A key inside a PKCS#11 token, logged in.
pub struct Pkcs11Signer {
    token: String,
    session: Session,
    key: ObjectHandle,
    public_key: PublicKey,
}

impl Pin {
    /// Reads a PIN from a file that only its owner can read. One line feed at the end is not part of it.
    ///
    /// # Errors
    ///
    /// [`SignerError::Read`], [`SignerError::KeyFilePermissions`], [`SignerError::PinText`].
    pub fn from_file(path: &Path) -> Result<Self, SignerError> {
        // Room for the line feed.
        let bytes = read_private_file(path, MAX_PIN_LEN as u64 + 2)?;
        let text = bytes
            .strip_suffix(b"\n")
            .map_or(bytes.as_slice(), |line| line.strip_suffix(b"\r").unwrap_or(line));
        Self::from_bytes(text, &path.display().to_string())
    }

    /// Reads a PIN from an environment variable.
    ///
    /// # Errors
    ///
    /// [`SignerError::PinVariable`] if it is not set, [`SignerError::PinText`].
    pub fn from_variable(name: &str) -> Result<Self, SignerError> {
        let value = env::var_os(name).ok_or_else(|| SignerError::PinVariable { name: name.to_owned() })?;
        let bytes = Zeroizing::new(value.into_encoded_bytes());
        Self::from_bytes(&bytes, &format!("the variable {name}"))
    }

    fn from_bytes(bytes: &[u8], origin: &str) -> Result<Self, SignerError> {
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| (1..=MAX_PIN_LEN).contains(&text.len()) && !text.chars().any(char::is_control))
            .ok_or_else(|| SignerError::PinText { origin: origin.to_owned() })?;
        // Copied once, to where it will be erased; a `String` could leave a copy behind when it shrinks.
        Ok(Self(Zeroizing::new(Box::from(text))))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").finish_non_exhaustive()
    }
}

impl Pkcs11Signer {
    /// Logs in to a token and finds the key pair with this label.
    ///
    /// # Errors
    ///
    /// [`SignerError`]; a wrong PIN is never tried twice.
    // Taken by value: after the one log-in the PIN is erased.
    #[allow(clippy::needless_pass_by_value)]
    pub fn open(module: &Path, token: &str, key_label: &str, pin: Pin) -> Result<Self, SignerError> {
        Self::open_key(module, token, key_label, &pin, None)
    }

    /// As [`open`](Self::open), for a token that does not hold the public half.
    ///
    /// # Errors
    ///
    /// [`SignerError`]. Whether `public_key` is the right one shows when a signature is verified.
    #[allow(clippy::needless_pass_by_value)]
    pub fn open_with_public_key(
        module: &Path,
        token: &str,
        key_label: &str,
        pin: Pin,
        public_key: PublicKey,
    ) -> Result<Self, SignerError> {
        Self::open_key(module, token, key_label, &pin, Some(public_key))
    }

    fn open_key(
        module: &Path,
        token: &str,
        key_label: &str,
        pin: &Pin,
        public_key: Option<PublicKey>,
    ) -> Result<Self, SignerError> {
        let library = load(module)?;
        let slot = find_slot(&library, module, token)?;
        let session = log_in(&library, slot, token, pin)?;
        let device = Device { session: &session, token, label: key_label };
        let key = device.private_key()?;
        let public_key = match public_key {
            Some(given) => given,
            None => device.public_key_of(key)?,
        };
        Ok(Self { token: token.to_owned(), session, key, public_key })
    }
}

impl PayloadSigner for Pkcs11Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, payload: &[u8]) -> Result<Signature, SignerError> {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let bytes =
            self.session.sign(&mechanism, self.key, payload).map_err(|error| sorted(&self.token, &error))?;
        Signature::from_slice(&bytes)
            .map_err(|source| SignerError::DeviceSignature { token: self.token.clone(), source })
    }
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Signer")
            .field("token", &self.token)
            .field("key_id", &self.public_key.key_id())
            .finish_non_exhaustive()
    }
}

fn load(module: &Path) -> Result<Pkcs11, SignerError> {
    let unusable = |error: Error| SignerError::Module { path: module.to_owned(), source: answer(&error) };
    let library = Pkcs11::new(module).map_err(unusable)?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Another part of this process uses the same library.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(library),
        Err(error) => Err(unusable(error)),
    }
}

fn find_slot(library: &Pkcs11, module: &Path, token: &str) -> Result<Slot, SignerError> {
    let slots = library
        .get_slots_with_initialized_token()
        .map_err(|error| SignerError::Module { path: module.to_owned(), source: answer(&error) })?;
    let mut labels = Vec::new();
    for slot in slots {
        // A slot that does not answer is not the one that is looked for: it cannot say its label.
        if let Ok(info) = library.get_token_info(slot) {
            labels.push((slot, info.label().trim_end_matches([' ', '\0']).to_owned()));
        }
    }
    let matching: Vec<Slot> =
        labels.iter().filter(|(_, label)| label == token).map(|(slot, _)| *slot).collect();
    match matching.as_slice() {
        [slot] => Ok(*slot),
        [] => Err(SignerError::NoToken {
            label: token.to_owned(),
            found: labels.into_iter().map(|(_, label)| label).collect(),
        }),
        several => Err(SignerError::SeveralTokens { label: token.to_owned(), count: several.len() }),
    }
}

fn log_in(library: &Pkcs11, slot: Slot, token: &str, pin: &Pin) -> Result<Session, SignerError> {
    let failed = |error: Error| sorted(token, &error);
    let info = library.get_token_info(slot).map_err(failed)?;
    if info.user_pin_locked() {
        return Err(SignerError::PinLocked { token: token.to_owned() });
    }
    // A job that runs every hour with an outdated PIN would otherwise lock the device for everybody.
    if info.user_pin_final_try() {
        return Err(SignerError::LastTry { token: token.to_owned() });
    }
    let session = library.open_ro_session(slot).map_err(failed)?;
    // The library's type erases its copy too.
    let pin = AuthPin::new(Box::from(&**pin.0));
    match session.login(UserType::User, Some(&pin)) {
        // Logging in is for the whole process, and another part of it has done so.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(error) => Err(failed(error)),
    }
}

/// A session on a token, and the label that is looked for in it.
struct Device<'a> {
    session: &'a Session,
    token: &'a str,
    label: &'a str,
}

impl Device<'_> {
    fn private_key(&self) -> Result<ObjectHandle, SignerError> {
        let found = self.find(&[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC_EDWARDS),
            Attribute::Label(self.label.as_bytes().to_vec()),
        ])?;
        let (token, label) = (self.token.to_owned(), self.label.to_owned());
        match found.as_slice() {
            [key] => Ok(*key),
            [] => Err(SignerError::NoKey { token, label }),
            several => Err(SignerError::SeveralKeys { token, label, count: several.len() }),
        }
    }

    /// The public key with the same id, or else with the same label.
    fn public_key_of(&self, private: ObjectHandle) -> Result<PublicKey, SignerError> {
        let class = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(KeyType::EC_EDWARDS)];
        let with = |more: Attribute| {
            let [class, kind] = class.clone();
            self.find(&[class, kind, more])
        };
        let mut found = match self.id_of(private)? {
            Some(id) => with(Attribute::Id(id))?,
            None => Vec::new(),
        };
        if found.is_empty() {
            found = with(Attribute::Label(self.label.as_bytes().to_vec()))?;
        }
        let (token, label) = (self.token.to_owned(), self.label.to_owned());
        match found.as_slice() {
            [public] => self.read_public_key(*public),
            [] => Err(SignerError::NoPublicKey { token, label }),
            several => Err(SignerError::SeveralPublicKeys { token, label, count: several.len() }),
        }
    }

    fn read_public_key(&self, object: ObjectHandle) -> Result<PublicKey, SignerError> {
        let label = || self.label.to_owned();
        let attributes = self.attributes(object, AttributeType::EcPoint)?;
        let Some(Attribute::EcPoint(stored)) = attributes.into_iter().next() else {
            return Err(SignerError::NoPublicKey { token: self.token.to_owned(), label: label() });
        };
        let raw =
            ed25519_point(&stored).ok_or(SignerError::PublicPoint { label: label(), len: stored.len() })?;
        PublicKey::from_bytes(raw).map_err(|source| SignerError::PublicKey { label: label(), source })
    }

    fn id_of(&self, object: ObjectHandle) -> Result<Option<Vec<u8>>, SignerError> {
        Ok(match self.attributes(object, AttributeType::Id)?.into_iter().next() {
            Some(Attribute::Id(id)) if !id.is_empty() => Some(id),
            _ => None,
        })
    }

    fn attributes(&self, object: ObjectHandle, kind: AttributeType) -> Result<Vec<Attribute>, SignerError> {
        self.session.get_attributes(object, &[kind]).map_err(|error| sorted(self.token, &error))
    }

    fn find(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>, SignerError> {
        self.session.find_objects(template).map_err(|error| sorted(self.token, &error))
    }
}

/// The 32 bytes of a `CKA_EC_POINT`: as they are, or inside a DER octet string.
fn ed25519_point(stored: &[u8]) -> Option<&[u8; 32]> {
    stored.try_into().ok().or_else(|| stored.strip_prefix(&[0x04, 0x20])?.try_into().ok())
}

/// Sorts a device's answer into *try again*, *refused* and *broken*.
fn sorted(token: &str, error: &Error) -> SignerError {
    let token = token.to_owned();
    let source = answer(error);
    let Error::Pkcs11(code, _) = error else { return SignerError::DeviceUnsuitable { token, source } };
    match code {
        RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid => SignerError::WrongPin { token },
        RvError::PinLocked => SignerError::PinLocked { token },
        RvError::PinExpired | RvError::UserPinNotInitialized | RvError::NewPinMode => {
            SignerError::PinNotReady { token }
        }
        RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::SessionClosed
        | RvError::SessionCount
        | RvError::SessionHandleInvalid
        | RvError::HostMemory
        | RvError::FunctionFailed
        | RvError::FunctionCanceled
        | RvError::GeneralError => SignerError::DeviceUnavailable { token, source },
        RvError::KeyFunctionNotPermitted
        | RvError::ActionProhibited
        | RvError::FunctionRejected
        | RvError::UserNotLoggedIn => SignerError::DeviceRefused { token, source },
        _ => SignerError::DeviceUnsuitable { token, source },
    }
}

/// One line; the library's own texts are paragraphs of the standard.
fn answer(error: &Error) -> DeviceAnswer {
    let text = match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    };
    DeviceAnswer { text }
}

#[cfg(test)]
mod tests;

//! A token, found by its label, logged in to, with its wrapping key and the way in which that wraps.

use std::sync::{Arc, PoisonError};

use aegis_crypto::{KeyId, sha256};

use super::Probed;
use super::answer::{DeviceAnswer, Meaning, ReturnCode};
use super::fault::{HsmFault, ModuleFault};
use super::mechanism::VendorMechanism;
use super::probe::{Finding, probe};
use super::raw::{Access, Attribute, Module, Object, Session, number};
use super::settings::HsmToken;

/// The most secret keys that are looked at or listed.
const MAX_KEYS: usize = 64;
/// The most bytes of a label that are read.
const MAX_LABEL_LEN: usize = 256;
/// `CKK_YUBICO_AES128_CCM_WRAP`, 192 and 256: the types of keys that a YubiHSM 2 wraps with.
const YUBICO_WRAP_KEYS: [u64; 3] = [0xd955_421d, 0xd955_4229, 0xd955_422a];

/// A logged-in token and its wrapping key. Sessions of it are opened from it.
pub(super) struct Connection {
    pub(super) token: LoggedIn,
    pub(super) key: Object,
    pub(super) finding: Finding,
}

/// A token to which the process has logged in.
pub(super) struct LoggedIn {
    module: Arc<Module>,
    slot: number::CK_SLOT_ID,
    label: String,
    // Never used, and never closed before the rest: closing the last session of a token logs the process out.
    _anchor: Session,
}

/// What is to be done before connecting, because plain connecting did not help.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing.
    AsItIs,
    /// Start the module anew, unless that was done since this life of it.
    Anew { seen: u64 },
}

impl Connection {
    pub(super) fn make(settings: &HsmToken, kek: &KeyId, start: Start) -> Result<Self, HsmFault> {
        let token = LoggedIn::to(settings, start)?;
        let session = token.session(Access::ReadOnly).map_err(|answer| HsmFault::of(&token.label, answer))?;
        let key = wrapping_key(&session, settings)?;
        drop(session);
        let finding = probe(&token, key, settings, kek)?;
        Ok(Self { token, key, finding })
    }

    pub(super) fn probed(&self) -> Probed {
        let Finding { mechanism, proof, direct, passed_over: _, check: _ } = self.finding;
        Probed { mechanism, proof, direct }
    }
}

impl LoggedIn {
    pub(super) fn to(settings: &HsmToken, start: Start) -> Result<Self, HsmFault> {
        let unusable = |source| HsmFault::Module { path: settings.module.clone(), source };
        let module = Module::shared(&settings.module, settings.init_args.as_deref()).map_err(unusable)?;
        module.belong_to_this_process().map_err(unusable)?;
        if let Start::Anew { seen } = start {
            module.start_anew(seen).map_err(|source| match source {
                // It initialised before, so the module is not what is wrong.
                ModuleFault::Answer(source) => {
                    HsmFault::Device { token: settings.token_label.clone(), source }
                }
                source => unusable(source),
            })?;
        }
        let slot = find(&module, &settings.token_label)?;
        log_in(module, slot, settings)
    }

    pub(super) fn session(&self, access: Access) -> Result<Session, DeviceAnswer> {
        Session::open(&self.module, self.slot, access)
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }
}

/// The life of the module that settings name, if it is loaded.
pub(super) fn life_of(settings: &HsmToken) -> u64 {
    Module::shared(&settings.module, settings.init_args.as_deref()).map_or(0, |module| module.life())
}

fn find(module: &Module, label: &str) -> Result<number::CK_SLOT_ID, HsmFault> {
    let slots = module.slots().map_err(|answer| HsmFault::of(label, answer))?;
    // A slot that does not answer is not the one that is looked for: it cannot say its label.
    let labelled = slots.into_iter().filter_map(|slot| {
        let info = module.token(slot).ok()?;
        info.is_initialised().then_some((slot, info.label))
    });
    let (wanted, others): (Vec<_>, Vec<_>) = labelled.partition(|(_, found)| found == label);
    match wanted.as_slice() {
        [(slot, _)] => Ok(*slot),
        [] => Err(HsmFault::NoToken {
            label: label.to_owned(),
            found: others.into_iter().map(|(_, label)| label).collect(),
        }),
        several => Err(HsmFault::SeveralTokens { label: label.to_owned(), count: several.len() }),
    }
}

fn log_in(module: Arc<Module>, slot: number::CK_SLOT_ID, settings: &HsmToken) -> Result<LoggedIn, HsmFault> {
    let label = settings.token_label.clone();
    let token = || label.clone();
    let failed = |answer| HsmFault::of(&label, answer);
    let pin = settings.pin.expose().as_bytes();

    let offered = (token(), *sha256(pin).as_bytes());
    // Held until the answer is there: of two that offer a wrong PIN at once, one does.
    let mut refused = module.refused_pins.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.contains(&offered) {
        return Err(HsmFault::WrongPin { token: token() });
    }
    let info = module.token(slot).map_err(failed)?;
    if info.pin_is_locked() {
        return Err(HsmFault::PinLocked { token: token() });
    }
    // A service that is restarted for ever with an outdated PIN would otherwise lock the device for everybody.
    if info.is_last_try() {
        return Err(HsmFault::LastTry { token: token() });
    }
    let session = Session::open(&module, slot, Access::ReadOnly).map_err(failed)?;
    let answer = match session.log_in(pin) {
        Ok(()) => None,
        Err(DeviceAnswer::Code { code, function }) => Some((code, DeviceAnswer::Code { code, function })),
        Err(answer) => return Err(failed(answer)),
    };
    let fault = match answer {
        // Logging in is for the whole process, and another part of it has done so.
        None | Some((ReturnCode::USER_ALREADY_LOGGED_IN, _)) => {
            drop(refused);
            return Ok(LoggedIn { module, slot, label, _anchor: session });
        }
        Some((ReturnCode::PIN_INCORRECT | ReturnCode::PIN_LEN_RANGE | ReturnCode::PIN_INVALID, _)) => {
            refused.push(offered);
            HsmFault::WrongPin { token: token() }
        }
        Some((ReturnCode::PIN_LOCKED, _)) => HsmFault::PinLocked { token: token() },
        Some((ReturnCode::PIN_EXPIRED | ReturnCode::USER_PIN_NOT_INITIALIZED, _)) => {
            HsmFault::PinNotReady { token: token() }
        }
        Some((_, source)) if source.meaning() == Meaning::Unclear => {
            HsmFault::LogIn { token: token(), source }
        }
        Some((_, answer)) => failed(answer),
    };
    drop(refused);
    drop(session);
    Err(fault)
}

/// The one key with the label.
fn wrapping_key(session: &Session, settings: &HsmToken) -> Result<Object, HsmFault> {
    let (token, label) = (settings.token_label.as_str(), settings.wrapping_key_label.as_str());
    let failed = |answer| HsmFault::of(token, answer);
    let mut fitting = Vec::new();
    let mut other = None;
    for object in labelled(session, label).map_err(failed)? {
        match number_of(session, object, number::CKA_KEY_TYPE).map_err(failed)? {
            Some(kind) if wraps(kind, settings.mechanism) => fitting.push((object, kind)),
            kind => other = Some(kind.unwrap_or(number::CK_ULONG::MAX)),
        }
    }
    let (key, kind) = match (fitting.as_slice(), other) {
        ([key], _) => *key,
        ([], Some(found)) => {
            return Err(HsmFault::NotAes { token: token.to_owned(), label: label.to_owned(), found });
        }
        ([], None) => {
            let found = labels(session).map_err(failed)?;
            return Err(HsmFault::NoKey { token: token.to_owned(), label: label.to_owned(), found });
        }
        (several, _) => {
            return Err(HsmFault::SeveralKeys {
                token: token.to_owned(),
                label: label.to_owned(),
                count: several.len(),
            });
        }
    };
    if kind == number::CKK_AES {
        // A token that does not say the length is believed: nothing else could be done about it.
        match number_of(session, key, number::CKA_VALUE_LEN).map_err(failed)? {
            None | Some(32) => {}
            Some(found) => {
                return Err(HsmFault::KeyLength { token: token.to_owned(), label: label.to_owned(), found });
            }
        }
    }
    Ok(key)
}

fn wraps(kind: u64, vendor: Option<VendorMechanism>) -> bool {
    match vendor {
        Some(VendorMechanism::YubicoCcm) => kind == number::CKK_AES || YUBICO_WRAP_KEYS.contains(&kind),
        Some(VendorMechanism::CloudHsmKwp) | None => kind == number::CKK_AES,
    }
}

/// Secret keys with a label.
pub(super) fn labelled(session: &Session, label: &str) -> Result<Vec<Object>, DeviceAnswer> {
    session.find(
        &[
            Attribute::Number(number::CKA_CLASS, number::CKO_SECRET_KEY),
            Attribute::Bytes(number::CKA_LABEL, label.as_bytes()),
        ],
        MAX_KEYS,
    )
}

/// The labels of the secret keys that there are.
fn labels(session: &Session) -> Result<Vec<String>, DeviceAnswer> {
    let keys = session.find(&[Attribute::Number(number::CKA_CLASS, number::CKO_SECRET_KEY)], MAX_KEYS)?;
    let mut labels = Vec::new();
    for key in keys {
        if let Some(label) = session.attribute(key, number::CKA_LABEL, MAX_LABEL_LEN)? {
            labels.push(String::from_utf8_lossy(&label).into_owned());
        }
    }
    Ok(labels)
}

/// An attribute that is a number.
fn number_of(session: &Session, object: Object, kind: number::CK_ULONG) -> Result<Option<u64>, DeviceAnswer> {
    const LEN: usize = size_of::<number::CK_ULONG>();
    let value = session.attribute(object, kind, LEN)?;
    Ok(value
        .and_then(|bytes| <[u8; LEN]>::try_from(bytes.as_slice()).ok())
        .map(number::CK_ULONG::from_ne_bytes))
}

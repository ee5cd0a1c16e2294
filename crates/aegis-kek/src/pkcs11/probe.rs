//! Finds out how a token wraps, by asking it to wrap what the answer is known of.
//!
//! | order | mechanism | accepted if |
//! |---|---|---|
//! | 1 | 0x210B by `C_Encrypt` | its bytes are those of RFC 5649 |
//! | 2 | 0x210B by `C_WrapKey` | the same |
//! | 3 | the vendor's, if one is set | the same; a YubiHSM's has no known answer |
//! | 4 | 0x210A by `C_WrapKey` | the same; where that cannot be seen, never |
//! | 5 | AES-GCM by `C_Encrypt` | software opens what the token sealed, and the other way round |
//!
//! A candidate first wraps under a session key of known bytes, then under the real key: a key may be allowed to wrap and
//! not to encrypt. Either must refuse what was tampered with. Where a token takes no key from outside, only the second
//! half can be done, and [`Proof`] says so.

use std::fmt;

use aegis_crypto::{
    HYBRID_PRIVATE_KEY_LEN, KeyId, RandomError, Secret, open_under, seal_under, unwrap_padded, wrap_padded,
};

use super::answer::{DeviceAnswer, Meaning};
use super::connection::LoggedIn;
use super::fault::{HsmFault, Refusal, Unfit};
use super::mechanism::{By, Mechanism, WrapFault, bound_to, rfc5649_len};
use super::raw::{Access, Attribute, Object, Session, number};
use super::settings::HsmToken;
use crate::container::WrapMethod;

/// Bytes of the data key that a container has.
pub(super) const DATA_KEY_LEN: usize = 32;

/// How well it is known what a token's mechanism does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Under a known key it gave the bytes of the standard.
    KnownAnswer,
    /// It gives back what it wrapped, in a length that fits. The token takes no known key, or no answer is known.
    RoundTrip,
}

impl Proof {
    /// The name in listings and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KnownAnswer => "known-answer",
            Self::RoundTrip => "round-trip",
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a private key can be wrapped in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direct {
    /// 2,432 bytes were wrapped to those of RFC 5649, and unwrapped.
    Proven,
    /// They were not, or it could not be seen.
    NotProven,
}

/// How a token wraps.
pub(super) struct Finding {
    pub(super) mechanism: Mechanism,
    pub(super) proof: Proof,
    pub(super) direct: Direct,
    /// The mechanisms before it, and why they were passed over.
    pub(super) passed_over: Vec<Refusal>,
    /// What the token wrapped when it worked.
    pub(super) check: CheckBlob,
}

/// A wrapping that is known to be good, to tell a bad wrapping from a bad device.
pub(super) struct CheckBlob {
    wrapped: Vec<u8>,
    plain: Secret<DATA_KEY_LEN>,
}

impl CheckBlob {
    /// Unwraps it. An error is one of the device.
    pub(super) fn unwrap(
        &self,
        mechanism: Mechanism,
        session: &Session,
        key: Object,
        kek: &KeyId,
    ) -> Result<(), DeviceAnswer> {
        let plain = mechanism.unwrap(session, key, &self.wrapped, DATA_KEY_LEN, kek)?;
        if same(&plain, self.plain.expose()) { Ok(()) } else { Err(DeviceAnswer::OtherValue) }
    }
}

/// Chooses the mechanism of a token and a wrapping key.
pub(super) fn probe(
    token: &LoggedIn,
    key: Object,
    settings: &HsmToken,
    kek: &KeyId,
) -> Result<Finding, HsmFault> {
    let vendor = settings.mechanism.map(super::mechanism::VendorMechanism::mechanism);
    let candidates = [Some(Mechanism::KwpEncrypt), Some(Mechanism::KwpWrap), vendor]
        .into_iter()
        .flatten()
        .chain([Mechanism::KeyWrapPad, Mechanism::AesGcm]);
    let mut tried = Vec::new();
    for mechanism in candidates {
        match (Candidate { token, key, kek, mechanism }).examine() {
            Ok(finding) => return Ok(Finding { passed_over: tried, ..finding }),
            Err(Failed::Unfit(why)) => tried.push(Refusal { mechanism, why }),
            Err(Failed::Gone(answer)) => return Err(HsmFault::of(token.label(), answer)),
            Err(Failed::Random(source)) => return Err(HsmFault::Random(source)),
        }
    }
    Err(HsmFault::NoMechanism {
        token: token.label().to_owned(),
        label: settings.wrapping_key_label.clone(),
        tried,
    })
}

/// One mechanism under examination.
struct Candidate<'a> {
    token: &'a LoggedIn,
    key: Object,
    kek: &'a KeyId,
    mechanism: Mechanism,
}

enum Failed {
    /// Go on with the next one.
    Unfit(Unfit),
    /// Nothing can be asked of this token now.
    Gone(DeviceAnswer),
    Random(RandomError),
}

impl From<DeviceAnswer> for Failed {
    fn from(answer: DeviceAnswer) -> Self {
        match answer.meaning() {
            Meaning::Lost | Meaning::Full => Self::Gone(answer),
            Meaning::Refused | Meaning::Unsuited | Meaning::Unclear => Self::Unfit(Unfit::Answer(answer)),
        }
    }
}

impl From<WrapFault> for Failed {
    fn from(fault: WrapFault) -> Self {
        match fault {
            WrapFault::Device(answer) => answer.into(),
            WrapFault::Random(source) => Self::Random(source),
        }
    }
}

impl Candidate<'_> {
    fn examine(&self) -> Result<Finding, Failed> {
        let known = self.known_key()?;
        let proof = match (&known, self.mechanism) {
            // There is no software to compare a YubiHSM with.
            (_, Mechanism::YubicoCcm) => Proof::RoundTrip,
            (Err(answer), Mechanism::KeyWrapPad) => {
                return Err(Failed::Unfit(Unfit::CannotBeChecked(*answer)));
            }
            (Err(_), _) => Proof::RoundTrip,
            (Ok(known), _) => {
                let plain = random::<DATA_KEY_LEN>()?;
                self.gives_the_known_answer(known, plain.expose())?;
                Proof::KnownAnswer
            }
        };
        let plain = random::<DATA_KEY_LEN>()?;
        let wrapped = self.round_trip(plain.expose())?;
        let direct = match &known {
            Ok(known) if self.mechanism.method() == WrapMethod::Rfc5649 => self.direct(known)?,
            _ => Direct::NotProven,
        };
        let (check, passed_over) = (CheckBlob { wrapped, plain }, Vec::new());
        Ok(Finding { mechanism: self.mechanism, proof, direct, passed_over, check })
    }

    /// A session key of bytes that are known here and nowhere else, or why the token takes none.
    fn known_key(&self) -> Result<Result<KnownKey, DeviceAnswer>, Failed> {
        let bytes = random::<32>()?;
        let session = self.token.session(Access::ReadOnly)?;
        // Some tokens refuse a key that may do both.
        let (seals, opens) = match self.mechanism.by() {
            By::Encrypting => (number::CKA_ENCRYPT, number::CKA_DECRYPT),
            By::Wrapping => (number::CKA_WRAP, number::CKA_UNWRAP),
        };
        let made = session.create(&[
            Attribute::Number(number::CKA_CLASS, number::CKO_SECRET_KEY),
            Attribute::Number(number::CKA_KEY_TYPE, number::CKK_AES),
            Attribute::Flag(number::CKA_TOKEN, number::CK_FALSE),
            Attribute::Flag(number::CKA_PRIVATE, number::CK_TRUE),
            Attribute::Flag(seals, number::CK_TRUE),
            Attribute::Flag(opens, number::CK_TRUE),
            Attribute::Bytes(number::CKA_VALUE, bytes.expose()),
        ]);
        match made {
            Ok(object) => Ok(Ok(KnownKey { bytes, object, _session: session })),
            Err(answer) if matches!(answer.meaning(), Meaning::Lost | Meaning::Full) => {
                Err(Failed::Gone(answer))
            }
            Err(answer) => Ok(Err(answer)),
        }
    }

    /// Software and token have to agree, both ways.
    fn gives_the_known_answer(&self, known: &KnownKey, plain: &[u8]) -> Result<(), Failed> {
        let made = self.wrap(known.object, plain)?;
        let expected = match self.mechanism.method() {
            WrapMethod::AesGcm => {
                let opened = open_under(&known.bytes, &bound_to(self.kek), &made);
                if !opened.is_ok_and(|opened| same(&opened, plain)) {
                    return Err(Failed::Unfit(Unfit::OtherBytes));
                }
                seal_under(&known.bytes, &bound_to(self.kek), plain).ok()
            }
            // Compared as well as unwrapped: SoftHSM2 unwraps lengths that it does not wrap.
            WrapMethod::Rfc5649 => wrap_padded(&known.bytes, plain).ok().filter(|expected| {
                *expected == made
                    && unwrap_padded(&known.bytes, &made).is_ok_and(|opened| same(&opened, plain))
            }),
            WrapMethod::KmsDataKey | WrapMethod::YubicoCcm => None,
        };
        let expected = expected.ok_or(Failed::Unfit(Unfit::OtherBytes))?;
        self.unwraps_only(known.object, &expected, plain)
    }

    /// What the real key wraps, it has to give back.
    fn round_trip(&self, plain: &[u8]) -> Result<Vec<u8>, Failed> {
        let wrapped = self.wrap(self.key, plain)?;
        if self.mechanism.method() == WrapMethod::Rfc5649 && wrapped.len() != rfc5649_len(plain.len()) {
            return Err(Failed::Unfit(Unfit::OtherBytes));
        }
        self.unwraps_only(self.key, &wrapped, plain)?;
        Ok(wrapped)
    }

    /// Whether it takes a whole private key. That it does not is no fault.
    fn direct(&self, known: &KnownKey) -> Result<Direct, Failed> {
        let plain = random::<HYBRID_PRIVATE_KEY_LEN>()?;
        let shown =
            self.gives_the_known_answer(known, plain.expose()).and_then(|()| self.round_trip(plain.expose()));
        match shown {
            Ok(_) => Ok(Direct::Proven),
            Err(Failed::Unfit(_)) => Ok(Direct::NotProven),
            Err(gone) => Err(gone),
        }
    }

    fn wrap(&self, key: Object, plain: &[u8]) -> Result<Vec<u8>, Failed> {
        Ok(self.mechanism.wrap(&self.session()?, key, plain, self.kek)?)
    }

    fn unwraps_only(&self, key: Object, wrapped: &[u8], plain: &[u8]) -> Result<(), Failed> {
        let unwrap =
            |wrapped: &[u8]| self.mechanism.unwrap(&self.session()?, key, wrapped, plain.len(), self.kek);
        if !same(&unwrap(wrapped)?, plain) {
            return Err(Failed::Unfit(Unfit::NoRoundTrip));
        }
        let mut tampered = wrapped.to_vec();
        if let Some(last) = tampered.last_mut() {
            *last ^= 1;
        }
        match unwrap(&tampered) {
            Ok(_) => Err(Failed::Unfit(Unfit::NotAuthenticated)),
            Err(answer) if answer.meaning() == Meaning::Lost || answer.meaning() == Meaning::Full => {
                Err(Failed::Gone(answer))
            }
            Err(_) => Ok(()),
        }
    }

    /// A new session for each step: after a refusal, some tokens leave an operation open in the old one.
    fn session(&self) -> Result<Session, DeviceAnswer> {
        self.token.session(Access::ReadOnly)
    }
}

/// A key of the token whose bytes are known. Gone with its session.
struct KnownKey {
    bytes: Secret<32>,
    object: Object,
    _session: Session,
}

fn random<const N: usize>() -> Result<Secret<N>, Failed> {
    Secret::random().map_err(Failed::Random)
}

/// Both are known to whoever asks, so the time that this takes tells nobody anything.
fn same(one: &[u8], other: &[u8]) -> bool {
    one == other
}

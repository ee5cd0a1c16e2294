//! The HSM provider against SoftHSM2, NSS softokn, and kryoptic if it is here; against devices that fail, by the injecting
//! module.
//!
//! Each test with a token is a process of its own (`test_services::tokens`).

mod broken;
mod erased;
mod lost;
mod mechanisms;
mod pins;
mod settings;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Mutex;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use aegis_kek::pkcs11::{
    DEFAULT_ANSWER_WITHIN, DEFAULT_SESSION_POOL_SIZE, HsmKekProvider, HsmSettings, HsmToken, HsmWrap, Pin,
    generate_wrapping_key, provision,
};
use aegis_kek::{HsmFault, KekProvider, LoadError, ProviderFault, ProviderKind, SettingsError};
use test_services::tokens::{Maker, PIN, Token, on};

use crate::conformance::{self, Made, Subject};
use crate::watch::private_parts;

const KEY: &str = "aegis-kek-v1";
const OTHER_KEY: &str = "aegis-kek-v2";

/// How a provider is to use a token.
fn token_of(token: &Token, module: PathBuf) -> HsmToken {
    HsmToken {
        module,
        token_label: token.maker().label().to_owned(),
        wrapping_key_label: KEY.to_owned(),
        pin: Pin::new(PIN, "the test").unwrap(),
        session_pool_size: DEFAULT_SESSION_POOL_SIZE,
        answer_within: DEFAULT_ANSWER_WITHIN,
        mechanism: None,
        init_args: token.init_args(),
    }
}

fn labelled(token: &HsmToken, label: &str) -> HsmToken {
    HsmToken { wrapping_key_label: label.to_owned(), ..token.clone() }
}

/// A KEK under the key of a token that has two.
struct Kept {
    token: HsmToken,
    private: HybridPrivateKey,
    wrapped: Vec<u8>,
}

impl Kept {
    fn on(token: HsmToken, wrap: HsmWrap) -> Self {
        let private = HybridPrivateKey::generate().unwrap();
        for label in [KEY, OTHER_KEY] {
            generate_wrapping_key(&labelled(&token, label)).unwrap();
        }
        let wrapped = provision(&token, &private, wrap).unwrap();
        Self { token, private, wrapped }
    }

    /// By the real module.
    fn directly(token: &Token, wrap: HsmWrap) -> Self {
        Self::on(token_of(token, token.module()), wrap)
    }

    /// By the injecting module, which so far injects nothing.
    fn injectable(token: &Token) -> Self {
        Self::on(token_of(token, token.injecting_module()), HsmWrap::TwoStep)
    }

    fn provider(&self) -> HsmKekProvider {
        self.provider_of(self.token.clone())
    }

    fn provider_of(&self, token: HsmToken) -> HsmKekProvider {
        let (wrapped, public_key) = (self.wrapped.clone(), self.private.public_key().clone());
        HsmKekProvider::new(HsmSettings { token, wrapped_private_key: wrapped, public_key }).unwrap()
    }

    #[track_caller]
    fn assert_loads(&self, provider: &HsmKekProvider) {
        let kek = provider.load().unwrap();
        assert!(kek.private_key().dangerous_expose() == self.private.dangerous_expose());
    }
}

fn sessions(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// The fault in a refusal, and how it was sorted.
#[track_caller]
fn fault(error: &LoadError) -> (&'static str, &HsmFault) {
    let (sorted, source) = match error {
        LoadError::Unavailable { source, .. } => ("unavailable", source),
        LoadError::Denied { source, .. } => ("denied", source),
        LoadError::Broken { source, .. } => ("broken", source),
        LoadError::WrongKey { .. } => panic!("{error:?}"),
    };
    assert!(error.help().is_some_and(|help| !help.is_empty()), "{error:?}");
    match source {
        ProviderFault::Hsm(fault) => (sorted, fault),
        other => panic!("{other:?}"),
    }
}

/// A loaded provider's word for a fact.
fn detail(provider: &HsmKekProvider, wanted: &str) -> String {
    let health = provider.health();
    health.detail.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value).unwrap()
}

/// A token for the cases that every provider passes.
struct Hsm {
    kept: Kept,
    storage: PathBuf,
    injector: Option<Mutex<Token>>,
}

impl Subject for Hsm {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Hsm
    }

    fn provider(&self) -> Box<dyn KekProvider> {
        Box::new(self.kept.provider())
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let mut secrets = private_parts(&self.kept.private);
        secrets.push(PIN.as_bytes().to_vec());
        secrets
    }

    fn wrapping(&self) -> Option<Vec<u8>> {
        Some(self.kept.wrapped.clone())
    }

    fn with_wrapping(&self, wrapping: &[u8]) -> Made {
        make(self.kept.token.clone(), wrapping.to_vec(), self.kept.private.public_key())
    }

    fn with_public_key(&self, public_key: &HybridPublicKey) -> Option<Made> {
        Some(make(self.kept.token.clone(), self.kept.wrapped.clone(), public_key))
    }

    fn with_another_wrapping_key(&self) -> Option<Made> {
        let token = labelled(&self.kept.token, OTHER_KEY);
        Some(make(token, self.kept.wrapped.clone(), self.kept.private.public_key()))
    }

    fn break_down(&self) -> bool {
        match &self.injector {
            Some(token) => token.lock().unwrap().inject(GONE),
            None => std::fs::rename(&self.storage, self.storage.with_extension("away")).unwrap(),
        }
        true
    }

    fn mend(&self) {
        match &self.injector {
            Some(token) => token.lock().unwrap().inject(""),
            None => std::fs::rename(self.storage.with_extension("away"), &self.storage).unwrap(),
        }
    }
}

/// What a module says whose device was pulled out.
const GONE: &str =
    "fail C_OpenSession 0xe0\nfail C_UnwrapKey 0x32\nfail C_DecryptInit 0x32\nlength C_GetSlotList 0\n";

fn make(token: HsmToken, wrapped_private_key: Vec<u8>, public_key: &HybridPublicKey) -> Made {
    let settings = HsmSettings { token, wrapped_private_key, public_key: public_key.clone() };
    match HsmKekProvider::new(settings) {
        Ok(provider) => Ok(Box::new(provider)),
        Err(error) => Err(SettingsError::Hsm(error)),
    }
}

fn conforms(maker: Maker, token: &Token, wrap: HsmWrap) {
    // SoftHSM2 sees that its files are gone; the others have to be told by the injecting module.
    let (module, injector) = match maker {
        Maker::SoftHsm2 => (token.module(), None),
        Maker::Nss | Maker::Kryoptic => (token.injecting_module(), Some(Mutex::new(token.clone()))),
    };
    let kept = Kept::on(token_of(token, module), wrap);
    conformance::all(&Hsm { kept, storage: token.storage(), injector });
}

#[test]
fn softhsm2_conforms() {
    on(Maker::SoftHsm2, |token| conforms(Maker::SoftHsm2, token, HsmWrap::TwoStep));
}

#[test]
fn softhsm2_conforms_with_the_direct_form() {
    on(Maker::SoftHsm2, |token| conforms(Maker::SoftHsm2, token, HsmWrap::Direct));
}

#[test]
fn nss_conforms() {
    on(Maker::Nss, |token| conforms(Maker::Nss, token, HsmWrap::TwoStep));
}

#[test]
fn nss_conforms_with_the_direct_form() {
    on(Maker::Nss, |token| conforms(Maker::Nss, token, HsmWrap::Direct));
}

#[test]
fn kryoptic_conforms() {
    on(Maker::Kryoptic, |token| conforms(Maker::Kryoptic, token, HsmWrap::TwoStep));
}

//! The cases that every provider must pass, for both forms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use aegis_kek::aws_kms::{KmsAccess, KmsWrap, StaticCredentials};
use aegis_kek::{AwsKmsKekProvider, AwsKmsSettings, KekProvider, ProviderKind, SecretText, SettingsError};
use test_services::http::Message;
use test_services::kms::REGION;
use test_services::proxy::{Fate, Proxy};

use super::{access, moto, wrapped};
use crate::conformance::{Made, Subject, conforms};
use crate::watch::private_parts;

const SECRET: &str = "A/SECRET+ACCESS+KEY/OF+THE+CONFORMANCE+SUITE";

struct Subjected {
    /// Answers with failures while the flag is set.
    proxy: Proxy,
    broken: Arc<AtomicBool>,
    key: String,
    other_key: String,
    private: HybridPrivateKey,
    wrapped: Vec<u8>,
}

impl Subjected {
    fn new(test: &str, wrap: KmsWrap) -> Option<Self> {
        let kms = moto(test)?;
        let broken = Arc::new(AtomicBool::new(false));
        let proxy = {
            let broken = Arc::clone(&broken);
            Proxy::before(kms.address(), move |_, _| match broken.load(Ordering::SeqCst) {
                false => Fate::Pass,
                true => Fate::Answer(Message::answer(503, "application/x-amz-json-1.1", b"{}")),
            })
        };
        let [key, other_key] = [(); 2].map(|()| kms.key(REGION));
        let (private, wrapped) = wrapped(access(&kms.url(), &key), wrap);
        Some(Self { proxy, broken, key, other_key, private, wrapped })
    }

    fn made(&self, key: &str, wrapped: &[u8], public_key: &HybridPublicKey) -> Made {
        let credentials = StaticCredentials {
            access_key_id: "AKIACONFORMANCE".to_owned(),
            secret_access_key: SecretText::new(SECRET),
            session_token: None,
        };
        let access = KmsAccess { credentials: Some(credentials), ..access(&self.proxy.url(), key) };
        let (wrapped_private_key, public_key) = (wrapped.to_vec(), public_key.clone());
        let made = AwsKmsKekProvider::new(AwsKmsSettings { access, wrapped_private_key, public_key });
        made.map(|made| Box::new(made) as _).map_err(SettingsError::Kms)
    }
}

impl Subject for Subjected {
    fn kind(&self) -> ProviderKind {
        ProviderKind::AwsKms
    }

    fn provider(&self) -> Box<dyn KekProvider> {
        self.made(&self.key, &self.wrapped, self.private.public_key()).unwrap()
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let mut secrets = private_parts(&self.private);
        secrets.push(SECRET.as_bytes().to_vec());
        secrets
    }

    fn wrapping(&self) -> Option<Vec<u8>> {
        Some(self.wrapped.clone())
    }

    fn with_wrapping(&self, wrapping: &[u8]) -> Made {
        self.made(&self.key, wrapping, self.private.public_key())
    }

    fn with_public_key(&self, public_key: &HybridPublicKey) -> Option<Made> {
        Some(self.made(&self.key, &self.wrapped, public_key))
    }

    fn with_another_wrapping_key(&self) -> Option<Made> {
        Some(self.made(&self.other_key, &self.wrapped, self.private.public_key()))
    }

    fn break_down(&self) -> bool {
        self.broken.store(true, Ordering::SeqCst);
        true
    }

    fn mend(&self) {
        self.broken.store(false, Ordering::SeqCst);
    }
}

mod direct {
    use super::*;

    conforms!(Subjected::new("kms::conformance::direct", KmsWrap::Direct));
}

mod data_key {
    use super::*;

    conforms!(Subjected::new("kms::conformance::data_key", KmsWrap::DataKey));
}

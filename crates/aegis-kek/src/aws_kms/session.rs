//! One conversation with KMS, from any thread, on a thread of its own.
//!
//! The SDK is asynchronous, and a provider is asked from wherever a program needs its key: a plain thread, a task of
//! another runtime, a process that was forked. So a conversation has its own thread and its own runtime, and both end
//! with it. A KEK is loaded once at start-up; a thread that waits for a second load would only be one that a fork loses.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use aegis_crypto::{KeyId, Secret};
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{Credentials, ProvideCredentials as _, StalledStreamProtectionConfig};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, EncryptionAlgorithmSpec};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::answers::{Request, credentials_fault};
use super::fault::{CredentialsTrouble, KmsAction, KmsFault, Oddity};
use super::key_name::is_region;
use super::quiet;
use super::settings::{StaticCredentials, Target};
use super::wire::Wire;

/// The name under which the encryption context has the id of the KEK, 64 hex digits.
pub const CONTEXT_NAME: &str = "aegis:kek";

/// The longest ARN that is remembered.
const MAX_ARN_LEN: usize = 2048;

/// How long a name look-up that nobody waits for may hold up the end of a conversation.
const LEFTOVERS: Duration = Duration::from_millis(50);

/// A client for one conversation about one KEK.
pub(super) struct Session<'a> {
    target: &'a Target,
    kek: KeyId,
    client: Client,
    region: String,
    wire: Wire,
}

/// Where a conversation took place, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// A plaintext, and the ARN of the KMS key that it was under.
pub(super) struct Decrypted {
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    pub(super) key_arn: Option<String>,
}

/// Whether the id of the KEK goes with a ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// As the encryption context.
    Bound,
    /// No encryption context.
    Unbound,
}

/// Talks to KMS, and waits for the end of it.
pub(super) fn converse<T: Send>(
    target: &Target,
    kek: KeyId,
    talk: impl AsyncFnOnce(&Session<'_>) -> Result<T, KmsFault> + Send,
) -> (Place, Result<T, KmsFault>) {
    let log = quiet::log_of_this_thread();
    let in_own_thread = || {
        quiet::quietly(log, || {
            let mut place = Place::default();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return (place, Err(KmsFault::Thread(error))),
            };
            let said = runtime.block_on(async {
                let session = Session::open(target, kek).await?;
                place.region = Some(session.region.clone());
                let said = talk(&session).await;
                place.endpoint = session.wire.endpoint().map(str::to_owned);
                said
            });
            runtime.shutdown_timeout(LEFTOVERS);
            (place, said)
        })
    };
    thread::scope(|scope| {
        match thread::Builder::new().name("aegis-kms".to_owned()).spawn_scoped(scope, in_own_thread) {
            Ok(thread) => match thread.join() {
                Ok(answer) => answer,
                // A defect of ours or of the SDK, not an answer.
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(error) => (Place::default(), Err(KmsFault::Thread(error))),
        }
    })
}

impl<'a> Session<'a> {
    /// Finds region and credentials.
    async fn open(target: &'a Target, kek: KeyId) -> Result<Self, KmsFault> {
        let patience = target.patience;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(patience.attempts)
                    .with_initial_backoff(Duration::from_millis(200))
                    .with_max_backoff(Duration::from_secs(3)),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(patience.connect)
                    .operation_attempt_timeout(patience.attempt)
                    .operation_timeout(patience.call)
                    .build(),
            )
            // An answer is a few kilobytes, and each attempt has its time limit.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = target.key.region().or(target.region.as_deref()) {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(endpoint) = &target.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(given) = &target.credentials {
            loader = loader.credentials_provider(credentials_of(given));
        }
        let found = timeout(patience.call, async {
            let config = loader.load().await;
            // First the region: without one there is nobody to ask, whatever the credentials.
            let region = match config.region() {
                None => return Err(KmsFault::NoRegion { key: target.key.to_string() }),
                Some(region) if !is_region(region.as_ref()) => return Err(KmsFault::Region),
                Some(region) => region.as_ref().to_owned(),
            };
            // Asked for here and not by the first request, whose error would not say which of the two went wrong.
            let provider = config.credentials_provider().ok_or(KmsFault::NoCredentials)?;
            let credentials =
                provider.provide_credentials().await.map_err(|error| credentials_fault(&error))?;
            Ok((config, region, credentials))
        });
        let (config, region, credentials) = match found.await {
            Ok(found) => found?,
            Err(_) => return Err(KmsFault::Credentials { trouble: CredentialsTrouble::TimedOut }),
        };
        let wire = Wire::new(target.plain_http);
        let config = aws_sdk_kms::config::Builder::from(&config)
            .credentials_provider(credentials)
            .interceptor(wire.clone())
            .build();
        Ok(Self { target, kek, client: Client::from_conf(config), region, wire })
    }

    /// `kms:Decrypt`, with the KMS key that is set and no other.
    pub(super) async fn decrypt(&self, ciphertext: &[u8], binding: Binding) -> Result<Decrypted, KmsFault> {
        let request = self.request(KmsAction::Decrypt);
        let call = self
            .client
            .decrypt()
            .key_id(self.target.key.as_str())
            .ciphertext_blob(Blob::new(ciphertext))
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .set_encryption_context((binding == Binding::Bound).then(|| self.context()));
        let mut answer = call.send().await.map_err(|error| request.fault(&error))?;
        let plaintext =
            answer.plaintext.take().ok_or_else(|| request.odd(Oddity::Missing { part: "Plaintext" }))?;
        Ok(Decrypted {
            plaintext: Zeroizing::new(plaintext.into_inner()),
            key_arn: answer
                .key_id
                .filter(|arn| arn.len() <= MAX_ARN_LEN && arn.bytes().all(|byte| byte.is_ascii_graphic())),
        })
    }

    /// `kms:Encrypt`, bound to the KEK.
    pub(super) async fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, KmsFault> {
        let request = self.request(KmsAction::Encrypt);
        let call = self
            .client
            .encrypt()
            .key_id(self.target.key.as_str())
            .plaintext(Blob::new(plaintext))
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .set_encryption_context(Some(self.context()));
        let answer = call.send().await.map_err(|error| request.fault(&error))?;
        request.ciphertext(answer.ciphertext_blob)
    }

    /// `kms:GenerateDataKey`, 32 bytes, bound to the KEK.
    pub(super) async fn data_key(&self) -> Result<(Secret<32>, Vec<u8>), KmsFault> {
        let request = self.request(KmsAction::GenerateDataKey);
        let call = self
            .client
            .generate_data_key()
            .key_id(self.target.key.as_str())
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(Some(self.context()));
        let answer = call.send().await.map_err(|error| request.fault(&error))?;
        let key = answer.plaintext.ok_or_else(|| request.odd(Oddity::Missing { part: "Plaintext" }))?;
        let key = secret_32(&Zeroizing::new(key.into_inner()))
            .map_err(|found| request.odd(Oddity::Length { part: "Plaintext", found }))?;
        Ok((key, request.ciphertext(answer.ciphertext_blob)?))
    }

    fn context(&self) -> HashMap<String, String> {
        HashMap::from([(CONTEXT_NAME.to_owned(), self.kek.to_string())])
    }

    fn request(&self, action: KmsAction) -> Request<'_> {
        let Self { target, kek, region, wire, .. } = self;
        // What an earlier call of this session took does not count for this one.
        wire.take_attempts();
        Request { action, key: target.key.as_str(), region, kek: *kek, wire }
    }
}

/// 32 bytes, or their number if it is another.
pub(super) fn secret_32(bytes: &[u8]) -> Result<Secret<32>, usize> {
    <&[u8; 32]>::try_from(bytes).map(Secret::copy_of).map_err(|_| bytes.len())
}

fn credentials_of(given: &StaticCredentials) -> Credentials {
    let StaticCredentials { access_key_id, secret_access_key, session_token } = given;
    let token = session_token.as_ref().map(|token| token.expose().to_owned());
    // The SDK erases its copies itself.
    Credentials::new(access_key_id, secret_access_key.expose(), token, None, "aegis settings")
}

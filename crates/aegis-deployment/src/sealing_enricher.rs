//! The enricher of a pipeline that follows the keyring and counts what it seals.

use std::sync::Arc;

use aegis_keyring::UsageMeter;
use aegis_pii::{EncryptorOptions, Moment, OptionsError, PiiEncryptor, SealingDek};
use aegis_telemetry::{Effect, Enriched, Enricher, Refusal};

use crate::active_dek::FollowedDek;

/// Seals personal fields under a [`FollowedDek`], and counts each event under its DEK.
#[derive(Debug)]
pub struct SealingEnricher {
    encryptor: PiiEncryptor,
    options: EncryptorOptions,
    followed: Arc<FollowedDek>,
    meter: Option<(Arc<SealingDek>, UsageMeter)>,
}

impl SealingEnricher {
    /// For the first worker; the pipeline makes those of the others.
    ///
    /// # Errors
    ///
    /// [`OptionsError`].
    pub fn new(followed: Arc<FollowedDek>, options: EncryptorOptions) -> Result<Self, OptionsError> {
        Ok(Self { encryptor: followed.encryptor(options.clone())?, options, followed, meter: None })
    }
}

impl Enricher for SealingEnricher {
    fn enrich(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Enriched, Refusal> {
        let before = self.encryptor.contexts_used();
        let done = self.encryptor.encrypt_event(Moment::now(), event, out)?;
        if let Some(dek) = &done.dek {
            if self.meter.as_ref().is_none_or(|(metered, _)| !Arc::ptr_eq(metered, dek)) {
                self.meter = self.followed.meter(dek).map(|meter| (Arc::clone(dek), meter));
            }
            if let Some((_, meter)) = &self.meter {
                meter.count(done.plaintext_bytes);
            }
        }
        Ok(Enriched {
            fields: done.sealed as u64,
            field_bytes: done.plaintext_bytes,
            contexts: self.encryptor.contexts_used() - before,
        })
    }

    fn effect(&self) -> Effect {
        Effect::Seals
    }

    fn another(&self) -> Box<dyn Enricher> {
        // Each thread asks for itself which DEK is active; the same options were taken before.
        let own = self.followed.encryptor(self.options.clone());
        Box::new(Self {
            encryptor: own.unwrap_or_else(|_| self.encryptor.another()),
            options: self.options.clone(),
            followed: Arc::clone(&self.followed),
            meter: None,
        })
    }
}

//! The DEKs used last, each with its opened contexts.

use std::sync::Arc;

use aegis_crypto::{Opener, Purpose};

use crate::dek::{DekName, DekUnavailable, OpeningDekSource};

/// At most so many DEKs, each with the keys of at most [`Opener::KEPT`] encapsulations.
pub(super) struct Openers {
    source: Arc<dyn OpeningDekSource>,
    /// The last used first.
    kept: Vec<(DekName, Opener)>,
}

impl Openers {
    /// Streams are read in order, so there are two DEKs around a rotation, and rarely more.
    const KEPT: usize = 8;

    pub(super) fn new(source: Arc<dyn OpeningDekSource>) -> Self {
        Self { source, kept: Vec::with_capacity(Self::KEPT) }
    }

    /// The opener for a DEK, from here or by way of the source.
    pub(super) fn opener(&mut self, dek: &[u8]) -> Result<&mut Opener, DekUnavailable> {
        match self.kept.iter().position(|(name, _)| name.as_str().as_bytes() == dek) {
            Some(0) => {}
            Some(place) => {
                if let Some(used) = self.kept.get_mut(..=place) {
                    used.rotate_right(1);
                }
            }
            None => {
                let name = str::from_utf8(dek).ok().and_then(|name| name.parse::<DekName>().ok());
                let name = name.ok_or(DekUnavailable::Unknown)?;
                let opener = Opener::new(self.source.private_key(&name)?, Purpose::Field);
                self.kept.truncate(Self::KEPT - 1);
                self.kept.insert(0, (name, opener));
            }
        }
        match self.kept.first_mut() {
            Some((_, opener)) => Ok(opener),
            None => Err(DekUnavailable::Unknown),
        }
    }

    /// The opener for a DEK, if it is here and was the last one used.
    pub(super) fn kept(&mut self, dek: &[u8]) -> Option<&mut Opener> {
        let (name, opener) = self.kept.first_mut()?;
        (name.as_str().as_bytes() == dek).then_some(opener)
    }

    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}

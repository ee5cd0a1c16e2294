//! Sealing: find the personal values, seal them, copy every other byte.

mod error;
mod options;
mod writer;

pub use error::EncryptError;
pub use options::{EncryptorOptions, OptionsError, Warning};

use std::fmt;
use std::sync::Arc;

use aegis_crypto::{BoxContent, Commitments, HybridPublicKey, Purpose, SealError, SealedEvent, Sealer};

use crate::binding::{BoundCache, Common, EventBinding};
use crate::dek::{DekName, DekNameError, SealingDek, SealingDekSource};
use crate::envelope::{CatalogueMark, EnvelopeForm, EnvelopeReader, PlaintextHash};
use crate::moment::{Moment, SecondText};
use crate::search::{Found, Search};
use crate::token::Tokens;
use writer::{FieldText, Shared, Writer};

/// An encryptor for the guide's twelve fields and one DEK: `create_pii_enricher(public_key, "dek-v1-20260101")`.
///
/// Options, and DEKs that rotate, are for [`PiiEncryptor::new`].
///
/// # Errors
///
/// [`DekNameError`] if `dek_version` is no version of a DEK.
pub fn create_pii_enricher(
    public_key: HybridPublicKey,
    dek_version: &str,
) -> Result<PiiEncryptor, DekNameError> {
    let dek = Arc::new(SealingDek { public_key, name: dek_version.parse()? });
    Ok(PiiEncryptor::new(Arc::new(dek), EncryptorOptions::default())
        .expect("the default options do not contradict one another"))
}

/// Seals the personal fields of events.
///
/// It works for one thread at a time: give each its own. One encapsulation serves many events
/// ([`Sealer`]), and all buffers are used again, so it is worth keeping.
pub struct PiiEncryptor {
    source: Arc<dyn SealingDekSource>,
    options: EncryptorOptions,
    sealing: Option<Sealing>,
    /// Sender contexts of DEKs before the present one.
    past_contexts: u64,
    search: Search,
    reader: EnvelopeReader,
    bound: BoundCache,
    tokens: Tokens,
    sealed_at: SecondText,
    sealed: SealedEvent,
    writer: Writer,
}

/// A DEK and the sender context for it.
struct Sealing {
    dek: Arc<SealingDek>,
    sealer: Sealer,
}

/// What became of an event.
#[derive(Debug, Clone, Default)]
pub struct Encrypted {
    /// Fields that were sealed now.
    pub sealed: usize,
    /// Fields that were sealed before, and copied.
    pub already_sealed: usize,
    /// Bytes of the values that were sealed.
    pub plaintext_bytes: u64,
    /// Under which DEK. `None` if there was nothing to seal.
    pub dek: Option<Arc<SealingDek>>,
}

impl PiiEncryptor {
    /// Seals under whatever DEK `source` calls active when an event comes.
    ///
    /// # Errors
    ///
    /// An [`OptionsError`].
    pub fn new(source: Arc<dyn SealingDekSource>, options: EncryptorOptions) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            source,
            search: Search::new(options.event_id_member.as_deref().unwrap_or_default()),
            options,
            sealing: None,
            past_contexts: 0,
            reader: EnvelopeReader::default(),
            bound: BoundCache::default(),
            tokens: Tokens::default(),
            sealed_at: SecondText::default(),
            sealed: SealedEvent::new(),
            writer: Writer::default(),
        })
    }

    /// What it was made with.
    pub const fn options(&self) -> &EncryptorOptions {
        &self.options
    }

    /// Another one with the same options and the same source of DEKs, for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.source), self.options.clone())
            .expect("the options were checked when this one was made")
    }

    /// How many sender contexts it has used so far, for whoever counts.
    pub fn contexts_used(&self) -> u64 {
        self.past_contexts + self.sealing.as_ref().map_or(0, |sealing| sealing.sealer.contexts_used())
    }

    /// Where its DEKs come from.
    pub fn dek_source(&self) -> &Arc<dyn SealingDekSource> {
        &self.source
    }

    /// Appends `event`, its personal fields sealed, to `out`. One event is one JSON text; white space around it, such as
    /// a line feed, is copied like all else.
    ///
    /// What is sealed already is copied, so that encrypting twice is encrypting once.
    ///
    /// # Errors
    ///
    /// An [`EncryptError`]; `out` is as it was, and the event must go nowhere.
    pub fn encrypt_event(
        &mut self,
        moment: Moment,
        event: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Encrypted, EncryptError> {
        self.encrypt_bound(moment, event, EventBinding::default(), out)
    }

    /// As [`encrypt_event`](Self::encrypt_event). `room` hears how many bytes it needs at most, what is appended among
    /// them, before there is memory for them: an event of many small fields becomes a hundred times as long.
    ///
    /// # Errors
    ///
    /// As [`encrypt_event`](Self::encrypt_event).
    pub fn encrypt_event_in(
        &mut self,
        moment: Moment,
        event: &[u8],
        out: &mut Vec<u8>,
        room: &mut dyn FnMut(usize),
    ) -> Result<Encrypted, EncryptError> {
        self.seal_and_write(moment, event, EventBinding::default(), out, room)
    }

    /// As [`encrypt_event`](Self::encrypt_event), bound to a tenant and an id besides. What the options say of either
    /// goes first.
    ///
    /// # Errors
    ///
    /// As [`encrypt_event`](Self::encrypt_event).
    pub fn encrypt_bound(
        &mut self,
        moment: Moment,
        event: &[u8],
        binding: EventBinding<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Encrypted, EncryptError> {
        self.seal_and_write(moment, event, binding, out, &mut |_| {})
    }

    fn seal_and_write(
        &mut self,
        moment: Moment,
        event: &[u8],
        binding: EventBinding<'_>,
        out: &mut Vec<u8>,
        room: &mut dyn FnMut(usize),
    ) -> Result<Encrypted, EncryptError> {
        self.search.run(event, &self.options.catalogue, &self.options.limits)?;
        let already_sealed = self.pass_envelopes(event);
        if self.search.found.is_empty() {
            room(event.len());
            out.extend_from_slice(event);
            return Ok(Encrypted { already_sealed, ..Encrypted::default() });
        }
        let form = self.form();
        room(self.most_memory(event, form));
        let dek = self.follow_dek(moment)?;
        self.sealed_at.set(moment.wall)?;
        let start = out.len();
        let done = self.write(moment, event, &dek.name, binding, form, out);
        self.bound.trim();
        if done.is_err() {
            out.truncate(start);
        }
        let plaintext_bytes = done?;
        Ok(Encrypted { sealed: self.search.found.len(), already_sealed, plaintext_bytes, dek: Some(dek) })
    }

    /// Encrypts one event now, into a vector of its own.
    ///
    /// # Errors
    ///
    /// As [`encrypt_event`](Self::encrypt_event).
    pub fn encrypt(&mut self, event: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let mut out = Vec::new();
        self.encrypt_event(Moment::now(), event, &mut out)?;
        Ok(out)
    }

    /// Gives the memory back that an unusually large event took, which is otherwise kept for the next one.
    pub fn release_memory(&mut self) {
        self.search.release_memory();
        self.reader.release_memory();
        self.sealed.release_memory();
        self.writer.release_memory();
    }

    /// Whether [`prepare`](Self::prepare) would save a later event 0.1 ms.
    pub fn wants_preparation(&self, moment: Moment) -> bool {
        match &self.sealing {
            Some(sealing) => sealing.sealer.wants_next(moment.monotonic),
            None => true,
        }
    }

    /// Does the work of a new sender context ahead, where nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`EncryptError::Dek`] or [`EncryptError::Seal`].
    pub fn prepare(&mut self, moment: Moment) -> Result<(), EncryptError> {
        self.follow_dek(moment)?;
        match &mut self.sealing {
            Some(sealing) if sealing.sealer.wants_next(moment.monotonic) => {
                Ok(sealing.sealer.prepare_next(moment.monotonic)?)
            }
            _ => Ok(()),
        }
    }

    /// Leaves what is sealed already out of what was found, and says how much it was.
    fn pass_envelopes(&mut self, event: &[u8]) -> usize {
        let Self { search, reader, .. } = self;
        let before = search.found.len();
        let header = search.outermost.header();
        // Read when the first compact field asks for it.
        let mut header_is_good = None;
        search.found.retain(|found| {
            if event.get(found.start) != Some(&b'{') {
                return true;
            }
            reader.clear();
            match reader.read_any(event, found.start, found.end) {
                None => true,
                Some(draft) if draft.is_compact() => !*header_is_good.get_or_insert_with(|| {
                    let value = header.as_ref().and_then(|header| event.get(header.value.clone()));
                    value.is_some_and(|value| reader.read_header(value))
                }),
                Some(_) => false,
            }
        });
        before - search.found.len()
    }

    /// The active DEK, with a sender context for it.
    fn follow_dek(&mut self, moment: Moment) -> Result<Arc<SealingDek>, EncryptError> {
        let dek = self.source.active().map_err(EncryptError::Dek)?;
        let is_same = self
            .sealing
            .as_ref()
            .is_some_and(|sealing| Arc::ptr_eq(&sealing.dek, &dek) || sealing.dek == dek);
        if !is_same {
            let sealer = Sealer::new(dek.public_key.clone(), Purpose::Field, moment.monotonic)?;
            self.past_contexts = self.contexts_used();
            self.sealing = Some(Sealing { dek: Arc::clone(&dek), sealer });
        }
        Ok(dek)
    }

    /// The compact form where it is wanted and unambiguous.
    fn form(&self) -> EnvelopeForm {
        let Search { outermost, other_claims, found, .. } = &self.search;
        let is_object = found.first().is_some_and(|found| found.place.is_in_object);
        match self.options.form {
            EnvelopeForm::Compact if is_object && !outermost.has_header_member() && *other_claims == 0 => {
                EnvelopeForm::Compact
            }
            _ => EnvelopeForm::SelfContained,
        }
    }

    /// The most memory that the event will need: what is written, and what is needed for that.
    fn most_memory(&self, event: &[u8], form: EnvelopeForm) -> usize {
        let found = &self.search.found;
        let values: usize = found.iter().map(len).sum();
        let fields = found.len() * Writer::most_field_len(form);
        let written = event.len() + values / 3 + fields + Writer::MOST_HEADER_LEN;
        // The bodies of a group stand beside what is written, and its short ones twice more, as text.
        let longest = found.iter().map(len).max().unwrap_or_default();
        written + found.len() * size_of::<Found>() + values.min(longest + 4 * Group::MAX_LEN)
    }

    /// Writes the event with sealed fields in the places of what was found, and says how many bytes were sealed.
    ///
    /// The fields are sealed a group at a time, so that little memory is needed besides that of the output; most
    /// events are one group.
    fn write(
        &mut self,
        moment: Moment,
        event: &[u8],
        dek: &DekName,
        binding: EventBinding<'_>,
        form: EnvelopeForm,
        out: &mut Vec<u8>,
    ) -> Result<u64, EncryptError> {
        const SEALED: &str = "a box was made for each value";
        let Self { options, sealing, search, bound, tokens, sealed_at, sealed, writer, .. } = self;
        let Search { found, places, outermost, .. } = search;
        let event_id = match options.event_id_member {
            Some(_) => outermost.event_id()?,
            None => binding.event_id.as_bytes(),
        };
        let tenant = options.tenant.as_deref().unwrap_or(binding.tenant);
        let catalogue = match (form, options.catalogue_mark) {
            (EnvelopeForm::SelfContained, CatalogueMark::Omit) => None,
            _ => Some(options.catalogue.version().as_str().as_bytes()),
        };
        let common = Common {
            by: options.bind_by,
            hash: options.plaintext_hash,
            dek: dek.as_str().as_bytes(),
            sealed_at: sealed_at.as_str().as_bytes(),
            catalogue,
            tenant: tenant.as_bytes(),
            event_id,
        };
        bound.set_common(&common);
        let commitments = match options.plaintext_hash {
            PlaintextHash::Keyed => Commitments::Make,
            PlaintextHash::BareSha256 => Commitments::Omit,
        };
        let sealing = sealing.as_mut().ok_or(SealError::Provider)?;
        let mut sealer = sealing.sealer.begin_event(moment.monotonic, found.len())?;
        writer.begin(&Shared {
            encapsulation: sealer.encapsulation(),
            dek,
            sealed_at: sealed_at.as_str(),
            form,
            hash: options.plaintext_hash,
            catalogue: options.catalogue.version(),
            mark: options.catalogue_mark,
        });
        out.reserve(
            event.len() + found.len() * writer.field_len() + writer.header_len() + {
                found.iter().map(|found| len(found) / 3 + 4).sum::<usize>()
            },
        );
        let mut at = 0;
        if form == EnvelopeForm::Compact {
            // The outermost value is an object, and has a member, or nothing would have been found in it.
            at = event.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1);
            out.extend_from_slice(event.get(..at).unwrap_or_default());
            writer.write_header(out);
        }
        let mut plaintext_bytes = 0;
        let mut rest = found.as_slice();
        while let Some(Group { fields, after }) = Group::of(rest) {
            rest = after;
            tokens.clear();
            for (number, found) in fields.iter().enumerate() {
                let token = match &options.search_tokens {
                    None => &[],
                    Some(wanted) => {
                        tokens.push(wanted, common.tenant, places.name(&found.place), value(event, found))
                    }
                };
                bound.set(number, &common, places.bound(&found.place, options.bind_by), token);
            }
            let mut contents = Vec::with_capacity(fields.len());
            for (number, found) in fields.iter().enumerate() {
                let plaintext = value(event, found);
                let associated_data = bound.associated_data(number).ok_or(SealError::Provider)?;
                contents.push(BoxContent { associated_data, plaintext });
                plaintext_bytes += plaintext.len() as u64;
            }
            sealer.seal(&contents, commitments, sealed)?;
            writer.take_bodies((0..sealed.len()).filter_map(|number| sealed.body(number)));
            for (number, found) in fields.iter().enumerate() {
                out.extend_from_slice(event.get(at..found.start).unwrap_or_default());
                writer.write_field(
                    FieldText {
                        body: sealed.body(number).expect(SEALED),
                        commitment: sealed.commitment(number),
                        plaintext: value(event, found),
                        token: tokens.token(number),
                    },
                    out,
                );
                at = found.end;
            }
        }
        out.extend_from_slice(event.get(at..).unwrap_or_default());
        Ok(plaintext_bytes)
    }
}

/// The fields that are sealed at once, and those after them.
struct Group<'a> {
    fields: &'a [Found],
    after: &'a [Found],
}

impl<'a> Group<'a> {
    /// As many as outlive an event in [`BoundCache`].
    const MAX_FIELDS: usize = BoundCache::KEPT;
    /// Most bytes of their values, if they are more than one.
    const MAX_LEN: usize = 64 << 10;

    /// The first group of these.
    fn of(found: &'a [Found]) -> Option<Self> {
        let mut bytes = 0_usize;
        let fits = |found: &&Found| {
            bytes = bytes.saturating_add(len(found));
            bytes <= Self::MAX_LEN
        };
        let count = found.iter().take(Self::MAX_FIELDS).take_while(fits).count().max(1);
        let (fields, after) = found.split_at_checked(count)?;
        Some(Self { fields, after })
    }
}

impl fmt::Debug for PiiEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PiiEncryptor")
            .field("options", &self.options)
            .field("dek", &self.sealing.as_ref().map(|sealing| &sealing.dek.name))
            .finish_non_exhaustive()
    }
}

/// Bytes of its value.
const fn len(found: &Found) -> usize {
    found.end - found.start
}

fn value<'a>(event: &'a [u8], found: &Found) -> &'a [u8] {
    event.get(found.start..found.end).unwrap_or_default()
}

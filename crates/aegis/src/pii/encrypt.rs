//! `pii encrypt`.

use std::process::ExitCode;
use std::sync::Arc;

use aegis_deployment::{FollowedDek, LOOK_INTERVAL};
use aegis_pii::stream::StreamOptions;
use aegis_pii::{
    CatalogueMark, EncryptError, EncryptorOptions, EnvelopeForm, FieldBinding, Limits, PlaintextHash,
    ScanFault, SearchTokens,
};
use aegis_terminal::Failure;
use serde::Serialize;

use super::dead_letters::{self, reasons};
use super::event_size::help_of_longer;
use super::events::{Explained, Job, Place, events, fields};
use super::{Bind, EncryptArguments, Envelope, PlaintextHash as Hash, token_key};
use crate::session::Session;

#[derive(Serialize)]
struct Report {
    events: u64,
    sealed: u64,
    already_sealed: u64,
    deks: Vec<String>,
    catalogue: String,
    refused: u64,
    first_refused: Option<Place>,
}

pub(super) fn run(arguments: EncryptArguments, session: &Session) -> Result<ExitCode, Failure> {
    let options = options(&arguments)?;
    for warning in options.warnings() {
        session.output.warn(&warning.to_string());
    }
    let EncryptArguments { source, streams, scope, dek_version, .. } = arguments;
    let what = "cannot seal anything";
    session.with_deployment(|deployment| {
        let keyring = deployment.keyring().map_err(|error| Failure::new(what, &error, error.help()))?;
        let followed = FollowedDek::start(&keyring, &scope, dek_version, LOOK_INTERVAL)
            .map_err(|error| Failure::new(what, &error, error.help()))?;
        let followed = Arc::new(followed);
        let failed = |error: aegis_pii::OptionsError| Failure::new(what, &error, error.help());
        // Options that contradict one another are found here, before a thread needs them.
        let first = followed.metered(options.clone()).map_err(failed)?;
        let mut first = Some(first);
        let make = || {
            first.take().unwrap_or_else(|| {
                followed.metered(options.clone()).expect("the same options were taken before")
            })
        };
        let job = Job {
            session,
            source: &source,
            streams: &streams,
            verb: "encrypt",
            mode: 0o666,
            options: StreamOptions {
                max_event_len: options.limits.max_event_len,
                ..StreamOptions::for_encryption()
            },
        };
        let letters = || followed.encryptor(dead_letters::options(&options)).map(Some).map_err(failed);
        let ended = job.run(make, letters, |error| explain(error, streams.array));
        if let Err(error) = followed.flush() {
            session.output.warn(&format!("the use of the DEK was not counted: {error}"));
        }
        let ended = ended?;
        let deks: Vec<String> = followed.used().iter().map(ToString::to_string).collect();
        let counts = ended.counts;
        let report = Report {
            events: counts.events,
            sealed: counts.sealed,
            already_sealed: counts.already_sealed,
            catalogue: options.catalogue.version().to_string(),
            refused: ended.refused,
            first_refused: job.first_refused(&ended),
            deks,
        };
        let mut line = format!("sealed {} of {}", fields(counts.sealed), events(counts.events));
        if !report.deks.is_empty() {
            line.push_str(&format!(" under {}", report.deks.join(", ")));
        }
        if counts.already_sealed > 0 {
            line.push_str(&format!("; {} sealed before", fields(counts.already_sealed)));
        }
        job.report(&report, &line)?;
        job.check_complete(&ended)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn options(arguments: &EncryptArguments) -> Result<EncryptorOptions, Failure> {
    let EncryptArguments {
        source: _,
        streams,
        catalogue,
        scope: _,
        dek_version: _,
        envelope,
        name_catalogue,
        plaintext_hash,
        bind,
        binding,
        token,
        token_key,
        token_epoch,
    } = arguments;
    let search_tokens = match token_key {
        Some(file) => {
            let key = Arc::new(token_key::read(file, *token_epoch)?);
            Some(SearchTokens { key, fields: token.clone() })
        }
        None => None,
    };
    Ok(EncryptorOptions {
        catalogue: catalogue.read()?,
        form: match envelope {
            Envelope::Full => EnvelopeForm::SelfContained,
            Envelope::Compact => EnvelopeForm::Compact,
        },
        catalogue_mark: match name_catalogue {
            true => CatalogueMark::Write,
            false => CatalogueMark::Omit,
        },
        plaintext_hash: match plaintext_hash {
            Hash::Keyed => PlaintextHash::Keyed,
            Hash::Sha256 => PlaintextHash::BareSha256,
        },
        bind_by: match bind {
            Bind::Pointer => FieldBinding::Pointer,
            Bind::Name => FieldBinding::Name,
        },
        tenant: binding.tenant.clone(),
        event_id_member: binding.event_id_member.clone(),
        search_tokens,
        limits: Limits {
            max_event_len: streams.event_size.or(Limits::for_encryption().max_event_len),
            ..Limits::for_encryption()
        },
    })
}

fn explain(error: &EncryptError, is_array: bool) -> Explained {
    let help = match error {
        EncryptError::Event(scan) => help_of(scan.fault, scan.offset, is_array).or_else(|| error.help()),
        _ => error.help(),
    };
    Explained { because: reasons(error), help }
}

/// What people do wrong more often than their producers.
pub(super) fn help_of(fault: ScanFault, offset: usize, is_array: bool) -> Option<String> {
    match fault {
        ScanFault::TooLong { .. } => Some(help_of_longer()),
        ScanFault::TooDeep { .. } | ScanFault::TooManyFields { .. } => {
            Some("split it, or go on without it: `--on-error dead-letter FILE`".to_owned())
        }
        ScanFault::UnexpectedEnd if !is_array => {
            Some("an event is one line; if the stream is one array, say `--array`".to_owned())
        }
        ScanFault::UnexpectedByte if offset == 0 => Some(
            "this is no JSON; a compressed file is read as such if its name ends in .gz or .zst".to_owned(),
        ),
        _ => None,
    }
}

//! `pii decrypt`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use aegis_deployment::{OpenedDeks, missing_dek};
use aegis_pii::stream::StreamOptions;
use aegis_pii::{DecryptError, DecryptorOptions, FieldRights, Limits, Unopenable};
use aegis_terminal::Failure;
use serde::Serialize;

use super::dead_letters::reasons;
use super::encrypt::help_of;
use super::events::{Explained, Job, Place, events, fields};
use super::{DecryptArguments, UnopenableFields, catalogue};
use crate::session::Session;

#[derive(Serialize)]
struct Report {
    events: u64,
    opened: u64,
    not_permitted: u64,
    unopenable: u64,
    malformed: u64,
    refused: u64,
    first_refused: Option<Place>,
}

pub(super) fn run(arguments: DecryptArguments, session: &Session) -> Result<ExitCode, Failure> {
    let options = options(&arguments)?;
    let DecryptArguments { source, streams, allow_retired, passphrase, .. } = arguments;
    session.with_deployment(|deployment| {
        let retired: BTreeSet<_> = allow_retired.into_iter().collect();
        let opened = deployment
            .open_deks(passphrase.file(), retired)
            .map_err(|error| Failure::new("cannot open anything", &error, error.help()))?;
        let opened = Arc::new(opened);
        let job = Job {
            session,
            source: &source,
            streams: &streams,
            verb: "decrypt",
            // It is personal data in the clear.
            mode: 0o600,
            options: StreamOptions {
                max_event_len: options.limits.max_event_len,
                ..StreamOptions::for_decryption()
            },
        };
        // A letter has no event in it: whatever it is, it stands in the input, and there is no DEK at hand to seal it to.
        let ended = job.run(
            || opened.decryptor(options.clone()),
            || Ok(None),
            |error| explain(error, &opened, streams.array),
        )?;
        let counts = ended.counts;
        let report = Report {
            events: counts.events,
            opened: counts.opened,
            not_permitted: counts.not_permitted,
            unopenable: counts.unopenable,
            malformed: counts.malformed,
            refused: ended.refused,
            first_refused: job.first_refused(&ended),
        };
        let mut line = format!("opened {} of {}", fields(counts.opened), events(counts.events));
        if counts.not_permitted > 0 {
            line.push_str(&format!("; {} left sealed, not asked for", fields(counts.not_permitted)));
        }
        job.report(&report, &line)?;
        if counts.unopenable > 0 {
            session.output.warn(&format!(
                "{} left sealed, for want of a key, or because it was changed",
                fields(counts.unopenable)
            ));
        }
        for refusal in opened.refusals() {
            session.output.warn(&refusal.to_string());
        }
        if counts.malformed > 0 {
            session.output.warn(&format!(
                "{} with a claim to be encrypted that is no envelope, copied as it stands",
                fields(counts.malformed)
            ));
        }
        job.check_complete(&ended)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn options(arguments: &DecryptArguments) -> Result<DecryptorOptions, Failure> {
    let DecryptArguments { streams, fields, min_priority, catalogue: file, unopenable, binding, .. } =
        arguments;
    let rights = match min_priority {
        None if fields.is_empty() => FieldRights::All,
        None => FieldRights::Only(fields.clone()),
        Some(priority) => {
            let failed = |error: aegis_pii::CatalogueError| {
                Failure::new("cannot tell which fields to open", &error, error.help())
            };
            let chosen = catalogue::file(file.as_ref())?.at_least(*priority).map_err(failed)?;
            let names = chosen.fields().iter().map(|field| field.selector.as_str());
            let is_wanted = |name: &&str| fields.is_empty() || fields.iter().any(|field| field == name);
            FieldRights::Only(names.filter(is_wanted).map(str::to_owned).collect())
        }
    };
    if let FieldRights::Only(names) = &rights
        && let Some(name) = names.iter().find(|name| name.starts_with('/') && name.contains("/*"))
    {
        return Err(Failure::because(
            "cannot tell which fields to open",
            format!("{name:?} has a `*`, which stands for any element when fields are sealed, and for nothing here"),
        )
        .with_help("name the field itself"));
    }
    Ok(DecryptorOptions {
        rights,
        unopenable: match unopenable {
            UnopenableFields::Refuse => Unopenable::Refuse,
            UnopenableFields::Leave => Unopenable::Leave,
        },
        tenant: binding.tenant.clone(),
        event_id_member: binding.event_id_member.clone(),
        limits: Limits {
            max_event_len: streams.event_size.or(Limits::for_decryption().max_event_len),
            ..Limits::for_decryption()
        },
    })
}

fn explain(error: &DecryptError, opened: &OpenedDeks, is_array: bool) -> Explained {
    let refusal = missing_dek(error).and_then(|dek| opened.refusal(dek));
    let mut because = reasons(error);
    let help = match &refusal {
        Some(refusal) => {
            // The keyring knows better than what the field was told.
            because.pop();
            because.extend(reasons(&**refusal));
            match &**refusal {
                aegis_keyring::OpenDekError::Retired { version } => Some(format!(
                    "`--allow-retired {version}` opens it all the same; `--unopenable leave` leaves it sealed"
                )),
                refusal => refusal.help(),
            }
        }
        None => match error {
            DecryptError::Event(scan) => help_of(scan.fault, scan.offset, is_array).or_else(|| error.help()),
            DecryptError::EventId(_) | DecryptError::Field { .. } => error.help(),
        },
    };
    Explained { because, help }
}

//! Which fields: the guide's twelve, with what a file and options say. `pii fields` prints them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use aegis_pii::{Catalogue, Field, Priority, Selector};
use aegis_terminal::output::table;
use aegis_terminal::{Failure, input};
use clap::Args;
use serde::Serialize;

use super::FieldsArguments;
use crate::session::Session;

// In this order they are applied. (A doc comment would become the help of the commands.)
#[derive(Args)]
pub(crate) struct CatalogueArguments {
    /// Take the fields from a JSON file, as docs/formats.md has it
    #[arg(long, value_name = "F")]
    catalogue: Option<PathBuf>,
    /// Only fields of at least this priority: critical, high, medium
    #[arg(long, value_name = "PRIORITY")]
    min_priority: Option<Priority>,
    /// Only these of the fields
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    fields: Vec<String>,
    /// All but these of the fields
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    without: Vec<String>,
    /// These fields too, in any case: names, and JSON Pointers, which begin with a slash
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    also: Vec<String>,
}

impl CatalogueArguments {
    /// The fields that are meant.
    pub(super) fn read(&self) -> Result<Catalogue, Failure> {
        let Self { catalogue, min_priority, fields, without, also } = self;
        let failed = |error: aegis_pii::CatalogueError| {
            Failure::new("cannot tell which fields are personal", &error, error.help())
        };
        let mut chosen = file(catalogue.as_ref())?;
        if let Some(priority) = min_priority {
            chosen = chosen.at_least(*priority).map_err(failed)?;
        }
        if !fields.is_empty() {
            chosen = chosen.only(&words(fields)).map_err(failed)?;
        }
        if !without.is_empty() {
            chosen = chosen.without(&words(without)).map_err(failed)?;
        }
        if !also.is_empty() {
            chosen = chosen.extended(also.iter().map(|text| field(text))).map_err(failed)?;
        }
        Ok(chosen)
    }
}

/// The catalogue of a file, or the guide's.
pub(super) fn file(path: Option<&PathBuf>) -> Result<Catalogue, Failure> {
    let Some(path) = path else { return Ok(Catalogue::guide()) };
    let what = format!("cannot read the catalogue {}", input::name(path));
    let bytes = input::read(path, Catalogue::MAX_CONFIG_LEN as u64, &what)?;
    Catalogue::from_json(&bytes).map_err(|error| Failure::new(what, &error, error.help()))
}

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// A field that somebody takes the trouble to add.
fn field(text: &str) -> Field {
    let selector = match text.starts_with('/') {
        true => Selector::Pointer(text.to_owned()),
        false => Selector::Name(text.to_owned()),
    };
    Field { selector, description: String::new(), priority: Priority::Critical }
}

#[derive(Serialize)]
struct Report<'a> {
    catalogue: &'a str,
    fields: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    priority: &'static str,
    description: &'a str,
}

pub(super) fn list(arguments: &FieldsArguments, session: &Session) -> Result<ExitCode, Failure> {
    let FieldsArguments { catalogue, form: _ } = arguments;
    let catalogue = catalogue.read()?;
    let report = Report {
        catalogue: catalogue.version().as_str(),
        fields: catalogue.fields().iter().map(Row::new).collect(),
    };
    session.output.report(&report, |out| print(out, &report))?;
    Ok(ExitCode::SUCCESS)
}

impl<'a> Row<'a> {
    fn new(field: &'a Field) -> Self {
        let Field { selector, description, priority } = field;
        let (name, pointer) = match selector {
            Selector::Name(name) => (Some(name.as_str()), None),
            Selector::Pointer(pointer) => (None, Some(pointer.as_str())),
        };
        Self { name, pointer, priority: priority.name(), description }
    }
}

fn print(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let rows: Vec<_> = report
        .fields
        .iter()
        .map(|row| {
            let field = row.name.or(row.pointer).unwrap_or_default();
            [field.to_owned(), row.priority.to_owned(), row.description.to_owned()]
        })
        .collect();
    table(out, ["FIELD", "PRIORITY", "DESCRIPTION"], &rows)?;
    writeln!(out, "catalogue {}: {} fields", report.catalogue, rows.len())
}

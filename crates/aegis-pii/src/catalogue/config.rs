//! A catalogue from configuration, which is JSON.
//!
//! ```json
//! {"extend": [{"name": "email", "priority": "critical", "description": "E-mail address"},
//!             {"pointer": "/users/*/phone", "priority": "high"}],
//!  "min_priority": "high",
//!  "only": ["email", "actor_id"],
//!  "without": ["actor_id"]}
//! ```
//!
//! It begins with the guide's twelve fields, and the steps are taken in the order above, whatever order they are
//! written in. Each may be missing; nothing else may be there.

use serde_json::{Map, Value};

use super::{Catalogue, CatalogueError, Field, Priority, PriorityError, Selector};

impl Catalogue {
    /// The longest configuration, in bytes.
    pub const MAX_CONFIG_LEN: usize = 1 << 20;

    /// Reads a configuration: the guide's fields with what `extend`, `min_priority`, `only` and `without` say.
    ///
    /// # Errors
    ///
    /// A [`CatalogueConfigError`] that names the member.
    pub fn from_json(config: &[u8]) -> Result<Self, CatalogueConfigError> {
        if config.len() > Self::MAX_CONFIG_LEN {
            return Err(CatalogueConfigError::TooLong { found: config.len() });
        }
        let config: Value = serde_json::from_slice(config)
            .map_err(|error| CatalogueConfigError::Json { line: error.line(), column: error.column() })?;
        let Value::Object(config) = config else {
            return Err(CatalogueConfigError::Member { member: "the configuration", expected: "an object" });
        };
        check_members(&config, &["extend", "min_priority", "only", "without"])?;

        let mut catalogue = Self::guide();
        if let Some(extend) = config.get("extend") {
            let extend = extend
                .as_array()
                .ok_or(CatalogueConfigError::Member { member: "extend", expected: "a list of fields" })?;
            catalogue = catalogue.extended(extend.iter().map(field_of).collect::<Result<Vec<_>, _>>()?)?;
        }
        if let Some(priority) = config.get("min_priority") {
            catalogue = catalogue.at_least(priority_of("min_priority", priority)?)?;
        }
        if let Some(only) = config.get("only") {
            catalogue = catalogue.only(&selectors_of("only", only)?)?;
        }
        if let Some(without) = config.get("without") {
            catalogue = catalogue.without(&selectors_of("without", without)?)?;
        }
        Ok(catalogue)
    }
}

/// Why a configuration gives no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueConfigError {
    /// More bytes than [`Catalogue::MAX_CONFIG_LEN`].
    #[error(
        "a catalogue's configuration has at most {} bytes, this one has {found}",
        Catalogue::MAX_CONFIG_LEN
    )]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// No JSON.
    #[error("the catalogue's configuration is no JSON, line {line} column {column}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A member of the wrong type, or missing.
    #[error("in the catalogue's configuration, {member} has to be {expected}")]
    Member {
        /// Its name.
        member: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A member that means nothing.
    #[error("the catalogue's configuration has no member {found:?}")]
    UnknownMember {
        /// Its name, at most 64 characters of it.
        found: String,
    },
    /// No priority.
    #[error(transparent)]
    Priority(#[from] PriorityError),
    /// Well written, and no catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl CatalogueConfigError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Catalogue(error) => error.help(),
            Self::UnknownMember { .. } => Some(
                "it has extend, min_priority, only and without; a field has name or pointer, priority and description"
                    .to_owned(),
            ),
            Self::TooLong { .. } | Self::Json { .. } | Self::Member { .. } | Self::Priority(_) => None,
        }
    }
}

fn check_members(object: &Map<String, Value>, known: &[&str]) -> Result<(), CatalogueConfigError> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(CatalogueConfigError::UnknownMember { found: name.chars().take(64).collect() }),
        None => Ok(()),
    }
}

fn field_of(entry: &Value) -> Result<Field, CatalogueConfigError> {
    let Some(entry) = entry.as_object() else {
        return Err(CatalogueConfigError::Member { member: "extend", expected: "a list of fields" });
    };
    check_members(entry, &["name", "pointer", "priority", "description"])?;
    let text = |member: &'static str| match entry.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(CatalogueConfigError::Member { member, expected: "a string" }),
    };
    let selector = match (text("name")?, text("pointer")?) {
        (Some(name), None) => Selector::Name(name),
        (None, Some(pointer)) => Selector::Pointer(pointer),
        _ => {
            return Err(CatalogueConfigError::Member {
                member: "extend",
                expected: "a list of fields, each with a name or a pointer",
            });
        }
    };
    let priority = match entry.get("priority") {
        Some(priority) => priority_of("priority", priority)?,
        // What somebody takes the trouble to add is not left out by a minimum.
        None => Priority::Critical,
    };
    Ok(Field { selector, description: text("description")?.unwrap_or_default(), priority })
}

fn priority_of(member: &'static str, value: &Value) -> Result<Priority, CatalogueConfigError> {
    let name = value.as_str().ok_or(CatalogueConfigError::Member { member, expected: "a priority" })?;
    Ok(name.parse()?)
}

fn selectors_of<'a>(member: &'static str, value: &'a Value) -> Result<Vec<&'a str>, CatalogueConfigError> {
    let list = || value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    list().ok_or(CatalogueConfigError::Member { member, expected: "a list of names and pointers" })
}

//! Which fields are personal.

mod builtin;
mod config;
mod names;
mod pointers;

pub use config::CatalogueConfigError;
pub(crate) use names::Names;
pub(crate) use pointers::{Follower, Pointers};

use std::fmt;
use std::str::FromStr;

use aegis_crypto::sha256;

/// How bad it would be if a field were read by the wrong people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Who asked, who signed.
    Medium,
    /// Identifiers of people and of what they did.
    High,
    /// Who decided what and why, and signatures.
    Critical,
}

impl Priority {
    /// Every priority, the lowest first.
    pub const ALL: [Self; 3] = [Self::Medium, Self::High, Self::Critical];

    /// Its name in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(name: &str) -> Result<Self, PriorityError> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.name() == name)
            .ok_or_else(|| PriorityError { found: name.chars().take(64).collect() })
    }
}

/// A name of no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no priority; they are medium, high and critical")]
pub struct PriorityError {
    /// The name, at most 64 characters of it.
    pub found: String,
}

/// How a field is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// Members of this name, at any depth.
    Name(String),
    /// The value at this JSON Pointer (RFC 6901). The token `*` matches every element of an array; of an object, the
    /// member of that name.
    Pointer(String),
}

impl Selector {
    /// The name or pointer.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Pointer(text) => text,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// How it is found.
    pub selector: Selector,
    /// What it holds.
    pub description: String,
    /// How bad it would be.
    pub priority: Priority,
}

/// Names a catalogue: `cat1-` and the first 16 hex digits of a SHA-256 over what it selects and with which priority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CatalogueVersion(String);

impl CatalogueVersion {
    /// Its text, as sealed events carry it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text has the form of one.
    pub(crate) fn is_well_formed(text: &[u8]) -> bool {
        text.strip_prefix(VERSION_PREFIX.as_bytes()).is_some_and(|hex| {
            hex.len() == 16 && hex.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
}

impl fmt::Display for CatalogueVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The personal fields, in a form that is fast to ask.
///
/// Names match at any depth and whatever their escapes; pointers match one place. Nobody is asked about what is inside
/// a value that is sealed already.
#[derive(Debug, Clone)]
pub struct Catalogue {
    fields: Vec<Field>,
    names: Names,
    pointers: Pointers,
    version: CatalogueVersion,
}

impl Catalogue {
    /// The most entries.
    pub const MAX_FIELDS: usize = 4096;

    /// The longest name or pointer, in bytes.
    pub const MAX_SELECTOR_LEN: usize = 1024;

    /// The twelve fields of the key management guide.
    pub fn guide() -> Self {
        Self::new(builtin::guide()).expect("the twelve fields are different names")
    }

    /// Exactly these fields, in this order.
    ///
    /// # Errors
    ///
    /// A [`CatalogueError`] that names the entry.
    pub fn new(fields: Vec<Field>) -> Result<Self, CatalogueError> {
        if fields.is_empty() {
            return Err(CatalogueError::Empty);
        }
        if fields.len() > Self::MAX_FIELDS {
            return Err(CatalogueError::TooMany { found: fields.len() });
        }
        let mut selectors: Vec<&Selector> = fields.iter().map(|field| &field.selector).collect();
        selectors.sort_unstable();
        if let Some([twice, _]) = selectors.array_windows().find(|[one, other]| one == other) {
            return Err(CatalogueError::Twice { selector: (*twice).clone() });
        }
        for selector in &selectors {
            check_selector(selector)?;
        }
        let version = version_of(&fields);
        let names = Names::new(fields.iter().filter_map(|field| match &field.selector {
            Selector::Name(name) => Some(name.as_bytes()),
            Selector::Pointer(_) => None,
        }));
        let pointers = Pointers::new(fields.iter().filter_map(|field| match &field.selector {
            Selector::Name(_) => None,
            Selector::Pointer(pointer) => Some(pointer.as_str()),
        }));
        Ok(Self { fields, names, pointers, version })
    }

    /// These fields too. One that is there already gets the new description and priority.
    ///
    /// # Errors
    ///
    /// A [`CatalogueError`] that names the entry.
    pub fn extended(self, more: impl IntoIterator<Item = Field>) -> Result<Self, CatalogueError> {
        let mut fields = self.fields;
        for field in more {
            match fields.iter_mut().find(|known| known.selector == field.selector) {
                Some(known) => *known = field,
                None => fields.push(field),
            }
        }
        Self::new(fields)
    }

    /// Only the fields of at least this priority.
    ///
    /// # Errors
    ///
    /// [`CatalogueError::Empty`] if none is left.
    pub fn at_least(self, priority: Priority) -> Result<Self, CatalogueError> {
        Self::new(self.fields.into_iter().filter(|field| field.priority >= priority).collect())
    }

    /// Only the fields with these names and pointers.
    ///
    /// # Errors
    ///
    /// [`CatalogueError::Unknown`] if the catalogue has not all of them: a name mistyped would leave a field in the
    /// clear. [`CatalogueError::Empty`] if none is left.
    pub fn only(self, selectors: &[&str]) -> Result<Self, CatalogueError> {
        self.check_known(selectors)?;
        let is_wanted = |field: &Field| selectors.contains(&field.selector.as_str());
        Self::new(self.fields.into_iter().filter(is_wanted).collect())
    }

    /// All fields but those with these names and pointers.
    ///
    /// # Errors
    ///
    /// As [`only`](Self::only).
    pub fn without(self, selectors: &[&str]) -> Result<Self, CatalogueError> {
        self.check_known(selectors)?;
        let is_wanted = |field: &Field| !selectors.contains(&field.selector.as_str());
        Self::new(self.fields.into_iter().filter(is_wanted).collect())
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Its version, which changes whenever what it selects does.
    pub const fn version(&self) -> &CatalogueVersion {
        &self.version
    }

    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) const fn pointers(&self) -> &Pointers {
        &self.pointers
    }

    fn check_known(&self, selectors: &[&str]) -> Result<(), CatalogueError> {
        let is_known =
            |selector: &&&str| self.fields.iter().any(|field| field.selector.as_str() == **selector);
        match selectors.iter().find(|selector| !is_known(selector)) {
            Some(selector) => Err(CatalogueError::Unknown { found: selector.chars().take(64).collect() }),
            None => Ok(()),
        }
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::guide()
    }
}

/// Why fields are no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// No field.
    #[error("the catalogue of personal fields is empty, so nothing would be sealed")]
    Empty,
    /// More fields than [`Catalogue::MAX_FIELDS`].
    #[error("a catalogue has at most {} fields, this one has {found}", Catalogue::MAX_FIELDS)]
    TooMany {
        /// Fields that were given.
        found: usize,
    },
    /// One field, two entries.
    #[error("the field {selector} is in the catalogue twice")]
    Twice {
        /// Its selector.
        selector: Selector,
    },
    /// A name or pointer of more than [`Catalogue::MAX_SELECTOR_LEN`] bytes.
    #[error("a field's name or pointer has at most {} bytes, one has {found}", Catalogue::MAX_SELECTOR_LEN)]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// An empty name.
    #[error("a field's name is empty")]
    EmptyName,
    /// A name that envelopes use.
    #[error("{name:?} is a member of envelopes and cannot be a field")]
    Reserved {
        /// The name.
        name: String,
    },
    /// Not as RFC 6901 has it, or the whole event.
    #[error("{pointer:?} is no JSON Pointer to a value inside an event")]
    BadPointer {
        /// The pointer.
        pointer: String,
    },
    /// A field that is to be kept or left out, and is not there.
    #[error("the catalogue has no field {found:?}")]
    Unknown {
        /// Its name or pointer, at most 64 characters of it.
        found: String,
    },
}

impl CatalogueError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Empty => Some("name at least one field, or lower the priority".to_owned()),
            Self::BadPointer { .. } => {
                Some("write it like /user/email or /users/*/email; ~ is ~0 and / is ~1 in a name".to_owned())
            }
            Self::Unknown { .. } => Some("`aegis pii fields` lists them".to_owned()),
            Self::Twice { .. } => Some("leave one of them out".to_owned()),
            Self::TooMany { .. } | Self::TooLong { .. } | Self::EmptyName | Self::Reserved { .. } => None,
        }
    }
}

const VERSION_PREFIX: &str = "cat1-";

fn check_selector(selector: &Selector) -> Result<(), CatalogueError> {
    let found = selector.as_str().len();
    if found > Catalogue::MAX_SELECTOR_LEN {
        return Err(CatalogueError::TooLong { found });
    }
    match selector {
        Selector::Name(name) if name.is_empty() => Err(CatalogueError::EmptyName),
        Selector::Name(name) if crate::envelope::MEMBERS.contains(&name.as_str()) => {
            Err(CatalogueError::Reserved { name: name.clone() })
        }
        Selector::Pointer(pointer) if !pointers::is_well_formed(pointer) => {
            Err(CatalogueError::BadPointer { pointer: pointer.clone() })
        }
        Selector::Pointer(pointer) => match pointers::reserved_token(pointer) {
            Some(name) => Err(CatalogueError::Reserved { name: name.to_owned() }),
            None => Ok(()),
        },
        Selector::Name(_) => Ok(()),
    }
}

/// Of the sorted entries; descriptions may be translated without another version.
fn version_of(fields: &[Field]) -> CatalogueVersion {
    let mut entries: Vec<[&str; 3]> = fields
        .iter()
        .map(|field| match &field.selector {
            Selector::Name(name) => ["name", name, field.priority.name()],
            Selector::Pointer(pointer) => ["pointer", pointer, field.priority.name()],
        })
        .collect();
    entries.sort_unstable();
    let mut text = Vec::new();
    for part in entries.as_flattened() {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    let digest = sha256(&text).to_string();
    CatalogueVersion(format!("{VERSION_PREFIX}{}", digest.split_at(16).0))
}

//! What is opened, and what becomes of the rest.

use crate::Limits;
use crate::place::{Place, Places};

/// What is opened, and what becomes of the rest.
#[derive(Debug, Clone)]
pub struct DecryptorOptions {
    /// Which fields the reader may have.
    pub rights: FieldRights,
    /// What becomes of an event with a field that does not open.
    pub unopenable: Unopenable,
    /// The tenant to which fields are bound.
    pub tenant: Option<String>,
    /// The member of the outermost object that holds the event's id, if fields were bound to it.
    pub event_id_member: Option<String>,
    /// What is too large.
    pub limits: Limits,
}

impl Default for DecryptorOptions {
    fn default() -> Self {
        Self {
            rights: FieldRights::default(),
            unopenable: Unopenable::default(),
            tenant: None,
            event_id_member: None,
            limits: Limits::for_decryption(),
        }
    }
}

/// Which fields a reader may have. All others stay sealed, and are never opened on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FieldRights {
    /// Every field.
    #[default]
    All,
    /// Those of these names; and, where an entry begins with a slash, the one at this JSON Pointer.
    Only(Vec<String>),
}

impl FieldRights {
    #[inline]
    pub(super) fn permit(&self, places: &Places, place: &Place) -> bool {
        match self {
            Self::All => true,
            Self::Only(fields) => {
                let (name, pointer) = (places.name(place), places.pointer(place));
                fields.iter().any(|field| {
                    if field.starts_with('/') {
                        field.as_bytes() == pointer
                    } else {
                        field.as_bytes() == name
                    }
                })
            }
        }
    }
}

/// What becomes of an event with a field that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unopenable {
    /// It is refused as a whole.
    #[default]
    Refuse,
    /// The field stays sealed, and is counted; unless trying again may help.
    Leave,
}

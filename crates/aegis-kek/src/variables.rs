//! Settings as they are read: from the process, from a file. Every value is held as if it were a secret.

use zeroize::Zeroizing;

/// A text that may be secret. Erased on drop; it has no `Debug`, `Display` or `Clone`.
pub struct SecretText(Zeroizing<Box<str>>);

impl SecretText {
    /// Takes a text. The caller erases any other copy.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(Box::from(text)))
    }

    /// Lends the text. Each call is a line that a reviewer can search for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where settings are looked up by name.
pub struct Variables {
    given: Vec<(String, SecretText)>,
    process: bool,
}

impl Variables {
    /// The variables of this process, looked up when they are asked for.
    pub const fn of_process() -> Self {
        Self { given: Vec::new(), process: true }
    }

    /// These and no others.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let given = pairs.into_iter().map(|(name, value)| (name.to_owned(), SecretText::new(value)));
        Self { given: given.collect(), process: false }
    }

    /// The value of `name`; an empty one counts as none.
    ///
    /// # Errors
    ///
    /// [`NotUnicode`] if it is set to what is no text.
    pub fn get(&self, name: &str) -> Result<Option<SecretText>, NotUnicode> {
        if let Some((_, value)) = self.given.iter().find(|(given, _)| given == name) {
            return Ok(Some(SecretText::new(value.expose())).filter(|value| !value.expose().is_empty()));
        }
        if !self.process {
            return Ok(None);
        }
        let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let bytes = Zeroizing::new(value.into_encoded_bytes());
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(SecretText::new(text))),
            Err(_) => Err(NotUnicode { name: name.to_owned() }),
        }
    }
}

/// A variable is set to bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable {name} is not valid UTF-8")]
pub struct NotUnicode {
    /// Its name.
    pub name: String,
}

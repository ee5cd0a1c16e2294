//! Any bytes as a variables file, and every setting that one holds as what it should be.

use aegis_kek::{KNOWN_VARIABLES, VariableState, VariablesFile};

/// What is read can be written, and is then read as the same; no setting breaks whoever asks for it.
pub(crate) fn run(bytes: &[u8]) {
    let file = match VariablesFile::parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.help().is_some());
            return;
        }
    };
    let printed = file.to_text();
    let again = VariablesFile::parse(printed.expose().as_bytes()).expect("what we write, we read");
    let pairs = |file: &VariablesFile| -> Vec<_> {
        file.iter().map(|(name, value)| (name.to_owned(), value.expose().to_owned())).collect()
    };
    assert_eq!(pairs(&again), pairs(&file));
    assert_eq!(again.to_text().expose(), printed.expose());

    let shown = format!("{file:?}");
    let pairs = pairs(&file);
    let variables = file.into_variables();
    for (name, value) in &pairs {
        assert_eq!(variables.is_set(name), !value.is_empty());
        assert!(shown.contains(name.as_str()));
    }
    for known in KNOWN_VARIABLES {
        match variables.state(known) {
            VariableState::NotSet => assert!(!variables.is_set(known.name)),
            VariableState::WellFormed => assert!(variables.is_set(known.name)),
            VariableState::Malformed(error) => {
                assert!(variables.is_set(known.name) && error.name == known.name && error.help().is_some());
            }
        }
    }
}

//! What names a store, and what does not.

use aegis_kek::Variables;
use aegis_keyring::{AddressFault, DatabaseError, StoreError, open_store_with};
use test_services::scratch;

use crate::fixture::{filled, nth_version, told};

fn refusal(address: &str) -> StoreError {
    match open_store_with(address, &Variables::of_pairs([])) {
        Ok(store) => panic!("{address}: opened {}", store.location()),
        Err(error) => error,
    }
}

#[test]
fn a_file_has_three_spellings() {
    let dir = scratch::dir();
    let path = dir.path().join("key ring:1.db").display().to_string();
    for (nth, address) in
        [path.clone(), format!("sqlite:{path}"), format!("sqlite://{path}")].iter().enumerate()
    {
        let store = open_store_with(address, &Variables::of_pairs([])).unwrap();
        assert_eq!(store.location(), path);
        if nth == 0 {
            filled(store.as_ref(), 1);
        }
        assert!(store.dek(nth_version(1)).unwrap().is_some());
    }
}

#[test]
fn refuses_addresses_that_name_nothing_and_never_repeats_them() {
    let cases = [
        ("", AddressFault::NoFile),
        ("sqlite:", AddressFault::NoFile),
        ("sqlite::memory:", AddressFault::NoFile),
        ("sqlite://host/path", AddressFault::Scheme),
        ("mysql://u:s3cret@h/d", AddressFault::Scheme),
        ("Postgres://u:s3cret@h/d", AddressFault::Scheme),
        ("postgres://u:s3cret@h/d?s3cret", AddressFault::Parameter),
        ("postgres://u:s3cret@x@h/d", AddressFault::Malformed),
        ("postgres://u:s3cret@/d", AddressFault::Incomplete { what: "host", variable: "PGHOST" }),
    ];
    for (address, expected) in cases {
        let error = refusal(address);
        assert!(!format!("{error:?} {}", told(&error)).contains("s3cret"), "{error:?}");
        match error {
            StoreError::Database(DatabaseError::Address { fault, .. }) => {
                assert_eq!(fault, expected, "{address}");
            }
            other => panic!("{address}: {other:?}"),
        }
    }
}

#[test]
fn a_password_file_is_private_and_readable_or_refused() {
    let dir = scratch::dir();
    let path = dir.path().join("pgpass");
    let address = "postgres://u@127.0.0.1:1/d";
    let open = |path: &std::path::Path| {
        let variables = Variables::of_pairs([("PGPASSFILE", path.to_str().unwrap())]);
        open_store_with(address, &variables).map(|store| store.location().to_owned()).unwrap_err()
    };
    let missing = open(&path);
    assert!(matches!(
        missing,
        StoreError::Database(DatabaseError::Address { fault: AddressFault::File { .. }, .. })
    ));
    assert!(told(&missing).contains("it is not there"), "{}", told(&missing));
    test_services::postgres::private_copy("*:*:*:*:s3cret\n", &path);
    assert!(matches!(open(&path), StoreError::Database(DatabaseError::Unavailable { .. })));
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = open(&path);
    assert!(matches!(error, StoreError::Database(DatabaseError::Insecure { .. })));
    assert!(!told(&error).contains("s3cret"));
    // The one in the home directory need not be there.
    let home = Variables::of_pairs([("HOME", dir.path().to_str().unwrap())]);
    assert!(matches!(
        open_store_with(address, &home).map(drop),
        Err(StoreError::Database(DatabaseError::Unavailable { .. }))
    ));
}

//! The way to the server: TLS, sockets, passwords.

use std::time::Duration;

use aegis_kek::Variables;
use aegis_keyring::{AddressFault, DatabaseError, PostgresStore, Store as _, StoreError};
use test_services::postgres::{Postgres, private_copy};
use test_services::scratch;

use crate::fixture::{filled, told};

fn open(address: &str, variables: &Variables) -> Result<PostgresStore, StoreError> {
    PostgresStore::open_patiently(address, variables, Duration::from_secs(20))
}

#[test]
fn tls_is_verified_or_there_is_none() {
    let Some(server) = Postgres::start_with_tls("TLS is verified") else { return };
    let none = Variables::of_pairs([]);
    let database = server.database();
    let dir = scratch::dir();
    let (ours, other, empty) =
        (dir.path().join("ours.pem"), dir.path().join("other.pem"), dir.path().join("empty.pem"));
    private_copy(&server.authority(), &ours);
    private_copy(&server.authority().replace('A', "B"), &other);
    private_copy("", &empty);
    let named = database.url.replace("127.0.0.1", "localhost");
    let encrypted = || {
        let name = &database.name;
        server.sql("postgres", &format!("SELECT bool_and(s.ssl) FROM pg_stat_ssl AS s JOIN pg_stat_activity AS a USING (pid) WHERE a.datname = '{name}'"))
    };
    for mode in ["require", "verify-ca", "verify-full"] {
        let store = open(&format!("{named}?sslmode={mode}&sslrootcert={}", ours.display()), &none).unwrap();
        assert_eq!(store.keks().unwrap().len(), 0);
        assert_eq!(encrypted(), "t", "{mode}");
    }
    let variables =
        Variables::of_pairs([("PGSSLMODE", "require"), ("PGSSLROOTCERT", ours.to_str().unwrap())]);
    filled(&open(&named, &variables).unwrap(), 1);

    let refused = |address: &str| open(address, &none).err().unwrap();
    let ours = ours.display();
    let unknown = refused(&format!("{named}?sslmode=require"));
    assert!(
        matches!(unknown, StoreError::Database(DatabaseError::Denied { .. })),
        "an authority that nobody knows: {unknown:?}"
    );
    assert!(unknown.help().unwrap().contains("sslrootcert"), "{unknown:?}");
    let elsewhere = refused(&format!("{}?sslmode=verify-ca&sslrootcert={ours}", database.url));
    assert!(
        matches!(elsewhere, StoreError::Database(DatabaseError::Denied { .. })),
        "a certificate for another name: {elsewhere:?}"
    );
    let none_there = dir.path().join("none.pem");
    // What is there and what is not are told apart.
    for (unusable, why) in
        [(&other, "there is none in it"), (&empty, "there is none in it"), (&none_there, "No such file")]
    {
        let error = refused(&format!("{named}?sslmode=require&sslrootcert={}", unusable.display()));
        assert!(
            matches!(
                error,
                StoreError::Database(DatabaseError::Address { fault: AddressFault::File { .. }, .. })
            ),
            "{error:?}"
        );
        assert!(!told(&error).contains(&database.password));
        assert!(told(&error).contains(why), "{}", told(&error));
    }
    // On this machine it may be left out.
    let _open = open(&database.url, &none).unwrap();
    assert_eq!(encrypted(), "f");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_wanted() {
    let Some(server) = Postgres::shared("a server without TLS") else { return };
    let database = server.database();
    let error = open(&format!("{}?sslmode=require", database.url), &Variables::of_pairs([])).err().unwrap();
    assert!(matches!(error, StoreError::Database(DatabaseError::Denied { .. })), "{error:?}");
    assert!(error.help().unwrap().contains("switch TLS on"), "{error:?}");
}

#[test]
fn takes_the_password_from_variable_or_file_and_the_socket_by_its_directory() {
    let Some(server) = Postgres::shared("takes the password from variable or file") else { return };
    let database = server.database();
    let (name, password) = (&database.name, database.password.as_str());
    let without = database.url.replace(&format!(":{password}@"), "@");
    open(&without, &Variables::of_pairs([("PGPASSWORD", password)])).unwrap();
    let dir = scratch::dir();
    let file = dir.path().join(".pgpass");
    private_copy(&format!("# ours\nother:*:*:*:no\n*:{}:{name}:keeper:{password}\n", server.port()), &file);
    open(&without, &Variables::of_pairs([("PGPASSFILE", file.to_str().unwrap())])).unwrap();
    open(&without, &Variables::of_pairs([("HOME", dir.path().to_str().unwrap())])).unwrap();
    let wrong = Variables::of_pairs([("PGPASSWORD", "wr0ng"), ("HOME", dir.path().to_str().unwrap())]);
    assert!(matches!(open(&without, &wrong), Err(StoreError::Database(DatabaseError::Denied { .. }))));

    let port = server.port();
    let socket = format!("postgres:///{name}?host={}&port={port}&user=keeper", server.socket_dir().display());
    let store = open(&socket, &Variables::of_pairs([("PGPASSWORD", password)])).unwrap();
    filled(&store, 1);
    assert!(!store.location().contains(password));
}

#[test]
fn a_dump_of_the_database_has_boxes_and_no_password() {
    let Some(server) = Postgres::shared("a dump of the database") else { return };
    let database = server.database();
    let store = open(&database.url, &Variables::of_pairs([])).unwrap();
    let kek = filled(&store, 2);
    let dump = String::from_utf8(server.dump(&database.name)).unwrap();
    let sealed = crate::fixture::wrapping(crate::fixture::nth_version(1), kek).sealed;
    let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(dump.contains(&hex));
    assert!(!dump.contains(&database.password));
}

//! A value that no record can be made of, in every column of every table: it is named, and never skipped.

use std::ops::ControlFlow;

use aegis_keyring::{Damage, DatabaseError, DekQuery, Store, StoreError};
use test_services::postgres::Postgres;

use crate::fixture::{filled, kek, nth_version, told};
use crate::on::Place;

/// Which call has to find it, besides `check`.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Keks,
    Deks,
    Wrappings,
    /// Nobody asks for it but `check`.
    Check,
}

struct Case {
    table: &'static str,
    column: &'static str,
    /// Put into the row; bytes are `x'…'`.
    value: &'static str,
    /// Part of what is told.
    found: &'static str,
    by: By,
}

const fn case(
    table: &'static str,
    column: &'static str,
    value: &'static str,
    found: &'static str,
    by: By,
) -> Case {
    Case { table, column, value, found, by }
}

const CASES: &[Case] = &[
    case("keks", "key_id", "x'00'", "not that of its public_key", By::Keks),
    case("keks", "public_key", "x'00'", "1 bytes that are no key", By::Keks),
    case("keks", "public_key", "FLIPPED", "key", By::Keks),
    case("keks", "provider", "'abacus'", "\"abacus\"", By::Keks),
    case("keks", "state", "'gone'", "\"gone\"", By::Keks),
    case("keks", "created_at", "'yesterday'", "\"yesterday\"", By::Keks),
    case("keks", "changed_at", "'2026-01-01T00:00:00+00:00'", "+00:00", By::Keks),
    case("keks", "grace_until", "''", "\"\"", By::Keks),
    case("deks", "scope", "'No Scope'", "\"No Scope\"", By::Deks),
    case("deks", "state", "'zombie'", "\"zombie\"", By::Deks),
    case("deks", "messages", "-1", "-1, less than 0", By::Deks),
    case("deks", "bytes", "-9223372036854775808", "less than 0", By::Deks),
    case("deks", "created_at", "'2026-13-01T00:00:00Z'", "2026-13", By::Deks),
    case("deks", "changed_at", "'0'", "\"0\"", By::Deks),
    case("deks", "destroy_after", "'soon'", "\"soon\"", By::Deks),
    case("deks", "public_key", "x''", "0 bytes that are no key", By::Deks),
    case("wrappings", "verified_at", "'once'", "\"once\"", By::Check),
    case("boxes", "sealed", "x''", "0 bytes", By::Wrappings),
    case("boxes", "sealed", "LONG", "65537 bytes", By::Wrappings),
];

fn find(store: &dyn Store, case: &Case) {
    let kek = kek(0).key_id();
    let table = if case.table == "boxes" { "wrappings" } else { case.table };
    let expect = |call: &str, result: Result<(), StoreError>| match result {
        Err(StoreError::Database(DatabaseError::Damaged {
            damage: Damage::Row { table: at, row, column, found },
            ..
        })) => {
            assert_eq!((at, column), (table, case.column), "{call}: {found}");
            assert!(found.contains(case.found), "{call}: {found}");
            assert!(row == "dek-v1-20260101" || table == "keks" && row == "row 1", "{row}");
        }
        other => panic!("{call} of {}.{} = {}: {other:?}", case.table, case.column, case.value),
    };
    expect("check", store.check());
    let all = DekQuery { scope: None, state: None, after: None, limit: 9 };
    let keks = store.keks().map(drop);
    let deks = store.deks(&all).map(drop);
    let dek = store.dek(nth_version(1)).map(drop);
    let wrapping = store.wrapping(nth_version(1), kek).map(drop);
    let under = store.wrappings_under(kek, false, None, 9).map(drop);
    let to_make = store.wrappings_to_make(kek, kek, None, 9).map(drop);
    let dump = store.dump(&mut |_| ControlFlow::Continue(()));
    match case.by {
        By::Keks => expect("keks", keks),
        By::Deks => {
            expect("deks", deks);
            expect("dek", dek);
            if case.column == "public_key" {
                expect("wrappings_under", under);
            }
        }
        By::Wrappings => {
            expect("wrapping", wrapping);
            expect("wrappings_under", under);
        }
        By::Check => {}
    }
    if case.by != By::Check {
        expect("dump", dump);
    }
    let _ = to_make;
    let error = store.check().unwrap_err();
    assert!(error.help().unwrap().contains("aegis backup restore"), "{}", told(&error));
}

fn value(case: &Case, bytes: impl Fn(&str) -> String) -> String {
    match case.value {
        "FLIPPED" => bytes(&"ff".repeat(1216)),
        "LONG" => bytes(&"ab".repeat(65_537)),
        value => match value.strip_prefix("x'") {
            Some(hex) => bytes(hex.trim_end_matches('\'')),
            None => value.to_owned(),
        },
    }
}

/// A rotation is under way, so that every call has something to read; two DEKs, of which the first is damaged.
fn fill(store: &dyn Store) {
    filled(store, 2);
}

#[test]
fn sqlite_names_every_damaged_value() {
    for case in CASES {
        let place = Place::sqlite();
        let store = place.open();
        fill(store.as_ref());
        let raw = rusqlite::Connection::open(&place.address).unwrap();
        raw.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
        let key = match case.table {
            "deks" => "ordinal = 202601010000001",
            "wrappings" => "dek = 202601010000001",
            _ => "id = 1",
        };
        let value = value(case, |hex| format!("x'{hex}'"));
        raw.execute_batch(&format!("UPDATE {} SET {} = {value} WHERE {key}", case.table, case.column))
            .unwrap();
        find(store.as_ref(), case);
    }
}

#[test]
fn sqlite_names_values_of_another_type() {
    let cases = [
        ("keks", "provider", "x'00'", By::Keks),
        ("keks", "key_id", "'text'", By::Keks),
        ("keks", "created_at", "NULL", By::Keks),
        ("deks", "scope", "x'64656661756c74'", By::Deks),
        ("deks", "public_key", "'text'", By::Deks),
        ("deks", "messages", "'many'", By::Deks),
        ("deks", "bytes", "1.5", By::Deks),
        ("deks", "changed_at", "NULL", By::Deks),
        ("deks", "destroy_after", "17", By::Deks),
        ("deks", "state", "CAST(x'ff' AS TEXT)", By::Deks),
    ];
    for (table, column, value, by) in cases {
        let place = Place::sqlite();
        fill(place.open().as_ref());
        let raw = rusqlite::Connection::open(&place.address).unwrap();
        // Takes the table's strictness away for a moment.
        let sql: String = raw
            .query_row("SELECT sql FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
            .unwrap();
        let loose = sql.replace("STRICT", "").replace("NOT NULL", "");
        let set = "UPDATE sqlite_schema SET sql = ?1 WHERE name = ?2";
        raw.execute_batch("PRAGMA writable_schema = ON").unwrap();
        raw.execute(set, [&loose, table]).unwrap();
        drop(raw);
        let raw = rusqlite::Connection::open(&place.address).unwrap();
        raw.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA writable_schema = ON").unwrap();
        raw.execute_batch(&format!(
            "UPDATE {table} SET {column} = {value} WHERE rowid IN (1, 202601010000001)"
        ))
        .unwrap();
        raw.execute(set, [&sql, table]).unwrap();
        drop(raw);

        let store = place.open();
        let all = DekQuery { scope: None, state: None, after: None, limit: 9 };
        let result = if by == By::Keks { store.keks().map(drop) } else { store.deks(&all).map(drop) };
        match result {
            Err(StoreError::Database(DatabaseError::Damaged {
                damage: Damage::Row { table: at, column: found, .. },
                ..
            })) => {
                assert_eq!((at, found), (table, column));
            }
            other => panic!("{table}.{column} = {value}: {other:?}"),
        }
        assert!(matches!(store.check(), Err(StoreError::Database(DatabaseError::Damaged { .. }))));
    }
}

#[test]
fn sqlite_names_rows_that_refer_to_nothing() {
    let cases = [
        ("DELETE FROM boxes WHERE id = 1", "box of dek-v1-20260101"),
        ("UPDATE wrappings SET box = 77 WHERE dek = 202601010000001", "box of dek-v1-20260101"),
        ("UPDATE wrappings SET kek = 77 WHERE dek = 202601010000001", "kek of dek-v1-20260101"),
        ("DELETE FROM deks WHERE ordinal = 202601010000001", "dek of dek-v1-20260101"),
        ("UPDATE wrappings SET dek = 77 WHERE dek = 202601010000001", "dek of a row"),
        ("UPDATE deks SET ordinal = 5 WHERE ordinal = 202601010000001", "ordinal of a row"),
        ("UPDATE deks SET state = 'destroyed' WHERE ordinal = 202601010000001", "destroyed DEK"),
        ("INSERT INTO boxes (sealed) VALUES (x'00')", "3 boxes for 2 wrappings"),
    ];
    for (sql, expected) in cases {
        let place = Place::sqlite();
        let store = place.open();
        fill(store.as_ref());
        let raw = rusqlite::Connection::open(&place.address).unwrap();
        raw.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
        raw.execute_batch(sql).unwrap();
        let error = store.check().unwrap_err();
        assert!(told(&error).contains(expected), "{sql}: {}", told(&error));
        let listed = store.wrappings_under(kek(0).key_id(), false, None, 9);
        if expected.starts_with("box") || expected.starts_with("dek") {
            assert!(
                matches!(listed, Err(StoreError::Database(DatabaseError::Damaged { .. }))),
                "{sql}: {listed:?}"
            );
        }
    }
}

#[test]
fn sqlite_never_reads_a_value_that_is_far_too_long() {
    let place = Place::sqlite();
    let store = place.open();
    fill(store.as_ref());
    let raw = rusqlite::Connection::open(&place.address).unwrap();
    raw.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    raw.execute_batch("UPDATE boxes SET sealed = zeroblob(100000000) WHERE id = 1").unwrap();
    let read = store.wrapping(nth_version(1), kek(0).key_id());
    assert!(matches!(read, Err(StoreError::Database(DatabaseError::Damaged { .. }))), "{read:?}");
    assert!(matches!(store.check(), Err(StoreError::Database(DatabaseError::Damaged { .. }))));
}

/// Takes every constraint away that could refuse a bad value.
const LOOSEN: &str = "DO $$ DECLARE c record; BEGIN
    FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint
             WHERE connamespace = 'aegis'::regnamespace AND contype IN ('c', 'f') LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
    END LOOP; END $$";

#[test]
fn postgres_names_every_damaged_value() {
    let Some(server) = Postgres::shared("postgres_names_every_damaged_value") else { return };
    let place = Place::on_server(server);
    let name = &place.database.as_ref().unwrap().name;
    let store = place.open();
    fill(store.as_ref());
    server.sql(name, LOOSEN);
    server.sql(name, "CREATE SCHEMA good");
    for table in ["keks", "deks", "wrappings"] {
        server.sql(name, &format!("CREATE TABLE good.{table} AS TABLE aegis.{table}"));
    }
    for case in CASES {
        let (table, key) = match case.table {
            "keks" => ("keks", "id = 1"),
            "deks" => ("deks", "ordinal = 202601010000001"),
            _ => ("wrappings", "dek = 202601010000001"),
        };
        let value = value(case, |hex| format!("decode('{hex}', 'hex')"));
        server.sql(name, &format!("UPDATE aegis.{table} SET {} = {value} WHERE {key}", case.column));
        find(store.as_ref(), case);
        server.sql(name, &format!("DELETE FROM aegis.{table}; INSERT INTO aegis.{table} TABLE good.{table}"));
        store.check().unwrap();
    }
    let orphans = [
        ("UPDATE aegis.wrappings SET kek = 77 WHERE dek = 202601010000001", "kek of dek-v1-20260101"),
        ("DELETE FROM aegis.deks WHERE ordinal = 202601010000001", "dek of dek-v1-20260101"),
        ("UPDATE aegis.wrappings SET dek = 77 WHERE dek = 202601010000001", "dek of a row"),
        ("UPDATE aegis.deks SET ordinal = 5 WHERE ordinal = 202601010000002", "no DEK"),
        ("UPDATE aegis.deks SET state = 'destroyed' WHERE ordinal = 202601010000001", "destroyed DEK"),
        ("DROP INDEX aegis.one_active_dek", "one_active_dek is missing"),
        ("ALTER TABLE aegis.wrappings DROP COLUMN dek", "missing"),
    ];
    for (sql, expected) in orphans {
        server.sql(name, sql);
        let error = store.check().unwrap_err();
        assert!(matches!(error, StoreError::Database(DatabaseError::Damaged { .. })), "{sql}: {error:?}");
        assert!(told(&error).contains(expected), "{sql}: {}", told(&error));
        if !sql.contains("DROP") {
            for table in ["wrappings", "deks"] {
                let again =
                    format!("DELETE FROM aegis.{table}; INSERT INTO aegis.{table} TABLE good.{table}");
                server.sql(name, &again);
            }
            store.check().unwrap();
        }
    }
}

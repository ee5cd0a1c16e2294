//! A value that no record can be made of, in every column of every table: it is named, and never skipped.

use aegis_approval::{Closed, Decision, KeyState, Request, RequestQuery, Store, StoreError};
use aegis_database::{Damage, DatabaseError};
use test_services::postgres::Postgres;

use crate::fixture::*;
use crate::on::Place;

/// Which calls have to find it, besides `check`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Registry,
    /// One request, and the list.
    Request,
    /// The same, and the report.
    Report,
    Rotation,
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
    case("people", "roles", "'Risk Lead'", "\"Risk Lead\"", By::Registry),
    case("people", "roles", "''", "\"\"", By::Registry),
    case("people", "roles", "'risk_lead auditor'", "\"risk_lead auditor\"", By::Registry),
    case("people", "roles", "'risk_lead risk_lead'", "risk_lead risk_lead", By::Registry),
    case("keys", "key_id", "x'00'", "1 bytes", By::Registry),
    case("keys", "key_id", "ZEROS", "not that of its public_key", By::Registry),
    case("keys", "public_key", "'bip322:AAAA'", "no public key", By::Registry),
    case("keys", "public_key", "''", "no public key", By::Registry),
    case("keys", "person", "'No Name'", "\"No Name\"", By::Registry),
    case("keys", "person", "'nobody'", "nobody, who is nobody", By::Registry),
    case("keys", "registered", "'yesterday'", "\"yesterday\"", By::Registry),
    case("keys", "state", "'gone'", "\"gone\"", By::Registry),
    case("keys", "state", "'active'", "does not go with its end", By::Registry),
    case("keys", "state", "'revoked'", "does not go with its end", By::Registry),
    case("keys", "ended", "'2026-01-01T00:00:00+00:00'", "+00:00", By::Registry),
    case("keys", "ended", "NULL", "not that of an active key", By::Registry),
    case("keys", "replaced_by", "x'00'", "1 bytes", By::Registry),
    case("keys", "replaced_by", "NULL", "missing", By::Registry),
    case("requests", "id", "'req-00000000000000000000000000000000'", "not that of its document", By::Request),
    case("requests", "revision", "-1", "-1", By::Request),
    case("requests", "kind", "'kek.retire'", "not that of its document", By::Request),
    case("requests", "kind", "'party'", "\"party\"", By::Report),
    case("requests", "subject", "'other'", "not that of its document", By::Request),
    case("requests", "audience", "'deployment:x'", "not that of its document", By::Request),
    case("requests", "audience", "'mars'", "\"mars\"", By::Report),
    case("requests", "requester", "'bob'", "not that of its document", By::Request),
    case("requests", "quorum", "'risk_lead=2'", "not that of its document", By::Request),
    case("requests", "quorum", "'risk_lead=1'", "\"risk_lead=1\"", By::Report),
    case("requests", "quorum", "'risk_lead'", "\"risk_lead\"", By::Report),
    case("requests", "usable_until", "0", "not that of its document", By::Request),
    case("requests", "state", "'zombie'", "\"zombie\"", By::Report),
    case("requests", "closed_at", "'soon'", "\"soon\"", By::Report),
    case("requests", "closed_by", "'two' || chr(10) || 'lines'", "two\\nlines", By::Report),
    case("documents", "request", "'{}'", "no request", By::Request),
    case("documents", "request", "SPACED", "no request", By::Request),
    case("signatures", "decision", "'maybe'", "\"maybe\"", By::Report),
    case("signatures", "role", "'Risk Lead'", "\"Risk Lead\"", By::Report),
    case("signatures", "signed", "'2026-11-26T12:01:00.0Z'", "12:01:00.0Z", By::Report),
    case("texts", "signature", "'smpAAAA'", "no signature", By::Request),
    case("texts", "signature", "''", "no signature", By::Request),
    case("rotations", "old_key", "x'00'", "1 bytes", By::Rotation),
    case("rotations", "person", "'No Name'", "\"No Name\"", By::Rotation),
    case("rotations", "reason", "''", "\"\"", By::Rotation),
    case("rotations", "started", "'0'", "\"0\"", By::Rotation),
    case("rotations", "new_key", "x'00'", "1 bytes", By::Rotation),
    case("rotations", "with_deks", "2", "the number 2", By::Rotation),
    case("rotations", "step", "'lost'", "\"lost\"", By::Rotation),
    case("rotations", "updated", "''", "\"\"", By::Rotation),
];

/// What is damaged: two keys of one person, of which one replaced the other, and a request that was used.
struct Filled {
    request: Request,
    rita: Person,
}

fn fill(store: &dyn Store) -> Filled {
    let (rita, second) = (Person::new("rita", "risk_lead"), Person::new("rita", "risk_lead"));
    rita.join(store);
    second.join(store);
    let request = asked(store);
    sign(store, &request, &rita.gives(&request, Decision::Approve)).unwrap();
    let used = Closed::Consumed { at: at(3), used_for: "a change".to_owned() };
    store.close(request.id(), 2, 2, &used, None).unwrap();
    store
        .end_key(2, &rita.name, rita.key_id(), &KeyState::Replaced { at: at(4), by: second.key_id() })
        .unwrap();
    store.begin_rotation(&rotation(rita.key_id())).unwrap();
    store.check().unwrap();
    Filled { request, rita }
}

fn find(store: &dyn Store, case: &Case, filled: &Filled) {
    let table = if case.table == "texts" { "signatures" } else { case.table };
    let expect = |call: &str, result: Result<(), StoreError>| match result {
        Err(StoreError::Database(DatabaseError::Damaged {
            damage: Damage::Row { table: at, row, column, found },
            ..
        })) => {
            assert_eq!(
                (at, column),
                (table, row_column(case)),
                "{call} of {} = {}: {found}",
                case.column,
                case.value
            );
            assert!(found.contains(case.found), "{call}: {found}");
            assert_ne!(row, "", "{call}");
        }
        other => panic!("{call} of {}.{} = {}: {other:?}", case.table, case.column, case.value),
    };
    expect("check", store.check());
    let request = || store.request(filled.request.id()).map(drop);
    let all = RequestQuery { limit: 9, ..RequestQuery::default() };
    let list = || store.requests(&all).map(drop);
    match case.by {
        By::Registry => expect("registry", store.registry().map(drop)),
        By::Request | By::Report => {
            expect("requests", list());
            if case.column != "id" {
                expect("request", request());
            }
            // What only contradicts the document is not told where that is not read.
            if case.by != By::Request {
                expect("report", store.signed_by(filled.rita.key_id(), None, 9).map(drop));
            }
        }
        By::Rotation => expect("rotations", store.rotations(false).map(drop)),
    }
    let error = store.check().unwrap_err();
    assert!(error.help().unwrap().contains("put back a copy"), "{}", told(&error));
}

fn row_column(case: &Case) -> &'static str {
    match (case.column, case.value) {
        // It is said of the state what does not go with it.
        ("ended", "NULL") => "state",
        (column, _) => column,
    }
}

fn value(case: &Case, filled: &Filled, bytes: impl Fn(&str) -> String) -> String {
    match case.value {
        "ZEROS" => bytes(&"00".repeat(32)),
        "SPACED" => format!("'{}'", filled.request.to_json().replacen(':', ": ", 1).replace('\'', "''")),
        value => match value.strip_prefix("x'") {
            Some(hex) => bytes(hex.trim_end_matches('\'')),
            None => value.to_owned(),
        },
    }
}

fn key_of(case: &Case) -> &'static str {
    match case.table {
        "people" => "person = 'rita'",
        "signatures" => "request = 1",
        "texts" => "number = 64",
        _ => "number = 1",
    }
}

#[test]
fn sqlite_names_every_damaged_value() {
    for case in CASES {
        let place = Place::sqlite();
        let store = place.open();
        let filled = fill(store.as_ref());
        let raw = rusqlite::Connection::open(&place.address).unwrap();
        raw.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
        let value = value(case, &filled, |hex| format!("x'{hex}'")).replace("chr(10)", "char(10)");
        let Case { table, column, .. } = case;
        raw.execute_batch(&format!("UPDATE {table} SET {column} = {value} WHERE {}", key_of(case))).unwrap();
        find(store.as_ref(), case, &filled);
    }
}

/// What refers to nothing, and what nothing refers to.
const ORPHANS: &[(&str, &str)] = &[
    ("DELETE FROM @registry", "the table registry is empty"),
    ("DELETE FROM @people", "person"),
    ("DELETE FROM @keys WHERE number = 1", "key of request 1 in table signatures is the number of no key"),
    ("DELETE FROM @keys WHERE number = 2", "replaced_by"),
    ("DELETE FROM @documents", "number of row 1 in table requests is that of no document"),
    ("DELETE FROM @texts", "place of request 1 in table signatures is that of no text"),
    ("DELETE FROM @requests", "1 documents, of which 0 belong to requests"),
    (
        "INSERT INTO @documents (number, request) VALUES (7, 'x')",
        "2 documents, of which 1 belong to requests",
    ),
    ("INSERT INTO @texts (number, signature) VALUES (777, 'x')", "2 texts, of which 1 belong to requests"),
    ("UPDATE @signatures SET place = 1; UPDATE @texts SET number = 65", "which leaves a gap"),
    ("UPDATE @signatures SET request = 77", "1 signatures, of which 0 belong to requests"),
    ("UPDATE @keys SET replaced_by = key_id WHERE number = 1", "replaced_by"),
];

fn is_told(store: &dyn Store, sql: &str, expected: &str) {
    let error = store.check().unwrap_err();
    let is_damage = matches!(error, StoreError::Database(DatabaseError::Damaged { .. }));
    assert!(is_damage && told(&error).contains(expected), "{sql}: {}", told(&error));
}

#[test]
fn sqlite_names_rows_that_refer_to_nothing() {
    for (sql, expected) in ORPHANS {
        let place = Place::sqlite();
        let store = place.open();
        fill(store.as_ref());
        let raw = rusqlite::Connection::open(&place.address).unwrap();
        raw.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
        raw.execute_batch(&sql.replace('@', "")).unwrap();
        is_told(store.as_ref(), sql, expected);
    }
}

#[test]
fn sqlite_names_an_index_that_is_missing() {
    let place = Place::sqlite();
    let store = place.open();
    fill(store.as_ref());
    let raw = rusqlite::Connection::open(&place.address).unwrap();
    raw.execute_batch("DROP INDEX one_decision_of_a_key").unwrap();
    is_told(store.as_ref(), "DROP INDEX", "one_decision_of_a_key");
    drop(store);
    let error = aegis_approval::SqliteStore::open(place.address.as_ref()).err().unwrap();
    assert!(told(&error).contains("one_decision_of_a_key"), "{}", told(&error));
}

#[test]
fn sqlite_finds_a_page_that_was_overwritten() {
    let place = Place::sqlite();
    let store = place.open();
    let [rita, _] = leads(store.as_ref());
    for _ in 0..40 {
        let request = asked(store.as_ref());
        sign(store.as_ref(), &request, &rita.approves(&request)).unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(&place.address).unwrap();
    let pages = bytes.len() / 16_384;
    assert!(pages > 10);
    for page in 1..pages {
        let sound = bytes.clone();
        bytes[page * 16_384..page * 16_384 + 8192].fill(0xa5);
        std::fs::write(&place.address, &bytes).unwrap();
        // Some cannot even be opened.
        let opened = aegis_approval::SqliteStore::open(place.address.as_ref());
        let found = opened.and_then(|store| store.check());
        let is_damage = matches!(found, Err(StoreError::Database(DatabaseError::Damaged { .. })));
        assert!(is_damage, "page {page} of {pages}: {found:?}");
        bytes = sound;
    }
}

/// Takes every constraint away that could refuse a bad value.
const LOOSEN: &str = "DO $$ DECLARE c record; BEGIN
    FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint
             WHERE connamespace = 'aegis_approval'::regnamespace AND contype IN ('c', 'f') LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
    END LOOP; END $$";

const TABLES: [&str; 8] =
    ["registry", "people", "keys", "requests", "documents", "signatures", "texts", "rotations"];

#[test]
fn postgres_names_every_damaged_value_and_reference() {
    let Some(server) = Postgres::shared("postgres_names_every_damaged_value") else { return };
    let place = Place::on_server(server);
    let name = &place.database.as_ref().unwrap().name;
    let store = place.open();
    let filled = fill(store.as_ref());
    let keep: String =
        TABLES.map(|table| format!("CREATE TABLE good.{table} AS TABLE aegis_approval.{table};")).concat();
    server.sql(name, &format!("{LOOSEN}; CREATE SCHEMA good; {keep}"));
    let again: String = TABLES
        .map(|table| {
            format!(
                "DELETE FROM aegis_approval.{table}; INSERT INTO aegis_approval.{table} TABLE good.{table};"
            )
        })
        .concat();
    for case in CASES {
        let value = value(case, &filled, |hex| format!("decode('{hex}', 'hex')"));
        let Case { table, column, .. } = case;
        let set = format!("UPDATE aegis_approval.{table} SET {column} = {value} WHERE {}", key_of(case));
        server.sql(name, &set);
        find(store.as_ref(), case, &filled);
        server.sql(name, &again);
    }
    store.check().unwrap();
    for (sql, expected) in ORPHANS {
        server.sql(name, &sql.replace('@', "aegis_approval."));
        is_told(store.as_ref(), sql, expected);
        server.sql(name, &again);
    }
    store.check().unwrap();
    server.sql(name, "DROP INDEX aegis_approval.one_decision_of_a_key");
    is_told(store.as_ref(), "DROP INDEX", "one_decision_of_a_key is missing");
}

//! Configurations that are refused, and those that are taken.

use std::os::unix::fs::PermissionsExt as _;

use crate::machine::Machine;

const SOURCE: &str = "[source]\nkind = \"stdin\"\n";
const PII: &str = "[[enricher]]\nkind = \"pii\"\n";
const SINK: &str = "[[sink]]\nkind = \"stdout\"\n";
const FIXED: &str = "dek_version = \"dek-v1-20260101\"\npublic_key_file = ";
/// What nobody is to see again: a secret that somebody wrote down.
const WRITTEN: &str = "s3cret-that-was-written-down";

/// From the documentation of nkeys.
const NKEY: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

struct Case {
    config: String,
    /// The line and the key.
    place: &'static str,
    why: &'static str,
}

fn case(config: impl Into<String>, place: &'static str, why: &'static str) -> Case {
    Case { config: config.into(), place, why }
}

/// A pipeline whose sink has these keys, which begin in line 6.
fn sink(kind: &str, keys: &str) -> String {
    format!("{SOURCE}{PII}[[sink]]\nkind = \"{kind}\"\n{keys}")
}

fn cases() -> Vec<Case> {
    let file_source = "[source]\nkind = \"file\"\npath = \"a\"\nstate = \"b\"\n";
    let nats_source = "[source]\nkind = \"nats\"\nservers = [\"nats://127.0.0.1:4222\"]\nstream = \"S\"\nconsumer = \"C\"\n";
    vec![
        // Shape.
        case("", "line 1: source", "it is missing"),
        case("[source", "line 1: the file", "this is no TOML"),
        case("[source]\nkind = \"stdin\"\nkind = \"stdin\"\n", "line 3: the file", "this is no TOML"),
        case("source = 17\n", "line 1: source", "not a table"),
        case("[source]\nkind = 17\n", "line 2: source.kind", "not a word"),
        case("[source]\nkind = \"kafka\"\n", "line 2: source.kind", "it is none of stdin, file, nats"),
        case("[source]\n", "line 1: source.kind", "it is missing"),
        case(format!("{SOURCE}{SINK}"), "line 1: enricher", "it is missing"),
        case(format!("{SOURCE}{PII}"), "line 1: sink", "it is missing"),
        case(format!("{SOURCE}{PII}{PII}{SINK}"), "line 6: enricher[2].kind", "enricher[1] has the same"),
        case(format!("{SOURCE}[enricher]\nkind = \"pii\"\n{SINK}"), "line 3: enricher", "begun with [[…]]"),
        case(format!("{SOURCE}[[enricher]]\n{SINK}"), "line 3: enricher[1].kind", "it is missing"),
        case(format!("{SOURCE}{PII}{SINK}{SINK}"), "sink[2].name", "sink[1] has the same"),
        // Keys that mean nothing.
        case(format!("{SOURCE}{PII}{SINK}[pipelin]\n"), "line 7: pipelin", "did you mean pipeline?"),
        case(format!("{SOURCE}paht = \"x\"\n{PII}{SINK}"), "line 3: source.paht", "no such key"),
        case(
            format!("{file_source}roate_wait = \"5s\"\n{PII}{SINK}"),
            "line 5: source.roate_wait",
            "did you mean rotate_wait?",
        ),
        case(
            format!("{SOURCE}{PII}tenat = \"x\"\n{SINK}"),
            "line 5: enricher[1].tenat",
            "did you mean tenant?",
        ),
        case(sink("stdout", "path = \"x\"\n"), "line 7: sink[1].path", "no such key"),
        case(sink("file", "path = \"x\"\nurl = \"http://a\"\n"), "line 8: sink[1].url", "no such key"),
        // Values.
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nworkers = 0\n"),
            "pipeline.workers",
            "it is not from 1 to 256",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nworkers = -1\n"),
            "pipeline.workers",
            "it is not from 1 to 256",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nworkers = \"2\"\n"),
            "pipeline.workers",
            "it is a string, not a number",
        ),
        case(format!("{SOURCE}{PII}{SINK}[pipeline]\nworkers = 99999999999999999999\n"), "line 8", ""),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\ndrain_timeout = 5\n"),
            "pipeline.drain_timeout",
            "not a time",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\ndrain_timeout = \"5 weeks\"\n"),
            "pipeline.drain_timeout",
            "it is no time",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nmax_event = \"1MB\"\n"),
            "pipeline.max_event",
            "it is no number of bytes",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nmetrics = \"0.0.0.0:9464\"\n"),
            "pipeline.metrics",
            "no loopback address",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nmetrics = \"9464\"\n"),
            "pipeline.metrics",
            "no loopback address",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\ndead_letters_max = \"1MiB\"\n"),
            "pipeline.dead_letters_max",
            "it needs dead_letters",
        ),
        case(format!("{SOURCE}{PII}{SINK}[pipeline]\nspool = \"\"\n"), "pipeline.spool", "it is empty"),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nspool = \"a\\u0000b\"\n"),
            "pipeline.spool",
            "a control character",
        ),
        case(format!("{SOURCE}{PII}{SINK}[queue]\nevents = 0\n"), "queue.events", "it is not from 1"),
        case(
            format!("{SOURCE}{PII}{SINK}[queue]\nwhen_full = \"drop\"\n"),
            "queue.when_full",
            "none of block, shed",
        ),
        case(
            format!("{file_source}{PII}{SINK}[queue]\nwhen_full = \"shed\"\n"),
            "queue.when_full",
            "loses nothing",
        ),
        case(
            format!("{nats_source}{PII}{SINK}[queue]\nwhen_full = \"shed\"\n"),
            "queue.when_full",
            "loses nothing",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nmax_event = \"5MiB\"\n"),
            "pipeline.max_event",
            "from 2 to 4194304",
        ),
        // Sources.
        case(
            format!("[source]\nkind = \"file\"\npath = \"a\"\n{PII}{SINK}"),
            "line 1: source.state",
            "it is missing",
        ),
        case(
            format!("[source]\nkind = \"file\"\nstate = \"a\"\n{PII}{SINK}"),
            "line 1: source.path",
            "it is missing",
        ),
        case(
            format!("[source]\nkind = \"file\"\npath = \"a\"\nstate = \"./a\"\n{PII}{SINK}"),
            "line 4: source.state",
            "source.path has the same",
        ),
        case(
            nats_source.replace("nats://", "http://"),
            "line 3: source.servers",
            "no nats:// or tls:// address",
        ),
        case(
            nats_source.replace("127", &format!("u:{WRITTEN}@127")),
            "line 3: source.servers",
            "holds a user name or password",
        ),
        case(nats_source.replace("stream = \"S\"", "stream = \"S.*\""), "source.stream", "does not take"),
        case(format!("{nats_source}subject = \"a..b\"\n"), "source.subject", "does not take"),
        case(
            format!("{nats_source}user = \"u\"\n"),
            "source.user",
            "it needs password_variable or password_file",
        ),
        case(
            format!("{nats_source}user = \"u\"\npassword_variable = \"A_SECRET\"\nnkey_file = \"nkey\"\n"),
            "line 6: source.user",
            "it excludes nkey",
        ),
        case(
            format!("{nats_source}nkey_file = \"nkey\"\ncredentials_file = \"creds\"\n"),
            "line 6: source.nkey_file",
            "it excludes credentials_file",
        ),
        case(
            format!("{nats_source}nkey_file = \"no-such-file\"\n"),
            "line 6: source.nkey_file",
            "cannot read the file",
        ),
        case(format!("{nats_source}nkey_file = \"open-to-all\"\n"), "line 6: source.nkey_file", "mode 0644"),
        case(
            format!("{nats_source}nkey_file = \"good\"\n"),
            "line 6: source.nkey_file",
            "the seed has 1 characters",
        ),
        case(
            format!("{nats_source}nkey_variable = \"A_SECRET\"\n"),
            "line 6: source.nkey_variable",
            "the seed has 22 characters",
        ),
        case(
            format!("{nats_source}credentials_file = \"open-to-all\"\n"),
            "line 6: source.credentials_file",
            "mode 0644",
        ),
        case(
            format!("{nats_source}credentials_file = \"no-such-file\"\n"),
            "line 6: source.credentials_file",
            "cannot read the file",
        ),
        case(
            format!("{nats_source}credentials_file = \"good\"\n"),
            "line 6: source.credentials_file",
            "no user JWT between BEGIN and END",
        ),
        case(
            format!("{nats_source}trusted_certificates = \"no-such-file\"\n"),
            "line 6: source.trusted_certificates",
            "cannot read the certificate to trust",
        ),
        case(
            format!("{nats_source}client_certificate = \"own.crt\"\nclient_key_file = \"other.key\"\n"),
            "line 6: source.client_certificate",
            "is not that of the certificate",
        ),
        case(
            format!("{nats_source}token_variable = \"NOT_SET_ANYWHERE\"\n"),
            "source.token_variable",
            "NOT_SET_ANYWHERE is not set",
        ),
        case(
            format!("{}token_variable = \"A_SECRET\"\n", nats_source.replace("127.0.0.1", "nats.example")),
            "source.servers",
            "would go to \"nats.example\" without TLS",
        ),
        // The enricher.
        case(format!("{SOURCE}{PII}scope = \"No Scope\"\n{SINK}"), "line 5: enricher[1].scope", "a scope is"),
        case(
            format!("{SOURCE}{PII}min_priority = \"low\"\n{SINK}"),
            "enricher[1].min_priority",
            "critical, high, medium",
        ),
        case(
            format!("{SOURCE}{PII}fields = [\"actor_idd\"]\n{SINK}"),
            "line 5: enricher[1].fields",
            "actor_id",
        ),
        case(format!("{SOURCE}{PII}fields = []\n{SINK}"), "enricher[1].fields", "it is missing"),
        case(format!("{SOURCE}{PII}fields = [17]\n{SINK}"), "enricher[1].fields[1]", "not a text"),
        case(
            format!("{SOURCE}{PII}catalogue = \"no-such-file\"\n{SINK}"),
            "enricher[1].catalogue",
            "cannot read the catalogue",
        ),
        case(format!("{SOURCE}{PII}catalogue = \"passphrase\"\n{SINK}"), "enricher[1].catalogue", ""),
        case(format!("{SOURCE}{PII}envelope = \"thin\"\n{SINK}"), "enricher[1].envelope", "full, compact"),
        case(
            format!("{SOURCE}{PII}dek_version = \"v1\"\n{SINK}"),
            "line 5: enricher[1].dek_version",
            "it cannot be used",
        ),
        case(
            format!("{SOURCE}{PII}public_key_file = \"good\"\n{SINK}"),
            "line 5: enricher[1].public_key_file",
            "it needs dek_version",
        ),
        case(
            format!("{SOURCE}{PII}scope = \"a\"\npublic_key_file = \"good\"\n{SINK}"),
            "line 5: enricher[1].scope",
            "it excludes public_key_file",
        ),
        case(
            format!("{SOURCE}{PII}{FIXED}\"good\"\n{SINK}"),
            "line 6: enricher[1].public_key_file",
            "does not hold the public key of a DEK",
        ),
        case(
            format!("{SOURCE}{PII}{FIXED}\"no-such-file\"\n{SINK}"),
            "line 6: enricher[1].public_key_file",
            "cannot read the file",
        ),
        case(
            format!("{SOURCE}{PII}{FIXED}\"private\"\n{SINK}"),
            "line 6: enricher[1].public_key_file",
            "holds a private key",
        ),
        case(
            format!("{SOURCE}{PII}{FIXED}\"low-order\"\n{SINK}"),
            "line 6: enricher[1].public_key_file",
            "it cannot be used",
        ),
        case(
            format!("{SOURCE}{PII}token = [\"actor_id\"]\n{SINK}"),
            "line 5: enricher[1].token",
            "it needs token_key_variable or token_key_file",
        ),
        case(
            format!("{SOURCE}{PII}token_key_variable = \"A_SECRET\"\n{SINK}"),
            "line 5: enricher[1].token_key_variable",
            "it needs token",
        ),
        case(
            format!("{SOURCE}{PII}token_epoch = 2\n{SINK}"),
            "line 5: enricher[1].token_epoch",
            "it needs token",
        ),
        case(
            format!("{SOURCE}{PII}token = [\"actor_id\"]\ntoken_key_variable = \"A_SECRET\"\n{SINK}"),
            "line 6: enricher[1].token_key_variable",
            "it does not hold 64 hex digits",
        ),
        case(
            format!("{SOURCE}{PII}token = [\"actor_id\"]\ntoken_key_file = \"open-to-all\"\n{SINK}"),
            "line 6: enricher[1].token_key_file",
            "mode 0644",
        ),
        case(
            format!("{SOURCE}{PII}token = [\"email\"]\ntoken_key_file = \"token-key\"\n{SINK}"),
            "line 5: enricher[1].token",
            "the catalogue has no such field",
        ),
        case(
            format!(
                "{SOURCE}{PII}token = [\"actor_id\"]\ntoken_key_file = \"token-key\"\ntoken_epoch = 4294967296\n{SINK}"
            ),
            "line 7: enricher[1].token_epoch",
            "it is not from 0 to 4294967295",
        ),
        case(
            format!("{SOURCE}{PII}event_id_member = \"actor_id\"\n{SINK}"),
            "line 5: enricher[1].event_id_member",
            "cannot be the member",
        ),
        // Sinks.
        case(sink("file", ""), "line 5: sink[1].path", "it is missing"),
        case(
            sink("file", "path = \"state/keyring.sqlite\"\n"),
            "sink[1].path",
            "the state directory of the keys is no place for it",
        ),
        case(
            format!("{SOURCE}{PII}{SINK}[pipeline]\nspool = \"state/spool\"\n"),
            "pipeline.spool",
            "is no place for it",
        ),
        case(
            format!("{}[pipeline]\ndead_letters = \"x\"\n", sink("file", "path = \"x\"\n")),
            "sink[1].path",
            "pipeline.dead_letters has the same",
        ),
        case(
            sink("file", "path = \"x\"\nsync = \"batch\"\nsync_interval = \"1s\"\n"),
            "sink[1].sync",
            "excludes sync_interval",
        ),
        case(sink("file", "path = \"x\"\nrotate_keep = 3\n"), "sink[1].rotate_keep", "it needs rotate_bytes"),
        case(sink("file", "path = \"x\"\nspool = true\n"), "sink[1].spool", "it needs pipeline.spool"),
        case(sink("file", "path = \"x\"\nspool_max = \"1GiB\"\n"), "sink[1].spool_max", "it needs a spool"),
        case(sink("file", "path = \"x\"\nname = \"Archive!\"\n"), "sink[1].name", "a-z 0-9 - _"),
        case(sink("http", ""), "sink[1].url", "it is missing"),
        case(sink("http", "url = \"ftp://a/\"\n"), "line 7: sink[1].url", "no http:// or https:// address"),
        case(
            sink("http", &format!("url = \"https://u:{WRITTEN}@a/\"\n")),
            "line 7: sink[1].url",
            "holds a user name or password",
        ),
        case(
            sink("http", "url = \"http://a/\"\nbearer_variable = \"A_SECRET\"\n"),
            "sink[1].url",
            "in the clear",
        ),
        case(
            sink("http", "url = \"https://a/\"\nuser = \"u\"\n"),
            "sink[1].user",
            "it needs password_variable",
        ),
        case(
            sink("http", "url = \"https://a/\"\npassword_variable = \"A_SECRET\"\n"),
            "sink[1].user",
            "it is missing",
        ),
        case(
            sink("http", "url = \"https://a/\"\nbearer_variable = \"A_SECRET\"\nbearer_file = \"x\"\n"),
            "sink[1].bearer_variable",
            "excludes bearer_file",
        ),
        case(
            sink(
                "http",
                "url = \"https://a/\"\nbearer_variable = \"A_SECRET\"\nuser = \"u\"\npassword_variable = \"A_SECRET\"\n",
            ),
            "sink[1].user",
            "excludes bearer_variable",
        ),
        case(
            sink("http", "url = \"https://a/\"\nbearer_file = \"no-such-file\"\n"),
            "sink[1].bearer_file",
            "cannot read the file",
        ),
        case(
            sink("http", "url = \"https://a/\"\nbearer_file = \"open-to-all\"\n"),
            "sink[1].bearer_file",
            "mode 0644",
        ),
        case(
            sink("http", "url = \"https://a/\"\nbearer_file = \"two-lines\"\n"),
            "sink[1].bearer_file",
            "is not a line of text",
        ),
        case(
            sink("http", "url = \"https://a/\"\nheaders = { \"X\\nY\" = \"1\" }\n"),
            "sink[1].url",
            "cannot be sent",
        ),
        case(
            sink("http", "url = \"https://a/\"\ntrusted_certificates = \"passphrase\"\n"),
            "line 8: sink[1].trusted_certificates",
            "no certificate",
        ),
        case(
            sink("http", "url = \"https://a/\"\ntrusted_certificates = \"no-such-file\"\n"),
            "line 8: sink[1].trusted_certificates",
            "cannot read the certificate to trust",
        ),
        case(
            sink("http", "url = \"http://127.0.0.1/\"\ntrusted_certificates = \"own.crt\"\n"),
            "sink[1].url",
            "is no https:// address",
        ),
        case(
            sink("otlp", "url = \"https://a/\"\nclient_certificate = \"own.crt\"\n"),
            "line 8: sink[1].client_certificate",
            "it needs client_key_file",
        ),
        case(
            sink("http", "url = \"https://a/\"\nclient_key_file = \"own.key\"\n"),
            "line 8: sink[1].client_key_file",
            "it needs client_certificate",
        ),
        case(
            sink(
                "http",
                "url = \"https://a/\"\nclient_certificate = \"own.crt\"\nclient_key_file = \"open.key\"\n",
            ),
            "line 9: sink[1].client_key_file",
            "mode 0644",
        ),
        case(
            sink(
                "http",
                "url = \"https://a/\"\nclient_certificate = \"own.crt\"\nclient_key_file = \"other.key\"\n",
            ),
            "line 8: sink[1].client_certificate",
            "is not that of the certificate",
        ),
        case(
            sink(
                "http",
                "url = \"https://a/\"\nclient_certificate = \"own.crt\"\nclient_key_file = \"locked.key\"\n",
            ),
            "line 9: sink[1].client_key_file",
            "is encrypted",
        ),
        case(
            sink(
                "http",
                "url = \"https://a/\"\nclient_certificate = \"own.key\"\nclient_key_file = \"own.key\"\n",
            ),
            "line 8: sink[1].client_certificate",
            "no client certificate in",
        ),
        case(
            sink(
                "http",
                "url = \"https://a/\"\nclient_certificate = \"own.crt\"\nclient_key_file = \"good\"\n",
            ),
            "line 9: sink[1].client_key_file",
            "no client key in",
        ),
        case(sink("nats", "servers = [\"nats://127.0.0.1\"]\n"), "sink[1].subject", "it is missing"),
        case(
            sink("nats", "servers = [\"nats://127.0.0.1\"]\nsubject = \"a.>\"\n"),
            "sink[1].subject",
            "does not take",
        ),
        case(sink("nats", "subject = \"a\"\n"), "sink[1].servers", "it is missing"),
    ]
}

/// Secrets that were written down, wherever people write them.
fn written_down() -> Vec<Case> {
    let http = |key: &str| sink("http", &format!("url = \"https://a/\"\n{key} = \"{WRITTEN}\"\n"));
    let nats = |key: &str| {
        sink("nats", &format!("servers = [\"tls://a\"]\nsubject = \"a\"\n{key} = \"{WRITTEN}\"\n"))
    };
    let mut cases = vec![
        case(http("token"), "line 8: sink[1].token", "bearer_variable or bearer_file"),
        case(http("bearer"), "line 8: sink[1].bearer", "bearer_variable or bearer_file"),
        case(http("password"), "line 8: sink[1].password", "password_variable or password_file"),
        case(
            http("header_value"),
            "line 8: sink[1].header_value",
            "header_value_variable or header_value_file",
        ),
        case(http("Authorization"), "line 8: sink[1].Authorization", "bearer_variable or bearer_file"),
        case(http("bearer_variable"), "line 8: sink[1].bearer_variable", "it is no name of a variable"),
        case(nats("token"), "line 9: sink[1].token", "token_variable or token_file"),
        case(nats("password"), "line 9: sink[1].password", "password_variable or password_file"),
        case(nats("token_variable"), "line 9: sink[1].token_variable", "it is no name of a variable"),
        case(nats("nkey"), "line 9: sink[1].nkey", "nkey_variable or nkey_file"),
        case(nats("seed"), "line 9: sink[1].seed", "nkey_variable or nkey_file"),
        case(nats("jwt"), "line 9: sink[1].jwt", "credentials_file"),
        case(nats("credentials"), "line 9: sink[1].credentials", "credentials_file"),
        case(http("client_key"), "line 8: sink[1].client_key", "client_key_file"),
        case(
            format!("{SOURCE}{PII}token_key = \"{WRITTEN}\"\n{SINK}"),
            "line 5: enricher[1].token_key",
            "token_key_variable or token_key_file",
        ),
    ];
    for header in ["Authorization", "X-Api-Key", "x-auth-token", "Cookie"] {
        let keys = format!("url = \"https://a/\"\n[sink.headers]\n\"{header}\" = \"{WRITTEN}\"\n");
        cases.push(case(sink("http", &keys), "line 9: sink[1].headers.", "a secret is written down here"));
    }
    cases
}

fn machine() -> Machine {
    let mut machine = Machine::set_up();
    machine.variables.insert("A_SECRET".to_owned(), "s3cret-of-the-variable".to_owned());
    use base64ct::{Base64, Encoding as _};
    // (An ML-KEM key is never all zeros; of X25519, that is the point of order one.)
    let (private, low_order) = (Base64::encode_string(&[7; 2432]), Base64::encode_string(&[0; 1216]));
    let token_key = "0f".repeat(32);
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{NKEY}\n------END USER NKEY SEED------\n"
    );
    for (name, text, mode) in [
        ("open-to-all", "x\n", 0o644),
        ("two-lines", "x\ny\n", 0o600),
        ("good", "x\n", 0o600),
        ("private", &private, 0o600),
        ("low-order", &low_order, 0o644),
        ("token-key", &token_key, 0o600),
        ("nkey", NKEY, 0o600),
        ("creds", &credentials, 0o600),
        ("own.crt", include_str!("tls/own.crt"), 0o644),
        ("own.key", include_str!("tls/own.key"), 0o600),
        ("open.key", include_str!("tls/own.key"), 0o644),
        ("other.key", include_str!("tls/other.key"), 0o600),
        ("locked.key", include_str!("tls/locked.key"), 0o600),
    ] {
        std::fs::write(machine.file(name), text).unwrap();
        std::fs::set_permissions(machine.file(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    machine
}

#[test]
fn each_mistake_is_named_with_its_file_line_and_key() {
    let machine = machine();
    let before = std::fs::read_dir(machine.path()).unwrap().count();
    for Case { config, place, why } in cases().into_iter().chain(written_down()) {
        std::fs::write(machine.file("bad.toml"), &config).unwrap();
        for command in ["check", "run"] {
            let run = machine.run(&["pipeline", command, "bad.toml"]);
            assert_eq!(run.code, Some(1), "{config}\n{}{}", run.stdout, run.stderr);
            for part in [place, why, "bad.toml, line ", "help: "] {
                assert!(
                    run.stderr.contains(part),
                    "{part:?} is not in the refusal of\n{config}\n{}",
                    run.stderr
                );
            }
            assert!(!run.stderr.contains(WRITTEN) && !run.stderr.contains("s3cret"), "{}", run.stderr);
            if why.contains("_variable or") && run.stderr.contains("written down here") {
                assert!(run.stderr.contains("change it"), "{}", run.stderr);
            }
        }
    }
    // Nothing was opened for any of them.
    assert_eq!(std::fs::read_dir(machine.path()).unwrap().count(), before + 1);
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    let machine = machine();
    std::fs::write(machine.file("latin.toml"), b"# \xfc\n").unwrap();
    machine.refused(&["pipeline", "check", "latin.toml"], "not valid UTF-8");
    std::fs::write(machine.file("long.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    machine.refused(&["pipeline", "check", "long.toml"], "1048577");
    machine.refused(&["pipeline", "check", "missing.toml"], "missing.toml");
    machine.refused(&["pipeline", "check", "state"], "regular file");
    std::fs::write(machine.file("deep.toml"), format!("a = {}", "[".repeat(100_000))).unwrap();
    machine.refused(&["pipeline", "check", "deep.toml"], "this is no TOML");
    // As many as fit: no time is spent on them.
    for many in [
        format!("{SOURCE}{PII}fields = [{}]\n{SINK}", "\"a\",".repeat(200_000)),
        format!("{SOURCE}{PII}{}", "[[sink]]\n".repeat(100_000)),
        format!(
            "{}headers = {{ {} }}\n",
            sink("http", "url = \"https://a/\"\n"),
            (0..50_000).map(|n| format!("a{n}=\"b\",")).collect::<String>().trim_end_matches(',')
        ),
    ] {
        std::fs::write(machine.file("many.toml"), many).unwrap();
        machine.refused(&["pipeline", "check", "many.toml"], "more than the limit of 1000");
    }
    assert_eq!(machine.run(&["pipeline", "run"]).code, Some(2));
}

#[test]
fn a_configuration_with_everything_is_taken_and_nothing_is_opened() {
    let machine = machine();
    let config = r#"
[source]
kind = "file"
path = "in/events.jsonl"
state = "in/position"
start_at = "end"
poll = "250ms"
rotate_wait = "10s"

[pipeline]
workers = 3
max_event = "2MiB"
drain_timeout = "1m"
spool = "spool"
dead_letters = "dead.jsonl"
dead_letters_max = "64MiB"
metrics = "[::1]:9464"

[queue]
events = 1000
bytes = 8388608
when_full = "block"

[[enricher]]
kind = "pii"
scope = "default"
also = ["email", "/users/*/phone"]
min_priority = "high"
without = ["combined_hash"]
envelope = "compact"
plaintext_hash = "keyed"
bind = "name"
tenant = "acme"
event_id_member = "event_id"
dek_version = "dek-v1-20260101"
name_catalogue = true
token = ["signer_id"]
token_key_file = "token-key"
token_epoch = 3

[[sink]]
name = "archive"
kind = "file"
path = "out/sealed.jsonl"
sync_interval = "1s"
rotate_bytes = "128MiB"
rotate_age = "1d"
rotate_keep = 14

[[sink]]
name = "collector"
kind = "http"
url = "http://127.0.0.1:1/ingest"
form = "array"
header_name = "X-Api-Key"
header_value_variable = "A_SECRET"
headers = { X-Source = "gate" }
timeout = "5s"
batch_events = 100
batch_bytes = "1MiB"
linger = "200ms"
retry_first = "50ms"
retry_most = "1m"
spool_max = "10GiB"
spool_when_full = "shed"

[[sink]]
name = "otel"
kind = "otlp"
url = "http://localhost:4318/v1/logs"
bearer_file = "good"
resource = { "service.name" = "gate" }

[[sink]]
name = "stream"
kind = "nats"
servers = ["tls://a.example", "tls://b.example:4223"]
subject = "telemetry.sealed"
stream = "SEALED"
token_variable = "A_SECRET"
spool = false

[[sink]]
name = "nkey"
kind = "nats"
servers = ["nats://127.0.0.1"]
subject = "telemetry.sealed"
nkey_file = "nkey"

[[sink]]
name = "creds"
kind = "nats"
servers = ["nats://a.example"]
subject = "telemetry.sealed"
credentials_file = "creds"
trusted_certificates = "own.crt"
client_certificate = "own.crt"
client_key_file = "own.key"

[[sink]]
name = "tls"
kind = "http"
url = "https://a.example/ingest"
trusted_certificates = "own.crt"
client_certificate = "own.crt"
client_key_file = "own.key"
"#;
    std::fs::write(machine.file("all.toml"), config).unwrap();
    let before = std::fs::read_dir(machine.path()).unwrap().count();
    let said = machine.ok(&["pipeline", "check", "all.toml"]);
    assert!(said.stdout.contains("sink otel: otlp, with a spool"), "{}", said.stdout);
    let json = machine.ok(&["pipeline", "check", "all.toml", "--json"]).json();
    assert_eq!((&json["source"], &json["workers"]), (&"file".into(), &3.into()));
    let spools: Vec<_> =
        json["sinks"].as_array().unwrap().iter().map(|sink| sink["spool"].as_bool().unwrap()).collect();
    assert_eq!(spools, [true, true, true, false, true, true, true]);
    assert_eq!((&json["scope"], &json["dek"]), (&"default".into(), &"dek-v1-20260101".into()));
    assert!(!json.to_string().contains("s3cret"));
    assert_eq!(std::fs::read_dir(machine.path()).unwrap().count(), before);
}

#[test]
fn the_examples_can_be_used() {
    let machine = machine();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut checked = 0;
    for entry in std::fs::read_dir(examples.join("pipeline")).unwrap() {
        let path = entry.unwrap().path();
        machine.ok(&["pipeline", "check", path.to_str().unwrap()]);
        checked += 1;
    }
    assert_eq!(checked, 2);
    let mut command =
        machine.command(&["pipeline", "run", examples.join("pipeline/stdin.toml").to_str().unwrap()]);
    command.stdin(std::fs::File::open(examples.join("events/governance.jsonl")).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 12);
}

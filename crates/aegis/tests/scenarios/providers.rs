//! From one provider to another by the commands alone, with real counterparts: what people do who move.

use std::collections::BTreeMap;
use std::fs;

use test_services::kms::{Kms, REGION};
use test_services::tokens::{self, Maker, Token};

use crate::machine::Machine;

/// Rotates to the KEK whose variables are in `file`, puts them in place, retires the one before, and sees that
/// everything that was ever made opens.
fn move_to(machine: &mut Machine, file: &str, others: &BTreeMap<String, String>) {
    machine.variables.extend(others.clone());
    machine.ok(&["dek", "rotate"]);
    let deks = machine.deks().len();
    let rotated = machine.ok(&["kek", "rotate", "--to", file, "--json"]).json();
    assert_eq!(rotated["rewrapped"], deks);
    machine.take(file);
    machine.variables.extend(others.clone());
    machine.ok(&["kek", "retire", "--force"]);
    let verified = machine.ok(&["kek", "verify", "--json"]).json();
    assert_eq!((&verified["deks"], &verified["key_id"]), (&deks.into(), &rotated["to"]));
    machine.ok(&["doctor"]);
}

fn pairs<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn through_a_token(token: &Token) {
    let mut machine = Machine::set_up();
    let pin = pairs([("AEGIS_HSM_PIN", tokens::PIN.to_owned())]);
    let mut with_pin = machine.copy();
    with_pin.variables = pin.clone();
    if let Some(init_args) = token.init_args() {
        with_pin.variables.insert("AEGIS_HSM_INIT_ARGS".to_owned(), init_args);
    }
    let module = token.module().display().to_string();
    let label = token.maker().label();
    let provision = ["kek", "provision", "--provider", "hsm", "--hsm-lib", &module, "--hsm-token", label];
    let provision = [&provision[..], &["--hsm-key", "kek-v1", "--out", "hsm.env"]].concat();
    with_pin.refused(&provision, "kek-v1");
    let made = with_pin.ok(&[&provision[..], &["--hsm-create-key", "--json"]].concat()).json();
    assert_eq!((&made["provider"], &made["security_level"]), (&"hsm".into(), &"hardware".into()));
    let written = fs::read_to_string(with_pin.file("hsm.env")).unwrap();
    assert!(!written.contains(tokens::PIN), "the PIN is handed over by whoever starts the process");
    fs::copy(with_pin.file("hsm.env"), machine.file("hsm.env")).unwrap();

    // A PIN in the process is no reason to take the token while the KEK is still in the environment; it is given to the
    // commands that need it.
    machine.ok(&["dek", "rotate"]);
    let mut rotate = machine.command(&["kek", "rotate", "--to", "hsm.env"]);
    let pin_file = machine.file("pin");
    fs::write(&pin_file, tokens::PIN).unwrap();
    fs::set_permissions(&pin_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let named = format!("{written}AEGIS_HSM_PIN_FILE={}\n", pin_file.display());
    fs::write(machine.file("hsm.env"), named).unwrap();
    let rotated = rotate.output().unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    machine.take("hsm.env");
    machine.ok(&["kek", "retire", "--force"]);
    let status = machine.ok(&["kek", "status", "--json"]).json();
    assert_eq!((&status["standing"], &status["state"]), (&"working".into(), &"active".into()));
    assert!(status["detail"]["mechanism"].is_string(), "{status:#}");

    let shown = machine.ok(&["kek", "status"]).stdout;
    for fact in shown.lines().skip(1).take_while(|line| !line.is_empty()) {
        let (name, value) = fact.split_at_checked(15).unwrap();
        assert!(name.ends_with(' ') && !value.starts_with(' '), "not in its column: {fact}");
    }

    // And away from it.
    move_to(&mut machine, "b.env", &BTreeMap::new());
    machine.ok(&["audit", "verify"]);
}

#[test]
#[expect(
    clippy::redundant_closure,
    reason = "the closure's path says which test is to be run in the token's process"
)]
fn to_softhsm_and_back() {
    tokens::on(Maker::SoftHsm2, |token| through_a_token(token));
}

#[test]
#[expect(clippy::redundant_closure, reason = "as above")]
fn to_nss_and_back() {
    tokens::on(Maker::Nss, |token| through_a_token(token));
}

#[test]
fn to_kms_in_both_forms_and_to_a_key_file() {
    let Some(kms) = Kms::moto() else {
        test_services::tools::skip("to_kms_in_both_forms_and_to_a_key_file", "the test Python is not set up");
        return;
    };
    let mut machine = Machine::set_up();
    let key = kms.key(REGION);
    kms.alias(REGION, "alias/aegis", &key);
    let aws = pairs([
        ("AWS_ENDPOINT_URL_KMS", kms.url()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]);
    machine.variables.extend(aws.clone());
    let kms_key = ["kek", "provision", "--provider", "kms", "--kms-key-id"];
    machine.ok(&[&kms_key[..], &["alias/aegis", "--out", "kms.env"]].concat());
    machine.ok(&[&kms_key[..], &[&key, "--kms-wrap", "data-key", "--out", "kms-2.env"]].concat());
    move_to(&mut machine, "kms.env", &aws);
    move_to(&mut machine, "kms-2.env", &aws);
    machine.ok(&["kek", "provision", "--provider", "file", "--kek-file", "other.age", "--out", "file.env"]);
    move_to(&mut machine, "file.env", &BTreeMap::new());
    machine.ok(&["audit", "verify"]);
}

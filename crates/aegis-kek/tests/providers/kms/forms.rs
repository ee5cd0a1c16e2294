//! What is written is read again, in both forms and under every name of a key.

use aegis_crypto::HybridPrivateKey;
use aegis_kek::aws_kms::{KmsWrap, provision};
use aegis_kek::{Container, KekProvider as _, Standing};
use serde_json::json;
use test_services::kms::REGION;

use super::{access, assert_same, load, moto, provider, wrapped};

#[test]
fn both_forms_open_under_every_name_of_the_key() {
    let Some(kms) = moto("both_forms_open_under_every_name_of_the_key") else { return };
    let arn = kms.key(REGION);
    let id = arn.rsplit('/').next().unwrap();
    let alias = format!("alias/aegis/{id}");
    kms.alias(REGION, &alias, &arn);
    let alias_arn = format!("{}:{alias}", arn.rsplit_once(':').unwrap().0);

    for wrap in [KmsWrap::Direct, KmsWrap::DataKey] {
        let (private, wrapped) = wrapped(access(&kms.url(), &alias), wrap);
        assert_eq!(Container::is_one(&wrapped), wrap == KmsWrap::DataKey);
        for name in [id, &*arn, &*alias, &*alias_arn] {
            let kek = load(access(&kms.url(), name), &private, &wrapped).unwrap();
            assert_same(&kek, &private);
        }
    }
}

/// What the AWS tools make of the private key, and what they make of ours.
#[test]
fn opens_what_another_client_wrapped_and_the_other_way_round() {
    let Some(kms) = moto("opens_what_another_client_wrapped_and_the_other_way_round") else { return };
    let key = kms.key(REGION);
    let private = HybridPrivateKey::generate().unwrap();
    let context = json!({ "aegis:kek": private.public_key().key_id().to_string() });

    let theirs = kms.ask(
        REGION,
        "Encrypt",
        &json!({
            "KeyId": key,
            "Plaintext": base64(private.dangerous_expose()),
            "EncryptionContext": context,
        }),
    );
    let theirs = from_base64(theirs["CiphertextBlob"].as_str().unwrap());
    assert_same(&load(access(&kms.url(), &key), &private, &theirs).unwrap(), &private);

    let ours = provision(access(&kms.url(), &key), &private, KmsWrap::Direct).unwrap();
    let opened =
        kms.ask(REGION, "Decrypt", &json!({ "CiphertextBlob": base64(&ours), "EncryptionContext": context }));
    assert!(from_base64(opened["Plaintext"].as_str().unwrap()) == private.dangerous_expose());

    let without = kms.try_ask(REGION, "Decrypt", &json!({ "CiphertextBlob": base64(&ours) }));
    assert_eq!(without.status(), 400, "it is bound to the id of the KEK");
}

#[test]
fn an_old_wrapping_without_context_opens_and_says_so() {
    let Some(kms) = moto("an_old_wrapping_without_context_opens_and_says_so") else { return };
    let key = kms.key(REGION);
    let private = HybridPrivateKey::generate().unwrap();
    let plaintext = base64(private.dangerous_expose());
    let old = kms.ask(REGION, "Encrypt", &json!({ "KeyId": key, "Plaintext": plaintext }));
    let old = from_base64(old["CiphertextBlob"].as_str().unwrap());

    let provider = provider(access(&kms.url(), &key), &private, &old);
    let (kek, log) = super::logs::capture(|| provider.load());
    assert_same(&kek.unwrap(), &private);
    assert!(
        log.contains("WARN") && log.contains("no encryption context") && log.contains("aegis kek provision"),
        "{log}"
    );
    assert!(provider.health().detail.contains(&("context", "not bound".to_owned())));

    let bound = provision(access(&kms.url(), &key), &private, KmsWrap::Direct).unwrap();
    let (kek, log) = super::logs::capture(|| load(access(&kms.url(), &key), &private, &bound));
    kek.unwrap();
    assert!(!log.contains("encryption context"), "{log}");
}

#[test]
fn seeds_that_were_wrapped_by_hand_open() {
    let Some(kms) = moto("seeds_that_were_wrapped_by_hand_open") else { return };
    let key = kms.key(REGION);
    for len in [32, 96] {
        let seed: Vec<u8> = (1..=len).collect();
        let private = HybridPrivateKey::import(&seed).unwrap();
        let made = kms.ask(REGION, "Encrypt", &json!({ "KeyId": key, "Plaintext": base64(&seed) }));
        let made = from_base64(made["CiphertextBlob"].as_str().unwrap());
        assert_same(&load(access(&kms.url(), &key), &private, &made).unwrap(), &private);
    }
}

#[test]
fn opens_after_the_kms_key_was_rotated() {
    let Some(kms) = moto("opens_after_the_kms_key_was_rotated") else { return };
    let key = kms.key(REGION);
    let old = [KmsWrap::Direct, KmsWrap::DataKey].map(|wrap| wrapped(access(&kms.url(), &key), wrap));
    for _ in 0..2 {
        kms.ask(REGION, "RotateKeyOnDemand", &json!({ "KeyId": key }));
    }
    let rotations = kms.ask(REGION, "ListKeyRotations", &json!({ "KeyId": key }));
    assert!(!rotations["Rotations"].as_array().unwrap().is_empty(), "{rotations}");

    for (private, wrapped) in &old {
        assert_same(&load(access(&kms.url(), &key), private, wrapped).unwrap(), private);
    }
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    assert_same(&load(access(&kms.url(), &key), &private, &wrapped).unwrap(), &private);
}

#[test]
fn sixteen_threads_load_one_provider_at_once() {
    let Some(kms) = moto("sixteen_threads_load_one_provider_at_once") else { return };
    let key = kms.key(REGION);
    for wrap in [KmsWrap::Direct, KmsWrap::DataKey] {
        let (private, wrapped) = wrapped(access(&kms.url(), &key), wrap);
        let provider = provider(access(&kms.url(), &key), &private, &wrapped);
        std::thread::scope(|scope| {
            let loads: Vec<_> = (0..16).map(|_| scope.spawn(|| provider.load())).collect();
            for load in loads {
                assert_same(&load.join().unwrap().unwrap(), &private);
            }
        });
    }
}

#[test]
fn loads_from_within_either_kind_of_runtime() {
    let Some(kms) = moto("loads_from_within_either_kind_of_runtime") else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    let provider = provider(access(&kms.url(), &key), &private, &wrapped);
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    one.block_on(async { assert_same(&provider.load().unwrap(), &private) });
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    many.block_on(async { assert_same(&provider.load().unwrap(), &private) });
}

#[test]
fn no_thread_is_left_when_a_load_is_over() {
    let Some(kms) = moto("no_thread_is_left_when_a_load_is_over") else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    // In a process of its own: here other tests have threads too.
    let said = super::chain::child(
        &private,
        &wrapped,
        &[
            ("AEGIS_KMS_KEY_ID", &*key),
            ("AWS_ENDPOINT_URL_KMS", &*kms.url()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ],
    );
    assert!(said.contains(&format!("loaded {}", private.public_key().key_id())), "{said}");
    assert!(said.contains("threads: as before"), "{said}");
}

#[test]
fn health_says_where_the_key_is_and_how_it_is_wrapped() {
    let Some(kms) = moto("health_says_where_the_key_is_and_how_it_is_wrapped") else { return };
    let arn = kms.key(REGION);
    let alias = format!("alias/{}", arn.rsplit('/').next().unwrap());
    kms.alias(REGION, &alias, &arn);
    let (private, wrapped) = wrapped(access(&kms.url(), &alias), KmsWrap::DataKey);
    let provider = provider(access(&kms.url(), &alias), &private, &wrapped);
    let fact = |(name, value): (&'static str, &str)| (name, value.to_owned());

    let before = provider.health();
    assert_eq!(before.standing, Standing::Untried);
    assert_eq!(before.key_id, private.public_key().key_id());
    let known = [("kms_key", &*alias), ("region", REGION), ("endpoint", &*kms.url()), ("form", "data-key")];
    assert_eq!(before.detail, known.map(fact));

    provider.load().unwrap();
    let after = provider.health();
    assert_eq!(after.standing, Standing::Working);
    assert!(after.last_worked.is_some());
    for seen in [("kms_key_arn", &*arn), ("context", "bound to the KEK")].map(fact) {
        assert!(after.detail.contains(&seen), "{:?}", after.detail);
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    use base64ct::Encoding as _;
    base64ct::Base64::encode_string(bytes)
}

pub(super) fn from_base64(text: &str) -> Vec<u8> {
    use base64ct::Encoding as _;
    base64ct::Base64::decode_vec(text).unwrap()
}

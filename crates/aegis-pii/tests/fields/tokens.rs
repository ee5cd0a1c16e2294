//! Search tokens: equal for equal values of one field, one tenant and one epoch, and otherwise different.

use std::collections::BTreeSet;
use std::sync::Arc;

use aegis_crypto::Secret;
use aegis_pii::{
    Catalogue, DecryptError, EncryptorOptions, EnvelopeForm, EventBinding, FieldFault, Inspector, Limits,
    Moment, OptionsError, PiiEncryptor, SearchTokens, TokenKey, Warning,
};

use crate::{FORMS, contains, decryptor, dek, encryptor, encryptor_of};

fn token_key(epoch: u32) -> Arc<TokenKey> {
    let key = Secret::try_fill(|bytes: &mut [u8; 32]| {
        *bytes = std::array::from_fn(|place| place as u8);
        Ok::<(), ()>(())
    });
    Arc::new(TokenKey::new(&key.unwrap(), epoch))
}

fn options(form: EnvelopeForm, epoch: u32) -> EncryptorOptions {
    let fields = vec!["actor_id".to_owned(), "author_id".to_owned()];
    let search_tokens = Some(SearchTokens { key: token_key(epoch), fields });
    EncryptorOptions { form, search_tokens, ..EncryptorOptions::default() }
}

fn tokens(sealed: &[u8]) -> Vec<Option<String>> {
    let mut inspector = Inspector::new(Catalogue::guide(), Limits::for_decryption());
    inspector.inspect(sealed).unwrap().sealed.into_iter().map(|field| field.token).collect()
}

/// Computed with Python's hmac, from the description in `docs/formats.md`.
#[test]
fn a_token_is_what_the_format_says() {
    assert_eq!(token_key(1).token("", "actor_id", b"\"alice\""), "1:f2cfcba7737f2f6bacd2f642649e7fe9");
    assert_eq!(token_key(7).token("acme", "author_id", b"[1, 2]"), "7:90dc22611d6b33bad0a2d93b730170c6");
}

#[test]
fn equal_values_of_a_field_have_equal_tokens_whatever_their_escapes() {
    for form in FORMS {
        let mut encryptor = encryptor(options(form, 1));
        let event = br#"{"actor_id":"alice","author_id":"alice","x":[{"actor_id":"\u0061lice"},{"actor_id":"bob"}],"signer_id":"alice"}"#;
        let sealed = encryptor.encrypt(event).unwrap();
        let tokens = tokens(&sealed);
        assert_eq!(tokens[0], Some(token_key(1).token("", "actor_id", b"\"alice\"")));
        assert_eq!(tokens[0], tokens[2]);
        assert_eq!(tokens[0..4].iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(tokens[4], None, "signer_id was not asked for");
        assert_eq!(decryptor().decrypt(&sealed).unwrap(), event);
        assert_eq!(encryptor.encrypt(&sealed).unwrap(), sealed);
        assert_eq!(encryptor_of(form).encrypt(&sealed).unwrap(), sealed);
        // Values that print alike and are not.
        let of = |json: &[u8]| token_key(1).token("", "actor_id", json);
        assert_ne!(of(b"\"1\""), of(b"1"));
    }
}

#[test]
fn tenants_fields_and_epochs_share_no_token() {
    let mut all = BTreeSet::new();
    for epoch in [1, 2] {
        for tenant in ["", "one", "two"] {
            for field in ["actor_id", "author_id"] {
                let token = token_key(epoch).token(tenant, field, b"\"alice\"");
                assert!(all.insert(token.split_once(':').unwrap().1.to_owned()));
            }
        }
    }
    let mut sealed = Vec::new();
    let binding = EventBinding { tenant: "one", event_id: "" };
    let mut encryptor = encryptor(options(FORMS[0], 1));
    for _ in 0..2 {
        encryptor.encrypt(br#"{"actor_id":"alice"}"#).unwrap();
        sealed.clear();
        encryptor.encrypt_bound(Moment::now(), br#"{"actor_id":"alice"}"#, binding, &mut sealed).unwrap();
    }
    assert_eq!(tokens(&sealed), [Some(token_key(1).token("one", "actor_id", b"\"alice\""))]);
}

#[test]
fn a_token_is_bound_to_its_field() {
    for form in FORMS {
        let sealed = encryptor(options(form, 1)).encrypt(br#"{"actor_id":"alice"}"#).unwrap();
        let sealed = String::from_utf8(sealed).unwrap();
        let token = tokens(sealed.as_bytes())[0].clone().unwrap();
        let other = token_key(1).token("", "actor_id", b"\"bob\"");
        let without = sealed.replace(&format!(",\"_token\":\"{token}\""), "");
        for changed in [sealed.replace(&token, &other), without, sealed.replace("\"1:", "\"2:")] {
            assert_ne!(changed, sealed);
            let error = decryptor().decrypt(changed.as_bytes()).unwrap_err();
            assert!(matches!(error, DecryptError::Field { fault: FieldFault::NotAuthentic, .. }));
        }
        // What is no token makes no envelope.
        let digits = token.strip_prefix("1:").unwrap();
        for bad in ["", "1:", digits].map(str::to_owned).into_iter().chain(
            ["01:", "x:", "4294967296:", "-1:", "+1:", ":", "1::"].map(|epoch| format!("{epoch}{digits}")),
        ) {
            let changed = sealed.replace(&token, &bad);
            assert_eq!(decryptor().decrypt(changed.as_bytes()).unwrap(), changed.as_bytes(), "{bad}");
        }
        assert!(!contains(sealed.as_bytes(), b"alice"));
    }
}

#[test]
fn tokens_are_announced_and_only_for_fields_that_are_sealed() {
    assert_eq!(options(FORMS[0], 1).warnings(), [Warning::SearchTokens]);
    let mut options = options(FORMS[0], 1);
    options.search_tokens.as_mut().unwrap().fields.push("nickname".to_owned());
    let error = PiiEncryptor::new(Arc::new(dek()), options).unwrap_err();
    assert_eq!(error, OptionsError::TokenField { field: "nickname".to_owned() });
    assert!(!format!("{:?}", token_key(1)).contains("0001"));
}

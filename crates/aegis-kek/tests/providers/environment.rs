//! The environment provider: the guide's two variables.

use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError, HybridPublicKey, KeyHalf};
use aegis_kek::{
    EnvironmentKekProvider, KekProvider, ProviderKind, SettingsError, VariableError, VariableFault, Variables,
};
use base64ct::{Base64, Encoding};

use crate::conformance::{Made, Subject, assert_opens, conforms};
use crate::watch::{Watch, chain, private_parts};

const PUBLIC: &str = "AEGIS_MASTER_KEK_PUBLIC";
const PRIVATE: &str = "AEGIS_MASTER_KEK_PRIVATE";

struct Environment(HybridPrivateKey);

fn subject() -> Option<Environment> {
    Some(Environment(HybridPrivateKey::generate().unwrap()))
}

fn made(public: &[u8], private: &[u8]) -> Result<EnvironmentKekProvider, SettingsError> {
    let (public, private) = (Base64::encode_string(public), Base64::encode_string(private));
    EnvironmentKekProvider::from_environment(&Variables::of_pairs([(PUBLIC, &*public), (PRIVATE, &*private)]))
}

fn boxed(made: Result<EnvironmentKekProvider, SettingsError>) -> Made {
    made.map(|provider| Box::new(provider) as _)
}

impl Subject for Environment {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Environment
    }

    fn provider(&self) -> Box<dyn KekProvider> {
        boxed(made(self.0.public_key().as_bytes(), self.0.dangerous_expose())).unwrap()
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        private_parts(&self.0)
    }

    fn wrapping(&self) -> Option<Vec<u8>> {
        Some(self.0.dangerous_expose().to_vec())
    }

    fn with_wrapping(&self, wrapping: &[u8]) -> Made {
        boxed(made(self.0.public_key().as_bytes(), wrapping))
    }

    fn with_public_key(&self, public_key: &HybridPublicKey) -> Option<Made> {
        Some(boxed(made(public_key.as_bytes(), self.0.dangerous_expose())))
    }

    fn with_another_wrapping_key(&self) -> Option<Made> {
        None
    }

    fn break_down(&self) -> bool {
        false
    }

    fn mend(&self) {}

    fn changes(&self, wrapping: &[u8]) -> Vec<(usize, u8)> {
        // Not the bits that X25519 clamps, and not z, the last 32 bytes: nothing depends on them.
        (1..31).chain((32..wrapping.len() - 32).step_by(37)).map(|at| (at, 1 << (at % 8))).collect()
    }
}

conforms!(subject());

#[test]
fn takes_base64_with_white_space_anywhere() {
    let key = HybridPrivateKey::generate().unwrap();
    let spread = |bytes: &[u8]| {
        let text = Base64::encode_string(bytes);
        let lines: Vec<_> = text.as_bytes().chunks(61).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("\t{}\r\n ", lines.join(" \r\n\t "))
    };
    let (public, private) = (spread(key.public_key().as_bytes()), spread(key.dangerous_expose()));
    let variables = Variables::of_pairs([(PUBLIC, &*public), (PRIVATE, &*private)]);
    let provider = EnvironmentKekProvider::from_environment(&variables).unwrap();
    assert_eq!(provider.public_key(), key.public_key());
}

#[test]
fn takes_a_private_key_as_a_seed() {
    for len in [96, 32] {
        let seed: Vec<u8> = (0_u8..).take(len).collect();
        let key = HybridPrivateKey::import(&seed).unwrap();
        let provider = made(key.public_key().as_bytes(), &seed).unwrap();
        assert_opens(key.public_key(), &provider.load().unwrap());
    }
}

#[test]
fn takes_the_halves_from_the_caller() {
    let key = HybridPrivateKey::generate().unwrap();
    let other = HybridPrivateKey::generate().unwrap();
    let provider = EnvironmentKekProvider::new(key.public_key(), key.dangerous_expose()).unwrap();
    assert_eq!(provider.load().unwrap().key_id(), key.public_key().key_id());
    let error = EnvironmentKekProvider::new(other.public_key(), key.dangerous_expose()).unwrap_err();
    assert!(matches!(error, HybridPrivateKeyError::PublicKeyMismatch { half: KeyHalf::Both, .. }));
}

#[test]
fn names_every_variable_that_is_missing() {
    let key = HybridPrivateKey::generate().unwrap();
    let public = Base64::encode_string(key.public_key().as_bytes());
    let cases: [(&[(&str, &str)], &[&str]); 3] = [
        (&[], &[PUBLIC, PRIVATE]),
        (&[(PUBLIC, &public)], &[PRIVATE]),
        (&[(PUBLIC, ""), (PRIVATE, "AAAA")], &[PUBLIC]),
    ];
    for (set, expected) in cases {
        let error =
            EnvironmentKekProvider::from_environment(&Variables::of_pairs(set.iter().copied())).unwrap_err();
        let text = error.to_string();
        assert!(expected.iter().all(|name| text.contains(name)), "{text}");
        assert!(error.help().unwrap().contains("aegis kek provision --provider environment"));
        let SettingsError::Missing { kind: ProviderKind::Environment, names } = error else {
            panic!("{error:?}")
        };
        assert_eq!(names, expected);
    }
}

#[test]
fn refuses_what_is_malformed_and_names_the_variable() {
    let key = HybridPrivateKey::generate().unwrap();
    let public = Base64::encode_string(key.public_key().as_bytes());
    let private = Base64::encode_string(key.dangerous_expose());
    let short = Base64::encode_string(&key.dangerous_expose()[1..]);
    let long = Base64::encode_string(&[0; 2433]);
    let mut broken = key.dangerous_expose().to_vec();
    broken[1500] ^= 1;
    let broken = Base64::encode_string(&broken);
    let mut unreduced = key.public_key().as_bytes().to_vec();
    unreduced[32..35].fill(0xff);
    let unreduced = Base64::encode_string(&unreduced);
    let cases: [(&str, &str, &str, fn(&VariableFault) -> bool); 10] = [
        (&private, &private, PUBLIC, |fault| matches!(fault, VariableFault::PrivateInPublic)),
        (&short[..4], &private, PUBLIC, |fault| matches!(fault, VariableFault::PublicKey(_))),
        (&unreduced, &private, PUBLIC, |fault| matches!(fault, VariableFault::PublicKey(_))),
        (&public[1..], &private, PUBLIC, |fault| matches!(fault, VariableFault::Base64End)),
        (&public, &public, PRIVATE, |fault| {
            matches!(fault, VariableFault::PrivateKey(HybridPrivateKeyError::Length { found: 1216 }))
        }),
        (&public, &short, PRIVATE, |fault| {
            matches!(fault, VariableFault::PrivateKey(HybridPrivateKeyError::Length { found: 2431 }))
        }),
        (&public, &long, PRIVATE, |fault| matches!(fault, VariableFault::TooManyBytes { limit: 2432 })),
        (&public, &broken, PRIVATE, |fault| matches!(fault, VariableFault::PrivateKey(_))),
        (&public, "not/base64!", PRIVATE, |fault| {
            matches!(fault, VariableFault::Base64Character { position: 11 })
        }),
        (&public, " \n", PRIVATE, |fault| matches!(fault, VariableFault::Blank)),
    ];
    let watch = Watch::start();
    for (public, private, expected, is_expected) in cases {
        let variables = Variables::of_pairs([(PUBLIC, public), (PRIVATE, private)]);
        let error = EnvironmentKekProvider::from_environment(&variables).unwrap_err();
        assert!(error.help().is_some());
        watch.assert_shows_none_of(&private_parts(&key), &format!("{error:?} {}", chain(&error)));
        assert!(chain(&error).contains(expected), "{}", chain(&error));
        let SettingsError::Malformed { source: VariableError { name, fault }, .. } = error else {
            panic!("{error:?}")
        };
        assert!(name == expected && is_expected(&fault), "{name} {fault:?}");
    }
}

#[test]
fn refuses_halves_that_do_not_belong_together() {
    let (key, other) = (HybridPrivateKey::generate().unwrap(), HybridPrivateKey::generate().unwrap());
    let mixed = [&key.dangerous_expose()[..32], &other.dangerous_expose()[32..]].concat();
    for private in [other.dangerous_expose().as_slice(), &mixed] {
        let error = made(key.public_key().as_bytes(), private).unwrap_err();
        assert!(chain(&error).contains(PRIVATE) && chain(&error).contains(PUBLIC), "{}", chain(&error));
        assert!(matches!(
            error,
            SettingsError::Mismatch {
                name: PRIVATE,
                source: HybridPrivateKeyError::PublicKeyMismatch { .. }
            }
        ));
    }
}

#[test]
fn says_what_to_set_for_a_new_kek() {
    let key = HybridPrivateKey::generate().unwrap();
    let settings = EnvironmentKekProvider::provision(&key);
    assert!(!format!("{settings:?}").contains(&Base64::encode_string(&key.dangerous_expose()[..30])));
    let names: Vec<_> = settings.iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, [PUBLIC, PRIVATE]);
    let provider = EnvironmentKekProvider::from_environment(&settings.into_variables()).unwrap();
    assert_eq!(provider.load().unwrap().key_id(), key.public_key().key_id());
}

//! The container of a private key under a data key.

use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError, Secret};
use aegis_kek::{Container, ContainerError, MAX_CONTAINER_LEN, MAX_WRAPPED_KEY_LEN, WrapMethod};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::LazyLock;

use crate::watch::{Watch, chain, private_parts};

/// Making a key takes its time, and these tests change bytes around it.
static KEY: LazyLock<HybridPrivateKey> = LazyLock::new(|| HybridPrivateKey::generate().unwrap());

const WRAPPED: &[u8] = &[0xa5; 40];
/// Bytes before the wrapped data key.
const HEADER_LEN: usize = 8 + 1 + 1 + 32 + 2;

fn data_key() -> Secret<32> {
    Secret::copy_of(&[7; 32])
}

fn sealed(wrapped: &[u8]) -> Vec<u8> {
    Container::seal(&KEY, WrapMethod::Rfc5649, &data_key(), wrapped.to_vec()).unwrap().to_bytes()
}

fn opened(bytes: &[u8]) -> Result<HybridPrivateKey, ContainerError> {
    Container::parse(bytes)?.open(&data_key(), KEY.public_key())
}

#[test]
fn opens_what_it_sealed_by_any_method_and_length() {
    for method in WrapMethod::ALL {
        for len in [1, 40, 184, MAX_WRAPPED_KEY_LEN] {
            let wrapped = vec![0x5a; len];
            let bytes = Container::seal(&KEY, method, &data_key(), wrapped.clone()).unwrap().to_bytes();
            assert_eq!(bytes.len(), HEADER_LEN + len + 12 + 2432 + 16);
            assert!(bytes.len() <= MAX_CONTAINER_LEN && Container::is_one(&bytes));
            let container = Container::parse(&bytes).unwrap();
            assert_eq!((container.method(), container.wrapped_key()), (method, wrapped.as_slice()));
            assert_eq!(container.kek(), KEY.public_key().key_id());
            assert_eq!(container.to_bytes(), bytes);
            let private = container.open(&data_key(), KEY.public_key()).unwrap();
            assert_eq!(private.dangerous_expose(), KEY.dangerous_expose());
        }
    }
}

#[test]
fn has_the_layout_of_the_document() {
    let bytes = sealed(WRAPPED);
    assert_eq!(&bytes[..8], b"AEGISKEK");
    assert_eq!(bytes[8..10], [1, 2]);
    assert_eq!(&bytes[10..42], KEY.public_key().key_id().as_bytes());
    assert_eq!(bytes[42..44], [0, 40]);
    assert_eq!(&bytes[44..84], WRAPPED);
    // Under AES-256-GCM of another implementation's interface, with the associated data of the document.
    let bound = [
        &4_u64.to_be_bytes(),
        17_u64.to_be_bytes().as_slice(),
        b"aegis/kek-wrap/v1",
        &32_u64.to_be_bytes(),
        KEY.public_key().key_id().as_bytes(),
        &1_u64.to_be_bytes(),
        &[2],
        &40_u64.to_be_bytes(),
        WRAPPED,
    ]
    .concat();
    let associated_data = aegis_crypto::AssociatedData::new([
        b"aegis/kek-wrap/v1",
        KEY.public_key().key_id().as_bytes(),
        &[2],
        WRAPPED,
    ]);
    assert_eq!(associated_data.as_bytes(), bound);
    let private = aegis_crypto::open_under(&data_key(), &associated_data, &bytes[84..]).unwrap();
    assert_eq!(private.as_slice(), KEY.dangerous_expose());
}

#[test]
fn the_bytes_of_the_methods_never_change() {
    assert_eq!(WrapMethod::ALL.map(WrapMethod::byte), [1, 2, 3, 4]);
    let names = ["kms-data-key", "rfc5649", "aes-gcm", "yubico-ccm"];
    assert_eq!(WrapMethod::ALL.map(WrapMethod::as_str), names);
}

#[test]
fn refuses_what_is_not_one_whole_container() {
    let good = sealed(WRAPPED);
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let expected = good.len();
    let cases = [
        (Vec::new(), ContainerError::NoContainer),
        (b"AEGISKE".to_vec(), ContainerError::NoContainer),
        (changed(0, b"a"), ContainerError::NoContainer),
        (changed(8, &[0]), ContainerError::Version { found: 0 }),
        (changed(8, &[2]), ContainerError::Version { found: 2 }),
        (changed(9, &[0]), ContainerError::Method { found: 0 }),
        (changed(9, &[5]), ContainerError::Method { found: 5 }),
        (changed(42, &[0, 0]), ContainerError::WrappedKeyLength { found: 0 }),
        (changed(42, &[4, 1]), ContainerError::WrappedKeyLength { found: 1025 }),
        (changed(42, &[0xff, 0xff]), ContainerError::WrappedKeyLength { found: 65535 }),
        (changed(42, &[0, 41]), ContainerError::Length { found: expected, expected: expected + 1 }),
        (changed(42, &[0, 39]), ContainerError::Length { found: expected, expected: expected - 1 }),
        (good[..8].to_vec(), ContainerError::CutOff { found: 8, at: 8 }),
        (good[..9].to_vec(), ContainerError::CutOff { found: 9, at: 9 }),
        (good[..41].to_vec(), ContainerError::CutOff { found: 41, at: 10 }),
        (good[..43].to_vec(), ContainerError::CutOff { found: 43, at: 42 }),
        (good[..expected - 1].to_vec(), ContainerError::Length { found: expected - 1, expected }),
        ([good.as_slice(), b"\n"].concat(), ContainerError::Length { found: expected + 1, expected }),
    ];
    for (bytes, error) in cases {
        assert!(error.help().is_some(), "{error:?}");
        assert_eq!(Container::parse(&bytes).unwrap_err(), error);
    }
}

#[test]
fn refuses_a_wrapped_data_key_that_it_could_not_write_down() {
    for found in [0, MAX_WRAPPED_KEY_LEN + 1] {
        let error = Container::seal(&KEY, WrapMethod::AesGcm, &data_key(), vec![1; found]).unwrap_err();
        assert_eq!(error, ContainerError::WrappedKeyLength { found });
    }
}

#[test]
fn refuses_every_bit_flip_and_every_truncation() {
    let good = sealed(WRAPPED);
    opened(&good).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone();
            changed[at] ^= 1 << bit;
            assert!(opened(&changed).is_err(), "bit {bit} of byte {at}");
        }
        assert!(opened(&good[..at]).is_err(), "{at} bytes");
    }
}

#[test]
fn refuses_another_data_key_and_another_public_key() {
    let container = Container::parse(&sealed(WRAPPED)).unwrap();
    let error = container.open(&Secret::copy_of(&[8; 32]), KEY.public_key()).unwrap_err();
    assert_eq!(error, ContainerError::NotAuthentic);
    let other = HybridPrivateKey::generate().unwrap();
    let error = container.open(&data_key(), other.public_key()).unwrap_err();
    let (inside, wanted) = (KEY.public_key().key_id(), other.public_key().key_id());
    assert_eq!(error, ContainerError::OtherKek { inside, wanted });

    // Relabelled for the other key: the label is bound.
    let mut relabelled = container.to_bytes();
    relabelled[10..42].copy_from_slice(wanted.as_bytes());
    let error = Container::parse(&relabelled).unwrap().open(&data_key(), other.public_key()).unwrap_err();
    assert_eq!(error, ContainerError::NotAuthentic);
}

#[test]
fn refuses_a_private_key_that_is_not_the_one_on_the_label() {
    // Whoever has the data key can seal anything: what comes out is still checked.
    let kek = KEY.public_key().key_id();
    let other = HybridPrivateKey::generate().unwrap();
    let bound = aegis_crypto::AssociatedData::new([b"aegis/kek-wrap/v1", kek.as_bytes(), &[2], WRAPPED]);
    let sealed_other = aegis_crypto::seal_under(&data_key(), &bound, other.dangerous_expose()).unwrap();
    let forged = [&sealed(WRAPPED)[..84], &sealed_other].concat();
    let error = opened(&forged).unwrap_err();
    assert!(matches!(error, ContainerError::PrivateKey(HybridPrivateKeyError::PublicKeyMismatch { .. })));
}

#[test]
fn two_containers_share_no_nonce() {
    let nonces: std::collections::BTreeSet<_> = (0..64).map(|_| sealed(WRAPPED)[84..96].to_vec()).collect();
    assert_eq!(nonces.len(), 64);
}

#[test]
fn shows_no_secret() {
    let watch = Watch::start();
    let data_key = Secret::<32>::random().unwrap();
    let container = Container::seal(&KEY, WrapMethod::AesGcm, &data_key, WRAPPED.to_vec()).unwrap();
    let private = container.open(&data_key, KEY.public_key()).unwrap();
    let error = container.open(&Secret::random().unwrap(), KEY.public_key()).unwrap_err();
    let said = format!("{container:?} {private:?} {error:?} {}", chain(&error));
    let mut secrets = private_parts(&KEY);
    secrets.push(data_key.expose().to_vec());
    watch.assert_shows_none_of(&secrets, &said);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_parses_prints_back_the_same(mut bytes in vec(any::<u8>(), 0..64), len in 1_u16..=1024, seed: u8) {
        // Bytes at random are hardly ever a container, so most are made to begin as one.
        let mut whole = sealed(&vec![seed; usize::from(len)]);
        let until = bytes.len().min(whole.len());
        let at = whole.len() - until;
        whole[at..].copy_from_slice(&bytes[..until]);
        prop_assert_eq!(Container::parse(&whole).unwrap().to_bytes(), whole);
        bytes.splice(0..0, *b"AEGISKEK");
        if let Ok(container) = Container::parse(&bytes) {
            prop_assert_eq!(container.to_bytes(), bytes);
        }
    }

    #[test]
    fn opens_unless_anything_changed(at: Index, mask in 1_u8..) {
        let mut changed = sealed(WRAPPED);
        let at = at.index(changed.len());
        changed[at] ^= mask;
        prop_assert!(opened(&changed).is_err());
    }
}

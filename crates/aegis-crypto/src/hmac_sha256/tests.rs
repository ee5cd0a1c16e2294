//! Every compressor against the standards' vectors, and against the provider for whatever messages there may be.

use hex_literal::hex;
use proptest::collection::vec;
use proptest::prelude::*;

use super::compressor::{self, Compressor};
use super::*;
use crate::sha256::sha256;

/// Those that this processor has. Where it has none there is nothing to test, and that is said.
fn compressors(test: &str) -> Vec<Compressor> {
    let every: Vec<Compressor> = Compressor::every().into_iter().flatten().collect();
    if every.len() < 2 {
        let why = format!("this processor has {} of the two instruction sets", every.len());
        test_services::tools::skip(test, &why);
    }
    every
}

/// A key of at most 64 bytes is the same as that key with zeros after it, and a longer one as its digest (RFC 2104 §2).
fn key_of(bytes: &[u8]) -> Secret<32> {
    let mut key = [0; 32];
    match key.get_mut(..bytes.len()) {
        Some(start) => start.copy_from_slice(bytes),
        None => key = *sha256(bytes).as_bytes(),
    }
    Secret::copy_of(&key)
}

fn tags(key: &HmacKey, messages: &[Message<'_>]) -> Vec<[u8; 32]> {
    let mut tags = vec![None; messages.len()];
    key.sign_each(messages.iter().copied(), &mut Workspace::default(), |number, tag| {
        assert!(tags[number].replace(tag).is_none(), "message {number} has one tag");
    });
    tags.into_iter().map(|tag| tag.expect("each message has a tag")).collect()
}

/// FIPS 180-4 has its examples elsewhere: <https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values>,
/// SHA256.pdf, of one block and of two.
#[test]
fn compresses_the_examples_of_fips_180() {
    let one = padded(b"abc", 1);
    let two = padded(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 2);
    for compressor in compressors("compresses_the_examples_of_fips_180") {
        let mut state = compressor::START;
        compressor.compress_one(&mut state, &one[0]);
        let expected = hex!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(lanes::bytes_of(&state), expected, "{compressor:?}");

        let mut state = compressor::START;
        compressor.compress_one(&mut state, &two[0]);
        compressor.compress_one(&mut state, &two[1]);
        let expected = hex!("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        assert_eq!(lanes::bytes_of(&state), expected, "{compressor:?}");
    }
}

fn padded(message: &[u8], blocks: usize) -> Vec<compressor::Block> {
    let mut bytes = message.to_vec();
    bytes.push(0x80);
    bytes.resize(blocks * 64 - 8, 0);
    bytes.extend_from_slice(&(8 * message.len() as u64).to_be_bytes());
    bytes.as_chunks().0.to_vec()
}

struct Case {
    key: &'static [u8],
    message: &'static [u8],
    tag: &'static [u8],
}

/// RFC 4231 §4.2 to §4.8; the fifth gives the first 16 bytes only.
const RFC_4231: [Case; 7] = [
    Case {
        key: &[0x0b; 20],
        message: b"Hi There",
        tag: &hex!("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    },
    Case {
        key: b"Jefe",
        message: b"what do ya want for nothing?",
        tag: &hex!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    },
    Case {
        key: &[0xaa; 20],
        message: &[0xdd; 50],
        tag: &hex!("773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    },
    Case {
        key: &hex!("0102030405060708090a0b0c0d0e0f10111213141516171819"),
        message: &[0xcd; 50],
        tag: &hex!("82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    },
    Case {
        key: &[0x0c; 20],
        message: b"Test With Truncation",
        tag: &hex!("a3b6167473100ee06e0c796c2955552b"),
    },
    Case {
        key: &[0xaa; 131],
        message: b"Test Using Larger Than Block-Size Key - Hash Key First",
        tag: &hex!("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
    },
    Case {
        key: &[0xaa; 131],
        message:
            b"This is a test using a larger than block-size key and a larger than block-size data. The key \
            needs to be hashed before being used by the HMAC algorithm.",
        tag: &hex!("9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    },
];

#[test]
fn makes_the_tags_of_rfc_4231() {
    for compressor in compressors("makes_the_tags_of_rfc_4231").into_iter().map(Some).chain([None]) {
        for (number, case) in RFC_4231.iter().enumerate() {
            let key = HmacKey::with(&key_of(case.key), compressor);
            // In every lane, and in one after the other.
            let messages = [[case.message, b"", b""]; 9];
            for tag in tags(&key, &messages) {
                assert_eq!(tag[..case.tag.len()], *case.tag, "{compressor:?}, case {}", number + 1);
            }
            assert_eq!(key.sign(messages[0])[..case.tag.len()], *case.tag, "case {}", number + 1);
        }
    }
}

/// Around each end of a block, and around what a lane takes.
#[test]
fn agrees_with_the_provider_on_messages_of_every_length() {
    let bytes: Vec<u8> = (0..700_u32).map(|number| u8::try_from(number * 7 % 251).unwrap()).collect();
    let messages: Vec<Message<'_>> = (0..=bytes.len()).map(|len| split(&bytes[..len], len / 3)).collect();
    for compressor in compressors("agrees_with_the_provider_on_messages_of_every_length") {
        let key = HmacKey::with(&key_of(b"key"), Some(compressor));
        for (len, (tag, message)) in tags(&key, &messages).iter().zip(&messages).enumerate() {
            assert_eq!(*tag, key.sign(*message), "{compressor:?}, {len} bytes");
        }
    }
}

/// Three parts of a message, of which the first ends at `at`.
fn split(message: &[u8], at: usize) -> Message<'_> {
    let (first, rest) = message.split_at(at.min(12));
    let (second, third) = rest.split_at(rest.len() / 2);
    [first, second, third]
}

proptest! {
    /// As many as there may be: fewer than lanes, or more; of lengths that leave lanes at different times.
    #[test]
    fn agrees_with_the_provider_on_any_messages(
        key in any::<[u8; 32]>(),
        messages in vec((vec(any::<u8>(), 0..600), 0..600_usize), 0..24),
    ) {
        let messages: Vec<Message<'_>> =
            messages.iter().map(|(message, at)| split(message, *at % (message.len() + 1))).collect();
        for compressor in Compressor::every().into_iter().flatten() {
            let key = HmacKey::with(&Secret::copy_of(&key), Some(compressor));
            let expected: Vec<_> = messages.iter().map(|message| key.sign(*message)).collect();
            prop_assert_eq!(tags(&key, &messages), expected, "{:?}", compressor);
        }
    }

    /// What is kept of public parts is used for the same ones only, in whatever lane one changes.
    #[test]
    fn agrees_with_the_provider_when_public_parts_come_again(
        key in any::<[u8; 32]>(),
        public in vec(vec(any::<u8>(), 112..180), 1..12),
        changes in vec(proptest::option::of((any::<prop::sample::Index>(), 0..112_usize)), 1..6),
        secret in vec(any::<u8>(), 0..90),
    ) {
        for compressor in Compressor::every().into_iter().flatten() {
            let (key, mut workspace) = (HmacKey::with(&Secret::copy_of(&key), Some(compressor)), Workspace::default());
            let mut public = public.clone();
            for (round, change) in changes.iter().enumerate() {
                if let Some((which, place)) = change {
                    let which = which.index(public.len());
                    public[which][*place] ^= 1;
                }
                let nonce = [u8::try_from(round).unwrap(); 12];
                let messages: Vec<Message<'_>> =
                    public.iter().map(|public| [&nonce[..], public, &secret]).collect();
                let mut found = vec![None; messages.len()];
                key.sign_each(messages.iter().copied(), &mut workspace, |number, tag| found[number] = Some(tag));
                let expected: Vec<_> = messages.iter().map(|message| Some(key.sign(*message))).collect();
                prop_assert_eq!(found, expected, "{:?}, round {}", compressor, round);
            }
        }
    }
}

//! What came out of a token, and the PIN that went in, are in no memory of this process afterwards.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::KekProvider;
use aegis_kek::pkcs11::{HsmToken, HsmWrap, Pin, generate_wrapping_key, provision};
use test_services::tokens::{Maker, Token, on};

use super::{Kept, token_of};

const LEN: usize = 16;

/// Bytes that are looked for, each inverted: nobody is to find them here.
type Inverted = [u8; LEN];

fn inverted(bytes: &[u8]) -> Inverted {
    std::array::from_fn(|at| !bytes[at])
}

/// Pieces of a private key from both halves.
fn pieces(private: &HybridPrivateKey) -> Vec<Inverted> {
    [16, 40, 600, 1160, 2416].map(|at| inverted(&private.dangerous_expose()[at..])).to_vec()
}

/// How many of the pieces are in memory that this process can write to. It has no other thread that works.
fn found(wanted: &[Inverted]) -> usize {
    const PAGE: usize = 4096;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut page = vec![0_u8; PAGE + LEN - 1];
    let own = page.as_ptr_range();
    let own = own.start.addr() as u64..own.end.addr() as u64;
    let zeros = vec![0_u8; page.len()];
    let mut hits = vec![false; wanted.len()];
    // So that most places cost one look.
    let begins: Vec<bool> = (0..=255_u8).map(|byte| wanted.iter().any(|piece| piece[0] == !byte)).collect();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        for at in (start..end).step_by(PAGE) {
            let len = page.len().min(usize::try_from(end - at).unwrap());
            // What the search itself has read is not a find.
            if (at..at + len as u64).any(|byte| own.contains(&byte)) {
                continue;
            }
            if memory.read_exact_at(&mut page[..len], at).is_ok() && page[..len] != zeros[..len] {
                for window in page[..len].windows(LEN).filter(|window| begins[usize::from(window[0])]) {
                    for (hit, inverse) in hits.iter_mut().zip(wanted) {
                        *hit |= window.iter().zip(inverse).all(|(byte, other)| *byte == !*other);
                    }
                }
            }
        }
    }
    page.fill(0);
    hits.into_iter().filter(|hit| *hit).count()
}

/// Makes a KEK that is nowhere but under the token's key, and says what to look for.
fn forgotten(token: &HsmToken, wrap: HsmWrap) -> (Kept, Vec<Inverted>) {
    generate_wrapping_key(token).unwrap();
    let private = HybridPrivateKey::generate().unwrap();
    let wanted = pieces(&private);
    let wrapped = provision(token, &private, wrap).unwrap();
    // The provider needs the public half only.
    let public_key = private.public_key().clone();
    drop(private);
    let stranger = HybridPrivateKey::generate().unwrap();
    let kept = Kept { token: token.clone(), private: stranger, wrapped };
    let provider = super::make(token.clone(), kept.wrapped.clone(), &public_key).unwrap();
    let kek = provider.load().unwrap();
    assert_eq!(found(&wanted), wanted.len(), "the search does not see what is there");
    drop(kek);
    (kept, wanted)
}

fn leaves_nothing(token: &Token, wrap: HsmWrap) {
    let (_kept, wanted) = forgotten(&token_of(token, token.module()), wrap);
    assert_eq!(found(&wanted), 0);
}

#[test]
fn nothing_is_left_of_a_kek_that_softhsm2_unwrapped_in_two_steps() {
    on(Maker::SoftHsm2, |token| leaves_nothing(token, HsmWrap::TwoStep));
}

#[test]
fn nothing_is_left_of_a_kek_that_softhsm2_unwrapped_in_one() {
    on(Maker::SoftHsm2, |token| leaves_nothing(token, HsmWrap::Direct));
}

#[test]
fn nothing_is_left_of_a_kek_that_nss_unwrapped() {
    on(Maker::Nss, |token| leaves_nothing(token, HsmWrap::Direct));
}

#[test]
fn nothing_is_left_of_a_pin_that_was_refused() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        let mut pin = aegis_crypto::Secret::<LEN>::random().unwrap().expose().map(|byte| b'0' + byte % 10);
        let wanted = [inverted(&pin)];
        let token = HsmToken {
            pin: Pin::new(std::str::from_utf8(&pin).unwrap(), "the test").unwrap(),
            ..kept.token.clone()
        };
        pin.fill(0);
        std::hint::black_box(&mut pin);
        let provider = kept.provider_of(token);
        provider.load().unwrap_err();
        assert_eq!(found(&wanted), 1, "the search does not see what is there");
        drop(provider);
        assert_eq!(found(&wanted), 0);
    });
}

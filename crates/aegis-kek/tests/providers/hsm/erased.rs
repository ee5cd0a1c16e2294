//! What came out of a token, and the PIN that went in, are in no memory of this process afterwards.

use aegis_crypto::HybridPrivateKey;
use aegis_kek::KekProvider;
use aegis_kek::pkcs11::{HsmToken, HsmWrap, Pin, generate_wrapping_key, provision};
use test_services::tokens::{Maker, Token, on};

use super::{Kept, token_of};
use crate::memory::{Inverted, found, inverted};

const NONE: [usize; 0] = [];

/// Pieces of a private key from both halves.
fn pieces(private: &HybridPrivateKey) -> Vec<Inverted> {
    [16, 40, 600, 1160, 2416].map(|at| inverted(&private.dangerous_expose()[at..])).to_vec()
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
    assert_eq!(found(&wanted).len(), wanted.len(), "the search does not see what is there");
    drop(kek);
    (kept, wanted)
}

fn leaves_nothing(token: &Token, wrap: HsmWrap) {
    let (_kept, wanted) = forgotten(&token_of(token, token.module()), wrap);
    assert_eq!(found(&wanted), NONE);
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
        let mut pin = aegis_crypto::Secret::<16>::random().unwrap().expose().map(|byte| b'0' + byte % 10);
        let wanted = [inverted(&pin)];
        let token = HsmToken {
            pin: Pin::new(std::str::from_utf8(&pin).unwrap(), "the test").unwrap(),
            ..kept.token.clone()
        };
        pin.fill(0);
        std::hint::black_box(&mut pin);
        let provider = kept.provider_of(token);
        provider.load().unwrap_err();
        assert_eq!(found(&wanted).len(), 1, "the search does not see what is there");
        drop(provider);
        assert_eq!(found(&wanted), NONE);
    });
}

//! What each token does with which mechanism, as measured, and what is written with it.

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use aegis_kek::pkcs11::{
    Direct, HsmProvisionError, HsmWrap, Mechanism, Probed, Proof, Unfit, VendorMechanism,
    generate_wrapping_key, provision,
};
use aegis_kek::{Container, HsmFault, HsmToken, KekProvider, WrapMethod};
use test_services::tokens::{Maker, Token, on};

use super::{KEY, Kept, detail, fault, labelled, token_of};

/// What is chosen for a token, under these rules.
fn chosen(token: &HsmToken, public_key: &HybridPublicKey) -> Result<Probed, String> {
    let private = HybridPrivateKey::generate().unwrap();
    let kept = Kept { token: token.clone(), wrapped: a_container(&private), private };
    assert_ne!(kept.private.public_key(), public_key);
    kept.provider().probe().map_err(|error| format!("{error:?}"))
}

/// Something to make a provider with, which is not unwrapped.
fn a_container(private: &HybridPrivateKey) -> Vec<u8> {
    let data_key = aegis_crypto::Secret::random().unwrap();
    Container::seal(private, WrapMethod::Rfc5649, &data_key, vec![0; 40]).unwrap().to_bytes()
}

#[test]
fn softhsm2_wraps_by_0x210a_which_it_makes_rfc_5649() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        let probed = kept.provider().probe().unwrap();
        assert_eq!(
            probed,
            Probed { mechanism: Mechanism::KeyWrapPad, proof: Proof::KnownAnswer, direct: Direct::Proven }
        );
    });
}

#[test]
fn nss_wraps_by_0x210b_in_c_encrypt() {
    on(Maker::Nss, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        let probed = kept.provider().probe().unwrap();
        assert_eq!(
            probed,
            Probed { mechanism: Mechanism::KwpEncrypt, proof: Proof::KnownAnswer, direct: Direct::Proven }
        );
    });
}

#[test]
fn kryoptic_wraps_by_0x210b() {
    on(Maker::Kryoptic, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        assert_eq!(
            kept.provider().probe().unwrap(),
            probed(Mechanism::KwpEncrypt, Proof::KnownAnswer, Direct::Proven)
        );
    });
}

#[test]
fn health_says_what_was_found_and_asks_no_device() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider();
        let calls = token.calls("C_GetSlotList");
        assert_eq!(detail(&provider, "mechanism"), "not yet probed");
        assert_eq!(token.calls("C_GetSlotList"), calls);
        kept.assert_loads(&provider);
        let calls = token.calls("C_GetSlotList");
        assert_eq!(detail(&provider, "mechanism"), "CKM_AES_KEY_WRAP_PAD by C_WrapKey");
        assert_eq!(detail(&provider, "proven"), "known-answer");
        assert_eq!(detail(&provider, "direct"), "yes");
        assert_eq!(detail(&provider, "token"), token.maker().label());
        assert_eq!(detail(&provider, "wrapping_key"), KEY);
        assert_eq!(detail(&provider, "wrapped"), "two-step, rfc5649");
        assert_eq!(detail(&provider, "sessions"), "4");
        assert_eq!(token.calls("C_GetSlotList"), calls);
    });
}

#[test]
fn two_steps_are_a_container_and_one_step_is_bare_rfc_5649() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        let container = Container::parse(&kept.wrapped).unwrap();
        assert_eq!(container.method(), WrapMethod::Rfc5649);
        assert_eq!(container.wrapped_key().len(), 40);
        assert_eq!(container.kek(), kept.private.public_key().key_id());

        let direct = provision(&kept.token, &kept.private, HsmWrap::Direct).unwrap();
        assert_eq!(direct.len(), 2440);
        let kept = Kept { wrapped: direct, ..kept };
        let provider = kept.provider();
        kept.assert_loads(&provider);
        assert_eq!(detail(&provider, "wrapped"), "direct, rfc5649");
    });
}

/// Rules that make one token into another, and what has to be chosen then.
struct Disguise {
    rules: &'static str,
    vendor: Option<VendorMechanism>,
    probed: Probed,
    method: WrapMethod,
}

const fn probed(mechanism: Mechanism, proof: Proof, direct: Direct) -> Probed {
    Probed { mechanism, proof, direct }
}

#[track_caller]
fn assert_disguises(token: &Token, disguises: &[Disguise]) {
    let real = token_of(token, token.injecting_module());
    generate_wrapping_key(&real).unwrap();
    for Disguise { rules, vendor, probed, method } in disguises {
        token.inject(rules);
        let hsm = HsmToken { mechanism: *vendor, ..real.clone() };
        let private = HybridPrivateKey::generate().unwrap();
        let wrapped =
            provision(&hsm, &private, HsmWrap::TwoStep).unwrap_or_else(|error| panic!("{rules}: {error:?}"));
        assert_eq!(Container::parse(&wrapped).unwrap().method(), *method, "{rules}");
        let kept = Kept { token: hsm, private, wrapped };
        let provider = kept.provider();
        kept.assert_loads(&provider);
        assert_eq!(provider.probe().unwrap(), *probed, "{rules}");
        let direct = provision(&kept.token, &kept.private, HsmWrap::Direct);
        match probed.direct {
            Direct::Proven => assert_eq!(direct.unwrap().len(), 2440, "{rules}"),
            Direct::NotProven => assert!(
                matches!(direct, Err(HsmProvisionError::DirectNotProven { .. })),
                "{rules}: {direct:?}"
            ),
        }
    }
}

#[test]
fn chooses_for_softhsm2_in_disguise() {
    on(Maker::SoftHsm2, |token| {
        assert_disguises(
            token,
            &[
                // As a Luna: the number of PKCS#11 3.
                Disguise {
                    rules: "alias 0x210b 0x210a\nhide 0x210a",
                    vendor: None,
                    probed: probed(Mechanism::KwpWrap, Proof::KnownAnswer, Direct::Proven),
                    method: WrapMethod::Rfc5649,
                },
                // As AWS CloudHSM: a number of its own, and no secret of more than 800 bytes.
                Disguise {
                    rules: "alias 0x8000216f 0x210a\nhide 0x210a\nmax-value 800",
                    vendor: Some(VendorMechanism::CloudHsmKwp),
                    probed: probed(Mechanism::CloudHsmKwp, Proof::KnownAnswer, Direct::NotProven),
                    method: WrapMethod::Rfc5649,
                },
                // No key wrap at all.
                Disguise {
                    rules: "hide 0x210a",
                    vendor: None,
                    probed: probed(Mechanism::AesGcm, Proof::KnownAnswer, Direct::NotProven),
                    method: WrapMethod::AesGcm,
                },
                // No known key: 0x210A could be anything, and is not taken.
                Disguise {
                    rules: "no-import",
                    vendor: None,
                    probed: probed(Mechanism::AesGcm, Proof::RoundTrip, Direct::NotProven),
                    method: WrapMethod::AesGcm,
                },
                Disguise {
                    rules: "no-import\nalias 0x210b 0x210a",
                    vendor: None,
                    probed: probed(Mechanism::KwpWrap, Proof::RoundTrip, Direct::NotProven),
                    method: WrapMethod::Rfc5649,
                },
            ],
        );
    });
}

#[test]
fn chooses_for_nss_in_disguise() {
    on(Maker::Nss, |token| {
        assert_disguises(
            token,
            &[
                // As a YubiHSM 2: its own number, by C_Encrypt.
                Disguise {
                    rules: "alias 0xd9554204 0x210b\nhide 0x210b",
                    vendor: Some(VendorMechanism::YubicoCcm),
                    probed: probed(Mechanism::YubicoCcm, Proof::RoundTrip, Direct::NotProven),
                    method: WrapMethod::YubicoCcm,
                },
                // As a device whose keys may wrap and not encrypt. NSS itself unwraps no 2,432 bytes so.
                Disguise {
                    rules: "fail C_EncryptInit 0x68",
                    vendor: None,
                    probed: probed(Mechanism::KwpWrap, Proof::KnownAnswer, Direct::NotProven),
                    method: WrapMethod::Rfc5649,
                },
                Disguise {
                    rules: "no-import",
                    vendor: None,
                    probed: probed(Mechanism::KwpEncrypt, Proof::RoundTrip, Direct::NotProven),
                    method: WrapMethod::Rfc5649,
                },
            ],
        );
    });
}

#[test]
fn takes_no_mechanism_for_its_number_alone() {
    on(Maker::Nss, |token| {
        let real = token_of(token, token.injecting_module());
        generate_wrapping_key(&real).unwrap();
        // 0x210A of NSS is PKCS#7 padding and RFC 3394, here under the number of RFC 5649.
        token.inject("alias 0x210b 0x210a\nhide 0x210a\nhide 0x1087");
        let private = HybridPrivateKey::generate().unwrap();
        let kept = Kept { token: real, wrapped: a_container(&private), private };
        let error = kept.provider().load().unwrap_err();
        let ("broken", HsmFault::NoMechanism { tried, .. }) = fault(&error) else { panic!("{error:?}") };
        let of = |wanted| tried.iter().find(|refusal| refusal.mechanism == wanted).unwrap().why;
        assert_eq!(of(Mechanism::KwpEncrypt), Unfit::OtherBytes);
        assert!(matches!(of(Mechanism::AesGcm), Unfit::Answer(_)));
        assert_eq!(tried.len(), 4, "{tried:?}");
    });
}

#[test]
fn reads_what_was_wrapped_by_gcm_after_the_token_has_learnt_key_wrap() {
    on(Maker::SoftHsm2, |token| {
        let hsm = token_of(token, token.injecting_module());
        generate_wrapping_key(&hsm).unwrap();
        token.inject("hide 0x210a");
        let private = HybridPrivateKey::generate().unwrap();
        let wrapped = provision(&hsm, &private, HsmWrap::TwoStep).unwrap();
        let kept = Kept { token: hsm, private, wrapped };
        token.inject("");
        let provider = kept.provider();
        kept.assert_loads(&provider);
        assert_eq!(provider.probe().unwrap().mechanism, Mechanism::KeyWrapPad);
    });
}

#[test]
fn says_that_a_wrapping_is_of_another_kind_of_token() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let direct = provision(&kept.token, &kept.private, HsmWrap::Direct).unwrap();
        token.inject("hide 0x210a");
        for wrapped in [kept.wrapped.clone(), direct] {
            let kept = Kept { wrapped, token: kept.token.clone(), private: copy(&kept.private) };
            let error = kept.provider().load().unwrap_err();
            let ("broken", HsmFault::OtherMethod { wanted, has, .. }) = fault(&error) else {
                panic!("{error:?}")
            };
            assert_eq!((*wanted, *has), (WrapMethod::Rfc5649, Mechanism::AesGcm));
        }
    });
}

fn copy(private: &HybridPrivateKey) -> HybridPrivateKey {
    HybridPrivateKey::import(private.dangerous_expose()).unwrap()
}

#[test]
fn the_direct_form_is_what_any_other_program_makes_of_it() {
    on(Maker::Nss, |token| {
        // Two tokens and software agree on the bytes: made by one key's known value in the probe. Here, that the form
        // carries nothing of ours: the same key wraps to the same bytes twice.
        let kept = Kept::directly(token, HsmWrap::Direct);
        let again = provision(&kept.token, &kept.private, HsmWrap::Direct).unwrap();
        assert_eq!(again, kept.wrapped);
        assert_eq!(again.len(), 2440);
    });
}

#[test]
fn a_wrapping_key_is_made_once_and_never_leaves() {
    on(Maker::SoftHsm2, |token| {
        let hsm = token_of(token, token.module());
        generate_wrapping_key(&hsm).unwrap();
        let again = generate_wrapping_key(&hsm).unwrap_err();
        assert!(matches!(&again, HsmProvisionError::KeyExists { label, .. } if label == KEY), "{again:?}");
        assert!(again.help().is_some());
        generate_wrapping_key(&labelled(&hsm, "another")).unwrap();
        let private = HybridPrivateKey::generate().unwrap();
        assert!(chosen(&hsm, private.public_key()).is_ok());
    });
}

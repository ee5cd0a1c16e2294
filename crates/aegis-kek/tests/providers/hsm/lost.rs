//! Sessions and tokens that are lost, and come back.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aegis_kek::pkcs11::HsmWrap;
use aegis_kek::{HsmFault, HsmToken, KekProvider};
use test_services::tokens::{Maker, Token, on};

use super::{Kept, OTHER_KEY, fault, labelled, sessions};

#[test]
fn a_lost_session_is_replaced() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider();
        kept.assert_loads(&provider);
        // DEVICE_REMOVED, SESSION_CLOSED, SESSION_HANDLE_INVALID, TOKEN_NOT_PRESENT, USER_NOT_LOGGED_IN,
        // KEY_HANDLE_INVALID, UNWRAPPING_KEY_HANDLE_INVALID, CRYPTOKI_NOT_INITIALIZED
        for code in ["0x32", "0xb0", "0xb3", "0xe0", "0x101", "0x60", "0xf0", "0x190"] {
            token.inject(&format!("fail C_UnwrapKey {code} times 1"));
            kept.assert_loads(&provider);
            token.inject("");
            kept.assert_loads(&provider);
        }
    });
}

#[test]
fn a_session_that_is_lost_for_good_is_given_up_after_some_tries() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider();
        kept.assert_loads(&provider);
        let logins = token.calls("C_Login");
        token.inject("fail C_UnwrapKey 0xb3");
        let error = provider.load().unwrap_err();
        let ("unavailable", HsmFault::Device { .. }) = fault(&error) else { panic!("{error:?}") };
        let again = token.calls("C_Login") - logins;
        assert!((1..=8).contains(&again), "{again} log-ins");
        token.inject("");
        kept.assert_loads(&provider);
    });
}

#[test]
fn a_token_that_was_put_back_is_found() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        let provider = kept.provider();
        kept.assert_loads(&provider);
        for _ in 0..2 {
            fs::rename(token.storage(), token.file("away")).unwrap();
            let error = provider.load().unwrap_err();
            let ("unavailable", _) = fault(&error) else { panic!("{error:?}") };
            fs::rename(token.file("away"), token.storage()).unwrap();
            kept.assert_loads(&provider);
        }
    });
}

#[test]
fn sixteen_threads_share_four_sessions() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider();
        let (opened, logins) = (token.calls("C_OpenSession"), token.calls("C_Login"));
        kept.assert_loads(&provider);
        let for_one = token.calls("C_OpenSession") - opened;
        token.inject("delay C_UnwrapKey 10");
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..4).for_each(|_| kept.assert_loads(&provider)));
            }
        });
        // The first load opened the one that it used; there may be three more.
        assert!(token.calls("C_OpenSession") - opened <= for_one + 3);
        assert_eq!(token.calls("C_Login") - logins, 1);
    });
}

#[test]
fn a_pool_of_one_serves_many_threads() {
    on(Maker::Nss, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider_of(HsmToken { session_pool_size: sessions(1), ..kept.token.clone() });
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| kept.assert_loads(&provider));
            }
        });
    });
}

#[test]
fn a_token_with_fewer_sessions_than_the_pool_does_with_those() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider_of(HsmToken { session_pool_size: sessions(8), ..kept.token.clone() });
        kept.assert_loads(&provider);
        token.inject("fail C_OpenSession 0xb1\ndelay C_UnwrapKey 5");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| kept.assert_loads(&provider));
            }
        });
    });
}

#[test]
fn losses_in_mid_run_cost_no_load() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider();
        kept.assert_loads(&provider);
        let loaded = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        kept.assert_loads(&provider);
                        loaded.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for code in ["0xb3", "0x32", "0x101"] {
                token.inject(&format!("fail C_UnwrapKey {code} times 2\ndelay C_UnwrapKey 2"));
                thread::sleep(Duration::from_millis(30));
            }
            token.inject("");
        });
        assert_eq!(loaded.into_inner(), 64);
    });
}

#[test]
fn a_slow_device_is_waited_for() {
    on(Maker::Nss, |token| {
        let kept = Kept::injectable(token);
        let provider = kept.provider();
        kept.assert_loads(&provider);
        token.inject("delay C_Decrypt 400");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| kept.assert_loads(&provider));
            }
        });
    });
}

#[test]
fn a_device_that_does_not_answer_is_not_waited_for_without_end() {
    on(Maker::Nss, |token| {
        let kept = Kept::injectable(token);
        let impatient = HsmToken { answer_within: Duration::from_millis(300), ..kept.token.clone() };
        let provider = kept.provider_of(impatient);
        for slow in ["C_Login", "C_Decrypt"] {
            token.inject(&format!("delay {slow} 1500"));
            let error = provider.load().unwrap_err();
            let ("unavailable", HsmFault::NoAnswer { .. }) = fault(&error) else { panic!("{error:?}") };
            token.inject("");
            // Another thread may still be at it; what it holds, it gives back.
            while provider.load().is_err() {}
        }
        kept.assert_loads(&provider);
    });
}

/// In a child of fork(2) the module has to be initialised once more, and its sessions are not those of the parent.
fn a_child_has_sessions_of_its_own(maker: Maker, token: &Token) {
    let kept = Kept::directly(token, HsmWrap::TwoStep);
    let provider = kept.provider();
    kept.assert_loads(&provider);
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let loaded = std::panic::catch_unwind(|| (0..3).for_each(|_| kept.assert_loads(&provider)));
            std::process::exit(i32::from(loaded.is_err()));
        }
        fork::Fork::Parent(child) => {
            assert_eq!(fork::waitpid(child).unwrap(), 0, "{maker:?}");
            kept.assert_loads(&provider);
        }
    }
}

#[test]
fn a_forked_child_uses_softhsm2_anew() {
    on(Maker::SoftHsm2, |token| a_child_has_sessions_of_its_own(Maker::SoftHsm2, token));
}

#[test]
fn a_forked_child_uses_nss_anew() {
    on(Maker::Nss, |token| a_child_has_sessions_of_its_own(Maker::Nss, token));
}

#[test]
fn two_providers_on_one_token_do_not_log_each_other_out() {
    on(Maker::SoftHsm2, |token| {
        let first = Kept::injectable(token);
        let private = aegis_crypto::HybridPrivateKey::generate().unwrap();
        let hsm = labelled(&first.token, OTHER_KEY);
        let wrapped = aegis_kek::pkcs11::provision(&hsm, &private, HsmWrap::TwoStep).unwrap();
        let second = Kept { token: hsm, private, wrapped };

        let (one, two) = (first.provider(), second.provider());
        first.assert_loads(&one);
        second.assert_loads(&two);
        drop(one);
        second.assert_loads(&two);
        let one = first.provider();
        first.assert_loads(&one);
        // One loses the token until its module is started anew; the other finds its sessions gone, and opens new ones.
        token.inject("fail C_UnwrapKey 0x32 times 3");
        first.assert_loads(&one);
        token.inject("");
        second.assert_loads(&two);
        first.assert_loads(&one);
    });
}

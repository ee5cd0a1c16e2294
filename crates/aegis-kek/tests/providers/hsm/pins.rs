//! PINs that are wrong, locked, or about to be.

use aegis_kek::pkcs11::{HsmWrap, Pin};
use aegis_kek::{HsmFault, HsmToken, KekProvider};
use test_services::tokens::{Maker, PIN, on};

use super::{Kept, fault};
use crate::watch::{Watch, chain};

const WRONG: &str = "user-99999999";

/// The same token, to be opened with a wrong PIN.
fn with_a_wrong_pin(kept: &Kept) -> HsmToken {
    HsmToken { pin: Pin::new(WRONG, "the test").unwrap(), ..kept.token.clone() }
}

#[test]
fn a_wrong_pin_is_offered_once_in_a_process() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let before = token.calls("C_Login");
        let wrong = with_a_wrong_pin(&kept);
        let (first, second) = (kept.provider_of(wrong.clone()), kept.provider_of(wrong));
        for provider in [&first, &first, &second] {
            let error = provider.load().unwrap_err();
            let ("denied", HsmFault::WrongPin { .. }) = fault(&error) else { panic!("{error:?}") };
        }
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| first.load().unwrap_err());
            }
        });
        assert_eq!(token.calls("C_Login"), before + 1);
        // The right one is another.
        kept.assert_loads(&kept.provider());
    });
}

#[test]
fn nss_refuses_a_wrong_pin_too() {
    on(Maker::Nss, |token| {
        let kept = Kept::injectable(token);
        let before = token.calls("C_Login");
        let error = kept.provider_of(with_a_wrong_pin(&kept)).load().unwrap_err();
        let ("denied", HsmFault::WrongPin { .. }) = fault(&error) else { panic!("{error:?}") };
        assert_eq!(token.calls("C_Login"), before + 1);
    });
}

#[test]
fn no_pin_is_offered_to_a_token_that_may_lock() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let before = token.calls("C_Login");
        token.inject("flags 0x20000");
        let error = kept.provider().load().unwrap_err();
        let ("denied", HsmFault::LastTry { .. }) = fault(&error) else { panic!("{error:?}") };
        token.inject("flags 0x40000");
        let error = kept.provider().load().unwrap_err();
        let ("denied", HsmFault::PinLocked { .. }) = fault(&error) else { panic!("{error:?}") };
        assert_eq!(token.calls("C_Login"), before);
        token.inject("");
        kept.assert_loads(&kept.provider());
    });
}

#[test]
fn what_a_token_says_of_a_pin_is_not_tried_again() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        // PIN_LOCKED, PIN_EXPIRED, USER_PIN_NOT_INITIALIZED, USER_ANOTHER_ALREADY_LOGGED_IN
        for code in ["0xa4", "0xa3", "0x102", "0x104"] {
            token.inject(&format!("fail C_Login {code}"));
            let before = token.calls("C_Login");
            let error = kept.provider().load().unwrap_err();
            let ("denied", fault) = fault(&error) else { panic!("{error:?}") };
            let expected = match code {
                "0xa4" => matches!(fault, HsmFault::PinLocked { .. }),
                "0x104" => matches!(fault, HsmFault::Refused { .. }),
                _ => matches!(fault, HsmFault::PinNotReady { .. }),
            };
            assert!(expected, "{code}: {fault:?}");
            assert_eq!(token.calls("C_Login"), before + 1, "{code}");
        }
    });
}

#[test]
fn a_pin_is_not_offered_twice_to_a_device_that_does_not_say_whether_it_is_wrong() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        // GENERAL_ERROR, FUNCTION_FAILED, DEVICE_ERROR, a vendor's own
        for code in ["0x5", "0x6", "0x30", "0x80000001"] {
            token.inject(&format!("fail C_Login {code}"));
            let before = token.calls("C_Login");
            let error = kept.provider().load().unwrap_err();
            let ("unavailable", HsmFault::LogIn { .. }) = fault(&error) else { panic!("{error:?}") };
            assert_eq!(token.calls("C_Login"), before + 1, "{code}");
        }
        token.inject("");
        kept.assert_loads(&kept.provider());
    });
}

#[test]
fn a_token_that_counts_is_never_locked_by_us() {
    on(Maker::Kryoptic, |token| {
        let kept = Kept::directly(token, HsmWrap::TwoStep);
        // As many services, each with another outdated PIN. After the ninth, this token would lock.
        let refused = |pin: usize| {
            let pin = Pin::new(&format!("outdated-{pin:04}"), "the test").unwrap();
            let error = kept.provider_of(HsmToken { pin, ..kept.token.clone() }).load().unwrap_err();
            let ("denied", fault) = fault(&error) else { panic!("{error:?}") };
            match fault {
                HsmFault::WrongPin { .. } => false,
                HsmFault::LastTry { .. } => true,
                other => panic!("{other:?}"),
            }
        };
        let last_tries: Vec<bool> = (0..15).map(refused).collect();
        assert!(last_tries.is_sorted() && last_tries.ends_with(&[true, true, true]), "{last_tries:?}");
        assert!(matches!(fault(&kept.provider().load().unwrap_err()), ("denied", HsmFault::LastTry { .. })));

        // As the help says, once by hand with the right one: it is not locked.
        let by_hand = std::process::Command::new("pkcs11-tool")
            .arg("--module")
            .arg(token.module())
            .args(["--token-label", token.maker().label(), "--login", "--pin", PIN, "--list-objects"])
            .output()
            .unwrap();
        assert!(by_hand.status.success(), "{}", String::from_utf8_lossy(&by_hand.stderr));
    });
}

#[test]
fn a_pin_is_nowhere_in_what_is_said() {
    on(Maker::SoftHsm2, |token| {
        let kept = Kept::injectable(token);
        let watch = Watch::start();
        let mut said = String::new();
        kept.assert_loads(&kept.provider());
        for rules in
            ["", "flags 0x20000", "fail C_Login 0xa0", "fail C_Login 0x30", "fail C_OpenSession 0xe0"]
        {
            token.inject(rules);
            let provider = kept.provider_of(with_a_wrong_pin(&kept));
            let error = provider.load().unwrap_err();
            said += &format!(
                "{error:?} {} {:?} {provider:?} {:?}",
                chain(&error),
                error.help(),
                provider.health()
            );
        }
        said += &format!("{:?}", kept.token);
        assert!(!watch.logged().is_empty(), "nothing was logged, so nothing was looked at");
        let pins = [WRONG, PIN].map(|pin| pin.as_bytes().to_vec());
        watch.assert_shows_none_of(&pins, &said);
    });
}

//! What needs no device. Signing inside a real token is a scenario of the `aegisbpf` binary: the library reads its
//! configuration from the environment of the process, which a test here could not set without `unsafe`.

use std::{fs, os::unix::fs::PermissionsExt};

use cryptoki::context::Function;

use super::*;
use crate::sign::SignerFailure;

fn pin_file(content: &[u8], mode: u32) -> Result<Pin, SignerError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pin");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    Pin::from_file(&path)
}

fn exposed(pin: &Pin) -> &str {
    &pin.0
}

#[test]
fn takes_one_line_feed_off_a_pin_and_nothing_else() {
    let longest = "9".repeat(MAX_PIN_LEN);
    let cases = [
        ("1234", "1234"),
        ("1234\n", "1234"),
        ("1234\r\n", "1234"),
        (" 1234 \n", " 1234 "),
        ("pässword\n", "pässword"),
        (longest.as_str(), longest.as_str()),
    ];
    for (content, expected) in cases {
        assert_eq!(exposed(&pin_file(content.as_bytes(), 0o600).unwrap()), expected, "{content:?}");
    }
    assert_eq!(exposed(&pin_file(format!("{longest}\r\n").as_bytes(), 0o400).unwrap()), longest);
}

#[test]
fn refuses_what_is_not_a_pin_and_repeats_none_of_it() {
    let long = "9".repeat(MAX_PIN_LEN + 1);
    for content in [
        &b""[..],
        b"\n",
        b"\r\n",
        b"hunter2\n\n",
        b"hunter2\nmore",
        b"hunter2\0",
        b"hunter2\t",
        b"hunter2\xff",
        long.as_bytes(),
    ] {
        let error = pin_file(content, 0o600).unwrap_err();
        assert!(matches!(error, SignerError::PinText { .. }), "{content:?}: {error:?}");
        let shown = format!("{error} {error:?} {:?}", error.help());
        assert!(!shown.contains("hunter2") && !shown.contains("999"), "{shown}");
    }
    assert!(matches!(pin_file(&[b'9'; 1 << 16], 0o600), Err(SignerError::Read { .. })));
    assert!(matches!(pin_file(b"1234", 0o640), Err(SignerError::KeyFilePermissions { mode: 0o640, .. })));
    assert!(matches!(Pin::from_file(Path::new("/dev/zero")), Err(SignerError::Read { .. })));
}

#[test]
fn reads_a_pin_from_a_variable() {
    // One that every process has; what is in it does not matter.
    assert_eq!(exposed(&Pin::from_variable("PATH").unwrap()), env::var("PATH").unwrap());
    let error = Pin::from_variable("AEGIS_NO_SUCH_PIN").unwrap_err();
    assert!(matches!(&error, SignerError::PinVariable { name } if name == "AEGIS_NO_SUCH_PIN"), "{error:?}");
    assert!(error.to_string().contains("AEGIS_NO_SUCH_PIN"));
}

#[test]
fn shows_no_pin() {
    assert_eq!(format!("{:?}", pin_file(b"hunter2", 0o600).unwrap()), "Pin { .. }");
}

#[test]
fn reads_a_point_in_both_spellings() {
    let raw: Vec<u8> = (1..=32).collect();
    let expected: &[u8; 32] = raw.as_slice().try_into().unwrap();
    assert_eq!(ed25519_point(&raw), Some(expected));
    assert_eq!(ed25519_point(&[&[0x04, 0x20], raw.as_slice()].concat()), Some(expected));
    for wrong in [
        vec![],
        raw[1..].to_vec(),
        [raw.as_slice(), &[0]].concat(),
        [&[0x04, 0x21], raw.as_slice()].concat(),
        [&[0x03, 0x20], raw.as_slice()].concat(),
        [&[0x04, 0x20], raw.as_slice(), &[0]].concat(),
        [&[0x04, 0x20], &raw[1..]].concat(),
        // A point of a NIST curve, uncompressed.
        [&[0x04, 0x41, 0x04], raw.as_slice(), raw.as_slice()].concat(),
    ] {
        assert_eq!(ed25519_point(&wrong), None, "{wrong:02x?}");
    }
}

#[test]
fn a_library_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("not-a-library.so");
    fs::write(&text, b"text").unwrap();
    for path in [text.as_path(), Path::new("/no/such/library.so"), dir.path(), Path::new("")] {
        let pin = Pin::from_variable("PATH").unwrap();
        let error = Pkcs11Signer::open(path, "token", "key", pin).unwrap_err();
        assert!(matches!(&error, SignerError::Module { path: named, .. } if named == path), "{error:?}");
        assert_eq!(error.failure(), SignerFailure::Broken);
    }
}

#[test]
fn sorts_what_devices_answer() {
    use SignerFailure::{Broken, Refused, TryAgain};
    let cases = [
        (RvError::PinIncorrect, Refused),
        (RvError::PinLocked, Refused),
        (RvError::PinExpired, Refused),
        (RvError::KeyFunctionNotPermitted, Refused),
        (RvError::DeviceRemoved, TryAgain),
        (RvError::DeviceError, TryAgain),
        (RvError::SessionHandleInvalid, TryAgain),
        (RvError::GeneralError, TryAgain),
        (RvError::MechanismInvalid, Broken),
        (RvError::KeyTypeInconsistent, Broken),
        (RvError::UnknownErrorCode(0x1234), Broken),
        (RvError::VendorDefined(0x8000_0001), Broken),
    ];
    for (code, expected) in cases {
        let error = sorted("hsm", &Error::Pkcs11(code, Function::Sign));
        assert_eq!(error.failure(), expected, "{code:?}");
        assert!(error.to_string().contains("hsm") && error.help().is_some(), "{code:?}");
    }
    let refused = sorted("hsm", &Error::Pkcs11(RvError::KeyFunctionNotPermitted, Function::Sign));
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(cause, "C_Sign answered KeyFunctionNotPermitted");
}

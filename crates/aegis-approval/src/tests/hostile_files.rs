//! Files that were changed, made up, or are something else.

use super::fixture::*;
use crate::*;

fn file(team: &Team) -> (SignedRequest, String) {
    let request = asked();
    let signatures = vec![
        team.risk.approves(&request, "risk_lead", 1),
        team.security.approves(&request, "security_lead", 2),
    ];
    let signed = SignedRequest::new(request, signatures).with_keys(&team.registry());
    let text = signed.to_json();
    (signed, text)
}

/// Every byte of the file counts.
#[test]
fn refuses_an_approval_with_any_byte_changed() {
    let team = Team::new();
    let (signed, text) = file(&team);
    let here = [signed.request.audience().clone()];
    let holds = |bytes: &[u8]| {
        let Ok(read) = SignedRequest::parse(bytes) else { return false };
        verify(&read, signed.request.subject(), &here, &team.registry(), &Quorum::classic(), later(3)).is_ok()
    };
    assert!(holds(text.as_bytes()));
    for index in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        for flip in [1, 2, 0x20, 0x80] {
            changed[index] ^= flip;
            assert!(!holds(&changed), "byte {index} ^ {flip:#x}");
            changed[index] ^= flip;
        }
        assert!(!holds(&text.as_bytes()[..index]), "cut at {index}");
        changed.remove(index);
        assert!(!holds(&changed), "without byte {index}");
        changed = text.clone().into_bytes();
        changed.insert(index, text.as_bytes()[index]);
        assert!(!holds(&changed), "byte {index} twice");
    }
    for more in ["\n", " ", "{}"] {
        assert!(!holds(format!("{text}{more}").as_bytes()));
        assert!(!holds(format!("{more}{text}").as_bytes()));
    }
}

#[test]
fn refuses_files_that_are_something_else() {
    let team = Team::new();
    let (signed, text) = file(&team);
    let request = signed.request.to_json();
    let many = SignedRequest { signatures: vec![signed.signatures[0].clone(); 41], ..signed.clone() };
    for bytes in [
        String::new(),
        "{}".to_owned(),
        "[".repeat(200_000),
        "x".repeat(SignedRequest::MAX_LEN + 1),
        request.clone(),
        text.replace("aegis-approval-v1", "aegis-approval-v2"),
        text.replace("\"kind\"", "\"kind\":\"override\",\"kind\""),
        text.replace("\"nonce\"", "\"extra\":1,\"nonce\""),
        text.replace("\"risk_lead\":1", "\"risk_lead\":0"),
        text.replace("\"risk_lead\":1,", ""),
        text.replace("\"risk_lead\":1", "\"risk_lead\":-1"),
        text.replace("\"risk_lead\":1", "\"risk_lead\":1e400"),
        text.replace("\"drift\"", "\"complexity\""),
        text.replace("\"drift\",\"risk\"", "\"risk\",\"drift\""),
        text.replace("\"signature\":\"smp", "\"signature\":\""),
        text.replace("\":", "\": "),
        many.to_json(),
        SignedRequest { keys: signed.keys[..1].to_vec(), ..signed.clone() }.to_json(),
        SignedRequest { keys: signed.keys.iter().rev().cloned().collect(), ..signed.clone() }.to_json(),
        SignedRequest { keys: vec![signed.keys[0].clone(); 2], ..signed.clone() }.to_json(),
    ] {
        if bytes == text {
            continue;
        }
        let shown: String = bytes.chars().take(60).collect();
        let error = SignedRequest::parse(bytes.as_bytes()).expect_err(&shown);
        assert!(error.to_string().len() < 400 && error.help().is_some());
    }
    assert!(SignedRequest::parse(&[0xff, 0xfe]).is_err());
    assert!(Request::from_json(&request).is_ok());
    assert!(Request::from_json(&format!(" {request}")).is_err());
    assert!(Request::from_json(&"9".repeat(Request::MAX_LEN + 1)).is_err());
    let one = signed.signatures[0].to_json();
    assert_eq!(GivenSignature::from_json(&one).unwrap(), signed.signatures[0]);
    assert!(GivenSignature::from_json(&format!("{one} ")).is_err());
    assert!(GivenSignature::from_json(&"9".repeat(GivenSignature::MAX_LEN + 1)).is_err());
}

#[test]
fn a_registration_shows_that_the_key_is_held() {
    let person = Person::new("rita", &["risk_lead", "auditor"]);
    let registration =
        Registration::new(&person.key, person.name.clone(), person.roles.clone(), noon()).unwrap();
    let text = registration.to_json();
    assert_eq!(Registration::parse(text.as_bytes()).unwrap(), registration);
    let mut pretty: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(Registration::parse(serde_json::to_string_pretty(&pretty).unwrap().as_bytes()).is_ok());
    for (from, to) in [
        ("\"rita\"", "\"rosa\""),
        ("\"auditor\",", ""),
        ("\"auditor\"", "\"security_lead\""),
        ("2026-11-26T12:00:00Z", "2026-11-26T12:00:01Z"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        let error = Registration::parse(changed.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadRegistrationError::Proof(_)), "{from}: {error}");
    }
    // Somebody else's key.
    pretty["key"] = Person::new("eve", &["x"]).key.public_key().to_string().into();
    let stolen = Registration::parse(pretty.to_string().as_bytes()).unwrap_err();
    assert!(matches!(stolen, ReadRegistrationError::Proof(_)));
    assert!(matches!(
        Registration::new(&person.key, person.name.clone(), [].into(), noon()),
        Err(NewRegistrationError::Roles { found: 0 })
    ));
}

#[test]
fn refuses_a_registration_with_a_private_key_in_it() {
    let person = Person::new("rita", &["risk_lead"]);
    let text =
        Registration::new(&person.key, person.name.clone(), person.roles.clone(), noon()).unwrap().to_json();
    let secret = person.key.dangerous_to_secret_text();
    for leaked in [
        secret.to_string(),
        format!("{text}{}", *secret),
        text.replace("\"rita\"", &format!("{:?}", *secret)),
        "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n".to_owned(),
        format!("{{\"private\":\"K{}\"}}", "w".repeat(51)),
        format!("{}{}", *secret, "x".repeat(Registration::MAX_LEN)),
    ] {
        let error = Registration::parse(leaked.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadRegistrationError::Private { .. }), "{error}");
        let shown = format!("{error} {error:?} {:?}", error.help());
        assert!(!shown.contains(&secret[secret.len() - 20..]), "{shown}");
    }
    for other in [String::new(), "{}".to_owned(), "[".repeat(10_000), "x".repeat(Registration::MAX_LEN + 1)] {
        assert!(Registration::parse(other.as_bytes()).is_err());
    }
}

/// The file alone says whether its signatures are right, and not whether its signers are custodians.
#[test]
fn everything_is_computed_again_from_the_file() {
    let team = Team::new();
    let (signed, text) = file(&team);
    let read = SignedRequest::parse(text.as_bytes()).unwrap();
    assert_eq!(read, signed);
    let claimed = read.claimed_registry().unwrap();
    assert_eq!(standing(&read.request, &read.signatures, None, &claimed, later(3)).state, State::Approved);
    let mut forged = read.clone();
    forged.signatures[0].signature = forged.signatures[1].signature.clone();
    let stands = standing(&forged.request, &forged.signatures, None, &claimed, later(3));
    assert_eq!((stands.state, stands.void.len()), (State::Partial, 1));
    // As signers add to it, each on a machine of their own, it stays whole.
    let mut passed_on = SignedRequest::new(read.request.clone(), Vec::new());
    for (given, person) in read.signatures.iter().zip([&team.risk, &team.security]) {
        passed_on.add(given.clone(), person.key.public_key());
        passed_on = SignedRequest::parse(passed_on.to_json().as_bytes()).unwrap();
    }
    assert_eq!(passed_on, read);
    // Without the keys it says nothing.
    let bare = SignedRequest::new(read.request, read.signatures);
    assert_eq!(SignedRequest::parse(bare.to_json().as_bytes()).unwrap(), bare);
    let claimed = bare.claimed_registry().unwrap();
    assert_eq!(standing(&bare.request, &bare.signatures, None, &claimed, later(3)).state, State::Pending);
}

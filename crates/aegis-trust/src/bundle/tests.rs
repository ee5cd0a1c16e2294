use aegis_crypto::sha256;
use proptest::prelude::*;

use super::*;
use crate::sign::samples::{POLICY, bundle, bundle_v1, id, key, manifest, raw_bundle, signed_payload};

fn parse(file: &[u8]) -> Result<SignedBundle, BundleError> {
    SignedBundle::parse(file.to_vec())
}

/// The sample with one piece of text in its header changed.
fn with(from: &str, to: &str) -> Vec<u8> {
    replaced(&bundle(), from, to)
}

fn replaced(file: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(file).unwrap();
    assert!(text.contains(from), "{from:?} is not in the bundle");
    text.replacen(from, to, 1).into_bytes()
}

fn signature(number: u8) -> (KeyId, Signature) {
    (
        id(number),
        key(number).sign(&pre_authentication_encoding(PAYLOAD_TYPE, manifest().to_json().as_bytes())),
    )
}

fn with_signatures(signatures: &[(KeyId, Signature)]) -> Vec<u8> {
    raw_bundle(&manifest().to_json(), PAYLOAD_TYPE, signatures, POLICY)
}

/// The examples of the DSSE 1.0 specification, `protocol.md`.
#[test]
fn encodes_like_the_specification_of_dsse() {
    assert_eq!(
        pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
    // Lengths are of bytes, not of characters.
    assert_eq!(pre_authentication_encoding("é", "é".as_bytes()), "DSSEv1 2 é 2 é".as_bytes());
}

#[test]
fn what_is_built_by_hand_is_what_is_signed() {
    assert_eq!(with_signatures(&[signature(1)]), bundle());
}

#[test]
fn prints_back_what_it_read() {
    for file in [bundle(), bundle_v1(), with_signatures(&[signature(1), signature(2)])] {
        let parsed = parse(&file).unwrap();
        assert_eq!(parsed.to_bytes(), file);
        assert_eq!(parsed.as_bytes(), file);
        assert_eq!(parsed.policy(), POLICY);
    }
}

#[test]
fn takes_a_policy_of_no_bytes_and_one_that_looks_like_a_header() {
    for policy in [&b""[..], b"---\n", b"AEGIS-POLICY-BUNDLE-V2\n{}\n---\n", b"no line feed", b"\0\xff\r\n"] {
        let manifest =
            Manifest { policy_sha256: sha256(policy), policy_size: policy.len() as u64, ..manifest() };
        assert_eq!(parse(&signed_payload(&manifest.to_json(), policy)).unwrap().policy(), policy);
    }
}

#[test]
fn refuses_other_magic_lines() {
    let dropped = |count: usize| bundle().split_off(count);
    let cases = [
        ("empty", Vec::new()),
        ("plain policy", POLICY.to_vec()),
        ("cut magic", bundle()[..10].to_vec()),
        ("version 3", with("BUNDLE-V2", "BUNDLE-V3")),
        ("version 22", with("BUNDLE-V2", "BUNDLE-V22")),
        ("lower case", with("AEGIS", "aegis")),
        ("space after", with("V2\n", "V2 \n")),
        ("NUL after", with("V2\n", "V2\0\n")),
        ("line feed before", [b"\n".to_vec(), bundle()].concat()),
        ("first byte missing", dropped(1)),
        ("magic line missing", dropped(MAGIC_V2.len())),
    ];
    for (name, file) in cases {
        assert!(matches!(parse(&file), Err(BundleError::Magic { byte_order_mark: false })), "{name}");
    }
    for file in [bundle(), bundle_v1()] {
        let marked = ["\u{feff}".as_bytes().to_vec(), file].concat();
        assert!(matches!(parse(&marked), Err(BundleError::Magic { byte_order_mark: true })));
    }
    assert!(matches!(parse(b"AEGIS-POLICY-BUNDLE-V2\n"), Err(BundleError::HeaderLine { line: 2 })));
}

#[test]
fn refuses_carriage_returns_in_every_header_line() {
    let cases = [("V2\n", "V2\r\n", 1), ("}]}\n", "}]}\r\n", 2), ("\n---\n", "\n---\r\n", 3)];
    for (from, to, expected) in cases {
        assert!(
            matches!(parse(&with(from, to)), Err(BundleError::CarriageReturn { line }) if line == expected),
            "{to:?}"
        );
    }
    let text = String::from_utf8(bundle_v1()).unwrap();
    for expected in 1..=9 {
        let lines: Vec<String> = text
            .split('\n')
            .enumerate()
            .map(|(at, line)| if at + 1 == expected { format!("{line}\r") } else { line.to_owned() })
            .collect();
        let error = parse(lines.join("\n").as_bytes()).unwrap_err();
        assert!(
            matches!(error, BundleError::CarriageReturn { line } if line == expected),
            "{expected}: {error:?}"
        );
    }
    for whole in [text, String::from_utf8(bundle()).unwrap()] {
        let error = parse(whole.replace('\n', "\r\n").as_bytes()).unwrap_err();
        assert!(matches!(error, BundleError::CarriageReturn { line: 1 }), "{error:?}");
    }
}

#[test]
fn refuses_other_separators() {
    let cases = [
        ("missing", with("\n---\n", "\n")),
        ("two dashes", with("\n---\n", "\n--\n")),
        ("four dashes", with("\n---\n", "\n----\n")),
        ("space after", with("\n---\n", "\n--- \n")),
        ("space before", with("\n---\n", "\n ---\n")),
        ("NUL after", with("\n---\n", "\n---\0\n")),
        ("blank line before", with("\n---\n", "\n\n---\n")),
        ("comment before", with("\n---\n", "\n# x\n---\n")),
        ("second envelope", with("\n---\n", "\n{}\n---\n")),
        ("cut after", bundle()[..bundle().len() - POLICY.len() - 1].to_vec()),
    ];
    for (name, file) in cases {
        assert!(
            matches!(parse(&file), Err(BundleError::Separator { line: 3 })),
            "{name}: {:?}",
            parse(&file)
        );
    }
}

#[test]
fn refuses_a_separator_inside_the_headers() {
    // At the place of line 2, and inside its strings.
    assert!(matches!(parse(&with("V2\n", "V2\n---\n")), Err(BundleError::Envelope { .. })));
    assert!(matches!(
        parse(&with("{\"payload\":\"", "{\"payload\":\"\n---\n")),
        Err(BundleError::Envelope { .. })
    ));
    assert!(matches!(
        parse(&with("{\"payload\":\"", "{\"payload\":\"\\n---\\n")),
        Err(BundleError::EnvelopeSpelling | BundleError::PayloadBase64)
    ));
    let text = String::from_utf8(bundle_v1()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for at in 1..8 {
        let (before, after) = lines.split_at(at);
        let early = [before.concat(), "---\n".to_owned(), after.concat()].concat();
        assert!(
            matches!(parse(early.as_bytes()), Err(BundleError::V1Header { line, .. }) if line == at + 1),
            "{at}"
        );
        let instead = [before.concat(), "---\n".to_owned(), after[1..].concat()].concat();
        assert!(
            matches!(parse(instead.as_bytes()), Err(BundleError::V1Header { line, .. }) if line == at + 1),
            "{at}"
        );
    }
}

#[test]
fn refuses_every_other_spelling_of_the_envelope() {
    let invalid = [
        ("not JSON", with("{\"payload\"", "{payload")),
        ("array", with("{\"payload\"", "[\"payload\"")),
        ("unknown member", with(",\"payloadType\"", ",\"more\":1,\"payloadType\"")),
        ("unknown member of a signature", with("{\"keyid\"", "{\"alg\":\"none\",\"keyid\"")),
        ("repeated payload", with(",\"payloadType\"", ",\"payload\":\"\",\"payloadType\"")),
        ("repeated signatures", with(",\"payloadType\"", ",\"signatures\":[],\"payloadType\"")),
        ("payload missing", with("\"payload\":", "\"payloads\":")),
        ("payload null", with("{\"payload\":\"", "{\"payload\":null,\"x\":\"")),
        ("key id upper case", with(&id(1).to_string(), &id(1).to_string().to_uppercase())),
        ("key id short", with(&id(1).to_string(), &id(1).to_string()[1..])),
        ("key id missing", with("\"keyid\":", "\"key\":")),
        ("more after it", with("}]}\n", "}]}{}\n")),
        ("NUL after it", with("}]}\n", "}]}\0\n")),
        ("NUL inside", with("{\"payload\":\"", "{\"payload\":\"\0")),
        ("not UTF-8", {
            let mut file = bundle();
            file[MAGIC_V2.len() + 15] = 0xff;
            file
        }),
        ("empty line", with("V2\n", "V2\n\n")),
        ("deep", [MAGIC_V2.to_vec(), vec![b'['; 16_000], b"\n---\n".to_vec()].concat()),
    ];
    for (name, file) in invalid {
        assert!(matches!(parse(&file), Err(BundleError::Envelope { .. })), "{name}: {:?}", parse(&file));
    }
    let payload = format!("\"payload\":\"{}\",", Base64::encode_string(manifest().to_json().as_bytes()));
    let spelled = [
        ("space", with("{\"payload\"", "{ \"payload\"")),
        ("space before", with("{\"payload\"", " {\"payload\"")),
        ("tab after", with("}]}\n", "}]}\t\n")),
        ("reordered", {
            let moved = with(&payload, "");
            replaced(&moved, ",\"signatures\"", &format!(",{}\"signatures\"", payload))
        }),
        ("escape", with("\"payload\":\"", "\"p\\u0061yload\":\"")),
        ("slash escaped", with("application/vnd", "application\\/vnd")),
    ];
    for (name, file) in spelled {
        assert!(matches!(parse(&file), Err(BundleError::EnvelopeSpelling)), "{name}: {:?}", parse(&file));
    }
}

#[test]
fn refuses_other_spellings_of_base64() {
    let text = String::from_utf8(bundle()).unwrap();
    let payload = Base64::encode_string(manifest().to_json().as_bytes());
    let sig = text.split("\"sig\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    // 64 bytes leave four unused bits before the padding.
    let loose = |text: &str| {
        format!("{}{}==", &text[..text.len() - 3], char::from(text.as_bytes()[text.len() - 3] + 1))
    };
    let cases = [
        ("no padding", sig.trim_end_matches('=').to_owned()),
        ("more padding", format!("{sig}=")),
        ("unused bits set", loose(&sig)),
        ("space", format!("{} {}", &sig[..4], &sig[4..])),
        ("URL alphabet", format!("-_{}", &sig[2..])),
        ("63 bytes", Base64::encode_string(&[1; 63])),
        ("65 bytes", Base64::encode_string(&[1; 65])),
        ("none", String::new()),
    ];
    for (name, other) in cases {
        assert!(
            matches!(parse(&with(&sig, &other)), Err(BundleError::SignatureBytes { number: 1 })),
            "{name}"
        );
    }
    let cases = [
        ("garbage", "!!!!".to_owned()),
        ("cut", payload[..payload.len() - 1].to_owned()),
        ("space", format!("{payload} ")),
        ("URL alphabet", payload.replacen(&payload[..1], "_", 1)),
    ];
    for (name, other) in cases {
        assert!(matches!(parse(&with(&payload, &other)), Err(BundleError::PayloadBase64)), "{name}");
    }
}

#[test]
fn refuses_other_payload_types() {
    for other in [
        "application/vnd.aegis.policy-manifest.v1+json",
        "application/vnd.in-toto+json",
        "",
        "Application/vnd.aegis.policy-manifest.v2+json",
    ] {
        assert!(
            matches!(parse(&with(PAYLOAD_TYPE, other)), Err(BundleError::PayloadType { found }) if found == other)
        );
    }
}

#[test]
fn refuses_none_too_many_and_repeated_signatures() {
    assert!(matches!(parse(&with_signatures(&[])), Err(BundleError::NoSignature)));
    let many: Vec<_> = (1..=17).map(signature).collect();
    assert!(matches!(parse(&with_signatures(&many)), Err(BundleError::TooManySignatures { count: 17 })));
    assert_eq!(parse(&with_signatures(&many[..16])).unwrap().signatures().len(), 16);
    let (one, two) = (signature(1), signature(2));
    assert!(
        matches!(parse(&with_signatures(&[one, one])), Err(BundleError::RepeatedKey { key_id }) if key_id == id(1))
    );
    let two_by_one = [one, two, (one.0, two.1)];
    assert!(matches!(parse(&with_signatures(&two_by_one)), Err(BundleError::RepeatedKey { .. })));
    assert!(matches!(
        parse(&with_signatures(&[one, (two.0, one.1)])),
        Err(BundleError::RepeatedSignature { number: 2 })
    ));
}

#[test]
fn refuses_a_policy_of_another_length() {
    let cut = |count: usize| bundle()[..bundle().len() - count].to_vec();
    let stated = POLICY.len() as u64;
    for (file, expected) in [
        (cut(1), stated - 1),
        (cut(POLICY.len()), 0),
        ([bundle(), b"\n".to_vec()].concat(), stated + 1),
        ([bundle(), b"\0".to_vec()].concat(), stated + 1),
        ([bundle(), bundle()].concat(), stated + bundle().len() as u64),
    ] {
        assert!(
            matches!(parse(&file), Err(BundleError::PolicySize { found, stated: s }) if found == expected && s == stated)
        );
    }
}

#[test]
fn refuses_a_header_that_does_not_end_in_time() {
    let spaces = |count: usize| [MAGIC_V2.to_vec(), vec![b' '; count], b"\n---\n".to_vec()].concat();
    // The line feed of line 2 is the last byte of the header.
    let longest = MAX_HEADER_LEN - MAGIC_V2.len() - 1;
    assert!(matches!(parse(&spaces(longest)), Err(BundleError::Envelope { .. })));
    assert!(matches!(parse(&spaces(longest + 1)), Err(BundleError::HeaderLine { line: 2 })));
    assert!(matches!(
        parse(&[MAGIC_V2.to_vec(), vec![b'a'; 1 << 20]].concat()),
        Err(BundleError::HeaderLine { line: 2 })
    ));
    let long = replaced(&bundle_v1(), "timestamp: ", &format!("timestamp: {}", "0".repeat(MAX_HEADER_LEN)));
    assert!(matches!(parse(&long), Err(BundleError::HeaderLine { line: 4 })));
}

#[test]
fn refuses_version_1_headers_that_are_not_as_they_should_be() {
    let text = String::from_utf8(bundle_v1()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let refused = |lines: &[&str], name: &str| {
        assert!(
            matches!(
                parse(lines.concat().as_bytes()),
                Err(BundleError::V1Header { .. } | BundleError::Separator { .. })
            ),
            "{name}"
        );
    };
    for at in 1..8 {
        let mut missing = lines.clone();
        missing.remove(at);
        refused(&missing, "missing");
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at]);
        refused(&repeated, "repeated");
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        refused(&swapped, "reordered");
        let mut unknown = lines.clone();
        unknown.insert(at, "extra: 1\n");
        refused(&unknown, "unknown");
        for (from, to) in
            [(": ", ":"), (": ", ":  "), (": ", " : "), ("\n", " \n"), ("\n", "\t\n"), ("\n", "\0\n")]
        {
            let other = lines[at].replacen(from, to, 1);
            let mut spelled = lines.clone();
            spelled[at] = &other;
            refused(&spelled, "spelled otherwise");
        }
        let upper = lines[at].to_uppercase();
        let mut case = lines.clone();
        case[at] = &upper;
        refused(&case, "upper case");
    }
}

#[test]
fn refuses_version_1_values_that_are_not_as_they_should_be() {
    let cases: [(&str, &str, usize, &[&str]); 4] = [
        ("format_version: 1\n", "format_version: ", 2, &["2", "01", "1.0", "+1", "", "1 "]),
        (
            "policy_version: 7\n",
            "policy_version: ",
            3,
            &[
                "0",
                "07",
                "-7",
                "+7",
                "1e3",
                "7.0",
                "0x7",
                "",
                "1000000000",
                "18446744073709551615",
                "18446744073709551616",
                "７",
            ],
        ),
        (
            "timestamp: 1767225600\n",
            "timestamp: ",
            4,
            &[
                "0",
                "176722560",
                "17672256000",
                "0767225600",
                "+767225600",
                "-767225600",
                "176722560a",
                "1767225.00",
                "",
            ],
        ),
        (
            "expires: 1775001600\n",
            "expires: ",
            5,
            &["00", "1", "177500160", "17750016000", "0775001600", "+775001600", "-1", "never", "null", ""],
        ),
    ];
    for (from, key, expected, values) in cases {
        for value in values {
            let file = replaced(&bundle_v1(), from, &format!("{key}{value}\n"));
            assert!(
                matches!(parse(&file), Err(BundleError::V1Header { line, .. }) if line == expected),
                "{key}{value}"
            );
        }
    }
    for (key, line) in [("signer_key: ", 6), ("signature: ", 7), ("policy_sha256: ", 8)] {
        let text = String::from_utf8(bundle_v1()).unwrap();
        let value = text.split(key).nth(1).unwrap().split('\n').next().unwrap().to_owned();
        for other in [
            value.to_uppercase(),
            value[1..].to_owned(),
            format!("{value}0"),
            format!("g{}", &value[1..]),
            String::new(),
        ] {
            let file = replaced(&bundle_v1(), &format!("{key}{value}"), &format!("{key}{other}"));
            let found = parse(&file);
            assert!(
                matches!(found, Err(BundleError::V1Header { line: at, .. }) if at == line),
                "{key}{other}: {found:?}"
            );
        }
    }
    let past = replaced(&bundle_v1(), "expires: 1775001600", "expires: 1767225600");
    assert!(matches!(parse(&past), Err(BundleError::Manifest { source: ManifestError::NeverValid { .. } })));
}

/// Whatever is done to a bundle, reading it ends in a value or an error, and a value prints back as it was.
fn is_sound(file: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(bundle) = SignedBundle::parse(file.to_vec()) {
        prop_assert_eq!(bundle.to_bytes(), file);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_soundly(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        is_sound(&bytes)?;
        is_sound(&[MAGIC_V2, &bytes].concat())?;
        is_sound(&[v1::MAGIC, &bytes].concat())?;
    }

    #[test]
    fn mutated_bundles_are_read_soundly(
        older in any::<bool>(),
        at in any::<prop::sample::Index>(),
        len in 0_usize..40,
        new in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut file = if older { bundle_v1() } else { bundle() };
        let from = at.index(file.len());
        let to = (from + len).min(file.len());
        file.splice(from..to, new);
        is_sound(&file)?;
    }

    #[test]
    fn every_manifest_makes_a_bundle_that_prints_back(
        policy_version in 1_u64..,
        epoch in any::<u32>(),
        issued in -377_000_000_000_i64..253_000_000_000,
        life in proptest::option::of(1_i64..1_000_000),
        policy in proptest::collection::vec(any::<u8>(), 0..200),
        signers in 1_u8..4,
    ) {
        let issued_at = jiff::Timestamp::from_second(issued).unwrap();
        let expires_at = life.map(|life| jiff::Timestamp::from_second(issued + life).unwrap());
        let manifest = Manifest {
            policy_version, policy_sha256: sha256(&policy), policy_size: policy.len() as u64, issued_at, expires_at, epoch,
        };
        let signatures: Vec<_> = (1..=signers)
            .map(|n| BundleSignature { key_id: KeyId::of(&[n]), signature: Signature::from_bytes([n; 64]) })
            .collect();
        let file = SignedBundle::assemble(&manifest, &signatures, &policy);
        let bundle = SignedBundle::parse(file.clone()).unwrap();
        prop_assert_eq!(bundle.manifest(), &manifest);
        prop_assert_eq!(bundle.signatures(), &signatures[..]);
        prop_assert_eq!(bundle.to_bytes(), file);
    }
}

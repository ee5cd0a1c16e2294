//! Bundles that are forged, bent or old.

use aegis_crypto::{KeyId, SigningKey};

use super::refuses_bytes;
use crate::forge::{Forgery, base64, key, malleated};
use crate::host::Host;

/// Version 5 is in force; `first` is trusted, its key is the second value.
fn host() -> (Host, SigningKey) {
    let host = Host::in_force(&[5]);
    let first = key(&host, "first");
    (host, first)
}

#[test]
fn what_the_forger_makes_without_a_fault_is_applied() {
    let (host, first) = host();
    std::fs::write(host.file("good.signed"), Forgery::new(6).signed_by(&[&first])).unwrap();
    host.ok(&["policy", "apply", "good.signed", "--require-signature"]);
    assert_eq!(host.counter(), Some(6));
}

#[test]
fn refuses_one_bit_flipped_anywhere() {
    let (host, _) = host();
    let good = std::fs::read(host.sign(6, "first")).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        refuses_bytes(&host, &format!("bit {} of byte {at}", at % 8), &bytes, "");
    }
    host.is_sound("after all flips");
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn refuses_a_bundle_cut_short_at_any_line_or_grown() {
    let (host, _) = host();
    let good = std::fs::read(host.sign(6, "first")).unwrap();
    let lines = good.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    for at in lines.flat_map(|at| [at, at + 1]).filter(|at| *at < good.len()).chain([0, 1, good.len() - 1]) {
        refuses_bytes(&host, &format!("{at} bytes"), &good[..at], "");
    }
    for tail in [&b"\n"[..], b" ", b"\0", b"/etc/passwd\n", &good] {
        refuses_bytes(&host, "trailing bytes", &[&good, tail].concat(), "the manifest says");
    }
}

#[test]
fn refuses_bytes_that_editors_and_copies_add() {
    let (host, _) = host();
    let good = std::fs::read(host.sign(6, "first")).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let crlf = text.replace('\n', "\r\n");
    let cases = [
        ("CRLF everywhere", crlf.into_bytes(), "CR LF"),
        ("CRLF in line 2", text.replacen("}\n---", "}\r\n---", 1).into_bytes(), "CR LF"),
        ("CRLF in the separator", text.replacen("---\n", "---\r\n", 1).into_bytes(), "CR LF"),
        (
            "CRLF in the policy",
            text.replacen("version=1\n", "version=1\r\n", 1).into_bytes(),
            "the manifest says",
        ),
        ("byte-order mark", [b"\xef\xbb\xbf", &good[..]].concat(), "not signed"),
        ("NUL first", [b"\0", &good[..]].concat(), "not signed"),
        (
            "NUL in the magic line",
            text.replacen("-V2\n", "-V2\0\n", 1).into_bytes(),
            "AEGIS-POLICY-BUNDLE-V2",
        ),
        (
            "NUL in the envelope",
            text.replacen("{\"payload\"", "{\0\"payload\"", 1).into_bytes(),
            "DSSE envelope",
        ),
        ("NUL for a policy byte", text.replacen("/etc/shadow", "/etc/s\0adow", 1).into_bytes(), "digest"),
        ("another magic", text.replacen("-V2\n", "-V3\n", 1).into_bytes(), "AEGIS-POLICY-BUNDLE-V2"),
        ("separator twice", text.replacen("---\n", "---\n---\n", 1).into_bytes(), "the manifest says"),
        (
            "separator before the envelope",
            text.replacen("{\"payload\"", "---\n{\"payload\"", 1).into_bytes(),
            "",
        ),
        (
            "separator in the envelope",
            text.replacen("\"payloadType\"", "\n---\n\"payloadType\"", 1).into_bytes(),
            "",
        ),
        ("a line before the separator", text.replacen("\n---\n", "\n\n---\n", 1).into_bytes(), "separator"),
        (
            "spaces in the envelope",
            text.replacen("\",\"payloadType", "\", \"payloadType", 1).into_bytes(),
            "spelling",
        ),
        ("an endless header", [b"AEGIS-POLICY-BUNDLE-V2\n", &[b'{'; 1 << 20][..]].concat(), "does not end"),
    ];
    for (name, bytes, because) in cases {
        refuses_bytes(&host, name, &bytes, because);
    }
}

#[test]
fn refuses_manifests_that_could_be_read_in_two_ways() {
    let (host, first) = host();
    let version = "\"policy_version\":6,";
    let bend = |from: &str, to: &str| Forgery::new(6).bend(from, to);
    let cases = [
        ("version missing", bend(version, ""), "not valid"),
        ("version twice", bend(version, &format!("{version}{version}")), "not valid"),
        ("version negative", bend(":6,", ":-1,"), "not valid"),
        ("version with an exponent", bend(":6,", ":1e3,"), "not valid"),
        ("version with a plus", bend(":6,", ":+5,"), "not valid"),
        ("version of 20 digits, too large", bend(":6,", ":18446744073709551616,"), "not valid"),
        ("version with a leading zero", bend(":6,", ":06,"), "not valid"),
        ("version with a fraction", bend(":6,", ":6.0,"), "not valid"),
        ("version as a string", bend(":6,", ":\"6\","), "not valid"),
        ("version zero", bend(":6,", ":0,"), "versions begin at 1"),
        ("epoch missing", bend(",\"epoch\":0", ""), "not valid"),
        ("epoch twice", bend("\"epoch\":0", "\"epoch\":0,\"epoch\":0"), "not valid"),
        ("epoch out of range", bend("\"epoch\":0", "\"epoch\":4294967296"), "not valid"),
        ("epoch negative", bend("\"epoch\":0", "\"epoch\":-1"), "not valid"),
        ("unknown field", bend("\"epoch\":0", "\"epoch\":0,\"note\":1"), "not valid"),
        ("fields in another order", bend("{", "{\"epoch\":0,").bend(",\"epoch\":0}", "}"), "spelling"),
        ("white space", bend(":6,", ": 6,"), "spelling"),
        ("an escape", bend("policy_version", "policy_versio\\u006e"), "spelling"),
        ("expiry before issue", bend("\"expires_at\":\"20", "\"expires_at\":\"19"), "is not after"),
        ("a local time", bend("Z\",\"expires_at\"", "+01:00\",\"expires_at\""), "not valid"),
        ("not JSON", bend("{", "["), "not valid"),
    ];
    for (name, forgery, because) in cases {
        refuses_bytes(&host, name, &forgery.signed_by(&[&first]), because);
    }
    let mut long = Forgery::new(6);
    long.manifest.push_str(&" ".repeat(3000));
    refuses_bytes(&host, "too long", &long.signed_by(&[&first]), "more than 2048");
}

#[test]
fn refuses_a_policy_that_is_not_the_one_signed() {
    let (host, first) = host();
    let mut forgery = Forgery::new(6);
    let other = crate::host::policy(7).into_bytes();
    assert_eq!(other.len(), forgery.policy.len());
    forgery.policy = other;
    refuses_bytes(&host, "same size, other content", &forgery.signed_by(&[&first]), "signed digest");
    forgery.policy.push(b'\n');
    refuses_bytes(&host, "other size", &forgery.signed_by(&[&first]), "the manifest says");
    let size = format!("\"policy_size\":{}", Forgery::new(6).policy.len());
    for wrong in ["0", "1", "18446744073709551615", "-1", "1e2"] {
        let forgery = Forgery::new(6).bend(&size, &format!("\"policy_size\":{wrong}"));
        refuses_bytes(&host, &format!("size {wrong}"), &forgery.signed_by(&[&first]), "");
    }
    let forgery = Forgery::new(6);
    let digest = aegis_crypto::sha256(&forgery.policy).to_string();
    refuses_bytes(
        &host,
        "digest in capitals",
        &forgery.bend(&digest, &digest.to_uppercase()).signed_by(&[&first]),
        "",
    );
}

#[test]
fn refuses_signatures_that_prove_nothing() {
    let (host, first) = host();
    host.new_key("stranger");
    let stranger = key(&host, "stranger");
    let forgery = Forgery::new(6);
    let message = forgery.message();
    let id = |key: &SigningKey| key.public_key().key_id();
    let good = *first.sign(&message).as_bytes();
    let other_id = KeyId::of(&[7; 32]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("none", forgery.with(&[]), "no signature"),
        ("a stranger's", forgery.signed_by(&[&stranger]), "no trusted key has signed it"),
        (
            "a stranger's under a trusted id",
            forgery.with(&[(id(&first), *stranger.sign(&message).as_bytes())]),
            "does not hold",
        ),
        (
            "of another message",
            forgery.with(&[(id(&first), *first.sign(b"hello").as_bytes())]),
            "does not hold",
        ),
        (
            "of the bare manifest",
            forgery.with(&[(id(&first), *first.sign(forgery.manifest.as_bytes()).as_bytes())]),
            "does not hold",
        ),
        ("all zero", forgery.with(&[(id(&first), [0; 64])]), "does not hold"),
        ("S + L", forgery.with(&[(id(&first), malleated(&good))]), "does not hold"),
        ("twice", forgery.with(&[(id(&first), good), (id(&first), good)]), "appears in two signatures"),
        ("under two ids", forgery.with(&[(id(&first), good), (other_id, good)]), "repeats an earlier one"),
        ("under another id", forgery.with(&[(other_id, good)]), "is by trusted key"),
        (
            "good, but a false one beside it",
            forgery.with(&[(other_id, malleated(&good)), (id(&first), [1; 64])]),
            "does not hold",
        ),
        (
            "17 of them",
            forgery.with(&(0..17).map(|at| (KeyId::of(&[at; 32]), [at; 64])).collect::<Vec<_>>()),
            "more than 16",
        ),
    ];
    for (name, bytes, because) in cases {
        refuses_bytes(&host, name, &bytes, because);
    }
    let short = String::from_utf8(forgery.with(&[(id(&first), good)])).unwrap();
    let short = short.replacen(&base64(&good), &base64(&good[..63]), 1);
    refuses_bytes(&host, "63 bytes", short.as_bytes(), "base64 of 64 bytes");
}

#[test]
fn refuses_a_signature_made_for_another_purpose() {
    let (host, first) = host();
    let mut forgery = Forgery::new(6);
    for payload_type in
        ["application/vnd.in-toto+json", "application/vnd.aegis.policy-manifest.v1+json", "", "text/plain"]
    {
        forgery.payload_type = payload_type.to_owned();
        refuses_bytes(&host, payload_type, &forgery.signed_by(&[&first]), "payload type");
    }
    // The right type around a signature of the wrong one.
    let wrong = *first.sign(&forgery.message()).as_bytes();
    let id = first.public_key().key_id();
    refuses_bytes(&host, "relabelled", &Forgery::new(6).with(&[(id, wrong)]), "does not hold");
    // A proof of possession is no signature of a bundle, and the other way round.
    let challenge = host.ok(&["keys", "challenge", "signer/first.pub"]).stdout;
    let proof = *first.sign(challenge.as_bytes()).as_bytes();
    refuses_bytes(&host, "proof as signature", &Forgery::new(6).with(&[(id, proof)]), "does not hold");
    host.new_key("second");
    let second = key(&host, "second");
    let signature = second.sign(&Forgery::new(6).message()).to_string();
    host.refuses(&["keys", "add", "signer/second.pub", "--proof", &signature], "is not a signature by key");
}

#[test]
fn refuses_removed_and_revoked_keys() {
    let (host, first) = host();
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    let id = first.public_key().key_id().to_string();
    host.sign(6, "first");
    host.ok(&["keys", "remove", &id]);
    let apply = ["policy", "apply", "v6.signed", "--require-signature"];
    host.refuses(&apply, "no trusted key has signed it");
    host.ok(&["keys", "add", "signer/first.pub"]);
    host.ok(&["keys", "revoke", &id, "--reason", "laptop stolen"]);
    host.refuses(&apply, "was revoked (laptop stolen)");
    // A revoked key's file that came back by some other way than `keys add`.
    std::fs::copy(host.file("signer/first.pub"), host.rooted("etc/aegisbpf/keys/back.pub")).unwrap();
    host.refuses(&apply, "was revoked (laptop stolen)");
    host.refuses(&["keys", "add", "signer/first.pub"], "a revoked key never returns");
    // An older copy of the key directory, from before the revocation.
    std::fs::remove_file(host.rooted("etc/aegisbpf/keys/revoked")).unwrap();
    host.refuses(&apply, "was revoked (laptop stolen)");
    host.refuses(&["keys", "add", "signer/first.pub"], "a revoked key never returns");
}

#[test]
fn refuses_what_is_older_or_contradicts_what_was_accepted() {
    let (host, first) = host();
    let signed = |forgery: Forgery| forgery.signed_by(&[&first]);
    refuses_bytes(&host, "older", &signed(Forgery::new(4)), "is older than 5");
    refuses_bytes(&host, "oldest", &signed(Forgery::new(1)), "is older than 5");
    let mut other = Forgery::new(5);
    other.policy = crate::host::policy(9).into_bytes();
    other.manifest = crate::forge::manifest(5, &other.policy);
    refuses_bytes(&host, "same version, other content", &signed(other), "accepted before with other content");
    for epoch in ["1", "4294967295"] {
        let higher = Forgery::new(9).bend("\"epoch\":0", &format!("\"epoch\":{epoch}"));
        refuses_bytes(&host, "higher epoch", &signed(higher), "no approval by two custodians");
    }
    assert_eq!(host.counter(), Some(5));
    // The highest version there is can be applied, and then nothing else.
    std::fs::write(host.file("max.signed"), signed(Forgery::new(u64::MAX))).unwrap();
    host.ok(&["policy", "apply", "max.signed", "--require-signature"]);
    refuses_bytes(&host, "after the last", &signed(Forgery::new(6)), "is older than 18446744073709551615");
}

#[test]
fn refuses_a_signed_policy_that_does_not_parse() {
    let (host, first) = host();
    for (name, text) in [
        ("empty", ""),
        ("no header", "[deny_path]\n/etc/shadow\n"),
        ("unknown section", "version=1\n[deny_everything]\n"),
        ("newer section", "version=1\n[deny_binary_hash]\n"),
        ("bad entry", "version=1\n[deny_path]\nrelative/path\n"),
        ("byte-order mark", "\u{feff}version=1\n"),
        ("NUL", "version=1\n[deny_path]\n/etc/sha\0dow\n"),
    ] {
        let mut forgery = Forgery::new(6);
        forgery.policy = text.as_bytes().to_vec();
        forgery.manifest = crate::forge::manifest(6, &forgery.policy);
        refuses_bytes(&host, name, &forgery.signed_by(&[&first]), "the policy is not valid");
    }
}

#[test]
fn takes_a_policy_that_only_removes_rules_and_paths_that_do_not_exist_here() {
    let (host, first) = host();
    for (version, text) in [(6, "version=1\n[deny_path]\n/no/such/path/anywhere\n"), (7, "version=1\n")] {
        let mut forgery = Forgery::new(version);
        forgery.policy = text.as_bytes().to_vec();
        forgery.manifest = crate::forge::manifest(version, &forgery.policy);
        std::fs::write(host.file("next.signed"), forgery.signed_by(&[&first])).unwrap();
        host.ok(&["policy", "apply", "next.signed", "--require-signature"]);
        assert_eq!(host.counter(), Some(version));
    }
}

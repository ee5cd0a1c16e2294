use std::os::unix::fs::PermissionsExt;

use super::{
    samples::{
        POLICY, bundle, bundle_v1, id, key, manifest, now, public, request, signed_payload, signer, time,
    },
    *,
};
use crate::durable::ReadError;

/// A signer that gives whatever it is told to.
struct Faulty {
    public_key: aegis_crypto::PublicKey,
    answer: Answer,
}

type Answer = fn(&[u8]) -> Result<Signature, SignerError>;

impl PayloadSigner for Faulty {
    fn public_key(&self) -> &aegis_crypto::PublicKey {
        &self.public_key
    }
    fn sign(&self, payload: &[u8]) -> Result<Signature, SignerError> {
        (self.answer)(payload)
    }
}

fn changed(change: impl FnOnce(&mut SignRequest<'static>)) -> SignRequest<'static> {
    let mut request = request();
    change(&mut request);
    request
}

#[test]
fn signs_what_was_asked_for() {
    let bundle = SignedBundle::parse(bundle()).unwrap();
    assert_eq!(bundle.format(), BundleFormat::V2);
    assert_eq!(*bundle.manifest(), manifest());
    assert_eq!(bundle.policy(), POLICY);
    assert_eq!(bundle.signatures().len(), 1);
    let payload = manifest().to_json();
    let expected = format!("DSSEv1 {} {PAYLOAD_TYPE} {} {payload}", PAYLOAD_TYPE.len(), payload.len());
    assert_eq!(bundle.signed_bytes(), expected.as_bytes());
    public(1).verify(expected.as_bytes(), &bundle.signatures()[0].signature).unwrap();
}

#[test]
fn signs_version_1_over_the_four_values_alone() {
    let bundle = SignedBundle::parse(bundle_v1()).unwrap();
    assert_eq!(bundle.format(), BundleFormat::V1);
    assert_eq!(bundle.signed_bytes(), format!("{}717672256001775001600", sha256(POLICY)).as_bytes());
    public(1).verify(bundle.signed_bytes(), &bundle.signatures()[0].signature).unwrap();
}

#[test]
fn drops_fractions_of_a_second_before_signing() {
    let request = changed(|request| {
        request.issued_at = time("2026-01-01T00:00:00.999Z");
        request.expires_at = Some(time("2026-04-01T00:00:00.999Z"));
    });
    assert_eq!(*SignedBundle::parse(sign(&request, &signer(1)).unwrap()).unwrap().manifest(), manifest());
    assert_eq!(sign_v1(&request, &signer(1)).unwrap(), bundle_v1());
}

#[test]
fn refuses_what_hosts_would_refuse() {
    type Check = fn(&SignError) -> bool;
    let cases: [(&str, SignRequest<'_>, Check); 11] = [
        (
            "policy with errors",
            changed(|r| r.policy = b"version=1\n[no_such_section]\n"),
            |e| matches!(e, SignError::Policy { source } if source.total == 1),
        ),
        ("empty policy", changed(|r| r.policy = b""), |e| matches!(e, SignError::Policy { .. })),
        ("policy over the limit", changed(|r| r.limits.max_bytes = 5), |e| {
            matches!(e, SignError::Policy { .. })
        }),
        ("too many rules", changed(|r| r.limits.max_rules = 0), |e| matches!(e, SignError::Policy { .. })),
        ("a bundle", changed(|r| r.policy = bundle().leak()), |e| matches!(e, SignError::AlreadyABundle)),
        ("a version 1 bundle", changed(|r| r.policy = bundle_v1().leak()), |e| {
            matches!(e, SignError::AlreadyABundle)
        }),
        ("version 0", changed(|r| r.policy_version = 0), |e| {
            matches!(e, SignError::Manifest { source: ManifestError::VersionZero })
        }),
        ("expired when issued", changed(|r| r.expires_at = Some(r.issued_at)), |e| {
            matches!(e, SignError::Manifest { source: ManifestError::NeverValid { .. } })
        }),
        ("expired before", changed(|r| r.expires_at = Some(time("2025-12-31T00:00:00Z"))), |e| {
            matches!(e, SignError::Manifest { source: ManifestError::NeverValid { .. } })
        }),
        (
            "valid for less than a second",
            changed(|r| r.expires_at = Some(time("2026-01-01T00:00:00.5Z"))),
            |e| matches!(e, SignError::Manifest { source: ManifestError::NeverValid { .. } }),
        ),
        ("a clock in 1970", changed(|r| r.issued_at = Timestamp::UNIX_EPOCH), |e| {
            matches!(e, SignError::Clock { .. })
        }),
    ];
    // Were it asked, this test would panic: nothing that hosts refuse reaches the signer.
    let unasked = Faulty { public_key: public(1), answer: |_| panic!("the signer was asked") };
    for (name, request, expected) in cases {
        for error in [sign(&request, &unasked).unwrap_err(), sign_v1(&request, &unasked).unwrap_err()] {
            assert!(expected(&error), "{name}: {error:?}");
            assert!(error.help().is_some(), "{name}");
        }
    }
}

#[test]
fn gives_nothing_that_does_not_verify() {
    let answers: [(&str, Answer); 4] = [
        ("another key", |payload| Ok(key(2).sign(payload))),
        ("other bytes", |_| Ok(key(1).sign(b"something else"))),
        ("hash of the bytes", |payload| Ok(key(1).sign(sha256(payload).as_bytes()))),
        ("zeros", |_| Ok(Signature::from_bytes([0; 64]))),
    ];
    for (name, answer) in answers {
        let faulty = Faulty { public_key: public(1), answer };
        let results = [
            sign(&request(), &faulty),
            sign_v1(&request(), &faulty),
            reissue(POLICY.to_vec(), 8, 0, now(), None, &faulty),
            cosign(sign(&request(), &signer(3)).unwrap(), &faulty, now()),
        ];
        for result in results {
            assert!(matches!(result, Err(SignError::DoesNotVerify { key_id }) if key_id == id(1)), "{name}");
        }
    }
    let silent = Faulty { public_key: public(1), answer: |_| Err(SignerError::CommandSilent) };
    assert!(matches!(
        sign(&request(), &silent),
        Err(SignError::Signer { source: SignerError::CommandSilent })
    ));
}

#[test]
fn version_1_says_which_of_its_limits_was_met() {
    let refused = |request: SignRequest<'_>| sign_v1(&request, &signer(1)).unwrap_err();
    for version in [1_000_000_000, u64::MAX] {
        assert!(
            matches!(refused(changed(|r| r.policy_version = version)), SignError::V1Version { policy_version } if policy_version == version)
        );
    }
    assert!(matches!(refused(changed(|r| r.epoch = 1)), SignError::V1Epoch { epoch: 1 }));
    let far = time("2286-11-20T17:46:40Z");
    assert!(
        matches!(refused(changed(|r| r.expires_at = Some(far))), SignError::V1Time { time } if time == far)
    );
    assert!(
        matches!(refused(changed(|r| { r.issued_at = far; r.expires_at = None; })), SignError::V1Time { time } if time == far)
    );
    let last = changed(|r| {
        r.policy_version = 999_999_999;
        r.expires_at = Some(time("2286-11-20T17:46:39Z"));
    });
    SignedBundle::parse(sign_v1(&last, &signer(1)).unwrap()).unwrap();
}

#[test]
fn cosigning_keeps_every_signature() {
    let mut file = bundle();
    for number in 2..=16 {
        let before = SignedBundle::parse(file.clone()).unwrap();
        file = cosign(file, &signer(number), now()).unwrap();
        let after = SignedBundle::parse(file.clone()).unwrap();
        assert_eq!(after.signatures()[..before.signatures().len()], *before.signatures());
        assert_eq!(after.signatures().last().unwrap().key_id, id(number));
        assert_eq!((after.manifest(), after.policy()), (before.manifest(), before.policy()));
        assert_eq!(after.signed_bytes(), before.signed_bytes());
    }
    assert!(matches!(cosign(file, &signer(17), now()), Err(SignError::TooManySignatures)));
}

#[test]
fn cosigning_refuses_what_should_not_be_signed() {
    let add = |file: Vec<u8>| cosign(file, &signer(2), now()).unwrap_err();
    assert!(
        matches!(cosign(bundle(), &signer(1), now()), Err(SignError::AlreadySigned { key_id }) if key_id == id(1))
    );
    assert!(matches!(add(bundle_v1()), SignError::V1Cosign));
    assert!(matches!(add(POLICY.to_vec()), SignError::Bundle { .. }));
    let mut other = bundle();
    *other.last_mut().unwrap() = b' ';
    assert!(matches!(add(other), SignError::Digest));
    let mut longer = bundle();
    longer.push(b'\n');
    assert!(matches!(add(longer), SignError::Bundle { source: BundleError::PolicySize { .. } }));
    let late = cosign(bundle(), &signer(2), time("2026-04-01T00:00:00Z")).unwrap_err();
    assert!(matches!(late, SignError::Expired { .. }));
    // Properly signed by a tool that does not read policies.
    let invalid = b"version=99\n";
    let mut manifest = manifest();
    (manifest.policy_sha256, manifest.policy_size) = (sha256(invalid), invalid.len() as u64);
    assert!(matches!(add(signed_payload(&manifest.to_json(), invalid)), SignError::Policy { .. }));
}

#[test]
fn reissues_the_same_bytes_under_a_higher_version() {
    for old in [bundle(), bundle_v1(), POLICY.to_vec()] {
        let file = reissue(old, 8, 0, now(), None, &signer(2)).unwrap();
        let bundle = SignedBundle::parse(file).unwrap();
        assert_eq!(bundle.policy(), POLICY);
        let expected = Manifest { policy_version: 8, issued_at: now(), expires_at: None, ..manifest() };
        assert_eq!(*bundle.manifest(), expected);
        assert_eq!(bundle.signatures().iter().map(|s| s.key_id).collect::<Vec<_>>(), [id(2)]);
    }
    // An expired bundle is what this is for.
    reissue(bundle(), 8, 0, time("2027-01-01T00:00:00Z"), None, &signer(1)).unwrap();
}

#[test]
fn reissuing_never_goes_down() {
    let old = || sign(&changed(|r| r.epoch = 3), &signer(1)).unwrap();
    let again = |version, epoch| reissue(old(), version, epoch, now(), None, &signer(1));
    for (version, epoch) in [(7, 3), (6, 3), (1, 3), (u64::MAX, 2), (8, 0)] {
        assert!(
            matches!(again(version, epoch), Err(SignError::NotAbove { old_version: 7, old_epoch: 3, .. })),
            "{version} in {epoch}"
        );
    }
    for (version, epoch) in [(8, 3), (u64::MAX, 3), (1, 4)] {
        again(version, epoch).unwrap();
    }
    let last = sign(&changed(|r| r.policy_version = u64::MAX), &signer(1)).unwrap();
    let error = reissue(last, u64::MAX, 0, now(), None, &signer(1)).unwrap_err();
    assert!(error.help().unwrap().contains("no higher version"), "{error}");
    let mut changed = bundle();
    *changed.last_mut().unwrap() = b' ';
    assert!(matches!(reissue(changed, 8, 0, now(), None, &signer(1)), Err(SignError::Digest)));
}

#[test]
fn reads_the_policy_of_either_kind_of_file() {
    for (file, format) in [(bundle(), BundleFormat::V2), (bundle_v1(), BundleFormat::V1)] {
        let PolicyText { bundle: summary, policy } = policy_text(file).unwrap();
        assert_eq!(policy, POLICY);
        let summary = summary.unwrap();
        assert_eq!(
            (summary.format, summary.policy_version, summary.claimed_signers),
            (format, 7, vec![id(1)])
        );
    }
    let plain = policy_text(POLICY.to_vec()).unwrap();
    assert_eq!(plain, PolicyText { bundle: None, policy: POLICY.to_vec() });
    assert!(policy_text(b"AEGIS-POLICY-BUNDLE-V9\n".to_vec()).is_err());
}

#[test]
fn a_key_file_that_others_can_read_does_not_sign() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.key");
    std::fs::write(&path, key(1).to_pkcs8_pem().as_bytes()).unwrap();
    let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o640, 0o604, 0o644, 0o620, 0o602, 0o610, 0o666] {
        set(mode);
        let error = PemSigner::from_file(&path).unwrap_err();
        assert!(
            matches!(error, SignerError::KeyFilePermissions { mode: found, .. } if found == mode),
            "{mode:o}"
        );
        assert_eq!(error.failure(), SignerFailure::Refused);
        assert!(error.help().unwrap().contains("chmod 600"));
    }
    for mode in [0o600, 0o400, 0o700] {
        set(mode);
        assert_eq!(PemSigner::from_file(&path).unwrap().public_key(), &public(1), "{mode:o}");
    }
}

#[test]
fn a_key_file_is_read_like_any_hostile_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = |bytes: &[u8]| {
        let path = dir.path().join("file.key");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        PemSigner::from_file(&path).unwrap_err()
    };
    assert!(matches!(file(&[b'x'; 65_536]), SignerError::Read { source: ReadError::TooLarge { .. } }));
    assert!(matches!(file(public(1).to_spki_pem().as_bytes()), SignerError::KeyFile { .. }));
    assert!(matches!(file(b""), SignerError::KeyFile { .. }));
    assert!(matches!(
        PemSigner::from_file(dir.path()),
        Err(SignerError::Read { source: ReadError::NotAFile { .. } })
    ));
    assert!(matches!(
        PemSigner::from_file(&dir.path().join("none")),
        Err(SignerError::Read { source: ReadError::Open { .. } })
    ));
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(
        PemSigner::from_file(&fifo),
        Err(SignerError::Read { source: ReadError::NotAFile { .. } })
    ));
}

#[test]
fn shows_no_part_of_a_private_key() {
    let pem = key(1).to_pkcs8_pem();
    let body = pem.lines().nth(1).unwrap();
    let shown = format!("{:?}", signer(1));
    assert!(shown.contains(&id(1).to_string()));
    assert!(!shown.contains(&hex::encode([1; 32])) && !shown.contains(body), "{shown}");
    let damaged = pem.replace("END PRIVATE", "END PIVOT");
    let error = PemSigner::from_pem(damaged.as_bytes(), "a.key").unwrap_err();
    assert!(!format!("{error} {error:?}").contains(body));
}

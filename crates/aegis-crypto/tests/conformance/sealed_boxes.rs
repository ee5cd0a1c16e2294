//! Sealed boxes: what opens, and that nothing else does.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use aegis_crypto::{
    ALGORITHM, AssociatedData, BOX_OVERHEAD, BoxContent, Commitment, Commitments, HybridPrivateKey,
    OpenError, Opener, Purpose, SealedContent, SealedEvent, Sealer, open, seal,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

static KEY: LazyLock<Arc<HybridPrivateKey>> =
    LazyLock::new(|| Arc::new(HybridPrivateKey::import(&[5; 96]).unwrap()));

pub(crate) fn associated_data() -> AssociatedData {
    AssociatedData::new([b"actor_id", b"dek-v1-20260101"])
}

fn opener() -> Opener {
    Opener::new(Arc::clone(&KEY), Purpose::Field)
}

#[test]
fn the_algorithm_has_the_name_that_envelopes_carry() {
    assert_eq!(ALGORITHM, "x25519+ml-kem-768+aes-256-gcm");
}

#[test]
fn a_box_is_1148_bytes_longer_than_what_is_in_it() {
    for len in [0, 1, 15, 16, 17, 64, 2432, 100_000] {
        let text = vec![7; len];
        let boxed = seal(KEY.public_key(), Purpose::Field, &associated_data(), &text).unwrap();
        assert_eq!(boxed.len(), len + 1148);
        let opened = open(&KEY, Purpose::Field, &associated_data(), &boxed).unwrap();
        assert_eq!(*opened, text);
    }
}

#[test]
fn a_box_with_one_bit_changed_does_not_open() {
    let boxed = seal(KEY.public_key(), Purpose::Field, &associated_data(), b"\"alice\"").unwrap();
    let mut opener = opener();
    for at in 0..boxed.len() {
        for bit in 0..8 {
            let mut changed = boxed.clone();
            changed[at] ^= 1 << bit;
            let answer = opener.open(&associated_data(), &changed, None).err();
            assert_eq!(answer, Some(OpenError::NotAuthentic), "bit {bit} of byte {at}");
        }
    }
    // The same again with the keys at hand: now only nonce, ciphertext and tag are left to refuse by.
    assert!(opener.open(&associated_data(), &boxed, None).is_ok());
    let of_body = (1120..boxed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    for (at, bit) in (0..1120).step_by(3).map(|at| (at, at % 8)).chain(of_body) {
        let mut changed = boxed.clone();
        changed[at] ^= 1 << bit;
        let answer = opener.open(&associated_data(), &changed, None).err();
        assert_eq!(answer, Some(OpenError::NotAuthentic), "bit {bit} of byte {at}");
    }
    assert!(opener.open(&associated_data(), &boxed, None).is_ok());
}

#[test]
fn a_box_does_not_open_with_other_associated_data() {
    let boxed = seal(KEY.public_key(), Purpose::Field, &associated_data(), b"\"alice\"").unwrap();
    let mut opener = opener();
    let mut refuses = |aad: &AssociatedData, what: &str| {
        for _ in 0..2 {
            assert_eq!(opener.open(aad, &boxed, None).err(), Some(OpenError::NotAuthentic), "{what}");
            assert!(opener.open(&associated_data(), &boxed, None).is_ok());
        }
    };
    let parts: [&[u8]; 2] = [b"actor_id", b"dek-v1-20260101"];
    for (part, at) in (0..2).flat_map(|part| (0..parts[part].len()).map(move |at| (part, at))) {
        for bit in 0..8 {
            let mut changed = parts.map(<[u8]>::to_vec);
            changed[part][at] ^= 1 << bit;
            refuses(&AssociatedData::new([&changed[0], &changed[1]]), &format!("bit {bit} of {part}/{at}"));
        }
    }
    refuses(&AssociatedData::new([b"actor_i", b"ddek-v1-20260101"]), "a byte moved to the next part");
    refuses(&AssociatedData::new([b"actor_iddek-v1-20260101"]), "the parts joined");
    refuses(&AssociatedData::new([b"actor_id", b"dek-v1-20260101", b""]), "a third, empty part");
    refuses(&AssociatedData::new([b"dek-v1-20260101", b"actor_id"]), "the parts swapped");
    refuses(&AssociatedData::new([b""]), "an empty part");
}

#[test]
fn a_box_of_one_purpose_does_not_open_for_another() {
    for made in Purpose::ALL {
        let boxed = seal(KEY.public_key(), made, &associated_data(), b"x").unwrap();
        for asked in Purpose::ALL {
            let opened = open(&KEY, asked, &associated_data(), &boxed);
            assert_eq!(opened.is_ok(), made == asked, "{made:?} opened as {asked:?}");
            let kept = Opener::new(Arc::clone(&KEY), asked).open(&associated_data(), &boxed, None);
            assert_eq!(kept.is_ok(), made == asked, "{made:?} opened as {asked:?}");
        }
    }
}

#[test]
fn a_box_does_not_open_for_another_key() {
    let other = HybridPrivateKey::generate().unwrap();
    let boxed = seal(KEY.public_key(), Purpose::Field, &associated_data(), b"x").unwrap();
    assert_eq!(open(&other, Purpose::Field, &associated_data(), &boxed).err(), Some(OpenError::NotAuthentic));
}

#[test]
fn refuses_a_box_cut_short_or_made_longer() {
    let boxed = seal(KEY.public_key(), Purpose::Field, &associated_data(), b"\"alice\"").unwrap();
    let mut opener = opener();
    for len in 0..boxed.len() {
        let expected =
            if len < BOX_OVERHEAD { OpenError::TooShort { found: len } } else { OpenError::NotAuthentic };
        assert_eq!(opener.open(&associated_data(), &boxed[..len], None).err(), Some(expected));
        assert_eq!(open(&KEY, Purpose::Field, &associated_data(), &boxed[..len]).err(), Some(expected));
    }
    let longer = [boxed.as_slice(), &[0]].concat();
    assert_eq!(opener.open(&associated_data(), &longer, None).err(), Some(OpenError::NotAuthentic));
}

#[test]
fn each_box_of_an_event_opens_on_its_own_and_without_its_encapsulation() {
    let now = Instant::now();
    let mut sealer = Sealer::new(KEY.public_key().clone(), Purpose::Field, now).unwrap();
    let aads = [1_u8, 2, 3].map(|number| AssociatedData::new([b"field", &[number]]));
    let texts: [&[u8]; 3] = [b"", b"one", &[9; 300]];
    let contents: Vec<BoxContent<'_>> = std::iter::zip(&aads, texts)
        .map(|(associated_data, plaintext)| BoxContent { associated_data, plaintext })
        .collect();
    let mut sealed = SealedEvent::new();
    for round in 0..3 {
        sealer.seal_event(now, &contents, Commitments::Make, &mut sealed).unwrap();
        assert_eq!(sealed.len(), 3);
        let mut opener = opener();
        let mut joined = b"kept".to_vec();
        for (index, content) in contents.iter().enumerate() {
            let boxed = sealed.to_box(index).unwrap();
            let alone = open(&KEY, Purpose::Field, content.associated_data, &boxed).unwrap();
            assert_eq!(*alone, content.plaintext, "round {round}");
            let body = sealed.body(index).unwrap();
            let encapsulation = sealed.encapsulation().unwrap().as_bytes();
            opener
                .open_body(
                    content.associated_data,
                    encapsulation,
                    body,
                    sealed.commitment(index),
                    &mut joined,
                )
                .unwrap();
        }
        assert_eq!(joined, [b"kept".as_slice(), texts.concat().as_slice()].concat());
        let (one, two) = (sealed.body(1).unwrap(), &aads[2]);
        let encapsulation = sealed.encapsulation().unwrap().as_bytes();
        let before = joined.clone();
        assert!(opener.open_body(two, encapsulation, one, None, &mut joined).is_err());
        assert_eq!(joined, before, "a refusal leaves nothing in the output");
        assert!(sealed.body(3).is_none() && sealed.to_box(3).is_none() && sealed.commitment(3).is_none());
    }
    sealer.seal_event(now, &[], Commitments::Make, &mut sealed).unwrap();
    assert!(sealed.is_empty());
}

#[test]
fn boxes_that_share_an_encapsulation_open_together_or_not_at_all() {
    let now = Instant::now();
    let mut sealer = Sealer::new(KEY.public_key().clone(), Purpose::Field, now).unwrap();
    let aads: Vec<AssociatedData> = (0..9_u8).map(|number| AssociatedData::new([&[number][..]])).collect();
    let texts: Vec<Vec<u8>> = (0..9_u8).map(|number| vec![number; usize::from(number) * 90]).collect();
    let contents: Vec<BoxContent<'_>> = std::iter::zip(&aads, &texts)
        .map(|(associated_data, plaintext)| BoxContent { associated_data, plaintext })
        .collect();
    let mut sealed = SealedEvent::new();
    sealer.seal_event(now, &contents, Commitments::Make, &mut sealed).unwrap();
    let encapsulation = sealed.encapsulation().unwrap().as_bytes();
    let bodies: Vec<Vec<u8>> = (0..9).map(|index| sealed.body(index).unwrap().to_vec()).collect();
    let commitments: Vec<Commitment> = (0..9).map(|index| *sealed.commitment(index).unwrap()).collect();
    let together = |bodies: &[Vec<u8>], commitments: &[Commitment], opener: &mut Opener| {
        let contents: Vec<SealedContent<'_>> = (0..bodies.len())
            .map(|index| SealedContent {
                associated_data: &aads[index],
                body: &bodies[index],
                commitment: commitments.get(index),
            })
            .collect();
        let mut out = b"kept".to_vec();
        let opened = opener.open_kept(encapsulation, &contents, &mut out);
        (opened, out)
    };

    let mut opener = opener();
    assert_eq!(together(&bodies, &commitments, &mut opener), (None, b"kept".to_vec()));
    opener.open_body(&aads[0], encapsulation, &bodies[0], None, &mut Vec::new()).unwrap();
    let all = [b"kept".as_slice(), texts.concat().as_slice()].concat();
    // With a commitment to each, to some, to none; and one box alone.
    for some in [9, 4, 1, 0] {
        assert_eq!(together(&bodies, &commitments[..some], &mut opener), (Some(Ok(())), all.clone()));
    }
    assert_eq!(together(&bodies[..1], &commitments[..1], &mut opener), (Some(Ok(())), b"kept".to_vec()));

    let nothing = (Some(Err(OpenError::NotAuthentic)), b"kept".to_vec());
    for index in 0..9 {
        let mut bad = bodies.clone();
        *bad[index].last_mut().unwrap() ^= 1;
        assert_eq!(together(&bad, &commitments, &mut opener), nothing, "body {index}");
        let mut bad = commitments.clone();
        let mut bytes = *bad[index].as_bytes();
        bytes[31 - index] ^= 0x80;
        bad[index] = Commitment::from_bytes(bytes);
        assert_eq!(together(&bodies, &bad, &mut opener), nothing, "commitment {index}");
        let mut bad = bodies.clone();
        bad[index].truncate(27);
        let short = (Some(Err(OpenError::TooShort { found: 1147 })), b"kept".to_vec());
        assert_eq!(together(&bad, &commitments, &mut opener), short, "length {index}");
    }
    let mut swapped = bodies.clone();
    swapped.swap(3, 4);
    assert_eq!(together(&swapped, &commitments, &mut opener), nothing);
    assert_eq!(together(&bodies, &commitments, &mut opener), (Some(Ok(())), all));
}

#[test]
fn a_commitment_binds_content_and_key_and_equal_contents_differ() {
    let now = Instant::now();
    let mut sealer = Sealer::new(KEY.public_key().clone(), Purpose::Field, now).unwrap();
    let aad = associated_data();
    let content = BoxContent { associated_data: &aad, plaintext: b"\"alice\"" };
    let mut sealed = SealedEvent::new();
    sealer.seal_event(now, &[content, content], Commitments::Make, &mut sealed).unwrap();
    let (first, second) = (*sealed.commitment(0).unwrap(), *sealed.commitment(1).unwrap());
    assert_ne!(first, second);
    let boxed = sealed.to_box(0).unwrap();
    let mut opener = opener();
    assert_eq!(opener.open(&aad, &boxed, Some(&first)).unwrap().as_slice(), b"\"alice\"");
    assert_eq!(opener.open(&aad, &boxed, Some(&second)).err(), Some(OpenError::NotAuthentic));
    for bit in 0..256 {
        let mut changed = *first.as_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        let answer = opener.open(&aad, &boxed, Some(&Commitment::from_bytes(changed))).err();
        assert_eq!(answer, Some(OpenError::NotAuthentic), "bit {bit}");
    }
    sealer.seal_event(now, &[content], Commitments::Omit, &mut sealed).unwrap();
    assert!(sealed.commitment(0).is_none());
}

#[test]
fn two_boxes_of_the_same_text_have_nothing_in_common() {
    let now = Instant::now();
    let mut sealer = Sealer::new(KEY.public_key().clone(), Purpose::Field, now).unwrap();
    let text = [0; 64];
    let one = sealer.seal(now, &associated_data(), &text).unwrap();
    let two = sealer.seal(now, &associated_data(), &text).unwrap();
    assert_eq!(one[..1120], two[..1120]);
    for at in (1120..one.len() - 8).step_by(4) {
        assert_ne!(one[at..at + 8], two[at..at + 8], "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_box_opens_unless_a_bit_changed(
        text in vec(any::<u8>(), 0..256), name in vec(any::<u8>(), 0..64), at in any::<Index>(), bit in 0..8
    ) {
        let aad = AssociatedData::new([&name]);
        let mut boxed = seal(KEY.public_key(), Purpose::Backup, &aad, &text).unwrap();
        let opened = open(&KEY, Purpose::Backup, &aad, &boxed).unwrap();
        prop_assert_eq!(opened.as_slice(), text);
        *at.get_mut(&mut boxed) ^= 1_u8 << bit;
        prop_assert_eq!(open(&KEY, Purpose::Backup, &aad, &boxed).err(), Some(OpenError::NotAuthentic));
    }

    #[test]
    fn lists_of_parts_never_encode_alike(
        one in vec(vec(0..3_u8, 0..4), 3), two in vec(vec(0..3_u8, 0..4), 3)
    ) {
        let encode = |parts: &[Vec<u8>]| AssociatedData::new([&parts[0], &parts[1], &parts[2]]);
        prop_assert_eq!(encode(&one) == encode(&two), one == two);
    }

    #[test]
    fn arbitrary_bytes_never_open(boxed in vec(any::<u8>(), 0..1400)) {
        prop_assert!(open(&KEY, Purpose::Field, &associated_data(), &boxed).is_err());
    }
}

//! An event whose like was seen before is told from others by comparison, and not read again. Whatever becomes of such an event
//! by somebody's hand, the verdict and the bytes are those of a reader that has seen nothing.

use aegis_pii::{
    Catalogue, CatalogueMark, DecryptorOptions, EncryptorOptions, EnvelopeForm, Inspector, Limits,
    PersonalValues, PiiDecryptor, PlaintextHash, Unopenable,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::events::Dice;
use crate::{decryptor_with, encryptor};

const EVENTS: [&str; 5] = [
    r#"{"id":"e-1","actor_id":"alice","n":[1,{"author_id":"bob"},true],"note":"nothing","signer_id":null}"#,
    r#"{"id":"e-2","actor_id":"carol","n":[2,{"author_id":"dora"},true],"note":"other","signer_id":7}"#,
    "{ \"id\" : 3,\"actor\\u005fid\":\"\u{65e5}\u{672c}\", \"list\":[[],{}], \"signer_id\":\"a longer one, of more than sixteen\" }\n",
    r#"{"id":"e-4","requested_by":[1,2],"workflow_id":{"a":null},"a":{"b":{"actor_id":"x"}}}"#,
    r#"[{"actor_id":"first"},{"actor_id":"second"},-0.5e3]"#,
];

/// What somebody may put anywhere.
const PIECES: [&str; 18] = [
    "\"",
    "\\",
    "\\u0061",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "null",
    "0",
    "\u{1}",
    "\"actor_id\":",
    "\"_encrypted\":true,",
    "{\"_encrypted\":true}",
    "\u{e9}",
    "=",
];

/// A change to an event.
#[derive(Debug, Clone)]
enum Change {
    Byte(Index, u8),
    Insert(Index, Index),
    Remove(Index, usize),
    Repeat(Index, usize, Index),
    /// A piece of the other event.
    Exchange(Index, Index, usize),
    Cut(Index),
    Append(Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let any_len = || prop_oneof![1..4_usize, 1..2_000_usize];
    let change = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        3 => (any::<Index>(), any::<Index>()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        2 => (any::<Index>(), any_len()).prop_map(|(at, len)| Change::Remove(at, len)),
        1 => (any::<Index>(), any_len(), any::<Index>()).prop_map(|(at, len, to)| Change::Repeat(at, len, to)),
        2 => (any::<Index>(), any::<Index>(), any_len()).prop_map(|(at, from, len)| Change::Exchange(at, from, len)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => any::<Index>().prop_map(Change::Append),
    ];
    vec(change, 0..4)
}

/// Places that are not in the middle of an encapsulation, where a change is like another; and now and then one of these.
fn place(event: &[u8], at: &Index) -> usize {
    let is_long = |place: &usize| {
        let (before, after) = event.split_at(*place);
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        before.len() > 40
            && before[before.len() - 40..].iter().all(is_base64)
            && after.len() > 200
            && after[..200].iter().all(is_base64)
            && !place.is_multiple_of(64)
    };
    let places: Vec<usize> = (0..event.len()).filter(|place| !is_long(place)).collect();
    if places.is_empty() { 0 } else { *at.get(&places) }
}

fn change(event: &[u8], other: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut event = event.to_vec();
    let piece = |from: &[u8], start: usize, len: usize| from[start..from.len().min(start + len)].to_vec();
    for change in changes {
        match change {
            Change::Byte(at, byte) => {
                let at = place(&event, at);
                if let Some(to) = event.get_mut(at) {
                    *to = *byte;
                }
            }
            Change::Insert(at, which) => {
                let at = place(&event, at);
                event.splice(at..at, which.get(&PIECES).bytes());
            }
            Change::Remove(at, len) => {
                let at = place(&event, at);
                event.drain(at..event.len().min(at + len));
            }
            Change::Repeat(at, len, to) => {
                let repeated = piece(&event, place(&event, at), *len);
                let to = place(&event, to);
                event.splice(to..to, repeated);
            }
            Change::Exchange(at, from, len) => {
                let taken = piece(other, place(other, from), *len);
                let at = place(&event, at);
                event.splice(at..event.len().min(at + len), taken);
            }
            Change::Append(which) => event.extend(which.get(&PIECES).bytes()),
            Change::Cut(at) => event.truncate(place(&event, at)),
        }
    }
    event
}

/// All that a reader says of an event.
fn opened(decryptor: &mut PiiDecryptor, event: &[u8]) -> (String, Vec<u8>) {
    let mut out = b"before".to_vec();
    let said = format!("{:?}", decryptor.decrypt_event(event, &mut out));
    (said, out)
}

/// A pointer, and where the value is.
type Found = (Vec<u8>, std::ops::Range<usize>);

fn found(values: &mut PersonalValues, event: &[u8]) -> Result<Vec<Found>, String> {
    match values.find(event) {
        Ok(found) => Ok(found.map(|value| (value.pointer.to_vec(), value.bytes)).collect()),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn options(choice: usize) -> EncryptorOptions {
    EncryptorOptions {
        form: if choice.is_multiple_of(2) { EnvelopeForm::SelfContained } else { EnvelopeForm::Compact },
        plaintext_hash: if choice % 5 == 4 { PlaintextHash::BareSha256 } else { PlaintextHash::Keyed },
        catalogue_mark: if choice % 3 == 2 { CatalogueMark::Write } else { CatalogueMark::Omit },
        ..EncryptorOptions::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_event_is_judged_as_by_a_reader_that_has_seen_nothing(
        choice in 0..30_usize,
        lenient in any::<bool>(),
        which in 0..EVENTS.len(),
        other in 0..EVENTS.len(),
        all in vec(changes(), 1..6),
    ) {
        let mut encryptor = encryptor(options(choice));
        let sealed = EVENTS.map(|event| encryptor.encrypt(event.as_bytes()).unwrap());
        let unopenable = if lenient { Unopenable::Leave } else { Unopenable::Refuse };
        let new = || decryptor_with(DecryptorOptions { unopenable, ..DecryptorOptions::default() });
        let new_inspector = || Inspector::new(Catalogue::default(), Limits::for_decryption());
        let new_values = || PersonalValues::new(Catalogue::default(), Limits::for_encryption());
        let (mut decryptor, mut inspector, mut values) = (new(), new_inspector(), new_values());
        for changes in &all {
            for number in [which, other, which] {
                prop_assert_eq!(decryptor.decrypt(&sealed[number]).unwrap(), EVENTS[number].as_bytes());
                inspector.inspect(&sealed[number]).unwrap();
            }
            let changed = change(&sealed[which], &sealed[other], changes);
            prop_assert_eq!(opened(&mut decryptor, &changed), opened(&mut new(), &changed));
            prop_assert_eq!(
                format!("{:?}", inspector.inspect(&changed)),
                format!("{:?}", new_inspector().inspect(&changed))
            );
            // The same again, for it may have been remembered.
            prop_assert_eq!(opened(&mut decryptor, &changed), opened(&mut new(), &changed));

            let plain = EVENTS[which].as_bytes();
            found(&mut values, plain).unwrap();
            let changed = change(plain, EVENTS[other].as_bytes(), changes);
            for _ in 0..2 {
                prop_assert_eq!(found(&mut values, &changed), found(&mut new_values(), &changed));
            }
        }
    }

    /// Whatever events come one after the other, more of them than are remembered.
    #[test]
    fn any_events_are_judged_as_by_a_reader_that_has_seen_nothing(
        bytes in vec(vec(any::<u8>(), 0..60), 1..40),
        order in vec(any::<Index>(), 1..80),
        narrow in any::<bool>(),
    ) {
        let limits = Limits { max_depth: if narrow { 3 } else { 1000 }, max_fields: if narrow { 3 } else { 1024 }, ..Limits::for_encryption() };
        let mut values = PersonalValues::new(Catalogue::default(), limits);
        let events: Vec<String> = bytes.iter().map(|bytes| Dice::new(bytes).json()).collect();
        for which in &order {
            let event = which.get(&events).as_bytes();
            let new = &mut PersonalValues::new(Catalogue::default(), limits);
            prop_assert_eq!(found(&mut values, event), found(new, event));
        }
    }
}

/// A member that means something to us is told from others in a familiar event too.
#[test]
fn the_id_of_a_familiar_event_is_its_own() {
    let bound = EncryptorOptions { event_id_member: Some("id".to_owned()), ..EncryptorOptions::default() };
    let new = || {
        decryptor_with(DecryptorOptions {
            event_id_member: Some("id".to_owned()),
            ..DecryptorOptions::default()
        })
    };
    let (mut encryptor, mut decryptor) = (encryptor(bound), new());
    let events: Vec<String> = (0..8)
        .map(|number| format!(r#"{{"id":"event {number}","actor_id":"alice","id2":{number}}}"#))
        .collect();
    let sealed: Vec<Vec<u8>> =
        events.iter().map(|event| encryptor.encrypt(event.as_bytes()).unwrap()).collect();
    for (event, sealed) in events.iter().zip(&sealed) {
        assert_eq!(decryptor.decrypt(sealed).unwrap(), event.as_bytes());
    }
    // A field of another event, and an id twice.
    for (from, to) in [("event 1", "event 2"), ("\"id2\"", "\"id\"")] {
        let moved = String::from_utf8(sealed[1].clone()).unwrap().replace(from, to).into_bytes();
        let (said, out) = opened(&mut decryptor, &moved);
        assert!(said.starts_with("Err"), "{said}");
        assert_eq!((said, out), opened(&mut new(), &moved));
    }
}

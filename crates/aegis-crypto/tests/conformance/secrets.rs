//! Secrets: not printed, not copied by accident, and gone from memory after their time.

use std::fmt::{Debug, Display};
use std::fs::File;
use std::os::unix::fs::FileExt;

use aegis_crypto::{HybridPrivateKey, Opener, Purpose, Sealer, Secret, SharedSecret, SigningKey};
use zeroize::ZeroizeOnDrop;

use crate::memory::occurrences;
use crate::signing_key;

/// Does not compile if the type has the trait: then two implementations of `Ambiguous` fit.
macro_rules! assert_not_impl_any {
    ($type:ty: $($trait:path),+) => {
        const _: fn() = || {
            trait Ambiguous<A> { fn item() {} }
            impl<T: ?Sized> Ambiguous<()> for T {}
            $({
                #[allow(dead_code)]
                struct Has;
                impl<T: ?Sized + $trait> Ambiguous<Has> for T {}
            })+
            let _ = <$type as Ambiguous<_>>::item;
        };
    };
}

assert_not_impl_any!(Secret<32>: Clone, PartialEq, Debug, Display, serde::Serialize, AsRef<[u8]>, std::ops::Deref);
assert_not_impl_any!(SigningKey: Clone, PartialEq, Display, serde::Serialize, AsRef<[u8]>, std::ops::Deref);

assert_not_impl_any!(HybridPrivateKey: Clone, PartialEq, Display, serde::Serialize, AsRef<[u8]>, std::ops::Deref);
assert_not_impl_any!(SharedSecret: Clone, PartialEq, Debug, Display, serde::Serialize, AsRef<[u8]>, std::ops::Deref);
assert_not_impl_any!(Sealer: Clone, PartialEq, Display, serde::Serialize);
assert_not_impl_any!(Opener: Clone, PartialEq, Display, serde::Serialize);

const _: fn() = || {
    fn erased<T: ZeroizeOnDrop>() {}
    fn shared<T: Send + Sync>() {}
    erased::<Secret<32>>();
    shared::<Secret<32>>();
    shared::<SigningKey>();
    shared::<HybridPrivateKey>();
    fn movable<T: Send>() {}
    movable::<Sealer>();
    movable::<Opener>();
};

#[test]
fn a_signing_key_shows_its_key_id_and_none_of_its_bytes() {
    let seed: [u8; 32] = std::array::from_fn(|index| 0xa1 + u8::try_from(index).unwrap());
    let key = signing_key(&seed);
    let id = key.public_key().key_id();
    assert_eq!(format!("{key:?}"), format!("SigningKey {{ key_id: KeyId({id}), .. }}"));
    let shown = format!("{key:?} {key:#?} {:?}", key.public_key());
    for window in seed.windows(3) {
        let decimal: Vec<String> = window.iter().map(ToString::to_string).collect();
        for spelling in
            [hex::encode(window), hex::encode_upper(window), decimal.join(", "), decimal.join(",")]
        {
            assert!(!shown.contains(&spelling), "{spelling} is in {shown}");
        }
    }
}

#[test]
fn no_error_shows_the_content_of_a_private_key_file() {
    let good = include_str!("../vectors/keys/openssl-ed25519.pem");
    let body = good.lines().nth(1).unwrap();
    let seed = hex::encode(&decode(body)[16..]);
    for bad in [
        format!("{good}x"),
        format!("x{good}"),
        good.replace("END", "FIN"),
        good.replace("PRIVATE", "SECRET"),
        good.replace("MC4C", "MC5C"),
        good.replace(body, &body[..40]),
        format!("{body}\n"),
        format!("{seed}\n"),
        format!("{seed}{seed}\n"),
    ] {
        let private =
            SigningKey::from_pkcs8_pem(bad.as_bytes()).err().map(|e| format!("{e} {e:?} {:?}", e.help()));
        let public = aegis_crypto::parse_public_key_file(bad.as_bytes());
        // The seed alone has the form of a public key; nobody can tell them apart, and it is not shown.
        let public = public.map(|_| String::new()).unwrap_or_else(|e| format!("{e} {e:?} {:?}", e.help()));
        for shown in [private.unwrap(), public] {
            for at in (0..seed.len() - 8).step_by(2) {
                assert!(!shown.contains(&seed[at..at + 8]), "{shown}");
            }
            for at in 20..body.len() - 6 {
                assert!(!shown.contains(&body[at..at + 6]), "{shown}");
            }
        }
    }
}

#[test]
fn secrets_compare_by_content() {
    let of = |bytes: [u8; 4]| {
        Secret::<4>::try_fill(|to| {
            to.copy_from_slice(&bytes);
            Ok::<(), ()>(())
        })
        .unwrap()
    };
    assert!(of([1, 2, 3, 4]).ct_eq(&of([1, 2, 3, 4])));
    for other in [[0, 2, 3, 4], [1, 2, 3, 5], [4, 3, 2, 1], [0; 4]] {
        assert!(!of([1, 2, 3, 4]).ct_eq(&of(other)));
    }
    assert_eq!(of([1, 2, 3, 4]).expose(), &[1, 2, 3, 4]);
}

#[test]
fn random_secrets_differ_and_a_failed_fill_is_its_error() {
    let (one, two) = (Secret::<32>::random().unwrap(), Secret::<32>::random().unwrap());
    assert!(!one.ct_eq(&two));
    assert_ne!(one.expose(), &[0; 32]);
    assert_eq!(Secret::<32>::try_fill(|_| Err("no")).err(), Some("no"));
}

const PATTERN: u8 = 0xc3;
/// On the heap: a longer one is on pages that are unmapped, where nothing is left to look at.
const LEN: usize = 1000;

/// Reads this process's own memory through the kernel, which needs no unsafe code and minds no borrow.
struct Memory {
    file: File,
    // Allocated before the secret is freed: a buffer made later could be given the very block to look at.
    buffer: Box<[u8; LEN]>,
}

impl Memory {
    fn of_this_process() -> Self {
        Self { file: File::open("/proc/self/mem").unwrap(), buffer: Box::new([0; LEN]) }
    }

    /// How many of the bytes from here on are the pattern. Memory that was given back to the system has none.
    fn count(&mut self, address: usize) -> usize {
        match self.file.read_exact_at(self.buffer.as_mut_slice(), u64::try_from(address).unwrap()) {
            Ok(()) => self.buffer.iter().filter(|byte| **byte == PATTERN).count(),
            Err(_) => 0,
        }
    }
}

#[test]
fn a_dropped_secret_is_gone_from_memory() {
    let mut memory = Memory::of_this_process();
    let secret = Secret::<LEN>::try_fill(|bytes| {
        bytes.fill(PATTERN);
        Ok::<(), ()>(())
    });
    let secret = secret.unwrap();
    let address = secret.expose().as_ptr().addr();
    assert_eq!(memory.count(address), LEN, "the test looks at the right place");
    drop(secret);
    // The allocator writes a few words into a free block, and may give it to another test; none writes this.
    assert!(memory.count(address) < 64);
}

#[test]
fn a_secret_whose_fill_failed_half_way_is_gone_from_memory() {
    let mut memory = Memory::of_this_process();
    let mut address = 0;
    let failed = Secret::<LEN>::try_fill(|bytes| {
        bytes.fill(PATTERN);
        address = bytes.as_ptr().addr();
        Err(memory.count(address))
    });
    assert_eq!(failed.err(), Some(LEN), "the test looks at the right place");
    assert!(memory.count(address) < 64);
}

/// The whole life of a key, and then a search of everything that this process can write to.
#[test]
fn a_dropped_signing_key_leaves_its_seed_nowhere() {
    // Kept inverted, so that the search does not find itself.
    let inverted: [u8; 32] = {
        let key = SigningKey::generate().unwrap();
        let pem = key.to_pkcs8_pem();
        let read = SigningKey::from_pkcs8_pem(pem.as_bytes()).unwrap();
        assert_eq!(read.sign(b"m"), key.sign(b"m"));
        seed_of(&pem, |seed| std::array::from_fn(|index| !seed[index]))
    };
    assert_eq!(occurrences(&inverted), 0);

    let seed = Secret::<32>::try_fill(|bytes| {
        bytes.iter_mut().zip(inverted).for_each(|(to, from)| *to = !from);
        Ok::<(), ()>(())
    });
    let key = SigningKey::from_seed(seed.unwrap()).unwrap();
    assert!(occurrences(&inverted) > 0, "the search finds a seed that is there");
    drop(key);
    assert_eq!(occurrences(&inverted), 0);
}

fn seed_of<T>(pem: &str, take: impl FnOnce(&[u8]) -> T) -> T {
    let der = zeroize::Zeroizing::new(decode(pem.lines().nth(1).unwrap()));
    take(&der[16..])
}

fn decode(base64: &str) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    Base64::decode_vec(base64).unwrap()
}

#[test]
fn hybrid_keys_and_contexts_show_ids_and_none_of_their_bytes() {
    let key = std::sync::Arc::new(HybridPrivateKey::import(&[0xa7; 32]).unwrap());
    let id = key.public_key().key_id();
    assert_eq!(format!("{key:?}"), format!("HybridPrivateKey {{ key_id: KeyId({id}), .. }}"));
    let sealer = Sealer::new(key.public_key().clone(), Purpose::Field, std::time::Instant::now()).unwrap();
    assert_eq!(format!("{sealer:?}"), format!("Sealer {{ recipient: KeyId({id}), purpose: Field, .. }}"));
    let opener = Opener::new(std::sync::Arc::clone(&key), Purpose::Backup);
    assert_eq!(format!("{opener:?}"), format!("Opener {{ recipient: KeyId({id}), purpose: Backup, .. }}"));
}

/// A key is broken in one place at a time, so that every variant comes up.
#[test]
fn no_error_shows_a_byte_of_a_hybrid_private_key() {
    let key = HybridPrivateKey::generate().unwrap();
    let other = HybridPrivateKey::generate().unwrap();
    let mut shown = Vec::new();
    for (at, value) in [(32, 0xff), (33, 0xff), (1184, 0xff), (1185, 0xff), (2340, 1), (2360, 1)] {
        let mut raw = zeroize::Zeroizing::new(*key.dangerous_expose());
        raw[at] |= value;
        raw[at + 1] |= value;
        shown.extend(HybridPrivateKey::import(raw.as_slice()).err());
    }
    shown.extend(HybridPrivateKey::import(&key.dangerous_expose()[1..]).err());
    shown.extend(HybridPrivateKey::import_for(key.dangerous_expose(), other.public_key()).err());
    assert!(shown.len() >= 6, "{}", shown.len());
    for error in shown {
        let shown = format!("{error} {error:?} {:?}", error.help());
        for window in key.dangerous_expose().windows(4) {
            let decimal: Vec<String> = window.iter().map(ToString::to_string).collect();
            assert!(!shown.contains(&hex::encode(window)), "{shown}");
            assert!(!shown.contains(&decimal.join(", ")), "{shown}");
        }
    }
}

//! What is dropped is searched for in everything that this process can write to.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use aegis_crypto::{
    AssociatedData, Bip322PrivateKey, Bip322Provider, BoxContent, Commitments, CustodianAlgorithm,
    CustodianPrivateKey, Encapsulation, HybridPrivateKey, Opener, Purpose, SealedContent, SealedEvent,
    Sealer, Secret, SharedSecret, Statement, WifNetwork, bleach_stack, decapsulate, encapsulate, open_under,
    seal, seal_under, unwrap_padded, wrap_padded,
};

/// Counts the places where the second half of the seed whose inverse is given stands in any memory that this
/// process can write to. Into the first half of a freed seed the allocator writes its own words.
pub(crate) fn occurrences(inverted: &[u8; 32]) -> usize {
    let [found] = occurrences_of_each(&[inverted[16..].try_into().unwrap()]);
    found
}

const PAGE: usize = 4096;

/// Counts the places where each of the 16 bytes whose inverses are given stands in any memory that this process
/// can write to.
fn occurrences_of_each<const N: usize>(inverted: &[[u8; 16]; N]) -> [usize; N] {
    // One search at a time: another one's buffer may hold a copy of the page that it is looking at.
    static SEARCHING: Mutex<()> = Mutex::new(());
    let _searching = SEARCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    // The buffer of the search holds what it has just read, so it is passed over. It has two whole pages to itself, or
    // what lies beside it on the same page would be passed over too.
    let mut pages = zeroize::Zeroizing::new(vec![0_u8; 4 * PAGE]);
    let own = pages.as_ptr().addr().next_multiple_of(PAGE) as u64;
    let offset = usize::try_from(own - pages.as_ptr().addr() as u64).unwrap();
    let page = &mut pages[offset..][..2 * PAGE];
    let own = own..own + page.len() as u64;
    let zeros = [0; 2 * PAGE];
    let mut found = [0; N];
    // Which of them begin with a byte, so that most places cost one look.
    let mut beginning = [const { Vec::new() }; 256];
    for (which, half) in inverted.iter().enumerate() {
        beginning[usize::from(!half[0])].push(which);
    }
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut at = start;
        while at < end {
            // A match that crosses a page's end is seen from the page that it begins in.
            let len = usize::try_from((end - at).min(PAGE as u64 + 15)).unwrap();
            let is_own = own.contains(&at) || own.contains(&(at + len as u64 - 1));
            let len = if is_own { len.min(PAGE) } else { len };
            // Another test's memory may be unmapped meanwhile; what is gone holds no seed.
            if !own.contains(&at)
                && memory.read_exact_at(&mut page[..len], at).is_ok()
                && page[..len] != zeros[..len]
            {
                for window in page[..len].windows(16) {
                    for &which in &beginning[usize::from(window[0])] {
                        let half = &inverted[which];
                        found[which] +=
                            usize::from(window.iter().zip(half).all(|(byte, other)| *byte == !*other));
                    }
                }
                page.fill(0);
            }
            at += PAGE as u64;
        }
    }
    found
}

/// Places in the 2,432 bytes of a hybrid private key: X25519, both ends of the private vector, z.
const PLACES: [usize; 4] = [16, 40, 1160, 2416];

fn inverted_at<const N: usize>(raw: &[u8], places: [usize; N]) -> [[u8; 16]; N] {
    places.map(|at| std::array::from_fn(|index| !raw[at + index]))
}

#[test]
fn a_dropped_hybrid_key_leaves_its_bytes_nowhere() {
    let inverted = {
        let key = HybridPrivateKey::generate().unwrap();
        let read = HybridPrivateKey::import_for(key.dangerous_expose(), key.public_key()).unwrap();
        let (encapsulation, _) = encapsulate(key.public_key()).unwrap();
        decapsulate(&read, &encapsulation).unwrap();
        let inverted = inverted_at(key.dangerous_expose(), PLACES);
        let while_held = occurrences_of_each(&inverted);
        assert!(while_held.iter().all(|&found| found >= 2), "the search finds what is there: {while_held:?}");
        inverted
    };
    assert_eq!(occurrences_of_each(&inverted), [0; 4]);
}

/// The seed's own bytes are the caller's to erase; the key that was made of it is ours.
#[test]
fn a_key_made_of_a_seed_leaves_its_bytes_nowhere() {
    let [long, short] = [96, 32].map(|len| {
        let seed = Secret::<96>::random().unwrap();
        let key = HybridPrivateKey::import(&seed.expose()[..len]).unwrap();
        let [a, b, c, d] = inverted_at(key.dangerous_expose(), PLACES);
        let [e] = inverted_at(seed.expose(), [16]);
        [a, b, c, d, e]
    });
    assert_eq!(occurrences_of_each(&long), [0; 5], "96 bytes");
    assert_eq!(occurrences_of_each(&short), [0; 5], "32 bytes");
}

#[test]
fn a_refused_private_key_leaves_its_bytes_nowhere() {
    let inverted = {
        let key = HybridPrivateKey::generate().unwrap();
        let raw = Secret::<2432>::try_fill(|raw| {
            raw.copy_from_slice(key.dangerous_expose());
            raw[1000] ^= 1;
            Ok::<(), ()>(())
        });
        assert!(HybridPrivateKey::import(raw.unwrap().expose()).is_err());
        inverted_at(key.dangerous_expose(), PLACES)
    };
    assert_eq!(occurrences_of_each(&inverted), [0; 4]);
}

#[test]
fn a_dropped_shared_secret_is_nowhere() {
    let key = HybridPrivateKey::generate().unwrap();
    let inverted = {
        let (encapsulation, sent) = encapsulate(key.public_key()).unwrap();
        let received = decapsulate(&key, &encapsulation).unwrap();
        assert_eq!(sent.expose(), received.expose());
        let inverted = inverted_at(sent.expose(), [0, 16]);
        assert_eq!(
            occurrences_of_each(&inverted),
            [2, 2],
            "the search finds what is there, and no copy besides"
        );
        inverted
    };
    let left = occurrences_of_each(&inverted);
    assert_eq!(left[1], 0);
}

/// What `docs/formats.md` derives, derived here by hand so that the test knows what to look for.
fn derived_keys(shared: &SharedSecret) -> [[u8; 16]; 4] {
    let prk = aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, b"").extract(shared.expose());
    let key = |name: &str| {
        let parts = ["aegis/sealed-box/v1", aegis_crypto::ALGORITHM, "dek-wrap", name];
        let info = AssociatedData::new(parts.map(str::as_bytes));
        let key = Secret::<32>::try_fill(|key| {
            prk.expand(&[info.as_bytes()], aws_lc_rs::hkdf::HKDF_SHA256).unwrap().fill(key)
        });
        inverted_at(key.unwrap().expose(), [0, 16])
    };
    let ([a, b], [c, d]) = (key("aead-key"), key("commitment-key"));
    [a, b, c, d]
}

#[test]
fn dropped_contexts_leave_their_keys_nowhere() {
    let key = std::sync::Arc::new(HybridPrivateKey::generate().unwrap());
    let aad = AssociatedData::new([b"a"]);
    let now = std::time::Instant::now();
    let mut sealer = Sealer::new(key.public_key().clone(), Purpose::DekWrap, now).unwrap();
    let mut opener = Opener::new(std::sync::Arc::clone(&key), Purpose::DekWrap);
    let boxed = sealer.seal(now, &aad, b"x").unwrap();
    opener.open(&aad, &boxed, None).unwrap();
    let encapsulation = Encapsulation::from_bytes(boxed[..1120].try_into().unwrap());
    let inverted = derived_keys(&decapsulate(&key, &encapsulation).unwrap());
    // The first two round keys of AES-256 are the key itself.
    let [a, b, ..] = occurrences_of_each(&inverted);
    assert!(a >= 2 && b >= 2, "the search finds the keys that are held: {a}, {b}");
    drop((sealer, opener));
    let [_, b, _, d] = occurrences_of_each(&inverted);
    assert_eq!([b, d], [0, 0]);
}

#[test]
fn a_dropped_plaintext_is_nowhere() {
    let key = std::sync::Arc::new(HybridPrivateKey::generate().unwrap());
    let aad = AssociatedData::new([b"a"]);
    let text = Secret::<64>::random().unwrap();
    let boxed = seal(key.public_key(), Purpose::DekWrap, &aad, text.expose()).unwrap();
    let inverted = inverted_at(text.expose(), [16, 48]);
    drop(text);
    let mut opener = Opener::new(std::sync::Arc::clone(&key), Purpose::DekWrap);
    for _ in 0..2 {
        drop(opener.open(&aad, &boxed, None).unwrap());
    }
    assert_eq!(occurrences_of_each(&inverted), [0; 2]);
}

/// Commitments to several boxes are made in memory of ours, from states of SHA-256 that are worth as much as their key.
#[test]
fn commitments_made_together_leave_neither_plaintext_nor_key() {
    let key = std::sync::Arc::new(HybridPrivateKey::generate().unwrap());
    let now = std::time::Instant::now();
    let mut sealer = Sealer::new(key.public_key().clone(), Purpose::DekWrap, now).unwrap();
    let mut opener = Opener::new(std::sync::Arc::clone(&key), Purpose::DekWrap);
    let mut sealed = SealedEvent::new();
    let aad = AssociatedData::new([b"a"]);
    let inverted = {
        let text = Secret::<64>::random().unwrap();
        let contents = [BoxContent { associated_data: &aad, plaintext: text.expose() }; 5];
        far_down(|| sealer.seal_event(now, &contents, Commitments::Make, &mut sealed).unwrap());
        inverted_at(text.expose(), [16, 48])
    };
    assert_eq!(occurrences_of_each(&inverted), [0; 2], "after sealing");

    let encapsulation = sealed.encapsulation().unwrap().clone();
    let mut first = zeroize::Zeroizing::new(Vec::with_capacity(64));
    let body = sealed.body(0).unwrap();
    opener.open_body(&aad, encapsulation.as_bytes(), body, sealed.commitment(0), &mut first).unwrap();
    drop(first);
    let contents: Vec<SealedContent<'_>> = (0..5)
        .map(|index| SealedContent {
            associated_data: &aad,
            body: sealed.body(index).unwrap(),
            commitment: sealed.commitment(index),
        })
        .collect();
    let mut opened = zeroize::Zeroizing::new(Vec::with_capacity(5 * 64));
    far_down(|| opener.open_kept(encapsulation.as_bytes(), &contents, &mut opened).unwrap().unwrap());
    assert!(occurrences_of_each(&inverted)[0] >= 5, "the search finds what is held");
    drop(opened);
    assert_eq!(occurrences_of_each(&inverted), [0; 2], "after opening");

    let [_, _, low, high] = derived_keys(&decapsulate(&key, &encapsulation).unwrap());
    let states = far_down(|| inverted_states(&low, &high));
    bleach_stack::<64>();
    let while_held = occurrences_of_each(&states);
    let is_expanded = cfg!(target_arch = "x86_64")
        && (std::arch::is_x86_feature_detected!("sha") || std::arch::is_x86_feature_detected!("avx2"));
    assert!(
        !is_expanded || while_held.iter().all(|&found| found >= 2),
        "what is held is found: {while_held:?}"
    );
    drop((sealer, opener));
    assert_eq!(occurrences_of_each(&states), [0; 4], "after all");
}

/// The states of SHA-256 after the first blocks of HMAC under a key (RFC 2104), each in two halves, by the book: FIPS
/// 180-4 §6.2.2. In memory words are little-endian.
#[inline(never)]
fn inverted_states(low: &[u8; 16], high: &[u8; 16]) -> [[u8; 16]; 4] {
    let halves = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(low.iter().chain(high)).for_each(|(byte, inverted)| *byte ^= !inverted);
        let mut w: Vec<u32> = block.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
        for t in 16..64 {
            let s0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
            let s1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
            w.push(s1.wrapping_add(w[t - 7]).wrapping_add(s0).wrapping_add(w[t - 16]));
        }
        // The first 32 bits of the fractions of the square roots of the first primes, and of their cube roots.
        let primes: Vec<f64> = (2..312_u32)
            .filter(|number| (2..*number).all(|divisor| number % divisor != 0))
            .map(f64::from)
            .collect();
        #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "32 bits of a fraction")]
        let fraction = |root: f64| (root.fract() * 4_294_967_296.0) as u32;
        let start: Vec<u32> = primes.iter().take(8).map(|prime| fraction(prime.sqrt())).collect();
        let mut state = start.clone();
        for (word, prime) in w.iter().zip(&primes) {
            let (a, e) = (state[0], state[4]);
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = (e & state[5]) ^ (!e & state[6]);
            let constant = fraction(prime.cbrt());
            let t1 = [s1, choice, constant, *word].iter().fold(state[7], |sum, part| sum.wrapping_add(*part));
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = (a & state[1]) ^ (a & state[2]) ^ (state[1] & state[2]);
            state.rotate_right(1);
            state[4] = state[4].wrapping_add(t1);
            state[0] = t1.wrapping_add(s0).wrapping_add(majority);
        }
        let inverted: Vec<u8> = state
            .iter()
            .zip(&start)
            .flat_map(|(word, start)| (!word.wrapping_add(*start)).to_le_bytes())
            .collect();
        zeroize::Zeroize::zeroize(&mut (w, state));
        [inverted[..16].try_into().unwrap(), inverted[16..].try_into().unwrap()]
    };
    let ([a, b], [c, d]) = (halves(0x36), halves(0x5c));
    [a, b, c, d]
}

#[test]
fn wrapping_keys_and_what_they_wrapped_are_nowhere() {
    let inverted = {
        let (kek, key) = (Secret::<32>::random().unwrap(), Secret::<64>::random().unwrap());
        let aad = AssociatedData::new([b"a"]);
        let wrapped = wrap_padded(&kek, key.expose()).unwrap();
        let boxed = seal_under(&kek, &aad, key.expose()).unwrap();
        let (unwrapped, opened) =
            (unwrap_padded(&kek, &wrapped).unwrap(), open_under(&kek, &aad, &boxed).unwrap());
        assert!(*unwrapped == *key.expose() && *opened == *key.expose());
        let mut changed = wrapped.clone();
        changed[20] ^= 1;
        assert!(unwrap_padded(&kek, &changed).is_err());
        let ([a, b], [c]) = (inverted_at(kek.expose(), [0, 16]), inverted_at(key.expose(), [16]));
        let while_held = occurrences_of_each(&[a, b, c]);
        assert!(while_held[2] >= 3, "the search finds what is held: {while_held:?}");
        [a, b, c]
    };
    let [_, kek, key] = occurrences_of_each(&inverted);
    assert_eq!([kek, key], [0, 0]);
}

/// Calls `work` far down the stack, so that the search, which runs after it, does not overwrite what it left there.
#[inline(never)]
fn far_down<T>(work: impl FnOnce() -> T) -> T {
    let above = [0_u8; 64 * 1024];
    std::hint::black_box(&above);
    let result = work();
    std::hint::black_box(&above);
    result
}

/// Keys of custodians pass through a C library by value, and through text. Each step is the last one in its turn, or
/// the next would overwrite what it left.
#[test]
fn no_step_with_the_key_of_a_custodian_leaves_its_bytes() {
    type Step = fn(&Bip322Provider, Bip322PrivateKey);
    let provider = Bip322Provider::new();
    let steps: [(&str, Step); 6] = [
        ("dropping", |_, key| drop(key)),
        ("making", |_, key| {
            drop(Bip322PrivateKey::from_secret(Secret::copy_of(key.dangerous_secret().expose())));
        }),
        ("signing", |provider, key| drop(provider.sign_message("text", &key).unwrap().to_string())),
        ("raw signing", |provider, key| drop(provider.sign_bip340(b"bytes", &key).unwrap().to_string())),
        ("WIF", |_, key| drop(Bip322PrivateKey::from_wif(&key.dangerous_to_wif(WifNetwork::Mainnet)))),
        ("text", |_, key| {
            let text = CustodianPrivateKey::from(key).dangerous_to_secret_text();
            drop(CustodianPrivateKey::parse_secret_text(&text));
        }),
    ];
    for (name, step) in steps {
        let key = Bip322PrivateKey::generate().unwrap();
        // As bytes, and as the library computes with them: little-endian.
        let raw = key.dangerous_secret().expose();
        let reversed = zeroize::Zeroizing::new(raw.iter().rev().copied().collect::<Vec<u8>>());
        let ([bytes], [limbs, last]) = (inverted_at(raw, [16]), inverted_at(&reversed, [0, 16]));
        drop(reversed);
        let while_held = occurrences_of_each(&[bytes]);
        assert!(while_held[0] >= 1, "the search finds what is held: {while_held:?}");
        far_down(|| step(&provider, key));
        assert_eq!(occurrences_of_each(&[bytes, limbs, last]), [0; 3], "{name}");
    }
}

#[test]
fn no_step_with_the_hybrid_key_of_a_custodian_leaves_its_seeds() {
    type Step = fn(CustodianPrivateKey);
    let algorithm = CustodianAlgorithm::Ed25519MlDsa65;
    let steps: [(&str, Step); 4] = [
        ("dropping", drop),
        ("making", |key| drop(CustodianPrivateKey::from_bytes(key.algorithm(), key.dangerous_bytes()))),
        ("signing", |key| {
            let statement = Statement::new(Statement::algorithm_line(key.algorithm())).unwrap();
            drop(key.sign(&statement).unwrap());
        }),
        ("text", |key| drop(CustodianPrivateKey::parse_secret_text(&key.dangerous_to_secret_text()))),
    ];
    for (name, step) in steps {
        let key = far_down(|| CustodianPrivateKey::generate(algorithm).unwrap());
        let inverted = inverted_at(key.dangerous_bytes(), [16, 48]);
        let while_held = occurrences_of_each(&inverted);
        assert!(while_held.iter().all(|&found| found >= 1), "the search finds what is held: {while_held:?}");
        far_down(|| step(key));
        assert_eq!(occurrences_of_each(&inverted), [0; 2], "{name}");
    }
}

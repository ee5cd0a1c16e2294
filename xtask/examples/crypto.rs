//! `crypto ROUNDS`: sealed boxes and the hybrid KEM beside the bare primitives of the same library.
//!
//! Prints a line for each pair: its name, nanoseconds of ours, nanoseconds of the floor, both for one operation and
//! each the median of so many rounds, which alternate. They are nanoseconds of processor time. The floors do what
//! nobody can save: no allocation, the same key and associated data, and a nonce from the library's own generator.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result goes to the benchmark")]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_crypto::{
    AssociatedData, BoxContent, Commitments, ENCAPSULATION_LEN, HybridPrivateKey, HybridPublicKey, Opener,
    Purpose, SealedEvent, Sealer, decapsulate, encapsulate,
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::digest::{SHA3_256, digest};
use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::rand;
use rustix::time::{ClockId, clock_gettime};

/// As long as a short field in an event: a name, an address.
const PAYLOAD: [u8; 64] = *b"{\"actor\":\"alice@example.com\",\"role\":\"risk_lead\",\"at\":1767225600}";
const TAG_LEN: usize = 16;
/// Boxes in the event that is sealed at once.
const FIELDS: usize = 8;

/// Any failure: the benchmark has nothing to measure then.
type Made<T = ()> = Result<T, &'static str>;

fn main() -> ExitCode {
    let Some(rounds) = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()) else {
        return ExitCode::from(2);
    };
    match measure(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(rounds: usize) -> Made {
    let private = Arc::new(HybridPrivateKey::generate().map_err(|_| "no key pair")?);
    let public = private.public_key();
    let aad = AssociatedData::new([b"actor_id".as_slice(), b"dek-v1-20260101"]);
    seal(rounds, public, &aad)?;
    seal_event(rounds, public, &aad)?;
    open(rounds, &private, &aad)?;
    encapsulation(rounds, public)?;
    decapsulation(rounds, &private)
}

fn seal(rounds: usize, public: &HybridPublicKey, aad: &AssociatedData) -> Made {
    let mut sealer = sealer(public)?;
    let bare = Bare::new()?;
    let mut buffer = [0; PAYLOAD.len()];
    let ours = || sealer.seal(Instant::now(), aad, black_box(&PAYLOAD)).map_err(|_| "no box");
    let floor = || bare.seal(aad, black_box(&PAYLOAD), &mut buffer);
    // As many as one encapsulation is used for, so that its renewal is in the figure.
    compare("seal", rounds, 4096, ours, floor)
}

fn seal_event(rounds: usize, public: &HybridPublicKey, aad: &AssociatedData) -> Made {
    let mut sealer = sealer(public)?;
    let bare = Bare::new()?;
    let mut buffer = [0; PAYLOAD.len()];
    let mut sealed = SealedEvent::new();
    let ours = || {
        let contents = [BoxContent { associated_data: aad, plaintext: black_box(&PAYLOAD) }; FIELDS];
        sealer.seal_event(Instant::now(), &contents, Commitments::Omit, &mut sealed).map_err(|_| "no boxes")
    };
    let floor = || (0..FIELDS).try_for_each(|_| bare.seal(aad, black_box(&PAYLOAD), &mut buffer).map(drop));
    compare("seal-event", rounds, 1024, ours, floor)
}

fn open(rounds: usize, private: &Arc<HybridPrivateKey>, aad: &AssociatedData) -> Made {
    let mut opener = Opener::new(Arc::clone(private), Purpose::Field);
    let boxed = sealer(private.public_key())?.seal(Instant::now(), aad, &PAYLOAD).map_err(|_| "no box")?;
    opener.open(aad, &boxed, None).map_err(|_| "the box does not open")?;
    let bare = Bare::new()?;
    let mut ciphertext = [0; PAYLOAD.len()];
    let (nonce, tag) = bare.seal(aad, &PAYLOAD, &mut ciphertext)?;
    let mut opened = [0; PAYLOAD.len()];

    let ours = || opener.open(aad, black_box(&boxed), None).map_err(|_| "the box does not open");
    let floor = || bare.open(aad, nonce, black_box(&ciphertext), &tag, &mut opened);
    compare("open", rounds, 4096, ours, floor)?;

    let (encapsulation, body) = boxed.split_first_chunk::<ENCAPSULATION_LEN>().ok_or("a short box")?;
    let mut out = Vec::with_capacity(PAYLOAD.len());
    let ours = || {
        out.clear();
        opener
            .open_body(aad, encapsulation, black_box(body), None, &mut out)
            .map_err(|_| "the body does not open")
    };
    let floor = || bare.open(aad, nonce, black_box(&ciphertext), &tag, &mut opened);
    compare("open-body", rounds, 4096, ours, floor)
}

/// ML-KEM-768, X25519 with its two scalar multiplications, and SHA3-256 of as many bytes as the combiner hashes.
fn encapsulation(rounds: usize, public: &HybridPublicKey) -> Made {
    let (x25519, ml_kem) = public.as_bytes().split_first_chunk::<32>().ok_or("a short key")?;
    let ml_kem = EncapsulationKey::new(&ML_KEM_768, ml_kem).map_err(|_| "no ML-KEM key")?;
    let ours = || encapsulate(black_box(public)).map_err(|_| "no encapsulation");
    let floor = || {
        let scalar = PrivateKey::generate(&X25519).map_err(|_| "no scalar")?;
        let ephemeral = scalar.compute_public_key().map_err(|_| "no public key")?;
        let (ct, ss) = ml_kem.encapsulate().map_err(|_| "no ciphertext")?;
        let shared = agree(&scalar, x25519, ss.as_ref())?;
        Ok((ephemeral, ct, shared))
    };
    compare("encapsulate", rounds, 32, ours, floor)
}

fn decapsulation(rounds: usize, private: &HybridPrivateKey) -> Made {
    let (encapsulation, _) = encapsulate(private.public_key()).map_err(|_| "no encapsulation")?;
    let (scalar, dk) = private.dangerous_expose().split_first_chunk::<32>().ok_or("a short key")?;
    let scalar = PrivateKey::from_private_key(&X25519, scalar).map_err(|_| "no scalar")?;
    let dk = DecapsulationKey::new(&ML_KEM_768, dk).map_err(|_| "no ML-KEM key")?;
    let (ephemeral, ct) =
        encapsulation.as_bytes().split_first_chunk::<32>().ok_or("a short encapsulation")?;
    let ours = || decapsulate(private, black_box(&encapsulation)).map_err(|_| "no secret");
    let floor = || {
        let ss = dk.decapsulate(ct.into()).map_err(|_| "no secret")?;
        agree(&scalar, ephemeral, ss.as_ref())
    };
    compare("decapsulate", rounds, 32, ours, floor)
}

fn agree(scalar: &PrivateKey, peer: &[u8; 32], ss_mlkem: &[u8]) -> Made<[u8; 32]> {
    agreement::agree(scalar, UnparsedPublicKey::new(&X25519, peer), "no agreement", |ss_x25519| {
        let mut input = [0; 4 * 32 + 6];
        for (to, from) in input.iter_mut().zip(ss_mlkem.iter().chain(ss_x25519)) {
            *to = *from;
        }
        digest(&SHA3_256, &input).as_ref().try_into().map_err(|_| "no digest")
    })
}

fn sealer(public: &HybridPublicKey) -> Made<Sealer> {
    Sealer::new(public.clone(), Purpose::Field, Instant::now()).map_err(|_| "no sender context")
}

/// AES-256-GCM alone.
struct Bare(LessSafeKey);

impl Bare {
    fn new() -> Made<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "no key")?;
        Ok(Self(LessSafeKey::new(key)))
    }

    fn seal(
        &self,
        aad: &AssociatedData,
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Made<([u8; NONCE_LEN], [u8; TAG_LEN])> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| "no nonce")?;
        let mut tag = [0; TAG_LEN];
        let (to, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(aad.as_bytes()));
        self.0
            .seal_out_of_place_scatter(to, aad, plaintext, ciphertext, &[], &mut tag)
            .map_err(|_| "no ciphertext")?;
        Ok((nonce, tag))
    }

    fn open(
        &self,
        aad: &AssociatedData,
        nonce: [u8; NONCE_LEN],
        ciphertext: &[u8],
        tag: &[u8],
        plaintext: &mut [u8],
    ) -> Made {
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(aad.as_bytes()));
        self.0.open_separate_gather(nonce, aad, ciphertext, tag, plaintext).map_err(|_| "it does not open")
    }
}

/// Runs both in turns and prints the median of each.
fn compare<A, B>(
    name: &str,
    rounds: usize,
    batch: u32,
    mut ours: impl FnMut() -> Made<A>,
    mut floor: impl FnMut() -> Made<B>,
) -> Made {
    let (mut of_ours, mut of_floor) = (Vec::new(), Vec::new());
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        let (a, b) = (timed(batch, &mut ours)?, timed(batch, &mut floor)?);
        if round > 0 {
            of_ours.push(a);
            of_floor.push(b);
        }
    }
    println!("{name} {} {}", median(of_ours).as_nanos(), median(of_floor).as_nanos());
    Ok(())
}

/// Processor time of one of `batch` operations.
fn timed<T>(batch: u32, work: &mut impl FnMut() -> Made<T>) -> Made<Duration> {
    let began = processor_time()?;
    for _ in 0..batch {
        black_box(work()?);
    }
    Ok((processor_time()?.saturating_sub(began)) / batch)
}

fn processor_time() -> Made<Duration> {
    clock_gettime(ClockId::ThreadCPUTime).try_into().map_err(|_| "no processor time")
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

//! What every provider must do, written once. Each provider runs all of it against its real counterpart.

use std::thread;

use aegis_crypto::{AssociatedData, HybridPrivateKey, HybridPublicKey, Purpose, open, seal};
use aegis_kek::{Health, Kek, KekProvider, LoadError, ProviderKind, SettingsError, Standing};

use crate::watch::{Watch, chain};

/// What a subject makes when something in its settings was changed: a provider, or a refusal before that.
pub(crate) type Made = Result<Box<dyn KekProvider>, SettingsError>;

/// A provider with a counterpart of its own, and ways to spoil what it stands on.
pub(crate) trait Subject: Sync {
    /// Which provider it is.
    fn kind(&self) -> ProviderKind;

    /// A new instance, with good settings. Every call is for the same KEK.
    fn provider(&self) -> Box<dyn KekProvider>;

    /// What must be seen nowhere: [`private_parts`](crate::watch::private_parts) of the KEK, a PIN, a passphrase, a
    /// credential. At least 4 bytes each, and nothing that other tests show.
    fn secrets(&self) -> Vec<Vec<u8>>;

    /// The private key as it rests, or `None` if it rests nowhere.
    fn wrapping(&self) -> Option<Vec<u8>>;

    /// As [`provider`](Self::provider), with these bytes in the place of the wrapping.
    fn with_wrapping(&self, wrapping: &[u8]) -> Made;

    /// The same settings with another public key, or `None` if the provider has no place for one.
    fn with_public_key(&self, public_key: &HybridPublicKey) -> Option<Made>;

    /// The same wrapping, with another key of the device (or another passphrase) to unwrap it; `None` if nothing is
    /// wrapped.
    fn with_another_wrapping_key(&self) -> Option<Made>;

    /// Takes away what [`load`](KekProvider::load) needs, while instances are alive. `false` if it needs nothing.
    fn break_down(&self) -> bool;

    /// Gives it back.
    fn mend(&self);

    /// Whether this is how a load fails while it is broken down. Most say that trying again may help.
    fn is_break_down(&self, error: &LoadError) -> bool {
        matches!(error, LoadError::Unavailable { .. })
    }

    /// Places and masks of the bits to change, one at a time. Those that nothing depends on are left out here.
    fn changes(&self, wrapping: &[u8]) -> Vec<(usize, u8)> {
        let places = (0..wrapping.len()).step_by((wrapping.len() / 24).max(1)).chain([wrapping.len() - 1]);
        places.zip((0..8).cycle()).map(|(at, bit)| (at, 1 << bit)).collect()
    }

    /// How many of the changes are tried by a provider that is slow by design.
    fn most_changes(&self) -> usize {
        usize::MAX
    }
}

/// What a provider must do.
pub(crate) type Case = fn(&dyn Subject);

/// Every case, by its promise.
pub(crate) const CASES: &[(&str, Case)] = &[
    ("gives_the_kek_again_and_again", gives_the_kek_again_and_again),
    ("gives_no_kek_under_another_wrapping_key", gives_no_kek_under_another_wrapping_key),
    ("gives_no_kek_for_a_tampered_wrapping", gives_no_kek_for_a_tampered_wrapping),
    ("gives_no_kek_for_a_swapped_public_key", gives_no_kek_for_a_swapped_public_key),
    ("serves_many_threads_at_once", serves_many_threads_at_once),
    ("fails_in_mid_run_and_recovers", fails_in_mid_run_and_recovers),
    ("says_how_it_is", says_how_it_is),
    ("shows_no_secret", shows_no_secret),
];

/// All cases, one after another, for a subject whose counterpart takes long to start.
#[allow(dead_code, reason = "a build may have no such provider")]
pub(crate) fn all(subject: &dyn Subject) {
    for (name, case) in CASES {
        println!("{}: {name}", subject.kind());
        case(subject);
    }
}

/// A test for each case. `$subject` is called for each, and gives an `Option`: `None` if its counterpart is missing,
/// which it has said aloud.
macro_rules! conforms {
    ($subject:expr) => {
        $crate::conformance::conforms!($subject;
            gives_the_kek_again_and_again
            gives_no_kek_under_another_wrapping_key
            gives_no_kek_for_a_tampered_wrapping
            gives_no_kek_for_a_swapped_public_key
            serves_many_threads_at_once
            fails_in_mid_run_and_recovers
            says_how_it_is
            shows_no_secret
        );
        #[test]
        fn is_tested_in_every_case() {
            assert!($crate::conformance::CASES.iter().map(|(name, _)| *name).eq(TESTED));
        }
    };
    ($subject:expr; $($case:ident)*) => {
        const TESTED: [&str; $crate::conformance::CASES.len()] = [$(stringify!($case)),*];
        $(
            #[test]
            fn $case() {
                if let Some(subject) = $subject {
                    $crate::conformance::$case(&subject);
                }
            }
        )*
    };
}
pub(crate) use conforms;

/// How a provider that was spoilt said no.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Before any device was asked.
    Settings(SettingsError),
    /// When the KEK was to be loaded.
    Load(LoadError),
}

/// The refusal of a provider that must not give a KEK.
#[track_caller]
pub(crate) fn refusal(made: Made) -> Refusal {
    match made {
        Err(error) => Refusal::Settings(error),
        Ok(provider) => match provider.load() {
            Err(error) => Refusal::Load(error),
            Ok(kek) => panic!("{kek:?} was given out"),
        },
    }
}

/// Seals to the public key and opens with the private one.
#[track_caller]
pub(crate) fn assert_opens(public_key: &HybridPublicKey, kek: &Kek) {
    let bound = AssociatedData::new([b"a test of a KEK".as_slice()]);
    let sealed = seal(public_key, Purpose::DekWrap, &bound, b"a DEK").unwrap();
    assert_eq!(open(kek.private_key(), Purpose::DekWrap, &bound, &sealed).unwrap().as_slice(), b"a DEK");
}

pub(crate) fn gives_the_kek_again_and_again(subject: &dyn Subject) {
    let (first, second) = (subject.provider(), subject.provider());
    assert_eq!(first.kind(), subject.kind());
    for provider in [&first, &second, &first] {
        let kek = provider.load().unwrap();
        assert_eq!(kek.key_id(), first.public_key().key_id());
        assert_eq!(kek.public_key(), provider.public_key());
        assert_opens(first.public_key(), &kek);
    }
}

pub(crate) fn gives_no_kek_under_another_wrapping_key(subject: &dyn Subject) {
    let Some(made) = subject.with_another_wrapping_key() else { return };
    match refusal(made) {
        // Whoever is told to try again would try for ever.
        Refusal::Load(error @ LoadError::Unavailable { .. }) => panic!("{error:?}"),
        Refusal::Load(_) | Refusal::Settings(_) => {}
    }
}

pub(crate) fn gives_no_kek_for_a_tampered_wrapping(subject: &dyn Subject) {
    let Some(wrapping) = subject.wrapping() else { return };
    // Not vacuous: as it is, it is good.
    subject.with_wrapping(&wrapping).unwrap().load().unwrap();

    let mut tampered: Vec<(String, Vec<u8>)> = vec![
        ("nothing".to_owned(), Vec::new()),
        ("half of it".to_owned(), wrapping[..wrapping.len() / 2].to_vec()),
        ("without its last byte".to_owned(), wrapping[..wrapping.len() - 1].to_vec()),
        ("without its first byte".to_owned(), wrapping[1..].to_vec()),
        ("with a byte more".to_owned(), [wrapping.as_slice(), b"\0"].concat()),
        ("twice".to_owned(), [wrapping.as_slice(), &wrapping].concat()),
        ("zeros".to_owned(), vec![0; wrapping.len()]),
    ];
    let changes = subject.changes(&wrapping);
    assert!(changes.len() >= 8, "{changes:?}");
    let step = changes.len().div_ceil(subject.most_changes());
    for (at, mask) in changes.into_iter().step_by(step) {
        let mut changed = wrapping.clone();
        changed[at] ^= mask;
        tampered.push((format!("byte {at} with mask {mask:#04x}"), changed));
    }
    for (what, tampered) in tampered {
        match refusal(subject.with_wrapping(&tampered)) {
            // A device that works said no to bytes that will never be right.
            Refusal::Load(error @ LoadError::Unavailable { .. }) => panic!("{what}: {error:?}"),
            Refusal::Load(_) | Refusal::Settings(_) => {}
        }
    }
}

pub(crate) fn gives_no_kek_for_a_swapped_public_key(subject: &dyn Subject) {
    let other = HybridPrivateKey::generate().unwrap();
    let Some(made) = subject.with_public_key(other.public_key()) else { return };
    match refusal(made) {
        Refusal::Load(error @ LoadError::Unavailable { .. }) => panic!("{error:?}"),
        Refusal::Load(_) | Refusal::Settings(_) => {}
    }
}

pub(crate) fn serves_many_threads_at_once(subject: &dyn Subject) {
    let provider = subject.provider();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let kek = provider.load().unwrap();
                assert_opens(provider.public_key(), &kek);
                assert_eq!(provider.health().standing, Standing::Working);
            });
        }
    });
}

pub(crate) fn fails_in_mid_run_and_recovers(subject: &dyn Subject) {
    let provider = subject.provider();
    let loaded = provider.load().unwrap();
    let worked = provider.health().last_worked.unwrap();
    if !subject.break_down() {
        return;
    }
    let error = provider.load().unwrap_err();
    assert!(subject.is_break_down(&error), "{error:?}");
    assert!(error.help().is_some_and(|help| !help.is_empty()), "{error:?}");
    // What was loaded needs nothing any more.
    assert_opens(provider.public_key(), &loaded);
    let health = provider.health();
    assert!(
        matches!(&health.standing, Standing::Failing { reason } if *reason == chain(&error)),
        "{health:?}"
    );
    assert_eq!(health.last_worked, Some(worked));

    subject.mend();
    assert_opens(provider.public_key(), &provider.load().unwrap());
    let health = provider.health();
    assert_eq!(health.standing, Standing::Working);
    assert!(health.last_worked.unwrap() > worked);
}

pub(crate) fn says_how_it_is(subject: &dyn Subject) {
    let provider = subject.provider();
    let Health { kind, security_level, key_id, standing, last_worked, detail } = provider.health();
    assert_eq!(kind, subject.kind());
    assert_eq!(security_level, subject.kind().security_level());
    assert_eq!(key_id, provider.public_key().key_id());
    assert_eq!((standing, last_worked), (Standing::Untried, None));
    assert!(detail.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "{detail:?}");
    provider.load().unwrap();
    let health = provider.health();
    assert_eq!(health.standing, Standing::Working);
    assert!(health.last_worked.is_some());
}

pub(crate) fn shows_no_secret(subject: &dyn Subject) {
    let watch = Watch::start();
    let mut seen = Vec::new();
    let provider = subject.provider();
    let kek = provider.load().unwrap();
    seen.push(format!("{kek:?} {:?} {:?}", provider.health(), provider.public_key()));
    let mut refused = |made: Made| match refusal(made) {
        Refusal::Settings(error) => seen.push(format!("{error:?} {} {:?}", chain(&error), error.help())),
        Refusal::Load(error) => seen.push(format!("{error:?} {} {:?}", chain(&error), error.help())),
    };
    if let Some(wrapping) = subject.wrapping() {
        refused(subject.with_wrapping(&wrapping[..wrapping.len() / 2]));
        refused(subject.with_wrapping(&wrapping[1..]));
    }
    let other = HybridPrivateKey::generate().unwrap();
    let spoilt = [subject.with_another_wrapping_key(), subject.with_public_key(other.public_key())];
    spoilt.into_iter().flatten().for_each(&mut refused);
    if subject.break_down() {
        refused(Ok(provider));
        subject.mend();
    }
    watch.assert_shows_none_of(&subject.secrets(), &seen.concat());
}

//! A network, or a KMS, that does not do what it should.

use std::net::TcpListener;
use std::time::Duration;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::aws_kms::{KmsAccess, KmsProvisionError, KmsWrap, Oddity, Patience, provision};
use aegis_kek::{Kek, KmsFault, LoadError};
use serde_json::{Value, json};
use test_services::http::Message;
use test_services::kms::{Kms, REGION};
use test_services::proxy::{Fate, Proxy};

use super::forms::base64;
use super::{Sort, access, assert_same, fault, load, moto, wrapped};

const JSON: &str = "application/x-amz-json-1.1";

/// A wrapped KEK in an emulator, and a provider's way to it that has a proxy in between.
struct Line {
    kms: &'static Kms,
    key: String,
    private: HybridPrivateKey,
    wrapped: Vec<u8>,
}

impl Line {
    fn new(test: &str, wrap: KmsWrap) -> Option<Self> {
        let kms = moto(test)?;
        let key = kms.key(REGION);
        let (private, wrapped) = wrapped(access(&kms.url(), &key), wrap);
        Some(Self { kms, key, private, wrapped })
    }

    fn proxy(&self, fate: impl Fn(usize, &Message) -> Fate + Send + Sync + 'static) -> Proxy {
        Proxy::before(self.kms.address(), fate)
    }

    fn load(&self, url: &str) -> Result<Kek, LoadError> {
        load(self.access(url), &self.private, &self.wrapped)
    }

    /// Waits no longer than a test should.
    fn access(&self, url: &str) -> KmsAccess {
        let patience = Patience { attempts: 3, ..Patience::default() };
        KmsAccess { patience, ..access(url, &self.key) }
    }
}

fn refusal(status: u16, code: &str) -> Fate {
    Fate::Answer(Message::answer(status, JSON, json!({ "__type": code }).to_string().as_bytes()))
}

fn change(change: impl Fn(&mut Value) + 'static) -> Fate {
    Fate::Change(Box::new(move |answer| {
        let mut body = serde_json::from_slice(&answer.body).unwrap();
        change(&mut body);
        answer.body = body.to_string().into_bytes();
    }))
}

#[test]
fn tries_again_after_every_passing_failure() {
    let Some(line) = Line::new("tries_again_after_every_passing_failure", KmsWrap::Direct) else { return };
    let failures: &[(&str, fn() -> Fate)] = &[
        ("throttling", || refusal(400, "ThrottlingException")),
        ("internal failure", || refusal(500, "KMSInternalException")),
        ("dependency", || refusal(503, "DependencyTimeoutException")),
        ("key not at hand", || refusal(500, "KeyUnavailableException")),
        ("bad gateway", || Fate::Answer(Message::answer(502, "text/html", b"<h1>Bad Gateway</h1>"))),
        ("reset", || Fate::Reset),
        ("broken off", || Fate::CutBody(100)),
    ];
    for (name, failure) in failures {
        let proxy = line.proxy(|number, _| if number < 2 { failure() } else { Fate::Pass });
        assert_same(
            &line.load(&proxy.url()).unwrap_or_else(|error| panic!("{name}: {error:?}")),
            &line.private,
        );
        assert_eq!(proxy.seen().len(), 3, "{name}");
    }
}

#[test]
fn gives_up_after_as_many_attempts_as_are_set() {
    let Some(line) = Line::new("gives_up_after_as_many_attempts_as_are_set", KmsWrap::Direct) else { return };
    type Expected = fn(&KmsFault) -> bool;
    let failures: &[(&str, fn() -> Fate, Expected)] = &[
        (
            "throttling",
            || refusal(400, "ThrottlingException"),
            |fault| matches!(fault, KmsFault::Throttled { attempts: 3, .. }),
        ),
        (
            "internal failure",
            || refusal(500, "KMSInternalException"),
            |fault| matches!(fault, KmsFault::Failing { status: 500, attempts: 3 }),
        ),
        (
            "bad gateway",
            || Fate::Answer(Message::answer(502, "text/html", b"<h1>no</h1>")),
            |fault| matches!(fault, KmsFault::Failing { status: 502, attempts: 3 }),
        ),
        ("reset", || Fate::Reset, |fault| matches!(fault, KmsFault::Unreachable { .. })),
        (
            "broken off",
            || Fate::CutBody(100),
            |fault| matches!(fault, KmsFault::Unexpected { oddity: Oddity::BrokenOff, .. }),
        ),
    ];
    for (name, failure, expected) in failures {
        let proxy = line.proxy(|_, _| failure());
        let (sort, fault) = fault(line.load(&proxy.url()));
        assert_eq!(sort, Sort::Unavailable, "{name}");
        assert!(expected(&fault), "{name}: {fault:?}");
        assert_eq!(proxy.seen().len(), 3, "{name}");
    }
}

#[test]
fn works_again_after_a_failure_in_mid_run() {
    let Some(line) = Line::new("works_again_after_a_failure_in_mid_run", KmsWrap::DataKey) else { return };
    let proxy = line.proxy(|number, _| match number {
        1..=3 => refusal(500, "KMSInternalException"),
        _ => Fate::Pass,
    });
    let provider = super::provider(line.access(&proxy.url()), &line.private, &line.wrapped);
    use aegis_kek::{KekProvider as _, Standing};
    assert_same(&provider.load().unwrap(), &line.private);
    let worked = provider.health().last_worked;
    assert!(worked.is_some());
    fault(provider.load());
    assert!(matches!(provider.health().standing, Standing::Failing { .. }));
    assert_eq!(provider.health().last_worked, worked);
    assert_same(&provider.load().unwrap(), &line.private);
    assert_eq!(provider.health().standing, Standing::Working);
}

#[test]
fn does_not_wait_longer_than_it_is_told() {
    let Some(line) = Line::new("does_not_wait_longer_than_it_is_told", KmsWrap::Direct) else { return };
    let proxy = line.proxy(|_, _| Fate::Silence);
    let patience = Patience { attempt: Duration::from_millis(300), attempts: 2, ..Patience::default() };
    let access = KmsAccess { patience, ..access(&proxy.url(), &line.key) };
    let (sort, found) = fault(load(access, &line.private, &line.wrapped));
    assert_eq!(sort, Sort::Unavailable);
    assert!(
        matches!(&found, KmsFault::TimedOut { endpoint, attempts: 2 } if *endpoint == proxy.url()),
        "{found:?}"
    );

    // One attempt may take all of it, and the call as a whole ends all the same.
    let patience = Patience { call: Duration::from_millis(400), attempts: 5, ..Patience::default() };
    let access = KmsAccess { patience, ..super::access(&proxy.url(), &line.key) };
    let (sort, found) = fault(load(access, &line.private, &line.wrapped));
    assert_eq!(sort, Sort::Unavailable);
    assert!(matches!(found, KmsFault::TimedOut { .. }), "{found:?}");
}

#[test]
fn refuses_answers_that_are_none_of_kms() {
    let Some(line) = Line::new("refuses_answers_that_are_none_of_kms", KmsWrap::Direct) else { return };
    type Expected = fn(Oddity) -> bool;
    let odd: &[(&str, fn() -> Fate, Expected)] = &[
        ("bytes without end", || Fate::Endless, |oddity| matches!(oddity, Oddity::TooLong { .. })),
        (
            "a body beyond the limit",
            || Fate::Answer(Message::answer(200, JSON, &[b' '; 80 * 1024])),
            |oddity| matches!(oddity, Oddity::TooLong { .. }),
        ),
        (
            "nothing",
            || Fate::Answer(Message::answer(200, JSON, b"")),
            |oddity| matches!(oddity, Oddity::Missing { part: "Plaintext" } | Oddity::NotUnderstood { .. }),
        ),
        (
            "an empty object",
            || Fate::Answer(Message::answer(200, JSON, b"{}")),
            |oddity| matches!(oddity, Oddity::Missing { part: "Plaintext" }),
        ),
        (
            "a null",
            || Fate::Answer(Message::answer(200, JSON, b"{\"Plaintext\":null}")),
            |oddity| matches!(oddity, Oddity::Missing { part: "Plaintext" }),
        ),
        (
            "garbage",
            || Fate::Answer(Message::answer(200, JSON, b"\xff\x00{[")),
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 200 }),
        ),
        (
            "half an object",
            || Fate::Answer(Message::answer(200, JSON, b"{\"Plaintext\":\"AAAA")),
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 200 }),
        ),
        (
            "no base64",
            || Fate::Answer(Message::answer(200, JSON, b"{\"Plaintext\":\"&&&&\"}")),
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 200 }),
        ),
        (
            "a number",
            || Fate::Answer(Message::answer(200, JSON, b"{\"Plaintext\":7}")),
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 200 }),
        ),
        (
            "a web page",
            || Fate::Answer(Message::answer(200, "text/html", b"<html>Sign in</html>")),
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 200 }),
        ),
        (
            "objects in objects",
            || Fate::Answer(Message::answer(200, JSON, format!("{{\"x\":{}", "[".repeat(60_000)).as_bytes())),
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 200 }),
        ),
        (
            "a page that is not there",
            || Fate::Answer(Message::answer(404, "text/html", b"<html>")),
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 404 }),
        ),
        (
            "a way to somewhere else",
            || {
                let mut answer = Message::answer(302, JSON, b"");
                answer.set("Location", "http://127.0.0.1:1/");
                Fate::Answer(answer)
            },
            |oddity| matches!(oddity, Oddity::NotUnderstood { status: 302 }),
        ),
    ];
    for (name, answer, expected) in odd {
        let proxy = line.proxy(|_, _| answer());
        let (sort, fault) = fault(line.load(&proxy.url()));
        assert_eq!(sort, Sort::Unavailable, "{name}: {fault:?}");
        let KmsFault::Unexpected { oddity, .. } = fault else { panic!("{name}: {fault:?}") };
        assert!(expected(oddity), "{name}: {oddity:?}");
    }
}

#[test]
fn a_refusal_without_words_is_one_all_the_same() {
    let Some(line) = Line::new("a_refusal_without_words_is_one_all_the_same", KmsWrap::Direct) else {
        return;
    };
    for (status, body) in [(403, &b"<html>Forbidden</html>"[..]), (401, b""), (403, b"\xff")] {
        let proxy = line.proxy(move |_, _| Fate::Answer(Message::answer(status, "text/html", body)));
        let (sort, fault) = fault(line.load(&proxy.url()));
        assert_eq!(sort, Sort::Denied);
        assert!(matches!(fault, KmsFault::Refused { status: found, .. } if found == status), "{fault:?}");
        assert_eq!(proxy.seen().len(), 1);
    }
}

/// KMS, or who says to be it, gives the plaintext of another KEK.
#[test]
fn refuses_the_plaintext_of_another_kek() {
    let Some(line) = Line::new("refuses_the_plaintext_of_another_kek", KmsWrap::Direct) else { return };
    let other = HybridPrivateKey::generate().unwrap();
    let other = base64(other.dangerous_expose());
    let proxy = line.proxy(move |_, _| {
        let other = other.clone();
        change(move |body| body["Plaintext"] = json!(other))
    });
    match line.load(&proxy.url()) {
        Err(LoadError::WrongKey { source, .. }) => {
            assert!(source.to_string().contains("belongs to public key"), "{source}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn refuses_another_data_key() {
    let Some(line) = Line::new("refuses_another_data_key", KmsWrap::DataKey) else { return };
    let proxy = line.proxy(|_, _| change(|body| body["Plaintext"] = json!(base64(&[7; 32]))));
    let (sort, fault) = fault(line.load(&proxy.url()));
    assert_eq!(sort, Sort::Broken);
    let expected = matches!(fault, KmsFault::Container(aegis_kek::ContainerError::NotAuthentic));
    assert!(expected, "{fault:?}");
}

/// What cannot be unwrapped again is not given out as a wrapping.
#[test]
fn provisioning_finds_a_kms_that_does_not_give_back_what_it_took() {
    let test = "provisioning_finds_a_kms_that_does_not_give_back_what_it_took";
    let Some(line) = Line::new(test, KmsWrap::Direct) else { return };
    let private = HybridPrivateKey::generate().unwrap();
    let other = base64(line.private.dangerous_expose());
    let proxy = line.proxy(move |number, _| {
        let other = other.clone();
        if number == 0 { Fate::Pass } else { change(move |body| body["Plaintext"] = json!(other)) }
    });
    let made = provision(line.access(&proxy.url()), &private, KmsWrap::Direct);
    assert!(matches!(made, Err(KmsProvisionError::Different)), "{made:?}");

    // The 32 bytes that only a forged ciphertext would show: nothing but a comparison finds them.
    let mut z = private.dangerous_expose().to_vec();
    *z.last_mut().unwrap() ^= 1;
    let z = base64(&z);
    let proxy = line.proxy(move |number, _| {
        let z = z.clone();
        if number == 0 { Fate::Pass } else { change(move |body| body["Plaintext"] = json!(z)) }
    });
    let made = provision(line.access(&proxy.url()), &private, KmsWrap::Direct);
    assert!(matches!(made, Err(KmsProvisionError::Different)), "{made:?}");

    for (part, action) in [
        ("CiphertextBlob", KmsWrap::Direct),
        ("CiphertextBlob", KmsWrap::DataKey),
        ("Plaintext", KmsWrap::DataKey),
    ] {
        let proxy = line.proxy(move |_, _| change(move |body| body[part] = Value::Null));
        let made = provision(line.access(&proxy.url()), &private, action);
        let Err(KmsProvisionError::Kms(KmsFault::Unexpected { oddity, .. })) = made else {
            panic!("{made:?}")
        };
        assert_eq!(oddity, Oddity::Missing { part });
    }
}

#[test]
fn says_what_cannot_be_reached() {
    let Some(line) = Line::new("says_what_cannot_be_reached", KmsWrap::Direct) else { return };
    // Taken, so that nobody else gets the port; nobody listens there.
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    for url in [format!("http://{address}"), "https://nobody.invalid".to_owned()] {
        let (sort, fault) = fault(line.load(&url));
        assert_eq!(sort, Sort::Unavailable);
        let KmsFault::Unreachable { endpoint, .. } = &fault else { panic!("{fault:?}") };
        assert_eq!(*endpoint, url);
    }
}

#[test]
fn no_private_key_travels_without_tls() {
    let Some(line) = Line::new("no_private_key_travels_without_tls", KmsWrap::Direct) else { return };
    // No such host is ever asked for.
    let url = "http://kms.emulator.invalid:4566";
    let (sort, fault) = fault(line.load(url));
    assert_eq!(sort, Sort::Broken);
    assert!(matches!(&fault, KmsFault::PlainHttp { endpoint } if endpoint == url), "{fault:?}");
    match provision(line.access(url), &line.private, KmsWrap::Direct) {
        Err(KmsProvisionError::Kms(KmsFault::PlainHttp { .. })) => {}
        other => panic!("{other:?}"),
    }
    // Whoever asks for it gets it.
    let plain_http = aegis_kek::aws_kms::PlainHttp::Anywhere;
    let access = KmsAccess { plain_http, ..line.access(url) };
    let (_, fault) = super::fault(load(access, &line.private, &line.wrapped));
    assert!(matches!(fault, KmsFault::Unreachable { .. }), "{fault:?}");
}

//! Files of the handover that are none.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn request() -> Request {
    Request {
        serial: 7,
        policy_sha256: sha256(b"policy"),
        policy_version: Some(3),
        audit: false,
        lifted_until: None,
        confirm_by: Some("2026-03-01T12:00:00Z".parse().unwrap()),
        before: None,
    }
}

fn state() -> State {
    let meant = Meant { policy_sha256: sha256(b"policy"), policy_version: Some(3), audit: true };
    let refused = Refused { serial: 6, detail: "no".to_owned(), help: None };
    State { pid: 1, in_force: Some(request()), meant: Some(meant), refused: Some(refused) }
}

fn handover() -> (tempfile::TempDir, Handover) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("fanotify")).unwrap();
    let handover = Handover::of(dir.path());
    (dir, handover)
}

/// The same text with one thing in place of another, which must be there.
fn with(text: &str, from: &str, to: &str) -> Vec<u8> {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// What each is, and what is in its place.
fn broken(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let digest = sha256(b"policy").to_string();
    let nested = |depth: usize| {
        let open = good.replace("\"before\":null", "\"before\":\u{1}");
        let (head, tail) = open.split_once('\u{1}').unwrap();
        [head.repeat(depth), "null".to_owned(), tail.trim_end().repeat(depth)].concat().into_bytes()
    };
    let mut list = vec![
        ("empty", Vec::new()),
        ("NUL", vec![0; 100]),
        ("no UTF-8", with(good, &digest, "x").into_iter().chain([0xff, 0xfe]).collect()),
        ("a number", b"7".to_vec()),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("nothing in it", b"{}".to_vec()),
        ("two of them", [good, good].concat().into_bytes()),
        ("one thing more", with(good, "{", "{\"more\":1,")),
        ("one thing twice", with(good, "\"serial\":7", "\"serial\":7,\"serial\":8")),
        ("a negative number", with(good, "\"serial\":7", "\"serial\":-7")),
        ("a number that is too large", with(good, "\"serial\":7", "\"serial\":18446744073709551616")),
        ("a fraction", with(good, "\"serial\":7", "\"serial\":7.5")),
        ("a number as a text", with(good, "\"serial\":7", "\"serial\":\"7\"")),
        ("a digest that is too short", with(good, &digest, &digest[1..])),
        ("a digest of another alphabet", with(good, &digest, &digest.replace(&digest[..1], "g"))),
        ("a digest that is null", with(good, &format!("\"{digest}\""), "null")),
        ("a mode that is no mode", with(good, "\"audit\":false", "\"audit\":\"no\"")),
        ("a time that is none", with(good, "2026-03-01T12:00:00Z", "tomorrow")),
        ("a time beyond all", with(good, "2026-03-01T12:00:00Z", "99999-03-01T12:00:00Z")),
        ("one before that is none", with(good, "\"before\":null", "\"before\":[]")),
        ("one before that lacks all", with(good, "\"before\":null", "\"before\":{}")),
        ("many of them in each other", nested(140)),
        ("brackets without end", vec![b'['; 60_000]),
    ];
    // Cut off anywhere, it is not taken for a shorter one.
    list.extend((1..good.trim_end().len()).map(|len| ("cut off", good.as_bytes()[..len].to_vec())));
    list
}

#[test]
fn what_is_no_request_and_no_state_is_refused_by_name() {
    let (dir, handover) = handover();
    let request = serde_json::to_string(&request()).unwrap() + "\n";
    let state = serde_json::to_string(&state()).unwrap() + "\n";
    for (name, good) in [(REQUEST, request), (STATE, state)] {
        let path = dir.path().join("fanotify").join(name);
        let read = || match name {
            REQUEST => handover.request().map(drop),
            _ => handover.state().map(drop),
        };
        fs::write(&path, &good).unwrap();
        read().unwrap_or_else(|error| panic!("{good}: {error}"));
        for (what, bytes) in broken(&good) {
            fs::write(&path, &bytes).unwrap();
            match read() {
                Err(error @ HandoverError::Record { .. }) => {
                    assert_eq!(error.to_string(), format!("{} is malformed", path.display()));
                    assert!(error.help().unwrap().contains(path.to_str().unwrap()), "{what}");
                }
                found => panic!("{name}, {what}: {found:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_no_file_or_far_too_large_is_refused_before_it_is_read() {
    let (dir, handover) = handover();
    let path = dir.path().join("fanotify").join(REQUEST);
    let victim = dir.path().join("victim");
    fs::write(&victim, serde_json::to_vec(&request()).unwrap()).unwrap();
    type Make<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let cases: [Make<'_>; 5] = [
        ("bytes, more than the limit", {
            Box::new(|| fs::File::create(&path).unwrap().set_len(MAX_RECORD + 1).unwrap())
        }),
        ("bytes, more than the limit", {
            // Its length takes no room on the disk, and would take all memory.
            Box::new(|| fs::File::create(&path).unwrap().set_len(1 << 40).unwrap())
        }),
        ("is a symbolic link", Box::new(|| symlink(&victim, &path).unwrap())),
        ("is a directory", Box::new(|| fs::create_dir(&path).unwrap())),
        ("is a FIFO", {
            Box::new(|| {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            })
        }),
    ];
    for (expected, make) in cases {
        make();
        let error = handover.request().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.help().unwrap().starts_with("remove "), "{error}");
        // Nothing is asked for on top of it, and nothing is left behind.
        assert!(handover.leave(b"policy", request()).is_err(), "{error}");
        let left = fs::read_dir(dir.path().join("fanotify")).unwrap().count();
        assert_eq!(left, 1, "{error}");
        if path.is_dir() { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
    assert!(handover.request().unwrap().is_none(), "no file is no request");
}

#[test]
fn the_last_number_is_followed_by_none() {
    let (dir, handover) = handover();
    for (name, text) in [
        (REQUEST, serde_json::to_vec(&Request { serial: u64::MAX, ..request() }).unwrap()),
        (
            STATE,
            serde_json::to_vec(&State {
                in_force: Some(Request { serial: u64::MAX, ..request() }),
                ..state()
            })
            .unwrap(),
        ),
    ] {
        let path = dir.path().join("fanotify").join(name);
        fs::write(&path, text).unwrap();
        let error = handover.leave(b"policy", request()).unwrap_err();
        assert!(matches!(error, HandoverError::Exhausted { .. }), "{error}");
        assert!(error.help().is_some());
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(handover.leave(b"policy", request()).unwrap().serial, 1);
    assert_eq!(handover.leave(b"policy", request()).unwrap().serial, 2);
}

#[test]
fn a_text_of_another_digest_is_none() {
    let (dir, handover) = handover();
    let digest = sha256(b"policy");
    let path = dir.path().join("fanotify").join(format!("policy-{digest}"));
    assert!(matches!(handover.text(&digest, 100), Err(HandoverError::Text { .. })), "it is not there");
    fs::write(&path, "policx").unwrap();
    assert!(matches!(handover.text(&digest, 100), Err(HandoverError::Text { .. })));
    fs::write(&path, "policy").unwrap();
    assert!(matches!(handover.text(&digest, 5), Err(HandoverError::Read(ReadError::TooLarge { .. }))));
    assert_eq!(handover.text(&digest, 6).unwrap(), b"policy");
}

#[test]
fn nobody_is_asked_where_no_agent_runs() {
    let (dir, handover) = handover();
    assert!(matches!(handover.ask(b"policy", request()), Err(HandoverError::NoAgent)));
    assert_eq!(fs::read_dir(dir.path().join("fanotify")).unwrap().count(), 0);
    let lock = handover.lock().unwrap();
    assert!(handover.agent_runs());
    assert!(matches!(handover.lock(), Err(HandoverError::Runs)));
    drop(lock);
    assert!(!handover.agent_runs());
}

#[test]
fn what_is_held_follows_the_times_of_a_request() {
    let at = |second: i64| Timestamp::from_second(1_772_366_400 + second).unwrap();
    let before = Request { policy_sha256: sha256(b"before"), audit: true, confirm_by: None, ..request() };
    let plain = Request { confirm_by: None, ..request() };
    let waiting = Request { confirm_by: Some(at(10)), before: Some(Box::new(before.clone())), ..request() };
    let held = |request: &Request, second| {
        let held = request.held(at(second))?;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let (unconfirmed, lifted) = (seconds(held.unconfirmed_for), seconds(held.lifted_for));
        Some((held.policy_sha256, held.mode, unconfirmed, lifted, held.fell_back))
    };
    let (new, old) = (sha256(b"policy"), sha256(b"before"));
    assert_eq!(held(&plain, 0), Some((new, Mode::Enforce, None, None, false)));
    assert_eq!(held(&before, 0), Some((old, Mode::Audit, None, None, false)));
    assert_eq!(held(&waiting, 0), Some((new, Mode::Enforce, Some(10), None, false)));
    assert_eq!(held(&waiting, 10), Some((old, Mode::Audit, None, None, true)));
    assert_eq!(held(&waiting.clone().confirmed(), 10), Some((new, Mode::Enforce, None, None, false)));
    let first = Request { before: None, ..waiting };
    assert_eq!(held(&first, 9), Some((new, Mode::Enforce, Some(1), None, false)));
    assert_eq!(held(&first, 10), None, "nothing was before it");
    let lifted = Request { lifted_until: Some(at(5)), ..plain };
    assert_eq!(held(&lifted, 2), Some((new, Mode::Enforce, None, Some(3), false)));
    assert_eq!(held(&lifted, 5), Some((new, Mode::Enforce, None, None, false)));
}

//! Threads and processes at once.

use aegis_keyring::{DekQuery, DekState, KekState, Scope};

use crate::child::{Helper, make_deks, rotate};
use crate::fixture::{filled, kek, nth_version};
use crate::on::Place;

/// Makes a test of each case on each store.
macro_rules! on_every_store {
    ($($case:ident),+) => {
        mod sqlite {
            $(#[test] fn $case() { super::$case(&crate::on::Place::sqlite()); })+
        }

        mod postgres {
            $(#[test] fn $case() {
                if let Some(place) = crate::on::Place::postgres(stringify!($case)) {
                    super::$case(&place);
                }
            })+
        }
    };
}

on_every_store!(
    eight_processes_make_deks_and_one_is_active,
    threads_make_deks_and_one_is_active,
    eight_processes_rotate_the_kek_and_one_switches,
    eight_processes_open_an_empty_place,
    processes_count_and_nothing_is_lost,
    nothing_is_lost_or_counted_twice_when_a_process_is_killed
);

fn at_once(task: &str, place: &Place) -> Vec<Vec<String>> {
    let mut helpers: Vec<_> = (0..8).map(|_| Helper::start(task, &place.address)).collect();
    for helper in &mut helpers {
        helper.go();
    }
    helpers.into_iter().map(Helper::said).collect()
}

fn all_but_the_last_decrypt_only(place: &Place, expected: u32) {
    let store = place.open();
    let all = store.deks(&DekQuery { scope: None, state: None, after: None, limit: 1000 }).unwrap();
    assert_eq!(
        all.iter().map(|dek| dek.version).collect::<Vec<_>>(),
        (1..=expected).map(nth_version).collect::<Vec<_>>()
    );
    let active: Vec<_> = all.iter().filter(|dek| dek.state == DekState::Active).collect();
    assert_eq!(active.len(), 1);
    assert_eq!(store.active_dek(&Scope::default()).unwrap().as_ref(), Some(active[0]));
    assert_eq!(active[0].version, nth_version(expected));
    store.check().unwrap();
}

fn eight_processes_make_deks_and_one_is_active(place: &Place) {
    place.open().enrol_first_kek(&kek(0)).unwrap();
    at_once("make", place);
    all_but_the_last_decrypt_only(place, 8 * 6);
}

fn threads_make_deks_and_one_is_active(place: &Place) {
    let store = place.open();
    store.enrol_first_kek(&kek(0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| make_deks(store.as_ref(), 3));
        }
    });
    all_but_the_last_decrypt_only(place, 12 * 3);
}

fn eight_processes_rotate_the_kek_and_one_switches(place: &Place) {
    let store = place.open();
    filled(store.as_ref(), 20);
    let mine = rotating_thread(place);
    let switches: usize =
        at_once("rotate", place).iter().flatten().map(|said| said.parse::<usize>().unwrap()).sum();
    assert_eq!(switches + mine.join().unwrap(), 1);
    let keks = store.keks().unwrap();
    assert_eq!(keks.iter().map(|kek| kek.state).collect::<Vec<_>>(), [KekState::Grace, KekState::Active]);
    let progress = store.wrap_progress(keks[1].key_id()).unwrap();
    assert_eq!((progress.deks, progress.wrapped, progress.verified), (20, 20, 20));
    store.check().unwrap();
}

fn rotating_thread(place: &Place) -> std::thread::JoinHandle<usize> {
    let store = place.open();
    std::thread::spawn(move || rotate(store.as_ref()))
}

fn eight_processes_open_an_empty_place(place: &Place) {
    assert!(at_once("open", place).iter().all(|said| said == &["0"]));
    place.open().check().unwrap();
}

fn processes_count_and_nothing_is_lost(place: &Place) {
    let store = place.open();
    filled(store.as_ref(), 1);
    at_once("count", place);
    let usage = store.dek(nth_version(1)).unwrap().unwrap().usage;
    assert_eq!((usage.messages, usage.bytes), (8 * 25, 8 * 25 * 3));
}

fn nothing_is_lost_or_counted_twice_when_a_process_is_killed(place: &Place) {
    let store = place.open();
    filled(store.as_ref(), 1);
    let mut counted = 0;
    for nth in 1..=6 {
        let said = Helper::start("count for ever", &place.address).killed_after(nth * 3).len() as u64;
        store.check().unwrap();
        let usage = store.dek(nth_version(1)).unwrap().unwrap().usage;
        assert_eq!(usage.bytes, usage.messages * 3);
        // The last one may have been committed without a chance to say so.
        assert!((counted + said..=counted + said + 1).contains(&usage.messages), "{usage:?}");
        counted = usage.messages;
    }
}

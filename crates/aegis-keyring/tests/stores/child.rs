//! This program once more, in a process of its own, with something to do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use aegis_crypto::HybridPublicKey;
use aegis_keyring::{DekState, KekRecord, NewDek, Scope, Store, StoreError, Usage};

use crate::fixture::{at, filled, kek, new_dek, nth_version, wrapping};
use crate::on;

/// What names the task, and the address of the store.
const TASK: &str = "AEGIS_STORES_TASK";
const ADDRESS: &str = "AEGIS_STORES_ADDRESS";

/// A process that waits for [`go`](Self::go).
pub(crate) struct Helper {
    child: Child,
}

/// The command that runs a task.
pub(crate) fn command(task: &str, address: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::does_what_its_parent_asks", "--nocapture", "--test-threads=1", "-q"]);
    command.env(TASK, task).env(ADDRESS, address);
    command
}

impl Helper {
    pub(crate) fn start(task: &str, address: &str) -> Self {
        let mut command = command(task, address);
        Self { child: command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap() }
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "go").unwrap();
    }

    /// Waits for its end, and gives the lines that it said.
    pub(crate) fn said(mut self) -> Vec<String> {
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        said(&text)
    }

    /// Waits for so many lines, kills it, and gives every line that it said.
    pub(crate) fn killed_after(mut self, lines: usize) -> Vec<String> {
        let mut reader = BufReader::new(self.child.stdout.take().unwrap());
        let mut text = String::new();
        while said(&text).len() < lines {
            assert_ne!(reader.read_line(&mut text).unwrap(), 0, "{text}");
        }
        self.child.kill().unwrap();
        reader.read_to_string(&mut text).unwrap();
        self.child.wait().unwrap();
        said(&text)
    }
}

/// What a task said, without what the test runner says.
pub(crate) fn said(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("said: ")).map(str::to_owned).collect()
}

fn say(text: impl std::fmt::Display) {
    println!("said: {text}");
}

fn wait_for_go() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Where a process begins that a test has started. In the run of all tests there is nothing for it to do.
#[test]
fn does_what_its_parent_asks() {
    let Ok(task) = std::env::var(TASK) else { return };
    let address = std::env::var(ADDRESS).unwrap();
    match task.as_str() {
        "make" => {
            let store = on::open(&address);
            wait_for_go();
            say(make_deks(store.as_ref(), 6));
        }
        "open" => {
            wait_for_go();
            say(on::open(&address).keks().unwrap().len());
        }
        "rotate" => {
            let store = on::open(&address);
            wait_for_go();
            say(rotate(store.as_ref()));
        }
        "count" => {
            let store = on::open(&address);
            wait_for_go();
            for _ in 0..25 {
                store.add_usage(&[(nth_version(1), Usage { messages: 1, bytes: 3 })]).unwrap();
            }
        }
        "count for ever" => {
            let store = on::open(&address);
            loop {
                store.add_usage(&[(nth_version(1), Usage { messages: 1, bytes: 3 })]).unwrap();
                say("counted");
            }
        }
        "steps" => steps(&address),
        "first steps" => first_steps(&address),
        "fork" => crate::sqlite_file::fork_and_look(&address),
        "fork on a server" => crate::postgres_server::fork_and_look(&address),
        other => panic!("no task {other}"),
    }
}

/// Makes DEKs until so many of them are in; gives how often somebody else was faster.
pub(crate) fn make_deks(store: &dyn Store, wanted: usize) -> usize {
    let (mut made, mut conflicts) = (0, 0);
    let kek = store.keks().unwrap()[0].key_id();
    while made < wanted {
        let active = store.active_dek(&Scope::default()).unwrap().map(|dek| dek.version);
        let last = store.last_version_of(nth_version(1)).unwrap();
        let next = last.map_or(nth_version(1), |last| last.next().unwrap());
        match store.insert_active_dek(&new_dek(next, "default", &[kek]), active) {
            Ok(()) => made += 1,
            Err(StoreError::Conflict { .. }) => conflicts += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    conflicts
}

/// Does all of a KEK rotation, whatever others do; gives how many switches were its own.
pub(crate) fn rotate(store: &dyn Store) -> usize {
    let conflict_or = |result: Result<(), StoreError>| match result {
        Ok(()) => true,
        Err(StoreError::Conflict { .. } | StoreError::NotVerified { .. }) => false,
        Err(error) => panic!("{error:?}"),
    };
    let old = store.keks().unwrap()[0].key_id();
    let mut keks = store.keks().unwrap();
    conflict_or(store.enrol_incoming_kek(&sibling(&keks.remove(0)), old));
    loop {
        let keks = store.keks().unwrap();
        if keks.iter().any(|kek| kek.grace_until.is_some()) {
            return 0;
        }
        let new = keks[1].key_id();
        let made = store.wrappings_to_make(old, new, None, 7).unwrap();
        let made: Vec<_> = made.iter().map(|dek| wrapping(dek.version, new)).collect();
        conflict_or(store.add_wrappings(&made));
        let good = store.wrappings_under(new, true, None, 7).unwrap();
        store.mark_verified(new, &good, at(6)).unwrap();
        if made.is_empty() && good.is_empty() && conflict_or(store.switch_kek(new, at(7), at(9))) {
            return 1;
        }
    }
}

/// A step of [`STEPS`].
pub(crate) type Step = (&'static str, fn(&dyn Store) -> Result<(), StoreError>);

/// What is done to a keyring of three DEKs, of which the first is retired and due, while everything goes wrong.
pub(crate) const STEPS: &[Step] = &[
    ("insert", |store| {
        let kek = store.keks()?[0].key_id();
        // Keys are made anew in every process; what is stored here has to be the same in each.
        let public_key = store.dek(nth_version(3))?.unwrap().public_key;
        let new = NewDek { public_key, ..new_dek(nth_version(4), "default", &[kek]) };
        store.insert_active_dek(&new, Some(nth_version(3)))
    }),
    ("usage", |store| {
        let used = Usage { messages: 1, bytes: 2 };
        store.add_usage(&[(nth_version(2), used), (nth_version(4), used)])
    }),
    ("destroy", |store| store.destroy_dek(nth_version(1), at(50))),
    ("enrol", |store| {
        let active = &store.keks()?[0];
        store.enrol_incoming_kek(&sibling(active), active.key_id())
    }),
    ("wrap", |store| {
        let new = store.keks()?[1].key_id();
        let made: Vec<_> = (2..=4).map(|nth| wrapping(nth_version(nth), new)).collect();
        store.add_wrappings(&made)
    }),
    ("verify", |store| {
        let new = store.keks()?[1].key_id();
        store.mark_verified(new, &store.wrappings_under(new, true, None, 9)?, at(60))
    }),
    ("switch", |store| store.switch_kek(store.keks()?[1].key_id(), at(61), at(62))),
    ("retire", |store| store.retire_kek(store.keks()?[0].key_id(), at(63))),
];

/// Another KEK, the same in every process.
fn sibling(kek: &KekRecord) -> KekRecord {
    let mut public_key = kek.public_key.as_bytes().to_owned();
    public_key[0] ^= 1;
    KekRecord { public_key: HybridPublicKey::from_bytes(&public_key).unwrap(), ..kek.clone() }
}

fn steps(address: &str) {
    let store = match aegis_keyring::open_store(address) {
        Ok(store) => store,
        Err(error) => return say(format_args!("failed {error:?}")),
    };
    for (name, step) in STEPS {
        match step(store.as_ref()) {
            Ok(()) => say(format_args!("done {name}")),
            Err(error) => return say(format_args!("failed {error:?}")),
        }
    }
}

fn first_steps(address: &str) {
    let store = match aegis_keyring::open_store(address) {
        Ok(store) => store,
        Err(error) => return say(format_args!("failed {error:?}")),
    };
    say("done open");
    match store.enrol_first_kek(&kek(0)) {
        Ok(()) => say("done enrol"),
        Err(error) => say(format_args!("failed {error:?}")),
    }
}

/// Fills a store with what [`STEPS`] begins with.
pub(crate) fn before_the_steps(store: &dyn Store) {
    filled(store, 3);
    let first = store.dek(nth_version(1)).unwrap().unwrap();
    store.change_dek(&first, DekState::Retired, Some(at(40)), at(30)).unwrap();
}

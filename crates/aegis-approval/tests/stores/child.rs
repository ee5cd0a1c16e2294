//! This program once more, in a process of its own, with something to do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use aegis_approval::{Closed, ConflictKind, RequestQuery, Store, StoreError};

use crate::fixture::{Person, asked, at, now, sign};
use crate::on;

/// What names the task, and the address of the store.
const TASK: &str = "AEGIS_APPROVAL_STORES_TASK";
const ADDRESS: &str = "AEGIS_APPROVAL_STORES_ADDRESS";

/// A process that waits for [`go`](Self::go).
pub(crate) struct Helper {
    child: Child,
}

impl Helper {
    pub(crate) fn start(task: &str, address: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "child::does_what_its_parent_asks",
            "--nocapture",
            "--test-threads=1",
            "-q",
        ]);
        command.env(TASK, task).env(ADDRESS, address);
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

/// What a task said, without what the test runner says. A line that was cut off when it was killed was not said.
fn said(text: &str) -> Vec<String> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter_map(|line| line.trim_end().strip_prefix("said: ")).map(str::to_owned).collect()
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
        "open" => {
            wait_for_go();
            say(on::open(&address).registry().unwrap().1);
        }
        "use all" => {
            let store = on::open(&address);
            wait_for_go();
            say(use_all(store.as_ref()));
        }
        "decide for ever" => decide_for_ever(on::open(&address).as_ref()),
        other => panic!("no task {other}"),
    }
}

/// Uses every request that is there; gives how many times it was the first.
pub(crate) fn use_all(store: &dyn Store) -> usize {
    let (_, registry) = store.registry().unwrap();
    let all = store.requests(&RequestQuery { limit: 1000, ..RequestQuery::default() }).unwrap();
    let used = Closed::Consumed { at: at(5), used_for: format!("process {}", std::process::id()) };
    let first = all.iter().filter(|record| {
        match store.close(record.request.id(), record.revision, registry, &used, None) {
            Ok(()) => true,
            Err(StoreError::Conflict {
                what: ConflictKind::RequestChanged { .. } | ConflictKind::RequestClosed { .. },
            }) => false,
            Err(error) => panic!("{error:?}"),
        }
    });
    first.count()
}

/// Makes a key, a request, its signature and its end, and says each when it is stored.
fn decide_for_ever(store: &dyn Store) {
    loop {
        let person = Person::new("rita", "risk_lead");
        person.join(store);
        say(format_args!("key {}", person.key_id()));
        for _ in 0..5 {
            let request = asked(store);
            say(format_args!("asked {}", request.id()));
            sign(store, &request, &person.approves(&request)).unwrap();
            say(format_args!("signed {}", request.id()));
            let (record, registry) = now(store, &request);
            let used = Closed::Consumed { at: at(5), used_for: "a change".to_owned() };
            store.close(request.id(), record.revision, registry, &used, None).unwrap();
            say(format_args!("used {}", request.id()));
        }
    }
}

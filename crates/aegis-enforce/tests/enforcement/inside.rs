//! What runs inside the machine, as root, with nobody else there.

mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use aegis_enforce::{Canary, Enforcement, FileId, HostResolver, Label, Mode, Options, Resolver, compile};
use aegis_policy::Limits;

/// Set inside the machine.
pub(crate) const SCENARIOS: &str = "AEGIS_ENFORCE_SCENARIOS";

type Scenario = (&'static str, fn());

const ALL: &[Scenario] = files::ALL;

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// In the machine it runs them; elsewhere it sees to it that none is run under another's name.
#[test]
fn scenarios_run_where_they_belong() {
    let mut seen: Vec<&str> = names().collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), ALL.len(), "two scenarios of one name");
    if std::env::var_os(SCENARIOS).is_none() {
        return;
    }
    for (name, scenario) in ALL {
        let begun = Instant::now();
        scenario();
        println!("scenario {name}: held ({:.1} s)", begun.elapsed().as_secs_f64());
    }
}

/// A directory of its own on tmpfs, gone at the end.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new("/tmp").join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn this_program() -> FileId {
    HostResolver::new().file("/proc/self/exe").unwrap()
}

/// Loads the programs for as long as the value lives, with `policy` in force.
pub(crate) fn enforce(policy: &str, mode: Mode) -> Enforcement {
    let enforcement =
        Enforcement::load(&Options { lsm: true, programs: vec![this_program()], ..Options::default() });
    let enforcement = enforcement.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string)));
    swap(&enforcement, policy, mode);
    enforcement
}

pub(crate) fn swap(enforcement: &Enforcement, policy: &str, mode: Mode) {
    let parsed = aegis_policy::parse(policy.as_bytes(), &Limits::default());
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}\n{policy}"));
    let compiled = compile(&parsed, &HostResolver::new(), mode, &Canary { file: None });
    let label = Label { version: Some(1), sha256: [7; 32], now: 0 };
    enforcement.swap(&compiled, &label, None).unwrap();
}

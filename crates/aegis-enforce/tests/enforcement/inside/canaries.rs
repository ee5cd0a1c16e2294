//! The canary: what is denied to everybody, so that a denial can be shown.

use std::fs;
use std::path::Path;

use aegis_enforce::{Canary, Enforcement, Mode, Sign, Signs, canary_signs, make_canary};

use super::{LABEL, Place, Scenario, Start, compiled, swap};
use crate::probe::{DENIED, ask};

pub(super) const ALL: &[Scenario] = &[("canary", Start::Loaded(canary))];

fn canary(enforcement: &Enforcement) {
    let place = Place::new("canary");
    let path = place.path("canary");
    let path = Path::new(&path);
    let group = "/sys/fs/cgroup/canary";
    fs::create_dir_all(group).unwrap();
    swap(enforcement, "version=6\n", Mode::Enforce);
    assert_eq!(canary_signs(path).file, Sign::Untried);
    let file = make_canary(path).unwrap();
    assert_eq!(make_canary(path).unwrap(), file, "one that is there is taken");
    assert_eq!(canary_signs(path).file, Sign::Allowed, "the policy does not know it");
    let policy = format!("version=6\n[allow_cgroup]\n{group}\n");
    for mode in [Mode::Audit, Mode::Enforce] {
        enforcement.swap(&compiled(&policy, mode, Canary { file }), &LABEL, None).unwrap();
        let before = enforcement.counters().unwrap();
        let denied = Signs { file: Sign::Denied, network: Sign::Denied };
        assert_eq!(canary_signs(path), denied, "{mode:?}: to the agent itself");
        assert_eq!(ask(&format!("open {}", path.display())), DENIED, "{mode:?}: to others");
        assert_eq!(
            ask(&format!("in {group} open {}", path.display())),
            DENIED,
            "{mode:?}: to an allowed group"
        );
        assert_eq!(ask("udp 192.0.2.255 9"), DENIED);
        assert_ne!(ask("udp 192.0.2.255 10"), DENIED);
        let after = enforcement.counters().unwrap();
        assert_eq!((after.denied, after.audited), (before.denied, before.audited), "it is no event");
    }
    let _ = fs::remove_dir(group);
}

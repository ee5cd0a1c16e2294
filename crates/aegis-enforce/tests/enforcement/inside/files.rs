//! Files: by path and by number.

use aegis_enforce::Mode;

use super::{Place, Scenario, enforce, swap};
use crate::probe::{DENIED, ask};

pub(super) const ALL: &[Scenario] = &[("denied_path", denied_path)];

fn denied_path() {
    let place = Place::new("denied_path");
    let (secret, open) = (place.file("secret", "x"), place.file("open", "y"));
    let later = place.path("later");
    let enforcement = enforce(&format!("version=1\n[deny_path]\n{secret}\n{later}\n"), Mode::Enforce);
    assert_eq!(ask(&["open", &secret]), DENIED);
    assert_eq!(ask(&["write", &secret]), DENIED);
    assert_eq!(ask(&["truncate", &secret]), DENIED);
    assert_eq!(ask(&["open", &open]), 0);
    assert_eq!(ask(&["create", &later]), DENIED);
    assert_eq!(ask(&["rename", &open, &later]), 0);
    assert_eq!(ask(&["open", &later]), DENIED);
    assert_eq!(ask(&["rename", &later, &open]), 0);
    assert_eq!(ask(&["open", &open]), DENIED, "known by its inode");
    let counted = enforcement.counters().unwrap();
    assert_eq!((counted.denied, counted.audited, counted.lost), (6, 0, 0));
    enforcement.verify().unwrap();
    swap(&enforcement, "version=1\n", Mode::Enforce);
    assert_eq!(ask(&["open", &secret]), 0, "by the policy that is in force now");
    swap(&enforcement, &format!("version=1\n[deny_path]\n{secret}\n"), Mode::Audit);
    assert_eq!(ask(&["open", &secret]), 0, "audit mode only tells");
    assert_eq!(enforcement.counters().unwrap().audited, 1);
}

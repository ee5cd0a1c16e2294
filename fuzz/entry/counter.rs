//! Any bytes as the small files on which a host's decisions rest: counter, revoked keys, manifest.

use aegis_trust::counter::{Counter, Judgement};
use aegis_trust::manifest::Manifest;
use aegis_trust::revoked::RevokedKeys;

/// What is accepted has one spelling, and the order of counters never lets anything older in.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(counter) = Counter::parse(bytes) {
        assert_eq!(counter.to_bytes(), bytes);
        assert!(matches!(Counter::judge(Some(&counter), &counter), Ok(Judgement::Same)));
        if let Some(older) = counter.policy_version.checked_sub(1).filter(|version| *version > 0) {
            let older = Counter { policy_version: older, ..counter };
            assert!(Counter::judge(Some(&counter), &older).is_err());
            assert!(matches!(Counter::judge(Some(&older), &counter), Ok(Judgement::Newer)));
        }
        if let Some(epoch) = counter.epoch.checked_add(1) {
            // A higher epoch needs an approval that no bundle carries.
            assert!(Counter::judge(Some(&counter), &Counter { epoch, ..counter }).is_err());
        }
    }
    if let Ok(revoked) = RevokedKeys::parse(bytes) {
        let printed = revoked.to_bytes();
        let again = RevokedKeys::parse(&printed).expect("what we write, we read");
        assert_eq!(again.to_bytes(), printed);
    }
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(manifest.to_json().as_bytes(), bytes);
    }
}

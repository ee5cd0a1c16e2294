//! Any bytes as the small files on which a host's decisions rest: counter, revoked keys, manifest; how many custodians it asks
//! for, what was approved, how far a rotation has come.

use aegis_trust::counter::{Counter, Judgement};
use aegis_trust::custodians::record::Record;
use aegis_trust::custodians::threshold::Threshold;
use aegis_trust::manifest::Manifest;
use aegis_trust::revoked::RevokedKeys;
use aegis_trust::rotation::Rotation;

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
    if let Ok(threshold) = Threshold::parse(bytes) {
        assert!(threshold.quorum.people() >= 2, "nobody decides alone");
        assert_eq!(
            Threshold::parse(threshold.to_string().as_bytes()),
            Ok(threshold),
            "what we write, we read"
        );
    }
    if let Ok(record) = Record::parse(bytes) {
        assert_eq!(record.to_bytes(), bytes);
        assert!(
            record.rule.is_some() || record.trusted_only().is_none(),
            "without a rule no key has to be approved"
        );
    }
    if let Some(rotation) = Rotation::parse(bytes) {
        assert_eq!(rotation.to_bytes(), bytes);
        assert_ne!(rotation.old, rotation.new);
    }
}

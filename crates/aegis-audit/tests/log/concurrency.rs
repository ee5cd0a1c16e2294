//! Many writers, one order.

use std::collections::BTreeSet;
use std::thread;

use aegis_audit::AuditLog;

use crate::sample::{Sample, event};

const WRITERS: u64 = 8;
const EACH: u64 = 50;

#[test]
fn eight_writers_make_one_order_without_loss() {
    let sample = Sample::new();
    // Each thread has a log of its own: the lock belongs to an open file, so threads stand for processes.
    let seqs: Vec<u64> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let log = AuditLog::new(sample.log.dir());
                scope.spawn(move || {
                    let append = |number| log.append(&event(writer * EACH + number)).unwrap().seq;
                    (0..EACH).map(append).collect::<Vec<u64>>()
                })
            })
            .collect();
        // Readers see a whole log meanwhile.
        for _ in 0..20 {
            if sample.log.exists() && sample.log.checkpoint().is_ok_and(|head| head.is_some()) {
                let report = sample.verify(&[]).unwrap();
                assert_eq!((report.unsealed, report.torn_bytes), (0, 0));
                sample.log.quick_check().unwrap();
            }
        }
        let each = writers.into_iter().map(|writer| writer.join().unwrap());
        each.inspect(|seqs| assert!(seqs.is_sorted())).flatten().collect()
    });
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (0..WRITERS * EACH).collect());
    assert_eq!(sample.verify(&[]).unwrap().size, WRITERS * EACH);
    let transactions: BTreeSet<_> =
        sample.log.entries().unwrap().map(|entry| entry.unwrap().transaction.unwrap()).collect();
    assert_eq!(transactions.len() as u64, WRITERS * EACH);
}

#[test]
fn two_first_uses_at_once_make_one_log() {
    for _ in 0..10 {
        let sample = Sample::new();
        thread::scope(|scope| {
            for number in 0..4 {
                let log = AuditLog::new(sample.log.dir());
                scope.spawn(move || log.append(&event(number)).unwrap());
            }
        });
        assert_eq!(sample.verify(&[]).unwrap().size, 4);
    }
}

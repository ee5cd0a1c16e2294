//! Any bytes as a backup archive.

use aegis_trust::backup::backup_verify;

/// A backup that a host made; its key signed nothing else.
const ARCHIVE: &[u8] = include_bytes!("../corpus/backup/good.tar");

/// An archive is whole or refused. Whoever has another key can make another archive, but under the key of the host
/// that made [`ARCHIVE`] there is only that one, to the last byte of padding.
pub(crate) fn run(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let check = |bytes: &[u8]| {
        let path = directory.path().join("backup.tar");
        std::fs::write(&path, bytes).expect("there is room for an archive");
        backup_verify(&path)
    };
    let Ok(verified) = check(bytes) else {
        assert!(bytes != ARCHIVE, "the good archive is refused");
        return;
    };
    let good = check(ARCHIVE).expect("the good archive is whole");
    assert!(bytes == ARCHIVE || verified.host_key != good.host_key, "a changed archive verifies");
}

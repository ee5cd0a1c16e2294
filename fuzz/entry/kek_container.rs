//! Any bytes as the container of a wrapped KEK.

use std::sync::LazyLock;

use aegis_crypto::{HybridPrivateKey, Secret};
use aegis_kek::{Container, ContainerError, MAX_CONTAINER_LEN, WrapMethod};

static KEK: LazyLock<HybridPrivateKey> =
    LazyLock::new(|| HybridPrivateKey::import(&[0x3b; 32]).expect("every 32 bytes are a seed"));

/// A good container, for inputs that are a list of changes: random bytes have no tag that holds.
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    Container::seal(&KEK, WrapMethod::Rfc5649, &data_key(), vec![0xa5; 40]).expect("a good one").to_bytes()
});

fn data_key() -> Secret<32> {
    Secret::copy_of(&[7; 32])
}

/// What parses has one spelling, and nothing opens but what was sealed; what is refused can be explained.
///
/// An input that begins with `C` stands for a good container with changes: each is three bytes, two of the place and one
/// to exclusive-or there. One that begins with `H` stands for its rest behind the first bytes of a container.
pub(crate) fn run(bytes: &[u8]) {
    opens_only_if_good(bytes);
    match bytes.split_first() {
        Some((b'C', edits)) => opens_only_if_good(&changed(edits)),
        Some((b'H', rest)) => opens_only_if_good(&[b"AEGISKEK\x01\x02".as_slice(), rest].concat()),
        _ => {}
    }
}

fn opens_only_if_good(bytes: &[u8]) {
    let container = match Container::parse(bytes) {
        Ok(container) => container,
        Err(error) => {
            assert_eq!(matches!(error, ContainerError::NoContainer), !Container::is_one(bytes));
            assert!(error.help().is_some() && bytes != *GOOD);
            return;
        }
    };
    assert!(Container::is_one(bytes) && bytes.len() <= MAX_CONTAINER_LEN);
    assert_eq!(container.to_bytes(), bytes);
    match container.open(&data_key(), KEK.public_key()) {
        Ok(private) => {
            assert_eq!(bytes, *GOOD, "nothing else was sealed");
            assert_eq!(private.dangerous_expose(), KEK.dangerous_expose());
        }
        Err(error) => assert!(error.help().is_some() && bytes != *GOOD),
    }
}

fn changed(edits: &[u8]) -> Vec<u8> {
    let mut bytes = GOOD.clone();
    for edit in edits.chunks_exact(3) {
        let [high, low, mask] = edit else { continue };
        if let Some(byte) = bytes.get_mut(usize::from(u16::from_be_bytes([*high, *low]))) {
            *byte ^= mask;
        }
    }
    bytes
}

//! The two virtual transactions of BIP-322, and what of them is signed.
//!
//! For one input, one output and no locks nearly every byte is fixed, so they are written out here, and nothing has to
//! be parsed or built. A test compares each hash with those of the crate `bitcoin`.
//!
//! | `to_spend` | | `to_sign` | |
//! |---|---|---|---|
//! | version | 0 | version | 0 |
//! | spends | 00…00 : ffffffff | spends | `to_spend` : 0 |
//! | script | `OP_0 PUSH32 message_hash` | script | empty; the witness is the signature |
//! | sequence | 0 | sequence | 0 |
//! | pays | 0 to the address | pays | 0 to `OP_RETURN` |
//! | locked until | 0 | locked until | 0 |

use crate::sha256::{Sha256, sha256};

/// `OP_1 PUSH32 key`: what an output to a Taproot address asks for (BIP-341).
pub(super) const TAPROOT_SCRIPT_LEN: usize = 34;

/// How a signature says to which parts of the transaction it commits. BIP-322 allows both, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum HashType {
    /// All of it, said by saying nothing: 64 bytes.
    Default,
    /// All of it, said by a 65th byte, 0x01.
    All,
}

/// What is added to a key so that its address has no scripts (BIP-341, BIP-86): the hash of the key itself.
pub(super) fn tweak_without_scripts(internal_key: &[u8; 32]) -> [u8; 32] {
    tagged_hash("TapTweak", &[internal_key])
}

/// What the holder of `output_key` signs for `message` (BIP-341 "Common signature message", key path, no annex).
pub(super) fn digest_to_sign(output_key: &[u8; 32], message: &[u8], hash_type: HashType) -> [u8; 32] {
    let script = taproot_script(output_key);
    let spent = to_spend_id(&script, &message_hash(message));
    tagged_hash(
        "TapSighash",
        &[
            // The epoch, then the hash type.
            &[
                0,
                match hash_type {
                    HashType::Default => 0,
                    HashType::All => 1,
                },
            ],
            // Version and lock time.
            &[0; 8],
            // What is spent: outputs, amounts, scripts, sequences.
            sha256(&[spent.as_slice(), &[0; 4]].concat()).as_bytes(),
            sha256(&[0; 8]).as_bytes(),
            sha256(&[[SCRIPT_LEN].as_slice(), &script].concat()).as_bytes(),
            sha256(&[0; 4]).as_bytes(),
            // What it pays: nothing, to `OP_RETURN`.
            sha256(&NOTHING_TO_OP_RETURN).as_bytes(),
            // By key and without annex; the first input.
            &[0; 5],
        ],
    )
}

/// `OP_1 PUSH32 output_key`.
pub(super) fn taproot_script(output_key: &[u8; 32]) -> [u8; TAPROOT_SCRIPT_LEN] {
    let mut script = [0; TAPROOT_SCRIPT_LEN];
    let (opcodes, key) = script.split_at_mut(2);
    opcodes.copy_from_slice(&[0x51, 0x20]);
    key.copy_from_slice(output_key);
    script
}

/// `message_hash` of BIP-322.
pub(super) fn message_hash(message: &[u8]) -> [u8; 32] {
    tagged_hash("BIP0322-signed-message", &[message])
}

/// The id of `to_spend`, in the order in which it is hashed, which is the reverse of how people write it.
///
/// `script` has fewer than 253 bytes; those of all address types have.
pub(super) fn to_spend_id(script: &[u8], message_hash: &[u8; 32]) -> [u8; 32] {
    let script_len = u8::try_from(script.len()).expect("the script of an address is short");
    double_sha256(&[
        // Version; one input, which spends nothing that exists.
        &[0; 4],
        &[1],
        &[0; 32],
        &[0xff; 4],
        // OP_0 PUSH32 message_hash, after its length; sequence.
        &[SCRIPT_LEN, 0x00, 0x20],
        message_hash,
        &[0; 4],
        // One output: nothing, to the address. Lock time.
        &[1],
        &[0; 8],
        &[script_len],
        script,
        &[0; 4],
    ])
}

/// The id of `to_sign`, which has no signatures in it.
#[cfg(test)]
pub(super) fn to_sign_id(to_spend: &[u8; 32]) -> [u8; 32] {
    double_sha256(&[&[0; 4], &[1], to_spend, &[0; 4], &[0], &[0; 4], &[1], &NOTHING_TO_OP_RETURN, &[0; 4]])
}

/// Both scripts in front of which this stands have 34 bytes.
const SCRIPT_LEN: u8 = 34;

/// An output: amount 0, and a script of one byte, `OP_RETURN`.
const NOTHING_TO_OP_RETURN: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0x6a];

/// BIP-340 "Design", tagged hashes.
fn tagged_hash(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    let tag = sha256(tag.as_bytes());
    let mut hash = Sha256::new();
    hash.update(tag.as_bytes());
    hash.update(tag.as_bytes());
    for part in parts {
        hash.update(part);
    }
    *hash.finish().as_bytes()
}

fn double_sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    *sha256(hash.finish().as_bytes()).as_bytes()
}

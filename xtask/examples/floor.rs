//! The work that nobody can save, for `cargo xtask bench` to hold ours against. It uses nothing of ours.
//!
//! - `floor FILE`: read the file, SHA-256 of all of it, one Ed25519 verification.
//! - `floor`: start, one Ed25519 verification, end.

use std::process::ExitCode;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use hex_literal::hex;

/// RFC 8032, section 7.1, test 3.
const PUBLIC_KEY: [u8; 32] = hex!("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
const MESSAGE: [u8; 2] = hex!("af82");
const SIGNATURE: [u8; 64] = hex!(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
);

fn main() -> ExitCode {
    if let Some(path) = std::env::args_os().nth(1) {
        let Ok(bytes) = std::fs::read(path) else { return ExitCode::FAILURE };
        // The digest is used, so that it is computed.
        if digest(&SHA256, &bytes).as_ref().iter().all(|byte| *byte == 0) {
            return ExitCode::FAILURE;
        }
    }
    match UnparsedPublicKey::new(&ED25519, PUBLIC_KEY).verify(&MESSAGE, &SIGNATURE) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

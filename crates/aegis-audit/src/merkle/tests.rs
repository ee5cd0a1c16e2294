//! Known answers and exhaustive small trees.
#![expect(clippy::cast_possible_truncation, reason = "the trees here are tiny")]

use hex_literal::hex;
use proptest::prelude::*;

use super::*;

/// The test tree of the Certificate Transparency reference implementation (`merkle_tree_test.cc`): its leaves, and the
/// root after each.
const LEAVES: [(&[u8], [u8; 32]); 8] = [
    (b"", hex!("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")),
    (&hex!("00"), hex!("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")),
    (&hex!("10"), hex!("aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77")),
    (&hex!("2021"), hex!("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")),
    (&hex!("3031"), hex!("4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4")),
    (&hex!("40414243"), hex!("76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef")),
    (&hex!("5051525354555657"), hex!("ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c")),
    (
        &hex!("606162636465666768696a6b6c6d6e6f"),
        hex!("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ),
];

const N01: [u8; 32] = hex!("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
const N23: [u8; 32] = hex!("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e");
const N03: [u8; 32] = hex!("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7");
const N45: [u8; 32] = hex!("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a");
const N67: [u8; 32] = hex!("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0");
const N47: [u8; 32] = hex!("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4");
const L0: [u8; 32] = hex!("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
const L1: [u8; 32] = hex!("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7");
const L4: [u8; 32] = hex!("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b");

/// Leaf, size and audit path; the leaf counts from 0.
const INCLUSION: &[(u64, u64, &[[u8; 32]])] =
    &[(0, 1, &[]), (0, 8, &[L1, N23, N47]), (5, 8, &[L4, N67, N03]), (2, 3, &[N01]), (1, 5, &[L0, N23, L4])];

/// Old size, size and proof.
const CONSISTENCY: &[(u64, u64, &[[u8; 32]])] =
    &[(1, 1, &[]), (1, 8, &[L1, N23, N47]), (6, 8, &[N45, N67, N03]), (2, 5, &[N23, L4])];

fn tree(leaves: impl IntoIterator<Item = Digest>) -> Frontier {
    let mut frontier = Frontier::default();
    leaves.into_iter().for_each(|leaf| frontier.push(leaf));
    frontier
}

fn test_leaves() -> Vec<Digest> {
    LEAVES.iter().map(|(leaf, _)| leaf_hash(leaf)).collect()
}

fn numbered(count: u64) -> Vec<Digest> {
    (0..count).map(|at| leaf_hash(&at.to_be_bytes())).collect()
}

fn hashes(leaves: &[Digest], ranges: &[Range<u64>]) -> Vec<Digest> {
    ranges
        .iter()
        .map(|range| tree(leaves[range.start as usize..range.end as usize].iter().copied()).root())
        .collect()
}

/// RFC 9162, 2.1.1, as it is defined there: recursively.
fn mth(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => sha256(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
            node_hash(&mth(left), &mth(right))
        }
    }
}

#[test]
fn the_empty_tree_has_the_root_of_rfc_9162() {
    let empty = hex!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(Frontier::default().root().as_bytes(), &empty);
}

#[test]
fn the_roots_are_those_of_certificate_transparency() {
    let mut frontier = Frontier::default();
    for (leaf, root) in LEAVES {
        frontier.push(leaf_hash(leaf));
        assert_eq!(frontier.root().as_bytes(), &root, "{}", frontier.size());
    }
}

#[test]
fn the_inclusion_proofs_are_those_of_certificate_transparency() {
    let leaves = test_leaves();
    for (index, size, path) in INCLUSION {
        let path: Vec<Digest> = path.iter().copied().map(Digest::from_bytes).collect();
        assert_eq!(hashes(&leaves, &inclusion_ranges(*index, *size)), path, "{index} of {size}");
        let root = Digest::from_bytes(LEAVES[*size as usize - 1].1);
        assert!(verify_inclusion(&leaves[*index as usize], *index, *size, &path, &root), "{index} of {size}");
    }
}

#[test]
fn the_consistency_proofs_are_those_of_certificate_transparency() {
    let leaves = test_leaves();
    for (old, size, proof) in CONSISTENCY {
        let proof: Vec<Digest> = proof.iter().copied().map(Digest::from_bytes).collect();
        assert_eq!(hashes(&leaves, &consistency_ranges(*old, *size)), proof, "{old} to {size}");
        let root_of = |size: u64| Digest::from_bytes(LEAVES[size as usize - 1].1);
        assert!(verify_consistency(*old, &root_of(*old), *size, &root_of(*size), &proof), "{old} to {size}");
    }
}

#[test]
fn every_proof_of_a_small_tree_holds_and_no_other_does() {
    let leaves = numbered(34);
    for size in 0..=33_u64 {
        let root = tree(leaves.iter().copied().take(size as usize)).root();
        assert_eq!(root, mth(&leaves[..size as usize]));
        for index in 0..size {
            let path = hashes(&leaves, &inclusion_ranges(index, size));
            let leaf = &leaves[index as usize];
            assert!(verify_inclusion(leaf, index, size, &path, &root), "{index} of {size}");
            assert!(!verify_inclusion(&leaves[index as usize + 1], index, size, &path, &root));
            for other in (0..size).filter(|other| *other != index) {
                assert!(!verify_inclusion(leaf, other, size, &path, &root), "{index} as {other} of {size}");
            }
            let longer: Vec<Digest> = path.iter().copied().chain([root]).collect();
            assert!(!verify_inclusion(leaf, index, size, &longer, &root));
            assert!(path.is_empty() || !verify_inclusion(leaf, index, size, &path[1..], &root));
        }
        for old in 0..=size {
            let old_root = mth(&leaves[..old as usize]);
            let proof = hashes(&leaves, &consistency_ranges(old, size));
            assert!(verify_consistency(old, &old_root, size, &root, &proof), "{old} to {size}");
            let longer: Vec<Digest> = proof.iter().copied().chain([root]).collect();
            assert!(!verify_consistency(old, &old_root, size, &root, &longer));
            let forged = leaf_hash(b"forged");
            assert!(!verify_consistency(old, &forged, size, &root, &proof), "{old} to {size}");
            assert!(
                old == 0 || !verify_consistency(old, &old_root, size, &forged, &proof),
                "{old} to {size}"
            );
        }
        assert!(!verify_inclusion(&leaves[0], size, size, &[], &root));
        assert!(!verify_consistency(size + 1, &root, size, &root, &[]));
    }
}

proptest! {
    #[test]
    fn a_frontier_has_the_root_of_the_definition(count in 0_u64..200) {
        let leaves = numbered(count);
        let frontier = tree(leaves.iter().copied());
        prop_assert!(frontier.is_whole());
        prop_assert_eq!(frontier.root(), mth(&leaves));
    }

    #[test]
    fn no_proof_makes_the_verifier_panic(
        index in any::<u64>(), size in any::<u64>(), len in 0_usize..70,
    ) {
        let hash = leaf_hash(b"");
        let _ = verify_inclusion(&hash, index, size, &vec![hash; len], &hash);
        let _ = verify_consistency(index, &hash, size, &hash, &vec![hash; len]);
        let _ = inclusion_ranges(index, size);
        let _ = consistency_ranges(index, size);
    }
}

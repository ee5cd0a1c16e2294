//! BIP-322 signatures: what is refused, and what other implementations make of ours and we of theirs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use aegis_crypto::{
    Bip322PrivateKey, Bip322PrivateKeyError, Bip322Provider, Bip322PublicKey, Bip322PublicKeyError,
    Bip322Signature, Bip322SignatureError, Bip340Signature, BitcoinNetwork, OtherAddressType, OtherVariant,
    Secret, TaprootAddress, TaprootAddressError, WifError, WifNetwork,
};
use base64ct::{Base64, Encoding};
use proptest::prelude::*;
use test_services::tools;

const PROVIDER: Bip322Provider = Bip322Provider::new();

fn smp(witness: &[u8]) -> String {
    format!("smp{}", Base64::encode_string(witness))
}

/// A witness of these items.
fn witness(items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(items.len()).unwrap()];
    for item in items {
        bytes.push(u8::try_from(item.len()).unwrap());
        bytes.extend_from_slice(item);
    }
    bytes
}

#[test]
fn refuses_every_witness_but_one_signature_that_commits_to_everything() {
    use Bip322SignatureError as Error;
    let signature = [0x11_u8; 64];
    let with = |last: u8| [signature.as_slice(), &[last]].concat();
    let compressed = [[2].as_slice(), &[0x22; 32]].concat();
    let der = [[0x30, 68].as_slice(), &[0x33; 69]].concat();
    let control_block = [[0xc1].as_slice(), &[0x44; 64]].concat();
    let type_of = |found| Error::OtherAddressType { found };
    let cases: Vec<(&str, Vec<u8>, Error)> = vec![
        ("nothing at all", vec![], Error::Truncated { missing: 1 }),
        ("no items", witness(&[]), Error::NoItems),
        ("two items", witness(&[&signature, &signature]), Error::ItemCount { found: 2 }),
        ("three items", witness(&[&signature, b"a", b"b"]), Error::ItemCount { found: 3 }),
        ("an empty item", witness(&[b""]), Error::SignatureLength { found: 0 }),
        ("63 bytes", witness(&[&signature[..63]]), Error::SignatureLength { found: 63 }),
        ("66 bytes", witness(&[&[with(1), vec![1]].concat()]), Error::SignatureLength { found: 66 }),
        ("an annex", witness(&[&signature, b"\x50annex"]), Error::Annex),
        ("SIGHASH_DEFAULT in a byte", witness(&[&with(0)]), Error::HashType { found: 0 }),
        ("SIGHASH_NONE", witness(&[&with(2)]), Error::HashType { found: 2 }),
        ("SIGHASH_SINGLE", witness(&[&with(3)]), Error::HashType { found: 3 }),
        ("ANYONECANPAY", witness(&[&with(0x81)]), Error::HashType { found: 0x81 }),
        ("P2WPKH", witness(&[&der, &compressed]), type_of(OtherAddressType::WitnessPublicKeyHash)),
        ("P2WSH", witness(&[b"", &der, b"script"]), type_of(OtherAddressType::WitnessScriptHash)),
        (
            "a script of Taproot",
            witness(&[&signature, b"script", &control_block]),
            type_of(OtherAddressType::TaprootScript),
        ),
        ("a byte more", [witness(&[&signature]), vec![0]].concat(), Error::TrailingBytes { found: 1 }),
        ("bytes after no items", vec![0, 7, 7], Error::TrailingBytes { found: 2 }),
        ("a byte less", witness(&[&signature])[..65].to_vec(), Error::Truncated { missing: 1 }),
        ("no length", vec![1], Error::Truncated { missing: 1 }),
        ("half a length", vec![0xfd, 1], Error::Truncated { missing: 1 }),
        (
            "a count in three bytes",
            [vec![0xfd, 1, 0], vec![64; 65]].concat(),
            Error::NonCanonicalLength { at: 0 },
        ),
        (
            "a length in three bytes",
            [vec![1, 0xfd, 64, 0], vec![1; 64]].concat(),
            Error::NonCanonicalLength { at: 1 },
        ),
        (
            "a length in five bytes",
            [vec![1, 0xfe, 64, 0, 0, 0], vec![1; 64]].concat(),
            Error::NonCanonicalLength { at: 1 },
        ),
        (
            "a length in nine bytes",
            [vec![1, 0xff, 64, 0, 0, 0, 0, 0, 0, 0], vec![1; 64]].concat(),
            Error::NonCanonicalLength { at: 1 },
        ),
        (
            "a length of 2^64 − 1",
            [vec![1, 0xff], vec![0xff; 8]].concat(),
            Error::Truncated { missing: u64::MAX },
        ),
        (
            "a count of 2^64 − 1",
            [vec![0xff], vec![0xff; 8], vec![0; 9000]].concat(),
            Error::Truncated { missing: 1 },
        ),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(Bip322Signature::from_witness(&bytes), Err(expected), "{name}");
        assert_eq!(Bip322Signature::parse(&smp(&bytes)), Err(expected), "{name}, as text");
        assert!(expected.help().is_some_and(|help| !help.is_empty()), "{name}");
    }
    for (name, bytes) in [("bare", witness(&[&signature])), ("SIGHASH_ALL", witness(&[&with(1)]))] {
        assert_eq!(Bip322Signature::from_witness(&bytes).unwrap().to_witness(), bytes, "{name}");
    }
}

#[test]
fn refuses_every_text_but_a_simple_signature() {
    use Bip322SignatureError as Error;
    let good = smp(&witness(&[&[0x11; 64]]));
    assert_eq!(good.len(), 91);
    let bare = &good[3..];
    let variant = |found| Error::OtherVariant { found };
    let limit = Bip322Signature::MAX_TEXT_LEN;
    let cases = [
        (String::new(), Error::Empty),
        ("smp".to_owned(), Error::Truncated { missing: 1 }),
        (format!("ful{bare}"), variant(OtherVariant::Full)),
        (format!("pof{bare}"), variant(OtherVariant::ProofOfFunds)),
        (Base64::encode_string(&[vec![31], vec![7; 64]].concat()), variant(OtherVariant::Legacy)),
        (format!("{good}\n"), Error::NotBase64 { position: 92, found: '\n' }),
        (format!(" {good}"), Error::NotBase64 { position: 1, found: ' ' }),
        (good.replace('E', "é"), Error::NotBase64 { position: 8, found: 'é' }),
        (good.replace("ERER", "ER\u{202e}R"), Error::NotBase64 { position: 10, found: '\u{202e}' }),
        (good[..90].to_owned(), Error::Padding),
        (format!("{good}="), Error::Padding),
        (format!("{good}===="), Error::Padding),
        (format!("smp{}", "A".repeat(limit)), Error::TooLong { found: limit + 3 }),
        ("A".repeat(16 << 20), Error::TooLong { found: 16 << 20 }),
    ];
    for (text, expected) in cases {
        let start: String = text.chars().take(100).collect();
        assert_eq!(Bip322Signature::parse(&text), Err(expected), "{start}");
        assert!(expected.help().is_some(), "{start}");
    }
    // Base64 of something, whatever that is.
    for text in [format!("SMP{bare}"), format!("smp{good}"), format!("{bare}{bare}")] {
        assert!(Bip322Signature::parse(&text).is_err(), "{text}");
    }
    let read = Bip322Signature::parse(bare).unwrap();
    assert_eq!(Bip322Signature::parse(&good), Ok(read), "with and without the prefix");
    assert_eq!(read.to_string(), good, "written with it");
}

#[test]
fn refuses_private_keys_that_are_none() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let mut raw: [u8; 32] = hex::decode(order).unwrap().try_into().unwrap();
    for bad in [[0; 32], raw, [0xff; 32]] {
        let answer = Bip322PrivateKey::from_secret(Secret::copy_of(&bad));
        assert_eq!(answer.unwrap_err(), Bip322PrivateKeyError::OutOfRange);
    }
    raw[31] -= 1;
    assert!(Bip322PrivateKey::from_secret(Secret::copy_of(&raw)).is_ok());
}

#[test]
fn refuses_public_keys_that_are_no_points() {
    let p = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f";
    for bad in [[0; 32], [0xff; 32], hex::decode(p).unwrap().try_into().unwrap(), [5; 32]] {
        let answer = Bip322PublicKey::from_bytes(&bad);
        // Half of all numbers are points; of these four none is.
        assert_eq!(answer, Err(Bip322PublicKeyError::NotOnCurve), "{bad:?}");
    }
}

#[test]
fn refuses_every_text_but_the_wif_of_a_compressed_key() {
    let key = Bip322PrivateKey::generate().unwrap();
    let wif = key.dangerous_to_wif(WifNetwork::Mainnet).to_string();
    // Of the crate bitcoin, and so with checksums that hold.
    let theirs = bitcoin::PrivateKey::from_slice(key.dangerous_secret().expose(), bitcoin::NetworkKind::Main);
    let mut uncompressed = theirs.unwrap();
    uncompressed.compressed = false;
    let other_version = |version: u8, mark: u8| {
        let body = [[version].as_slice(), key.dangerous_secret().expose(), &[mark]].concat();
        bitcoin::base58::encode_check(&body)
    };
    let zero = bitcoin::base58::encode_check(&[[0x80].as_slice(), &[0; 32], &[1]].concat());
    let mut slip = wif.clone();
    slip.replace_range(30..31, if &wif[30..31] == "a" { "b" } else { "a" });
    for (text, expected) in [
        (String::new(), WifError::Length { found: 0 }),
        (wif[1..51].to_owned(), WifError::Length { found: 50 }),
        (format!("{wif}1"), WifError::Length { found: 53 }),
        ("x".repeat(1 << 24), WifError::Length { found: 1 << 24 }),
        (
            wif.replacen(&wif[9..10], "0", 1),
            WifError::NotBase58 { position: wif.find(&wif[9..10]).unwrap() + 1 },
        ),
        ("\u{e9}".repeat(26), WifError::NotBase58 { position: 1 }),
        (slip, WifError::Checksum),
        ("5".repeat(51), WifError::Checksum),
        (uncompressed.to_wif(), WifError::Uncompressed),
        (other_version(0x81, 1), WifError::Network { version: 0x81 }),
        (other_version(0x80, 2), WifError::Mark),
        (zero, WifError::Key(Bip322PrivateKeyError::OutOfRange)),
    ] {
        let error = Bip322PrivateKey::from_wif(&text).unwrap_err();
        assert_eq!(error, expected);
        assert!(error.help().is_some());
    }
}

#[test]
fn refuses_every_text_but_a_taproot_address() {
    use TaprootAddressError as Error;
    let good = "bc1pss0zhytly75awhm6x2hhvd5lnzv3vssgrf9axfheq8ldyzn88ges79fler";
    let segwit = |hrp: &str, version: u8, program: &[u8]| {
        let version = bech32::Fe32::try_from(version).unwrap();
        bech32::segwit::encode(bech32::Hrp::parse(hrp).unwrap(), version, program).unwrap()
    };
    for (text, expected) in [
        (String::new(), Error::NotAnAddress),
        ("164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywz".to_owned(), Error::NotAnAddress),
        (good.replacen('z', "y", 1), Error::NotAnAddress),
        (good.replacen("bc", "BC", 1), Error::NotAnAddress),
        (format!("{good}\n"), Error::NotAnAddress),
        (good.replacen('s', "ѕ", 1), Error::NotAnAddress),
        ("b".repeat(91), Error::TooLong { found: 91 }),
        ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l".to_owned(), Error::OtherType { version: 0, bytes: 20 }),
        (segwit("bc", 0, &[7; 32]), Error::OtherType { version: 0, bytes: 32 }),
        (segwit("bc", 1, &[7; 31]), Error::OtherType { version: 1, bytes: 31 }),
        (segwit("bc", 2, &[7; 32]), Error::OtherType { version: 2, bytes: 32 }),
        (segwit("ltc", 1, &[7; 32]), Error::Network { prefix: "ltc".to_owned() }),
        (segwit("bc", 1, &[0xff; 32]), Error::NotOnCurve),
    ] {
        let error = text.parse::<TaprootAddress>().unwrap_err();
        assert_eq!(error, expected, "{text}");
        assert!(error.help().is_some());
    }
    assert_eq!(good.parse::<TaprootAddress>().unwrap().network(), BitcoinNetwork::Mainnet);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_parses_has_one_spelling_but_for_the_prefix(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
        if let Ok(signature) = Bip322Signature::from_witness(&bytes) {
            prop_assert_eq!(signature.to_witness(), bytes);
        }
    }

    #[test]
    fn any_text_gets_an_answer(text in ".{0,100}", base64 in "(smp|ful|pof)?[A-Za-z0-9+/]{0,100}={0,2}") {
        for text in [text, base64] {
            if let Ok(signature) = Bip322Signature::parse(&text) {
                let written = signature.to_string();
                let prefixed = format!("smp{text}");
                prop_assert!(written == text || written == prefixed);
            }
            prop_assert!(Bip322PrivateKey::from_wif(&text).is_err());
            prop_assert!(text.parse::<TaprootAddress>().is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The crate bip322 shares nothing with ours but SHA-256.
    #[test]
    fn the_crate_bip322_and_ours_verify_each_other(
        raw in any::<[u8; 32]>(), message in any::<String>(), bit in 0..512_usize,
    ) {
        let key = Bip322PrivateKey::from_secret(Secret::copy_of(&raw)).unwrap();
        let address = PROVIDER.address(key.public_key(), BitcoinNetwork::Mainnet).to_string();
        let ours = PROVIDER.sign_message(&message, &key).unwrap();
        prop_assert!(bip322::verify_simple_encoded(&address, &message, &ours.to_string()).is_ok());

        let wif = key.dangerous_to_wif(WifNetwork::Mainnet);
        let theirs = bip322::sign_simple_encoded(&address, &message, &[wif.as_str()], None).unwrap();
        let theirs = Bip322Signature::parse(&theirs).unwrap();
        prop_assert_eq!(PROVIDER.verify_message(&theirs, &message, key.public_key()), Ok(()));

        let mut changed = ours.to_witness();
        changed[2 + bit / 8] ^= 1 << (bit % 8);
        let changed = Bip322Signature::from_witness(&changed).unwrap();
        prop_assert!(PROVIDER.verify_message(&changed, &message, key.public_key()).is_err());
        let longer = format!("{message}.");
        prop_assert!(PROVIDER.verify_message(&ours, &longer, key.public_key()).is_err());
        prop_assert!(bip322::verify_simple_encoded(&address, &message, &changed.to_string()).is_err());
    }
}

#[test]
fn a_raw_signature_has_a_form_of_its_own() {
    let (key, public) = PROVIDER.generate_keypair().unwrap();
    let signature = PROVIDER.sign_bip340(b"anything", &key).unwrap();
    let read = Bip340Signature::from_hex(&signature.to_string()).unwrap();
    assert_eq!(PROVIDER.verify_bip340(&read, b"anything", &public), Ok(()));
    assert!(PROVIDER.verify_bip340(&read, b"anything else", &public).is_err());
    assert!(Bip322Signature::parse(&signature.to_string()).is_err());
}

/// By npm's bip322-js 3.0.0 over `Hello World`, with the keys of `docs/vectors/custodian-v1.json`. It signs with
/// `SIGHASH_ALL`, and without the prefix; it verifies all signatures of that file.
const BIP322_JS: [&str; 5] = [
    "AUFebr+88GD73rPpEWs7hoJ1uKmaoCBbDL7PaF19Uh93CfmkLhfZL0S+z5VLoZT+PC02YhDV2Ch0qYj/h5hctdvEAQ==",
    "AUGq6dXKQcf2+SWZtpkpyhtOe3jQZFSrcr5NgXueSYTYjOlu4otlLctSme3BcP1xBm4A2xZWFnp4kP8ycTHf0yMdAQ==",
    "AUG5weBkEW+G6NDNVPnv2LWgv5Y6u/Oqyus7WhioJyyLpYZ7jrz4p+V3DbS+3znnOFfI/YhdUpU6LX5iGs+VUr42AQ==",
    "AUGbxNo11QgMVLBry3sIgJ19ntAdxmGquXaa/bpMjErF0UXlBNGbXV934K8E9c8/v0u4GtJiHIngGxGh2ObxoSROAQ==",
    "AUFfRrm/15zx+Zt+yc4mQH1FZkQNuRfvGKJlx+sKs1SoldWeKO//s4BDWQ+847WakiIZuPALytrNZAWr562eJLt7AQ==",
];

#[test]
fn verifies_what_bip322_js_has_signed() {
    let vectors = include_str!("../../../../docs/vectors/custodian-v1.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let keys = vectors["bip322_keys"].as_array().unwrap();
    assert_eq!(keys.len(), BIP322_JS.len());
    for (key, text) in keys.iter().zip(BIP322_JS) {
        let raw = hex::decode(key["public_key"].as_str().unwrap()).unwrap().try_into().unwrap();
        let public = Bip322PublicKey::from_bytes(&raw).unwrap();
        let signature = Bip322Signature::parse(text).unwrap();
        assert_eq!(PROVIDER.verify_message(&signature, "Hello World", &public), Ok(()));
        assert!(PROVIDER.verify_message(&signature, "Hello world", &public).is_err());
        assert_eq!(signature.to_string(), format!("smp{text}"));
    }
}

/// Reads lines `WIF ADDRESS MESSAGE_HEX SIGNATURE`; checks each signature, and prints one of its own.
const BTCLIB: &str = r"
import sys
from btclib.b58 import prv_key_data_from_wif
from btclib_wallet import bip322
for line in sys.stdin:
    wif, address, message, signature = line.split(' ')
    message = bytes.fromhex(message)
    bip322.assert_as_valid(message, address, signature.strip())
    assert not bip322.verify(message + b'.', address, signature.strip())
    print(bip322.sign(message, prv_key_data_from_wif(wif), address).b64encode())
";

#[test]
fn btclib_and_ours_verify_each_other() {
    const TEST: &str = "btclib_and_ours_verify_each_other";
    let Some(python) = tools::python() else {
        tools::skip(TEST, "there is no Python with xtask/requirements.txt");
        return;
    };
    let has_it = Command::new(&python).args(["-c", "import btclib_wallet.bip322"]).output().unwrap();
    if !has_it.status.success() {
        tools::skip(TEST, "that Python has no btclib_wallet");
        return;
    }
    let messages = ["", "Hello World", "\u{f6}\u{6d4b}\u{1f604}", &"long ".repeat(200), "line\nline"];
    let cases: Vec<_> = messages
        .into_iter()
        .zip(BitcoinNetwork::ALL.into_iter().cycle())
        .map(|(message, network)| (message, network, Bip322PrivateKey::generate().unwrap()))
        .collect();
    let mut lines = String::new();
    for (message, network, key) in &cases {
        let wif = key.dangerous_to_wif(match network {
            BitcoinNetwork::Mainnet => WifNetwork::Mainnet,
            BitcoinNetwork::Testnet | BitcoinNetwork::Regtest => WifNetwork::Test,
        });
        let address = PROVIDER.address(key.public_key(), *network);
        let signature = PROVIDER.sign_message(message, key).unwrap();
        lines += &format!("{} {address} {} {signature}\n", *wif, hex::encode(message));
    }
    // A hash is a message of 32 bytes.
    let (key, hash) = (Bip322PrivateKey::generate().unwrap(), [0x5a; 32]);
    let address = PROVIDER.address(key.public_key(), BitcoinNetwork::Mainnet);
    let signature = PROVIDER.sign(&hash, &key).unwrap();
    let wif = key.dangerous_to_wif(WifNetwork::Mainnet);
    lines += &format!("{} {address} {} {signature}\n", *wif, hex::encode(hash));

    let mut child = Command::new(&python)
        .args(["-c", BTCLIB])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<Bip322Signature> = theirs.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(theirs.len(), cases.len() + 1);
    for ((message, _, key), signature) in cases.iter().zip(&theirs) {
        assert_eq!(PROVIDER.verify_message(signature, message, key.public_key()), Ok(()), "{message:?}");
    }
    assert_eq!(PROVIDER.verify(theirs.last().unwrap(), &hash, key.public_key()), Ok(()));
}

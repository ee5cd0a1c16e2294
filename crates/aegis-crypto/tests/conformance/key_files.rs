//! Public key files: what other tools write is read, and everything else is refused by its name.

use aegis_crypto::{
    OpenSshFault, ParsedPublicKey, PemFault, PlainTextError, PrivateKeyKind, PublicKeyError,
    PublicKeyFileError, PublicKeyFormat, parse_public_key_file,
};
use base64ct::{Base64, Encoding};

const PEM: &str = include_str!("../vectors/keys/openssl-ed25519.pub.pem");
const SSH: &str = include_str!("../vectors/keys/ssh-ed25519.pub");
const RSA: &str = include_str!("../vectors/keys/rsa.pub.pem");
const RFC_8410: &str = include_str!("../vectors/keys/rfc8410.pub.pem");
const RFC_8410_HEX: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

fn parse(text: &str) -> Result<ParsedPublicKey, PublicKeyFileError> {
    parse_public_key_file(text.as_bytes())
}

#[test]
fn reads_pem_hex_and_openssh() {
    let pem = parse(RFC_8410).unwrap();
    assert_eq!((pem.format, pem.comment), (PublicKeyFormat::SpkiPem, None));
    assert_eq!(pem.key.to_hex(), RFC_8410_HEX);

    let hex = parse(RFC_8410_HEX).unwrap();
    assert_eq!((hex.key, hex.format, hex.comment), (pem.key, PublicKeyFormat::Hex, None));
    assert_eq!(parse(&RFC_8410_HEX.to_uppercase()).unwrap().key, pem.key);

    let ssh = parse(SSH).unwrap();
    assert_eq!((ssh.format, ssh.comment.as_deref()), (PublicKeyFormat::OpenSsh, Some("signer@example")));
}

#[test]
fn writes_the_bytes_that_openssl_and_ssh_keygen_write() {
    assert_eq!(parse(PEM).unwrap().key.to_spki_pem(), PEM);
    assert_eq!(parse(RFC_8410).unwrap().key.to_spki_pem(), RFC_8410);
    assert_eq!(parse(SSH).unwrap().key.to_openssh("signer@example"), SSH);
}

#[test]
fn reads_blanks_around_a_key_and_lines_that_end_in_cr_lf() {
    let key = parse(PEM).unwrap().key;
    let (hex, ssh) = (key.to_hex(), key.to_openssh("a comment of words"));
    for text in [
        PEM.to_owned(),
        PEM.trim_end().to_owned(),
        PEM.replace('\n', "\r\n"),
        format!("\n\n{PEM}\n \t\r\n"),
        // RFC 7468 §2: other widths than 64 are read.
        key_in_lines_of(20),
        key_in_lines_of(4),
        hex.clone(),
        format!("{hex}\n"),
        format!("{hex}\r\n"),
        format!("  {hex}\t\n\n"),
        ssh.clone(),
        ssh.trim_end().to_owned(),
        ssh.replace('\n', "\r\n"),
        ssh.replace("ssh-ed25519 ", "ssh-ed25519  \t"),
    ] {
        assert_eq!(parse(&text).map(|parsed| parsed.key), Ok(key), "{text:?}");
    }
}

#[test]
fn makes_comments_safe_for_a_terminal() {
    let key = parse(PEM).unwrap().key;
    let line = key.to_openssh("");
    assert_eq!(line.split(' ').count(), 2);
    for (comment, expected) in [
        ("", None),
        ("   ", None),
        ("ops key  7", Some("ops key  7".to_owned())),
        ("tab\there", Some("tab here".to_owned())),
        ("café", Some("caf?".to_owned())),
        ("\u{202e}live", Some("?live".to_owned())),
        (&"x".repeat(200), Some("x".repeat(128))),
    ] {
        let read = parse(&format!("{} {comment}\n", line.trim_end())).unwrap();
        assert_eq!((read.key, &read.comment), (key, &expected), "{comment:?}");
        assert_eq!(parse(&key.to_openssh(comment)).unwrap().comment, expected, "{comment:?}");
    }
    let not_utf8 = [line.trim_end().as_bytes(), b" \xff\xfe"].concat();
    assert_eq!(parse_public_key_file(&not_utf8).unwrap().comment.as_deref(), Some("??"));
    // A comment of ours never starts another line or moves the cursor.
    assert_eq!(key.to_openssh("a\nssh-rsa AAAA\r\x1b[2J").lines().count(), 1);
    assert!(key.to_openssh("a\n\x1b[2J").trim_end().chars().all(|c| matches!(c, ' '..='~')));
}

#[test]
fn refuses_private_keys_of_every_kind() {
    let raw = parse(PEM).unwrap().key.to_hex();
    let pkcs8 = include_str!("../vectors/keys/openssl-ed25519.pem");
    let der = "302e020100300506032b657004220420";
    let der = hex::decode(format!("{der}{raw}")).unwrap();
    for (file, kind) in [
        (pkcs8.as_bytes(), PrivateKeyKind::Pkcs8),
        (include_bytes!("../vectors/keys/rfc8410-v2.pem"), PrivateKeyKind::Pkcs8),
        (include_bytes!("../vectors/keys/rsa.pem"), PrivateKeyKind::Pkcs8),
        (include_bytes!("../vectors/keys/openssl-ed25519-encrypted.pem"), PrivateKeyKind::Encrypted),
        (include_bytes!("../vectors/keys/ssh-ed25519"), PrivateKeyKind::OpenSsh),
        (include_bytes!("../vectors/keys/ec-sec1.pem"), PrivateKeyKind::Sec1),
        (include_bytes!("../vectors/keys/rsa-pkcs1.pem"), PrivateKeyKind::OtherPem),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\n", PrivateKeyKind::Putty),
        (format!("{raw}{raw}\n").as_bytes(), PrivateKeyKind::Hex),
        (&der, PrivateKeyKind::Der),
        // A private key beside a public one, before or behind it, is still a private key.
        (format!("{PEM}{pkcs8}").as_bytes(), PrivateKeyKind::Pkcs8),
        (format!("{pkcs8}{PEM}").as_bytes(), PrivateKeyKind::Pkcs8),
        (format!("{SSH}{pkcs8}").as_bytes(), PrivateKeyKind::Pkcs8),
        (format!("{raw}\n{pkcs8}").as_bytes(), PrivateKeyKind::Pkcs8),
        (pkcs8.replace('\n', "\r\n").as_bytes(), PrivateKeyKind::Pkcs8),
    ] {
        let error = parse_public_key_file(file).unwrap_err();
        assert_eq!(error, PublicKeyFileError::PrivateKey { kind });
        let shown = format!("{error} {error:?} {:?}", error.help());
        assert!(!shown.contains(&raw[..8]) && !shown.contains("MC4CAQ"), "{shown}");
    }
}

#[test]
fn refuses_keys_of_other_algorithms_by_name() {
    for (file, name) in [
        (RSA, "RSA"),
        (include_str!("../vectors/keys/rsa-pkcs1.pub.pem"), "RSA"),
        (include_str!("../vectors/keys/ec.pub.pem"), "EC"),
        (include_str!("../vectors/keys/x25519.pub.pem"), "X25519"),
        (include_str!("../vectors/keys/x448.pub.pem"), "X448"),
        (include_str!("../vectors/keys/ed448.pub.pem"), "Ed448"),
        (include_str!("../vectors/keys/ssh-rsa.pub"), "ssh-rsa"),
        (include_str!("../vectors/keys/ssh-ecdsa.pub"), "ecdsa-sha2-nistp256"),
        ("sk-ssh-ed25519@openssh.com AAAA", "sk-ssh-ed25519@openssh.com"),
    ] {
        assert_eq!(parse(file), Err(PublicKeyFileError::OtherAlgorithm { algorithm: name.to_owned() }));
    }
}

#[test]
fn refuses_certificates() {
    for file in [
        include_str!("../vectors/keys/certificate.pem"),
        include_str!("../vectors/keys/certificate-request.pem"),
        include_str!("../vectors/keys/ssh-ed25519-cert.pub"),
    ] {
        assert_eq!(parse(file), Err(PublicKeyFileError::Certificate));
    }
}

#[test]
fn refuses_several_keys_in_one_file() {
    let hex = format!("{RFC_8410_HEX}\n");
    let files = [PEM, SSH, &hex];
    for first in files {
        for second in files {
            assert_eq!(parse(&format!("{first}{second}")).err(), expected(first, second), "{first}{second}");
        }
    }

    fn expected(first: &str, second: &str) -> Option<PublicKeyFileError> {
        // A block that does not stand first cannot be told from text before a block.
        let text_before_pem = second == PEM && first != PEM;
        Some(if text_before_pem {
            PublicKeyFileError::Pem(PemFault::Begin)
        } else {
            PublicKeyFileError::SeveralKeys
        })
    }
}

#[test]
fn refuses_anything_after_or_before_the_key() {
    let one_line = SSH.trim_end();
    for (text, error) in [
        (format!("{PEM}junk"), PublicKeyFileError::Trailing { len: 4 }),
        (format!("{}junk", PEM.trim_end()), PublicKeyFileError::Trailing { len: 4 }),
        (format!("{SSH}junk\n"), PublicKeyFileError::Trailing { len: 4 }),
        (format!("{SSH}# comment\n"), PublicKeyFileError::Trailing { len: 9 }),
        (format!("{RFC_8410_HEX} junk"), PublicKeyFileError::Trailing { len: 4 }),
        (format!("{RFC_8410_HEX}x"), PublicKeyFileError::Trailing { len: 1 }),
        (format!("{RFC_8410_HEX}\njunk"), PublicKeyFileError::Trailing { len: 4 }),
        (format!("Public key:\n{PEM}"), PublicKeyFileError::Pem(PemFault::Begin)),
        (format!("# {one_line}"), PublicKeyFileError::OpenSsh(OpenSshFault::WordsBefore)),
        (format!("no-pty {one_line}"), PublicKeyFileError::OpenSsh(OpenSshFault::WordsBefore)),
        (format!("host.example {one_line}"), PublicKeyFileError::OpenSsh(OpenSshFault::WordsBefore)),
        (format!("0x{RFC_8410_HEX}"), PublicKeyFileError::Unrecognised),
    ] {
        assert_eq!(parse(&text), Err(error), "{text:?}");
    }
}

#[test]
fn refuses_what_is_not_short_plain_text() {
    let sized = |len: usize| vec![b'a'; len];
    let spaced = |len: usize| [RFC_8410_HEX.as_bytes(), &vec![b'\n'; len - 64]].concat();
    let der = hex::decode(format!("302a300506032b6570032100{RFC_8410_HEX}")).unwrap();
    let with = |middle: &str| format!("{}{middle}{}", &RFC_8410_HEX[..10], &RFC_8410_HEX[10..]).into_bytes();
    assert!(parse_public_key_file(&spaced(8192)).is_ok(), "8 KiB exactly");
    for (bytes, error) in [
        (vec![], PlainTextError::Empty),
        (b" \r\n\t\n".to_vec(), PlainTextError::Empty),
        (spaced(8193), PlainTextError::TooLarge { found: 8193, limit: 8192 }),
        (sized(1 << 20), PlainTextError::TooLarge { found: 1 << 20, limit: 8192 }),
        ([b"\xef\xbb\xbf", PEM.as_bytes()].concat(), PlainTextError::ByteOrderMark),
        (b"\xff\xfe1\x009\x00".to_vec(), PlainTextError::ByteOrderMark),
        (b"\xfe\xff\x001\x009".to_vec(), PlainTextError::ByteOrderMark),
        (der, PlainTextError::Der),
        (vec![0; 32], PlainTextError::Nul { at: 0 }),
        (with("\0"), PlainTextError::Nul { at: 10 }),
        (with("\x1b"), PlainTextError::Control { at: 10, byte: 0x1b }),
        (with("\r"), PlainTextError::Control { at: 10, byte: b'\r' }),
        (with("\x7f"), PlainTextError::Control { at: 10, byte: 0x7f }),
        (format!("{RFC_8410_HEX}\r").into_bytes(), PlainTextError::Control { at: 64, byte: b'\r' }),
    ] {
        assert_eq!(parse_public_key_file(&bytes), Err(PublicKeyFileError::Text(error)));
    }
}

#[test]
fn refuses_damaged_pem() {
    let body = PEM.lines().nth(1).unwrap();
    let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    assert!(parse(&block("PUBLIC KEY", body)).is_ok());
    let other = |label: &str| PublicKeyFileError::OtherPem { label: label.to_owned() };
    for (text, error) in [
        ("-----BEGIN PUBLIC KEY-----".to_owned(), PublicKeyFileError::Pem(PemFault::End)),
        (PEM.replace("END PUBLIC", "END public"), PublicKeyFileError::Pem(PemFault::End)),
        (PEM.replace("-----END", "----END"), PublicKeyFileError::Pem(PemFault::End)),
        (PEM.replace("KEY-----\nM", "KEY----\nM"), PublicKeyFileError::Pem(PemFault::Begin)),
        (block("", body), PublicKeyFileError::Pem(PemFault::Begin)),
        (block("PUBLIC\tKEY", body), PublicKeyFileError::Pem(PemFault::Begin)),
        (block("public key", body), other("public key")),
        (block("PGP SIGNATURE", body), other("PGP SIGNATURE")),
        (block(&"A".repeat(500), body), other(&"A".repeat(64))),
        (block("PUBLIC KEY", ""), PublicKeyFileError::Pem(PemFault::Base64)),
        (block("PUBLIC KEY", &body[1..]), PublicKeyFileError::Pem(PemFault::Base64)),
        (block("PUBLIC KEY", &body.replace("MCow", "MC*w")), PublicKeyFileError::Pem(PemFault::Base64)),
        (block("PUBLIC KEY", &format!("{body}=")), PublicKeyFileError::Pem(PemFault::Base64)),
        (block("PUBLIC KEY", &format!("X-Header: 1\n\n{body}")), PublicKeyFileError::Pem(PemFault::Headers)),
        (PEM.replace("-----\nM", "-----\n\nM"), PublicKeyFileError::Pem(PemFault::Base64)),
    ] {
        assert_eq!(parse(&text), Err(error), "{text}");
    }
}

#[test]
fn refuses_spki_that_is_not_the_44_bytes_of_rfc_8410() {
    let good = format!("302a300506032b6570032100{RFC_8410_HEX}");
    assert!(parse(&pem_of(&good)).is_ok());
    for (what, der) in [
        ("NULL parameters", format!("302c300706032b65700500032100{RFC_8410_HEX}")),
        ("length in long form", format!("30812a300506032b6570032100{RFC_8410_HEX}")),
        ("length in two bytes", format!("3082002a300506032b6570032100{RFC_8410_HEX}")),
        ("indefinite length", format!("3080300506032b6570032100{RFC_8410_HEX}0000")),
        ("unused bits", format!("302a300506032b6570032101{RFC_8410_HEX}")),
        ("a byte short", good[..86].to_owned()),
        ("a key of 31 bytes", format!("3029300506032b6570032000{}", &RFC_8410_HEX[..62])),
        ("a key of 33 bytes", format!("302b300506032b6570032200{RFC_8410_HEX}00")),
        ("no bit string", "3007300506032b6570".to_owned()),
        ("an empty bit string", "3009300506032b65700300".to_owned()),
        ("an octet string", format!("302a300506032b6570042100{RFC_8410_HEX}")),
        ("a byte behind", format!("{good}00")),
        ("a byte inside, behind", format!("302b300506032b6570032100{RFC_8410_HEX}00")),
        ("length beyond the end", format!("307f300506032b6570032100{RFC_8410_HEX}")),
    ] {
        assert_eq!(parse(&pem_of(&der)), Err(PublicKeyFileError::Structure), "{what}");
    }
}

#[test]
fn refuses_damaged_openssh_lines() {
    let word = SSH.split(' ').nth(1).unwrap();
    let line = |blob: &[u8]| format!("ssh-ed25519 {} c\n", Base64::encode_string(blob));
    let good = Base64::decode_vec(word).unwrap();
    let edit = |at: usize, byte: u8| {
        let mut blob = good.clone();
        blob[at] = byte;
        line(&blob)
    };
    assert!(parse(&line(&good)).is_ok());
    let fault = PublicKeyFileError::OpenSsh;
    for (text, error) in [
        ("ssh-ed25519".to_owned(), fault(OpenSshFault::NoKey)),
        ("ssh-ed25519 \n".to_owned(), fault(OpenSshFault::NoKey)),
        (format!("ssh-ed25519 {word}="), fault(OpenSshFault::Base64)),
        (format!("ssh-ed25519 {}", &word[1..]), fault(OpenSshFault::Base64)),
        (format!("ssh-ed25519 \"{word}\""), fault(OpenSshFault::Base64)),
        (format!("ssh-ed25519 {word}\u{2028}"), fault(OpenSshFault::Base64)),
        (line(&good[..50]), fault(OpenSshFault::Structure)),
        (line(&[good.as_slice(), b"x"].concat()), fault(OpenSshFault::Structure)),
        (line(b""), fault(OpenSshFault::NoKey)),
        (edit(3, 12), fault(OpenSshFault::Structure)),
        (edit(0, 0xff), fault(OpenSshFault::Structure)),
        (edit(5, b'S'), fault(OpenSshFault::Structure)),
        (edit(18, 33), fault(OpenSshFault::Structure)),
    ] {
        let text = text.replace("ssh-ed25519  c", "ssh-ed25519 ");
        assert_eq!(parse(&text), Err(error), "{text:?}");
    }
    // The type in the line and the type in the base64 must agree.
    let rsa = include_str!("../vectors/keys/ssh-rsa.pub").replace("ssh-rsa", "ssh-ed25519");
    assert_eq!(parse(&rsa), Err(fault(OpenSshFault::Structure)));
}

#[test]
fn refuses_hex_of_another_length_and_words() {
    for found in [16, 62, 63, 65, 66, 88, 127, 129, 256] {
        assert_eq!(parse(&"a".repeat(found)), Err(PublicKeyFileError::HexLength { found }));
    }
    for text in ["beef", "hello", "{\"kty\":\"OKP\"}", "untrusted comment: key", "é"] {
        assert_eq!(parse(text), Err(PublicKeyFileError::Unrecognised), "{text}");
    }
    let rfc4716 = include_str!("../vectors/keys/ssh-ed25519.rfc4716.pub");
    assert_eq!(parse(rfc4716), Err(PublicKeyFileError::Unrecognised));
    assert_eq!(parse_public_key_file(&[0x80; 40]), Err(PublicKeyFileError::Unrecognised));
}

#[test]
fn refuses_bad_points_in_every_format() {
    for (raw, error) in [
        ("01".to_owned() + &"00".repeat(31), PublicKeyError::SmallOrder),
        ("ee".to_owned() + &"ff".repeat(30) + "7f", PublicKeyError::NonCanonical),
        ("02".to_owned() + &"00".repeat(31), PublicKeyError::NotOnCurve),
        (
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d".to_owned(),
            PublicKeyError::MixedOrder,
        ),
    ] {
        let blob = hex::decode(format!("0000000b7373682d6564323535313900000020{raw}")).unwrap();
        let ssh = format!("ssh-ed25519 {}", Base64::encode_string(&blob));
        let pem = pem_of(&format!("302a300506032b6570032100{raw}"));
        for file in [raw, ssh, pem] {
            assert_eq!(parse(&file), Err(PublicKeyFileError::Key(error)), "{file}");
        }
    }
}

fn pem_of(der_hex: &str) -> String {
    let body = Base64::encode_string(&hex::decode(der_hex).unwrap());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

fn key_in_lines_of(width: usize) -> String {
    let body: Vec<char> = PEM.lines().nth(1).unwrap().chars().collect();
    let lines: Vec<String> = body.chunks(width).map(|line| line.iter().collect()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

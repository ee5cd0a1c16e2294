//! Keys and signatures that other programs make, and other programs that check ours.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::{Host, PROGRAM, Run, clean};
use crate::tools;

#[test]
fn a_key_made_by_openssl_is_trusted_and_signs() {
    if !tools::need("a_key_made_by_openssl_is_trusted_and_signs", &["openssl"]) {
        return;
    }
    let host = Host::empty();
    tools::run(host.dir(), "openssl", &["genpkey", "-algorithm", "ed25519", "-out", "o.key"]);
    tools::run(host.dir(), "openssl", &["pkey", "-in", "o.key", "-pubout", "-out", "o.pub"]);
    fs::set_permissions(host.file("o.key"), fs::Permissions::from_mode(0o600)).unwrap();
    host.ok(&["keys", "add", "o.pub"]);
    host.refuses(&["keys", "add", "o.key"], "private");
    host.ok(&["policy", "sign", "policy.conf", "-o", "o.signed", "--policy-version", "1", "--key", "o.key"]);
    host.ok(&["policy", "apply", "o.signed", "--require-signature"]);
    assert_eq!(host.counter(), Some(1));
}

#[test]
fn a_key_made_by_ssh_keygen_is_trusted() {
    if !tools::need("a_key_made_by_ssh_keygen_is_trusted", &["ssh-keygen"]) {
        return;
    }
    let host = Host::empty();
    tools::run(
        host.dir(),
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", "someone@example", "-f", "s"],
    );
    let added = host.ok(&["keys", "add", "s.pub", "--json"]).json();
    assert_eq!(added["format"], "openssh");
    host.refuses(&["keys", "add", "s"], "private");
    tools::run(host.dir(), "ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-f", "e"]);
    host.refuses(&["keys", "add", "e.pub"], "");
    // What we print is the key that OpenSSH made.
    let shown = host.ok(&["keys", "show", added["id"].as_str().unwrap(), "--json"]).json();
    let made = fs::read_to_string(host.file("s.pub")).unwrap();
    let blob = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(blob(shown["openssh"].as_str().unwrap()), blob(&made));
}

#[test]
fn openssl_and_openssh_read_the_keys_that_we_make() {
    if !tools::need("openssl_and_openssh_read_the_keys_that_we_make", &["openssl", "ssh-keygen"]) {
        return;
    }
    let host = Host::empty();
    let id = host.new_key("ours");
    let private =
        tools::run(host.dir(), "openssl", &["pkey", "-in", "signer/ours.key", "-pubout", "-outform", "DER"]);
    let public = tools::run(
        host.dir(),
        "openssl",
        &["pkey", "-pubin", "-in", "signer/ours.pub", "-pubout", "-outform", "DER"],
    );
    assert_eq!(private, public);
    assert_eq!(aegis_crypto::sha256(&public[public.len() - 32..]).to_string(), id);
    // What openssl signs with our key is taken as a proof of possession.
    let challenge = host.ok(&["keys", "challenge", "signer/ours.pub"]).stdout;
    fs::write(host.file("challenge"), challenge).unwrap();
    let sign = ["pkeyutl", "-sign", "-rawin", "-in", "challenge", "-inkey", "signer/ours.key"];
    let signature: String =
        tools::run(host.dir(), "openssl", &sign).iter().map(|byte| format!("{byte:02x}")).collect();
    host.ok(&["keys", "add", "signer/ours.pub", "--proof", &signature]);
    let shown = host.ok(&["keys", "show", &id, "--json"]).json();
    fs::write(host.file("line.pub"), shown["openssh"].as_str().unwrap()).unwrap();
    let fingerprint = tools::run(host.dir(), "ssh-keygen", &["-l", "-f", "line.pub"]);
    let fingerprint = String::from_utf8(fingerprint).unwrap();
    assert!(fingerprint.starts_with("256 SHA256:") && fingerprint.contains("ED25519"), "{fingerprint}");
}

/// Checks line 2 of a bundle without any code of ours: DSSE 1.0 and Ed25519 from `cryptography`, and `securesystemslib`.
const VERIFIER: &str = r#"
import base64, hashlib, json, sys
from cryptography.hazmat.primitives.serialization import load_pem_public_key, Encoding, PublicFormat
from cryptography.exceptions import InvalidSignature
bundle, public = open(sys.argv[1], 'rb').read(), open(sys.argv[2], 'rb').read()
magic, line, separator, policy = bundle.split(b'\n', 3)
assert magic == b'AEGIS-POLICY-BUNDLE-V2' and separator == b'---'
envelope = json.loads(line)
payload = base64.b64decode(envelope['payload'], validate=True)
kind = envelope['payloadType'].encode()
assert kind == b'application/vnd.aegis.policy-manifest.v2+json'
pae = b'DSSEv1 %d %s %d %s' % (len(kind), kind, len(payload), payload)
key = load_pem_public_key(public)
raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
mine = [s for s in envelope['signatures'] if s['keyid'] == hashlib.sha256(raw).hexdigest()]
assert len(mine) == 1
key.verify(base64.b64decode(mine[0]['sig'], validate=True), pae)
try:
    key.verify(base64.b64decode(mine[0]['sig']), pae + b' ')
    sys.exit('it verifies anything')
except InvalidSignature:
    pass
manifest = json.loads(payload)
assert manifest['policy_sha256'] == hashlib.sha256(policy).hexdigest()
assert manifest['policy_size'] == len(policy)
done = ['cryptography']
try:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey
except ImportError:
    pass
else:
    # It takes apart what it is given.
    dsse = Envelope.from_dict(json.loads(line))
    assert dsse.pae() == pae
    sslib = SSlibKey(mine[0]['keyid'], 'ed25519', 'ed25519', {'public': raw.hex()})
    assert len(dsse.verify([sslib], 1)) == 1
    done.append('securesystemslib')
print(manifest['policy_version'], *done)
"#;

/// A Python that has `cryptography`.
fn python(test: &str) -> Option<PathBuf> {
    let python =
        std::env::var_os("AEGIS_TEST_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let ready = Command::new(&python)
        .args(["-c", "import cryptography"])
        .output()
        .is_ok_and(|run| run.status.success());
    (ready || tools::skip(test, "python has no module cryptography")).then_some(python)
}

#[test]
fn an_independent_dsse_implementation_verifies_our_bundles() {
    let Some(python) = python("an_independent_dsse_implementation_verifies_our_bundles") else { return };
    let host = Host::with_key();
    host.new_key("second");
    let bundle = host.sign(7, "first");
    host.ok(&["policy", "cosign", "v7.signed", "--key", "signer/second.key"]);
    for key in ["first", "second"] {
        let public = host.file(&format!("signer/{key}.pub"));
        let run = Command::new(&python).args(["-c", VERIFIER]).arg(&bundle).arg(&public).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let said = String::from_utf8(run.stdout).unwrap();
        assert!(said.starts_with("7 cryptography"), "{said}");
        if std::env::var_os("AEGIS_TEST_PYTHON").is_some() {
            assert!(said.contains("securesystemslib"), "{said}");
        }
    }
    // It can say no.
    let changed = fs::read_to_string(&bundle).unwrap().replacen("/etc/shadow", "/etc/shadov", 1);
    fs::write(&bundle, changed).unwrap();
    let run = Command::new(&python)
        .args(["-c", VERIFIER])
        .arg(&bundle)
        .arg(host.file("signer/first.pub"))
        .output()
        .unwrap();
    assert!(!run.status.success());
}

/// Runs `scripts/sign_policy_external.sh`.
fn script(host: &Host, arguments: &[&str]) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/sign_policy_external.sh");
    let mut command = Command::new(script);
    clean(&mut command).env("AEGISBPF", PROGRAM).env("AEGIS_STATE_DIR", host.rooted("var/lib/aegisbpf"));
    command.env("AEGIS_CONFIG_DIR", host.rooted("etc/aegisbpf")).args(arguments).current_dir(host.dir());
    Run::of(command)
}

#[test]
fn a_signature_by_openssl_through_the_script_applies() {
    if !tools::need("a_signature_by_openssl_through_the_script_applies", &["openssl", "od", "bash"]) {
        return;
    }
    let host = Host::in_force(&[5]);
    // `openssl pkeyutl -rawin` wants a file, so the wrapper keeps stdin in one.
    let wrapper = "#!/bin/sh\nset -eu\nm=$(mktemp)\ntrap 'rm -f \"$m\"' EXIT\ncat > \"$m\"\n\
                   openssl pkeyutl -sign -rawin -in \"$m\" -inkey signer/first.key | od -An -v -tx1 | tr -d ' \\n'\n";
    fs::write(host.file("wrapper"), wrapper).unwrap();
    fs::set_permissions(host.file("wrapper"), fs::Permissions::from_mode(0o755)).unwrap();
    let common = [
        "--policy",
        "policy.conf",
        "--public-key",
        "signer/first.pub",
        "--output",
        "out.signed",
        "--sign-command",
    ];
    let run = script(&host, &[&common[..], &["./wrapper"]].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    host.ok(&["policy", "apply", "out.signed", "--require-signature"]);
    assert_eq!(host.counter(), Some(6), "without a number it is one more than the counter of this host");
    let run =
        script(&host, &[&common[..], &["./wrapper", "--policy-version", "9", "--expires", "30d"]].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    host.ok(&["policy", "apply", "out.signed", "--require-signature"]);
    assert_eq!(host.counter(), Some(9));
    // Signers that are wrong: nothing is written.
    fs::remove_file(host.file("out.signed")).unwrap();
    for (name, command) in [
        ("fails", "false"),
        ("says nothing", "true"),
        ("says too much", "yes"),
        ("junk", "echo junk"),
        ("127 characters", "printf '%0127d' 0"),
        ("zeros", "printf '%0128d' 0"),
        ("another key's", "cat >/dev/null; printf 'ab%.0s' $(seq 64)"),
        ("does not exist", "./no-such-program"),
    ] {
        let run = script(&host, &[&common[..], &[command]].concat());
        run.is_refusal_for_any_reason(name);
        assert!(!host.file("out.signed").exists(), "{name}");
    }
    let missing = script(&host, &["--policy", "policy.conf"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
}

//! Settings from variables, and credentials from every part of the standard chain. The variables of a process are
//! read by the SDK itself, so each case is a process.

use std::error::Error as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aegis_crypto::HybridPrivateKey;
use aegis_kek::aws_kms::{KMS_CONTEXT_NAME, KmsAccess, KmsWrap, provision};
use aegis_kek::{AwsKmsKekProvider, KekProvider, Variables};
use serde_json::json;
use tempfile::TempDir;
use test_services::http::Message;
use test_services::kms::REGION;
use test_services::proxy::{Fate, Proxy};
use test_services::scratch;

use super::forms::base64;
use super::logs::traces;
use super::{access, access_as, moto, strict_moto, wrapped};

const CHILD: &str = "AEGIS_TEST_KMS_CHILD";

/// What a source of credentials gives, where no server checks it.
const FAKE_ID: &str = "AKIAOFASOURCE";
const FAKE_SECRET: &str = "THE+SECRET/OF+A/SOURCE+OF+CREDENTIALS";

/// Loads a KEK in a process with these variables that logs everything, and gives what it said. No secret may be there.
pub(super) fn child(private: &HybridPrivateKey, wrapped: &[u8], variables: &[(&str, &str)]) -> String {
    let said = say("provider", private, wrapped, variables);
    let secrets =
        variables.iter().filter(|(name, _)| *name == "AWS_SECRET_ACCESS_KEY").map(|(_, value)| *value);
    for secret in secrets.filter(|secret| *secret != "test").chain([FAKE_SECRET, "FAKE+TOKEN"]) {
        assert!(!said.contains(secret), "{secret} was logged");
    }
    assert!(traces(private).iter().all(|trace| !said.contains(trace)), "the private key was logged");
    said
}

/// As [`child`], but for what it may say. `part` is `provider`, or `sdk` to ask without us.
pub(super) fn say(
    part: &str,
    private: &HybridPrivateKey,
    wrapped: &[u8],
    variables: &[(&str, &str)],
) -> String {
    let home = scratch::dir();
    // This very program, also if a build has put another in its place meanwhile.
    let output = Command::new("/proc/self/exe")
        .args(["--exact", "kms::chain::is_the_other_process", "--ignored", "--nocapture", "--test-threads=1"])
        .env_clear()
        .env(CHILD, part)
        // The SDK prints answers then, unless somebody stops it.
        .env("LOG_SENSITIVE_BODIES", "true")
        .env("HOME", home.path())
        .env("PATH", std::env::var_os("PATH").unwrap())
        // No test asks the instance that it may run on.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AEGIS_KMS_WRAPPED_PRIVATE_KEY", base64(wrapped))
        .env("AEGIS_MASTER_KEK_PUBLIC", base64(private.public_key().as_bytes()))
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn is_the_other_process() {
    let Ok(part) = std::env::var(CHILD) else { return };
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).init();
    if part == "sdk" {
        return ask_without_us();
    }
    let before = threads();
    let provider = AwsKmsKekProvider::from_environment(&Variables::of_process()).unwrap();
    assert_eq!(threads(), before, "a provider that was not asked has no thread");
    match provider.load() {
        Ok(kek) => println!("loaded {}", kek.key_id()),
        Err(error) => {
            println!("failed: {error}: {}", error.source().unwrap());
            println!("help: {}", error.help().unwrap());
        }
    }
    // A thread that looked up a name may take a moment to end.
    let end = Instant::now() + Duration::from_secs(20);
    while threads() > before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("threads: {}", if threads() <= before { "as before" } else { "more" });
}

fn ask_without_us() {
    use base64ct::Encoding as _;
    let wrapped = std::env::var("AEGIS_KMS_WRAPPED_PRIVATE_KEY").unwrap();
    let wrapped = aws_sdk_kms::primitives::Blob::new(base64ct::Base64::decode_vec(&wrapped).unwrap());
    let public = Variables::of_process().public_key().unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::v2026_01_12()).await;
        let call = aws_sdk_kms::Client::new(&config).decrypt().ciphertext_blob(wrapped);
        let call = call.encryption_context(KMS_CONTEXT_NAME, public.key_id().to_string());
        call.key_id(std::env::var("AEGIS_KMS_KEY_ID").unwrap()).send().await.unwrap();
    });
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[track_caller]
fn assert_loads(private: &HybridPrivateKey, said: &str) {
    assert!(said.contains(&format!("loaded {}", private.public_key().key_id())), "{said}");
    assert!(said.contains("threads: as before"), "{said}");
}

/// A wrapped KEK of a user whom the server knows, and who has no one else's permissions.
struct Mine {
    url: String,
    key: String,
    id: String,
    secret: String,
    private: HybridPrivateKey,
    wrapped: Vec<u8>,
    dir: TempDir,
}

impl Mine {
    fn new(test: &str) -> Option<Self> {
        let moto = strict_moto(test)?;
        let url = moto.kms.url();
        let (private, wrapped) = wrapped(access_as(&url, &moto.key, &moto.allowed), KmsWrap::Direct);
        let (id, secret) = (moto.allowed.access_key_id.clone(), moto.allowed.secret_access_key.clone());
        Some(Self { url, key: moto.key.clone(), id, secret, private, wrapped, dir: scratch::dir() })
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn assert_loads(&self, variables: &[(&str, &str)]) {
        let said = child(&self.private, &self.wrapped, variables);
        assert_loads(&self.private, &said);
    }
}

/// A wrapped KEK in a server that takes any credentials, and a proxy that sees which. moto knows no session tokens but
/// those that it gave out itself.
struct Anyone {
    asked: Proxy,
    key: String,
    private: HybridPrivateKey,
    wrapped: Vec<u8>,
}

impl Anyone {
    fn new(test: &str) -> Option<Self> {
        let kms = moto(test)?;
        let key = kms.key(REGION);
        let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
        Some(Self { asked: Proxy::before(kms.address(), |_, _| Fate::Pass), key, private, wrapped })
    }

    /// Checks that the KEK is loaded, with the credentials of [`fake_credentials`].
    #[track_caller]
    fn assert_loads(&self, key: &str, variables: &[(&str, &str)]) {
        let url = self.asked.url();
        let variables = [&[("AEGIS_KMS_KEY_ID", key), ("AWS_ENDPOINT_URL_KMS", &*url)], variables].concat();
        let said = child(&self.private, &self.wrapped, &variables);
        assert_loads(&self.private, &said);
        let [request] = &*self.asked.seen() else { panic!("{said}") };
        assert!(request.header("Authorization").unwrap().contains(&format!("Credential={FAKE_ID}/")));
        assert_eq!(request.header("x-amz-security-token"), Some("FAKE+TOKEN"));
    }
}

/// What a source of credentials over HTTP gives.
fn fake_credentials() -> String {
    json!({
        "Code": "Success",
        "AccessKeyId": FAKE_ID,
        "SecretAccessKey": FAKE_SECRET,
        "Token": "FAKE+TOKEN",
        "Expiration": "2099-01-01T00:00:00Z",
    })
    .to_string()
}

#[test]
fn takes_credentials_from_variables() {
    let Some(mine) = Mine::new("takes_credentials_from_variables") else { return };
    mine.assert_loads(&[
        ("AEGIS_KMS_KEY_ID", &mine.key),
        ("AWS_ENDPOINT_URL_KMS", &mine.url),
        ("AWS_ACCESS_KEY_ID", &mine.id),
        ("AWS_SECRET_ACCESS_KEY", &mine.secret),
    ]);
}

/// As a library gets them, without a process of its own.
#[test]
fn takes_everything_from_variables_that_are_given() {
    let Some(mine) = Mine::new("takes_everything_from_variables_that_are_given") else { return };
    let (public, wrapped) = (base64(mine.private.public_key().as_bytes()), base64(&mine.wrapped));
    let id = mine.key.rsplit('/').next().unwrap();
    let given = [
        ("AEGIS_KMS_KEY_ID", id),
        ("AEGIS_KMS_WRAPPED_PRIVATE_KEY", &wrapped),
        ("AEGIS_MASTER_KEK_PUBLIC", &public),
        ("AWS_ENDPOINT_URL", &mine.url),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", &mine.id),
        ("AWS_SECRET_ACCESS_KEY", &mine.secret),
    ];
    let provider = AwsKmsKekProvider::from_environment(&Variables::of_pairs(given)).unwrap();
    super::assert_same(&provider.load().unwrap(), &mine.private);
}

#[test]
fn takes_a_profile_with_its_region_and_endpoint() {
    let Some(mine) = Mine::new("takes_a_profile_with_its_region_and_endpoint") else { return };
    let config = mine.file(
        "config",
        &format!("[profile aegis]\nregion = {REGION}\nservices = here\n[services here]\nkms =\n  endpoint_url = {}\n", mine.url),
    );
    let credentials = mine.file(
        "credentials",
        &format!("[aegis]\naws_access_key_id = {}\naws_secret_access_key = {}\n", mine.id, mine.secret),
    );
    mine.assert_loads(&[
        ("AEGIS_KMS_KEY_ID", mine.key.rsplit('/').next().unwrap()),
        ("AWS_PROFILE", "aegis"),
        ("AWS_CONFIG_FILE", &config),
        ("AWS_SHARED_CREDENTIALS_FILE", &credentials),
    ]);
}

#[test]
fn takes_credentials_from_a_program() {
    let Some(mine) = Mine::new("takes_credentials_from_a_program") else { return };
    let answer = json!({ "Version": 1, "AccessKeyId": mine.id, "SecretAccessKey": mine.secret });
    let answer = mine.file("answer", &answer.to_string());
    let config = mine.file("config", &format!("[default]\ncredential_process = cat {answer}\n"));
    mine.assert_loads(&[
        ("AEGIS_KMS_KEY_ID", &mine.key),
        ("AWS_ENDPOINT_URL_KMS", &mine.url),
        ("AWS_CONFIG_FILE", &config),
    ]);
}

#[test]
fn takes_credentials_from_a_container() {
    let Some(anyone) = Anyone::new("takes_credentials_from_a_container") else { return };
    let agent = Proxy::before(([127, 0, 0, 1], 1).into(), |_, request| {
        let trusted =
            request.target() == ("GET", "/role") && request.header("Authorization") == Some("agent");
        assert!(trusted, "{request:?}");
        Fate::Answer(Message::answer(200, "application/json", fake_credentials().as_bytes()))
    });
    anyone.assert_loads(
        &anyone.key,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/role", agent.url())),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agent"),
        ],
    );
    assert_eq!(agent.seen().len(), 1);
}

#[test]
fn takes_credentials_and_region_from_the_instance() {
    let Some(anyone) = Anyone::new("takes_credentials_and_region_from_the_instance") else { return };
    let instance = Proxy::before(([127, 0, 0, 1], 1).into(), |_, request| {
        let credentials = fake_credentials();
        let body = match request.target() {
            ("PUT", "/latest/api/token") => "a-token",
            ("GET", "/latest/meta-data/placement/region") => REGION,
            ("GET", path) if path.trim_end_matches('/').ends_with("/security-credentials") => "role",
            ("GET", path) if path.ends_with("/security-credentials/role") => &credentials,
            _ => return Fate::Answer(Message::answer(404, "text/plain", b"")),
        };
        let mut answer = Message::answer(200, "text/plain", body.as_bytes());
        answer.set("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        Fate::Answer(answer)
    });
    anyone.assert_loads(
        anyone.key.rsplit('/').next().unwrap(),
        &[("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.url())],
    );
}

/// As a pod in EKS gets them (IRSA): moto's STS takes the token of the pod.
#[test]
fn takes_credentials_for_a_web_identity() {
    let Some(anyone) = Anyone::new("takes_credentials_for_a_web_identity") else { return };
    let Some(kms) = moto("takes_credentials_for_a_web_identity") else { return };
    let dir = scratch::dir();
    let token = dir.path().join("token");
    fs::write(&token, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwb2QifQ.").unwrap();
    let sts = Proxy::before(kms.address(), |_, _| Fate::Pass);
    let said = child(
        &anyone.private,
        &anyone.wrapped,
        &[
            ("AEGIS_KMS_KEY_ID", &anyone.key),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_KMS", &anyone.asked.url()),
            ("AWS_ENDPOINT_URL_STS", &sts.url()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/aegis"),
            ("AWS_ROLE_SESSION_NAME", "pod"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", text(&token)),
        ],
    );
    assert_loads(&anyone.private, &said);
    let assumed = String::from_utf8(sts.seen()[0].body.clone()).unwrap();
    assert!(assumed.contains("Action=AssumeRoleWithWebIdentity"), "{assumed}");
    assert!(anyone.asked.seen()[0].header("x-amz-security-token").is_some());
}

/// A session of `aws sso login`, as it is left in the cache.
#[test]
fn takes_credentials_of_an_sso_session() {
    let Some(anyone) = Anyone::new("takes_credentials_of_an_sso_session") else { return };
    let portal = Proxy::before(([127, 0, 0, 1], 1).into(), |_, request| {
        assert_eq!(request.header("x-amz-sso_bearer_token"), Some("bearer"), "{request:?}");
        let answer = json!({ "roleCredentials": {
            "accessKeyId": FAKE_ID,
            "secretAccessKey": FAKE_SECRET,
            "sessionToken": "FAKE+TOKEN",
            "expiration": 4_070_908_800_000_i64,
        }});
        Fate::Answer(Message::answer(200, "application/json", answer.to_string().as_bytes()))
    });
    let home = scratch::dir();
    let config = home.path().join("config");
    fs::write(
        &config,
        format!(
            "[default]\nsso_session = work\nsso_account_id = 111122223333\nsso_role_name = aegis\n\
             [sso-session work]\nsso_region = {REGION}\nsso_start_url = https://work.example.com/start\n"
        ),
    )
    .unwrap();
    let cache = home.path().join(".aws/sso/cache");
    fs::create_dir_all(&cache).unwrap();
    let token = json!({
        "accessToken": "bearer",
        "expiresAt": "2099-01-01T00:00:00Z",
        "region": REGION,
        "startUrl": "https://work.example.com/start",
    });
    // The file is named by the SHA-1 of the session's name.
    fs::write(cache.join(format!("{}.json", sha1_hex("work"))), token.to_string()).unwrap();
    anyone.assert_loads(
        &anyone.key,
        &[
            ("AWS_ENDPOINT_URL_SSO", &portal.url()),
            ("AWS_CONFIG_FILE", text(&config)),
            ("HOME", text(home.path())),
        ],
    );
    assert_eq!(portal.seen().len(), 1);
}

fn sha1_hex(text: &str) -> String {
    let output = Command::new("sh").args(["-c", "printf %s \"$0\" | sha1sum", text]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..40].to_owned()
}

#[test]
fn says_that_there_are_no_credentials_or_no_region() {
    let private = HybridPrivateKey::generate().unwrap();
    let nobody = "http://127.0.0.1:1";
    let said = child(
        &private,
        &[1; 64],
        &[("AEGIS_KMS_KEY_ID", "alias/aegis"), ("AWS_REGION", REGION), ("AWS_ENDPOINT_URL_KMS", nobody)],
    );
    assert!(said.contains("no AWS credentials were found"), "{said}");
    assert!(said.contains("AWS_PROFILE"), "{said}");

    let said = child(
        &private,
        &[1; 64],
        &[
            ("AEGIS_KMS_KEY_ID", "alias/aegis"),
            ("AWS_ENDPOINT_URL_KMS", nobody),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ],
    );
    assert!(said.contains("no AWS region is set for the KMS key alias/aegis"), "{said}");
    assert!(said.contains("AWS_REGION"), "{said}");
}

/// What the sources print may be a secret, and is not passed on.
#[test]
fn says_that_a_source_of_credentials_failed_and_not_what_it_printed() {
    let private = HybridPrivateKey::generate().unwrap();
    let dir = scratch::dir();
    let config = |text: &str| {
        let path = dir.path().join("config");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (text, expected) in [
        ("[default]\ncredential_process = echo LEAK; exit 1\n", "could not be loaded"),
        ("[default]\ncredential_process = echo '{\"SecretAccessKey\":\"LEAK\"}'\n", "could not be loaded"),
        (
            "[default]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = gone\n",
            "no AWS credentials were found",
        ),
    ] {
        let config = config(text);
        let said = child(
            &private,
            &[1; 64],
            &[
                ("AEGIS_KMS_KEY_ID", "alias/aegis"),
                ("AWS_REGION", REGION),
                ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1"),
                ("AWS_CONFIG_FILE", &config),
            ],
        );
        assert!(said.contains(expected), "{text}: {said}");
        assert!(!said.contains("LEAK"), "{said}");
    }
}

/// What `aegis kek provision` and the variables do together.
#[test]
fn provisions_with_access_from_variables() {
    let Some(kms) = moto("provisions_with_access_from_variables") else { return };
    let key = kms.key(REGION);
    let variables = Variables::of_pairs([
        ("AWS_ENDPOINT_URL", "http://not-used.invalid"),
        ("AWS_ENDPOINT_URL_KMS", &*kms.url()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]);
    let access = || KmsAccess::from_environment(&key, &variables).unwrap();
    let private = HybridPrivateKey::generate().unwrap();
    let wrapped = provision(access(), &private, KmsWrap::DataKey).unwrap();
    super::assert_same(&super::load(access(), &private, &wrapped).unwrap(), &private);
}

/// A path that is text.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

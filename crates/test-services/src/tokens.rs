//! PKCS#11 tokens in directories of their own, and processes that may use them.
//!
//! | token | module | wraps by | told where it is by |
//! |---|---|---|---|
//! | SoftHSM2 | `softhsm2`, Debian | 0x210A in `C_WrapKey`, there RFC 5649 | `SOFTHSM2_CONF` |
//! | NSS softokn | `libnss3`, Debian | 0x210B in `C_Encrypt` | its initialisation string |
//! | kryoptic | whatever `AEGIS_KRYOPTIC_LIB` names | 0x210B in both | `KRYOPTIC_CONF` |
//!
//! SoftHSM2 and kryoptic read a variable of the process, and a module is one for a process. So each test with a token
//! runs in a process of its own: [`on`] starts the test program once more, for this test alone, with the variables set.
//!
//! A test can use the token through the injecting module ([`Token::injecting_module`], the crate `pkcs11-injector`), and
//! tell that by [`Token::inject`] which calls are to fail.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::{scratch, tools};

/// The PIN of the user of every token.
pub const PIN: &str = "user-48151623";
/// The PIN of the security officer.
pub const SO_PIN: &str = "so-42108642";

/// In the environment of a process that [`on`] started: the directory of its token.
const DIR: &str = "AEGIS_TEST_TOKEN_DIR";

const SOFTHSM2: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
const SOFTOKN: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
    "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
    "/usr/lib/libsoftokn3.so",
];

/// Whose token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// SoftHSM2.
    SoftHsm2,
    /// Mozilla's NSS.
    Nss,
    /// kryoptic, if `AEGIS_KRYOPTIC_LIB` names its library.
    Kryoptic,
}

impl Maker {
    /// The module, if it is installed.
    pub fn module(self) -> Option<PathBuf> {
        let places: Vec<PathBuf> = match self {
            Self::SoftHsm2 => SOFTHSM2.iter().map(PathBuf::from).collect(),
            Self::Nss => SOFTOKN.iter().map(PathBuf::from).collect(),
            Self::Kryoptic => std::env::var_os("AEGIS_KRYOPTIC_LIB").map(PathBuf::from).into_iter().collect(),
        };
        places.into_iter().find(|path| path.is_file())
    }

    /// The label of its token.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SoftHsm2 => "aegis-soft",
            // It cannot be chosen.
            Self::Nss => "NSS Certificate DB",
            Self::Kryoptic => "aegis-kry",
        }
    }

    /// Whether the token can be made here. Says so otherwise.
    fn is_here(self, test: &str) -> bool {
        if self == Self::Kryoptic && std::env::var_os("AEGIS_KRYOPTIC_LIB").is_none() {
            // No package has it, so nobody is asked to install it.
            let _ = writeln!(
                std::io::stderr(),
                "OPTIONAL {test}: AEGIS_KRYOPTIC_LIB does not name kryoptic's library"
            );
            return false;
        }
        let (programs, library): (&[&str], &str) = match self {
            Self::SoftHsm2 => (&["softhsm2-util"], "SoftHSM2"),
            Self::Nss => (&["certutil"], "NSS softokn"),
            Self::Kryoptic => (&["pkcs11-tool"], "AEGIS_KRYOPTIC_LIB, kryoptic's library,"),
        };
        tools::need(test, programs)
            && (self.module().is_some() || tools::skip(test, &format!("{library} is not installed")))
    }
}

/// A token in a directory.
#[derive(Clone)]
pub struct Token {
    maker: Maker,
    dir: PathBuf,
}

/// Runs `body` in a process of its own, with a new token. Call it as the only thing in a test, with a closure.
///
/// In that process `body` runs as the test itself does, and its failure is the test's. The token's directory is removed
/// with the process.
pub fn on<F: FnOnce(&Token)>(maker: Maker, body: F) {
    // The path of the closure is that of the test, in the words of the test program.
    let path = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let test = path.split_once("::").map_or(path, |(_program, test)| test);
    if let Some(dir) = std::env::var_os(DIR) {
        return body(&Token { maker, dir: PathBuf::from(dir) });
    }
    if !maker.is_here(test) {
        return;
    }
    let dir = scratch::dir();
    let token = Token { maker, dir: dir.path().to_owned() };
    token.make();
    // Not by its path, at which another build may just have put another program, or none.
    let output = Command::new("/proc/self/exe")
        .args(["--exact", test, "--nocapture"])
        .envs(token.environment())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let printed =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{:?} in the process of the test:\n{printed}", output.status);
    // A wrong name would be no test at all, and pass.
    assert!(printed.contains("1 passed"), "{test} is the name of no test:\n{printed}");
}

impl Token {
    /// Whose it is.
    pub const fn maker(&self) -> Maker {
        self.maker
    }

    /// A file of this test.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the token's own files are. Moved away and put back, it is a token that was removed and returned.
    pub fn storage(&self) -> PathBuf {
        self.dir.join("token")
    }

    /// The real module.
    pub fn module(&self) -> PathBuf {
        self.maker.module().unwrap()
    }

    /// The module that passes all calls on to the real one, but for those that [`inject`](Self::inject) is about.
    pub fn injecting_module(&self) -> PathBuf {
        let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let module = deps.join("libpkcs11_injector.so");
        assert!(module.is_file(), "{}: the package under test depends on pkcs11-injector", module.display());
        module
    }

    /// The initialisation string, if the module wants one.
    pub fn init_args(&self) -> Option<String> {
        (self.maker == Maker::Nss).then(|| {
            let dir = self.storage();
            format!("configdir='sql:{}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=", dir.display())
        })
    }

    /// Tells the injecting module what to do from now on, a rule a line.
    pub fn inject(&self, rules: &str) {
        // Renamed, so that no call reads half of it.
        let new = self.file("rules.new");
        std::fs::write(&new, rules).unwrap();
        std::fs::rename(new, self.file("rules")).unwrap();
    }

    /// How often a function of the injecting module was called.
    pub fn calls(&self, function: &str) -> usize {
        let log = std::fs::read_to_string(self.file("calls")).unwrap_or_default();
        log.lines().filter(|line| *line == function).count()
    }

    /// Makes one more token in the same place. SoftHSM2 only.
    pub fn make_another(&self, label: &str) {
        assert_eq!(self.maker, Maker::SoftHsm2);
        let arguments = ["--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN];
        self.run("softhsm2-util", &arguments);
    }

    fn make(&self) {
        std::fs::create_dir(self.storage()).unwrap();
        match self.maker {
            Maker::SoftHsm2 => {
                let storage = self.storage();
                let configuration = format!(
                    "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                    storage.display()
                );
                std::fs::write(self.file("softhsm2.conf"), configuration).unwrap();
                self.make_another(self.maker.label());
            }
            Maker::Nss => {
                std::fs::write(self.file("pin"), format!("{PIN}\n")).unwrap();
                let (dir, pin) = (format!("sql:{}", self.storage().display()), self.file("pin"));
                self.run("certutil", &["-N", "-d", &dir, "-f", pin.to_str().unwrap()]);
            }
            Maker::Kryoptic => {
                let configuration = format!(
                    "[[slots]]\nslot = 7\ndescription = \"aegis test\"\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
                    self.storage().join("token.sql").display()
                );
                std::fs::write(self.file("kryoptic.toml"), configuration).unwrap();
                let module = self.module();
                let of = ["--module", module.to_str().unwrap(), "--slot", "7"];
                let init = ["--init-token", "--label", self.maker.label(), "--so-pin", SO_PIN];
                self.run("pkcs11-tool", &[of.as_slice(), &init].concat());
                let pin = ["--login", "--login-type", "so", "--so-pin", SO_PIN, "--init-pin", "--pin", PIN];
                self.run("pkcs11-tool", &[of.as_slice(), &pin].concat());
            }
        }
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let file = |name: &str| self.file(name).into_os_string();
        vec![
            ("SOFTHSM2_CONF", file("softhsm2.conf")),
            ("KRYOPTIC_CONF", file("kryoptic.toml")),
            ("PKCS11_INJECTOR_MODULE", self.module().into_os_string()),
            ("PKCS11_INJECTOR_RULES", file("rules")),
            ("PKCS11_INJECTOR_LOG", file("calls")),
        ]
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).envs(self.environment()).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

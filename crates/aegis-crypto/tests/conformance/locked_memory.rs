//! Long secrets have pages of their own: out of swap space, out of core files, and the child's own after a fork.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use aegis_crypto::process::protect;
use aegis_crypto::{HybridPrivateKey, Secret, decapsulate, encapsulate};
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
use test_services::{scratch, tools};

/// Set for a copy of this program in which one test plays the other part.
const PART: &str = "AEGIS_TEST_PART";

fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Runs one test of this program by itself, behind a shell command that prepares for it.
fn run_part(test: &str, part: &str, prepare: &[&str]) -> Command {
    let mut words: Vec<String> = prepare.iter().copied().map(str::to_owned).collect();
    words.push(std::env::current_exe().unwrap().to_str().unwrap().to_owned());
    words.extend(["--exact", test, "--nocapture", "--test-threads=1"].map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(PART, part);
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The kernel's flags for the pages that hold these bytes: `lo` for locked, `dd` for not dumped.
fn flags(bytes: &[u8]) -> Vec<String> {
    let address = bytes.as_ptr().addr();
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_in = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().unwrap().split_once('-');
        if let Some((Ok(start), Ok(end))) =
            range.map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)))
        {
            is_in = (start..end).contains(&address);
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_in) {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("no mapping has {address:x}");
}

fn has(flags: &[String], flag: &str) -> bool {
    flags.iter().any(|found| found == flag)
}

#[test]
fn a_private_key_is_not_dumped_and_is_locked_where_it_says_so() {
    let key = HybridPrivateKey::generate().unwrap();
    let of_key = flags(key.dangerous_expose());
    assert!(has(&of_key, "dd"), "{of_key:?}");
    assert_eq!(has(&of_key, "lo"), key.is_locked(), "{of_key:?}");

    let (long, short) = (Secret::<1024>::random().unwrap(), Secret::<1023>::random().unwrap());
    assert!(has(&flags(long.expose()), "dd"));
    assert!(!has(&flags(short.expose()), "dd") && !short.is_locked());
}

#[test]
fn a_key_is_locked_if_the_limit_allows_it() {
    let key = Secret::<1024>::random().unwrap();
    // Other tests have a few dozen keys at most at any time.
    let limit = getrlimit(Resource::Memlock).current;
    if limit.is_some_and(|limit| limit < 1 << 20) {
        tools::skip("a_key_is_locked_if_the_limit_allows_it", "the limit on locked memory is under 1 MiB");
        return;
    }
    assert!(key.is_locked());
}

#[test]
fn a_key_works_where_nothing_may_be_locked() {
    const NAME: &str = "locked_memory::a_key_works_where_nothing_may_be_locked";
    if part().is_some() {
        assert_eq!(getrlimit(Resource::Memlock).current, Some(0));
        let key = HybridPrivateKey::generate().unwrap();
        let (encapsulation, sent) = encapsulate(key.public_key()).unwrap();
        assert_eq!(decapsulate(&key, &encapsulation).unwrap().expose(), sent.expose());
        let flags = flags(key.dangerous_expose());
        assert!(!key.is_locked() && !has(&flags, "lo") && has(&flags, "dd"), "{flags:?}");
        return;
    }
    let limited = ["sh", "-c", "ulimit -l 0 && exec \"$0\" \"$@\""];
    // The limit does not bind root, unless root has given up this one power.
    let is_root = rustix::process::geteuid().is_root();
    let unprivileged = ["setpriv", "--inh-caps=-ipc_lock", "--bounding-set=-ipc_lock"];
    if is_root && !tools::need(NAME, &["setpriv"]) {
        return;
    }
    let prepare = if is_root { [unprivileged, limited].concat() } else { limited.to_vec() };
    let output = run_part(NAME, "works", &prepare).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// In a process with one thread, because a fork takes only the thread that forks along.
#[test]
fn what_a_forked_child_erases_its_parent_keeps() {
    const NAME: &str = "locked_memory::what_a_forked_child_erases_its_parent_keeps";
    if part().is_some() {
        let key = HybridPrivateKey::import(&[0x6b; 32]).unwrap();
        let expected = *key.dangerous_expose();
        match fork::fork().unwrap() {
            fork::Fork::Child => {
                let is_whole =
                    *key.dangerous_expose() == expected && has(&flags(key.dangerous_expose()), "dd");
                // Erases and unmaps the child's pages; then it takes others in their place.
                drop(key);
                let others: Vec<_> = (0..8).map(|_| Secret::<2432>::random()).collect();
                std::process::exit(if is_whole && others.iter().all(Result::is_ok) { 0 } else { 1 });
            }
            fork::Fork::Parent(child) => {
                assert_eq!(fork::waitpid(child).unwrap(), 0);
                assert_eq!(*key.dangerous_expose(), expected);
                let (encapsulation, sent) = encapsulate(key.public_key()).unwrap();
                assert_eq!(decapsulate(&key, &encapsulation).unwrap().expose(), sent.expose());
            }
        }
        return;
    }
    let output = run_part(NAME, "forks", &[]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// In plain sight on the heap, so that the search can be seen to find what was dumped. Kept inverted until then.
const MARKER: [u8; 16] =
    [0x9e, 0x11, 0x62, 0xd4, 0x0c, 0x87, 0x5f, 0x20, 0xe3, 0x7a, 0xb6, 0x49, 0x18, 0xfd, 0x35, 0xc2];

/// Places in the 2,432 bytes that are secret and of ML-KEM: three in the private vector, both ends of z.
const SECRET_PLACES: [usize; 5] = [32, 700, 1168, 2400, 2416];

#[test]
fn an_aborted_process_leaves_no_core_file_and_without_protection_one_without_its_key() {
    const NAME: &str =
        "locked_memory::an_aborted_process_leaves_no_core_file_and_without_protection_one_without_its_key";
    if let Some(part) = part() {
        if part == "protected" {
            assert!(protect().is_empty());
            assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
            let limit = getrlimit(Resource::Core);
            assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        }
        let key = HybridPrivateKey::import(&[0x3d; 32]).unwrap();
        let (encapsulation, _) = encapsulate(key.public_key()).unwrap();
        decapsulate(&key, &encapsulation).unwrap();
        let marker = std::hint::black_box(MARKER.map(|byte| !byte).to_vec());
        writeln!(std::io::stdout(), "alive {}", marker.len()).unwrap();
        std::process::abort();
    }

    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with('|') || pattern.contains('/') || pattern.trim().is_empty() {
        tools::skip(NAME, &format!("core files go elsewhere: {}", pattern.trim()));
        return;
    }
    let unlimited = ["sh", "-c", "ulimit -c unlimited && exec \"$0\" \"$@\""];
    let abort = |part: &str| {
        let directory = scratch::dir();
        let output = run_part(NAME, part, &unlimited).current_dir(directory.path()).output().unwrap();
        let lived = said(&output).contains("alive 16");
        let cores: Vec<Vec<u8>> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        (lived, output, cores)
    };

    let (lived, output, cores) = abort("unprotected");
    if !lived {
        tools::skip(NAME, &format!("no core file may be unlimited here: {}", said(&output)));
        return;
    }
    assert!(output.status.core_dumped(), "{}", said(&output));
    let [core] = cores.as_slice() else { panic!("{} core files", cores.len()) };
    let finds = |bytes: &[u8]| core.windows(16).any(|window| window == bytes);
    assert!(finds(&MARKER.map(|byte| !byte)), "the search finds what was dumped");
    let key = HybridPrivateKey::import(&[0x3d; 32]).unwrap();
    assert!(finds(&key.public_key().as_bytes()[100..116]), "the public key was dumped");
    for place in SECRET_PLACES {
        assert!(
            !finds(&key.dangerous_expose()[place..place + 16]),
            "byte {place} of the private key was dumped"
        );
    }

    let (lived, output, cores) = abort("protected");
    assert!(lived && output.status.signal() == Some(6), "{}", said(&output));
    assert!(!output.status.core_dumped() && cores.is_empty(), "{} core files", cores.len());
}

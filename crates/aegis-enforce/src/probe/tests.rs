//! Kernels made up from files.

use std::os::unix::fs::symlink;

use super::*;

/// A directory with these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = test_services::scratch::dir();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a relative path")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }
    dir
}

fn probe(files: &[(&str, &str)]) -> Probe {
    Probe::read(tree(files).path())
}

const MOUNTS: &str = "\
    24 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
    30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n\
    31 24 0:29 / /sys/fs/bpf rw shared:5 - bpf bpf rw,mode=700\n";

const FULL: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.12.95+deb13-amd64\n"),
    ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
    ("proc/self/mountinfo", MOUNTS),
    ("proc/self/status", "Name:\taegisbpf\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n"),
    ("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet\n"),
    ("sys/kernel/security/lsm", "lockdown,capability,landlock,yama,apparmor,bpf,ipe,ima,evm"),
    ("sys/kernel/security/lockdown", "[none] integrity confidentiality\n"),
    (
        "sys/kernel/security/ima/policy",
        "dont_measure fsmagic=0x9fa0\nmeasure func=BPRM_CHECK mask=MAY_EXEC\n",
    ),
    ("sys/kernel/btf/vmlinux", "\u{9f}"),
    (
        "boot/config-6.12.95+deb13-amd64",
        "CONFIG_BPF_LSM=y\nCONFIG_IMA=y\nCONFIG_FANOTIFY_ACCESS_PERMISSIONS=y\n",
    ),
];

/// [`FULL`] with other files: `None` takes one away.
fn full_but(changes: &[(&'static str, Option<&'static str>)]) -> Probe {
    let kept = FULL.iter().filter(|(path, _)| changes.iter().all(|(changed, _)| changed != path)).copied();
    let added = changes.iter().filter_map(|(path, content)| Some((*path, (*content)?)));
    probe(&kept.chain(added).collect::<Vec<_>>())
}

#[test]
fn reads_a_kernel_that_has_everything() {
    let expected = Probe {
        release: Some("6.12.95+deb13-amd64".to_owned()),
        lsms: Some(
            ["lockdown", "capability", "landlock", "yama", "apparmor", "bpf", "ipe", "ima", "evm"]
                .map(str::to_owned)
                .to_vec(),
        ),
        bpf_lsm: Answer::Yes,
        bpf_lsm_by: Some(Evidence::Modules),
        btf: true,
        lockdown: Some(Lockdown::None),
        cgroup2: Some("/sys/fs/cgroup".into()),
        bpffs: Some("/sys/fs/bpf".into()),
        ima_hashes: Answer::Yes,
        ima_appraisal: Answer::No,
        fanotify: Answer::Yes,
        unprivileged_bpf_disabled: Some(2),
        privileges: Privilege::ALL.to_vec(),
    };
    let probe = probe(FULL);
    assert_eq!(probe, expected);
    assert_eq!(probe.version(), Some((6, 12)));
    assert_eq!(probe.missing_privileges(), []);
}

#[test]
fn an_empty_directory_is_a_kernel_of_which_nothing_is_known() {
    let probe = probe(&[]);
    assert_eq!(
        (probe.bpf_lsm, probe.ima_hashes, probe.ima_appraisal, probe.fanotify),
        (Answer::Unknown, Answer::Unknown, Answer::Unknown, Answer::Unknown)
    );
    assert_eq!((probe.release, probe.lockdown, probe.cgroup2, probe.bpffs), (None, None, None, None));
    assert!(!probe.btf);
    assert_eq!(probe.privileges, []);
}

#[test]
fn bpf_lsm_is_on_only_where_the_kernel_lists_it() {
    let lsm = "sys/kernel/security/lsm";
    assert_eq!(full_but(&[(lsm, Some("capability,yama,apparmor"))]).bpf_lsm, Answer::No);
    // Not a word that begins or ends so.
    assert_eq!(full_but(&[(lsm, Some("capability,bpfx,xbpf"))]).bpf_lsm, Answer::No);
    assert_eq!(full_but(&[(lsm, Some("bpf\n"))]).bpf_lsm, Answer::Yes);
    assert_eq!(full_but(&[(lsm, Some(""))]).bpf_lsm, Answer::Unknown);
}

#[test]
fn without_securityfs_only_what_was_not_built_in_is_known() {
    let release = ("proc/sys/kernel/osrelease", "6.1.0");
    let cases = [
        (None, Answer::Unknown, Answer::Unknown),
        (Some("CONFIG_BPF_LSM=y\nCONFIG_IMA=y\n"), Answer::Unknown, Answer::Unknown),
        (Some("# CONFIG_BPF_LSM is not set\nCONFIG_IMA=y\n"), Answer::No, Answer::Unknown),
        (Some("CONFIG_BPF_LSM=y\n# CONFIG_IMA is not set\n"), Answer::Unknown, Answer::No),
        (Some("no configuration at all"), Answer::Unknown, Answer::Unknown),
    ];
    for (config, bpf_lsm, ima) in cases {
        for place in ["boot/config-6.1.0", "lib/modules/6.1.0/config"] {
            let files: Vec<_> = [release].into_iter().chain(config.map(|config| (place, config))).collect();
            let probe = probe(&files);
            assert_eq!((probe.bpf_lsm, probe.ima_hashes), (bpf_lsm, ima), "{place}: {config:?}");
            let by = (bpf_lsm == Answer::No).then_some(Evidence::Built);
            assert_eq!(probe.bpf_lsm_by, by, "{place}: {config:?}");
        }
    }
}

#[test]
fn a_trial_says_what_files_do_not_and_nothing_else() {
    let yes = || Attempt { bpf_lsm: Answer::Yes, ima_hashes: Answer::Yes };
    let settled = probe(&[]).settled(yes);
    assert_eq!((settled.bpf_lsm, settled.ima_hashes), (Answer::Yes, Answer::Yes));
    assert_eq!(settled.bpf_lsm_by, Some(Evidence::Tried));
    let told = full_but(&[("sys/kernel/security/lsm", Some("capability"))]);
    let settled = told.clone().settled(|| unreachable!("the kernel has said it"));
    assert_eq!((settled.bpf_lsm_by, &settled), (Some(Evidence::Modules), &told));
    let unable = || Attempt { bpf_lsm: Answer::Unknown, ima_hashes: Answer::Unknown };
    let unsettled = probe(&[]).settled(unable);
    assert_eq!((unsettled.bpf_lsm, unsettled.bpf_lsm_by), (Answer::Unknown, None));
}

#[test]
fn lockdown_is_what_stands_in_brackets() {
    let file = "sys/kernel/security/lockdown";
    let cases = [
        ("none [integrity] confidentiality\n", Some(Lockdown::Integrity)),
        ("none integrity [confidentiality]\n", Some(Lockdown::Confidentiality)),
        ("none integrity confidentiality", None),
        ("[", None),
        ("[something]", None),
    ];
    for (text, expected) in cases {
        assert_eq!(full_but(&[(file, Some(text))]).lockdown, expected, "{text}");
    }
}

#[test]
fn appraisal_is_in_force_where_a_rule_refuses_programs() {
    let policy = "sys/kernel/security/ima/policy";
    let cases = [
        ("appraise func=BPRM_CHECK appraise_type=imasig\n", "quiet", Answer::Yes),
        ("appraise fowner=0\n", "quiet", Answer::Yes),
        ("measure func=BPRM_CHECK\nappraise func=MODULE_CHECK appraise_type=imasig\n", "quiet", Answer::No),
        ("dont_appraise fsmagic=0x9fa0\n", "quiet", Answer::No),
        ("appraise fowner=0\n", "ima_appraise=log", Answer::No),
        ("appraise fowner=0\n", "ima_appraise=fix ima_appraise=enforce", Answer::Yes),
        ("appraise fowner=0\n", "ima_appraise=enforce ima_appraise=off", Answer::No),
        // The words at the start ask for it, and a policy that was loaded later does not.
        ("measure func=BPRM_CHECK\n", "ima_policy=tcb|appraise_tcb", Answer::No),
    ];
    for (rules, words, expected) in cases {
        let probe = full_but(&[(policy, Some(rules)), ("proc/cmdline", Some(words))]);
        assert_eq!(probe.ima_appraisal, expected, "{rules} {words}");
    }
}

/// A directory in the file's place stands for a file that opens and cannot be read, also by root.
#[test]
fn a_policy_that_is_not_shown_is_known_only_where_no_other_can_be_loaded() {
    let config = "boot/config-6.12.95+deb13-amd64";
    let shut = ("sys/kernel/security/ima/policy", None);
    let inside = ("sys/kernel/security/ima/policy/x", Some(""));
    let asked = ("proc/cmdline", Some("ima_policy=tcb|appraise_tcb"));
    let fixed = (config, Some("CONFIG_IMA=y\n# CONFIG_IMA_WRITE_POLICY is not set\n"));
    let free = (config, Some("CONFIG_IMA=y\nCONFIG_IMA_WRITE_POLICY=y\n"));
    assert_eq!(full_but(&[shut, inside, fixed, asked]).ima_appraisal, Answer::Yes);
    assert_eq!(full_but(&[shut, inside, fixed]).ima_appraisal, Answer::No);
    assert_eq!(full_but(&[shut, inside, free, asked]).ima_appraisal, Answer::Unknown);
    assert_eq!(full_but(&[shut, inside, (config, None), asked]).ima_appraisal, Answer::Unknown);
    // No file: some policy was loaded.
    let gone = [shut, ("sys/kernel/security/ima/x", Some("")), fixed, asked];
    assert_eq!(full_but(&gone).ima_appraisal, Answer::Unknown);
}

#[test]
fn without_ima_nothing_is_appraised() {
    let none = [("sys/kernel/security/ima/policy", None), ("proc/cmdline", Some("ima_policy=appraise_tcb"))];
    let probe = full_but(&none);
    assert_eq!((probe.ima_hashes, probe.ima_appraisal), (Answer::No, Answer::No));
}

#[test]
fn privileges_are_those_in_effect() {
    let status = |text| full_but(&[("proc/self/status", Some(text))]).privileges;
    assert_eq!(status("CapPrm:\tffffffffffffffff\nCapEff:\t0000000000000000\n"), []);
    assert_eq!(status("CapEff:\t0000008000000000\n"), [Privilege::CapBpf]);
    assert_eq!(
        status("CapEff:\t0000004000201000\n"),
        [Privilege::CapPerfmon, Privilege::CapSysAdmin, Privilege::CapNetAdmin]
    );
    assert_eq!(status("CapEff:\tnot a number\n"), []);
}

#[test]
fn what_is_too_large_or_no_text_is_not_known() {
    let dir = tree(FULL);
    let lsm = dir.path().join("sys/kernel/security/lsm");
    for content in [vec![b'b'; 1 << 20], vec![0xff, 0xfe], b"bpf\0".to_vec(), b"\x1b[31mbpf".to_vec()] {
        std::fs::write(&lsm, content).expect("a file");
        assert_eq!(Probe::read(dir.path()).bpf_lsm, Answer::Unknown);
    }
    std::fs::remove_file(&lsm).expect("a file");
    symlink("/dev/zero", &lsm).expect("a link");
    assert_eq!(Probe::read(dir.path()).bpf_lsm, Answer::Unknown);
}

#[test]
fn a_release_is_no_way_out_of_the_directory() {
    let dir = tree(&[("in/proc/sys/kernel/osrelease", "x/../../../config"), ("config", "CONFIG_X=y")]);
    std::fs::create_dir_all(dir.path().join("in/boot/config-x")).expect("a directory");
    assert_eq!(Probe::read(&dir.path().join("in")).bpf_lsm, Answer::Unknown);
}

/// Whatever this host is, it has a release; and asking twice is the same as once.
#[test]
fn of_this_host_it_tells_what_is_so() {
    let probe = Probe::of_host();
    assert!(probe.version().is_some());
    assert_eq!(probe, Probe::of_host());
}

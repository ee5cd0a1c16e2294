//! What is enforced on kernels that are made up.

use aegis_policy::Limits;

use super::*;
use crate::probe::{Answer, Evidence, Lockdown, Privilege};

fn full() -> Probe {
    Probe {
        release: Some("6.12.95".to_owned()),
        lsms: Some(vec!["capability".to_owned(), "bpf".to_owned(), "ima".to_owned()]),
        bpf_lsm: Answer::Yes,
        bpf_lsm_by: Some(Evidence::Modules),
        btf: true,
        lockdown: Some(Lockdown::None),
        cgroup2: Some("/sys/fs/cgroup".into()),
        bpffs: Some("/sys/fs/bpf".into()),
        ima_hashes: Answer::Yes,
        ima_appraisal: Answer::Yes,
        fanotify: Answer::Yes,
        unprivileged_bpf_disabled: Some(2),
        privileges: Privilege::ALL.to_vec(),
    }
}

/// Every section with its backend, `-` for a condition that holds, or codes of what is missing.
fn table(probe: &Probe) -> Vec<(Section, String)> {
    let short = |coverage: SectionCoverage| match coverage.standing {
        Standing::Enforced(Backend::BpfLsm) => "lsm".to_owned(),
        Standing::Enforced(Backend::Cgroup) => "cgroup".to_owned(),
        Standing::Enforced(Backend::Fanotify) => "fanotify".to_owned(),
        Standing::Holds => "-".to_owned(),
        Standing::Unenforced(lacks) => lacks.iter().map(|lack| lack.code()).collect::<Vec<_>>().join(" "),
    };
    Coverage::of_all(probe).sections.into_iter().map(|coverage| (coverage.section, short(coverage))).collect()
}

fn expect(probe: &Probe, expected: &[(&[Section], &str)]) {
    let mut seen = 0;
    for (section, found) in table(probe) {
        let (_, wanted) = expected
            .iter()
            .find(|(sections, _)| sections.contains(&section))
            .expect("a row for each section");
        assert_eq!(found, *wanted, "{section}");
        seen += 1;
    }
    assert_eq!(seen, Section::COUNT);
}

const CONDITIONS: &[Section] = &[Section::ScanPaths, Section::RequireImaAppraisal];
const FILES: &[Section] = &[Section::DenyPath, Section::DenyInode, Section::DenyComm];
/// What fanotify hashes itself.
const HASHES: &[Section] = &[Section::ProtectPath, Section::DenyBinaryHash, Section::AllowBinaryHash];
const MEASURED: &[Section] =
    &[Section::ProtectConnect, Section::ProtectRuntimeDeps, Section::TrustedExecHash, Section::ImaFailClosed];
const NETWORK: &[Section] = &[Section::DenyIp, Section::DenyCidr, Section::DenyPort, Section::DenyIpPort];
const SCOPED_NETWORK: &[Section] = &[Section::CgroupDenyIp, Section::CgroupDenyPort];
const FLAGS: &[Section] = &[Section::DenyPtrace, Section::DenyModuleLoad, Section::DenyBpf];
const SCOPED_FILES: &[Section] = &[Section::CgroupDenyInode];
const ALLOWED: &[Section] = &[Section::AllowCgroup];

#[test]
fn bpf_lsm_enforces_every_section() {
    for section in Coverage::of_all(&full()).sections {
        let expected = if CONDITIONS.contains(&section.section) {
            Standing::Holds
        } else {
            Standing::Enforced(Backend::BpfLsm)
        };
        assert_eq!((section.standing, section.limits), (expected, vec![]), "{}", section.section);
    }
}

#[test]
fn without_bpf_lsm_files_go_to_fanotify_and_the_network_to_control_groups() {
    let probe = Probe { bpf_lsm: Answer::No, ..full() };
    expect(
        &probe,
        &[
            (FILES, "fanotify"),
            (HASHES, "fanotify"),
            (NETWORK, "cgroup"),
            (SCOPED_NETWORK, "cgroup"),
            (ALLOWED, "cgroup"),
            (MEASURED, "no_bpf_lsm"),
            (FLAGS, "no_bpf_lsm"),
            (SCOPED_FILES, "fanotify"),
            (CONDITIONS, "-"),
        ],
    );
    let coverage = Coverage::of_all(&probe);
    assert_eq!(coverage.backends(), [Backend::Cgroup, Backend::Fanotify]);
    // Nothing of it is as good as BPF-LSM, and each says so; a group that passes loses nothing.
    for section in coverage.sections.iter().filter(|section| section.section != Section::AllowCgroup) {
        assert_eq!(section.limits.is_empty(), section.backend().is_none(), "{}", section.section);
    }
}

#[test]
fn without_control_groups_fanotify_still_enforces_what_names_no_group() {
    let probe = Probe { bpf_lsm: Answer::No, cgroup2: None, ..full() };
    expect(
        &probe,
        &[
            (FILES, "fanotify"),
            (HASHES, "fanotify"),
            (NETWORK, "no_bpf_lsm no_cgroup2"),
            (SCOPED_NETWORK, "no_bpf_lsm no_cgroup2"),
            (ALLOWED, "no_bpf_lsm no_cgroup2"),
            (MEASURED, "no_bpf_lsm"),
            (FLAGS, "no_bpf_lsm"),
            (SCOPED_FILES, "no_bpf_lsm no_cgroup2"),
            (CONDITIONS, "-"),
        ],
    );
    let files = aegis_policy::parse(b"version=1\n[deny_path]\n/x\n", &Limits::default()).expect("a policy");
    assert_eq!(Coverage::of(&files, &probe).refusal(Unenforced::Refuse), None);
    let scoped = b"version=1\n[deny_path]\n/x\n[allow_cgroup]\n/trusted\n";
    let scoped = aegis_policy::parse(scoped, &Limits::default()).expect("a policy");
    let refusal = Coverage::of(&scoped, &probe).refusal(Unenforced::Refuse).expect("a refusal");
    assert!(refusal.to_string().contains("[allow_cgroup]"), "{refusal}");
    assert!(!refusal.to_string().contains("[deny_path]"), "{refusal}");
}

#[test]
fn a_backend_is_there_or_not_whatever_a_policy_says() {
    let full = full();
    let without = Probe { bpf_lsm: Answer::No, ..full.clone() };
    for (probe, expected) in [
        (full.clone(), [true, true, true]),
        (without.clone(), [false, true, true]),
        (Probe { cgroup2: None, ..without.clone() }, [false, false, true]),
        (Probe { btf: false, ..full.clone() }, [false, false, true]),
        (Probe { lockdown: Some(Lockdown::Confidentiality), ..full.clone() }, [false, false, true]),
        (Probe { cgroup2: None, fanotify: Answer::No, ..without.clone() }, [false, false, false]),
        (Probe { bpf_lsm: Answer::Unknown, fanotify: Answer::Unknown, ..full }, [false, true, false]),
    ] {
        assert_eq!(Backend::ALL.map(|backend| backend.is_available(&probe)), expected, "{probe:?}");
    }
}

#[test]
fn where_nothing_is_known_nothing_is_enforced() {
    let probe = Probe {
        release: None,
        lsms: None,
        bpf_lsm: Answer::Unknown,
        bpf_lsm_by: None,
        btf: false,
        lockdown: None,
        cgroup2: None,
        bpffs: None,
        ima_hashes: Answer::Unknown,
        ima_appraisal: Answer::Unknown,
        fanotify: Answer::Unknown,
        unprivileged_bpf_disabled: None,
        privileges: Vec::new(),
    };
    expect(
        &probe,
        &[
            (FILES, "bpf_lsm_unknown no_btf fanotify_unknown"),
            (HASHES, "bpf_lsm_unknown no_btf ima_unknown fanotify_unknown"),
            (NETWORK, "bpf_lsm_unknown no_btf no_cgroup2"),
            (SCOPED_NETWORK, "bpf_lsm_unknown no_btf no_cgroup2"),
            (ALLOWED, "bpf_lsm_unknown no_btf no_cgroup2 fanotify_unknown"),
            (MEASURED, "bpf_lsm_unknown no_btf ima_unknown"),
            (FLAGS, "bpf_lsm_unknown no_btf"),
            (SCOPED_FILES, "bpf_lsm_unknown no_btf no_cgroup2 fanotify_unknown"),
            (&[Section::ScanPaths], "-"),
            (&[Section::RequireImaAppraisal], "ima_appraisal_unknown"),
        ],
    );
}

#[test]
fn without_hashes_bpf_lsm_has_no_say_about_content() {
    let probe = Probe { ima_hashes: Answer::No, ima_appraisal: Answer::No, ..full() };
    expect(
        &probe,
        &[
            (HASHES, "fanotify"),
            (MEASURED, "no_ima"),
            (&[Section::RequireImaAppraisal], "no_ima_appraisal"),
            (&[Section::ScanPaths], "-"),
            (&Section::ALL, "lsm"),
        ],
    );
}

#[test]
fn a_kernel_locked_down_to_confidentiality_takes_no_bpf_at_all() {
    let probe = Probe { lockdown: Some(Lockdown::Confidentiality), ..full() };
    let coverage = Coverage::of_all(&probe);
    assert_eq!(coverage.backends(), [Backend::Fanotify]);
    let network = SectionCoverage::of(Section::DenyIp, &probe);
    assert_eq!(network.standing, Standing::Unenforced(vec![Lack::ReadableKernel]));
    let integrity = Probe { lockdown: Some(Lockdown::Integrity), ..full() };
    assert_eq!(Coverage::of_all(&integrity), Coverage::of_all(&full()));
}

#[test]
fn what_fanotify_says_that_it_cannot_it_is_not_given() {
    let without = Probe { bpf_lsm: Answer::No, ..full() };
    for (section, why) in crate::fanotify::cannot() {
        assert_ne!(
            SectionCoverage::of(*section, &without).backend(),
            Some(Backend::Fanotify),
            "{section}: {why}"
        );
    }
}

#[test]
fn a_kernel_older_than_those_tested_says_so() {
    for (release, limits) in [("5.15.0", vec![Limit::KernelNotTested]), ("6.1.0", vec![]), ("7.3.4", vec![])]
    {
        let probe = Probe { release: Some(release.to_owned()), ..full() };
        assert_eq!(SectionCoverage::of(Section::DenyPath, &probe).limits, limits, "{release}");
        assert_eq!(SectionCoverage::of(Section::ScanPaths, &probe).limits, [], "{release}");
    }
}

const POLICY: &[u8] = b"version=5\n[deny_path]\n/etc/shadow\n[deny_ip]\n[deny_ptrace]\n[trusted_exec_hash]\n\
    sha256:0000000000000000000000000000000000000000000000000000000000000000\n[require_ima_appraisal]\n";

fn policy() -> Policy<'static> {
    aegis_policy::parse(POLICY, &Limits::default()).expect("a policy")
}

#[test]
fn only_sections_that_say_something_count() {
    let coverage = Coverage::of(&policy(), &full());
    let sections: Vec<Section> = coverage.sections.iter().map(|section| section.section).collect();
    assert_eq!(
        sections,
        [Section::DenyPath, Section::TrustedExecHash, Section::RequireImaAppraisal, Section::DenyPtrace]
    );
    assert_eq!(coverage.refusal(Unenforced::Refuse), None);
}

#[test]
fn a_section_that_nothing_enforces_refuses_the_policy_unless_that_is_accepted() {
    let probe = Probe { bpf_lsm: Answer::No, ..full() };
    let coverage = Coverage::of(&policy(), &probe);
    let refusal = coverage.refusal(Unenforced::Refuse).expect("a refusal");
    assert_eq!(
        refusal.to_string(),
        "nothing on this host enforces [trusted_exec_hash]: this kernel runs no BPF programs as a security module; \
         [deny_ptrace]: this kernel runs no BPF programs as a security module"
    );
    assert_eq!(
        refusal.help().as_deref(),
        Some(
            "boot a kernel built with CONFIG_BPF_LSM, with bpf in its parameter lsm=, \
             or give --audit-unenforced to put the rest in force"
        )
    );
    assert_eq!(coverage.refusal(Unenforced::Accept), None);
    let unenforced: Vec<Section> = coverage.unenforced().map(|section| section.section).collect();
    assert_eq!(unenforced, [Section::TrustedExecHash, Section::DenyPtrace]);
}

#[test]
fn a_host_without_appraisal_is_refused_whatever_is_accepted() {
    for appraisal in [Answer::No, Answer::Unknown] {
        let coverage = Coverage::of(&policy(), &Probe { ima_appraisal: appraisal, ..full() });
        let refusal = coverage.refusal(Unenforced::Accept).expect("a refusal");
        let sections: Vec<Section> = refusal.sections.iter().map(|section| section.section).collect();
        assert_eq!(sections, [Section::RequireImaAppraisal]);
        assert!(refusal.help().is_some_and(|help| help.contains("take [require_ima_appraisal] out")));
    }
}

#[test]
fn in_json_a_section_says_how_it_stands_and_why() {
    let probe = Probe { bpf_lsm: Answer::No, ..full() };
    let json = |section| serde_json::to_value(SectionCoverage::of(section, &probe)).expect("JSON");
    assert_eq!(
        json(Section::DenyPtrace),
        serde_json::json!({
            "section": "deny_ptrace", "standing": "unenforced", "backend": null, "limits": [],
            "lacks": [{
                "code": "no_bpf_lsm",
                "message": "this kernel runs no BPF programs as a security module",
                "help": "boot a kernel built with CONFIG_BPF_LSM, with bpf in its parameter lsm=",
            }],
        })
    );
    assert_eq!(
        json(Section::DenyIp),
        serde_json::json!({
            "section": "deny_ip", "standing": "enforced", "backend": "cgroup", "lacks": [],
            "limits": [{
                "code": "tcp_and_udp_alone",
                "message": "control groups see TCP and UDP alone: raw, packet and SCTP sockets pass",
            }],
        })
    );
    assert_eq!(json(Section::ScanPaths)["standing"], "holds");
}

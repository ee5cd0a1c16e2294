//! `aegisbpf probe`: what this kernel can enforce, section by section, and why not.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use aegis_enforce::coverage::Coverage;
use aegis_enforce::probe::{Answer, Evidence, Probe};
use aegis_policy::Section;
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use clap::Args;
use serde::Serialize;

use crate::session::Session;

#[derive(Args)]
pub(crate) struct ProbeArguments {
    #[command(flatten)]
    form: Form,
}

/// What is printed, for programs.
#[derive(Serialize)]
struct Report {
    kernel: Probe,
    sections: Coverage,
}

pub(crate) fn run(_: &ProbeArguments, session: &Session) -> Result<ExitCode, Failure> {
    let kernel = kernel(session);
    let report = Report { sections: Coverage::of_all(&kernel), kernel };
    session.output.report(&report, |out| {
        print_kernel(out, &report.kernel)?;
        print_sections(out, &report.sections)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// This host's kernel, or the one that the files below `--root` describe.
pub(crate) fn kernel(session: &Session) -> Probe {
    session.root().map_or_else(Probe::of_host_tried, Probe::read)
}

/// Whether there is BPF-LSM, how that is known, and what to do if there is none.
fn bpf_lsm(kernel: &Probe) -> String {
    let why = match (kernel.bpf_lsm, kernel.bpf_lsm_by) {
        (Answer::No, Some(Evidence::Modules)) => {
            let modules = kernel.lsms.iter().flatten().map(String::as_str);
            // The kernel puts this one first whether it is named or not.
            let named = modules.filter(|name| *name != "capability").chain(["bpf"]);
            let list = named.collect::<Vec<_>>().join(",");
            format!(": bpf is not among the security modules; start the kernel with lsm={list}")
        }
        (Answer::No, Some(Evidence::Built)) => ": the kernel was built without CONFIG_BPF_LSM".to_owned(),
        (Answer::No, Some(Evidence::Tried)) => {
            ": a program was tried, and the kernel did not ask it; start it with bpf in its parameter lsm="
                .to_owned()
        }
        (Answer::Yes, Some(Evidence::Tried)) => ": a program was tried, and it denied".to_owned(),
        (Answer::Unknown, _) | (_, None) | (Answer::Yes, Some(Evidence::Modules | Evidence::Built)) => {
            String::new()
        }
    };
    format!("{}{why}", kernel.bpf_lsm)
}

fn print_kernel(out: &mut dyn Write, kernel: &Probe) -> io::Result<()> {
    let Probe {
        release,
        lsms,
        bpf_lsm: _,
        bpf_lsm_by: _,
        btf,
        lockdown,
        cgroup2,
        bpffs,
        ima_hashes,
        ima_appraisal,
        fanotify,
        unprivileged_bpf_disabled,
        privileges,
    } = kernel;
    let path = |path: &Option<_>| {
        path.as_deref().map_or("not mounted".to_owned(), |path: &Path| path.display().to_string())
    };
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "cannot tell".to_owned());
    let unprivileged = unprivileged_bpf_disabled.map(|disabled| match disabled {
        0 => "open to everybody".to_owned(),
        1 => "closed until the next start".to_owned(),
        _ => "closed".to_owned(),
    });
    let facts = [
        ("kernel", or_unknown(release.clone())),
        ("security modules", or_unknown(lsms.as_ref().map(|lsms| lsms.join(",")))),
        ("BPF-LSM", bpf_lsm(kernel)),
        ("BTF", if *btf { "yes" } else { "no" }.to_owned()),
        ("lockdown", or_unknown(lockdown.map(|lockdown| lockdown.to_string()))),
        ("control groups v2", path(cgroup2)),
        ("bpffs", path(bpffs)),
        ("IMA hashes", ima_hashes.to_string()),
        ("IMA appraisal", ima_appraisal.to_string()),
        ("fanotify", fanotify.to_string()),
        ("unprivileged BPF", or_unknown(unprivileged)),
        (
            "privileges",
            if privileges.is_empty() {
                "none of those that enforcing takes".to_owned()
            } else {
                listed(privileges)
            },
        ),
    ];
    for (name, value) in facts {
        writeln!(out, "{name:<22} {}", Escaped(&value))?;
    }
    Ok(())
}

fn print_sections(out: &mut dyn Write, coverage: &Coverage) -> io::Result<()> {
    writeln!(out)?;
    for section in &coverage.sections {
        let standing = match section.backend() {
            Some(backend) => backend.to_string(),
            None if section.is_unenforced() => "not enforced".to_owned(),
            None => "nothing to enforce".to_owned(),
        };
        let mark = if section.limits.is_empty() { "" } else { ", with limits" };
        writeln!(out, "{:<22} {standing}{mark}", section.section.name())?;
    }
    let lacks = coverage
        .sections
        .iter()
        .flat_map(|section| section.lacks().iter().map(|lack| (*lack, section.section)));
    for (lack, sections) in grouped(lacks) {
        writeln!(out, "\n{lack}")?;
        writeln!(out, "  missed by  {}", listed(&sections))?;
        writeln!(out, "  help       {}", lack.help())?;
    }
    let limits = coverage
        .sections
        .iter()
        .flat_map(|section| section.limits.iter().map(|limit| (*limit, section.section)));
    for (limit, sections) in grouped(limits) {
        writeln!(out, "\n{limit}")?;
        writeln!(out, "  limits     {}", listed(&sections))?;
    }
    Ok(())
}

/// Each thing once, in the order in which it comes first, with the sections that have it.
fn grouped<T: PartialEq>(pairs: impl Iterator<Item = (T, Section)>) -> Vec<(T, Vec<Section>)> {
    let mut groups: Vec<(T, Vec<Section>)> = Vec::new();
    for (thing, section) in pairs {
        match groups.iter_mut().find(|(known, _)| *known == thing) {
            Some((_, sections)) => sections.push(section),
            None => groups.push((thing, vec![section])),
        }
    }
    groups
}

fn listed<T: ToString>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

//! `policy lint`, `show`, `diff` and `explain`: the text of a policy, whether a bundle carries it or not.
//!
//! Nothing is verified here: these commands say what a file says, not whether it may be believed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_enforce::coverage::Coverage;
use aegis_enforce::survival::{self, LiveHost, LockOut};
use aegis_policy::{DiffRule, LintReport, MatchedRule, Policy, Query, Verdict, VersionChange};
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_terminal::output::stderr_has_color;
use aegis_trust::Host;
use aegis_trust::durable::read_state;
use aegis_trust::sign::{BundleSummary, PolicyText, policy_text};
use clap::Args;
use serde::Serialize;

use crate::destination;
use crate::probe;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct LintArguments {
    /// The policy or bundle, `-` for standard input
    file: PathBuf,
    /// Sort it and remove duplicates; FILE is rewritten, standard input goes to standard output
    #[arg(long)]
    fix: bool,
    /// Write the fixed policy to F instead, `-` for standard output
    #[arg(long, value_name = "F", requires = "fix")]
    out: Option<PathBuf>,
    /// Warn also of what TARGET cannot enforce, and of what would lock it out
    #[arg(long, value_name = "TARGET")]
    target: Option<Target>,
    #[command(flatten)]
    form: Form,
}

/// Whose kernel a policy is looked at for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Target {
    /// This host's
    Host,
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// The policy or bundle, `-` for standard input; without it, what is applied here
    file: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct DiffArguments {
    /// The policy or bundle before
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The policy or bundle after
    #[arg(value_name = "B")]
    after: PathBuf,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// The policy or bundle, `-` for standard input
    file: PathBuf,
    /// What is asked about
    #[arg(help = "A path, address[:port][/tcp|/udp], device:inode or sha256:HEX", value_parser = parse_query)]
    query: Query,
    #[command(flatten)]
    form: Form,
}

/// The message of wrong usage has no help line, so the hint stands in it.
fn parse_query(text: &str) -> Result<Query, String> {
    Query::parse(text).map_err(|error| match error.help() {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    })
}

/// A policy that was read, from a bundle or on its own. Nothing is believed of either.
pub(super) struct Text {
    name: String,
    content: PolicyText,
}

impl Text {
    pub(super) fn read(path: &Path, host: &Host) -> Result<Self, Failure> {
        let name = input::name(path);
        let file = input::read(path, host.max_file_len(), &format!("cannot read {name}"))?;
        Self::new(name, file)
    }

    fn new(name: String, file: Vec<u8>) -> Result<Self, Failure> {
        let content = policy_text(file)
            .map_err(|error| Failure::new(format!("cannot read {name}"), &error, error.help()))?;
        Ok(Self { name, content })
    }

    pub(super) fn parse(&self, host: &Host) -> Result<Policy<'_>, Failure> {
        aegis_policy::parse(&self.content.policy, &host.config().policy_limits()).map_err(|errors| {
            let report = errors.render(&self.name, &self.content.policy, stderr_has_color());
            Failure::new(format!("cannot read {}", self.name), &errors, None).with_report(report)
        })
    }
}

pub(super) fn lint(arguments: &LintArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let text = Text::read(&arguments.file, &host)?;
    if arguments.fix && text.content.bundle.is_some() {
        return Err(Failure::because(
            format!("cannot fix {}", text.name),
            "it is a signed bundle, and a change would break its signature",
        )
        .with_help("fix the policy that it was made from, then sign that"));
    }
    let report = lint_for(arguments, &text.content.policy, &host, session);
    if report.errors.total > 0 {
        return lint_refused(&text, &report, session);
    }
    if arguments.fix {
        return fix(arguments, &text, &host, session);
    }
    print_lint(&text.name, &text.content.policy, &report, session)?;
    Ok(ExitCode::SUCCESS)
}

/// What the text alone tells and, if asked for, what its host makes of it.
fn lint_for(arguments: &LintArguments, source: &[u8], host: &Host, session: &Session) -> LintReport {
    let limits = host.config().policy_limits();
    let mut report = aegis_policy::lint(source, &limits);
    if let Some(Target::Host) = arguments.target
        && let Ok(policy) = aegis_policy::parse(source, &limits)
    {
        let files = session.root().map_or_else(LiveHost::new, LiveHost::below);
        report.add(source, Coverage::of(&policy, &probe::kernel(session)).warnings(&policy));
        report.add(source, survival::check(&policy, &files).iter().map(LockOut::warning));
    }
    report
}

fn fix(arguments: &LintArguments, text: &Text, host: &Host, session: &Session) -> Result<ExitCode, Failure> {
    let LintArguments { file, out, .. } = arguments;
    let fixed = aegis_policy::normalise(&text.parse(host)?);
    write_fixed(arguments, &fixed, session)?;
    // What is left: only a person can decide about it.
    let report = lint_for(arguments, &fixed, host, session);
    let target = out.as_ref().unwrap_or(file);
    if input::is_stdin(target) {
        session.output.diagnostics(&report.render(&text.name, &fixed, stderr_has_color()));
    } else {
        print_lint(&input::name(target), &fixed, &report, session)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The report is the result; it goes to standard output in JSON and to standard error for a person.
fn lint_refused(text: &Text, report: &LintReport, session: &Session) -> Result<ExitCode, Failure> {
    if session.output.is_json() {
        session.output.document(report)?;
        return Ok(ExitCode::FAILURE);
    }
    Err(Failure::new(format!("{} is not a valid policy", text.name), &report.errors, None)
        .with_report(report.render(&text.name, &text.content.policy, stderr_has_color())))
}

fn print_lint(name: &str, policy: &[u8], report: &LintReport, session: &Session) -> Result<(), Failure> {
    if !session.output.is_json() {
        session.output.diagnostics(&report.render(name, policy, stderr_has_color()));
    }
    session.output.report(report, |out| match report.warning_total {
        0 => writeln!(out, "{}: no errors, no warnings", Escaped(name)),
        1 => writeln!(out, "{}: no errors, 1 warning", Escaped(name)),
        many => writeln!(out, "{}: no errors, {many} warnings", Escaped(name)),
    })
}

/// In place, the file keeps its mode and owner.
fn write_fixed(arguments: &LintArguments, fixed: &[u8], session: &Session) -> Result<(), Failure> {
    let LintArguments { file, out, .. } = arguments;
    match (out, fs::metadata(file)) {
        (Some(out), _) => destination::write(out, fixed, 0o644, session),
        (None, Ok(before)) if !input::is_stdin(file) => {
            destination::write(file, fixed, before.mode() & 0o777, session)?;
            destination::give_to(file, before.uid(), before.gid(), &session.output);
            Ok(())
        }
        (None, _) => destination::write(file, fixed, 0o644, session),
    }
}

pub(super) fn show(arguments: &ShowArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let text = match &arguments.file {
        Some(file) => Text::read(file, &host)?,
        None => applied(&host)?,
    };
    let policy = text.parse(&host)?;
    let sections: BTreeMap<&str, usize> =
        policy.sections().map(|section| (section.name(), policy.count(section))).collect();
    let shown = Shown {
        source: &text.name,
        bundle: text.content.bundle.as_ref(),
        version: policy.version(),
        rules: policy.rule_count(),
        sections,
        policy: String::from_utf8_lossy(policy.source()),
    };
    session.output.report(&shown, |out| {
        if let Some(bundle) = &text.content.bundle {
            print_bundle(out, bundle)?;
        }
        out.write_all(policy.source())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn applied(host: &Host) -> Result<Text, Failure> {
    let what = "cannot show the applied policy";
    let path = host.paths().applied();
    let file =
        read_state(&path, host.max_file_len()).map_err(|error| Failure::new(what, &error, error.help()))?;
    match file {
        Some(file) => Text::new(path.display().to_string(), file),
        None => Err(Failure::because(what, "no policy is applied on this host")
            .with_help("apply one with `aegisbpf policy apply FILE`, or name a file")),
    }
}

/// What a bundle says about its policy, as comments: the output is a policy all the same.
fn print_bundle(out: &mut dyn Write, bundle: &BundleSummary) -> io::Result<()> {
    let BundleSummary { policy_version, epoch, policy_sha256, issued_at, expires_at, .. } = bundle;
    writeln!(out, "# policy version {policy_version}, epoch {epoch}, sha256 {policy_sha256}")?;
    match expires_at {
        Some(expires_at) => writeln!(out, "# issued {issued_at}, expires {expires_at}")?,
        None => writeln!(out, "# issued {issued_at}, never expires")?,
    }
    for key_id in &bundle.claimed_signers {
        writeln!(out, "# says that it is signed by {key_id}")?;
    }
    writeln!(out)
}

pub(super) fn diff(arguments: &DiffArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let before = Text::read(&arguments.before, &host)?;
    let after = Text::read(&arguments.after, &host)?;
    let diff = aegis_policy::diff(&before.parse(&host)?, &after.parse(&host)?);
    session.output.report(&diff, |out| {
        if diff.is_empty() {
            return writeln!(out, "no difference");
        }
        if let Some(VersionChange { from, to }) = diff.version_change {
            writeln!(out, "- version={from}\n+ version={to}")?;
        }
        for (mark, rules) in [('-', &diff.removed), ('+', &diff.added)] {
            for DiffRule { section, entry, line: _ } in rules {
                match entry {
                    Some(entry) => writeln!(out, "{mark} [{section}] {}", Escaped(entry))?,
                    None => writeln!(out, "{mark} [{section}]")?,
                }
            }
        }
        writeln!(out, "{} removed, {} added", diff.removed.len(), diff.added.len())
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn explain(arguments: &ExplainArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let text = Text::read(&arguments.file, &host)?;
    let explanation = aegis_policy::explain(&text.parse(&host)?, &arguments.query);
    session.output.report(&explanation, |out| {
        let verdict = match explanation.verdict {
            Verdict::NoRule => "no rule applies, so it is allowed",
            Verdict::Allow => "allowed",
            Verdict::DenyUnlessVerified => "denied to all but verified programs",
            Verdict::Deny => "denied",
        };
        writeln!(out, "{}: {verdict}", Escaped(&explanation.query))?;
        for MatchedRule { section, entry, line, verdict: _, why } in &explanation.matches {
            let entry = entry.as_deref().map(|entry| format!(" {entry}")).unwrap_or_default();
            writeln!(out, "  line {line}: [{section}]{}: {}", Escaped(entry), Escaped(why))?;
        }
        for note in &explanation.notes {
            writeln!(out, "  note: {}", Escaped(note))?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The policy that `policy show` prints, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    source: &'a str,
    bundle: Option<&'a BundleSummary>,
    version: u8,
    rules: usize,
    sections: BTreeMap<&'a str, usize>,
    policy: Cow<'a, str>,
}

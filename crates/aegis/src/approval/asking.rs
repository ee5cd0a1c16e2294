//! `override request` and `approval request`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use aegis_approval::{
    Audience, Gate, Justification, Kind, NewRequest, Quorum, Request, SignedRequest, Subject,
};
use aegis_terminal::destination::Destinations;
use aegis_terminal::{Failure, input};
use jiff::Timestamp;

use super::showing::{print_request, request_to_json};
use super::{AskedArguments, OverrideArguments, RequestArguments};
use crate::custodian::every_algorithm;
use crate::session::Session;

pub(super) fn request_override(arguments: OverrideArguments, session: &Session) -> Result<ExitCode, Failure> {
    let OverrideArguments { subject, gates, asked } = arguments;
    let what = "cannot ask for an override";
    request(Subject::Override(subject), None, gates.into_iter().collect(), &asked, what, session)
}

pub(super) fn request_change(arguments: RequestArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RequestArguments { kind, subject, audience, asked } = arguments;
    let what = format!("cannot ask for {kind}");
    let subject =
        Subject::parse(kind, &subject).map_err(|error| Failure::new(&what, &error, error.help()))?;
    if kind.is_of_hosts() && audience.is_none() {
        return Err(Failure::because(what, "nothing says for which hosts")
            .with_help("name them: --for host:NAME, or --for group:NAME"));
    }
    request(subject, audience, BTreeSet::new(), &asked, &what, session)
}

fn request(
    subject: Subject,
    audience: Option<Audience>,
    failed_gates: BTreeSet<Gate>,
    asked: &AskedArguments,
    what: &str,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let AskedArguments { requester, require, algorithms, expires_in, use_within, out, .. } = asked;
    let justification = justification(asked, what)?;
    if let Some(out) = out {
        with_destinations(session, |destinations| destinations.check(out))?;
    }
    session.with_deployment(|deployment| {
        let approvals = deployment.approvals().map_err(|error| Failure::new(what, &error, error.help()))?;
        let rules = approvals.rules();
        let kind: Kind = subject.kind();
        let least = rules.least(kind);
        let quorum = match require.is_empty() {
            true => least.clone(),
            // What is asked for comes on top of the rules, so it may well be one person alone.
            false => with_more(least, require).map_err(|error| Failure::new(what, &error, error.help()))?,
        };
        let new = NewRequest {
            subject,
            audience: audience.unwrap_or_else(|| rules.deployment().clone()),
            justification,
            failed_gates,
            requester: requester.clone(),
            quorum,
            algorithms: match algorithms.is_empty() {
                true => every_algorithm(),
                false => algorithms.iter().copied().collect(),
            },
            lifetime: *expires_in,
            use_within: *use_within,
        };
        let made: Request =
            approvals.ask(new, Timestamp::now()).map_err(|error| Failure::new(what, &error, error.help()))?;
        if let Some(out) = out {
            let file = SignedRequest::new(made.clone(), Vec::new()).to_json();
            write_file(out, &file, session).inspect_err(|_| {
                session.output.warn(&format!("the request is made all the same: {}", made.id()));
            })?;
        }
        session.output.report(&request_to_json(&made), |stdout| print_request(stdout, &made))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The rules' people, and of each role that is named so many at least.
fn with_more(
    least: &Quorum,
    require: &[(aegis_approval::Role, i64)],
) -> Result<Quorum, aegis_approval::QuorumError> {
    let mut groups: std::collections::BTreeMap<_, i64> =
        least.groups().map(|(role, needed)| (role.clone(), i64::from(needed))).collect();
    let mut named = BTreeSet::new();
    for (role, count) in require {
        if !named.insert(role) {
            return Err(aegis_approval::QuorumError::Twice { role: role.clone() });
        }
        let most = i64::from(Quorum::MAX_PEOPLE);
        if !(1..=most).contains(count) {
            return Err(aegis_approval::QuorumError::Count { role: role.clone(), found: *count });
        }
        let needed = groups.entry(role.clone()).or_default();
        *needed = (*needed).max(*count);
    }
    Quorum::new(groups)
}

fn justification(asked: &AskedArguments, what: &str) -> Result<Justification, Failure> {
    let text = match (&asked.justification, &asked.justification_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            // A byte more than can be taken, and a line break at the end.
            let limit = u64::try_from(Justification::MAX_LEN + 2).unwrap_or(u64::MAX);
            let bytes = input::read(path, limit, what)?;
            let text =
                String::from_utf8(bytes).map_err(|error| Failure::new(what, &error.utf8_error(), None))?;
            text.strip_suffix('\n')
                .map_or(text.clone(), |text| text.strip_suffix('\r').unwrap_or(text).to_owned())
        }
        // The command line asks for one of them.
        (None, None) => String::new(),
    };
    text.parse().map_err(|error: aegis_approval::TextError| {
        Failure::new(format!("{what}: the justification cannot be used"), &error, error.help())
    })
}

pub(super) fn write_file(path: &Path, text: &str, session: &Session) -> Result<(), Failure> {
    with_destinations(session, |destinations| destinations.write(path, text.as_bytes(), 0o644))
}

fn with_destinations(
    session: &Session,
    work: impl FnOnce(Destinations<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let state = session.state_dir()?;
    work(Destinations::new(&session.output, &|path| state.reserves(path)))
}

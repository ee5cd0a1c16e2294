//! What a report over many decisions costs, and the verification of one approval.
//!
//! | arguments | what it does | what it prints |
//! |---|---|---|
//! | `make DIR COUNT` | makes a store of so many decisions by eight custodians, and revokes the first one's key | nothing |
//! | `report DIR` | opens it, and writes the report of that key, as CSV, to nowhere | two durations |
//! | `verify ROUNDS` | reads an approval from its file and verifies it, again and again | one duration |
//!
//! Durations are in nanoseconds: of the report by the clock and of the processor; of one verification, the median.
//!
//! A quarter of all decisions has the key among its signatures. The rows are written as the store writes them, but in one
//! transaction: what each decision costs is no matter here. Their signatures are one, again and again; no report reads them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result goes to the benchmark")]

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_approval::{
    ApprovalRules, ApprovalsReader, Custodian, CustodianKey, DEFAULT_LIFETIME, DEFAULT_USE_WITHIN, Decision,
    GivenSignature, KeyState, NewRequest, PersonId, Quorum, Registry, ReportFormat, Request, RequestQuery,
    Role, SignedRequest, SqliteStore, Store, Subject, statement, verify,
};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use rustix::time::{ClockId, clock_gettime};

/// How many people there are of each role.
const OF_EACH_ROLE: usize = 4;
/// Decisions that are still open.
const OPEN: u64 = 100;
/// Some time after the last decision.
const NOW: &str = "2026-11-26T12:00:00Z";

type Made<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["make", directory, count] => make(Path::new(directory), count),
        ["report", directory] => report(Path::new(directory)),
        ["verify", rounds] => verify_often(rounds),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(&*error);
            while let Some(error) = cause {
                eprintln!("error: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// A person with one role and one key.
struct Person {
    name: PersonId,
    role: Role,
    key: CustodianPrivateKey,
}

impl Person {
    fn new(role: &str, nth: usize) -> Made<Self> {
        Ok(Self {
            name: format!("{}-{nth}", role.replace('_', "-")).parse()?,
            role: role.parse()?,
            key: CustodianPrivateKey::generate(CustodianAlgorithm::Bip322)?,
        })
    }

    fn custodian(&self, registered: Timestamp) -> Custodian {
        let key = CustodianKey { public: self.key.public_key().clone(), registered, state: KeyState::Active };
        Custodian { person: self.name.clone(), roles: [self.role.clone()].into(), keys: vec![key] }
    }

    fn approves(&self, request: &Request, signed: Timestamp) -> Made<GivenSignature> {
        let algorithm = self.key.algorithm();
        let text = statement(request, Decision::Approve, &self.name, &self.role, algorithm, signed);
        Ok(GivenSignature {
            decision: Decision::Approve,
            person: self.name.clone(),
            role: self.role.clone(),
            key: self.key.public_key().key_id(),
            signed,
            signature: self.key.sign(&text)?,
        })
    }
}

fn asked(nth: u64, created: Timestamp) -> Made<Request> {
    let new = NewRequest {
        subject: Subject::Override(format!("PROP-{nth}: raise the limit of one customer").parse()?),
        audience: "deployment:production".parse()?,
        justification: "The customer waits, and the risk is known to everybody who has to know.".parse()?,
        failed_gates: ["drift", "risk"].into_iter().map(str::parse).collect::<Result<_, _>>()?,
        requester: format!("engineer-{}", nth % 50).parse()?,
        quorum: Quorum::classic(),
        algorithms: CustodianAlgorithm::ALL.into(),
        lifetime: DEFAULT_LIFETIME,
        use_within: DEFAULT_USE_WITHIN,
    };
    Ok(Request::new(new, created)?)
}

/// The file, and whose key is in the wrong hands.
fn open(directory: &Path) -> Made<(SqliteStore, PersonId)> {
    Ok((SqliteStore::open(&directory.join("approvals.sqlite"))?, "risk-lead-0".parse()?))
}

fn make(directory: &Path, count: &str) -> Made {
    let count: u64 = count.parse()?;
    let now: Timestamp = NOW.parse()?;
    let (store, in_question) = open(directory)?;
    let role = |role| (0..OF_EACH_ROLE).map(move |nth| Person::new(role, nth));
    let people = role("risk_lead").chain(role("security_lead")).collect::<Result<Vec<_>, _>>()?;
    for (revision, person) in (0..).zip(&people) {
        let Custodian { person, roles, keys } = person.custodian(now);
        keys.iter().try_for_each(|key| store.add_key(revision, &person, &roles, key))?;
    }
    // One as the store writes it: whatever a row has that is not named below would be found to be missing.
    let first = people.first().ok_or("nobody")?;
    let request = asked(0, now)?;
    store.insert_request(&request)?;
    let signature = first.approves(&request, now)?;
    store.add_signature(request.id(), 1, people.len() as u64, &signature)?;
    drop(store);
    fill(&directory.join("approvals.sqlite"), count, now, &people, &signature.signature.to_string())?;

    let (store, _) = open(directory)?;
    let key = first.key.public_key().key_id();
    store.end_key(people.len() as u64, &in_question, key, &KeyState::Revoked { at: now })?;
    // All of it is what the store could have written; of many, the last ones.
    if count <= 10_000 {
        store.check()?;
    }
    let last = RequestQuery { after: Some(count.saturating_sub(50)), limit: 100, ..RequestQuery::default() };
    let found = store.requests(&last)?.last().map(|record| record.number);
    if found == Some(count) { Ok(()) } else { Err("the last decision is not there".into()) }
}

fn fill(path: &Path, count: u64, now: Timestamp, people: &[Person], signature: &str) -> Made {
    let mut raw = Connection::open(path)?;
    raw.execute_batch("PRAGMA cache_size = -1000000")?;
    let writing = raw.transaction()?;
    for nth in 2..=count {
        let number = i64::try_from(nth)?;
        // A minute apart; those that are open were made in the last hours.
        let created = now - SignedDuration::from_mins(i64::try_from(count - nth)?);
        let request = asked(nth, created)?;
        let is_open = count - nth < OPEN;
        let used = created + SignedDuration::from_mins(20);
        writing
            .prepare_cached(
                "INSERT INTO requests (number, id, revision, kind, subject, audience, requester, quorum,
                     usable_until, state, closed_at, closed_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'risk_lead=1 security_lead=1', ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                number,
                request.id().as_str(),
                if is_open { 3 } else { 4 },
                request.subject().kind().as_str(),
                request.subject().to_string(),
                request.audience().as_str(),
                request.requester().as_str(),
                request.expires().as_second() + request.use_within().as_secs(),
                if is_open { "open" } else { "consumed" },
                (!is_open).then(|| used.to_string()),
                (!is_open).then_some("a change of the limit"),
            ])?;
        writing
            .prepare_cached("INSERT INTO documents (number, request) VALUES (?1, ?2)")?
            .execute(params![number, request.to_json()])?;
        let each = OF_EACH_ROLE as u64;
        let signers = [nth % each, each + nth / each % each];
        for (place, signer) in (0..).zip(signers) {
            let person = people.get(usize::try_from(signer)?).ok_or("nobody")?;
            writing
                .prepare_cached(
                    "INSERT INTO signatures (request, place, key, decision, role, signed)
                     VALUES (?1, ?2, ?3, 'approve', ?4, ?5)",
                )?
                .execute(params![
                    number,
                    place,
                    i64::try_from(signer)? + 1,
                    person.role.as_str(),
                    (created + SignedDuration::from_mins(place + 1)).to_string(),
                ])?;
            writing
                .prepare_cached("INSERT INTO texts (number, signature) VALUES (?1, ?2)")?
                .execute(params![number * 64 + place, signature])?;
        }
    }
    writing.commit()?;
    raw.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

fn report(directory: &Path) -> Made {
    let (began, began_cpu) = (Instant::now(), processor_time()?);
    let (store, in_question) = open(directory)?;
    let rules = ApprovalRules::classic("deployment:production".parse()?)?;
    let reader = ApprovalsReader::new(Arc::new(store), rules);
    let registry = reader.registry()?;
    let custodian = registry.custodian(&in_question).ok_or("nobody")?;
    let key = custodian.keys.first().ok_or("no key")?.public.key_id();
    let counts = reader.report(key, NOW.parse()?)?.write_to(ReportFormat::Csv, &mut io::sink())?;
    if counts.decisions == 0 {
        return Err("the report is empty".into());
    }
    println!("{} {}", began.elapsed().as_nanos(), processor_time()?.saturating_sub(began_cpu).as_nanos());
    Ok(())
}

fn verify_often(rounds: &str) -> Made {
    let rounds: usize = rounds.parse()?;
    let now: Timestamp = NOW.parse()?;
    let people = [Person::new("risk_lead", 0)?, Person::new("security_lead", 0)?];
    let registry = Registry::new(people.iter().map(|person| person.custodian(now)))?;
    let request = asked(1, now)?;
    let signatures = people.iter().map(|person| person.approves(&request, now));
    let signed = SignedRequest::new(request.clone(), signatures.collect::<Result<_, _>>()?);
    let file = signed.with_keys(&registry).to_json();
    let (subject, here) = (request.subject(), [request.audience().clone()]);
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        let read = SignedRequest::parse(black_box(file.as_bytes()))?;
        black_box(verify(&read, subject, &here, &registry, &Quorum::classic(), now)?);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let median = took.get(rounds / 2).ok_or("no rounds")?;
    println!("{}", median.as_nanos());
    Ok(())
}

/// Of all threads.
fn processor_time() -> Made<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

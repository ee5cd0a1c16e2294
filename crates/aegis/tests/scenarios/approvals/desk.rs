//! A deployment with custodians whose keys are in the test, so that nothing has to be stretched.

use std::collections::BTreeSet;
use std::fs;

use aegis_approval::{Registration, Role};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey, Statement};
use jiff::Timestamp;

use crate::machine::{Machine, Run};

pub(crate) struct Desk {
    pub(crate) machine: Machine,
}

pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) key: CustodianPrivateKey,
}

impl Person {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, key: CustodianPrivateKey::generate(CustodianAlgorithm::Bip322).unwrap() }
    }

    pub(crate) fn key_id(&self) -> String {
        self.key.public_key().key_id().to_string()
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        let machine = Machine::empty();
        Self { machine }
    }

    /// Writes a registration, and gives its file's name.
    pub(crate) fn registration(&self, person: &Person, roles: &[&str]) -> String {
        let roles: BTreeSet<Role> = roles.iter().map(|role| role.parse().unwrap()).collect();
        let name = person.name.parse().unwrap();
        let registration = Registration::new(&person.key, name, roles, Timestamp::now()).unwrap();
        let file = format!("{}-{}.custodian", person.name, &person.key_id()[..8]);
        fs::write(self.machine.file(&file), registration.to_json()).unwrap();
        file
    }

    pub(crate) fn register(&self, person: &Person, roles: &[&str]) {
        let file = self.registration(person, roles);
        self.machine.ok(&["custodian", "register", &file]);
    }

    /// Two leads, and one who is both.
    pub(crate) fn with_three() -> (Self, [Person; 3]) {
        let desk = Self::new();
        let people = [Person::new("rita"), Person::new("sam"), Person::new("bo")];
        desk.register(&people[0], &["risk_lead"]);
        desk.register(&people[1], &["security_lead"]);
        desk.register(&people[2], &["risk_lead", "security_lead"]);
        (desk, people)
    }

    pub(crate) fn ask(&self, subject: &str) -> String {
        let run = self.machine.ok(&[
            "override",
            "request",
            subject,
            "--gate",
            "drift",
            "--requester",
            "ann",
            "--justification",
            "known",
        ]);
        run.stdout.lines().next().unwrap().to_owned()
    }

    /// Signs what is shown, as a wallet does: the text goes out, a signature comes back.
    pub(crate) fn try_sign(&self, id: &str, person: &Person, more: &[&str]) -> Run {
        let at = Timestamp::from_second(Timestamp::now().as_second()).unwrap().to_string();
        let key = person.key_id();
        let show = ["approval", "show", id, "--statement", person.name, "--at", &at, "--key-id", &key];
        let shown = self.machine.run(&[&show, more].concat());
        if shown.code != Some(0) {
            return shown;
        }
        let signature = person.key.sign(&Statement::new(shown.stdout).unwrap()).unwrap();
        let file = format!("{}.sig", person.name);
        fs::write(self.machine.file(&file), format!("{signature}\n")).unwrap();
        self.bring(id, person, &at, &file, more)
    }

    pub(crate) fn bring(&self, id: &str, person: &Person, at: &str, file: &str, more: &[&str]) -> Run {
        let key = person.key_id();
        let sign = [
            "approval",
            "sign",
            id,
            "--signature",
            file,
            "--person",
            person.name,
            "--at",
            at,
            "--key-id",
            &key,
        ];
        self.machine.run(&[&sign, more].concat())
    }

    #[track_caller]
    pub(crate) fn sign(&self, id: &str, person: &Person) {
        let run = self.try_sign(id, person, &[]);
        assert_eq!(run.code, Some(0), "{run:?}");
    }

    /// A request that two people have approved.
    pub(crate) fn approved(&self, subject: &str, people: &[Person; 3]) -> String {
        let id = self.ask(subject);
        self.sign(&id, &people[0]);
        self.sign(&id, &people[1]);
        id
    }

    pub(crate) fn state(&self, id: &str) -> String {
        let shown = self.machine.ok(&["approval", "show", id, "--json"]).json();
        shown["state"].as_str().unwrap().to_owned()
    }

    /// Runs a command that must be refused, and whose refusal must say this.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], because: &str) {
        let run = self.machine.run(arguments);
        assert_eq!(run.code, Some(1), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(because), "{arguments:?}: {}", run.stderr);
    }
}

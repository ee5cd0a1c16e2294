//! Which fields are personal, and how that is configured.

use aegis_pii::{
    Catalogue, CatalogueConfigError, CatalogueError, EncryptorOptions, Field, Priority, Selector,
};

use crate::{contains, decryptor, encryptor};

fn names(catalogue: &Catalogue) -> Vec<&str> {
    catalogue.fields().iter().map(|field| field.selector.as_str()).collect()
}

#[test]
fn the_guide_has_twelve_fields_of_three_priorities() {
    let guide = Catalogue::guide();
    let of = |priority| {
        let fields = guide.fields().iter().filter(|field| field.priority == priority);
        fields.map(|field| field.selector.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        of(Priority::Critical),
        [
            "actor_assignments",
            "override_justification",
            "risk_lead_signature",
            "security_lead_signature",
            "decision_actor",
            "decision_rationale"
        ]
    );
    assert_eq!(of(Priority::High), ["workflow_id", "author_id", "actor_id", "combined_hash"]);
    assert_eq!(of(Priority::Medium), ["requested_by", "signer_id"]);
    assert_eq!(guide.fields()[0].description, "Role-to-actor mapping for workflow");
    assert!(guide.fields().iter().all(|field| !field.description.is_empty()));
}

/// Frozen: a reader looks for the version of the guide's fields by this text.
#[test]
fn the_guides_version_never_changes() {
    assert_eq!(Catalogue::guide().version().as_str(), GUIDE_VERSION);
}

const GUIDE_VERSION: &str = "cat1-5aa700a4123ebcd2";

#[test]
fn a_catalogues_version_says_what_it_selects() {
    let guide = Catalogue::guide();
    let narrowed = guide.clone().at_least(Priority::High).unwrap();
    assert_ne!(guide.version(), narrowed.version());
    // The order and the descriptions are no difference.
    let mut fields = guide.fields().to_vec();
    fields.reverse();
    fields[0].description.clear();
    assert_eq!(Catalogue::new(fields.clone()).unwrap().version(), guide.version());
    fields[0].priority = Priority::Critical;
    assert_ne!(Catalogue::new(fields).unwrap().version(), guide.version());
    let as_pointer = |selector| {
        Catalogue::new(vec![Field { selector, description: String::new(), priority: Priority::High }])
            .unwrap()
    };
    let (name, pointer) =
        (as_pointer(Selector::Name("/a".into())), as_pointer(Selector::Pointer("/a".into())));
    assert_ne!(name.version(), pointer.version());
}

#[test]
fn narrows_and_extends() {
    let catalogue = Catalogue::guide();
    assert_eq!(catalogue.clone().at_least(Priority::High).unwrap().fields().len(), 10);
    assert_eq!(names(&catalogue.clone().only(&["actor_id"]).unwrap()), ["actor_id"]);
    assert_eq!(catalogue.clone().without(&["actor_id"]).unwrap().fields().len(), 11);
    let email = Field {
        selector: Selector::Name("email".to_owned()),
        description: "E-mail address".to_owned(),
        priority: Priority::Medium,
    };
    let catalogue = catalogue.extended([email]).unwrap();
    let event = br#"{"email":"a@example.org","actor_id":"alice"}"#;
    let mut encryptor = encryptor(EncryptorOptions { catalogue, ..EncryptorOptions::default() });
    let sealed = encryptor.encrypt(event).unwrap();
    assert!(!contains(&sealed, b"example.org"));
    assert_eq!(decryptor().decrypt(&sealed).unwrap(), event, "a reader needs no catalogue");
}

#[test]
fn reads_its_configuration() {
    let catalogue = Catalogue::from_json(
        br#"{"min_priority":"high","extend":[{"name":"email","priority":"critical"},{"pointer":"/u/0","priority":"low"}]}"#,
    );
    assert!(matches!(catalogue, Err(CatalogueConfigError::Priority(_))));
    let catalogue = Catalogue::from_json(
        br#"{"min_priority":"critical","extend":[{"name":"email","description":"mail"},{"pointer":"/u/0","priority":"high"}],
            "without":["decision_actor"]}"#,
    )
    .unwrap();
    assert_eq!(catalogue.fields().len(), 6);
    assert!(names(&catalogue).contains(&"email") && !names(&catalogue).contains(&"/u/0"));
    assert_eq!(Catalogue::from_json(b"{}").unwrap().version(), Catalogue::guide().version());
}

#[test]
fn refuses_configurations_that_would_leave_fields_in_the_clear() {
    use CatalogueConfigError::Catalogue as Of;
    let refused = |config: &str| Catalogue::from_json(config.as_bytes()).unwrap_err();
    assert_eq!(
        refused(r#"{"only":["actor_idd"]}"#),
        Of(CatalogueError::Unknown { found: "actor_idd".to_owned() })
    );
    assert!(matches!(refused(r#"{"without":["nobody"]}"#), Of(CatalogueError::Unknown { .. })));
    assert_eq!(refused(r#"{"only":[]}"#), Of(CatalogueError::Empty));
    assert!(matches!(refused(r#"{"onyl":[]}"#), CatalogueConfigError::UnknownMember { .. }));
    assert!(matches!(
        refused(r#"{"extend":[{"name":"a","pointer":"/a"}]}"#),
        CatalogueConfigError::Member { .. }
    ));
    assert!(matches!(refused(r#"{"extend":[{"naem":"a"}]}"#), CatalogueConfigError::UnknownMember { .. }));
    assert!(matches!(refused(r#"{"extend":{}}"#), CatalogueConfigError::Member { .. }));
    assert!(matches!(refused(r#"{"only":"actor_id"}"#), CatalogueConfigError::Member { .. }));
    assert!(matches!(refused("[]"), CatalogueConfigError::Member { .. }));
    assert!(matches!(refused("{"), CatalogueConfigError::Json { .. }));
    assert_eq!(refused(r#"{"extend":[{"name":""}]}"#), Of(CatalogueError::EmptyName));
    for pointer in ["", "a", "a/b", "/a~", "/a~2b"] {
        let config = format!(r#"{{"extend":[{{"pointer":"{pointer}"}}]}}"#);
        assert_eq!(refused(&config), Of(CatalogueError::BadPointer { pointer: pointer.to_owned() }));
    }
    for reserved in ["_encrypted", "_aegis", "_ciphertext", "_dek_version", "_encapsulation"] {
        let config = format!(r#"{{"extend":[{{"name":"{reserved}"}}]}}"#);
        assert_eq!(refused(&config), Of(CatalogueError::Reserved { name: reserved.to_owned() }));
    }
    assert!(matches!(
        refused(r#"{"extend":[{"pointer":"/_aegis/_x"}]}"#),
        Of(CatalogueError::Reserved { .. })
    ));
    let long = format!(r#"{{"extend":[{{"name":"{}"}}]}}"#, "n".repeat(1025));
    assert_eq!(refused(&long), Of(CatalogueError::TooLong { found: 1025 }));
    let many: Vec<String> = (0..4097).map(|number| format!(r#"{{"name":"n{number}"}}"#)).collect();
    let many = format!(r#"{{"extend":[{}]}}"#, many.join(","));
    assert!(matches!(refused(&many), Of(CatalogueError::TooMany { .. })));
    assert!(matches!(refused(&" ".repeat((1 << 20) + 1)), CatalogueConfigError::TooLong { .. }));
    let twice = vec![Catalogue::guide().fields()[0].clone(); 2];
    assert!(matches!(Catalogue::new(twice), Err(CatalogueError::Twice { .. })));
}

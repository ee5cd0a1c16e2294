//! Keys and roles of custodians.

use std::sync::Arc;

use aegis_approval::{
    ChangeCustodianError, KeyState, RegisterError, RegistryError, SignError, SignatureFault, State,
};
use aegis_crypto::CustodianAlgorithm;

use crate::failing::{Failing, Stop};
use crate::fixture::{Desk, Person, later, noon, roles, with_store};

#[test]
fn a_further_key_is_registered_with_the_same_roles_only() {
    let desk = Desk::new();
    let second = desk.rita.again();
    let grown = Person { roles: roles(&["risk_lead", "security_lead"]), ..desk.rita.again() };
    let refused = desk.approvals.register(&grown.registration(), noon()).unwrap_err();
    assert!(matches!(refused, RegisterError::OtherRoles { .. }), "{refused}");
    desk.approvals.register(&second.registration(), noon()).unwrap();
    let registry = desk.approvals.registry().unwrap();
    assert_eq!(registry.custodian(&desk.rita.name).unwrap().keys.len(), 2);
    assert_eq!(desk.told.take(), ["register rita: refused", "register rita"]);

    // By name, roles can be changed, and then the registration fits.
    desk.approvals.set_roles(&desk.rita.name, &grown.roles).unwrap();
    desk.approvals.register(&grown.registration(), noon()).unwrap();
}

#[test]
fn refuses_a_key_that_is_or_was_anybodys() {
    let desk = Desk::new();
    let taken = |person: &Person| {
        let refused = desk.approvals.register(&person.registration(), noon()).unwrap_err();
        assert!(matches!(refused, RegisterError::KeyTaken { .. }), "{refused}");
        refused.to_string()
    };
    assert!(taken(&desk.rita).ends_with("is registered for rita, and active"));
    desk.approvals.revoke_key(desk.rita.key_id(), later(1)).unwrap();
    assert!(taken(&desk.rita).ends_with("is registered for rita, and revoked"));
    // Another person with the same key would count twice with it.
    let raw = desk.sam.key.dangerous_bytes();
    let key = aegis_crypto::CustodianPrivateKey::from_bytes(CustodianAlgorithm::Bip322, raw).unwrap();
    let twin = Person { name: "tom".parse().unwrap(), roles: roles(&["risk_lead"]), key };
    assert!(taken(&twin).ends_with("is registered for sam, and active"));
}

#[test]
fn refuses_a_registration_from_the_future_and_too_many_keys() {
    let desk = Desk::empty();
    let early = desk.rita.registration_at(later(6));
    let refused = desk.approvals.register(&early, noon()).unwrap_err();
    assert!(matches!(refused, RegisterError::InFuture { .. }), "{refused}");
    desk.approvals.register(&desk.rita.registration_at(later(5)), noon()).unwrap();
    for _ in 1..100 {
        desk.approvals.register(&desk.rita.again().registration(), noon()).unwrap();
    }
    let refused = desk.approvals.register(&desk.rita.again().registration(), noon()).unwrap_err();
    assert!(matches!(refused, RegisterError::Registry(RegistryError::TooManyKeys { .. })), "{refused}");
}

#[test]
fn signatures_of_a_replaced_key_count_no_longer_and_those_of_the_new_one_do() {
    let desk = Desk::new();
    let request = desk.ask();
    desk.approve(&request, &desk.rita, "risk_lead").unwrap();
    let new = desk.rita.again();
    desk.approvals.replace_key(desk.rita.key_id(), &new.registration(), later(1)).unwrap();
    assert_eq!(desk.state(&request), State::Pending);
    let refused = desk.approve(&request, &desk.rita, "risk_lead").unwrap_err();
    assert!(matches!(refused, SignError::Fault(SignatureFault::Replaced { .. })), "{refused}");
    desk.approve(&request, &new, "risk_lead").unwrap();
    assert!(desk.approve(&request, &desk.sam, "security_lead").unwrap().decided);
    assert_eq!(
        desk.told.take()[1..],
        [
            "sign rita",
            "register rita",
            "replace rita",
            "sign rita: refused",
            "sign rita",
            "sign sam, decided"
        ]
    );
}

#[test]
fn refuses_to_replace_what_is_not_an_active_key_of_that_person() {
    let desk = Desk::new();
    let new = desk.rita.again();
    let replace = |old| desk.approvals.replace_key(old, &new.registration(), later(1)).unwrap_err();
    assert!(matches!(replace(desk.sam.key_id()), RegisterError::OfAnother { .. }));
    assert!(matches!(replace(new.key_id()), RegisterError::NoSuchKey { .. }));
    desk.approvals.revoke_key(desk.rita.key_id(), noon()).unwrap();
    assert!(matches!(replace(desk.rita.key_id()), RegisterError::EndedAlready { state: "revoked", .. }));
    let itself = desk.approvals.replace_key(desk.sam.key_id(), &desk.sam.registration(), later(1));
    assert!(matches!(itself, Err(RegisterError::KeyTaken { .. })));
    // Nothing of that registered the key.
    assert!(desk.approvals.registry().unwrap().holder(new.key_id()).is_none());
}

#[test]
fn a_replacement_that_was_interrupted_anywhere_is_finished_by_the_next_run() {
    for stop in [Stop::Before, Stop::After] {
        for call in 0.. {
            let desk = Desk::new();
            let new = desk.rita.again();
            let failing = Failing::at(std::sync::Arc::clone(desk.approvals.store()), call, stop);
            let first = with_store(Arc::clone(&failing) as _).replace_key(
                desk.rita.key_id(),
                &new.registration(),
                later(1),
            );
            if !failing.has_stopped() {
                first.unwrap();
                break;
            }
            first.unwrap_err();
            match desk.approvals.replace_key(desk.rita.key_id(), &new.registration(), later(2)) {
                Ok(()) | Err(RegisterError::EndedAlready { state: "replaced", .. }) => {}
                Err(error) => panic!("{stop:?} {call}: {error}"),
            }
            let registry = desk.approvals.registry().unwrap();
            let keys = &registry.custodian(&desk.rita.name).unwrap().keys;
            assert_eq!(keys.len(), 2, "{stop:?} {call}");
            assert!(matches!(keys[0].state, KeyState::Replaced { by, .. } if by == new.key_id()));
            assert_eq!(keys[1].state, KeyState::Active);
        }
    }
}

#[test]
fn a_revoked_key_never_signs_again_and_is_revoked_once() {
    let desk = Desk::new();
    let request = desk.approved();
    assert_eq!(desk.state(&request), State::Approved);
    assert_eq!(desk.approvals.revoke_key(desk.sam.key_id(), later(2)).unwrap(), desk.sam.name);
    assert_eq!(desk.state(&request), State::Partial);
    let refused = desk.approve(&request, &desk.sam, "security_lead").unwrap_err();
    assert!(matches!(refused, SignError::Fault(SignatureFault::Revoked { .. })), "{refused}");
    let again = desk.approvals.revoke_key(desk.sam.key_id(), later(3)).unwrap_err();
    assert!(matches!(again, ChangeCustodianError::RevokedAlready { at, .. } if at == later(2)), "{again}");
    let nobodys = desk.approvals.revoke_key(desk.sam.again().key_id(), later(3)).unwrap_err();
    assert!(matches!(nobodys, ChangeCustodianError::NoSuchKey { .. }), "{nobodys}");
}

#[test]
fn a_signature_in_a_role_that_was_taken_away_counts_no_longer() {
    let desk = Desk::new();
    let request = desk.ask();
    desk.approve(&request, &desk.bo, "security_lead").unwrap();
    assert_eq!(desk.state(&request), State::Partial);
    desk.approvals.set_roles(&desk.bo.name, &roles(&["risk_lead"])).unwrap();
    assert_eq!(desk.state(&request), State::Pending);
    for (change, kind) in [
        (desk.approvals.set_roles(&desk.bo.name, &roles(&["risk_lead"])), "same"),
        (desk.approvals.set_roles(&desk.bo.name, &roles(&[])), "none"),
        (desk.approvals.set_roles(&"eve".parse().unwrap(), &roles(&["risk_lead"])), "nobody"),
    ] {
        match (kind, change.unwrap_err()) {
            ("same", ChangeCustodianError::SameRoles { .. })
            | ("none", ChangeCustodianError::Registry(RegistryError::Roles { .. }))
            | ("nobody", ChangeCustodianError::NoSuchPerson { .. }) => {}
            (kind, other) => panic!("{kind}: {other}"),
        }
    }
}

#[test]
fn one_person_with_two_keys_counts_once() {
    let desk = Desk::new();
    let second = desk.bo.again();
    desk.approvals.register(&second.registration(), noon()).unwrap();
    let request = desk.ask();
    desk.approve(&request, &desk.bo, "risk_lead").unwrap();
    let refused = desk.approve(&request, &second, "security_lead").unwrap_err();
    assert!(matches!(refused, SignError::Fault(SignatureFault::SamePerson { .. })), "{refused}");
    assert_eq!(desk.state(&request), State::Partial);
}

//! The contract of a store: each case is run against each, from empty.

mod custodians;
mod report;
mod requests;
mod rotations;

crate::on::on_every_store! {
    custodians:
        has_nothing_at_first, keeps_every_field_of_a_custodian, changes_only_the_registry_that_was_read,
        a_key_is_one_persons_for_ever, refuses_roles_that_cannot_be, a_key_ends_and_never_comes_back,
        a_key_is_replaced_by_an_active_one_of_that_person, refuses_more_keys_than_a_person_can_have;
    requests:
        keeps_every_field_of_a_request, refuses_a_second_request_of_an_id, lists_requests_page_by_page,
        signs_only_what_was_read, takes_one_decision_of_each_key, takes_no_more_signatures_than_can_be,
        ends_a_request_once, who_approved_may_take_it_back, refuses_words_that_cannot_be_shown;
    report:
        gives_what_a_key_signed_page_by_page, gives_a_key_that_decided_twice, says_how_requests_ended,
        knows_nothing_of_a_key_that_signed_nothing;
    rotations:
        keeps_every_field_of_a_rotation, begins_one_rotation_of_each_key,
        goes_on_only_from_where_it_was, lists_rotations_in_their_order;
}

//! The contract of a store: each case is run against each, from empty.

mod deks;
mod keks;
mod whole;
mod wrappings;

/// Makes a test of each case on each store.
macro_rules! on_every_store {
    ($($module:ident: $($case:ident),+;)+) => {
        mod sqlite {
            $($(
                #[test]
                fn $case() {
                    let place = crate::on::Place::sqlite();
                    super::$module::$case(place.open().as_ref());
                    place.open().check().unwrap();
                }
            )+)+
        }

        mod postgres {
            $($(
                #[test]
                fn $case() {
                    let Some(place) = crate::on::Place::postgres(stringify!($case)) else { return };
                    super::$module::$case(place.open().as_ref());
                    place.open().check().unwrap();
                }
            )+)+
        }
    };
}

on_every_store! {
    keks:
        has_nothing_at_first, enrols_the_first_kek_once, enrols_one_incoming_kek,
        switches_only_to_a_kek_that_opens_everything, gives_an_incoming_kek_up,
        a_kek_in_grace_comes_back_unverified, retires_only_what_nothing_needs, keeps_every_field_of_a_kek;
    deks:
        keeps_every_field_of_a_dek, one_dek_is_active_in_each_scope, refuses_a_dek_that_does_not_fit,
        changes_only_between_decrypt_only_and_retired, changes_only_what_is_as_it_was_read,
        destroys_only_what_is_due, counts_what_was_used, counts_nothing_if_a_version_is_unknown,
        counters_stay_at_their_greatest, lists_deks_page_by_page, finds_the_last_version_of_a_day;
    wrappings:
        lists_wrappings_page_by_page, a_wrapping_that_exists_stays, leaves_out_what_was_destroyed_meanwhile,
        refuses_wrappings_for_a_kek_that_is_not_live, marks_only_the_bytes_that_were_opened,
        drops_only_wrappings_under_an_incoming_kek, counts_progress, refuses_boxes_of_impossible_length;
    whole:
        gives_everything_and_takes_it_back, a_dump_sees_one_instant, a_dump_ends_when_it_is_told,
        restores_only_into_an_empty_store, restores_nothing_if_the_source_fails,
        refuses_records_that_contradict_each_other;
}

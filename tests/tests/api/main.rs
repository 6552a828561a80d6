//! The API server on its own: what it answers to the wrong, the much and the many.
#![allow(clippy::indexing_slicing, reason = "a test: a panic is its failure")]

mod access;
mod kinds;
mod lists;
mod malformed;
mod objects;

use std::process::ExitCode;

use knarr_tests::suite::{Suite, Test};

const TESTS: &[Test] = &[
    // Takes longest: it waits for a compaction.
    ("compacted_revisions_are_gone", lists::compacted),
    ("malformed_bodies", malformed::bodies),
    ("unknown_fields_warn_or_fail", malformed::unknown_fields),
    ("malformed_requests", malformed::requests),
    ("oversized_bodies", malformed::oversized),
    ("invalid_objects", malformed::invalid_objects),
    ("immutable_fields", malformed::immutable_fields),
    ("every_kind_is_listed_watched_and_empty_of_surprises", lists::every_kind),
    ("kinds_are_those_of_upstream", kinds::those_of_upstream),
    ("every_kind_from_its_creation_to_its_end", kinds::whole_lives),
    ("watch_resumes_and_bookmarks", lists::watch_resumes),
    ("revisions_of_the_future_are_refused", lists::not_there_yet),
    ("lists_in_pages", lists::pages),
    ("selectors", lists::selectors),
    ("concurrent_updates_conflict", objects::conflicts),
    ("preconditions_and_finalizers", objects::deletion),
    ("generated_names_and_delete_collection", objects::collections),
    ("binding", objects::binding),
    ("addresses_and_ports_are_given_once", objects::service_addresses),
    ("status_and_scale", objects::subresources),
    ("representations", objects::representations),
    ("credentials_and_impersonation", access::credentials_and_impersonation),
    ("nobody_escalates", access::escalation),
    ("tokens_end_with_what_they_are_bound_to", access::bound_tokens),
    ("reviews", access::reviews),
    ("too_many_requests", access::too_many_requests),
];

fn main() -> ExitCode {
    Suite { at_once: 3, arguments: &["--etcd-compaction-interval=20s"] }.run(TESTS)
}

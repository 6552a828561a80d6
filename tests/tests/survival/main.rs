//! Gate 3: what a node withstands. These tests kill things, so they run one after the other.
#![allow(clippy::indexing_slicing, reason = "a test: a panic is its failure")]

mod client;
mod kill;
mod node;
mod taints;
mod traces;
mod world;

use std::process::ExitCode;

use knarr_tests::suite::{Suite, Test};

const TESTS: &[Test] = &[
    ("killed_server_fails_nobody", kill::server_fails_nobody),
    ("stopped_server_comes_back_to_the_same_pods", node::stopped_server),
    ("everything_answers_while_the_server_is_down", node::server_down),
    ("killed_dataplane_is_back_at_once", node::dataplane_killed),
    ("killed_containerd_is_back_and_pods_stay", node::containerd_killed),
    ("reboot_brings_the_pods_back", node::reboot),
    ("labs_side_by_side_leave_nothing_behind", traces::side_by_side),
    // The pods of the tests above do not tolerate it.
    ("cordoned_and_tainted_nodes_turn_pods_away", taints::cordon_and_evict),
    ("runs_that_are_ended_leave_nothing_behind", traces::ended_runs),
];

fn main() -> ExitCode {
    Suite { at_once: 1, arguments: &[] }.run(TESTS)
}

//! Gate 1: what `kubectl` does with workloads, it does here as elsewhere.
#![allow(clippy::indexing_slicing, reason = "a test: a panic is its failure")]

mod command_line;
mod deployments;
mod interaction;
mod life;
mod manifests;
mod surroundings;

use std::process::ExitCode;

use knarr_tests::suite::{Suite, Test};

const TESTS: &[Test] = &[
    ("deployment_scales_rolls_out_and_back", deployments::scales_rolls_out_and_back),
    ("deployment_recreates_without_overlap", deployments::recreates_without_overlap),
    ("rollout_that_fails_keeps_the_old_pods", deployments::rollout_that_fails_keeps_the_old_pods),
    ("replication_controller_keeps_its_pods", deployments::replication_controller),
    ("replicas_that_must_not_share_a_node_wait", deployments::replicas_keep_apart),
    ("delete_cascades_as_told", deployments::delete_cascades_as_told),
    ("namespace_goes_with_all_it_holds", deployments::namespace_goes_with_all_it_holds),
    ("logs_of_every_kind", interaction::logs),
    ("logs_follow_until_the_end", interaction::logs_follow),
    ("exec_with_input_exit_code_and_terminal", interaction::exec),
    ("port_forward_to_pod_and_service", interaction::port_forward),
    ("get_watch_and_describe", interaction::watch_and_describe),
    ("attach_and_run", interaction::attach_and_run),
    ("init_containers_run_in_order", life::init_containers_in_order),
    ("probes_restart_and_unready", life::probes),
    ("restart_policies_and_back_off", life::restart_policies),
    ("termination_is_graceful", life::termination),
    ("unschedulable_pods_say_why", life::unschedulable),
    ("absent_images_say_why", life::absent_images),
    ("config_maps_and_secrets", surroundings::config_maps_and_secrets),
    ("downward_api_and_service_variables", surroundings::downward_api),
    ("volumes_hold_what_they_should", surroundings::volumes),
    ("limits_are_in_the_cgroup", surroundings::limits),
    ("service_account_token_works", surroundings::service_account_token),
    ("apply_and_patch", manifests::apply_and_patch),
    ("labels_annotations_replace_dry_run", manifests::edits),
    ("tables", command_line::tables),
    ("explain_and_discovery", command_line::explain_and_discovery),
    ("auth_can_i", command_line::auth_can_i),
];

fn main() -> ExitCode {
    Suite { at_once: 3, arguments: &[] }.run(TESTS)
}

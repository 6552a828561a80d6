//! Gate 2: pods, Services and names, as packets see them.
#![allow(clippy::indexing_slicing, reason = "a test: a panic is its failure")]

mod addresses;
mod names;
mod policies;
mod servers;
mod services;

use std::process::ExitCode;

use knarr_tests::suite::{Suite, Test};

const TESTS: &[Test] = &[
    ("hello_example_answers", services::hello_example),
    ("pods_reach_each_other_without_nat", services::pods_reach_each_other),
    ("pods_reach_the_lan_by_the_nodes_address", services::pods_reach_the_lan),
    ("cluster_ip_from_node_and_pod", services::cluster_ip),
    ("hairpin", services::hairpin),
    ("node_port_from_the_lan", services::node_port),
    ("udp", services::udp),
    ("rejected_without_endpoints", policies::rejected_without_endpoints),
    ("session_affinity", policies::session_affinity),
    ("traffic_policies", policies::traffic_policies),
    ("source_ranges", policies::source_ranges),
    ("endpoints_come_and_go", policies::endpoints_come_and_go),
    ("load_balancer_from_the_lan", addresses::from_the_lan),
    ("only_the_services_ports_answer", addresses::only_its_ports),
    ("address_in_use_on_the_lan", addresses::in_use),
    ("address_chosen_and_shared_out", addresses::chosen),
    ("names_of_services_and_pods", names::of_services_and_pods),
    ("names_of_others_are_forwarded", names::forwarded),
];

fn main() -> ExitCode {
    Suite { at_once: 3, arguments: &[] }.run(TESTS)
}

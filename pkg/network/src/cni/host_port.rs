//! `hostPort`: ports of the node that lead to a pod.
//!
//! They live in tables of their own, because a plugin adds and removes them while no other process of knarr may run. Their
//! chains come after those of Services, so a Service's address or node port is never taken over. As with node ports, the
//! loopback address is not among the node's addresses here.

use std::fmt::Write;
use std::net::IpAddr;

use super::request::PortMapping;
use crate::names::HOST_PORT_TABLE as TABLE;
use crate::{Family, Result, nft};

/// Leads the ports to a pod. Pods without ports cost nothing.
pub(super) fn add(pod: &[IpAddr], ports: &[PortMapping]) -> Result<()> {
    let mut commands = String::new();
    for ip in pod {
        let elements = elements(*ip, ports);
        if !elements.is_empty() {
            commands += &table(Family::of(*ip));
            commands += &changes("add", Family::of(*ip), &elements);
        }
    }
    if commands.is_empty() { Ok(()) } else { nft::apply_blocking(&commands) }
}

/// Undoes [`add`]; no error when that has happened already.
pub(super) fn remove(ip: IpAddr, ports: &[PortMapping]) -> Result<()> {
    let elements = elements(ip, ports);
    if elements.is_empty() {
        return Ok(());
    }
    let family = Family::of(ip);
    // Deleting what is not there is an error, so it is added first: in one transaction nobody sees that.
    nft::apply_blocking(&(table(family) + &changes("add", family, &elements) + &changes("delete", family, &elements)))
}

/// What a pod has in the maps of its family: map, key, value.
fn elements(ip: IpAddr, ports: &[PortMapping]) -> Vec<(&'static str, String, String)> {
    let family = Family::of(ip);
    let mut elements = Vec::new();
    for port in ports.iter().filter(|port| port.host_port != 0) {
        let key = format!("{} . {}", port.protocol.as_str(), port.host_port);
        let value = format!(" : {ip} . {}", port.container_port);
        match port.host_address() {
            None => elements.push(("any", key, value)),
            Some(host) if Family::of(host) == family => elements.push(("one", format!("{host} . {key}"), value)),
            Some(_) => {}
        }
    }
    if !elements.is_empty() {
        elements.push(("self", format!("{ip} . {ip}"), String::new()));
    }
    elements
}

fn changes(verb: &str, family: Family, elements: &[(&str, String, String)]) -> String {
    elements.iter().fold(String::new(), |mut commands, (map, key, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(commands, "{verb} element {} {TABLE} {map} {{ {key}{value} }}", family.nft());
        commands
    })
}

/// The table as it should be, which is cheap to say again.
fn table(family: Family) -> String {
    let (ip, address, loopback) = (family.nft(), family.nft_type(), family.loopback());
    let translate = format!(
        "meta l4proto {{ tcp, udp, sctp }} dnat {ip} to {ip} daddr . meta l4proto . th dport map @one\n\
         add rule {ip} {TABLE} ports fib daddr type local {ip} daddr != {loopback} \
         meta l4proto {{ tcp, udp, sctp }} dnat {ip} to meta l4proto . th dport map @any"
    );
    format!(
        "add table {ip} {TABLE}
add map {ip} {TABLE} one {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}
add map {ip} {TABLE} any {{ type inet_proto . inet_service : {address} . inet_service; }}
add set {ip} {TABLE} self {{ type {address} . {address}; comment \"pods that may reach themselves by a port of the node\"; }}
add chain {ip} {TABLE} ports
add chain {ip} {TABLE} prerouting {{ type nat hook prerouting priority -95; }}
add chain {ip} {TABLE} output {{ type nat hook output priority -95; }}
add chain {ip} {TABLE} postrouting {{ type nat hook postrouting priority 100; }}
flush table {ip} {TABLE}
add rule {ip} {TABLE} ports {translate}
add rule {ip} {TABLE} prerouting jump ports
add rule {ip} {TABLE} output jump ports
add rule {ip} {TABLE} postrouting {ip} saddr . {ip} daddr @self masquerade
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::request::Protocol;
    use super::*;

    #[test]
    fn a_port_is_an_element_of_its_family() {
        let port = |host_ip: &str| PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: host_ip.into(),
        };
        let ports = [port(""), port("192.0.2.1"), port("fd00::1"), PortMapping { host_port: 0, ..port("") }];
        assert_eq!(
            changes("add", Family::V4, &elements(IpAddr::from([10, 42, 0, 5]), &ports)),
            "add element ip knarr-hostport any { tcp . 8080 : 10.42.0.5 . 80 }\n\
             add element ip knarr-hostport one { 192.0.2.1 . tcp . 8080 : 10.42.0.5 . 80 }\n\
             add element ip knarr-hostport self { 10.42.0.5 . 10.42.0.5 }\n"
        );
        assert!(elements(IpAddr::from([10, 42, 0, 5]), &[]).is_empty());
    }
}

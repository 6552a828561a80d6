//! The lab's two network namespaces and the link between them.

use std::path::Path;

use anyhow::Result;

use super::{LAN_ADDRESS, NODE_ADDRESS};
use crate::command::run;

/// Makes both namespaces, joined by one link, without any route out. Starts from nothing when one of them is missing.
pub(super) fn make(name: &str) -> Result<()> {
    remove(name)?;
    let (node, lan) = (format!("{name}-node"), format!("{name}-lan"));
    for namespace in [&node, &lan] {
        run("ip", &["netns", "add", namespace])?;
    }
    run("ip", &["-n", &node, "link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", &lan])?;
    for (namespace, address) in [(&node, NODE_ADDRESS), (&lan, LAN_ADDRESS)] {
        run("ip", &["-n", namespace, "address", "add", &format!("{address}/24"), "dev", "lan0"])?;
        for link in ["lo", "lan0"] {
            run("ip", &["-n", namespace, "link", "set", link, "up"])?;
        }
    }
    Ok(())
}

/// Removes both namespaces, and with them their links, addresses, routes and rules.
pub(super) fn remove(name: &str) -> Result<()> {
    for namespace in [format!("{name}-node"), format!("{name}-lan")] {
        if Path::new("/run/netns").join(&namespace).exists() {
            run("ip", &["netns", "delete", &namespace])?;
        }
    }
    Ok(())
}

//! `knarr status`: how the node on this machine is doing, as its API server tells it.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::admin;
use crate::cli::{Directories, say};

/// Prints a few lines, and fails when the server does not answer or the node is not ready.
pub(crate) fn run(directories: &Directories) -> Result<()> {
    admin::ask(directories, async |client| {
        let version = client.apiserver_version().await.context("the server does not answer")?;
        say(&format!("server  {}", version.git_version));
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let mut ready = true;
        for node in nodes {
            let state = node_state(&node);
            ready &= state == "Ready";
            say(&format!("node    {} {state}", node.name_any()));
        }
        let pods = Api::<Pod>::all(client).list(&ListParams::default()).await?;
        let running = pods.iter().filter(|pod| phase(pod) == "Running").count();
        say(&format!("pods    {running} of {} running", pods.items.len()));
        if ready { Ok(()) } else { bail!("a node is not ready: `kubectl describe node` says why") }
    })
}

fn node_state(node: &Node) -> String {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(condition) if condition.status == "True" => "Ready".to_owned(),
        Some(condition) => format!("NotReady ({})", condition.message.as_deref().unwrap_or("no reason given")),
        None => "NotReady (it has not reported yet)".to_owned(),
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

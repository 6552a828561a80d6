//! What `make run` shows: the hello example, reached in every way a Service can be.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use knarr_tests::command::output;
use knarr_tests::lab::{Lab, NODE_ADDRESS};
use knarr_tests::wait::until;

/// Deploys the example and prints how it answers.
pub(crate) fn show(lab: &Lab) -> Result<()> {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello.yaml");
    let example = Path::new(example).canonicalize().context("cannot find examples/hello.yaml")?;
    eprintln!("waiting for the node ...");
    lab.kubectl_output(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"])?;
    eprintln!("deploying {} ...", example.display());
    lab.kubectl_output(&["apply", "-f", &example.to_string_lossy()])?;
    lab.kubectl_output(&["rollout", "status", "deployment/hello", "--timeout=120s"])?;
    let field = |path: &str| lab.kubectl_output(&["get", "service", "hello", "-o", &format!("jsonpath={{{path}}}")]);
    let address = until("the Service has a LoadBalancer IP", Duration::from_secs(30), || {
        match field(".status.loadBalancer.ingress[0].ip") {
            Ok(address) if !address.is_empty() => Ok(address),
            Ok(_) => Err("none yet".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    let (cluster_ip, node_port) = (field(".spec.clusterIP")?, field(".spec.ports[0].nodePort")?);

    for (title, arguments) in [
        ("node", &["get", "nodes", "-o", "wide"][..]),
        ("pods", &["get", "pods", "-o", "wide"]),
        ("service", &["get", "service", "hello"]),
    ] {
        say(&format!("\n== {title}\n{}", lab.kubectl_output(arguments)?.trim_end()));
    }
    page("ClusterIP, from the node", &cluster_ip, lab.on_node("curl")?)?;
    page("NodePort, from the LAN", &format!("{NODE_ADDRESS}:{node_port}"), lab.on_lan("curl"))?;
    page("LoadBalancer IP, from the LAN", &address, lab.on_lan("curl"))?;
    let neighbour = output(lab.on_lan("ip").args(["neighbour", "show", &address]))?;
    say(&format!("   the LAN's host learned by ARP: {}", neighbour.trim()));
    let which = if lab.name() == "knarr-lab" { String::new() } else { format!(" LAB={}", lab.name()) };
    say(&format!(
        "\nThe cluster keeps running. Try:\n  export KUBECONFIG={}\n  kubectl get pods -A\n  kubectl scale deployment hello --replicas=5\n  \
         kubectl logs -l app=hello\n  make stop{which}    # knarr stops, the pods go on answering\n  make run{which}     # knarr is back\n  \
         make reset{which}   # removes every trace",
        lab.paths().kubeconfig().display()
    ));
    Ok(())
}

fn page(way: &str, address: &str, mut curl: Command) -> Result<()> {
    curl.args(["-sS", "--fail", "--max-time", "5", &format!("http://{address}/")]);
    let body = until(way, Duration::from_secs(20), || output(&mut curl).map_err(|error| format!("{error:#}")))?;
    say(&format!("\n== {way}: http://{address}/\n{}", body.trim_end()));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "this is the output that the user asked for")]
fn say(text: &str) {
    println!("{text}");
}

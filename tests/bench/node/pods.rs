//! A pod's start, against the same sandbox and container by bare CRI calls.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use knarr_tests::api::Api;
use knarr_tests::command::output;
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;
use knarr_tests::suite::beside;
use serde_json::json;

use knarr_tests::figures::{median, print};

const IMAGE: &str = "docker.io/library/busybox:1";
const ROUNDS: usize = 15;

/// POST to phase Running, and bare calls, alternating.
pub(crate) fn latency(lab: &Lab) -> Result<()> {
    let api = Api::admin(lab)?;
    let space = Space::new(lab, "latency")?;
    space.kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=30s"])?;
    let bare = beside("knarr")?.with_file_name("examples").join("bare-cri");
    ensure!(bare.is_file(), "bare-cri is not built: cargo build --release -p knarr-kubelet --example bare-cri");
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(pod(&api, &space, &format!("p{round}"))?);
        let mut command = lab.on_node(&bare.to_string_lossy())?;
        command.arg(lab.paths().run().join("containerd.sock")).arg(IMAGE).arg(format!("/{}", lab.name()));
        let seconds: f64 = output(&mut command)?.trim().parse().context("bare-cri")?;
        peer.push(seconds);
    }
    let (ours, peer) = (median(ours) * 1e3, median(peer) * 1e3);
    print("pod_post_to_running_p50_milliseconds", ours, Some(peer), Some("<=1.25"));
    Ok(())
}

fn pod(api: &Api, space: &Space<'_>, name: &str) -> Result<f64> {
    let pods = format!("/api/v1/namespaces/{}/pods", space.name());
    let list = api.get(&format!("{pods}?limit=1"))?;
    let revision =
        list.pointer("/metadata/resourceVersion").and_then(serde_json::Value::as_str).context("resourceVersion")?;
    let mut watch = api.watch(&format!("{pods}?watch=1&resourceVersion={revision}"))?;
    let container = json!({"name": "c", "image": IMAGE, "command": ["sleep", "100000"]});
    let object =
        json!({"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}});
    let start = Instant::now();
    let answer = api.post(&pods, &object)?;
    ensure!(answer.status == 201, "{answer}");
    watch.find(Duration::from_secs(60), |event| {
        let is = |path: &str, value: &str| event.pointer(path).is_some_and(|seen| seen == value);
        is("/object/metadata/name", name) && is("/object/status/phase", "Running")
    })?;
    let took = start.elapsed().as_secs_f64();
    space.kubectl(&["delete", "pod", name, "--force", "--grace-period=0"])?;
    Ok(took)
}

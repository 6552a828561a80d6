//! Deployments and what they own.

use std::time::Duration;

use anyhow::{Result, ensure};
use knarr_tests::lab::Lab;
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;

/// A program that ends when it is told to: as the first process of its container, `sleep` would not.
const OBEYS: &str = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

const IMAGE: &str = ".spec.template.spec.containers[0].image";

pub(crate) fn scales_rolls_out_and_back(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "rollout")?;
    let create = ["create", "deployment", "web", "--image=busybox:1", "--replicas=2", "--", "sh", "-c", OBEYS];
    let told = space.kubectl(&create)?;
    ensure!(told.trim() == "deployment.apps/web created", "{told}");
    let told = space.rolled_out("deployment/web")?;
    ensure!(told.contains(r#"deployment "web" successfully rolled out"#), "{told}");
    space.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    space.until_is("deployment/web", ".status.readyReplicas", "3")?;
    space.kubectl(&["scale", "deployment/web", "--replicas=1", "--current-replicas=3"])?;
    until("the surplus pods are gone", POD, || match space.pods("app=web") {
        Ok(pods) if pods.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    let refused = space.refused(&["scale", "deployment/web", "--replicas=5", "--current-replicas=3"])?;
    ensure!(refused.contains("Expected replicas to be 3, was 1"), "{refused}");

    let before = space.pods("app=web")?;
    space.kubectl(&["set", "image", "deployment/web", "busybox=busybox:1.37"])?;
    space.rolled_out("deployment/web")?;
    ensure!(space.field("deployment/web", IMAGE)? == "busybox:1.37");
    until("the old pods are gone", POD, || match space.pods("app=web") {
        Ok(pods) if pods.len() == 1 && pods != before => Ok(()),
        other => Err(format!("{other:?}, before {before:?}")),
    })?;
    history(&space, &["1", "2"])?;
    let told = space.kubectl(&["rollout", "history", "deployment/web", "--revision=1"])?;
    ensure!(told.contains("busybox:1\n"), "{told}");

    let told = space.kubectl(&["rollout", "undo", "deployment/web"])?;
    ensure!(told.contains("deployment.apps/web rolled back"), "{told}");
    space.rolled_out("deployment/web")?;
    ensure!(space.field("deployment/web", IMAGE)? == "busybox:1");
    history(&space, &["2", "3"])?;
    ensure!(space.get(&["replicasets"])?["items"].as_array().map(Vec::len) == Some(2), "a revision's set is reused");

    space.kubectl(&["rollout", "restart", "deployment/web"])?;
    space.rolled_out("deployment/web")?;
    history(&space, &["2", "3", "4"])?;
    space.kubectl(&["rollout", "pause", "deployment/web"])?;
    space.kubectl(&["set", "env", "deployment/web", "A=b"])?;
    space.until_field("deployment/web", ".status.conditions[?(@.type=='Progressing')].reason", |reason| {
        reason == "DeploymentPaused"
    })?;
    history(&space, &["2", "3", "4"])?;
    space.kubectl(&["rollout", "resume", "deployment/web"])?;
    space.rolled_out("deployment/web")?;
    history(&space, &["2", "3", "4", "5"])
}

fn history(space: &Space<'_>, revisions: &[&str]) -> Result<()> {
    let told = space.kubectl(&["rollout", "history", "deployment/web"])?;
    let seen: Vec<&str> = told.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(seen == revisions, "expected {revisions:?}: {told}");
    Ok(())
}

pub(crate) fn recreates_without_overlap(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "recreate")?;
    space.apply(
        r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {
            replicas: 2, strategy: {type: Recreate}, selector: {matchLabels: {app: web}}, template: {
              metadata: {labels: {app: web}},
              spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: "busybox:1", command: [sleep, "1000"]}]}}}}"#,
    )?;
    space.rolled_out("deployment/web")?;
    let old = space.get(&["pods", "-l", "app=web"])?;
    space.kubectl(&["set", "env", "deployment/web", "A=1"])?;
    space.rolled_out("deployment/web")?;
    let new = space.get(&["pods", "-l", "app=web"])?;
    let names = |list: &serde_json::Value| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|pod| pod["metadata"]["name"].to_string()).collect::<Vec<_>>()
    };
    ensure!(names(&new).len() == 2 && names(&new).iter().all(|name| !names(&old).contains(name)), "{new}");
    Ok(())
}

pub(crate) fn rollout_that_fails_keeps_the_old_pods(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "stuck")?;
    space.apply(
        r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {
            replicas: 2, progressDeadlineSeconds: 2, selector: {matchLabels: {app: web}}, template: {
              metadata: {labels: {app: web}},
              spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: "busybox:1", command: [sleep, "1000"]}]}}}}"#,
    )?;
    space.rolled_out("deployment/web")?;
    space.kubectl(&[
        "patch",
        "deployment/web",
        "--patch",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","command":["/absent"]}]}}}}"#,
    ])?;
    space.until_field("deployment/web", ".status.conditions[?(@.type=='Progressing')].reason", |reason| {
        reason == "ProgressDeadlineExceeded"
    })?;
    let told = space.refused(&["rollout", "status", "deployment/web"])?;
    ensure!(told.contains("exceeded its progress deadline"), "{told}");
    ensure!(space.field("deployment/web", ".status.availableReplicas")? == "2", "{}", space.state());
    Ok(())
}

pub(crate) fn replication_controller(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "replication")?;
    space.apply(
        r#"{apiVersion: v1, kind: ReplicationController, metadata: {name: old}, spec: {replicas: 2, selector: {app: old}, template: {
            metadata: {labels: {app: old}},
            spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: "busybox:1", command: [sleep, "1000"]}]}}}}"#,
    )?;
    space.until_is("replicationcontroller/old", ".status.readyReplicas", "2")?;
    let lost = space.pods("app=old")?.pop().unwrap_or_default();
    space.kubectl(&["delete", "pod", &lost])?;
    until("another pod takes its place", POD, || match space.pods("app=old") {
        Ok(pods) if pods.len() == 2 && !pods.contains(&lost) => Ok(()),
        other => Err(format!("{other:?}, without {lost}")),
    })?;
    space.kubectl(&["scale", "replicationcontroller/old", "--replicas=1"])?;
    until("the surplus pod is gone", POD, || match space.pods("app=old") {
        Ok(pods) if pods.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

pub(crate) fn delete_cascades_as_told(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "cascade")?;
    let gone = |what: &str| {
        until(&format!("{what} are gone"), POD, || match space.get(&[what]) {
            Ok(list) if list["items"].as_array().is_some_and(Vec::is_empty) => Ok(()),
            Ok(list) => Err(list["items"][0]["metadata"].to_string()),
            Err(error) => Err(format!("{error:#}")),
        })
    };
    for (cascade, leaves) in [("background", 0), ("foreground", 0), ("orphan", 1)] {
        space.kubectl(&["create", "deployment", "web", "--image=busybox:1", "--", "sh", "-c", OBEYS])?;
        space.rolled_out("deployment/web")?;
        space.kubectl(&["delete", "deployment/web", &format!("--cascade={cascade}")])?;
        let sets = space.get(&["replicasets"])?;
        match leaves {
            0 => gone("replicasets").and_then(|()| gone("pods"))?,
            _ => until("the set is orphaned", Duration::from_secs(30), || match space.get(&["replicasets"]) {
                Ok(sets) if sets["items"][0]["metadata"]["ownerReferences"].is_null() => Ok(()),
                other => Err(format!("{other:?}")),
            })?,
        }
        if leaves == 1 {
            let name = sets["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            ensure!(space.pods("app=web")?.len() == 1, "orphaning keeps the pods");
            space.kubectl(&["delete", "replicaset", &name])?;
            gone("pods")?;
        }
    }
    Ok(())
}

pub(crate) fn namespace_goes_with_all_it_holds(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "whole")?;
    let inner = Space::new(lab, "inner")?;
    inner.kubectl(&["create", "deployment", "web", "--image=busybox:1", "--", "sh", "-c", OBEYS])?;
    inner.kubectl(&["create", "configmap", "c", "--from-literal=a=b"])?;
    inner.rolled_out("deployment/web")?;
    lab.kubectl_output(&["delete", "namespace", "inner", "--timeout=90s"])?;
    let refused = space.refused(&["get", "namespace", "inner"])?;
    ensure!(refused.contains(r#"namespaces "inner" not found"#), "{refused}");
    let pods = lab.kubectl_output(&["get", "pods", "--namespace=inner", "-o", "name"])?;
    ensure!(pods.is_empty(), "{pods}");
    let refused = inner.refused(&["create", "configmap", "c"])?;
    ensure!(refused.contains(r#"namespaces "inner" not found"#), "{refused}");
    inner.keep();
    Ok(())
}

/// Replicas that must not share a node, on a cluster of one: as with upstream, the second waits, says why, and is scheduled
/// when the first leaves.
pub(crate) fn replicas_keep_apart(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "apart")?;
    space.apply(&format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {{topologyKey: kubernetes.io/hostname, labelSelector: {{matchLabels: {{app: web}}}}}}
      containers: [{{name: c, image: "busybox:1", command: [sh, -c, "{OBEYS}"]}}]
"#
    ))?;
    space.until_is("deployment/web", ".status.readyReplicas", "1")?;
    let placed = |phase: &str| -> Result<String> {
        let selector = format!("--field-selector=status.phase={phase}");
        Ok(space.kubectl(&["get", "pods", "-l", "app=web", &selector, "-o", "name"])?.trim().to_owned())
    };
    let (first, second) = (placed("Running")?, placed("Pending")?);
    let condition = ".status.conditions[?(@.type=='PodScheduled')]";
    space.until_is(&second, &format!("{condition}.reason"), "Unschedulable")?;
    let message = space.field(&second, &format!("{condition}.message"))?;
    let expected = "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. preemption: 0/1 nodes are \
                    available: 1 No preemption victims found for incoming pod.";
    ensure!(message == expected, "{message}");
    space.kubectl(&["scale", "deployment/web", "--replicas=1"])?;
    until("the pod that waited is the one too many", POD, || match space.pods("app=web") {
        Ok(pods) if pods.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    ensure!(placed("Running")? == first);
    space.kubectl(&["scale", "deployment/web", "--replicas=2"])?;
    space.until_is("deployment/web", ".status.replicas", "2")?;
    space.kubectl(&["delete", &first, "--wait=false"])?;
    until("one that waited has its place", POD, || match placed("Running") {
        Ok(now) if !now.is_empty() && now != first => Ok(()),
        other => Err(format!("{other:?}, before {first}")),
    })
}

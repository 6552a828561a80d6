//! The life of a pod: start, probes, restarts, end.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use knarr_tests::command::shown;
use knarr_tests::lab::Lab;
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;

const FIRST: &str = ".status.containerStatuses[0]";

pub(crate) fn init_containers_in_order(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "init")?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: steps}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: notes, emptyDir: {}}]
  initContainers:
  - {name: one, image: "busybox:1", command: [sh, -c, "echo one >> /notes/log"], volumeMounts: [{name: notes, mountPath: /notes}]}
  - {name: side, image: "busybox:1", restartPolicy: Always, command: [sh, -c, "echo side >> /notes/log; exec sleep 1000"],
     startupProbe: {exec: {command: [grep, side, /notes/log]}, periodSeconds: 1}, volumeMounts: [{name: notes, mountPath: /notes}]}
  - {name: two, image: "busybox:1", command: [sh, -c, "echo two >> /notes/log"], volumeMounts: [{name: notes, mountPath: /notes}]}
  containers:
  - {name: main, image: "busybox:1", command: [sh, -c, "cat /notes/log; exec sleep 1000"], volumeMounts: [{name: notes, mountPath: /notes}]}
---
apiVersion: v1
kind: Pod
metadata: {name: never}
spec:
  restartPolicy: Never
  initContainers: [{name: broken, image: "busybox:1", command: [sh, -c, "exit 5"]}]
  containers: [{name: main, image: "busybox:1", command: [sleep, "1000"]}]
"#,
    )?;
    space.wait("condition=Ready", &["pod/steps"])?;
    let told = space.kubectl(&["logs", "steps", "-c", "main"])?;
    ensure!(told == "one\nside\ntwo\n", "{told:?}");
    ensure!(space.kubectl(&["get", "pod", "steps", "--no-headers"])?.contains("2/2"), "{}", space.state());
    space.until_is("pod/never", ".status.phase", "Failed")?;
    let table = space.kubectl(&["get", "pod", "never", "--no-headers"])?;
    ensure!(table.contains("Init:Error"), "{table}");
    ensure!(space.field("pod/never", &format!("{FIRST}.state.waiting.reason"))? == "PodInitializing");
    Ok(())
}

pub(crate) fn probes(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "probes")?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: ill}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: busybox:1
    command: [sh, -c, "touch /tmp/well; exec sleep 1000"]
    livenessProbe: {exec: {command: [test, -e, /tmp/well]}, periodSeconds: 1, failureThreshold: 2}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: knarr.io/examples/web:1
    ports: [{name: http, containerPort: 80}]
    startupProbe: {tcpSocket: {port: http}, periodSeconds: 1, failureThreshold: 30}
    livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
    readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"#,
    )?;
    space.wait("condition=Ready", &["pod/ill"])?;
    let first = space.field("pod/ill", &format!("{FIRST}.containerID"))?;
    space.exec("ill", &["rm", "/tmp/well"])?;
    space.until_is("pod/ill", &format!("{FIRST}.restartCount"), "1")?;
    space.wait("condition=Ready", &["pod/ill"])?;
    ensure!(space.field("pod/ill", &format!("{FIRST}.containerID"))? != first);
    let events = space.kubectl(&["get", "events", "--field-selector=involvedObject.name=ill"])?;
    ensure!(events.contains("Unhealthy") && events.contains("Liveness probe failed"), "{events}");
    ensure!(events.contains("failed liveness probe, will be restarted"), "{events}");

    space.until_is("pod/web", &format!("{FIRST}.started"), "true")?;
    let ready = ".status.conditions[?(@.type=='Ready')].status";
    ensure!(space.field("pod/web", ready)? == "False");
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=web"];
    let serves = |wanted: bool| {
        until("the endpoint is as ready as its pod", POD, || {
            let list = space.get(&slices).map_err(|error| format!("{error:#}"))?;
            let seen = &list["items"][0]["endpoints"][0]["conditions"]["ready"];
            if *seen == wanted { Ok(()) } else { Err(list.to_string()) }
        })
    };
    serves(false)?;
    space.exec("web", &["sh", "-c", "echo yes > /www/ready"])?;
    space.until_is("pod/web", ready, "True")?;
    serves(true)?;
    space.exec("web", &["rm", "/www/ready"])?;
    space.until_is("pod/web", ready, "False")?;
    serves(false)?;
    ensure!(space.field("pod/web", &format!("{FIRST}.restartCount"))? == "0", "an unready pod is not restarted");
    Ok(())
}

pub(crate) fn restart_policies(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "restarts")?;
    let pod = |name: &str, policy: &str, script: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: {policy}\n  containers:\n  \
             - {{name: c, image: 'busybox:1', command: [sh, -c, '{script}']}}\n---\n"
        )
    };
    space.apply(
        &[
            pod("done", "OnFailure", "true"),
            pod("failed", "Never", "echo lost > /dev/termination-log; exit 3"),
            pod("again", "OnFailure", "echo try; exit 1"),
            pod("always", "Always", "true"),
        ]
        .concat(),
    )?;
    space.until_is("pod/done", ".status.phase", "Succeeded")?;
    space.until_is("pod/failed", ".status.phase", "Failed")?;
    let terminated = space.get(&["pod", "failed"])?["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    ensure!(
        terminated["exitCode"] == 3 && terminated["reason"] == "Error" && terminated["message"] == "lost\n",
        "{terminated}"
    );
    for name in ["again", "always"] {
        space.until_is(&format!("pod/{name}"), &format!("{FIRST}.state.waiting.reason"), "CrashLoopBackOff")?;
    }
    let waiting = space.field("pod/again", &format!("{FIRST}.state.waiting.message"))?;
    ensure!(
        waiting.starts_with("back-off ") && waiting.contains("restarting failed container=c pod=again_restarts("),
        "{waiting}"
    );
    ensure!(space.kubectl(&["logs", "again", "--previous"])? == "try\n");
    let table = space.kubectl(&["get", "pods", "--no-headers"])?;
    for word in ["CrashLoopBackOff", "Completed", "Error"] {
        ensure!(table.contains(word), "{table}");
    }
    Ok(())
}

pub(crate) fn termination(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "ending")?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: polite}
spec:
  terminationGracePeriodSeconds: 30
  containers:
  - name: c
    image: busybox:1
    command: [sh, -c, "trap 'echo got TERM; exit 0' TERM; echo up; while :; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo started > /proc/1/fd/1"]}}
      preStop: {exec: {command: [sh, -c, "echo stopping > /proc/1/fd/1"]}}
---
apiVersion: v1
kind: Pod
metadata: {name: deaf}
spec:
  terminationGracePeriodSeconds: 2
  containers: [{name: c, image: "busybox:1", command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]}]
"#,
    )?;
    space.wait("condition=Ready", &["pod/polite", "pod/deaf"])?;
    // Bounded by timeout(1), should the stream not end with its container.
    let shown = shown(&space.command(&["logs", "-f", "polite"]));
    let mut command = Command::new("timeout");
    command.arg("60").args(shown.split(' '));
    let follow = command.stdout(std::process::Stdio::piped()).spawn()?;
    until("the follower has begun", POD, || {
        let told = space.kubectl(&["logs", "polite"]).map_err(|error| format!("{error:#}"))?;
        if told.contains("up") && told.contains("started") { Ok(()) } else { Err(told) }
    })?;
    let start = std::time::Instant::now();
    space.kubectl(&["delete", "pod", "polite"])?;
    ensure!(start.elapsed().as_secs() < 25, "it ended by itself, not at its deadline: {:?}", start.elapsed());
    let told = String::from_utf8_lossy(&follow.wait_with_output()?.stdout).into_owned();
    let at = |word: &str| told.find(word).with_context(|| format!("{word:?} is not in {told:?}"));
    ensure!(at("stopping")? < at("got TERM")?, "preStop comes before the signal: {told}");

    let start = std::time::Instant::now();
    space.kubectl(&["delete", "pod", "deaf"])?;
    let took = start.elapsed().as_secs();
    ensure!((2..20).contains(&took), "killed after its two seconds of grace: {took} s");
    Ok(())
}

pub(crate) fn unschedulable(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "nowhere")?;
    for (name, spec, why) in [
        ("nodeless", r#""nodeSelector":{"disk":"none"},"#, "1 node(s) didn't match Pod's node affinity/selector"),
        ("huge", r#""nodeSelector":{},"#, "1 Insufficient cpu"),
    ] {
        let resources = if name == "huge" { r#","resources":{"requests":{"cpu":"1000"}}"# } else { "" };
        space.apply(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{{spec}
              "containers":[{{"name":"c","image":"busybox:1","command":["sleep","1000"]{resources}}}]}}}}"#
        ))?;
        let condition = ".status.conditions[?(@.type=='PodScheduled')]";
        space.until_is(&format!("pod/{name}"), &format!("{condition}.reason"), "Unschedulable")?;
        let message = space.field(&format!("pod/{name}"), &format!("{condition}.message"))?;
        ensure!(message.starts_with("0/1 nodes are available: ") && message.contains(why), "{message}");
        until("there is an event", POD, || {
            let selector = format!("--field-selector=involvedObject.name={name},reason=FailedScheduling");
            let told = space.kubectl(&["get", "events", &selector]).map_err(|error| format!("{error:#}"))?;
            if told.contains(why) { Ok(()) } else { Err(told) }
        })?;
    }
    let node = lab.kubectl_output(&["get", "nodes", "-o", "name"])?;
    lab.kubectl_output(&["label", node.trim(), "disk=none"])?;
    space.wait("condition=Ready", &["pod/nodeless"])
}

pub(crate) fn absent_images(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "absent")?;
    space.kubectl(&["run", "never", "--image=knarr.io/absent:1", "--image-pull-policy=Never"])?;
    space.until_is("pod/never", &format!("{FIRST}.state.waiting.reason"), "ErrImageNeverPull")?;
    let message = space.field("pod/never", &format!("{FIRST}.state.waiting.message"))?;
    ensure!(message == r#"Container image "knarr.io/absent:1" is not present with pull policy of Never"#, "{message}");
    space.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"pull"},"spec":{"containers":[
            {"name":"c","image":"127.0.0.1:1/absent:1"}]}}"#,
    )?;
    let reason = space.until_field("pod/pull", &format!("{FIRST}.state.waiting.reason"), |reason| {
        matches!(reason, "ErrImagePull" | "ImagePullBackOff")
    })?;
    ensure!(!reason.is_empty());
    Ok(())
}

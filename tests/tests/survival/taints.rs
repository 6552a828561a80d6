//! A node that is no longer for everybody.

use anyhow::{Result, ensure};
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;

fn pod(name: &str, tolerations: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, \
         tolerations: [{tolerations}], containers: [{{name: c, image: 'busybox:1', command: [sleep, '100000']}}]}}}}"
    )
}

pub(crate) fn cordon_and_evict(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "taints")?;
    let node = lab.kubectl_output(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    space.apply(&pod("staying", "{key: repair, operator: Exists}"))?;
    space.apply(&pod("going", ""))?;
    space.wait("condition=Ready", &["pod/staying", "pod/going"])?;

    space.kubectl(&["cordon", &node])?;
    space.until_field(&format!("node/{node}"), ".spec.taints[*].key", |keys| keys.contains("unschedulable"))?;
    space.apply(&pod("late", ""))?;
    let message = ".status.conditions[?(@.type=='PodScheduled')].message";
    let why = "1 node(s) were unschedulable";
    space.until_field("pod/late", message, |told| told.contains(why))?;
    space.kubectl(&["uncordon", &node])?;
    space.wait("condition=Ready", &["pod/late"])?;

    space.kubectl(&["taint", "node", &node, "repair=now:NoExecute"])?;
    space.wait("delete", &["pod/going", "pod/late"])?;
    let events = space.kubectl(&["get", "events", "--field-selector=reason=TaintManagerEviction"])?;
    ensure!(events.contains("pod/going") && !events.contains("pod/staying"), "{events}");
    ensure!(space.field("pod/staying", ".status.containerStatuses[0].restartCount")? == "0");
    space.kubectl(&["taint", "node", &node, "repair:NoExecute-"]).map(drop)
}

//! Pods, and what pod templates share with them.

mod fills;

use serde_json::json;

use super::Context;
use super::row::{Row, SPEC};
use crate::Object;
use crate::object::Meta;
use crate::tree::Tree;

pub(super) use fills::{NETWORK_VOLUME, TEMPLATE};

/// Pods.
pub(super) static POD: Row = Row {
    fills: fills::POD,
    generation: SPEC,
    grace: grace_period,
    prepare_create,
    prepare_update,
    status_restores: &["ownerReferences", "deletionTimestamp"],
    ..Row::PLAIN
};

fn prepare_create(_cx: &Context<'_>, pod: &mut Object) {
    pod.insert("status".into(), json!({"phase": "Pending"}));
    if !pod.list("spec.schedulingGates").is_empty() {
        let gated = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": null,
            "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
        pod.section("status").insert("conditions".into(), gated);
    }
}

fn prepare_update(cx: &Context<'_>, new: &mut Object, old: &Object) {
    if cx.subresource != Some("status") {
        return;
    }
    if new.text("status.qosClass").is_empty()
        && let Some(class) = old.value("status.qosClass")
    {
        new.section("status").insert("qosClass".into(), class.clone());
    }
    join_addresses(new.section("status"));
}

/// `podIP` is the first of `podIPs`, whichever of the two was written.
fn join_addresses(status: &mut Object) {
    let first = status.objects("podIPs").next().map(|address| address.text("ip").to_owned());
    match (status.text("podIP"), first.as_deref()) {
        ("", Some(first)) => status.insert("podIP".into(), first.into()),
        ("", None) => None,
        (own, first) if first != Some(own) => {
            let list = json!([{ "ip": own }]);
            status.insert("podIPs".into(), list)
        }
        _ => None,
    };
}

/// A pod has the seconds that its spec grants, unless no kubelet has it or its containers have ended.
fn grace_period(pod: &Object, requested: Option<i64>) -> Option<i64> {
    let unscheduled = pod.text("spec.nodeName").is_empty();
    let ended = matches!(pod.text("status.phase"), "Failed" | "Succeeded");
    let seconds = requested.or_else(|| pod.int("spec.terminationGracePeriodSeconds")).unwrap_or_default();
    Some(match seconds {
        _ if unscheduled || ended => 0,
        seconds if seconds < 0 => 1,
        seconds => seconds,
    })
}

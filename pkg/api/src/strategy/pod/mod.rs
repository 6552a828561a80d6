//! Pods, and what pod templates share with them.

mod affinity;
mod container;
mod env;
mod fills;
mod mount;
mod place;
mod probe;
mod qos;
mod resources;
mod security;
mod spec;
mod status;
mod template;
#[cfg(test)]
mod tests;
mod update;
mod volume;
mod warn;

use serde_json::json;

use super::Context;
use super::row::{Row, SPEC};
use super::rules::At;
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::tree::{Tree, objects_mut};

pub(super) use affinity::check_node_selector;
pub(super) use container::PROTOCOLS;
pub(super) use fills::{NETWORK_VOLUME, TEMPLATE};
pub(super) use place::{EFFECTS, check_tolerations};
pub(super) use probe::check_port;
pub(super) use resources::{can_overcommit, check_amount, check_container_name, check_name, quantities, quantity};
pub(super) use template::{check as check_template, check_lasting, check_selector, keep_selector};
pub(super) use volume::{NFS, no_backsteps};
pub(super) use warn::controller as warn_of_template;

/// Marks pods that a node's files define; the API shows them only.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Pods.
pub(super) static POD: Row = Row {
    fills: fills::POD,
    check: check_pod,
    check_create,
    check_update,
    check_status: status::check,
    generation: SPEC,
    grace: grace_period,
    prepare_create,
    prepare_update,
    status_restores: &["ownerReferences", "deletionTimestamp"],
    warn: warn::pod,
    ..Row::PLAIN
};

fn prepare_create(_cx: &Context<'_>, pod: &mut Object) {
    // Admission may have named one since the defaults were filled.
    fills::service_account(pod.section("spec"));
    let class = qos::class(pod);
    pod.insert("status".into(), json!({"phase": "Pending", "qosClass": class}));
    if !pod.list("spec.schedulingGates").is_empty() {
        let gated = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": null,
            "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
        pod.section("status").insert("conditions".into(), gated);
    }
    merge_label_keys(pod);
}

/// `matchLabelKeys` select by the pod's own values: upstream writes them into the selector of a new pod
/// (`mutatePodAffinity`, `mutateTopologySpreadConstraints`).
fn merge_label_keys(pod: &mut Object) {
    let labels = pod.map("metadata.labels").clone();
    let spec = pod.section("spec");
    for one in objects_mut(spec, "topologySpreadConstraints") {
        merge_keys(one, &labels, "matchLabelKeys", "In");
    }
    for kind in ["affinity.podAffinity", "affinity.podAntiAffinity"] {
        for list in
            ["requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"]
        {
            for term in objects_mut(spec, &format!("{kind}.{list}")) {
                let term = if term.has("podAffinityTerm") { term.section("podAffinityTerm") } else { term };
                merge_keys(term, &labels, "matchLabelKeys", "In");
                merge_keys(term, &labels, "mismatchLabelKeys", "NotIn");
            }
        }
    }
}

fn merge_keys(term: &mut Object, labels: &Object, field: &str, operator: &str) {
    if !term.has("labelSelector") {
        return;
    }
    let own = term.texts(field).filter_map(|key| {
        Some(json!({
            "key": key, "operator": operator, "values": [labels.get(key)?],
        }))
    });
    let own: Vec<_> = own.collect();
    if own.is_empty() {
        return;
    }
    let rules = term.section("labelSelector").entry("matchExpressions").or_insert_with(|| json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.extend(own);
    }
}

fn prepare_update(cx: &Context<'_>, new: &mut Object, old: &Object) {
    match cx.subresource {
        Some("ephemeralcontainers") => {
            let debuggers = new.value("spec.ephemeralContainers").cloned();
            restore(new, old);
            if let Some(debuggers) = debuggers {
                new.section("spec").insert("ephemeralContainers".into(), debuggers);
            }
            return;
        }
        Some("resize") => return keep_resources(new, old),
        Some("status") => {}
        _ => return,
    }
    if new.text("status.qosClass").is_empty()
        && let Some(class) = old.value("status.qosClass")
    {
        new.section("status").insert("qosClass".into(), class.clone());
    }
    join_addresses(new.section("status"));
}

/// Makes `new` what `old` is, but for which revision it changes and who owns which field.
fn restore(new: &mut Object, old: &Object) {
    let mut metadata = std::mem::take(new.meta_mut());
    new.clone_from(old);
    for field in ["resourceVersion", "managedFields"] {
        if let Some(value) = metadata.remove(field) {
            new.meta_mut().insert(field.into(), value);
        }
    }
}

/// Of a resize only the resources of containers count, unless containers were added, removed or moved: that is for
/// validation to refuse.
fn keep_resources(new: &mut Object, old: &Object) {
    let wanted = new.map("spec").clone();
    restore(new, old);
    for list in ["containers", "initContainers"] {
        let names = |spec: &Object| spec.objects(list).map(|one| one.text("name").to_owned()).collect::<Vec<_>>();
        if names(&wanted) != names(old.map("spec")) {
            if let Some(own) = wanted.get(list) {
                new.section("spec").insert(list.into(), own.clone());
            }
            continue;
        }
        for (one, own) in objects_mut(new, &format!("spec.{list}")).zip(wanted.objects(list)) {
            for field in ["resources", "resizePolicy"] {
                match own.get(field) {
                    Some(value) => drop(one.insert(field.into(), value.clone())),
                    None => drop(one.remove(field)),
                }
            }
        }
    }
}

/// `podIP` is the first of `podIPs`, whichever of the two was written.
fn join_addresses(status: &mut Object) {
    let first = status.objects("podIPs").next().map(|address| address.text("ip").to_owned());
    match (status.text("podIP"), first.as_deref()) {
        ("", Some(first)) => drop(status.insert("podIP".into(), first.into())),
        ("", None) => {}
        (own, first) if first != Some(own) => {
            let list = json!([{ "ip": own }]);
            status.insert("podIPs".into(), list);
        }
        _ => {}
    }
}

fn check_pod(_cx: &Context<'_>, errors: &mut Errors, pod: &Object) {
    let annotations = Path::root("metadata").child("annotations");
    let own = pod.map("metadata.annotations");
    if let Some(value) = own.get(MIRROR).filter(|_| pod.text("spec.nodeName").is_empty()) {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(annotations.key(MIRROR), value.clone(), detail);
    }
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    if let Some(cost) = own.get(COST).filter(|cost| cost.as_str().is_none_or(|cost| cost.parse::<i32>().is_err())) {
        errors.invalid(annotations.key(COST), cost.clone(), "must be a 32bit integer");
    }
    let at = At { path: Path::root("spec"), object: pod.map("spec") };
    spec::check(errors, &at, Some(pod.map("metadata")));
    if at.text("serviceAccountName").is_empty() {
        for source in at.each("volumes").flat_map(|volume| volume.each("projected.sources")) {
            if source.object.has("serviceAccountToken") {
                let detail = "must not be specified when serviceAccountName is not set";
                errors.forbidden(source.path("serviceAccountToken"), detail);
            }
        }
    }
    for list in ["containers", "initContainers"] {
        at.each(list).for_each(|one| container::check_image(errors, &one));
    }
}

fn check_create(_cx: &Context<'_>, errors: &mut Errors, pod: &Object) {
    let spec = Path::root("spec");
    if !pod.list("spec.ephemeralContainers").is_empty() {
        errors.forbidden(spec.child("ephemeralContainers"), "cannot be set on create");
    }
    if !pod.text("spec.nodeName").is_empty() && !pod.list("spec.schedulingGates").is_empty() {
        errors.forbidden(spec.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

fn check_update(cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    match cx.subresource {
        None => update::check(errors, new, old),
        Some("ephemeralcontainers") => {
            check_pod(cx, errors, new);
            update::check_ephemeral(errors, new, old);
        }
        Some("resize") => {
            check_pod(cx, errors, new);
            update::check_resize(errors, new, old);
        }
        Some(_) => {}
    }
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

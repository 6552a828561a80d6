//! Validation of the status that a kubelet reports.

use std::net::IpAddr;

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::forms;
use crate::strategy::rules::{At, formed, unchanged};
use crate::tree::Tree;

const SYSTEM_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// Checks an update through `status`: upstream's `ValidatePodStatusUpdate`.
pub(super) fn check(errors: &mut Errors, new: &Object, old: &Object) {
    super::update::check_annotations(errors, new, old);
    let status = At { path: Path::root("status"), object: new.map("status") };
    for condition in status.each("conditions") {
        if condition.object.number("observedGeneration") < 0 {
            let generation = condition.object.number("observedGeneration");
            errors.invalid(condition.path("observedGeneration"), generation, "must be a non-negative integer");
        }
        let kind = condition.text("type");
        if !SYSTEM_CONDITIONS.contains(&kind) {
            formed(errors, &condition.path("Type"), kind, forms::qualified);
        }
    }
    check_nominated(errors, &status, old);
    if status.object.number("observedGeneration") < 0 {
        let generation = status.object.number("observedGeneration");
        errors.invalid(status.path("observedGeneration"), generation, "must be a non-negative integer");
    }
    unchanged(errors, new, old, &["status.qosClass"]);
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        check_transitions(errors, &status, old, list);
    }
    check_addresses(errors, &status, "podIPs");
    check_addresses(errors, &status, "hostIPs");
    let first = status.object.objects("hostIPs").next().map(|address| address.text("ip"));
    if let Some(first) = first.filter(|first| *first != status.text("hostIP")) {
        errors.invalid(status.path("hostIPs").index(0).child("ip"), first, "must be equal to `hostIP`");
    }
}

fn check_nominated(errors: &mut Errors, status: &At<'_>, old: &Object) {
    let (name, before) = (status.text("nominatedNodeName"), old.text("status.nominatedNodeName"));
    if name.is_empty() || name == before {
        return;
    }
    formed(errors, &status.path("nominatedNodeName"), name, forms::subdomain);
    if !old.text("spec.nodeName").is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.forbidden(status.path("nominatedNodeName"), detail);
    }
}

/// A container that has ended stays so, unless its pod's or its own policy restarts it.
fn check_transitions(errors: &mut Errors, status: &At<'_>, old: &Object, list: &str) {
    let spec_list = match list {
        "containerStatuses" => "spec.containers",
        "initContainerStatuses" => "spec.initContainers",
        _ => "",
    };
    for (index, before) in old.map("status").objects(list).enumerate() {
        let Some(ended) = before.object("state.terminated") else { continue };
        let name = before.text("name");
        let container = (!spec_list.is_empty())
            .then(|| old.objects(spec_list).find(|container| container.text("name") == name))
            .flatten();
        let restarts = !spec_list.is_empty() && restarts(old, container, ended);
        let mut now = status.object.objects(list);
        if !restarts && now.any(|now| now.text("name") == name && !now.has("state.terminated")) {
            let path = status.path(list).index(index).child("state");
            errors.forbidden(path, "may not be transitioned to non-terminated state");
        }
    }
}

fn restarts(pod: &Object, container: Option<&Object>, ended: &Object) -> bool {
    let code = ended.number("exitCode");
    let by_rule = |rule: &Object| {
        let listed = rule.list("exitCodes.values").iter().any(|value| value.as_i64() == Some(code));
        listed == (rule.text("exitCodes.operator") == "In")
    };
    let Some(container) = container else { return pod.text("spec.restartPolicy") == "Always" };
    if container.objects("restartPolicyRules").any(by_rule) {
        return true;
    }
    let policy = match container.text("restartPolicy") {
        "" => pod.text("spec.restartPolicy"),
        own => own,
    };
    match policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn check_addresses(errors: &mut Errors, status: &At<'_>, list: &str) {
    for address in status.each(list) {
        formed(errors, &address.path, address.text("ip"), forms::ip);
    }
    let all: Vec<_> = status.object.objects(list).filter_map(|address| forms::sloppy_ip(address.text("ip"))).collect();
    let dual = matches!(all.as_slice(), [one, other] if one.is_ipv4() != IpAddr::is_ipv4(other));
    if status.object.list(list).len() > 1 && !dual {
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid(status.path(list), status.object.list(list).to_vec(), detail);
    }
}

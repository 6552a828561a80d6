//! What the restricted level adds.

use std::collections::BTreeSet;

use knarr_api::Object;
use knarr_api::tree::Tree;

use super::checks::{Finding, Template, capabilities_beyond, finding, seccomp};
use super::words::{Setters, plural, quoted};

pub(super) fn privilege_escalation(template: &Template<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && template.is_windows() {
        return None;
    }
    let path = "securityContext.allowPrivilegeEscalation";
    let containers = template.bad(|container| container.flag(path) != Some(false));
    let setters = Setters::new(false, &containers);
    let detail = || format!("{setters} must set {path}=false");
    if containers.is_empty() { None } else { finding("allowPrivilegeEscalation != false", detail()) }
}

pub(super) fn dropped_capabilities(template: &Template<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && template.is_windows() {
        return None;
    }
    let drops = |container: &&Object| container.texts("securityContext.capabilities.drop").any(|name| name == "ALL");
    let keeping = template.bad(|container| !drops(container));
    let setters = Setters::new(false, &keeping);
    let keeps =
        (!keeping.is_empty()).then(|| format!("{setters} must set securityContext.capabilities.drop=[\"ALL\"]"));
    let details: Vec<_> = [keeps, capabilities_beyond(template, &["NET_BIND_SERVICE"])].into_iter().flatten().collect();
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

const ALLOWED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn volume_types(template: &Template<'_>, _: u32) -> Option<Finding> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in template.spec.objects("volumes") {
        if ALLOWED_VOLUMES.iter().any(|kind| volume.has(kind)) {
            continue;
        }
        names.push(volume.text("name"));
        kinds.insert(volume.keys().find(|key| *key != "name").map_or("unknown", String::as_str));
    }
    if names.is_empty() {
        return None;
    }
    let kinds: Vec<_> = kinds.into_iter().collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let head = format!("{} {} {verb}", plural("volume", names.len()), quoted(&names));
    let tail = format!("{} {}", plural("restricted volume type", kinds.len()), quoted(&kinds));
    finding("restricted volume types", format!("{head} {tail}"))
}

pub(super) fn run_as_non_root(template: &Template<'_>, minor: u32) -> Option<Finding> {
    if minor >= 35 && template.has_user_namespace() {
        return None;
    }
    let path = "securityContext.runAsNonRoot";
    let pod = template.spec.flag(path);
    let says_no = template.bad(|container| container.flag(path) == Some(false));
    let setters = Setters::new(pod == Some(false), &says_no);
    let reason = "runAsNonRoot != true";
    if !setters.is_empty() {
        return finding(reason, format!("{setters} must not set {path}=false"));
    }
    let silent = template.bad(|container| container.flag(path).is_none() && pod != Some(true));
    let silent_setters = Setters::new(false, &silent);
    if silent.is_empty() { None } else { finding(reason, format!("pod or {silent_setters} must set {path}=true")) }
}

pub(super) fn run_as_user(template: &Template<'_>, minor: u32) -> Option<Finding> {
    if minor >= 35 && template.has_user_namespace() {
        return None;
    }
    let bad = |owner: &Object| owner.int("securityContext.runAsUser") == Some(0);
    let containers = template.bad(|container| bad(container));
    let setters = Setters::new(bad(template.spec), &containers);
    if setters.is_empty() { None } else { finding("runAsUser=0", format!("{setters} must not set runAsUser=0")) }
}

pub(super) fn required_seccomp(template: &Template<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && template.is_windows() {
        return None;
    }
    if let Some(wrong) = seccomp(template, minor) {
        return Some(wrong);
    }
    let path = "securityContext.seccompProfile";
    let pod = template.spec.has(path);
    let silent = template.bad(|container| !container.has(path) && !pod);
    let setters = Setters::new(false, &silent);
    let detail = || format!("pod or {setters} must set {path}.type to \"RuntimeDefault\" or \"Localhost\"");
    if silent.is_empty() { None } else { finding("seccompProfile", detail()) }
}

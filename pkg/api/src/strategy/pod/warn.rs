//! What is allowed but surprises: upstream's `pkg/api/pod/warnings.go`.

use std::collections::{BTreeMap, BTreeSet};

use super::container;
use super::resources::quantity;
use crate::Object;
use crate::field::Path;
use crate::quantity::Quantity;
use crate::strategy::forms;
use crate::strategy::rules::At;
use crate::tree::{Tree, same};

/// Labels of nodes that have newer names.
const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

const OLD_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings for a new pod.
pub(super) fn pod(pod: &Object, old: Option<&Object>) -> Vec<String> {
    // People rarely change pods by hand, and kubelets and controllers do it often.
    if old.is_some() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    name(&mut warnings, pod, "the Pod's hostname");
    parts(&mut warnings, &At::root(pod));
    warnings
}

/// Warnings for a controller of pods with its template at `path`, when that is new or changed.
pub(in crate::strategy) fn controller(object: &Object, old: Option<&Object>, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    match old {
        None => name(&mut warnings, object, "Pod names and hostnames"),
        Some(old) if same(object.value("spec"), old.value("spec")) => return warnings,
        Some(_) => {}
    }
    if let Some(template) = object.object(path) {
        parts(&mut warnings, &At { path: Path::root("").child(path), object: template });
    }
    warnings
}

fn name(warnings: &mut Vec<String>, object: &Object, used: &str) {
    let faults = forms::label(object.text("metadata.name"));
    if !faults.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            faults.join(" ")
        ));
    }
}

fn parts(warnings: &mut Vec<String>, at: &At<'_>) {
    let Some(spec) = at.enter("spec") else { return };
    labels(warnings, &spec);
    annotations(warnings, at);
    for volume in spec.each("volumes") {
        for (field, text) in OLD_VOLUMES.iter().filter(|(field, _)| volume.object.has(field)) {
            warnings.push(format!("{}: {text}", volume.path(field)));
        }
    }
    duplicates(warnings, &spec, "hostAliases", "ip");
    duplicates(warnings, &spec, "imagePullSecrets", "name");
    for secret in spec.each("imagePullSecrets").filter(|secret| secret.text("name").is_empty()) {
        warnings.push(format!("{}: invalid empty name \"\"", secret.path("name")));
    }
    for one in container::every(&spec) {
        fractions(warnings, &one);
        hidden(warnings, &one);
    }
    ports(warnings, &spec);
    if spec.object.number("terminationGracePeriodSeconds") < 0 {
        let path = spec.path("terminationGracePeriodSeconds");
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    selectors(warnings, &spec);
}

fn labels(warnings: &mut Vec<String>, spec: &At<'_>) {
    let old = |key: &str| OLD_LABELS.iter().find(|(label, _)| *label == key).map(|(_, text)| *text);
    for (key, text) in spec.object.map("nodeSelector").keys().filter_map(|key| Some((key, old(key)?))) {
        warnings.push(format!("{}: {text}", spec.path("nodeSelector").key(key)));
    }
    for one in spec.each("topologySpreadConstraints") {
        let key = one.text("topologyKey");
        if let Some(text) = old(key) {
            warnings.push(format!("{}: {key} is {text}", one.path("topologyKey")));
        }
        if !one.object.has("labelSelector") {
            let path = one.path("labelSelector");
            warnings.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
}

fn annotations(warnings: &mut Vec<String>, at: &At<'_>) {
    let own = at.object.map("metadata.annotations");
    for (key, text) in OLD_ANNOTATIONS.iter().filter(|(key, _)| own.contains_key(*key)) {
        warnings.push(format!("{}: {text}", at.path("metadata.annotations").key(key)));
    }
}

fn duplicates(warnings: &mut Vec<String>, spec: &At<'_>, list: &str, field: &str) {
    let mut seen = BTreeSet::new();
    for item in spec.each(list) {
        if !seen.insert(item.text(field)) {
            warnings.push(format!("{}: duplicate {field} {:?}", item.path(field), item.text(field)));
        }
    }
}

fn fractions(warnings: &mut Vec<String>, one: &At<'_>) {
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            let amount = one.object.map("resources").map(list).get(name).and_then(quantity);
            let is_fraction = |amount: &Quantity| *amount != Quantity::new(amount.value(), amount.format());
            if let Some(amount) = amount.filter(is_fraction) {
                let path = one.path("resources").child(list).key(name);
                let text = amount.to_string();
                warnings.push(format!("{path}: fractional byte value {text:?} is invalid, must be an integer"));
            }
        }
    }
}

/// A second variable of one name is meant only where it extends the first.
fn hidden(warnings: &mut Vec<String>, one: &At<'_>) {
    let mut seen = BTreeSet::new();
    for variable in one.each("env") {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if variable.object.has("valueFrom") || value == reference || !value.contains(&reference) {
            let path = &variable.path;
            warnings
                .push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

fn ports(warnings: &mut Vec<String>, spec: &At<'_>) {
    let mut places: BTreeMap<String, Vec<At<'_>>> = BTreeMap::new();
    let mut names: BTreeMap<&str, Path> = BTreeMap::new();
    for port in container::every(spec).flat_map(|one| one.each("ports")) {
        let place = format!("{}/{}", port.object.number("containerPort"), port.text("protocol"));
        let others = places.entry(place).or_default();
        for other in others.iter() {
            let host = |at: &At<'_>| (at.object.number("hostPort"), at.text("hostIP").to_owned());
            let ((a_port, a_ip), (b_port, b_ip)) = (host(&port), host(other));
            let kind = match () {
                () if a_port == b_port && a_ip == b_ip => "duplicate",
                () if a_port == 0 || b_port == 0 => "overlapping",
                () if a_port == b_port && a_ip.is_empty() != b_ip.is_empty() => "dangerously ambiguous",
                () => continue,
            };
            warnings.push(format!("{}: {kind} port definition with {}", port.path, other.path));
        }
        others.push(port);
    }
    for port in container::every(spec).flat_map(|one| one.each("ports")) {
        let name = port.text("name");
        if name.is_empty() {
            continue;
        }
        match names.get(name) {
            Some(other) => warnings.push(format!(
                "{}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}",
                port.path
            )),
            None => drop(names.insert(name, port.path)),
        }
    }
}

fn selectors(warnings: &mut Vec<String>, spec: &At<'_>) {
    for kind in ["affinity.podAffinity", "affinity.podAntiAffinity"] {
        let Some(affinity) = spec.enter(kind) else { continue };
        let required = affinity.each("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = affinity.each("preferredDuringSchedulingIgnoredDuringExecution");
        for term in required.chain(preferred.filter_map(|weighted| weighted.enter("podAffinityTerm"))) {
            if !term.object.has("labelSelector") {
                let path = term.path("labelSelector");
                warnings.push(format!("{path}: a null labelSelector results in matching no pod"));
            }
        }
    }
}

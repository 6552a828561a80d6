//! Validation of requests and limits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::spec::{Pod, not_found};
use crate::Object;
use crate::field::{Errors, Path};
use crate::quantity::Quantity;
use crate::strategy::forms;
use crate::strategy::rules::{At, NEGATIVE, Rule, check, formed};
use crate::tree::Tree;

/// A quantity as it stands in JSON: a string, or a number.
pub(in crate::strategy) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// The quantities of a map by name.
pub(in crate::strategy) fn quantities(map: &Object) -> impl Iterator<Item = (&str, Quantity)> {
    map.iter().filter_map(|(name, value)| Some((name.as_str(), quantity(value)?)))
}

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Resources that exist in whole numbers only, beside extended ones.
const WHOLE: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Names that mean something without a domain before them.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && forms::qualified(&format!("requests.{name}")).is_empty()
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether more of a resource may be limited than is requested.
pub(in crate::strategy) fn can_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

/// Checks the name of any resource.
pub(in crate::strategy) fn check_name(errors: &mut Errors, path: &Path, name: &str) {
    let faults = forms::qualified(name);
    let known =
        STANDARD.contains(&name) || WHOLE.contains(&name) || is_huge(name) || name.starts_with("requests.hugepages-");
    if faults.is_empty() && !name.contains('/') && !known {
        errors.invalid(path.clone(), name, "must be a standard resource type or fully qualified");
    }
    faults.into_iter().for_each(|fault| errors.invalid(path.clone(), name, fault));
}

/// Checks the name of a resource that containers can have.
pub(in crate::strategy) fn check_container_name(errors: &mut Errors, path: &Path, name: &str) {
    check_name(errors, path, name);
    if !name.contains('/') {
        if !COMPUTE.contains(&name) && !is_huge(name) {
            errors.invalid(path.clone(), name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path.clone(), name, "doesn't follow extended resource name standard");
    }
}

/// Checks an amount of a resource.
pub(in crate::strategy) fn check_amount(errors: &mut Errors, path: &Path, name: &str, amount: Quantity) {
    if amount.is_negative() {
        errors.invalid(path.clone(), amount.to_string(), NEGATIVE);
    }
    if (WHOLE.contains(&name) || is_extended(name)) && amount != Quantity::new(amount.value(), amount.format()) {
        errors.invalid(path.clone(), amount.to_string(), "must be an integer");
    }
}

/// Checks `requests`, `limits` and `claims`.
pub(super) fn check_requirements(errors: &mut Errors, at: &At<'_>, claims: &BTreeSet<&str>) {
    check_lists(errors, at, check_container_name);
    check_claim_names(errors, at, claims);
}

fn check_lists(errors: &mut Errors, at: &At<'_>, check_name: fn(&mut Errors, &Path, &str)) {
    let limits: BTreeMap<_, _> = quantities(at.object.map("limits")).collect();
    let (mut huge, mut compute) = (false, false);
    let mut look = |errors: &mut Errors, list: &str, name: &str, amount: Quantity| {
        let path = at.path(list).key(name);
        check_name(errors, &path, name);
        check_amount(errors, &path, name, amount);
        huge |= is_huge(name);
        compute |= matches!(name, "cpu" | "memory");
        if let Some(size) = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok())
            && size.value() > 0
            && (amount.value() % size.value() != 0)
        {
            let detail = format!("{amount} is not positive integer multiple of {name}");
            errors.invalid(path, amount.to_string(), detail);
        }
    };
    for (name, limit) in &limits {
        look(errors, "limits", name, *limit);
    }
    for (name, request) in quantities(at.object.map("requests")) {
        look(errors, "requests", name, request);
        match limits.get(name) {
            Some(limit) if request != *limit && !can_overcommit(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.invalid(at.path("requests"), request.to_string(), detail);
            }
            Some(limit) if request > *limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(at.path("requests"), request.to_string(), detail);
            }
            None if !can_overcommit(name) => {
                errors.required(at.path("limits"), "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    if huge && !compute {
        errors.forbidden(at.path.clone(), "HugePages require cpu or memory");
    }
}

fn check_claim_names(errors: &mut Errors, at: &At<'_>, claims: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    for claim in at.each("claims") {
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.required(claim.path.clone(), "");
            continue;
        }
        if !request.is_empty() {
            formed(errors, &claim.path("request"), request, forms::label);
        }
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
        let part = format!("{name}/");
        if seen.contains(name) || request.is_empty() && seen.iter().any(|other: &String| other.starts_with(&part)) {
            errors.duplicate(claim.path.clone(), name);
        } else if !seen.insert(key.clone()) {
            errors.duplicate(claim.path.clone(), key);
        }
        if !claims.contains(name) {
            let all: Vec<_> = claims.iter().copied().collect();
            let which = if all.is_empty() { " which is empty".into() } else { format!(": {}", all.join(", ")) };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{which}");
            not_found(errors, claim.path.clone(), name, &detail);
        }
    }
}

/// Checks the resources of a pod as a whole.
pub(super) fn check_pod(errors: &mut Errors, spec: &At<'_>, pod: &Pod<'_>) {
    let Some(own) = spec.enter("resources") else { return };
    if spec.object.text("os.name") == "windows" {
        return errors.forbidden(own.path, "may not be set for a windows pod");
    }
    if own.object.has("claims") {
        errors.forbidden(own.path("claims"), "claims may not be set for Resources at pod-level");
    }
    check_lists(errors, &own, |errors, path, name| {
        if !matches!(name, "cpu" | "memory") && !is_huge(name) {
            errors.not_supported(path.clone(), name, &["cpu", "hugepages-", "memory"]);
        }
    });
    let asked = sum_of_requests(pod.spec);
    for (name, request) in quantities(own.object.map("requests")) {
        if let Some(sum) = asked.get(name).filter(|sum| **sum > request) {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(own.path("requests").key(name), request.to_string(), detail);
        }
    }
    let limits: BTreeMap<_, _> = quantities(own.object.map("limits")).collect();
    for (index, container) in spec.object.objects("containers").enumerate() {
        for (name, limit) in quantities(container.map("resources.limits")) {
            if let Some(most) = limits.get(name).filter(|most| limit > **most) {
                let path = own.path("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.invalid(path, limit.to_string(), detail);
            }
        }
    }
}

/// What the containers of a pod request together at most: sidecars run beside the others, init containers before them.
pub(super) fn sum_of_requests(spec: &Object) -> BTreeMap<String, Quantity> {
    let mut regular: BTreeMap<String, Quantity> = BTreeMap::new();
    let add = |sums: &mut BTreeMap<String, Quantity>, container: &Object| {
        for (name, amount) in quantities(container.map("resources.requests")) {
            let sum = sums.get(name).map_or(amount, |sum| *sum + amount);
            sums.insert(name.to_owned(), sum);
        }
    };
    spec.objects("containers").for_each(|container| add(&mut regular, container));
    let (mut sidecars, mut peaks) = (BTreeMap::new(), Vec::new());
    for container in spec.objects("initContainers") {
        if container.text("restartPolicy") == "Always" {
            add(&mut sidecars, container);
            add(&mut regular, container);
            peaks.push(sidecars.clone());
        } else {
            let mut peak = sidecars.clone();
            add(&mut peak, container);
            peaks.push(peak);
        }
    }
    for (name, amount) in peaks.into_iter().flatten() {
        let most = regular.get(&name).map_or(amount, |sum| (*sum).max(amount));
        regular.insert(name, most);
    }
    regular
}

/// Checks `spec.resourceClaims`.
pub(super) fn check_claims(errors: &mut Errors, spec: &At<'_>, metadata: Option<&Object>) {
    let is_static = metadata.is_some_and(|metadata| metadata.map("annotations").contains_key(super::MIRROR));
    let mut names = BTreeSet::new();
    for claim in spec.each("resourceClaims") {
        if is_static {
            errors.forbidden(Path::root(""), "static pods do not support resource claims");
            continue;
        }
        if names.contains(claim.text("name")) {
            errors.duplicate(claim.path("name"), claim.text("name"));
        } else {
            check(errors, &claim, &[Rule::Named("name", forms::label)]);
            names.insert(claim.text("name"));
        }
        match (claim.object.has("resourceClaimName"), claim.object.has("resourceClaimTemplateName")) {
            (true, true) => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(claim.path.clone(), claim.as_value(), detail);
            }
            (false, false) => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(claim.path.clone(), claim.as_value(), detail);
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            check(errors, &claim, &[Rule::Formed(field, forms::subdomain)]);
        }
    }
}

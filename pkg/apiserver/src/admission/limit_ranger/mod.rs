//! LimitRanger: what a namespace's LimitRanges demand of containers, pods and claims, and what they fill in:
//! <https://kubernetes.io/docs/concepts/policy/limit-range/>.

mod constraint;
mod totals;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::{Meta, object_in};
use knarr_api::quantity::Quantity;
use knarr_api::status::Result;
use knarr_api::tree::{Tree, objects_mut};
use serde_json::Value;

use super::{Admission, AdmissionRequest, Operation};
use constraint::{maximum, maximum_request, minimum, ratio};
use totals::total;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Amounts by resource name.
type Amounts = BTreeMap<String, Quantity>;

/// See the module.
#[derive(Debug)]
pub(super) struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        if !(request.creates("", "pods") || resizes(request)) {
            return Ok(());
        }
        let ranges = request.all("", "limitranges", request.namespace).await?;
        if let Some(pod) = request.object.as_deref_mut() {
            ranges.iter().for_each(|range| fill(pod, range));
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let pods = request.creates("", "pods") || resizes(request);
        let claims = writes && request.is("", "persistentvolumeclaims");
        let ending = request.old.is_some_and(|old| !old.meta("deletionTimestamp").is_empty());
        let Some(object) = request.object.as_deref().filter(|_| (pods || claims) && !ending) else { return Ok(()) };
        for range in request.all("", "limitranges", request.namespace).await? {
            let errors = if pods { check_pod(object, &range) } else { check_claim(object, &range) };
            match errors.as_slice() {
                [] => {}
                [one] => return Err(request.forbidden(one)),
                many => return Err(request.forbidden(format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

fn resizes(request: &AdmissionRequest<'_>) -> bool {
    request.operation == Operation::Update && request.is_sub("", "pods", "resize")
}

/// The quantities of a map; what is none was refused, or will be, by validation.
fn amounts(map: &Object) -> Amounts {
    let quantity = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    map.iter().filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

/// Gives containers the requests and limits that they do not name.
fn fill(pod: &mut Object, range: &Object) {
    let mut said = Vec::new();
    for limit in range.objects("spec.limits").filter(|limit| limit.text("type") == "Container") {
        let defaults = (limit.map("defaultRequest"), limit.map("default"));
        for (path, what) in [("spec.containers", "container"), ("spec.initContainers", "init container")] {
            for container in objects_mut(pod, path) {
                let name = container.text("name").to_owned();
                for (field, word, defaults) in [("requests", "request", defaults.0), ("limits", "limit", defaults.1)] {
                    let added = add_missing(container, field, defaults);
                    if !added.is_empty() {
                        said.push(format!("{} {word} for {what} {name}", added.join(", ")));
                    }
                }
            }
        }
    }
    if !said.is_empty() {
        let annotations = object_in(pod.meta_mut().entry("annotations").or_insert(Value::Null));
        annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", said.join("; ")).into());
    }
}

fn add_missing(container: &mut Object, field: &str, defaults: &Object) -> Vec<String> {
    let present: BTreeSet<_> = container.map(&format!("resources.{field}")).keys().cloned().collect();
    let mut added: Vec<_> = defaults.keys().filter(|name| !present.contains(*name)).cloned().collect();
    added.sort();
    if !added.is_empty() {
        let map = object_in(container.section("resources").entry(field).or_insert(Value::Null));
        for name in &added {
            map.insert(name.clone(), defaults.get(name).cloned().unwrap_or(Value::Null));
        }
    }
    added
}

fn check_pod(pod: &Object, range: &Object) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in range.objects("spec.limits") {
        match limit.text("type") {
            "Container" => {
                for container in pod.objects("spec.containers").chain(pod.objects("spec.initContainers")) {
                    let part = |field: &str| amounts(container.map(&format!("resources.{field}")));
                    check(limit, &part("requests"), &part("limits"), &mut errors);
                }
            }
            "Pod" => check(limit, &total(pod, "requests"), &total(pod, "limits"), &mut errors),
            _ => {}
        }
    }
    errors
}

fn check(limit: &Object, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    let scope = limit.text("type");
    type Rule = fn(&str, &str, Quantity, Option<Quantity>, Option<Quantity>) -> std::result::Result<(), String>;
    let rules: [(&str, Rule); 3] = [("min", minimum), ("max", maximum), ("maxLimitRequestRatio", ratio)];
    for (field, rule) in rules {
        for (resource, enforced) in amounts(limit.map(field)) {
            let (request, limit) = (requests.get(&resource).copied(), limits.get(&resource).copied());
            errors.extend(rule(scope, &resource, enforced, request, limit).err());
        }
    }
}

fn check_claim(claim: &Object, range: &Object) -> Vec<String> {
    let mut errors = Vec::new();
    let requests = amounts(claim.map("spec.resources.requests"));
    let limits = range.objects("spec.limits").filter(|limit| limit.text("type") == "PersistentVolumeClaim");
    for limit in limits {
        let scope = limit.text("type");
        for (resource, enforced) in amounts(limit.map("min")) {
            errors.extend(minimum(scope, &resource, enforced, requests.get(&resource).copied(), None).err());
        }
        for (resource, enforced) in amounts(limit.map("max")) {
            errors.extend(maximum_request(scope, &resource, enforced, requests.get(&resource).copied()).err());
        }
    }
    errors
}

#[cfg(test)]
mod tests;

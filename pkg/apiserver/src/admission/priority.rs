//! Priority: a pod's `spec.priority` comes from its PriorityClass:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>.

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::Tree;

use super::{Admission, AdmissionRequest, Operation};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";

/// See the module.
#[derive(Debug)]
pub(super) struct Priority;

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        if !request.is("", "pods") {
            return Ok(());
        }
        if request.operation == Operation::Update {
            if let (Some(pod), Some(old)) = (request.object.as_deref_mut(), request.old) {
                keep(pod, old);
            }
            return Ok(());
        }
        if request.operation != Operation::Create {
            return Ok(());
        }
        let class = match request.object.as_deref().map(|pod| pod.text("spec.priorityClassName")).unwrap_or_default() {
            "" => default_class(&request.all(GROUP, CLASSES, "").await?).cloned(),
            name => {
                let class = request.find(GROUP, CLASSES, "", name).await?;
                let missing = || request.forbidden(format!("no PriorityClass with name {name} was found"));
                Some(class.ok_or_else(missing)?)
            }
        };
        let applied = request.object.as_deref_mut().map_or(Ok(()), |pod| apply(pod, class.as_ref()));
        applied.map_err(|why| request.forbidden(why))
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let Some(class) = request.object.as_deref().filter(|_| writes && request.is(GROUP, CLASSES)) else {
            return Ok(());
        };
        if !class.is_true("globalDefault") {
            return Ok(());
        }
        let classes = request.all(GROUP, CLASSES, "").await?;
        match default_class(&classes) {
            Some(other) if request.operation == Operation::Create || other.name() != class.name() => {
                let why = "is already marked as default. Only one default can exist";
                Err(request.forbidden(format!("PriorityClass {} {why}", other.name())))
            }
            _ => Ok(()),
        }
    }
}

/// Clients that do not know the fields send them empty.
fn keep(pod: &mut Object, old: &Object) {
    for field in ["priority", "preemptionPolicy"] {
        let path = format!("spec.{field}");
        if let (false, Some(value)) = (pod.has(&path), old.value(&path)) {
            pod.section("spec").insert(field.into(), value.clone());
        }
    }
}

/// The class for pods that name none; of several the least.
fn default_class(classes: &[Object]) -> Option<&Object> {
    classes.iter().filter(|class| class.is_true("globalDefault")).min_by_key(|class| class.number("value"))
}

fn apply(pod: &mut Object, class: Option<&Object>) -> std::result::Result<(), String> {
    let value = class.map_or(0, |class| class.number("value"));
    let policy = class.map_or("PreemptLowerPriority", |class| class.text("preemptionPolicy"));
    let tail = "must not be provided in pod spec; priority admission controller computed";
    let given = pod.int("spec.priority").filter(|given| *given != value);
    if let Some(given) = given {
        return Err(format!(
            "the integer value of priority ({given}) {tail} {value} from the given PriorityClass name"
        ));
    }
    let given = pod.text("spec.preemptionPolicy");
    if !policy.is_empty() && !given.is_empty() && given != policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) {tail} {policy} from the given PriorityClass name"
        ));
    }
    let spec = pod.section("spec");
    if let Some(class) = class {
        spec.insert("priorityClassName".into(), class.name().into());
    }
    spec.insert("priority".into(), value.into());
    if !policy.is_empty() {
        spec.insert("preemptionPolicy".into(), policy.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn the_class_says_the_priority() {
        let class = object(json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}));
        let conflict = "the integer value of priority (7) must not be provided in pod spec; priority admission controller \
                        computed 1000 from the given PriorityClass name";
        let table = [
            (json!({}), None, Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}))),
            (
                json!({}),
                Some(&class),
                Ok(json!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never"})),
            ),
            (json!({"priority": 7}), Some(&class), Err(conflict.to_owned())),
            (
                json!({"preemptionPolicy": "PreemptLowerPriority"}),
                Some(&class),
                Err("the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; \
                     priority admission controller computed Never from the given PriorityClass name"
                    .to_owned()),
            ),
        ];
        for (spec, class, expected) in table {
            let mut pod = object(json!({"spec": spec}));
            assert_eq!(apply(&mut pod, class).map(|()| pod["spec"].clone()), expected);
        }
    }

    #[test]
    fn of_several_defaults_the_least_counts() {
        let class = |value: i64, default: bool| object(json!({"value": value, "globalDefault": default}));
        let classes = [class(5, true), class(3, true), class(1, false)];
        assert_eq!(default_class(&classes).unwrap().number("value"), 3);
    }
}

//! DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or cannot be reached, unless they say
//! otherwise. And how lists of tolerations are merged.

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use serde_json::{Value, json};

use super::service_account::push;
use super::{Admission, AdmissionRequest, Operation};

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: u32 = 300;

/// See the module.
#[derive(Debug)]
pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if let Some(pod) = request.object.as_deref_mut().filter(|_| writes && request.subresource.is_none())
            && request.kind.group.is_empty()
            && request.kind.plural == "pods"
        {
            apply(pod);
        }
        Ok(())
    }
}

fn apply(pod: &mut Object) {
    for key in KEYS {
        let tolerates = |toleration: &Object| {
            [key, ""].contains(&toleration.text("key")) && ["NoExecute", ""].contains(&toleration.text("effect"))
        };
        if !pod.objects("spec.tolerations").any(tolerates) {
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
            push(pod.section("spec"), "tolerations", toleration);
        }
    }
}

/// Both lists together, without those that another one makes superfluous; of equal ones the first stays.
pub(super) fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let later = all.get(index + 1..).unwrap_or_default();
        let superfluous = merged.iter().any(|kept| covers(kept, toleration))
            || later.iter().any(|other| other != toleration && covers(other, toleration));
        if !superfluous {
            merged.push((*toleration).clone());
        }
    }
    merged
}

/// Whether whatever `other` tolerates is tolerated by `one` at least as long.
fn covers(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return one == other };
    if one == other {
        return true;
    }
    let exists = one.text("operator") == "Exists";
    let key = one.text("key") == other.text("key") || one.text("key").is_empty() && exists;
    let effect = ["", other.text("effect")].contains(&one.text("effect"));
    let lasts = match one.int("tolerationSeconds").filter(|_| one.text("effect") == "NoExecute") {
        Some(seconds) => other.int("tolerationSeconds").is_some_and(|other| other <= seconds),
        None => true,
    };
    let equal = ["", "Equal"].contains(&one.text("operator"))
        && one.text("operator") == other.text("operator")
        && one.text("value") == other.text("value");
    key && effect && lasts && (exists || equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn what_a_pod_says_itself_stays() {
        let default =
            |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        let own = json!({"key": KEYS[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let all = json!({"operator": "Exists"});
        let other = json!({"key": KEYS[0], "operator": "Exists", "effect": "NoSchedule"});
        let table = [
            (json!([]), json!([default(KEYS[0]), default(KEYS[1])])),
            (json!([own]), json!([own, default(KEYS[1])])),
            (json!([all]), json!([all])),
            (json!([other]), json!([other, default(KEYS[0]), default(KEYS[1])])),
        ];
        for (given, expected) in table {
            let mut pod = object(json!({"spec": {"tolerations": given}}));
            apply(&mut pod);
            assert_eq!(pod["spec"]["tolerations"], expected);
        }
    }

    #[test]
    fn merging_drops_what_is_covered() {
        let a = json!({"key": "a", "operator": "Exists"});
        let a_equal = json!({"key": "a", "operator": "Equal", "value": "x"});
        let short = json!({"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 50});
        let list = |items: &[&Value]| items.iter().map(|item| (*item).clone()).collect::<Vec<_>>();
        let table = [
            (vec![&a], vec![&a], vec![&a]),
            (vec![&a_equal], vec![&a], vec![&a]),
            (vec![&a], vec![&a_equal], vec![&a]),
            (vec![&short], vec![&long], vec![&long]),
            (vec![&a], vec![&long], vec![&a, &long]),
        ];
        for (first, second, expected) in table {
            assert_eq!(merge(&list(&first), &list(&second)), list(&expected));
        }
    }
}

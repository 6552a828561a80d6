//! The quality of service that a pod's requests and limits make.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>

use std::collections::BTreeMap;

use super::resources::quantity;
use crate::Object;
use crate::quantity::Quantity;
use crate::tree::Tree;

type Sums = BTreeMap<&'static str, Quantity>;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(pod: &Object) -> &'static str {
    let (mut requests, mut limits) = (Sums::new(), Sums::new());
    let mut all_limited = true;
    let mut count = |resources: &Object| {
        add(&mut requests, resources.map("requests"));
        all_limited &= add(&mut limits, resources.map("limits")) == COMPUTE.len();
    };
    match pod.object("spec.resources") {
        Some(resources) => count(resources),
        None => {
            let containers = pod.objects("spec.containers").chain(pod.objects("spec.initContainers"));
            containers.for_each(|container| count(container.map("resources")));
        }
    }
    match () {
        () if requests.is_empty() && limits.is_empty() => "BestEffort",
        () if all_limited && requests == limits => "Guaranteed",
        () => "Burstable",
    }
}

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// Adds the compute resources of a list that are more than zero, and says how many there were.
fn add(sums: &mut Sums, list: &Object) -> usize {
    let mut found = 0;
    for name in COMPUTE {
        let positive = |amount: &Quantity| !amount.is_zero() && !amount.is_negative();
        let Some(amount) = list.get(name).and_then(quantity).filter(positive) else { continue };
        found += 1;
        let sum = sums.get(name).map_or(amount, |sum| *sum + amount);
        sums.insert(name, sum);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn classes() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        for (containers, class_of) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
            (json!([{"resources": {"requests": {"nvidia.com/gpu": 1}}}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": full}]), "Guaranteed"),
            (json!([{"resources": full}, {}]), "Burstable"),
            (json!([{"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]), "Burstable"),
        ] {
            let Value::Object(pod) = json!({"spec": {"containers": containers}}) else { unreachable!() };
            assert_eq!(class(&pod), class_of, "{pod:?}");
        }
    }
}

//! What a pod as a whole asks for.

use knarr_api::Object;
use knarr_api::tree::Tree;

use super::{Amounts, amounts};

/// Resources that a pod may name as a whole.
const POD_LEVEL: [&str; 2] = ["cpu", "memory"];

/// The pod's requests or limits (`field`): its containers together with its sidecars, or its largest moment while it
/// starts, whichever is more; what it names as a whole outweighs both.
pub(super) fn total(pod: &Object, field: &str) -> Amounts {
    let path = format!("resources.{field}");
    let mut total = Amounts::new();
    for container in pod.objects("spec.containers") {
        add(&mut total, &amounts(container.map(&path)));
    }
    // Sidecars that run already when an init container runs.
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in pod.objects("spec.initContainers") {
        let own = amounts(container.map(&path));
        let mut moment = sidecars.clone();
        add(&mut moment, &own);
        if container.text("restartPolicy") == "Always" {
            add(&mut total, &own);
            sidecars = moment.clone();
        }
        raise(&mut starting, &moment);
    }
    raise(&mut total, &starting);
    let whole = amounts(pod.map(&format!("spec.{path}")));
    total.extend(whole.into_iter().filter(|(name, _)| POD_LEVEL.contains(&name.as_str())));
    total
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|sum| *sum += *amount).or_insert(*amount);
    }
}

fn raise(largest: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        largest.entry(name.clone()).and_modify(|largest| *largest = (*largest).max(*amount)).or_insert(*amount);
    }
}

//! The downward API: what a pod may know of itself.
//! <https://kubernetes.io/docs/concepts/workloads/pods/downward-api/>

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use knarr_api::quantity::Quantity;

use super::spec::PodExt as _;

/// What is known only on the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) pod_ips: Vec<String>,
    pub(crate) host_ips: Vec<String>,
}

/// The value of a `fieldRef`.
///
/// # Errors
/// The text for the container's status, when there is no such field.
pub(crate) fn field(pod: &Pod, path: &str, addresses: &Addresses) -> Result<String, String> {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let values = match map {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(values.as_ref().and_then(|values| values.get(key)).cloned().unwrap_or_default());
    }
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => pod.spec().node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => pod.spec().service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(&addresses.host_ips),
        "status.hostIPs" => addresses.host_ips.join(","),
        "status.podIP" => first(&addresses.pod_ips),
        "status.podIPs" => addresses.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A map as lines of `key="value"`, in the order of the keys, with Go's escapes.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

fn quote(value: &str) -> String {
    let mut out = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The value of a `resourceFieldRef`. A limit that is not set is the node's allocatable amount.
///
/// # Errors
/// The text for the container's status, when there is no such container, resource or divisor.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, String> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let all = || pod.init().iter().chain(&pod.spec().containers);
    let container = match named {
        Some(name) => all().find(|container| container.name == name),
        None => own,
    }
    .ok_or_else(|| format!("container {} not found", named.unwrap_or_default()))?;
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let listed = match kind {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unsupported()),
    };
    let written: Option<Quantity> = listed.and_then(|map| map.get(name)).and_then(|amount| amount.0.parse().ok());
    let amount = match (written.filter(|amount| !amount.is_zero()), kind) {
        (Some(amount), _) => Some(amount),
        (None, "limits") => allocatable.get(name).copied(),
        (None, _) => None,
    };
    let divisor: Quantity = match &selector.divisor {
        Some(divisor) if divisor.0 != "0" => divisor.0.parse().map_err(|_| format!("invalid divisor {}", divisor.0))?,
        _ => Quantity::new(1, knarr_api::quantity::Format::DecimalSi),
    };
    let milli = |amount: Quantity| if name == "cpu" { amount.milli_value() } else { amount.value() };
    let divisor = milli(divisor).max(1);
    Ok(amount.map_or(0, |amount| (milli(amount) + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::json;

    #[test]
    fn fields() {
        let mut pod = pod(json!({"nodeName": "edge", "containers": []}));
        pod.metadata.labels = Some([("b".into(), "2".into()), ("a".into(), "x\"y\n".into())].into());
        let addresses =
            Addresses { pod_ips: vec!["10.0.0.1".into(), "fd00::1".into()], host_ips: vec!["192.0.2.1".into()] };
        for (path, expect) in [
            ("metadata.name", Ok("p")),
            ("metadata.labels['b']", Ok("2")),
            ("metadata.labels['absent']", Ok("")),
            ("metadata.labels", Ok("a=\"x\\\"y\\n\"\nb=\"2\"")),
            ("spec.nodeName", Ok("edge")),
            ("status.podIPs", Ok("10.0.0.1,fd00::1")),
            ("status.hostIP", Ok("192.0.2.1")),
            ("spec.containers", Err("unsupported fieldPath: spec.containers")),
        ] {
            assert_eq!(field(&pod, path, &addresses).as_deref().map_err(String::as_str), expect, "{path}");
        }
    }

    #[test]
    fn resources_are_rounded_up() {
        let limits = json!({"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}});
        let pod = pod(json!({"containers": [{"name": "a", "resources": limits}, {"name": "b"}]}));
        let allocatable = BTreeMap::from([("cpu".to_owned(), "4".parse().unwrap())]);
        let own = pod.spec().containers.first();
        for (container, name, divisor, expect) in [
            ("", "limits.cpu", None, Ok("2")),
            ("", "limits.cpu", Some("1m"), Ok("1500")),
            ("", "requests.cpu", Some("1m"), Ok("250")),
            ("", "limits.memory", Some("1Mi"), Ok("64")),
            ("", "limits.memory", None, Ok("67108864")),
            ("b", "limits.cpu", None, Ok("4")),
            ("b", "requests.cpu", None, Ok("0")),
            ("c", "limits.cpu", None, Err("container c not found")),
        ] {
            let selector = ResourceFieldSelector {
                container_name: Some(container.into()),
                resource: name.into(),
                divisor: divisor.map(|text: &str| k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.into())),
            };
            let value = resource(&pod, own, &selector, &allocatable);
            assert_eq!(value.as_deref().map_err(String::as_str), expect, "{container} {name} {divisor:?}");
        }
    }
}

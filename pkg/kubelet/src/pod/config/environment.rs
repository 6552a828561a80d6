//! The environment of a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret, Service};
use knarr_api::quantity::Quantity;

use crate::objects::found;
use crate::pod::expand::expand;
use crate::pod::fields::{self, Addresses};
use crate::pod::spec::PodExt as _;

/// What values may come from.
pub(crate) struct Sources<'a> {
    /// By name, those of the pod's namespace.
    pub(crate) config_maps: &'a BTreeMap<String, Arc<ConfigMap>>,
    /// By name, those of the pod's namespace.
    pub(crate) secrets: &'a BTreeMap<String, Arc<Secret>>,
    /// Of the pod's namespace, and `default/kubernetes`.
    pub(crate) services: &'a [Arc<Service>],
    pub(crate) addresses: &'a Addresses,
    /// Of the node.
    pub(crate) allocatable: &'a BTreeMap<String, Quantity>,
}

/// The variables in the order of their definition; those of Services come last, unless something else defines them.
///
/// # Errors
/// The text for the container's status, when something that is not optional is missing.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources<'_>,
) -> Result<Vec<(String, String)>, String> {
    let links = services(pod, sources.services);
    let mut defined: Vec<(String, String)> = Vec::new();
    let define = |defined: &mut Vec<(String, String)>, name: String, value: String| {
        defined.retain(|(known, _)| *known != name);
        defined.push((name, value));
    };
    for (name, value) in from_objects(container, sources)? {
        define(&mut defined, name, value);
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(from)) => match reference(pod, container, variable, from, sources)? {
                Some(value) => value,
                None => continue,
            },
            (Some(value), None) => expand(value, &|name| {
                let known = defined.iter().find(|(known, _)| known == name).map(|(_, value)| value);
                known.or_else(|| links.get(name)).cloned()
            }),
            (None, None) => String::new(),
        };
        define(&mut defined, variable.name.clone(), value);
    }
    // Of many Services come many variables, whose names differ among themselves.
    let own = defined.len();
    for (name, value) in links {
        if !defined.iter().take(own).any(|(known, _)| *known == name) {
            defined.push((name, value));
        }
    }
    Ok(defined)
}

/// `envFrom`: whole ConfigMaps and Secrets.
fn from_objects(container: &Container, sources: &Sources<'_>) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(wanted) = &from.config_map_ref {
            let map = found(&wanted.name, sources.config_maps, wanted.optional)?;
            let data = map.and_then(|map| map.data.as_ref()).into_iter().flatten();
            variables.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
        }
        if let Some(wanted) = &from.secret_ref {
            let secret = found(&wanted.name, sources.secrets, wanted.optional)?;
            let data = secret.and_then(|secret| secret.data.as_ref()).into_iter().flatten();
            variables.extend(data.map(|(key, value)| (format!("{prefix}{key}"), text(value))));
        }
    }
    // A name that contains `=` cannot be passed on; the API accepts every other.
    variables.retain(|(name, _)| !name.is_empty() && !name.contains('='));
    Ok(variables)
}

fn text(value: &ByteString) -> String {
    String::from_utf8_lossy(&value.0).into_owned()
}

/// `valueFrom`; `None` when it is optional and absent.
fn reference(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    from: &EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, String> {
    let present = |value: Option<String>, optional: Option<bool>, kind: &str, key: &str, name: &str| match value {
        None if optional != Some(true) => Err(format!("couldn't find key {key} in {kind} {}/{name}", pod.namespace())),
        value => Ok(value),
    };
    if let Some(field) = &from.field_ref {
        return fields::field(pod, &field.field_path, sources.addresses).map(Some);
    }
    if let Some(selector) = &from.resource_field_ref {
        return fields::resource(pod, Some(container), selector, sources.allocatable).map(Some);
    }
    if let Some(wanted) = &from.config_map_key_ref {
        let map = found(&wanted.name, sources.config_maps, wanted.optional)?;
        let value = map.and_then(|map| map.data.as_ref()).and_then(|data| data.get(&wanted.key)).cloned();
        return present(value, wanted.optional, "ConfigMap", &wanted.key, &wanted.name);
    }
    if let Some(wanted) = &from.secret_key_ref {
        let secret = found(&wanted.name, sources.secrets, wanted.optional)?;
        let value = secret.and_then(|secret| secret.data.as_ref()).and_then(|data| data.get(&wanted.key)).map(text);
        return present(value, wanted.optional, "Secret", &wanted.key, &wanted.name);
    }
    Err(format!("the source of variable {} is not supported", variable.name))
}

/// The variables of Services (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>):
/// those of the pod's namespace unless it declines them, and always those of `default/kubernetes`.
fn services(pod: &Pod, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let links = pod.spec().enable_service_links.unwrap_or(true);
    let identity = |service: &Service| {
        (service.metadata.namespace.clone().unwrap_or_default(), service.metadata.name.clone().unwrap_or_default())
    };
    for own in [false, true] {
        for service in services {
            let (namespace, name) = identity(service);
            let master = namespace == "default" && name == "kubernetes";
            let wanted = if own { links && namespace == pod.namespace() } else { master };
            if wanted {
                service_variables(&name, service, &mut variables);
            }
        }
    }
    variables
}

fn service_variables(name: &str, service: &Service, into: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let Some(ports) = spec.ports.as_deref().filter(|ports| !ports.is_empty()) else { return };
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = upper(name);
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    into.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            into.insert(format!("{prefix}_SERVICE_PORT"), port.port.to_string());
            into.insert(format!("{prefix}_PORT"), url.clone());
        }
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            into.insert(format!("{prefix}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string());
        }
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        into.insert(format!("{link}_PROTO"), protocol.to_lowercase());
        into.insert(format!("{link}_PORT"), port.port.to_string());
        into.insert(format!("{link}_ADDR"), ip.to_owned());
        into.insert(link, url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::{Value, json};

    fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn make(spec: Value) -> Result<Vec<String>, String> {
        let mut whole = json!({"containers": [{"name": "a", "image": "i"}]});
        whole["containers"][0].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let pod = pod(whole);
        let config_maps = BTreeMap::from([("m".to_owned(), typed(json!({"data": {"k": "v", "data-1": "x"}})))]);
        let secrets = BTreeMap::from([("s".to_owned(), typed(json!({"data": {"p": "c2VjcmV0"}})))]);
        let services = [typed(json!({
            "metadata": {"name": "my-web", "namespace": "n"},
            "spec": {"clusterIP": "10.43.0.9", "ports": [{"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP"}]},
        }))];
        let addresses = Addresses { pod_ips: vec!["10.42.0.5".into()], host_ips: vec!["192.0.2.1".into()] };
        let sources = Sources {
            config_maps: &config_maps,
            secrets: &secrets,
            services: &services,
            addresses: &addresses,
            allocatable: &BTreeMap::new(),
        };
        let variables = environment(&pod, &pod.spec().containers[0], &sources)?;
        Ok(variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn services_are_found_in_the_environment() {
        assert_eq!(
            make(json!({})).unwrap(),
            [
                "MY_WEB_PORT=tcp://10.43.0.9:80",
                "MY_WEB_PORT_53_UDP=udp://10.43.0.9:53",
                "MY_WEB_PORT_53_UDP_ADDR=10.43.0.9",
                "MY_WEB_PORT_53_UDP_PORT=53",
                "MY_WEB_PORT_53_UDP_PROTO=udp",
                "MY_WEB_PORT_80_TCP=tcp://10.43.0.9:80",
                "MY_WEB_PORT_80_TCP_ADDR=10.43.0.9",
                "MY_WEB_PORT_80_TCP_PORT=80",
                "MY_WEB_PORT_80_TCP_PROTO=tcp",
                "MY_WEB_SERVICE_HOST=10.43.0.9",
                "MY_WEB_SERVICE_PORT=80",
                "MY_WEB_SERVICE_PORT_HTTP=80",
            ]
        );
    }

    #[test]
    fn values_from_everywhere_in_order() {
        let variables = make(json!({
            "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "C_"}, {"secretRef": {"name": "s"}},
                        {"secretRef": {"name": "absent", "optional": true}}],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A) $(MY_WEB_SERVICE_HOST) $(LATER) $$(A)"},
                {"name": "LATER", "value": "x"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
                {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {"name": "O", "valueFrom": {"secretKeyRef": {"name": "s", "key": "absent", "optional": true}}},
                {"name": "MY_WEB_PORT", "value": "mine"},
            ],
        }))
        .unwrap();
        let first: Vec<&str> = variables.iter().map(String::as_str).take(10).collect();
        let expect = [
            "C_data-1=x",
            "C_k=v",
            "p=secret",
            "A=1",
            "B=1 10.43.0.9 $(LATER) $(A)",
            "LATER=x",
            "IP=10.42.0.5",
            "K=v",
            "P=secret",
            "MY_WEB_PORT=mine",
        ];
        assert_eq!(first, expect);
        assert!(!variables.iter().any(|variable| variable.starts_with("MY_WEB_PORT=tcp")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |kind: &str, name: &str| json!({"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": "absent"}}}]});
        for (spec, expect) in [
            (key("configMapKeyRef", "m"), "couldn't find key absent in ConfigMap n/m"),
            (key("configMapKeyRef", "q"), "configmap \"q\" not found"),
            (key("secretKeyRef", "s"), "couldn't find key absent in Secret n/s"),
            (json!({"envFrom": [{"secretRef": {"name": "q"}}]}), "secret \"q\" not found"),
        ] {
            assert_eq!(make(spec).unwrap_err(), expect);
        }
    }
}

//! The files of volumes that come from the API: pure, given the objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection};
use knarr_api::quantity::Quantity;

use crate::objects::found;
use crate::pod::fields::{self, Addresses};

/// A file to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    /// Whose it is, where that is not root.
    pub(crate) owner: Option<i64>,
}

/// Files by their path in the volume.
pub(crate) type Payload = BTreeMap<String, File>;

/// What the files come from.
pub(crate) struct Objects<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) config_maps: &'a BTreeMap<String, Arc<ConfigMap>>,
    pub(crate) secrets: &'a BTreeMap<String, Arc<Secret>>,
    /// By volume and path.
    pub(crate) tokens: &'a BTreeMap<(String, String), String>,
    pub(crate) allocatable: &'a BTreeMap<String, Quantity>,
    /// As whom all containers run, if they agree: a token is readable by that user only.
    pub(crate) user: Option<i64>,
}

/// The files of a volume.
///
/// # Errors
/// The cause for `FailedMount`, when something that is not optional is missing.
pub(crate) fn of(volume: &Volume, objects: &Objects<'_>) -> Result<Payload, String> {
    let mut payload = Payload::new();
    let usual = |mode: Option<i32>| mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644);
    if let Some(source) = &volume.config_map {
        let mode = usual(source.default_mode);
        config_map(&source.name, source.items.as_deref(), source.optional, mode, objects, &mut payload)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        secret(name, source.items.as_deref(), source.optional, usual(source.default_mode), objects, &mut payload)?;
    } else if let Some(source) = &volume.downward_api {
        downward(source.items.as_deref(), usual(source.default_mode), objects, &mut payload)?;
    } else if let Some(source) = &volume.projected {
        let mode = usual(source.default_mode);
        for projection in source.sources.iter().flatten() {
            project(&volume.name, projection, mode, objects, &mut payload)?;
        }
    }
    Ok(payload)
}

fn project(
    volume: &str,
    from: &VolumeProjection,
    mode: u32,
    objects: &Objects<'_>,
    into: &mut Payload,
) -> Result<(), String> {
    if let Some(map) = &from.config_map {
        config_map(&map.name, map.items.as_deref(), map.optional, mode, objects, into)?;
    }
    if let Some(wanted) = &from.secret {
        secret(&wanted.name, wanted.items.as_deref(), wanted.optional, mode, objects, into)?;
    }
    if let Some(wanted) = &from.downward_api {
        downward(wanted.items.as_deref(), mode, objects, into)?;
    }
    if let Some(wanted) = &from.service_account_token {
        let token = objects.tokens.get(&(volume.to_owned(), wanted.path.clone()));
        let token = token.ok_or_else(|| format!("no token for {} yet", wanted.path))?;
        let grouped = objects
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.security_context.as_ref())
            .is_some_and(|context| context.fs_group.is_some());
        // Upstream's rule: a token is private to the one user that all containers run as, else everybody's in the pod.
        let (mode, owner) = match objects.user {
            _ if grouped => (0o600, None),
            Some(user) => (0o600, Some(user)),
            None => (mode, None),
        };
        into.insert(wanted.path.clone(), File { content: token.clone().into_bytes(), mode, owner });
    }
    if from.cluster_trust_bundle.is_some() || from.pod_certificate.is_some() {
        return Err("this projection is not supported".into());
    }
    Ok(())
}

fn config_map(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    objects: &Objects<'_>,
    into: &mut Payload,
) -> Result<(), String> {
    let Some(map) = found(name, objects.config_maps, optional)? else { return Ok(()) };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, ByteString(value))| (key.as_str(), value.as_slice()));
    keys("configmap", &text.chain(binary).collect(), items, optional, mode, into)
}

fn secret(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    objects: &Objects<'_>,
    into: &mut Payload,
) -> Result<(), String> {
    let Some(secret) = found(name, objects.secrets, optional)? else { return Ok(()) };
    let data = secret.data.iter().flatten().map(|(key, ByteString(value))| (key.as_str(), value.as_slice())).collect();
    keys("secret", &data, items, optional, mode, into)
}

/// All keys, or those that are listed, at their paths.
fn keys(
    kind: &str,
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    into: &mut Payload,
) -> Result<(), String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        into.extend(
            data.iter().map(|(key, value)| ((*key).to_owned(), File { content: value.to_vec(), mode, owner: None })),
        );
        return Ok(());
    };
    for item in items {
        let Some(value) = data.get(item.key.as_str()) else {
            if optional == Some(true) {
                continue;
            }
            return Err(match kind {
                "secret" => format!("references non-existent secret key: {}", item.key),
                _ => format!("configmap references non-existent config key: {}", item.key),
            });
        };
        let mode = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
        into.insert(item.path.clone(), File { content: value.to_vec(), mode, owner: None });
    }
    Ok(())
}

fn downward(
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: u32,
    objects: &Objects<'_>,
    into: &mut Payload,
) -> Result<(), String> {
    for item in items.unwrap_or_default() {
        let value = if let Some(field) = &item.field_ref {
            fields::field(objects.pod, &field.field_path, &Addresses::default())?
        } else if let Some(selector) = &item.resource_field_ref {
            fields::resource(objects.pod, None, selector, objects.allocatable)?
        } else {
            continue;
        };
        let mode = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
        into.insert(item.path.clone(), File { content: value.into_bytes(), mode, owner: None });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::{Value, json};

    fn files(volume: Value) -> Result<Vec<String>, String> {
        let mut pod = pod(json!({"containers": []}));
        pod.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        let map: ConfigMap =
            serde_json::from_value(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "Mw=="}})).unwrap();
        let secret: Secret = serde_json::from_value(json!({"data": {"p": "c2VjcmV0"}})).unwrap();
        let objects = Objects {
            pod: &pod,
            config_maps: &[("m".to_owned(), Arc::new(map))].into(),
            secrets: &[("s".to_owned(), Arc::new(secret))].into(),
            tokens: &[(("v".to_owned(), "token".to_owned()), "jwt".to_owned())].into(),
            allocatable: &BTreeMap::new(),
            user: None,
        };
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let payload = of(&volume, &objects)?;
        Ok(payload
            .into_iter()
            .map(|(path, file)| format!("{path} {:o} {}", file.mode, String::from_utf8(file.content).unwrap()))
            .collect())
    }

    #[test]
    fn every_source() {
        for (volume, expect) in [
            (json!({"configMap": {"name": "m"}}), Ok(vec!["a 644 1", "b 644 2", "c 644 3"])),
            (
                json!({"configMap": {"name": "m", "defaultMode": 256, "items": [{"key": "a", "path": "x/y"}, {"key": "b", "path": "z", "mode": 384}]}}),
                Ok(vec!["x/y 400 1", "z 600 2"]),
            ),
            (json!({"configMap": {"name": "absent"}}), Err("configmap \"absent\" not found")),
            (json!({"configMap": {"name": "absent", "optional": true}}), Ok(vec![])),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "q", "path": "q"}]}}),
                Err("configmap references non-existent config key: q"),
            ),
            (json!({"secret": {"secretName": "s"}}), Ok(vec!["p 644 secret"])),
            (
                json!({"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
                Ok(vec!["labels 644 app=\"web\""]),
            ),
            (
                json!({"projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "m", "items": [{"key": "a", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ]}}),
                Ok(vec!["ca.crt 644 1", "namespace 644 n", "token 644 jwt"]),
            ),
        ] {
            let mut named = volume.clone();
            named["name"] = json!("v");
            let expect = expect.map(|list: Vec<&str>| list.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>());
            assert_eq!(files(named).map_err(|error| error.clone()), expect.map_err(ToOwned::to_owned), "{volume}");
        }
    }
}

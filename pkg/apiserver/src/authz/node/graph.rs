//! Which objects a node may see because of the pods that run there.
//!
//! ```text
//! node <- pod <- secret, configmap, serviceaccount, pvc, resourceclaim      node <- volumeattachment
//!                pvc <- pv <- secret                                        node <- resourceslice
//! ```
//!
//! Upstream walks a graph; here each object counts the nodes that refer to it, so that a question is one look-up.

use std::collections::HashMap;

use knarr_api::Object;
use knarr_api::object::Meta;
use serde_json::Value;

/// What a pod or volume can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Resource {
    Pod,
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
    DeviceClaim,
    VolumeAttachment,
    DeviceSlice,
}

/// An object: kind, namespace, name.
pub(super) type Key = (Resource, String, String);

/// Who refers to what.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// What each pod, attachment or slice makes visible, and to which node.
    sources: HashMap<Key, (String, Vec<Key>)>,
    /// How many sources of each node refer to an object.
    visible: HashMap<Key, HashMap<String, usize>>,
    /// By name: the claim that a volume is bound to, and the secrets that a kubelet needs for it.
    volumes: HashMap<String, (Key, Vec<Key>)>,
    /// The volumes that need a secret.
    volumes_of_secret: HashMap<Key, Vec<String>>,
}

impl Graph {
    /// Whether something on the node refers to the object.
    pub(super) fn sees(&self, node: &str, key: &Key) -> bool {
        let directly = self.visible.get(key).is_some_and(|nodes| nodes.contains_key(node));
        directly
            || self
                .volumes_of_secret
                .get(key)
                .is_some_and(|volumes| volumes.iter().any(|name| self.sees_volume(node, name)))
    }

    /// Whether a pod on the node uses the claim that the volume is bound to.
    pub(super) fn sees_volume(&self, node: &str, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|(claim, _)| self.sees(node, claim))
    }

    /// A pod was written (`Some`) or deleted.
    pub(super) fn pod_changed(&mut self, namespace: &str, name: &str, pod: Option<&Object>) {
        let key = (Resource::Pod, namespace.to_owned(), name.to_owned());
        let source = pod.and_then(|pod| {
            let node = pod.str_at(&["spec", "nodeName"]);
            (!node.is_empty()).then(|| (node.to_owned(), references(pod, namespace, name)))
        });
        self.source_changed(key, source);
    }

    /// A volume attachment was written or deleted.
    pub(super) fn attachment_changed(&mut self, name: &str, attachment: Option<&Object>) {
        let node = attachment.map(|attachment| attachment.str_at(&["spec", "nodeName"]));
        self.cluster_source(Resource::VolumeAttachment, name, node);
    }

    /// A resource slice was written or deleted.
    pub(super) fn slice_changed(&mut self, name: &str, slice: Option<&Object>) {
        let node = slice.map(|slice| slice.str_at(&["spec", "nodeName"]));
        self.cluster_source(Resource::DeviceSlice, name, node);
    }

    fn cluster_source(&mut self, resource: Resource, name: &str, node: Option<&str>) {
        let node = node.filter(|node| !node.is_empty());
        self.source_changed((resource, String::new(), name.to_owned()), node.map(|node| (node.to_owned(), Vec::new())));
    }

    /// A source is visible to its node, as is what it refers to.
    fn source_changed(&mut self, key: Key, source: Option<(String, Vec<Key>)>) {
        if let Some((node, references)) = self.sources.remove(&key) {
            references.iter().chain([&key]).for_each(|reference| self.release(reference, &node));
        }
        let Some((node, references)) = source else { return };
        for reference in references.iter().chain([&key]) {
            *self.visible.entry(reference.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        self.sources.insert(key, (node, references));
    }

    fn release(&mut self, key: &Key, node: &str) {
        let Some(nodes) = self.visible.get_mut(key) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.visible.remove(key);
        }
    }

    /// A persistent volume was written or deleted.
    pub(super) fn volume_changed(&mut self, name: &str, volume: Option<&Object>) {
        if let Some((_, secrets)) = self.volumes.remove(name) {
            for secret in secrets {
                if let Some(volumes) = self.volumes_of_secret.get_mut(&secret) {
                    volumes.retain(|other| other != name);
                    if volumes.is_empty() {
                        self.volumes_of_secret.remove(&secret);
                    }
                }
            }
        }
        let Some(volume) = volume else { return };
        let claim = |field| volume.str_at(&["spec", "claimRef", field]).to_owned();
        if claim("name").is_empty() {
            return;
        }
        let secrets = secrets_of_volume(volume, &claim("namespace"));
        for secret in &secrets {
            self.volumes_of_secret.entry(secret.clone()).or_default().push(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), ((Resource::Claim, claim("namespace"), claim("name")), secrets));
    }
}

/// What a pod refers to. Mirror pods refer to nothing: a node creates them itself, and must not gain rights by that.
fn references(pod: &Object, namespace: &str, name: &str) -> Vec<Key> {
    let mut found = Vec::new();
    if pod.at(&["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        return found;
    }
    let mut refer = |resource, name: &str| {
        if !name.is_empty() {
            let key = (resource, namespace.to_owned(), name.to_owned());
            if !found.contains(&key) {
                found.push(key);
            }
        }
    };
    refer(Resource::ServiceAccount, pod.str_at(&["spec", "serviceAccountName"]));
    for secret in list(pod.at(&["spec", "imagePullSecrets"])) {
        refer(Resource::Secret, text(secret, "/name"));
    }
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        for container in list(pod.at(&["spec", containers])) {
            environment(container, &mut refer);
        }
    }
    for volume in list(pod.at(&["spec", "volumes"])) {
        volume_references(volume, name, &mut refer);
    }
    for status in list(pod.at(&["status", "resourceClaimStatuses"])) {
        refer(Resource::DeviceClaim, text(status, "/resourceClaimName"));
    }
    for claim in list(pod.at(&["spec", "resourceClaims"])) {
        refer(Resource::DeviceClaim, text(claim, "/resourceClaimName"));
    }
    refer(Resource::DeviceClaim, pod.str_at(&["status", "extendedResourceClaimStatus", "resourceClaimName"]));
    found
}

fn environment(container: &Value, refer: &mut impl FnMut(Resource, &str)) {
    for source in list(container.get("envFrom")) {
        refer(Resource::Secret, text(source, "/secretRef/name"));
        refer(Resource::ConfigMap, text(source, "/configMapRef/name"));
    }
    for variable in list(container.get("env")) {
        refer(Resource::Secret, text(variable, "/valueFrom/secretKeyRef/name"));
        refer(Resource::ConfigMap, text(variable, "/valueFrom/configMapKeyRef/name"));
    }
}

/// Where volume sources name a secret of the pod's namespace.
const VOLUME_SECRETS: &[&str] = &[
    "/secret/secretName",
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/iscsi/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
];

fn volume_references(volume: &Value, pod: &str, refer: &mut impl FnMut(Resource, &str)) {
    for path in VOLUME_SECRETS {
        refer(Resource::Secret, text(volume, path));
    }
    refer(Resource::ConfigMap, text(volume, "/configMap/name"));
    for source in list(volume.pointer("/projected/sources")) {
        refer(Resource::Secret, text(source, "/secret/name"));
        refer(Resource::ConfigMap, text(source, "/configMap/name"));
    }
    refer(Resource::Claim, text(volume, "/persistentVolumeClaim/claimName"));
    if volume.get("ephemeral").is_some_and(Value::is_object) {
        refer(Resource::Claim, &format!("{pod}-{}", text(volume, "/name")));
    }
}

/// Where persistent volumes name a secret, and where its namespace stands; without one it is the claim's.
const PERSISTENT_SECRETS: &[(&str, &str)] = &[
    ("/azureFile/secretName", "/azureFile/secretNamespace"),
    ("/cephfs/secretRef/name", "/cephfs/secretRef/namespace"),
    ("/cinder/secretRef/name", "/cinder/secretRef/namespace"),
    ("/flexVolume/secretRef/name", "/flexVolume/secretRef/namespace"),
    ("/rbd/secretRef/name", "/rbd/secretRef/namespace"),
    ("/scaleIO/secretRef/name", "/scaleIO/secretRef/namespace"),
    ("/iscsi/secretRef/name", "/iscsi/secretRef/namespace"),
    ("/storageos/secretRef/name", "/storageos/secretRef/namespace"),
    ("/csi/nodePublishSecretRef/name", "/csi/nodePublishSecretRef/namespace"),
    ("/csi/nodeStageSecretRef/name", "/csi/nodeStageSecretRef/namespace"),
    ("/csi/nodeExpandSecretRef/name", "/csi/nodeExpandSecretRef/namespace"),
];

fn secrets_of_volume(volume: &Object, claim_namespace: &str) -> Vec<Key> {
    let Some(spec) = volume.get("spec") else { return Vec::new() };
    let secret = |(name, namespace): &(&str, &str)| {
        let (name, namespace) = (text(spec, name), text(spec, namespace));
        let namespace = if namespace.is_empty() { claim_namespace } else { namespace };
        (!name.is_empty()).then(|| (Resource::Secret, namespace.to_owned(), name.to_owned()))
    };
    PERSISTENT_SECRETS.iter().filter_map(secret).collect()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

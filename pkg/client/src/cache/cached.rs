//! What a cache can hold.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Key;

/// An object that a [`super::Cache`] can hold: every typed kind of `k8s-openapi`, and [`Metadata`].
pub trait Cached: DeserializeOwned + Send + Sync + 'static {
    /// What the server is asked for; `None` means the whole object.
    const ACCEPT: Option<&'static str> = None;

    /// Where the object lives.
    fn key(&self) -> Key;

    /// `metadata.resourceVersion`. The API server's revisions are numbers that grow (KEP-5504).
    fn revision(&self) -> u64;

    /// Drops what nobody in the process reads.
    fn slim(&mut self) {}
}

impl<K> Cached for K
where
    K: kube::Resource + DeserializeOwned + Send + Sync + 'static,
{
    fn key(&self) -> Key {
        Key::of(self)
    }

    fn revision(&self) -> u64 {
        parse_revision(self.meta().resource_version.as_deref().unwrap_or_default())
    }

    fn slim(&mut self) {
        self.meta_mut().managed_fields = None;
    }
}

/// The part of an object's metadata that garbage collection and namespace deletion need, for kinds that are only known at
/// run time. Labels, annotations and managed fields are not even decoded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Partial")]
pub struct Metadata {
    /// Where the object lives.
    pub key: Key,
    /// Tells apart objects that had the same name one after the other.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub revision: u64,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// What must be removed before the object can go.
    pub finalizers: Box<[Box<str>]>,
    /// Who must exist for this object to exist.
    pub owners: Box<[OwnerReference]>,
}

impl Default for Key {
    fn default() -> Self {
        Self::new("", "")
    }
}

impl Cached for Metadata {
    const ACCEPT: Option<&'static str> = Some("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

    fn key(&self) -> Key {
        self.key.clone()
    }

    fn revision(&self) -> u64 {
        self.revision
    }
}

/// `PartialObjectMetadata` as it stands on the wire.
#[derive(Deserialize)]
struct Partial {
    metadata: PartialMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialMeta {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    finalizers: Box<[Box<str>]>,
    #[serde(default)]
    owner_references: Box<[OwnerReference]>,
}

impl From<Partial> for Metadata {
    fn from(Partial { metadata }: Partial) -> Self {
        Self {
            key: Key::new(&metadata.namespace, &metadata.name),
            uid: metadata.uid,
            revision: parse_revision(&metadata.resource_version),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers,
            owners: metadata.owner_references,
        }
    }
}

/// Zero, which is older than everything, when the text is no number.
pub(super) fn parse_revision(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_keeps_only_what_ownership_needs() {
        let json = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{
            "name":"web-1","namespace":"shop","uid":"u-1","resourceVersion":"42","labels":{"a":"b"},
            "deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["foregroundDeletion"],
            "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"u-0"}]}}"#;
        let read: Metadata = serde_json::from_str(json).unwrap();
        assert_eq!(read.key, Key::new("shop", "web-1"));
        assert_eq!((read.uid.as_ref(), read.revision, read.deleting), ("u-1", 42, true));
        assert_eq!(read.finalizers.as_ref(), ["foregroundDeletion".into()]);
        assert_eq!(read.owners.first().map(|owner| owner.uid.as_str()), Some("u-0"));
        let bare: Metadata = serde_json::from_str(r#"{"metadata":{"name":"n"}}"#).unwrap();
        assert!(!bare.deleting && bare.owners.is_empty());
    }

    #[test]
    fn managed_fields_are_dropped() {
        let mut pod: k8s_openapi::api::core::v1::Pod = serde_json::from_str(
            r#"{"metadata":{"name":"p","namespace":"d","resourceVersion":"7","managedFields":[{"manager":"kubectl"}]}}"#,
        )
        .unwrap();
        pod.slim();
        assert_eq!(pod.metadata.managed_fields, None);
        assert_eq!((Cached::key(&pod), pod.revision()), (Key::new("d", "p"), 7));
    }
}

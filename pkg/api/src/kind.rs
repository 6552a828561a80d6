//! What a kind is: one row of the table that the generic registry serves.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::Object;
use crate::object::Meta;

/// A text that is compiled in for built-in kinds and owned for those made at run time.
pub type Text = Cow<'static, str>;

/// One kind of object. Built-in kinds are compiled in; a `CustomResourceDefinition` makes the same row at run time.
#[derive(Clone, Debug)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: Text,
    /// For example `Deployment`.
    pub kind: Text,
    /// The resource: `deployments`.
    pub plural: Text,
    /// `deployment`.
    pub singular: Text,
    /// `deploy`.
    pub short_names: Vec<Text>,
    /// `all`.
    pub categories: Vec<Text>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Served versions; the first one is preferred by discovery and, for [`Storage::Own`], is the stored one.
    pub versions: Vec<Version>,
    /// Verbs that discovery shows and the registry answers.
    pub verbs: &'static [&'static str],
    /// For example `status`, `scale`, `log`.
    pub subresources: Vec<Subresource>,
    /// What a field selector may name beside `metadata.name` and `metadata.namespace`.
    pub selectable_fields: Vec<SelectableField>,
    /// Whether items of a list carry `apiVersion` and `kind`: upstream's custom resources do, built-in kinds do not.
    pub item_typemeta: bool,
    /// Where the objects are kept.
    pub storage: Storage,
    /// Which of them are written without waiting for the disk (see the store's option of that name).
    pub relaxed: Relaxed,
    /// Encrypted at rest by default.
    pub sealed: bool,
}

/// Where the objects of a row are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Under the row's own group and plural.
    Own,
    /// Nowhere: the answer to a request is all there is, as for the reviews.
    Nowhere,
    /// As objects of another row, and every version of this one converts from that row's stored version: an Event of
    /// `events.k8s.io` is a core Event.
    As {
        /// The other row's group.
        group: &'static str,
        /// The other row's resource.
        plural: &'static str,
    },
}

/// Which objects of a row are written without waiting for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relaxed {
    /// None: the rule.
    Never,
    /// All: Events.
    Always,
    /// Those in one namespace: Leases in `kube-node-lease`.
    In(&'static str),
}

/// Something that a field selector may name.
#[derive(Clone, Debug)]
pub struct SelectableField {
    /// The name in the selector: `spec.nodeName`.
    pub label: Text,
    /// Dotted paths in the stored form; the first that is there and not empty gives the value.
    pub paths: Vec<Text>,
    /// The value when none is: what Go's zero value prints as, for example `false`.
    pub zero: Text,
}

impl SelectableField {
    /// The value in an object of the stored form, as text.
    #[must_use]
    pub fn value<'a>(&self, object: &'a Object) -> Cow<'a, str> {
        let found = self.paths.iter().find_map(|path| {
            let path: Vec<&str> = path.split('.').collect();
            match object.at(&path)? {
                Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text.as_str())),
                Value::Bool(bool) => Some(Cow::Borrowed(if *bool { "true" } else { "false" })),
                Value::Number(number) => Some(Cow::Owned(number.to_string())),
                _ => None,
            }
        });
        found.unwrap_or_else(|| Cow::Owned(self.zero.to_string()))
    }
}

/// One served version of a kind.
#[derive(Clone, Debug)]
pub struct Version {
    /// `v1`.
    pub name: Text,
    /// The root of its schema, for example `io.k8s.api.apps.v1.Deployment`.
    pub schema: Text,
    /// How an object of the stored version becomes one of this version, and back. `None` where only `apiVersion` differs.
    pub convert: Option<Convert>,
}

/// Conversion between the stored version and another one.
#[derive(Clone, Copy, Debug)]
pub struct Convert {
    /// From the stored version to this one.
    pub from_stored: fn(&mut Object),
    /// From this version to the stored one.
    pub to_stored: fn(&mut Object),
}

/// One subresource of a kind.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// For example `status`.
    pub name: Text,
    /// Verbs that discovery shows.
    pub verbs: &'static [&'static str],
    /// Group, version and kind of the body where they are not the parent's, as for `autoscaling/v1 Scale`.
    pub body: Option<(&'static str, &'static str, &'static str)>,
}

/// How rows are shared.
pub type KindRef = Arc<Kind>;

impl Kind {
    /// `deployments.apps`, or `pods` in the core group: how error messages name a resource.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Deployment.apps`, or `Pod` in the core group: how validation messages name a kind.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_string() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// `apps/v1`, or `v1` in the core group.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The version that is stored under this row's name. `None` for kinds that are never stored, such as reviews, and for
    /// those stored [as another kind](Storage::As): `kinds::storage_of` finds that one.
    #[must_use]
    pub fn stored(&self) -> Option<&Version> {
        if self.storage == Storage::Own { self.versions.first() } else { None }
    }

    /// Whether objects in `namespace` are written without waiting for the disk.
    #[must_use]
    pub fn is_relaxed(&self, namespace: &str) -> bool {
        match self.relaxed {
            Relaxed::Never => false,
            Relaxed::Always => true,
            Relaxed::In(only) => only == namespace,
        }
    }

    /// A served version by its name.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// A subresource by its name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

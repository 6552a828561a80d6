//! Which objects of a kind somebody asks for.

use bytes::Bytes;
use knarr_api::Status;
use knarr_api::kind::{Kind, Text};
use knarr_api::selector::{FieldSelector, LabelSelector};
use knarr_api::status::Result;

use super::item::Item;
use crate::registry::keys;

/// A namespace (empty: all) and the selectors of a request.
#[derive(Debug)]
pub struct Selection {
    /// What the keys of the kind start with.
    root: Bytes,
    /// What the keys of selected objects start with; a whole key where the selection names its object.
    prefix: Bytes,
    namespaced: bool,
    labels: LabelSelector,
    fields: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    /// Position among the selectable fields of the stored kind.
    Selectable(usize),
}

impl Selection {
    /// All objects of a kind in a namespace, or in all when it is empty. `stored` is the row that the objects are stored as.
    #[must_use]
    pub fn all(stored: &Kind, namespace: &str) -> Self {
        Self {
            root: keys::kind(stored),
            prefix: keys::namespace(stored, namespace),
            namespaced: stored.namespaced,
            labels: LabelSelector::default(),
            fields: Vec::new(),
        }
    }

    /// What a request asks for; `kind` is the row it names, whose field labels may differ from those of the stored one.
    ///
    /// # Errors
    /// 400 for malformed selectors and unknown fields.
    pub fn new(kind: &Kind, stored: &Kind, namespace: &str, labels: &str, fields: &str) -> Result<Self> {
        let mut selection = Self::all(stored, namespace);
        selection.labels = LabelSelector::parse(labels).map_err(|error| Status::bad_request(error.to_string()))?;
        let fields = FieldSelector::parse(fields).map_err(|error| Status::bad_request(error.to_string()))?;
        for term in &fields.0 {
            let field = Field::new(kind, stored, &term.field)?;
            selection.fields.push(Term { field, equal: term.equal, value: term.value.clone() });
        }
        let within = match fields.exact("metadata.namespace") {
            Some(only) if namespace.is_empty() && stored.namespaced => only,
            _ => namespace,
        };
        selection.prefix = keys::namespace(stored, within);
        if let Some(name) = fields.exact("metadata.name")
            && (!within.is_empty() || !stored.namespaced)
        {
            selection.prefix = keys::object(stored, within, name);
        }
        Ok(selection)
    }

    /// What the keys of the kind start with.
    pub(crate) fn root(&self) -> &[u8] {
        &self.root
    }

    /// What the keys of selected objects start with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether no selector narrows the namespace.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object of this key may be selected.
    pub(crate) fn may_hold(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }

    /// Whether an object is selected.
    #[must_use]
    pub fn matches(&self, item: &Item) -> bool {
        self.may_hold(&item.key)
            && self.fields.iter().all(|term| term.equal == (self.value(term.field, item) == term.value.as_bytes()))
            && self.labels.matches(|key| item.facts.label(key))
    }

    fn value<'a>(&self, field: Field, item: &'a Item) -> &'a [u8] {
        if let Field::Selectable(position) = field {
            return item.facts.field(position).as_bytes();
        }
        let (namespace, name) = self.split(&item.key);
        if field == Field::Namespace { namespace } else { name }
    }

    /// Namespace and name in a key.
    fn split<'a>(&self, key: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let path = key.strip_prefix(&*self.root).unwrap_or_default();
        let slash = if self.namespaced { path.iter().position(|byte| *byte == b'/') } else { None };
        let (namespace, name) = slash.and_then(|at| path.split_at_checked(at)).unwrap_or((b"", path));
        (namespace, name.strip_prefix(b"/").unwrap_or(name))
    }

    /// Namespace and name of an object of this kind.
    #[must_use]
    pub fn names<'a>(&self, item: &'a Item) -> (&'a str, &'a str) {
        let (namespace, name) = self.split(&item.key);
        (std::str::from_utf8(namespace).unwrap_or_default(), std::str::from_utf8(name).unwrap_or_default())
    }
}

impl Field {
    fn new(kind: &Kind, stored: &Kind, label: &str) -> Result<Self> {
        match label {
            "metadata.name" => return Ok(Self::Name),
            "metadata.namespace" if stored.namespaced => return Ok(Self::Namespace),
            _ => {}
        }
        let known = kind.selectable_fields.iter().find(|field| field.label == label);
        let position = |paths: &[Text]| stored.selectable_fields.iter().position(|field| field.paths == paths);
        known.and_then(|field| position(&field.paths)).map(Self::Selectable).ok_or_else(|| unknown(kind, label))
    }
}

/// Upstream's two texts: kinds with selectable fields of their own, and those without.
fn unknown(kind: &Kind, label: &str) -> Status {
    if kind.selectable_fields.is_empty() {
        let known = "only \"metadata.name\", \"metadata.namespace\"";
        return Status::bad_request(format!("{label:?} is not a known field selector: {known}"));
    }
    Status::bad_request(format!("field label not supported: {label}"))
}

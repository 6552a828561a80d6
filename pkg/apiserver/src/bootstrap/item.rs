//! One object that shall exist.

use knarr_api::Object;
use knarr_api::kind::KindRef;
use knarr_api::kinds;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::same_objects;
use serde_json::Value;

use crate::registry::{Registry, Write};
use crate::request::{DeleteOptions, RequestContext};

/// What must happen to an object that exists.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// It is as it shall be, or its owner does not want it changed.
    Nothing,
    /// Write this.
    Update(Object),
    /// What is wrong cannot be changed: delete it and create it anew.
    Recreate,
}

impl Change {
    /// The change that makes `updated` of `existing`.
    pub(super) fn to(existing: &Object, updated: Object) -> Self {
        if same_objects(existing, &updated) { Self::Nothing } else { Self::Update(updated) }
    }
}

/// How an object that exists is compared with what it should be.
pub(super) type Reconcile = fn(existing: &Object, expected: &Object) -> Change;

/// What exists belongs to its owner.
pub(super) fn leave(_existing: &Object, _expected: &Object) -> Change {
    Change::Nothing
}

/// One object that shall exist.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) object: Object,
    pub(super) reconcile: Reconcile,
    /// Written through `/status` when the object has none.
    pub(super) status: Option<Value>,
}

impl Item {
    /// An object whose later life is its owner's business.
    pub(super) fn once(object: Value) -> Self {
        Self::kept(object, leave)
    }

    /// An object that is compared at each start.
    pub(super) fn kept(object: Value, reconcile: Reconcile) -> Self {
        Self { object: into_object(object), reconcile, status: None }
    }

    /// With a status.
    pub(super) fn with_status(self, status: Value) -> Self {
        Self { status: Some(status), ..self }
    }

    fn kind(&self) -> Option<&'static KindRef> {
        let group = self.object.str_at(&["apiVersion"]).rsplit_once('/').map(|(group, _)| group).unwrap_or_default();
        let kind = self.object.str_at(&["kind"]);
        kinds::builtin().iter().find(|row| row.group == group && row.kind == kind)
    }

    /// Whether it can only be written once namespaces exist.
    pub(super) fn is_namespaced(&self) -> bool {
        !self.object.namespace().is_empty()
    }

    /// How messages name it.
    pub(super) fn name(&self) -> String {
        format!("{} {}/{}", self.object.str_at(&["kind"]), self.object.namespace(), self.object.name())
    }

    /// Creates the object or brings it up to date.
    pub(super) async fn ensure(&self, registry: &Registry, cx: &RequestContext) -> Result<()> {
        let resource = self.kind().and_then(|kind| registry.resource(&kind.group, &kind.plural));
        let resource = resource.ok_or_else(knarr_api::Status::no_such_path)?;
        let (namespace, name) = (self.object.namespace(), self.object.name());
        let write = Write { cx, resource: &resource, namespace, name, subresource: None };
        match registry.get(&resource.kind, namespace, name).await {
            Ok(existing) => self.reconcile(registry, &write, &existing).await?,
            Err(status) if status.is("NotFound") => match registry.create(&write, self.object.clone()).await {
                // Somebody else was faster; what they made is looked at when the server starts again.
                Err(status) if status.is("AlreadyExists") => {}
                created => drop(created?),
            },
            Err(status) => return Err(status),
        }
        self.ensure_status(registry, Write { subresource: Some("status"), ..write }).await
    }

    async fn reconcile(&self, registry: &Registry, write: &Write<'_>, existing: &Object) -> Result<()> {
        match (self.reconcile)(existing, &self.object) {
            Change::Nothing => Ok(()),
            Change::Update(_) => {
                let mut change = |current: &Object| match (self.reconcile)(current, &self.object) {
                    Change::Update(updated) => Ok(updated),
                    Change::Nothing | Change::Recreate => Ok(current.clone()),
                };
                registry.update(write, &mut change).await.map(drop)
            }
            Change::Recreate => {
                registry.delete(write, &DeleteOptions::default()).await?;
                registry.create(write, self.object.clone()).await.map(drop)
            }
        }
    }

    async fn ensure_status(&self, registry: &Registry, write: Write<'_>) -> Result<()> {
        let Some(status) = &self.status else { return Ok(()) };
        let lacks = |object: &Object| object.at(&["status", "conditions"]).is_none();
        if !lacks(&registry.get(&write.resource.kind, write.namespace, write.name).await?) {
            return Ok(());
        }
        let mut change = |current: &Object| {
            let mut updated = current.clone();
            if lacks(current) {
                updated.insert("status".into(), status.clone());
            }
            Ok(updated)
        };
        registry.update(&write, &mut change).await.map(drop)
    }
}

/// The object that a JSON literal is.
pub(super) fn into_object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

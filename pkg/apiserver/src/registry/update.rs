//! Changing objects: `k8s.io/apiserver` `pkg/registry/rest/update.go` and `generic/registry/store.go`.

use bytes::Bytes;
use knarr_api::metadata::{validate, validate_update};
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::strategy::NameRule;
use knarr_api::{Object, Status, field};
use knarr_store::{Guard, Op, Revision};
use serde_json::Value;

use super::{ATTEMPTS, Commit, Registry, Write, encode, keys, metadata};
use crate::admission::Operation;
use crate::cache::Stored;
use crate::request::Preconditions;

/// What became of an update.
#[derive(Clone, Debug)]
pub enum Updated {
    /// The object was changed, or was already as asked for; this is what is there.
    Changed(Stored),
    /// It did not exist and was created.
    Created(Stored),
    /// The update took away what kept a deleted object from going; this was its last state.
    Removed(Stored),
}

impl Updated {
    /// The object.
    #[must_use]
    pub fn into_stored(self) -> Stored {
        match self {
            Self::Changed(stored) | Self::Created(stored) | Self::Removed(stored) => stored,
        }
    }
}

/// A change of an object: from what is there (an empty object when there is nothing) to what shall be. It may be called
/// more than once.
pub type ChangeFn<'f> = dyn FnMut(&Object) -> Result<Object> + Send + 'f;

impl Registry {
    /// Changes an object. `change` gets the object as it is and makes of it what it shall be, with the `resourceVersion`
    /// that the caller has seen, or none. It is called again when somebody else was faster.
    ///
    /// # Errors
    /// 404, 409 when the revision that `change` names is not the current one, 422 when the object is invalid, 403 when
    /// admission refuses, and what `change` says.
    pub async fn update(&self, write: &Write<'_>, change: &mut ChangeFn<'_>) -> Result<Updated> {
        self.guaranteed_update(write, change, false).await
    }

    /// Like [`Registry::update`], and creates the object from the change of an empty one when it does not exist.
    ///
    /// # Errors
    /// As [`Registry::update`], but for 404.
    pub async fn create_or_update(&self, write: &Write<'_>, change: &mut ChangeFn<'_>) -> Result<Updated> {
        self.guaranteed_update(write, change, true).await
    }

    /// Changes an object without asking its kind or admission: for what the server itself does to it, on behalf of a
    /// request that has been admitted.
    ///
    /// # Errors
    /// 404, and what `change` says.
    pub async fn rewrite(&self, write: &Write<'_>, change: &mut ChangeFn<'_>) -> Result<Stored> {
        let key = keys::object(&write.resource.stored, write.namespace, write.name);
        let mut current = self.current(write, &key).await?;
        for _ in 0..ATTEMPTS {
            let existing = current.ok_or_else(|| Status::not_found(&write.resource.kind, write.name))?;
            let old = existing.object(&write.resource.stored)?;
            let new = change(&old)?;
            if new == old || write.dry_run() {
                return Ok(existing);
            }
            let bytes = encode(&new)?;
            let guard = Guard::Unchanged(key.clone(), existing.revision);
            let op = Op::Put(key.clone(), bytes.clone());
            match self.commit(write, guard, op, super::Companions::default()).await? {
                Commit::Done(revision) => return Ok(Stored { bytes, revision }),
                Commit::Lost(found) => {
                    current = found.map(|entry| Stored { bytes: entry.value, revision: entry.mod_revision });
                }
                Commit::CompanionLost => current = Some(existing),
            }
        }
        Err(write.exhausted())
    }

    async fn guaranteed_update(
        &self,
        write: &Write<'_>,
        change: &mut ChangeFn<'_>,
        may_create: bool,
    ) -> Result<Updated> {
        let key = keys::object(&write.resource.stored, write.namespace, write.name);
        let mut current = self.current(write, &key).await?;
        for _ in 0..ATTEMPTS {
            let Some(existing) = &current else {
                if !may_create {
                    return Err(Status::not_found(&write.resource.kind, write.name));
                }
                let mut new = change(&Object::new())?;
                check_name(write, &new)?;
                new.meta_mut().remove("resourceVersion");
                match self.create(write, new).await {
                    Err(status) if status.is("AlreadyExists") => current = self.current(write, &key).await?,
                    created => return created.map(Updated::Created),
                }
                continue;
            };
            match self.attempt_update(write, &key, existing, change).await? {
                Attempt::Done(updated) => return Ok(updated),
                Attempt::Again(found) => current = found,
                Attempt::AgainSame => {}
            }
        }
        Err(write.exhausted())
    }

    /// What is there now.
    pub(super) async fn current(&self, write: &Write<'_>, key: &[u8]) -> Result<Option<Stored>> {
        Ok(write.resource.cache()?.get(key).await?.map(|item| item.stored.clone()))
    }

    async fn attempt_update(
        &self,
        write: &Write<'_>,
        key: &Bytes,
        existing: &Stored,
        change: &mut ChangeFn<'_>,
    ) -> Result<Attempt> {
        let Write { resource, .. } = *write;
        let old = existing.object(&resource.stored)?;
        let mut new = change(&old)?;
        check_identity(write, &new, &old)?;
        check_revision(write, &mut new, existing.revision)?;
        resource.default(&mut new);
        self.mutate(write, Operation::Update, Some(&mut new), Some(&old)).await?;
        let now = metadata::now();
        let cx = write.context(&now);
        metadata::set_namespace(write, &mut new)?;
        restore(write, &mut new, &old);
        resource.strategy.prepare_for_update(&cx, &mut new, &old);
        set_generation(write, &mut new, &old);
        let companions = self.run_hooks(write, Operation::Update, Some(&mut new), Some(&old)).await?;
        metadata::keep(&mut new, &old);
        metadata::omit_empty(&mut new);
        let mut errors = validate(&resource.kind, NameRule::PathSegment, &new);
        errors.extend(validate_update(&new, &old));
        errors.extend(resource.strategy.validate_update(&cx, &new, &old));
        if !errors.is_empty() {
            return Err(Status::invalid(&resource.kind, write.name, &errors));
        }
        if write.subresource != Some("status") {
            for text in resource.strategy.warnings(&new, Some(&old)) {
                write.cx.warnings.add(text);
            }
        }
        self.admit(write, Operation::Update, Some(&mut new), Some(&old)).await?;
        let goes = is_finished(&new, &old);
        if !goes && new == old && companions.ops.is_empty() {
            return Ok(Attempt::Done(Updated::Changed(existing.clone())));
        }
        let bytes = encode(&new)?;
        if write.dry_run() {
            return Ok(Attempt::Done(Updated::Changed(Stored { bytes, revision: existing.revision })));
        }
        let guard = Guard::Unchanged(key.clone(), existing.revision);
        let (op, companions) = if goes {
            (Op::Delete(key.clone()), self.run_hooks(write, Operation::Delete, None, Some(&old)).await?)
        } else {
            (Op::Put(key.clone(), bytes.clone()), companions)
        };
        Ok(match self.commit(write, guard, op, companions).await? {
            Commit::Done(revision) if goes => Attempt::Done(Updated::Removed(Stored { bytes, revision })),
            Commit::Done(revision) => Attempt::Done(Updated::Changed(Stored { bytes, revision })),
            Commit::Lost(found) => {
                Attempt::Again(found.map(|entry| Stored { bytes: entry.value, revision: entry.mod_revision }))
            }
            Commit::CompanionLost => Attempt::AgainSame,
        })
    }
}

enum Attempt {
    Done(Updated),
    /// The object has changed: this is there now.
    Again(Option<Stored>),
    /// Another object has changed.
    AgainSame,
}

/// The name in a body must be that of the path.
fn check_name(write: &Write<'_>, new: &Object) -> Result<()> {
    if new.name() == write.name {
        return Ok(());
    }
    let text = format!("the name of the object ({}) does not match the name on the URL ({})", new.name(), write.name);
    Err(Status::bad_request(text))
}

/// The UID in a body is a precondition.
fn check_identity(write: &Write<'_>, new: &Object, old: &Object) -> Result<()> {
    check_name(write, new)?;
    let preconditions = Preconditions { uid: Some(new.uid().to_owned()), resource_version: None };
    if new.uid().is_empty() { Ok(()) } else { preconditions.check(&write.resource.kind, old) }
}

impl Preconditions {
    /// Whether an object is the one that is meant.
    ///
    /// # Errors
    /// 409 with upstream's text when it is not.
    pub(crate) fn check(&self, kind: &knarr_api::kind::Kind, object: &Object) -> Result<()> {
        let rules = [("UID", &self.uid, "uid"), ("ResourceVersion", &self.resource_version, "resourceVersion")];
        for (name, wanted, field) in rules {
            let actual = object.meta(field);
            if let Some(wanted) = wanted
                && wanted != actual
            {
                let text =
                    format!("Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {actual}");
                return Err(Status::conflict(kind, object.name(), text));
            }
        }
        Ok(())
    }
}

/// An update of a revision that is not the current one is a conflict; one of no revision overwrites, where that is allowed.
fn check_revision(write: &Write<'_>, new: &mut Object, current: Revision) -> Result<()> {
    let kind = &write.resource.kind;
    let seen = new.meta("resourceVersion").to_owned();
    if (seen.is_empty() || seen == "0") && write.resource.strategy.allow_unconditional_update() {
        new.meta_mut().insert("resourceVersion".into(), current.to_string().into());
        return Ok(());
    }
    if seen.is_empty() || seen == "0" {
        let path = field::Path::root("metadata").child("resourceVersion");
        let mut errors = field::Errors::new();
        errors.invalid(path, 0, "must be specified for an update");
        return Err(Status::invalid(kind, write.name, &errors));
    }
    match seen.parse::<Revision>() {
        Ok(seen) if seen == current => Ok(()),
        Ok(_) => Err(Status::modified(kind, write.name)),
        Err(_) => Err(Status::bad_request(format!("invalid resource version {seen:?}"))),
    }
}

/// Through `/status` only metadata and status change; through the object itself everything but the status. Handlers of
/// other subresources make their change from the old object themselves.
fn restore(write: &Write<'_>, new: &mut Object, old: &Object) {
    if write.resource.kind.subresource("status").is_none() {
        return;
    }
    let put = |object: &mut Object, field: &str, value: Option<Value>| match value {
        Some(value) => object.insert(field.into(), value),
        None => object.remove(field),
    };
    match write.subresource {
        Some("status") => {
            let mut restored = old.clone();
            put(&mut restored, "metadata", new.remove("metadata"));
            put(&mut restored, "status", new.remove("status"));
            *new = restored;
        }
        None => {
            put(new, "status", old.get("status").cloned());
        }
        Some(_) => {}
    }
}

/// Clients cannot set the generation; it counts changes of what is wanted.
fn set_generation(write: &Write<'_>, new: &mut Object, old: &Object) {
    let strategy = write.resource.strategy;
    let before = old.at(&["metadata", "generation"]).and_then(Value::as_i64);
    let counts = strategy.has_generation() && write.subresource != Some("status");
    let generation = match before {
        _ if counts && strategy.changes_generation(new, old) => Some(before.unwrap_or(0) + 1),
        before => before,
    };
    match generation {
        Some(generation) => new.meta_mut().insert("generation".into(), generation.into()),
        None => new.meta_mut().remove("generation"),
    };
}

/// Whether an object that was deleted has nothing left to wait for: upstream's `ShouldDeleteDuringUpdate`.
fn is_finished(new: &Object, old: &Object) -> bool {
    let finalizers = |object: &Object, path: &[&str]| {
        object.at(path).and_then(Value::as_array).is_some_and(|finalizers| !finalizers.is_empty())
    };
    let grace = old.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    !old.meta("deletionTimestamp").is_empty()
        && grace == 0
        && !finalizers(new, &["metadata", "finalizers"])
        // Only namespaces have a list of this name in their spec.
        && !finalizers(new, &["spec", "finalizers"])
}

//! Creating objects: `k8s.io/apiserver` `pkg/registry/rest/create.go` and `generic/registry/store.go`.

use bytes::Bytes;
use knarr_api::metadata::validate;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use knarr_store::{Guard, Op};

use super::{ATTEMPTS, Commit, Companions, Registry, Write, encode, keys, metadata};
use crate::admission::Operation;
use crate::cache::Stored;

/// A generated name that is taken is generated again, so often.
const NAME_ATTEMPTS: usize = 8;

/// An object ready for its transaction.
struct Prepared {
    name: String,
    key: Bytes,
    value: Bytes,
    companions: Companions,
}

impl Registry {
    /// Creates an object of the stored version. The answer is what was written.
    ///
    /// # Errors
    /// 409 when one of that name exists, 422 when it is invalid, 403 when admission refuses it.
    pub async fn create(&self, write: &Write<'_>, object: Object) -> Result<Stored> {
        if !matches!(object.meta("resourceVersion"), "" | "0") {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let names = if object.name().is_empty() { NAME_ATTEMPTS } else { 1 };
        let (mut taken, mut lost) = (0, 0);
        loop {
            let prepared = self.prepare_create(write, object.clone()).await?;
            if write.dry_run() {
                return self.dry_create(write, prepared).await;
            }
            let Prepared { name, key, value, companions } = prepared;
            let op = Op::Put(key.clone(), value.clone());
            match self.commit(write, Guard::Absent(key), op, companions).await? {
                Commit::Done(revision) => return Ok(Stored { bytes: value, revision }),
                Commit::Lost(found) => {
                    taken += 1;
                    if taken == names {
                        return Err(self.already_exists(write, &name, names > 1, found));
                    }
                }
                Commit::CompanionLost => {
                    lost += 1;
                    if lost == ATTEMPTS {
                        return Err(write.exhausted());
                    }
                }
            }
        }
    }

    async fn prepare_create(&self, write: &Write<'_>, mut object: Object) -> Result<Prepared> {
        let Write { resource, .. } = *write;
        if resource.kind.subresource("status").is_some() && !resource.strategy.keeps_status_on_create() {
            object.remove("status");
        }
        resource.default(&mut object);
        self.mutate(write, Operation::Create, Some(&mut object), None).await?;
        metadata::fill_system_fields(&mut object);
        metadata::generate_name(&mut object);
        metadata::set_namespace(write, &mut object)?;
        let now = metadata::now();
        let cx = write.context(&now);
        object.meta_mut().remove("generation");
        if resource.strategy.has_generation() {
            object.meta_mut().insert("generation".into(), 1.into());
        }
        resource.strategy.prepare_for_create(&cx, &mut object);
        let companions = self.run_hooks(write, Operation::Create, Some(&mut object), None).await?;
        metadata::omit_empty(&mut object);
        let mut errors = resource.strategy.validate(&cx, &object);
        errors.extend(validate(&resource.kind, resource.strategy.name_rule(), &object));
        if !errors.is_empty() {
            return Err(Status::invalid(&resource.kind, object.name(), &errors));
        }
        for text in resource.strategy.warnings(&object, None) {
            write.cx.warnings.add(text);
        }
        self.admit(write, Operation::Create, Some(&mut object), None).await?;
        let key = keys::object_of(&resource.stored, &object);
        Ok(Prepared { name: object.name().to_owned(), key, value: encode(&object)?, companions })
    }

    async fn dry_create(&self, write: &Write<'_>, prepared: Prepared) -> Result<Stored> {
        if write.resource.cache()?.get(&prepared.key).await?.is_some() {
            return Err(Status::already_exists(&write.resource.kind, &prepared.name));
        }
        Ok(Stored { bytes: prepared.value, revision: 0 })
    }

    /// Upstream's three texts for one fact.
    fn already_exists(
        &self,
        write: &Write<'_>,
        name: &str,
        generated: bool,
        found: Option<knarr_store::KeyValue>,
    ) -> Status {
        let kind = &write.resource.kind;
        let mut status = Status::already_exists(kind, name);
        if generated {
            status.message = format!(
                "{} {name:?} already exists, the server was not able to generate a unique name for the object",
                kind.qualified()
            );
            return status.retry_after(1);
        }
        let existing = found.map(|entry| Stored { bytes: entry.value, revision: entry.mod_revision });
        let existing = existing.and_then(|stored| stored.object(&write.resource.stored).ok());
        if existing.is_some_and(|object| !object.meta("deletionTimestamp").is_empty()) {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }
}

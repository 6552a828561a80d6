//! Deleting objects: `k8s.io/apiserver` `pkg/registry/rest/delete.go` and `generic/registry/store.go`.

mod plan;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_store::{Guard, Op};

use super::{ATTEMPTS, Commit, Companions, Registry, Write, encode, keys};
use crate::admission::Operation;
use crate::cache::{Item, Selection, Stored};
use crate::request::DeleteOptions;

use plan::Plan;

/// So many objects of a collection are deleted at once.
const CONCURRENT: usize = 16;

/// What became of a delete.
#[derive(Clone, Debug)]
pub enum Deletion {
    /// The object is gone; this was its last state.
    Gone(Stored),
    /// It goes when its grace period is over or its finalizers are done; this is its state.
    Pending(Stored),
}

impl Registry {
    /// Deletes an object, or starts to.
    ///
    /// # Errors
    /// 404, 409 when a precondition does not hold, 403 when admission refuses.
    pub async fn delete(&self, write: &Write<'_>, options: &DeleteOptions) -> Result<Deletion> {
        self.guaranteed_delete(write, options, true).await
    }

    /// Like [`Registry::delete`], without asking admission: for what an admitted request of another kind leads to.
    ///
    /// # Errors
    /// 404, 409 when a precondition does not hold.
    pub async fn remove(&self, write: &Write<'_>, options: &DeleteOptions) -> Result<Deletion> {
        self.guaranteed_delete(write, options, false).await
    }

    async fn guaranteed_delete(&self, write: &Write<'_>, options: &DeleteOptions, admit: bool) -> Result<Deletion> {
        plan::check(options)?;
        let key = keys::object(&write.resource.stored, write.namespace, write.name);
        let mut current = self.current(write, &key).await?;
        for _ in 0..ATTEMPTS {
            let existing = current.ok_or_else(|| Status::not_found(&write.resource.kind, write.name))?;
            let old = existing.object(&write.resource.stored)?;
            if let Some(preconditions) = &options.preconditions {
                preconditions.check(&write.resource.kind, &old)?;
            }
            if admit {
                self.mutate(write, Operation::Delete, None, Some(&old)).await?;
                self.admit(write, Operation::Delete, None, Some(&old)).await?;
            }
            let guard = Guard::Unchanged(key.clone(), existing.revision);
            let (op, companions, bytes, deletion): (_, _, _, fn(Stored) -> Deletion) =
                match plan::plan(write.resource, &old, options, jiff::Timestamp::now()) {
                    Plan::Wait => return Ok(Deletion::Pending(existing)),
                    Plan::Mark(marked) => {
                        let bytes = encode(&marked)?;
                        (Op::Put(key.clone(), bytes.clone()), Companions::default(), bytes, Deletion::Pending)
                    }
                    Plan::Remove(last) => {
                        let companions = self.run_hooks(write, Operation::Delete, None, Some(&old)).await?;
                        (Op::Delete(key.clone()), companions, encode(&last)?, Deletion::Gone)
                    }
                };
            if write.dry_run() {
                return Ok(deletion(Stored { bytes, revision: existing.revision }));
            }
            match self.commit(write, guard, op, companions).await? {
                Commit::Done(revision) => return Ok(deletion(Stored { bytes, revision })),
                Commit::Lost(found) => {
                    current = found.map(|entry| Stored { bytes: entry.value, revision: entry.mod_revision });
                }
                Commit::CompanionLost => current = Some(existing),
            }
        }
        Err(write.exhausted())
    }

    /// Deletes every object of a selection; what vanishes meanwhile is no error. The answer is what was selected.
    ///
    /// # Errors
    /// The first error but 404. What was deleted until then stays deleted.
    pub async fn delete_collection(
        &self,
        write: &Write<'_>,
        selected: &[std::sync::Arc<Item>],
        options: &DeleteOptions,
    ) -> Result<()> {
        let root = Selection::all(&write.resource.stored, "");
        let delete = |item| {
            let (namespace, name) = root.names(item);
            self.delete_if_there(Write { namespace, name, ..*write }, options).boxed()
        };
        // Deletes that run together share the waits for the disk.
        let deletes: Vec<BoxFuture<'_, _>> = selected.iter().map(|item| delete(item)).collect();
        futures::stream::iter(deletes).buffer_unordered(CONCURRENT).try_collect().await
    }

    async fn delete_if_there(&self, write: Write<'_>, options: &DeleteOptions) -> Result<()> {
        match self.delete(&write, options).await {
            Err(status) if !status.is("NotFound") => Err(status),
            _ => Ok(()),
        }
    }
}

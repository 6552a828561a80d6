//! What a kind does to other objects in the very transaction that writes it.

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::kind::{Kind, KindRef};
use knarr_api::status::Result;
use knarr_store::{Guard, Op, Revision};

use super::{Registry, keys};
use crate::admission::Operation;
use crate::request::RequestContext;

/// Writes of other objects that happen together with an object's own write, or not at all.
#[derive(Debug, Default)]
pub struct Companions {
    pub(crate) guards: Vec<Guard>,
    pub(crate) ops: Vec<Op>,
}

impl Companions {
    /// Creates `object`; when one of that name exists by then, the whole write is tried again from its start, with the hook
    /// called again. System fields (UID, creation time) are filled in.
    ///
    /// # Errors
    /// When the object has no name.
    pub fn create(&mut self, kind: &Kind, mut object: Object) -> Result<()> {
        super::metadata::fill_system_fields(&mut object);
        let key = keys::object_of(kind, &object);
        let value = super::encode(&object)?;
        self.guards.push(Guard::Absent(key.clone()));
        self.ops.push(Op::Put(key, value));
        Ok(())
    }

    /// Overwrites the object that was read at `revision`; when it changed since, the whole write is tried again.
    ///
    /// # Errors
    /// When the object has no name.
    pub fn update(&mut self, kind: &Kind, object: &Object, revision: Revision) -> Result<()> {
        let key = keys::object_of(kind, object);
        self.guards.push(Guard::Unchanged(key.clone(), revision));
        self.ops.push(Op::Put(key, super::encode(object)?));
        Ok(())
    }

    /// Takes a node port that nobody holds; when somebody does by then, the whole write is tried again.
    pub fn hold_node_port(&mut self, port: u16) {
        let key = keys::node_port(port);
        self.guards.push(Guard::Absent(key.clone()));
        self.ops.push(Op::Put(key, bytes::Bytes::from_static(b"{}")));
    }

    /// Gives a node port back.
    pub fn free_node_port(&mut self, port: u16) {
        self.ops.push(Op::Delete(keys::node_port(port)));
    }

    /// Deletes the object, if it exists.
    pub fn delete(&mut self, kind: &Kind, namespace: &str, name: &str) {
        self.ops.push(Op::Delete(keys::object(kind, namespace, name)));
    }
}

/// A write about to be validated and committed.
#[derive(Debug)]
pub struct Change<'a> {
    /// The request.
    pub cx: &'a RequestContext,
    /// For reading other objects. What was read and matters must be guarded by a companion.
    pub registry: &'a Registry,
    /// What is written.
    pub kind: &'a KindRef,
    /// [`Operation::Create`], [`Operation::Update`] or, when the object really goes, [`Operation::Delete`].
    pub operation: Operation,
    /// What will be written; `None` for deletes.
    pub new: Option<&'a mut Object>,
    /// What is there; `None` for creates.
    pub old: Option<&'a Object>,
    /// What else will be written.
    pub companions: &'a mut Companions,
}

/// Runs on every attempt to write an object of one kind, after the strategy prepared it and before it is validated. It
/// must be free of lasting effects: an attempt may be repeated or fail.
#[async_trait]
pub trait Hook: Send + Sync + std::fmt::Debug {
    /// Completes the object and names its companions.
    ///
    /// # Errors
    /// To refuse the write.
    async fn apply(&self, change: &mut Change<'_>) -> Result<()>;
}

/// The hooks of all kinds, by group and plural.
pub type Hooks = std::collections::HashMap<(&'static str, &'static str), Vec<std::sync::Arc<dyn Hook>>>;

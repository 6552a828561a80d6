//! NamespaceLifecycle: nothing is created in a namespace that does not exist or is about to end, and some never end.

use async_trait::async_trait;
use knarr_api::object::Meta;
use knarr_api::status::{Cause, Result};
use knarr_api::{Object, Status};

use super::{Admission, AdmissionRequest, Operation};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// See the module.
#[derive(Debug)]
pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        if request.kind.group.is_empty() && request.kind.plural == "namespaces" {
            return match request.operation {
                Operation::Delete if request.subresource.is_none() && IMMORTAL.contains(&request.name) => {
                    Err(Status::forbidden(request.kind, request.name, "this namespace may not be deleted"))
                }
                _ => Ok(()),
            };
        }
        // A review must not tell whether a namespace exists.
        let is_review = request.kind.plural == "localsubjectaccessreviews";
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if request.namespace.is_empty() || !writes || is_review {
            return Ok(());
        }
        match request.find("", "namespaces", "", request.namespace).await? {
            None => {
                let kind = request.registry.kind("", "namespaces").ok_or_else(Status::no_such_path)?;
                Err(Status::not_found(&kind, request.namespace))
            }
            Some(namespace) if request.operation == Operation::Create && is_terminating(&namespace) => {
                Err(terminating(request))
            }
            Some(_) => Ok(()),
        }
    }
}

fn is_terminating(namespace: &Object) -> bool {
    namespace.str_at(&["status", "phase"]) == "Terminating"
}

fn terminating(request: &AdmissionRequest<'_>) -> Status {
    let namespace = request.namespace;
    let mut status = request
        .forbidden(format!("unable to create new content in namespace {namespace} because it is being terminated"));
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    status
}

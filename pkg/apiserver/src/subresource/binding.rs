//! `pods/binding` and the older `bindings`: a scheduler gives a pod to a node.

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::field::{Errors, Path};
use knarr_api::object::{Meta, object_in};
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use knarr_api::{Object, Status};
use serde_json::{Value, json};

use super::{Call, Subresource};
use crate::admission::Operation;
use crate::registry::{Write, metadata};
use crate::request::Preconditions;
use crate::serve::media::Media;
use crate::serve::{answer_status, body};

/// Answers for both.
#[derive(Debug)]
pub(super) struct Binding;

const TYPE: (&str, &str) = ("v1", "Binding");
const SCHEMA: &str = "io.k8s.api.core.v1.Binding";

#[async_trait]
impl Subresource for Binding {
    async fn serve(&self, call: Call<'_>, request: Request<Body>) -> Result<Response> {
        let media = Media::accepted(request.headers(), None)?;
        let (parts, content) = request.into_parts();
        let bytes = body::read(content).await?;
        let mut binding = body::typed(call.cx, &parts.headers, &bytes, TYPE, SCHEMA)?;
        let info = &call.cx.info;
        let name = binding.name().to_owned();
        if !info.name.is_empty() && info.name != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        if !binding.namespace().is_empty() && binding.namespace() != info.namespace {
            let text = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(text));
        }
        check(&binding)?;
        let pods = call.registry.resource("", "pods").ok_or_else(Status::no_such_path)?;
        let write = Write {
            cx: call.cx,
            resource: &pods,
            namespace: &info.namespace,
            name: &name,
            subresource: Some("binding"),
        };
        call.registry.mutate(&write, Operation::Create, Some(&mut binding), None).await?;
        call.registry.admit(&write, Operation::Create, Some(&mut binding), None).await?;
        let given = |field: &str| Some(binding.meta(field).to_owned()).filter(|text| !text.is_empty());
        let preconditions = Preconditions { uid: given("uid"), resource_version: given("resourceVersion") };
        let mut change = |pod: &Object| {
            preconditions.check(&pods.kind, pod)?;
            assign(pod, &binding).map_err(|why| conflict(pod.name(), &why))
        };
        call.registry.rewrite(&write, &mut change).await?;
        Ok(answer_status(&Status { code: StatusCode::CREATED.as_u16(), ..Status::success() }, media))
    }
}

fn check(binding: &Object) -> Result<()> {
    let (mut errors, path) = (Errors::new(), Path::root("target"));
    let kind = binding.text("target.kind");
    if !matches!(kind, "" | "Node") {
        errors.not_supported(path.child("kind"), kind, &["Node", "<empty>"]);
    }
    if binding.text("target.name").is_empty() {
        errors.required(path.child("name"), "");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::bad_request(errors.to_string())) }
}

/// The pod on its node; upstream's `setPodNodeAndMetadata`.
fn assign(pod: &Object, binding: &Object) -> Result<Object, String> {
    let name = pod.name();
    if !pod.meta("deletionTimestamp").is_empty() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !pod.text("spec.nodeName").is_empty() {
        return Err(format!("pod {name} is already assigned to node {:?}", pod.text("spec.nodeName")));
    }
    if !pod.list("spec.schedulingGates").is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut assigned = pod.clone();
    assigned.section("spec").insert("nodeName".into(), binding.text("target.name").into());
    for field in ["annotations", "labels"] {
        let given = binding.map("metadata").map(field);
        if !given.is_empty() {
            let own = object_in(assigned.meta_mut().entry(field).or_insert(Value::Null));
            own.extend(given.clone());
        }
    }
    let status = assigned.section("status");
    status.remove("nominatedNodeName");
    set_condition(status, "PodScheduled", json!({"status": "True"}));
    Ok(assigned)
}

/// Sets a condition; its transition time is now unless the status stays what it was. Upstream's `UpdatePodCondition`.
pub(super) fn set_condition(status: &mut Object, kind: &str, mut condition: Value) {
    let fields = object_in(&mut condition);
    fields.insert("type".into(), kind.into());
    fields.insert("lastProbeTime".into(), Value::Null);
    fields.insert("lastTransitionTime".into(), metadata::now().into());
    let own = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(own) = own.as_array_mut() else { return };
    match own.iter_mut().find(|condition| condition.get("type").is_some_and(|of| of == kind)) {
        Some(known) if known.get("status") == fields.get("status") => {
            if let Some(since) = known.get("lastTransitionTime") {
                fields.insert("lastTransitionTime".into(), since.clone());
            }
            *known = condition;
        }
        Some(known) => *known = condition,
        None => own.push(condition),
    }
}

fn conflict(name: &str, why: &str) -> Status {
    let mut status =
        Status::failure(409, "Conflict", format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}"));
    let details = status.details.get_or_insert_default();
    details.name = name.into();
    details.kind = "pods/binding".into();
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    fn pod(name: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    }

    #[tokio::test]
    async fn a_pod_is_bound_once() {
        let api = Fixture::new().await;
        let pods = "/api/v1/namespaces/default/pods";
        api.post(pods, pod("p")).await.ok();
        let binding = json!({"metadata": {"name": "p", "annotations": {"a": "1"}}, "target": {"name": "node-1"}});
        let bound = api.post(&format!("{pods}/p/binding"), binding.clone()).await;
        assert_eq!((bound.code.as_u16(), &bound.json()["status"]), (201, &json!("Success")));
        let seen = api.get(&format!("{pods}/p")).await.ok();
        assert_eq!(seen["spec"]["nodeName"], "node-1");
        assert_eq!(seen["metadata"]["annotations"]["a"], "1");
        let conditions = seen["status"]["conditions"].as_array().unwrap();
        assert!(conditions.iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True"), "{conditions:?}");

        let again = api.post("/api/v1/namespaces/default/bindings", binding).await;
        let expected =
            "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"node-1\"";
        assert_eq!(again.message(), (409, expected.to_owned()));
    }

    #[tokio::test]
    async fn a_binding_that_makes_no_sense_is_refused() {
        let api = Fixture::new().await;
        let pods = "/api/v1/namespaces/default/pods";
        api.post(pods, pod("p")).await.ok();
        let table = [
            (json!({"metadata": {"name": "p"}, "target": {}}), 400),
            (json!({"metadata": {"name": "p"}, "target": {"kind": "Pod", "name": "n"}}), 400),
            (json!({"metadata": {"name": "q"}, "target": {"name": "n"}}), 400),
            (json!({"metadata": {"name": "p", "uid": "other"}, "target": {"name": "n"}}), 409),
        ];
        for (binding, code) in table {
            let answer = api.post(&format!("{pods}/p/binding"), binding.clone()).await;
            assert_eq!(answer.code.as_u16(), code, "{binding}: {}", answer.text());
        }
        let lost = json!({"metadata": {"name": "q"}, "target": {"name": "n"}});
        assert_eq!(api.post(&format!("{pods}/q/binding"), lost).await.code, 404);
    }
}

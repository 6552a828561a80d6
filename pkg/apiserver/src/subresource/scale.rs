//! `scale`: the number of replicas of a workload, seen through one form for all kinds.
//! <https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#scaling-workloads>

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::field::{Errors, Path};
use knarr_api::object::Meta;
use knarr_api::selector::LabelSelector;
use knarr_api::status::{Cause, Details, Result};
use knarr_api::tree::Tree;
use knarr_api::{Object, Status};
use serde_json::json;

use super::{Call, Subresource};
use crate::serve::media::Media;
use crate::serve::{Incoming, answer_object};

/// The workloads that have it.
pub(super) const WORKLOADS: &[(&str, &str)] =
    &[("", "replicationcontrollers"), ("apps", "deployments"), ("apps", "replicasets"), ("apps", "statefulsets")];

/// Answers for all of them: they have the same fields.
#[derive(Debug)]
pub(super) struct Scale;

const TYPE: (&str, &str) = ("autoscaling/v1", "Scale");
const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

#[async_trait]
impl Subresource for Scale {
    async fn serve(&self, call: Call<'_>, request: Request<Body>) -> Result<Response> {
        let media = Media::accepted(request.headers(), None)?;
        let info = &call.cx.info;
        if info.verb == "get" {
            let parent = call.registry.get(&call.resource.kind, &info.namespace, &info.name).await?;
            return answer_object(StatusCode::OK, media, &view(&parent)?);
        }
        let incoming = Incoming::read(call.cx, request, TYPE, SCHEMA).await?;
        let mut change = |parent: &Object| {
            let scale = incoming.apply(call.cx, || view(parent))?;
            put(parent, &scale)
        };
        let updated = call.registry.update(&call.write(Some("scale")), &mut change).await?;
        let parent = updated.into_stored().object(&call.resource.stored)?;
        answer_object(StatusCode::OK, media, &view(&parent)?)
    }
}

/// The scale of a workload.
fn view(parent: &Object) -> Result<Object> {
    let selector =
        LabelSelector::of(parent.map("spec.selector")).map_err(|error| Status::internal(error.to_string()))?;
    let mut metadata = Object::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = parent.at(&["metadata", field]) {
            metadata.insert(field.into(), value.clone());
        }
    }
    let mut status = json!({"replicas": parent.number("status.replicas")});
    if !selector.is_empty()
        && let Some(status) = status.as_object_mut()
    {
        status.insert("selector".into(), selector.to_string().into());
    }
    let mut scale = Object::new();
    scale.insert("kind".into(), TYPE.1.into());
    scale.insert("apiVersion".into(), TYPE.0.into());
    scale.insert("metadata".into(), metadata.into());
    scale.insert("spec".into(), json!({"replicas": parent.number("spec.replicas")}));
    scale.insert("status".into(), status);
    Ok(scale)
}

/// The workload with the scale that was asked for. The revision and UID in the scale are preconditions, as elsewhere.
fn put(parent: &Object, scale: &Object) -> Result<Object> {
    let replicas = scale.number("spec.replicas");
    if replicas < 0 {
        let mut errors = Errors::new();
        errors.invalid(Path::root("spec").child("replicas"), replicas, "must be greater than or equal to 0");
        return Err(invalid(parent.name(), &errors));
    }
    if !scale.name().is_empty() && scale.name() != parent.name() {
        let text =
            format!("the name of the object ({}) does not match the name on the URL ({})", scale.name(), parent.name());
        return Err(Status::bad_request(text));
    }
    let mut new = parent.clone();
    new.section("spec").insert("replicas".into(), replicas.into());
    for field in ["resourceVersion", "uid"] {
        match scale.at(&["metadata", field]) {
            Some(value) => new.meta_mut().insert(field.into(), value.clone()),
            None => new.meta_mut().remove(field),
        };
    }
    Ok(new)
}

/// 422 about a `Scale`, which is no row.
fn invalid(name: &str, errors: &Errors) -> Status {
    let mut status = Status::failure(422, "Invalid", format!("Scale.autoscaling {name:?} is invalid: {errors}"));
    let causes: Vec<Cause> = errors.causes();
    let (group, kind) = ("autoscaling".into(), "Scale".into());
    status.details = Some(Box::new(Details { name: name.into(), group, kind, causes, ..Details::default() }));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn replicas_are_read_and_written_through_scale() {
        let api = Fixture::new().await;
        let template = json!({
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
        let deployments = "/apis/apps/v1/namespaces/default/deployments";
        api.post(deployments, json!({"metadata": {"name": "web"}, "spec": spec})).await.ok();
        let path = format!("{deployments}/web/scale");
        let mut scale = api.get(&path).await.ok();
        assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
        assert_eq!(scale["spec"], json!({"replicas": 2}));
        assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=web"}));

        scale["spec"]["replicas"] = json!(5);
        assert_eq!(api.put(&path, scale.clone()).await.ok()["spec"]["replicas"], 5);
        let deployment = api.get(&format!("{deployments}/web")).await.ok();
        assert_eq!((&deployment["spec"]["replicas"], &deployment["metadata"]["generation"]), (&json!(5), &json!(2)));
        assert_eq!(api.put(&path, scale).await.code, 409, "the revision is a precondition");

        let patched = api.patch(&path, "merge", json!({"spec": {"replicas": 7}})).await.ok();
        assert_eq!(patched["spec"]["replicas"], 7);
        let (code, text) = api.patch(&path, "merge", json!({"spec": {"replicas": -1}})).await.message();
        assert_eq!(code, 422);
        assert_eq!(
            text,
            "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
    }
}

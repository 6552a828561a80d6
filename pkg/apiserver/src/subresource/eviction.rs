//! `pods/eviction`: a delete that says why.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use knarr_api::{Object, Status};
use serde_json::json;

use super::binding::set_condition;
use super::{Call, Subresource};
use crate::admission::Operation;
use crate::request::{DeleteOptions, RequestContext};
use crate::serve::media::Media;
use crate::serve::{answer_status, body};

/// Answers for pods.
#[derive(Debug)]
pub(super) struct Eviction;

const TYPE: (&str, &str) = ("policy/v1", "Eviction");
const SCHEMA: &str = "io.k8s.api.policy.v1.Eviction";

#[async_trait]
impl Subresource for Eviction {
    async fn serve(&self, call: Call<'_>, request: Request<Body>) -> Result<Response> {
        let media = Media::accepted(request.headers(), None)?;
        let (parts, content) = request.into_parts();
        let bytes = body::read(content).await?;
        let mut eviction = body::typed(call.cx, &parts.headers, &bytes, TYPE, SCHEMA)?;
        if eviction.name() != call.cx.info.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let options = match eviction.get("deleteOptions").cloned() {
            Some(options) => DeleteOptions::from_body(options)?,
            None => DeleteOptions::default(),
        };
        let mut write_options = call.cx.options.clone();
        write_options.dry_run |= !options.dry_run.is_empty();
        let cx = RequestContext { options: write_options, ..call.cx.clone() };
        let call = Call { cx: &cx, ..call };
        let write = call.write(Some("eviction"));
        call.registry.mutate(&write, Operation::Create, Some(&mut eviction), None).await?;
        call.registry.admit(&write, Operation::Create, Some(&mut eviction), None).await?;
        let mut mark = |pod: &Object| {
            if let Some(preconditions) = &options.preconditions {
                preconditions.check(&call.resource.kind, pod)?;
            }
            Ok(marked(pod))
        };
        let stored = call.registry.rewrite(&write, &mut mark).await?;
        let mut options = options.clone();
        if let Some(revision) = options.preconditions.as_mut().and_then(|given| given.resource_version.as_mut()) {
            *revision = stored.revision.to_string();
        }
        call.registry.remove(&call.write(None), &options).await?;
        Ok(answer_status(&Status { code: StatusCode::CREATED.as_u16(), ..Status::success() }, media))
    }
}

/// The pod with the condition that says why it goes; a pod that has ended says so itself.
fn marked(pod: &Object) -> Object {
    let mut pod = pod.clone();
    if !matches!(pod.text("status.phase"), "Succeeded" | "Failed") {
        let (reason, message) = ("EvictionByEvictionAPI", "Eviction API: evicting");
        let condition = json!({"status": "True", "reason": reason, "message": message});
        set_condition(pod.section("status"), "DisruptionTarget", condition);
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn an_evicted_pod_goes_with_its_grace_period_and_says_why() {
        let api = Fixture::new().await;
        let pods = "/api/v1/namespaces/default/pods";
        let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": "i"}]});
        api.post(pods, json!({"metadata": {"name": "p"}, "spec": spec})).await.ok();
        let eviction = json!({"metadata": {"name": "p"}});
        let evicted = api.post(&format!("{pods}/p/eviction"), eviction.clone()).await;
        assert_eq!((evicted.code.as_u16(), &evicted.json()["status"]), (201, &json!("Success")));
        let pod = api.get(&format!("{pods}/p")).await.ok();
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        assert!(conditions.iter().any(|c| c["type"] == "DisruptionTarget" && c["status"] == "True"), "{conditions:?}");

        let wrong = api.post(&format!("{pods}/other/eviction"), eviction).await;
        assert_eq!(wrong.message(), (400, "name in URL does not match name in Eviction object".to_owned()));
    }
}

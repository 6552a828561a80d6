//! `componentstatuses`: kept for old clients. Whoever can ask has an answer: the components are this very process.

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use serde_json::{Value, json};

use super::{Call, Subresource};
use crate::serve::answer_object;
use crate::serve::media::Media;

/// Answers gets and lists.
#[derive(Debug)]
pub(super) struct ComponentStatus;

const COMPONENTS: [&str; 3] = ["controller-manager", "scheduler", "etcd-0"];

#[async_trait]
impl Subresource for ComponentStatus {
    async fn serve(&self, call: Call<'_>, request: Request<Body>) -> Result<Response> {
        let media = Media::accepted(request.headers(), None)?;
        let name = call.cx.info.name.as_str();
        let mut items = COMPONENTS.iter().filter(|own| name.is_empty() || **own == name).map(|own| status(own));
        let answer = if call.cx.info.verb == "get" {
            items.next().ok_or_else(|| Status::not_found(&call.resource.kind, name))?
        } else {
            let items: Vec<Value> = items.map(Value::Object).collect();
            object([("kind", json!("ComponentStatusList")), ("metadata", json!({})), ("items", items.into())])
        };
        answer_object(StatusCode::OK, media, &answer)
    }
}

fn status(name: &str) -> Object {
    let conditions = json!([{"type": "Healthy", "status": "True", "message": "ok"}]);
    object([("kind", json!("ComponentStatus")), ("metadata", json!({"name": name})), ("conditions", conditions)])
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Object {
    let fields = fields.into_iter().chain([("apiVersion", json!("v1"))]);
    fields.map(|(name, value)| (name.to_owned(), value)).collect()
}

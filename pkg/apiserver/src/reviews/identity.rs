//! SelfSubjectReview: who am I? TokenReview: whose token is this?

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use knarr_api::{Object, Status};
use serde_json::{Value, json};

use super::Review;
use crate::authn::service_account::ServiceAccountTokens;
use crate::request::RequestContext;

/// Answers with the user of the request.
pub(super) struct SelfSubject;

#[async_trait]
impl Review for SelfSubject {
    async fn review(&self, cx: &RequestContext, mut question: Object) -> Result<Object> {
        question.insert("status".into(), json!({"userInfo": cx.user}));
        Ok(question)
    }
}

/// Checks a token for somebody else, such as a kubelet.
pub(super) struct TokenReview {
    pub(super) tokens: Arc<ServiceAccountTokens>,
}

#[async_trait]
impl Review for TokenReview {
    async fn review(&self, _cx: &RequestContext, mut question: Object) -> Result<Object> {
        let token = question.text("spec.token").to_owned();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let wanted: Vec<_> = question.texts("spec.audiences").map(str::to_owned).collect();
        let audiences = if wanted.is_empty() { vec![self.tokens.issuer().to_owned()] } else { wanted };
        let now = jiff::Timestamp::now().as_second();
        let status: Value = match self.tokens.check(&token, &audiences, now).await {
            Ok(Some(verified)) => {
                json!({"authenticated": true, "user": verified.user, "audiences": verified.audiences})
            }
            Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
            Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
        };
        question.insert("status".into(), status);
        Ok(question)
    }
}

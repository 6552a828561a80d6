//! Reviews: questions about identity and rights, put as objects that are answered and never stored; and tokens for service
//! accounts.

mod access;
mod identity;
mod rules;
mod token_request;

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use knarr_pki::ClusterPki;

use crate::authn::service_account::ServiceAccountTokens;
use crate::authz::{Authorize, rbac::Rbac};
use crate::request::RequestContext;
use crate::serve::media::Media;
use crate::serve::{answer_object, body};
use crate::subresource::{Call, Subresource, Subresources};

use access::{Access, Whom};
use identity::{SelfSubject, TokenReview};
use rules::RulesReview;
use token_request::TokenRequest;

/// What reviews need to know.
#[derive(Clone)]
pub struct Dependencies {
    /// Decides what is asked for.
    pub authorizer: Arc<dyn Authorize>,
    /// Knows whole sets of rights.
    pub rbac: Arc<Rbac>,
    /// Checks tokens.
    pub tokens: Arc<ServiceAccountTokens>,
    /// Signs tokens.
    pub pki: Arc<ClusterPki>,
}

impl std::fmt::Debug for Dependencies {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Dependencies")
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Adds all reviews and `serviceaccounts/token`.
pub fn add(subresources: &mut Subresources, needs: &Dependencies) {
    let Dependencies { authorizer, rbac, tokens, pki } = needs.clone();
    let mut review = |group, plural, review: Arc<dyn Review>| {
        subresources.insert((group, plural, ""), Arc::new(Answer(review)));
    };
    review(AUTHENTICATION, "selfsubjectreviews", Arc::new(SelfSubject));
    review(AUTHENTICATION, "tokenreviews", Arc::new(TokenReview { tokens: Arc::clone(&tokens) }));
    review(AUTHORIZATION, "selfsubjectrulesreviews", Arc::new(RulesReview { rbac }));
    for (plural, whom) in [
        ("subjectaccessreviews", Whom::Named),
        ("localsubjectaccessreviews", Whom::NamedInNamespace),
        ("selfsubjectaccessreviews", Whom::Asker),
    ] {
        review(AUTHORIZATION, plural, Arc::new(Access { authorizer: Arc::clone(&authorizer), whom }));
    }
    subresources.insert(("", "serviceaccounts", "token"), Arc::new(TokenRequest { tokens, pki }));
}

/// One kind of question.
#[async_trait]
trait Review: Send + Sync {
    /// The object with its answer.
    async fn review(&self, cx: &RequestContext, question: Object) -> Result<Object>;
}

/// Reads the question, writes the answer.
struct Answer(Arc<dyn Review>);

#[async_trait]
impl Subresource for Answer {
    async fn serve(&self, call: Call<'_>, request: Request<Body>) -> Result<Response> {
        let (kind, info) = (&call.resource.kind, &call.cx.info);
        let version = kind.version(&info.version).ok_or_else(Status::no_such_path)?;
        let (parts, content) = request.into_parts();
        let media = Media::accepted(&parts.headers, None)?;
        let bytes = body::read(content).await?;
        let question = body::object(call.cx, &parts.headers, &bytes, kind, version)?;
        let mut answered = self.0.review(call.cx, question).await?;
        // Clients of typed languages expect metadata in every object.
        answered.entry("metadata").or_insert_with(|| Object::new().into());
        answer_object(StatusCode::CREATED, media, &answered)
    }
}

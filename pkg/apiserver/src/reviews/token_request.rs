//! `serviceaccounts/token`: a token that is bound to an object and to an audience, and that ends:
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::field::{Errors, Path};
use knarr_api::object::Meta;
use knarr_api::status::{Details, Result};
use knarr_api::tree::Tree;
use knarr_api::{Object, Status};
use knarr_pki::ClusterPki;
use serde_json::json;

use super::AUTHENTICATION;
use crate::admission::Operation;
use crate::authn::service_account::{Binding, Claims, Reference, ServiceAccountTokens};
use crate::registry::{Registry, Write, metadata};
use crate::serve::media::Media;
use crate::serve::{answer_object, body};
use crate::subresource::{Call, Subresource};

const KIND: &str = "TokenRequest";
const SCHEMA: &str = "io.k8s.api.authentication.v1.TokenRequest";
const API_VERSION: &str = "authentication.k8s.io/v1";
const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// What the volumes ask for that admission adds to pods. Old clients read such a token once and never again, so that, as
/// upstream does by default, it holds for a year, while kubelets fetch a new one before the hour is over.
const AUTOMOUNTED: i64 = HOUR + 7;

/// Issues tokens.
pub(super) struct TokenRequest {
    pub(super) tokens: Arc<ServiceAccountTokens>,
    pub(super) pki: Arc<ClusterPki>,
}

/// What a token is bound to.
#[derive(Debug, Default)]
struct Bound {
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

#[async_trait]
impl Subresource for TokenRequest {
    async fn serve(&self, call: Call<'_>, request: Request<Body>) -> Result<Response> {
        let (parts, content) = request.into_parts();
        let media = Media::accepted(&parts.headers, None)?;
        let bytes = body::read(content).await?;
        let mut wanted = body::typed(call.cx, &parts.headers, &bytes, (API_VERSION, KIND), SCHEMA)?;
        let info = &call.cx.info;
        let account = call.registry.get(&call.resource.kind, &info.namespace, &info.name).await?;
        let write = Write {
            cx: call.cx,
            resource: call.resource,
            namespace: &info.namespace,
            name: &info.name,
            subresource: Some("token"),
        };
        // NodeRestriction compares the audiences with those of the pod's volumes, before the open ones are filled in.
        call.registry.mutate(&write, Operation::Create, Some(&mut wanted), None).await?;
        self.complete(&mut wanted, &account)?;
        check(&wanted)?;
        call.registry.admit(&write, Operation::Create, Some(&mut wanted), None).await?;
        let bound = bind(call.registry, &wanted, &account).await?;
        self.issue(&mut wanted, &account, bound)?;
        answer_object(StatusCode::CREATED, media, &wanted)
    }
}

impl TokenRequest {
    /// Fills in what the request leaves open, and refuses what contradicts the account.
    fn complete(&self, wanted: &mut Object, account: &Object) -> Result<()> {
        for field in ["name", "namespace"] {
            let (given, own) = (wanted.meta(field), account.meta(field));
            if !given.is_empty() && given != own {
                let mut errors = Errors::new();
                let detail = format!("must match the service account {field} if specified");
                errors.invalid(Path::root("metadata").child(field), given, detail);
                return Err(invalid(account.name(), &errors));
            }
        }
        let (given, own) = (wanted.uid(), account.uid());
        if !given.is_empty() && given != own {
            return Err(conflict(
                account.name(),
                &format!(
                    "the UID in the token request ({given}) does not match the UID of the service account ({own})"
                ),
            ));
        }
        let (name, namespace, uid) = (account.name().to_owned(), account.namespace().to_owned(), own.to_owned());
        let meta = wanted.meta_mut();
        for (field, value) in
            [("name", name), ("namespace", namespace), ("uid", uid), ("creationTimestamp", metadata::now())]
        {
            meta.insert(field.into(), value.into());
        }
        let spec = wanted.section("spec");
        if spec.list("audiences").is_empty() {
            spec.insert("audiences".into(), json!([self.tokens.issuer()]));
        }
        if !spec.has("expirationSeconds") {
            spec.insert("expirationSeconds".into(), HOUR.into());
        }
        Ok(())
    }

    fn issue(&self, wanted: &mut Object, account: &Object, bound: Bound) -> Result<()> {
        let now = jiff::Timestamp::now();
        let seconds = wanted.number("spec.expirationSeconds");
        let audiences: Vec<_> = wanted.texts("spec.audiences").map(str::to_owned).collect();
        let ours = audiences.iter().all(|audience| audience == self.tokens.issuer());
        let extended = bound.pod.is_some() && seconds == AUTOMOUNTED && ours;
        let start = now.as_second();
        let claims = Claims {
            aud: audiences,
            exp: Some(start + if extended { YEAR } else { seconds }),
            iat: Some(start),
            nbf: Some(start),
            iss: self.tokens.issuer().into(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: format!("system:serviceaccount:{}:{}", account.namespace(), account.name()),
            kubernetes: Binding {
                namespace: account.namespace().into(),
                serviceaccount: reference(account),
                pod: bound.pod,
                secret: bound.secret,
                node: bound.node,
                warnafter: extended.then_some(start + seconds),
            },
        };
        let token = self.pki.tokens.sign(&claims).map_err(Status::internal)?;
        let end = jiff::Timestamp::from_second(start + seconds).map_err(Status::internal)?;
        let status = json!({"token": token, "expirationTimestamp": metadata::timestamp(end)});
        wanted.insert("status".into(), status);
        Ok(())
    }
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.name().into(), uid: object.uid().into() }
}

/// `k8s.io/kubernetes/pkg/apis/authentication/validation`.
fn check(wanted: &Object) -> Result<()> {
    let seconds = wanted.number("spec.expirationSeconds");
    let mut errors = Errors::new();
    let path = || Path::root("spec").child("expirationSeconds");
    if seconds < 600 {
        errors.invalid(path(), seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(path(), seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() { Ok(()) } else { Err(invalid("", &errors)) }
}

/// Looks up what the token is to be bound to. A pod's token also names the pod's node.
async fn bind(registry: &Registry, wanted: &Object, account: &Object) -> Result<Bound> {
    let Some(target) = wanted.object("spec.boundObjectRef") else { return Ok(Bound::default()) };
    let (version, kind, name) = (target.text("apiVersion"), target.text("kind"), target.text("name"));
    let plural = match (version, kind) {
        ("v1", "Pod") => "pods",
        ("v1", "Secret") => "secrets",
        ("v1", "Node") => "nodes",
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(text));
        }
    };
    let namespace = if plural == "nodes" { "" } else { account.namespace() };
    let found = find(registry, plural, namespace, name).await?;
    if plural == "pods" && found.text("spec.serviceAccountName") != account.name() {
        let text = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.name()
        );
        return Err(Status::bad_request(text));
    }
    let (given, uid) = (target.text("uid"), found.uid());
    if !given.is_empty() && given != uid {
        return Err(conflict(
            name,
            &format!(
                "the UID in the bound object reference ({given}) does not match the UID in record. The object might have \
                 been deleted and then recreated"
            ),
        ));
    }
    let own = Some(reference(&found));
    Ok(match plural {
        "pods" => Bound { pod: own, node: node_of(registry, &found).await?, ..Bound::default() },
        "secrets" => Bound { secret: own, ..Bound::default() },
        _ => Bound { node: own, ..Bound::default() },
    })
}

async fn find(registry: &Registry, plural: &str, namespace: &str, name: &str) -> Result<Object> {
    let kind = registry.kind("", plural).ok_or_else(Status::no_such_path)?;
    registry.get(&kind, namespace, name).await
}

async fn node_of(registry: &Registry, pod: &Object) -> Result<Option<Reference>> {
    let name = pod.text("spec.nodeName");
    if name.is_empty() {
        return Ok(None);
    }
    match find(registry, "nodes", "", name).await {
        Ok(node) => Ok(Some(reference(&node))),
        // The name is a hint to the token's reader even so.
        Err(status) if status.is("NotFound") => Ok(Some(Reference { name: name.into(), uid: String::new() })),
        Err(status) => Err(status),
    }
}

fn invalid(name: &str, errors: &Errors) -> Status {
    let text = format!("{KIND}.{AUTHENTICATION} {name:?} is invalid: {errors}");
    about(Status::failure(422, "Invalid", text), name, errors.causes())
}

fn conflict(name: &str, why: &str) -> Status {
    let text = format!("Operation cannot be fulfilled on {KIND}.{AUTHENTICATION} {name:?}: {why}");
    about(Status::failure(409, "Conflict", text), name, Vec::new())
}

fn about(mut status: Status, name: &str, causes: Vec<knarr_api::status::Cause>) -> Status {
    let (group, kind) = (AUTHENTICATION.into(), KIND.into());
    status.details = Some(Box::new(Details { name: name.into(), group, kind, causes, ..Details::default() }));
    status
}

#[cfg(test)]
mod tests;

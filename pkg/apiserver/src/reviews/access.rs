//! SubjectAccessReview and its kin: may somebody do something?
//! <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::field::{Errors, Path};
use knarr_api::object::Meta;
use knarr_api::status::{Details, Result};
use knarr_api::tree::Tree;
use knarr_api::user::UserInfo;
use knarr_api::{Object, Status};
use serde_json::Value;

use super::{AUTHORIZATION, Review};
use crate::authz::{Attributes, Authorize, Decision};
use crate::request::{RequestContext, RequestInfo};

/// About whom a review asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Whom the review names.
    Named,
    /// Whom it names, in the namespace of the request.
    NamedInNamespace,
    /// Who sends it.
    Asker,
}

/// Answers the three kinds.
pub(super) struct Access {
    pub(super) authorizer: Arc<dyn Authorize>,
    pub(super) whom: Whom,
}

#[async_trait]
impl Review for Access {
    async fn review(&self, cx: &RequestContext, mut question: Object) -> Result<Object> {
        let errors = check(self.whom, &question);
        if !errors.is_empty() {
            return Err(invalid(question.text("kind"), &errors));
        }
        if self.whom == Whom::NamedInNamespace && question.namespace() != cx.info.namespace {
            let namespace = &cx.info.namespace;
            let text = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
            return Err(Status::bad_request(text));
        }
        let named = subject(&question);
        let user = if self.whom == Whom::Asker { &cx.user } else { &named };
        let decision = self.authorizer.authorize(&Attributes { user, info: &wish(&question) }).await;
        question.insert("status".into(), answer(&decision));
        Ok(question)
    }
}

fn answer(decision: &Decision) -> Value {
    let mut status = Object::new();
    status.insert("allowed".into(), decision.allowed().into());
    if matches!(decision, Decision::Deny(_)) {
        status.insert("denied".into(), true.into());
    }
    if !decision.reason().is_empty() {
        status.insert("reason".into(), decision.reason().into());
    }
    status.into()
}

/// The user that the review names.
fn subject(question: &Object) -> UserInfo {
    let texts = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let extra: BTreeMap<_, _> =
        question.map("spec.extra").iter().map(|(key, values)| (key.clone(), texts(values))).collect();
    UserInfo {
        username: question.text("spec.user").into(),
        uid: question.text("spec.uid").into(),
        groups: question.texts("spec.groups").map(str::to_owned).collect(),
        extra,
    }
}

/// What the review asks about, as a request.
fn wish(question: &Object) -> RequestInfo {
    if let Some(path) = question.object("spec.nonResourceAttributes") {
        let (verb, path) = (path.text("verb").to_owned(), path.text("path").to_owned());
        return RequestInfo { verb: verb.into(), path, ..RequestInfo::default() };
    }
    let wish = question.map("spec.resourceAttributes");
    let text = |field: &str| wish.text(field).to_owned();
    RequestInfo {
        is_resource: true,
        verb: text("verb").into(),
        group: text("group"),
        version: if wish.text("version").is_empty() { "*".into() } else { text("version") },
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        field_selector: field_selector(wish),
        label_selector: wish.text("labelSelector.rawSelector").into(),
        ..RequestInfo::default()
    }
}

/// The field selector, as it would stand in a query. A requirement that is none of `In` and `NotIn` with one value says
/// nothing: without it the question is a broader one.
fn field_selector(wish: &Object) -> String {
    let raw = wish.text("fieldSelector.rawSelector");
    if !raw.is_empty() {
        return raw.into();
    }
    let term = |requirement: &Object| {
        let operator = match requirement.text("operator") {
            "In" => "=",
            "NotIn" => "!=",
            _ => return None,
        };
        match requirement.list("values") {
            [value] => Some(format!("{}{operator}{}", requirement.text("key"), value.as_str()?)),
            _ => None,
        }
    };
    wish.objects("fieldSelector.requirements").filter_map(term).collect::<Vec<_>>().join(",")
}

/// `k8s.io/kubernetes/pkg/apis/authorization/validation`.
fn check(whom: Whom, question: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = Path::root("spec");
    let (resource, path) = (question.value("spec.resourceAttributes"), question.value("spec.nonResourceAttributes"));
    match (resource, path) {
        (Some(_), Some(path)) => errors.invalid(
            spec.child("nonResourceAttributes"),
            path.clone(),
            "cannot be specified in combination with resourceAttributes",
        ),
        (None, None) => errors.invalid(
            spec.child("resourceAttributes"),
            "null",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
    let nobody = question.text("spec.user").is_empty() && question.list("spec.groups").is_empty();
    if whom != Whom::Asker && nobody {
        errors.invalid(spec.child("user"), "", "at least one of user or group must be specified");
    }
    for selector in ["fieldSelector", "labelSelector"] {
        if let Some(given) = question.object(&format!("spec.resourceAttributes.{selector}")) {
            check_selector(&Path::root("spec.resourceAttributes").child(selector), given, &mut errors);
        }
    }
    let mut metadata = question.map("metadata").clone();
    metadata.retain(|field, value| field != "managedFields" && !value.is_null());
    if whom == Whom::NamedInNamespace {
        metadata.remove("namespace");
        let wanted = question.text("spec.resourceAttributes.namespace");
        if resource.is_some() && wanted != question.namespace() {
            errors.invalid(Path::root("spec.resourceAttributes.namespace"), wanted, "must match metadata.namespace");
        }
        if let Some(path) = path {
            errors.invalid(spec.child("nonResourceAttributes"), path.clone(), "disallowed on this kind of request");
        }
    }
    if !metadata.is_empty() {
        let detail =
            if whom == Whom::NamedInNamespace { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(Path::root("metadata"), metadata, detail);
    }
    errors
}

fn check_selector(path: &Path, selector: &Object, errors: &mut Errors) {
    let raw = selector.text("rawSelector");
    match (raw, selector.list("requirements")) {
        ("", []) => {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            errors.required(path.child("requirements"), detail);
        }
        ("", _) | (_, []) => {}
        _ => errors.invalid(path.child("rawSelector"), raw, "may not specified at the same time as requirements"),
    }
}

/// 422 about a review, which has no name.
fn invalid(kind: &str, errors: &Errors) -> Status {
    let mut status = Status::failure(422, "Invalid", format!("{kind}.{AUTHORIZATION} \"\" is invalid: {errors}"));
    status.details = Some(Box::new(Details {
        group: AUTHORIZATION.into(),
        kind: kind.into(),
        causes: errors.causes(),
        ..Details::default()
    }));
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            _ => unreachable!(),
        }
    }

    /// Allows `get` of everything to jane.
    struct OnlyJane;

    #[async_trait]
    impl Authorize for OnlyJane {
        async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
            let jane = attributes.user.username == "jane" && attributes.info.verb == "get";
            let said = format!("{}/{}", attributes.info.group, attributes.info.resource);
            if jane { Decision::Allow(said) } else { Decision::NoOpinion(String::new()) }
        }
    }

    async fn ask(whom: Whom, namespace: &str, question: Value) -> Result<Value> {
        let mut cx = RequestContext::internal(UserInfo::new("jane", &[]));
        cx.info.namespace = namespace.into();
        let access = Access { authorizer: Arc::new(OnlyJane), whom };
        access.review(&cx, object(question)).await.map(|answered| answered["status"].clone())
    }

    #[tokio::test]
    async fn answers_are_about_the_right_person() {
        let pods = json!({"verb": "get", "group": "apps", "resource": "deployments"});
        let named = |user: &str| json!({"spec": {"user": user, "resourceAttributes": pods}});
        let yes = json!({"allowed": true, "reason": "apps/deployments"});
        assert_eq!(ask(Whom::Named, "", named("jane")).await.unwrap(), yes);
        assert_eq!(ask(Whom::Named, "", named("jim")).await.unwrap(), json!({"allowed": false}));
        assert_eq!(ask(Whom::Asker, "", json!({"spec": {"resourceAttributes": pods}})).await.unwrap(), yes);
        let path = json!({"spec": {"user": "jane", "nonResourceAttributes": {"verb": "get", "path": "/x"}}});
        assert_eq!(ask(Whom::Named, "", path).await.unwrap()["allowed"], true);
    }

    #[tokio::test]
    async fn malformed_questions_get_upstreams_texts() {
        let local = |namespace: &str, spec: Value| json!({"kind": "LocalSubjectAccessReview", "metadata": {"namespace": namespace}, "spec": spec});
        let pods = json!({"verb": "get", "resource": "pods", "namespace": "a"});
        let table = [
            (
                Whom::Named,
                json!({"kind": "SubjectAccessReview", "spec": {"resourceAttributes": pods}}),
                "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of \
                 user or group must be specified",
            ),
            (
                Whom::Asker,
                json!({"kind": "SelfSubjectAccessReview", "spec": {}}),
                "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: \
                 \"null\": exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ),
            (
                Whom::NamedInNamespace,
                local("b", json!({"user": "jane", "resourceAttributes": pods})),
                "LocalSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid \
                 value: \"a\": must match metadata.namespace",
            ),
        ];
        for (whom, question, expected) in table {
            let status = ask(whom, "a", question).await.unwrap_err();
            assert_eq!((status.message.as_str(), status.code), (expected, 422));
        }
    }

    #[test]
    fn selectors_become_what_a_query_would_say() {
        let wish = |selector: Value| field_selector(&object(json!({"fieldSelector": selector})));
        assert_eq!(wish(json!({"rawSelector": "spec.nodeName=a"})), "spec.nodeName=a");
        let requirements = json!([
            {"key": "spec.nodeName", "operator": "In", "values": ["a"]},
            {"key": "status.phase", "operator": "NotIn", "values": ["b"]},
            {"key": "x", "operator": "Exists"},
        ]);
        assert_eq!(wish(json!({"requirements": requirements})), "spec.nodeName=a,status.phase!=b");
    }
}

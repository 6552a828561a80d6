//! SelfSubjectRulesReview: what may I do here?

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use knarr_api::{Object, Status};
use serde_json::{Value, json};

use super::Review;
use crate::authz::node::node_name;
use crate::authz::rbac::{Rbac, Rule};
use crate::request::RequestContext;

/// Answers with RBAC's rules; what the Node authorizer allows cannot be enumerated.
pub(super) struct RulesReview {
    pub(super) rbac: Arc<Rbac>,
}

#[async_trait]
impl Review for RulesReview {
    async fn review(&self, cx: &RequestContext, mut question: Object) -> Result<Object> {
        let namespace = question.text("spec.namespace").to_owned();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let (rules, broken) = self.rbac.rules_for(&cx.user, &namespace);
        let is_node = node_name(&cx.user).is_some();
        let unresolved = is_node.then(|| "node authorizer does not support user rule resolution".to_owned());
        let errors: Vec<_> = [unresolved, broken].into_iter().flatten().collect();
        let mut status = json!({
            "resourceRules": rules.iter().filter(|rule| !rule.resources.is_empty()).map(resource_rule).collect::<Value>(),
            "nonResourceRules": rules.iter().filter(|rule| !rule.non_resource_urls.is_empty()).map(path_rule).collect::<Value>(),
            "incomplete": is_node,
        });
        if let (Some(status), false) = (status.as_object_mut(), errors.is_empty()) {
            status.insert("evaluationError".into(), errors.join(", ").into());
        }
        question.insert("spec".into(), json!({}));
        question.insert("status".into(), status);
        Ok(question)
    }
}

fn resource_rule(rule: &Rule) -> Value {
    let rule = Rule { non_resource_urls: Vec::new(), ..rule.clone() };
    json!(rule)
}

fn path_rule(rule: &Rule) -> Value {
    json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls})
}

#[cfg(test)]
mod tests {
    use knarr_api::user::UserInfo;

    use super::*;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            _ => unreachable!(),
        }
    }

    #[tokio::test]
    async fn rules_are_listed_by_what_they_are_about() {
        let rbac = Arc::<Rbac>::default();
        let role = object(json!({"rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
        ]}));
        rbac.role_changed("", "r", Some(&role));
        let binding =
            json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "jane"}]});
        rbac.binding_changed("", "b", Some(&object(binding)));
        let review = RulesReview { rbac };
        let ask = |user: UserInfo, namespace: &str| {
            let question = object(json!({"spec": {"namespace": namespace}}));
            let review = &review;
            async move { review.review(&RequestContext::internal(user), question).await }
        };
        let answer = ask(UserInfo::new("jane", &[]), "a").await.unwrap();
        assert_eq!(
            answer["status"],
            json!({
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
                "incomplete": false,
            })
        );
        assert_eq!(ask(UserInfo::node("n"), "a").await.unwrap()["status"]["incomplete"], true);
        assert_eq!(ask(UserInfo::new("jane", &[]), "").await.unwrap_err().message, "no namespace on request");
    }
}

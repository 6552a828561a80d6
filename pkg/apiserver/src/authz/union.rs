//! The cluster's authorizer.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::Status;
use knarr_api::status::Details;

use super::node::NodeAuthorizer;
use super::rbac::Rbac;
use super::{Attributes, Authorize, Decision};

/// `system:masters` may do everything; others what the Node authorizer or RBAC allow, asked in this order, which is
/// upstream's `--authorization-mode=Node,RBAC`.
#[derive(Debug)]
pub struct ClusterAuthorizer {
    /// Asked first.
    pub node: Arc<NodeAuthorizer>,
    /// Asked second.
    pub rbac: Arc<Rbac>,
}

impl ClusterAuthorizer {
    /// An authorizer that knows no objects yet: see [`ClusterAuthorizer::feed`].
    #[must_use]
    pub fn new() -> Self {
        let node = NodeAuthorizer::new(crate::bootstrap::rbac::node_rules());
        Self { node: Arc::new(node), rbac: Arc::default() }
    }
}

impl Default for ClusterAuthorizer {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Authorize for ClusterAuthorizer {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let Attributes { user, info } = attributes;
        if user.is_in("system:masters") {
            return Decision::Allow(String::new());
        }
        let node = match self.node.authorize(user, info).await {
            Ok(()) => return Decision::Allow(String::new()),
            Err(reason) => reason,
        };
        match self.rbac.authorize(user, info) {
            Ok(grant) => Decision::Allow(grant.to_string()),
            Err(reason) => {
                let reasons: Vec<_> = [node, reason].into_iter().filter(|reason| !reason.is_empty()).collect();
                Decision::NoOpinion(reasons.join("\n"))
            }
        }
    }
}

/// 403 in upstream's words (`k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go`).
#[must_use]
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let info = attributes.info;
    let who = format!("User {:?} cannot {}", attributes.user.username, info.verb);
    let mut text = if info.is_resource {
        let resource = match info.subresource.as_str() {
            "" => info.resource.clone(),
            subresource => format!("{}/{subresource}", info.resource),
        };
        let place = match info.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!("{who} resource {resource:?} in API group {:?} {place}", info.group)
    } else {
        format!("{who} path {:?}", info.path)
    };
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    let qualified = match info.group.as_str() {
        "" => info.resource.clone(),
        group => format!("{}.{group}", info.resource),
    };
    let message = match (info.resource.as_str(), info.name.as_str()) {
        ("", _) => format!("forbidden: {text}"),
        (_, "") => format!("{qualified} is forbidden: {text}"),
        (_, name) => format!("{qualified} {name:?} is forbidden: {text}"),
    };
    let mut status = Status::failure(403, "Forbidden", message);
    status.details = Some(Box::new(Details {
        name: info.name.clone(),
        group: info.group.clone(),
        kind: info.resource.clone(),
        ..Details::default()
    }));
    status
}

#[cfg(test)]
mod tests {
    use knarr_api::user::UserInfo;

    use super::*;
    use crate::request::RequestInfo;

    fn info(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::new(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn denials_read_as_upstreams() {
        let jane = UserInfo::new("jane", &[]);
        let table = [
            (
                "GET",
                "/api/v1/namespaces/default/pods/web/log",
                "",
                r#"pods "web" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "default""#,
            ),
            (
                "POST",
                "/apis/apps/v1/namespaces/a/deployments",
                "",
                r#"deployments.apps is forbidden: User "jane" cannot create resource "deployments" in API group "apps" in the namespace "a""#,
            ),
            (
                "GET",
                "/api/v1/nodes",
                "because",
                r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope: because"#,
            ),
            ("GET", "/metrics", "", r#"forbidden: User "jane" cannot get path "/metrics""#),
        ];
        for (method, uri, reason, expected) in table {
            let info = info(method, uri);
            let status = forbidden(&Attributes { user: &jane, info: &info }, reason);
            assert_eq!((status.message.as_str(), status.code), (expected, 403));
        }
    }

    #[tokio::test]
    async fn masters_may_all_and_others_hear_all_reasons() {
        let authorizer = ClusterAuthorizer::new();
        let info = info("GET", "/api/v1/nodes");
        let decide = |user: UserInfo| {
            let (authorizer, info) = (&authorizer, &info);
            async move { authorizer.authorize(&Attributes { user: &user, info }).await }
        };
        assert!(decide(UserInfo::new("a", &["system:masters"])).await.allowed());
        assert_eq!(decide(UserInfo::new("a", &[])).await, Decision::NoOpinion(String::new()));
        let text = "node 'n1' cannot read all nodes, only its own Node object";
        assert_eq!(decide(UserInfo::node("n1")).await, Decision::NoOpinion(text.into()));
    }
}

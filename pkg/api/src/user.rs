//! Who sends a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `authentication/v1 UserInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserInfo {
    /// For example `system:node:edge-1` or `jane`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Set for service accounts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// For example `system:masters`, `system:authenticated`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Facts that the authenticator adds, such as the pod a token is bound to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of `username` in `groups` and in `system:authenticated`.
    #[must_use]
    pub fn new(username: impl Into<String>, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain(["system:authenticated"]).map(Into::into).collect();
        Self { username: username.into(), groups, ..Self::default() }
    }

    /// The identity of a node's agent.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}"), &["system:nodes"])
    }

    /// The identity of a service account, without a UID.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let namespaced = format!("system:serviceaccounts:{namespace}");
        Self::new(format!("system:serviceaccount:{namespace}:{name}"), &["system:serviceaccounts", &namespaced])
    }

    /// Whether the user is in `group`.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// A request extension that says who the caller is when the caller is a component of this very process. Only the
/// in-process transport can set it: extensions do not exist on the wire, and the TLS listener starts with none.
#[derive(Clone, Debug)]
pub struct InProcess(pub UserInfo);

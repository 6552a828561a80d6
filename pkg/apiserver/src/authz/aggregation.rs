//! ClusterRoles that gather the rules of others:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use knarr_api::object::Meta;
use knarr_api::selector::LabelSelector;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use knarr_api::user::UserInfo;
use knarr_api::{Object, Status};
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use knarr_base::readiness::Readiness;
use serde_json::json;

use super::rbac::{GROUP, Rule, rules_of};
use crate::cache::{ChangeType, Notice, Selection, Start, Watcher};
use crate::registry::{Registry, Write};
use crate::request::RequestContext;

/// Changes that come within this time are answered together.
const SETTLE: Duration = Duration::from_millis(5);

/// Keeps the rules of gathering roles up to date.
#[derive(Debug)]
pub struct Aggregation {
    registry: Arc<Registry>,
    readiness: Readiness,
    cx: RequestContext,
}

type Roles = BTreeMap<String, Object>;

impl Aggregation {
    /// Writes as upstream's controller does, whose right to escalate the authorizer must know: it begins when `readiness`
    /// is given, and finds the built-in roles complete.
    #[must_use]
    pub fn new(registry: Arc<Registry>, readiness: Readiness) -> Self {
        let user = UserInfo::service_account("kube-system", "clusterrole-aggregation-controller");
        Self { registry, readiness, cx: RequestContext::internal(user) }
    }

    /// Runs until the drain starts.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let follow = async {
            self.readiness.ready().await;
            loop {
                match self.follow().await {
                    Ok(()) => backoff.reset(),
                    Err(status) => tracing::warn!("cannot gather the rules of cluster roles: {status}"),
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        };
        let _drained: Option<Infallible> = shutdown.or(follow).await;
        Ok(())
    }

    /// Gathers after everything that exists was seen, and after each change.
    async fn follow(&self) -> Result<()> {
        let cache = self.registry.cache(GROUP, "clusterroles").ok_or_else(Status::no_such_path)?;
        let all = Arc::new(Selection::all(cache.kind(), ""));
        let mut watcher = cache.watch(all, Start::Now).await?;
        let mut roles = Roles::new();
        let mut synced = false;
        while let Some(notice) = watcher.next().await {
            synced |= take(&watcher, &mut roles, notice?)?;
            while let Ok(Some(notice)) = tokio::time::timeout(SETTLE, watcher.next()).await {
                synced |= take(&watcher, &mut roles, notice?)?;
            }
            if synced {
                self.write(&roles).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, roles: &Roles) -> Result<()> {
        let resource = self.registry.resource(GROUP, "clusterroles").ok_or_else(Status::no_such_path)?;
        for (name, rules) in plan(roles) {
            let write = Write { cx: &self.cx, resource: &resource, namespace: "", name, subresource: None };
            let mut change = |current: &Object| {
                let mut updated = current.clone();
                updated.insert("rules".into(), json!(rules));
                Ok(updated)
            };
            match self.registry.update(&write, &mut change).await {
                Err(status) if status.is("NotFound") => {}
                updated => drop(updated?),
            }
        }
        Ok(())
    }
}

/// Takes over a notice; true when everything that exists has been named.
fn take(watcher: &Watcher, roles: &mut Roles, notice: Notice) -> Result<bool> {
    let kind = watcher.cache().kind();
    match notice {
        Notice::Existing(item) => {
            let role = item.stored.object(kind)?;
            roles.insert(role.name().to_owned(), role);
        }
        Notice::Synced(_) => return Ok(true),
        Notice::Change(change, event) => {
            if let Some(stored) = event.object(change) {
                let role = stored.object(kind)?;
                match change {
                    ChangeType::Deleted => roles.remove(role.name()),
                    ChangeType::Added | ChangeType::Modified => roles.insert(role.name().to_owned(), role),
                };
            }
        }
    }
    Ok(false)
}

/// The roles whose rules are not what they gather, and what these shall be: the rules of each selector's roles by name,
/// each rule once. A role does not gather from itself; from another gathering role it takes what that one has by now.
fn plan(roles: &Roles) -> Vec<(&str, Vec<Rule>)> {
    let gathering = roles.iter().filter(|(_, role)| role.has("aggregationRule"));
    let planned = gathering.map(|(name, role)| (name.as_str(), role, gather(name, role, roles)));
    planned.filter(|(_, role, rules)| rules_of(role) != *rules).map(|(name, _, rules)| (name, rules)).collect()
}

fn gather(name: &str, role: &Object, roles: &Roles) -> Vec<Rule> {
    let mut gathered: Vec<Rule> = Vec::new();
    for selector in role.objects("aggregationRule.clusterRoleSelectors") {
        // A selector that cannot be read was refused when the role was written; it selects nothing.
        let Ok(selector) = LabelSelector::of(selector) else { continue };
        for (_, other) in roles.iter().filter(|(other, role)| *other != name && selector.matches_object(role)) {
            for rule in rules_of(other) {
                if !gathered.contains(&rule) {
                    gathered.push(rule);
                }
            }
        }
    }
    gathered
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn role(name: &str, labels: Value, gathers: Option<&str>, verbs: &[&str]) -> (String, Object) {
        let rules: Vec<_> =
            verbs.iter().map(|verb| json!({"verbs": [verb], "apiGroups": [""], "resources": ["x"]})).collect();
        let rule = gathers.map(|label| json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}));
        let object = json!({"metadata": {"name": name, "labels": labels}, "aggregationRule": rule, "rules": rules});
        match object {
            Value::Object(object) => (name.to_owned(), object),
            _ => unreachable!(),
        }
    }

    fn planned(roles: impl IntoIterator<Item = (String, Object)>) -> Vec<String> {
        let roles = roles.into_iter().collect();
        let verbs = |rules: &[Rule]| rules.iter().map(|rule| rule.verbs.concat()).collect::<Vec<_>>().join(",");
        plan(&roles).iter().map(|(name, rules)| format!("{name}: {}", verbs(rules))).collect()
    }

    #[test]
    fn rules_are_gathered_by_name_and_once() {
        let to_edit = || json!({"to-edit": "true"});
        let parts = || [role("b", to_edit(), None, &["get", "list"]), role("a", to_edit(), None, &["watch", "get"])];
        let edit = |verbs: &[&str]| role("edit", to_edit(), Some("to-edit"), verbs);
        assert_eq!(planned(parts().into_iter().chain([edit(&[])])), ["edit: watch,get,list"]);
        assert_eq!(planned(parts().into_iter().chain([edit(&["watch", "get", "list"])])), Vec::<String>::new());
        assert_eq!(planned([edit(&["get"])]), ["edit: "]);
    }

    #[test]
    fn what_a_gathering_role_has_goes_on_to_the_next() {
        let chain = |edit: &[&str], admin: &[&str]| {
            [
                role("a", json!({"to-edit": "true"}), None, &["get"]),
                role("edit", json!({"to-admin": "true"}), Some("to-edit"), edit),
                role("admin", json!({}), Some("to-admin"), admin),
            ]
        };
        assert_eq!(planned(chain(&[], &[])), ["edit: get"]);
        assert_eq!(planned(chain(&["get"], &[])), ["admin: get"]);
        assert_eq!(planned(chain(&["get"], &["get"])), Vec::<String>::new());
    }
}

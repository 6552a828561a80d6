//! Which kinds the server has.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource};
use kube::Client;
use kube::core::ApiResource;

/// A kind whose objects can be deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    verbs: Vec<String>,
    /// `pods`, or `deployments.apps`.
    pub(crate) resource: Arc<str>,
}

impl Kind {
    pub(crate) fn new(group: &str, version: &str, resource: &APIResource) -> Self {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let plural = resource.name.clone();
        let qualified = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
        let api = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: resource.kind.clone(),
            plural,
        };
        Self { api, namespaced: resource.namespaced, verbs: resource.verbs.clone(), resource: qualified.into() }
    }

    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }

    /// Whether its objects take part in ownership.
    pub(super) fn is_tracked(&self) -> bool {
        self.can("list") && self.can("watch") && self.api.kind != "Event"
    }
}

/// All kinds that can be deleted, each in the version that its group prefers, or the next one that serves it.
pub(super) async fn kinds(client: &Client) -> Result<BTreeMap<Arc<str>, Kind>, kube::Error> {
    let mut found = BTreeMap::new();
    let core = client.list_core_api_resources("v1").await?;
    collect(&mut found, "", "v1", &core.resources);
    for group in client.list_api_groups().await?.groups {
        for version in versions(&group) {
            let list = client.list_api_group_resources(&format!("{}/{version}", group.name)).await?;
            collect(&mut found, &group.name, &version, &list.resources);
        }
    }
    Ok(found)
}

/// The preferred version first.
fn versions(group: &APIGroup) -> Vec<String> {
    let preferred = group.preferred_version.iter().map(|version| version.version.clone());
    let mut versions: Vec<_> = preferred.collect();
    for version in &group.versions {
        if !versions.contains(&version.version) {
            versions.push(version.version.clone());
        }
    }
    versions
}

fn collect(found: &mut BTreeMap<Arc<str>, Kind>, group: &str, version: &str, resources: &[APIResource]) {
    let whole = |resource: &&APIResource| !resource.name.contains('/');
    for kind in resources.iter().filter(whole).map(|resource| Kind::new(group, version, resource)) {
        if kind.can("delete") {
            found.entry(kind.resource.clone()).or_insert(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, kind: &str, verbs: &[&str]) -> APIResource {
        let verbs = verbs.iter().map(|&verb| verb.to_owned()).collect();
        APIResource { name: name.into(), kind: kind.into(), verbs, namespaced: true, ..Default::default() }
    }

    #[test]
    fn subresources_and_reviews_are_no_kinds_and_preferred_versions_win() {
        let all = ["create", "delete", "get", "list", "watch"];
        let mut found = BTreeMap::new();
        collect(&mut found, "", "v1", &[resource("pods", "Pod", &all), resource("pods/log", "Pod", &["get"])]);
        collect(
            &mut found,
            "",
            "v1",
            &[resource("bindings", "Binding", &["create"]), resource("events", "Event", &all)],
        );
        collect(&mut found, "example.io", "v2", &[resource("ships", "Ship", &all)]);
        collect(&mut found, "example.io", "v1", &[resource("ships", "Ship", &all), resource("oars", "Oar", &all)]);
        let kinds: Vec<_> =
            found.values().map(|k| (k.resource.as_ref(), k.api.api_version.as_str(), k.is_tracked())).collect();
        let expected = [
            ("events", "v1", false),
            ("oars.example.io", "example.io/v1", true),
            ("pods", "v1", true),
            ("ships.example.io", "example.io/v2", true),
        ];
        assert_eq!(kinds, expected);
    }
}

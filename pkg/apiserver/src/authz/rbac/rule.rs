//! `rbac.authorization.k8s.io/v1 PolicyRule`: what it allows, and what it covers of another rule.
//!
//! The matching is upstream's (`k8s.io/kubernetes/pkg/apis/rbac/v1/evaluation_helpers.go` and
//! `k8s.io/component-helpers/auth/rbac/validation`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::request::RequestInfo;

/// One rule. `*` means everything in every list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// For example `get`.
    pub verbs: Vec<String>,
    /// Empty for the core group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// For example `pods`, `pods/log` or `*/scale`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Empty means every name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// For example `/healthz` or `/api/*`.
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Whether the rule allows the request.
    #[must_use]
    pub fn allows(&self, request: &RequestInfo) -> bool {
        if !has_or_all(&self.verbs, &request.verb) {
            return false;
        }
        if !request.is_resource {
            return self.non_resource_urls.iter().any(|rule| url_covers(rule, &request.path) || rule == "*");
        }
        has_or_all(&self.api_groups, &request.group)
            && self.resources.iter().any(|rule| resource_matches(rule, &request.resource, &request.subresource))
            && (self.resource_names.is_empty() || self.resource_names.contains(&request.name))
    }

    /// Whether this rule alone gives everything that `other` gives; `other` is one of [`Rule::atoms`].
    fn covers(&self, other: &Self) -> bool {
        (has(&self.verbs, "*") || contains_all(&self.verbs, &other.verbs))
            && (has(&self.api_groups, "*") || contains_all(&self.api_groups, &other.api_groups))
            && (has(&self.resources, "*") || other.resources.iter().all(|resource| self.covers_resource(resource)))
            && (self.resource_names.is_empty()
                || !other.resource_names.is_empty() && contains_all(&self.resource_names, &other.resource_names))
            && other.non_resource_urls.iter().all(|url| self.non_resource_urls.iter().any(|own| url_covers(own, url)))
    }

    fn covers_resource(&self, resource: &str) -> bool {
        let any_parent = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        has(&self.resources, resource) || any_parent.is_some_and(|any| has(&self.resources, &any))
    }

    /// The rule as rules that each name one verb of one thing.
    fn atoms(&self) -> impl Iterator<Item = Self> {
        let resources = self.api_groups.iter().flat_map(move |group| {
            self.resources.iter().flat_map(move |resource| {
                self.verbs.iter().flat_map(move |verb| {
                    let atom = Self {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Self::default()
                    };
                    let names: Vec<_> = match self.resource_names.as_slice() {
                        [] => vec![Vec::new()],
                        names => names.iter().map(|name| vec![name.clone()]).collect(),
                    };
                    names.into_iter().map(move |resource_names| Self { resource_names, ..atom.clone() })
                })
            })
        });
        let urls = self.non_resource_urls.iter().flat_map(move |url| {
            self.verbs.iter().map(move |verb| Self {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..Self::default()
            })
        });
        resources.chain(urls)
    }
}

impl fmt::Display for Rule {
    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`: how upstream names rights that somebody lacks.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", quoted_list(list)))
            .collect();
        write!(out, "{{{}}}", parts.join(", "))
    }
}

/// Go's `%q` of a list of strings.
pub(crate) fn quoted_list(list: &[String]) -> String {
    let quoted: Vec<_> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// What of `wanted` is not covered by `held`, with the verbs of equal things put together.
#[must_use]
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = Vec::new();
    for atom in wanted.iter().flat_map(Rule::atoms) {
        if held.iter().any(|rule| rule.covers(&atom)) {
            continue;
        }
        let same_thing = |seen: &&mut Rule| {
            !seen.resources.is_empty()
                && (&seen.api_groups, &seen.resources, &seen.resource_names)
                    == (&atom.api_groups, &atom.resources, &atom.resource_names)
        };
        match missing.iter_mut().find(same_thing) {
            Some(seen) => seen.verbs.extend(atom.verbs),
            None => missing.push(atom),
        }
    }
    missing
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == wanted)
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == wanted || one == "*")
}

fn contains_all(list: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|one| has(list, one))
}

/// `*`, `pods`, `pods/log` or `*/scale`.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        None => rule == "*" || (rule == resource && subresource.is_empty()),
        Some((parent, child)) => {
            !subresource.is_empty() && child == subresource && (parent == "*" || parent == resource)
        }
    }
}

fn url_covers(rule: &str, url: &str) -> bool {
    rule == url || rule.ends_with('*') && url.starts_with(rule.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: serde_json::Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    fn on(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Rule {
        rule(json!({"verbs": verbs, "apiGroups": groups, "resources": resources}))
    }

    fn resource(verb: &'static str, group: &str, resource: &str, subresource: &str, name: &str) -> RequestInfo {
        RequestInfo {
            is_resource: true,
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn resources_match_as_upstream() {
        let named = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}));
        let table = [
            (on(&["*"], &["*"], &["*"]), resource("delete", "apps", "deployments", "scale", "x"), true),
            (on(&["get"], &[""], &["pods"]), resource("get", "", "pods", "", "x"), true),
            (on(&["get"], &[""], &["pods"]), resource("list", "", "pods", "", ""), false),
            (on(&["get"], &[""], &["pods"]), resource("get", "", "pods", "log", "x"), false),
            (on(&["get"], &[""], &["pods/log"]), resource("get", "", "pods", "log", "x"), true),
            (on(&["get"], &[""], &["pods/log"]), resource("get", "", "pods", "", "x"), false),
            (on(&["get"], &["apps"], &["pods"]), resource("get", "", "pods", "", "x"), false),
            (on(&["get"], &["*"], &["*/scale"]), resource("get", "apps", "deployments", "scale", "x"), true),
            (on(&["get"], &["*"], &["*/scale"]), resource("get", "apps", "deployments", "", "x"), false),
            (on(&["get"], &["*"], &["*/scale"]), resource("get", "apps", "deployments", "status", "x"), false),
            (named.clone(), resource("get", "", "pods", "", "a"), true),
            (named.clone(), resource("get", "", "pods", "", "b"), false),
            (named, resource("get", "", "pods", "", ""), false),
        ];
        for (rule, request, allowed) in table {
            assert_eq!(rule.allows(&request), allowed, "{rule} {request:?}");
        }
    }

    #[test]
    fn urls_match_as_upstream() {
        let table = [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/x", false),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("/api*", "/api", true),
            ("*", "/anything", true),
        ];
        for (url, path, allowed) in table {
            let rule = rule(json!({"verbs": ["get"], "nonResourceURLs": [url]}));
            let request = RequestInfo { verb: "get".into(), path: path.into(), ..RequestInfo::default() };
            assert_eq!(rule.allows(&request), allowed, "{url} {path}");
        }
    }

    #[test]
    fn what_is_missing_is_named_once_per_thing() {
        let held = [on(&["get"], &[""], &["pods"]), on(&["get"], &["v1"], &["*/scale"])];
        let wanted =
            [on(&["get", "list", "watch"], &[""], &["pods", "secrets"]), on(&["get"], &["v1"], &["foo/scale"])];
        let texts: Vec<_> = missing(&held, &wanted).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}"#,
            ]
        );
    }

    #[test]
    fn coverage_follows_upstreams_table() {
        let named = |names: &[&str]| {
            rule(json!({"verbs": ["get"], "apiGroups": ["v1"], "resources": ["builds"], "resourceNames": names}))
        };
        let urls = |urls: &[&str]| rule(json!({"verbs": ["get"], "nonResourceURLs": urls}));
        let table = [
            (vec![on(&["delete", "get"], &["v1"], &["*"])], vec![on(&["get"], &["v1"], &["builds"])], true),
            (vec![on(&["get"], &["v1"], &["builds"])], vec![named(&["a"])], true),
            (vec![named(&["a"])], vec![on(&["get"], &["v1"], &["builds"])], false),
            (vec![named(&["a", "b"])], vec![named(&["b"])], true),
            (vec![named(&["a"])], vec![named(&["a", "b"])], false),
            (vec![urls(&["/apis/*"])], vec![urls(&["/apis/apps"])], true),
            (vec![urls(&["/apis"])], vec![urls(&["/apis/*"])], false),
            (vec![urls(&["*"])], vec![urls(&["/foo", "*"])], true),
            (vec![on(&["*"], &["*"], &["*"])], vec![urls(&["/foo"])], false),
            (vec![], vec![Rule::default()], true),
        ];
        for (held, wanted, covered) in table {
            assert_eq!(missing(&held, &wanted).is_empty(), covered, "{held:?} {wanted:?}");
        }
    }
}

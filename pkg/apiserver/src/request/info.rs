//! The request's path and method, read as upstream's `RequestInfoFactory` reads them
//! (`k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`).

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::Query;

/// What a request is about. Authorization, audit and dispatch all read this and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource; all others are authorized by [`RequestInfo::path`].
    pub is_resource: bool,
    /// The decoded path.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the lower-case method.
    pub verb: Cow<'static, str>,
    /// Empty for the core group.
    pub group: String,
    /// For example `v1`.
    pub version: String,
    /// Empty for cluster-scoped requests.
    pub namespace: String,
    /// For example `pods`.
    pub resource: String,
    /// For example `status`; empty for the object itself.
    pub subresource: String,
    /// Empty for requests about a collection.
    pub name: String,
    /// What follows the subresource, as in `services/x/proxy/index.html`; no leading slash.
    pub rest: String,
    /// Only for `list`, `watch` and `deletecollection`.
    pub field_selector: String,
    /// Only for `list`, `watch` and `deletecollection`.
    pub label_selector: String,
}

/// Subresources of a namespace: `/namespaces/x/status` is one, `/namespaces/x/pods` is not.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a method and a URI.
    #[must_use]
    pub fn new(method: &Method, uri: &http::Uri) -> Self {
        let path = percent_decode_str(uri.path()).decode_utf8_lossy().into_owned();
        let verb = method.as_str().to_ascii_lowercase().into();
        let mut info = Self { path, verb, ..Self::default() };
        info.read(method, uri.query().unwrap_or_default());
        info
    }

    fn read(&mut self, method: &Method, query: &str) {
        let path = self.path.clone();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, mut parts) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return,
        };
        self.is_resource = true;
        self.group = group.into();
        self.version = version.into();
        self.verb = plain_verb(method).into();
        let verb_in_path = match parts {
            [first @ ("watch" | "proxy"), rest @ ..] if !rest.is_empty() => {
                self.verb = if *first == "watch" { "watch" } else { "proxy" }.into();
                parts = rest;
                true
            }
            _ => false,
        };
        if let ["namespaces", namespace, rest @ ..] = parts {
            self.namespace = (*namespace).into();
            if let Some(next) = rest.first()
                && !NAMESPACE_SUBRESOURCES.contains(next)
            {
                parts = rest;
            }
        }
        self.name_parts(parts);
        self.collection_verb(query, verb_in_path);
    }

    fn name_parts(&mut self, parts: &[&str]) {
        let part = |at: usize| parts.get(at).copied().unwrap_or_default().to_owned();
        self.resource = part(0);
        self.name = part(1);
        if self.verb != "proxy" {
            self.subresource = part(2);
            self.rest = parts.get(3..).unwrap_or_default().join("/");
        }
    }

    /// Without a name, a `get` is a `list` or a `watch`, and a `delete` is a `deletecollection`.
    fn collection_verb(&mut self, query: &str, verb_in_path: bool) {
        let query = Query::new(query);
        if self.name.is_empty() && self.verb == "get" {
            self.verb = if query.flag("watch") { "watch" } else { "list" }.into();
            if let Some(name) = query.get("fieldSelector").and_then(|selector| exact_name(&selector)) {
                self.name = name;
            }
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".into();
        }
        if !verb_in_path && matches!(&*self.verb, "list" | "watch" | "deletecollection") {
            self.field_selector = query.get("fieldSelector").unwrap_or_default().into_owned();
            self.label_selector = query.get("labelSelector").unwrap_or_default().into_owned();
        }
    }

    /// Whether the request may last: watches, log streams and what is upgraded. Such requests have no deadline and do not
    /// count as in flight.
    #[must_use]
    pub fn is_long_running(&self) -> bool {
        let streams = ["attach", "exec", "proxy", "log", "portforward"];
        self.is_resource && (matches!(&*self.verb, "watch" | "proxy") || streams.contains(&&*self.subresource))
    }

    /// Whether the request may change something.
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        !matches!(&*self.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

fn plain_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The name that a field selector demands, if it demands exactly one: such a list is authorized as one of that name.
fn exact_name(selector: &str) -> Option<String> {
    let name = selector.split(',').find_map(|term| {
        let (field, value) = term.split_once('=')?;
        (field.trim() == "metadata.name").then(|| value.trim_start_matches('=').trim())
    })?;
    let is_segment = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '%']);
    is_segment.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// verb, group, version, namespace, resource, name, subresource
    type Expected<'a> = [&'a str; 7];

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        let table: &[(&str, &str, Expected<'_>)] = &[
            ("GET", "/api/v1/namespaces", ["list", "", "v1", "", "namespaces", "", ""]),
            ("GET", "/api/v1/namespaces/other", ["get", "", "v1", "other", "namespaces", "other", ""]),
            (
                "PUT",
                "/api/v1/namespaces/other/finalize",
                ["update", "", "v1", "other", "namespaces", "other", "finalize"],
            ),
            ("GET", "/api/v1/namespaces/other/pods", ["list", "", "v1", "other", "pods", "", ""]),
            ("GET", "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "foo", ""]),
            ("HEAD", "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "foo", ""]),
            ("GET", "/api/v1/namespaces/other/pods/foo/log", ["get", "", "v1", "other", "pods", "foo", "log"]),
            ("GET", "/api/v1/pods", ["list", "", "v1", "", "pods", "", ""]),
            ("GET", "/api/v1/pods?watch=1", ["watch", "", "v1", "", "pods", "", ""]),
            ("GET", "/api/v1/pods?watch=false", ["list", "", "v1", "", "pods", "", ""]),
            ("GET", "/api/v1/watch/pods", ["watch", "", "v1", "", "pods", "", ""]),
            ("GET", "/api/v1/watch/namespaces/other/pods", ["watch", "", "v1", "other", "pods", "", ""]),
            ("POST", "/apis/apps/v1/namespaces/a/deployments", ["create", "apps", "v1", "a", "deployments", "", ""]),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                ["patch", "apps", "v1", "a", "deployments", "d", "scale"],
            ),
            ("DELETE", "/api/v1/namespaces/a/pods", ["deletecollection", "", "v1", "a", "pods", "", ""]),
            ("DELETE", "/api/v1/namespaces/a/pods/p%3A1", ["delete", "", "v1", "a", "pods", "p:1", ""]),
            ("GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", ["list", "", "v1", "", "nodes", "n1", ""]),
        ];
        for (method, uri, expected) in table {
            let info = RequestInfo::new(&method.parse().unwrap(), &uri.parse().unwrap());
            assert!(info.is_resource, "{uri}");
            let seen: Expected<'_> = [
                &info.verb,
                &info.group,
                &info.version,
                &info.namespace,
                &info.resource,
                &info.name,
                &info.subresource,
            ];
            assert_eq!(&seen, expected, "{method} {uri}");
        }
    }

    #[test]
    fn other_paths_are_no_resources() {
        for path in ["/", "/healthz", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/version", "/metrics"]
        {
            let info = RequestInfo::new(&Method::GET, &path.parse().unwrap());
            assert!(!info.is_resource, "{path}");
            assert_eq!((&*info.verb, &*info.path), ("get", path));
        }
    }

    #[test]
    fn selectors_belong_to_collections() {
        let uri = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn&labelSelector=a%3Db".parse().unwrap();
        let info = RequestInfo::new(&Method::GET, &uri);
        assert_eq!((&*info.field_selector, &*info.label_selector), ("spec.nodeName=n", "a=b"));
        let uri = "/api/v1/namespaces/x/services/s/proxy/a/b".parse().unwrap();
        assert_eq!(RequestInfo::new(&Method::GET, &uri).rest, "a/b");
    }
}

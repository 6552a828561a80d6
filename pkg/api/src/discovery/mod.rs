//! Discovery: what is served, as `/api` and `/apis` say it, in the old form (one document per group and version) and in
//! the aggregated form (`apidiscovery.k8s.io/v2`), from the rows of the kinds.
//!
//! Every function takes the rows that are served, built-in ones first; groups come in the order of their first row, and
//! the versions of a group in the order of their priority.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Object;
use crate::kind::{Kind, KindRef, Storage, Subresource};
use crate::kinds;

/// `/api` in the old form. `address` is where clients reach the server, as `192.0.2.1:6443`.
#[must_use]
pub fn legacy_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis` in the old form.
#[must_use]
pub fn groups(kinds: &[KindRef]) -> Value {
    let groups: Vec<Value> =
        group_names(kinds).into_iter().filter(|name| !name.is_empty()).map(|name| entry(kinds, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`; `None` when there is no such group.
#[must_use]
pub fn group(kinds: &[KindRef], name: &str) -> Option<Value> {
    if name.is_empty() || !group_names(kinds).contains(&name) {
        return None;
    }
    let mut group = entry(kinds, name);
    put(&mut group, "kind", "APIGroup");
    put(&mut group, "apiVersion", "v1");
    Some(group)
}

/// `/apis/GROUP/VERSION` or `/api/v1` in the old form; `None` when nothing is served there.
#[must_use]
pub fn resources(kinds: &[KindRef], group: &str, version: &str) -> Option<Value> {
    let rows = rows(kinds, group, version);
    if rows.is_empty() {
        return None;
    }
    let group_version = api_version(group, version);
    let resources: Vec<Value> = rows.iter().flat_map(|kind| legacy_resources(kind)).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

/// The aggregated form of `/api` (`legacy`) or `/apis`. `version` is that of `apidiscovery.k8s.io`: `v2` or `v2beta1`.
#[must_use]
pub fn aggregated(kinds: &[KindRef], legacy: bool, version: &str) -> Value {
    let names = group_names(kinds).into_iter().filter(|name| name.is_empty() == legacy);
    let items: Vec<Value> = names
        .map(|name| {
            let versions: Vec<Value> = versions(kinds, name)
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        rows(kinds, name, version).iter().map(|kind| aggregated_resource(kind)).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            json!({"metadata": named(name), "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

/// `APIResource.storageVersionHash` of a kind; `None` for kinds that are never stored.
#[must_use]
pub fn storage_hash(kind: &Kind) -> Option<String> {
    let row = match kind.storage {
        Storage::Own => kind,
        _ => kinds::storage_of(kind)?,
    };
    let stored = row.stored()?;
    let digest = Sha256::digest(format!("{}/{}/{}", row.group, stored.name, row.kind));
    Some(STANDARD.encode(digest.get(..8)?))
}

/// The versions of a group, the preferred one first: stable before beta before alpha, new before old.
#[must_use]
pub fn versions<'a>(kinds: &'a [KindRef], group: &str) -> Vec<&'a str> {
    let rows = kinds.iter().filter(|kind| kind.group == group);
    let mut versions: Vec<&str> = rows.flat_map(|kind| kind.versions.iter().map(|version| &*version.name)).collect();
    versions.sort_by(|a, b| priority(b).cmp(&priority(a)).then(a.cmp(b)));
    versions.dedup();
    versions
}

/// `k8s.io/apimachinery/pkg/version`: stability, major, minor; what is no such version comes last.
fn priority(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let (major, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let major = major.parse().ok()?;
    match rest {
        "" => Some((3, major, 0)),
        _ => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => Some((2, major, minor.parse().ok()?)),
            (_, Some(minor)) => Some((1, major, minor.parse().ok()?)),
            _ => None,
        },
    }
}

fn group_names(kinds: &[KindRef]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for kind in kinds {
        if !names.contains(&&*kind.group) {
            names.push(&kind.group);
        }
    }
    names
}

/// The kinds of a group that are served in a version, sorted by resource.
fn rows<'a>(kinds: &'a [KindRef], group: &str, version: &str) -> Vec<&'a Kind> {
    let served = kinds.iter().map(AsRef::as_ref).filter(|kind: &&Kind| kind.group == group);
    let mut rows: Vec<&Kind> = served.filter(|kind| kind.version(version).is_some()).collect();
    rows.sort_by(|a, b| a.plural.cmp(&b.plural));
    rows
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn entry(kinds: &[KindRef], name: &str) -> Value {
    let versions: Vec<Value> = versions(kinds, name)
        .into_iter()
        .map(|version| json!({"groupVersion": api_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn named(name: &str) -> Object {
    let mut metadata = Object::new();
    if !name.is_empty() {
        metadata.insert("name".into(), name.into());
    }
    metadata
}

fn legacy_resources(kind: &Kind) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": kind.verbs,
    });
    put_names(&mut own, kind);
    if let Some(hash) = storage_hash(kind) {
        put(&mut own, "storageVersionHash", hash);
    }
    let subresource = |sub: &Subresource| {
        let mut resource = json!({
            "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
            "kind": sub.body.map_or(&*kind.kind, |(_, _, name)| name), "verbs": sub.verbs,
        });
        if let Some((group, version)) = foreign(kind, sub) {
            put(&mut resource, "group", group);
            put(&mut resource, "version", version);
        }
        resource
    };
    std::iter::once(own).chain(kind.subresources.iter().map(subresource)).collect()
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response = |group: &str, version: &str, name: &str| json!({"group": group, "version": version, "kind": name});
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let mut resource = json!({
        "resource": kind.plural, "responseKind": response("", "", &kind.kind), "scope": scope,
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    put_names(&mut resource, kind);
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let (group, version) = foreign(kind, sub).unwrap_or_default();
            let name = sub.body.map_or(&*kind.kind, |(_, _, name)| name);
            json!({"subresource": sub.name, "responseKind": response(group, version, name), "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        put(&mut resource, "subresources", subresources);
    }
    resource
}

/// Group and version of a subresource's body where they are not those of the document.
fn foreign(kind: &Kind, sub: &Subresource) -> Option<(&'static str, &'static str)> {
    let (group, version, _) = sub.body?;
    (kind.group != group || kind.version(version).is_none()).then_some((group, version))
}

fn put(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Value::Object(object) = object {
        object.insert(field.into(), value.into());
    }
}

fn put_names(resource: &mut Value, kind: &Kind) {
    for (field, names) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            put(resource, field, names);
        }
    }
}

#[cfg(test)]
mod tests;

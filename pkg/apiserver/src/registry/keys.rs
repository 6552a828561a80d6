//! Where objects are in the store. No other file knows this.
//!
//! ```text
//! /registry/apps/deployments/default/web     namespaced
//! /registry/core/nodes/edge-1                cluster-scoped; `core` is the core group
//! ```

use bytes::Bytes;
use knarr_api::Object;
use knarr_api::kind::Kind;
use knarr_api::object::Meta;

/// What every key of the API server begins with, up to a slash.
pub const ROOT: &str = "/registry";

/// The prefix of all objects of a kind.
pub(crate) fn kind(kind: &Kind) -> Bytes {
    let group = if kind.group.is_empty() { "core" } else { &kind.group };
    format!("{ROOT}/{group}/{}/", kind.plural).into()
}

/// The prefix of what `resource.group` means, where `*` stands for all: `secrets`, `*.apps`, `*.` for the core group, `*.*`.
pub(crate) fn wildcard(resource: &str) -> Bytes {
    match resource.split_once('.').unwrap_or((resource, "")) {
        ("*", "*") => format!("{ROOT}/"),
        ("*", "") => format!("{ROOT}/core/"),
        ("*", group) => format!("{ROOT}/{group}/"),
        (plural, "") => format!("{ROOT}/core/{plural}/"),
        (plural, group) => format!("{ROOT}/{group}/{plural}/"),
    }
    .into()
}

/// The prefix of all objects of a kind in a namespace; of all at all when the namespace is empty.
pub(crate) fn namespace(of: &Kind, namespace: &str) -> Bytes {
    let prefix = kind(of);
    if namespace.is_empty() || !of.namespaced {
        return prefix;
    }
    [&prefix[..], namespace.as_bytes(), b"/"].concat().into()
}

/// The key of one object.
pub(crate) fn object(of: &Kind, in_namespace: &str, name: &str) -> Bytes {
    [&namespace(of, in_namespace)[..], name.as_bytes()].concat().into()
}

/// The key of an object by what its metadata says.
pub(crate) fn object_of(of: &Kind, object: &Object) -> Bytes {
    self::object(of, object.namespace(), object.name())
}

/// The key whose existence says that a Service holds this node port; its value is empty JSON.
pub(crate) fn node_port(port: u16) -> Bytes {
    format!("{ROOT}/ranges/nodeports/{port}").into()
}

/// The part of a key that names its kind: the two segments behind the root, as [`kind`] makes it.
pub(crate) fn kind_part(key: &[u8]) -> Option<&[u8]> {
    let mut slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let end = slashes.nth(3)?;
    key.get(..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_key_is_found_again() {
        let key = b"/registry/apps/deployments/default/web";
        assert_eq!(kind_part(key), Some(&b"/registry/apps/deployments/"[..]));
        assert_eq!(kind_part(b"/registry/core/nodes/n"), Some(&b"/registry/core/nodes/"[..]));
        assert_eq!(kind_part(b"/other"), None);
    }
}

//! Names of objects within a kind.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Where an object lives within its kind: `namespace/name`, or `name` in cluster scope. Cloning is cheap.
///
/// Neither part can contain a slash, so all keys of one namespace are neighbours in the order of keys.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of `name` in `namespace`, which is empty in cluster scope.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(path(namespace, name).into())
    }

    /// The key of a typed object.
    #[must_use]
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }

    /// Empty in cluster scope.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

/// The text of a key, for look-ups that need no [`Key`].
pub(super) fn path(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_into_namespace_and_name() {
        let key = Key::new("kube-system", "dns");
        assert_eq!((key.namespace(), key.name(), key.to_string().as_str()), ("kube-system", "dns", "kube-system/dns"));
        let node = Key::new("", "edge-1");
        assert_eq!((node.namespace(), node.name(), node.to_string().as_str()), ("", "edge-1", "edge-1"));
    }
}

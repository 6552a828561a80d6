//! Where the store's keys are in etcd.
//!
//! Every key of the store begins with the *root*, which is the *prefix* in etcd:
//!
//! ```text
//! root /registry/, prefix /edge/      /registry/core/nodes/n1  <->  /edge/core/nodes/n1
//! ```
//!
//! What etcd has at the prefix itself, an empty key in the store's eyes, is [`Keys::mark`].

use bytes::Bytes;

use crate::error::Error;
use crate::model::prefix_end;

/// The translation.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    root: Bytes,
    prefix: Bytes,
    /// The first key behind everything that is ours.
    end: Bytes,
}

impl Keys {
    /// `prefix` must not be empty.
    pub(super) fn new(root: &[u8], prefix: &[u8]) -> Self {
        Self { root: Bytes::copy_from_slice(root), prefix: Bytes::copy_from_slice(prefix), end: prefix_end(prefix) }
    }

    /// A key of etcd that is within every watch of everything and that no key of the store can be.
    pub(super) fn mark(&self) -> Vec<u8> {
        self.prefix.to_vec()
    }

    /// The store's key in etcd.
    pub(super) fn outer(&self, key: &[u8]) -> Result<Vec<u8>, Error> {
        match key.strip_prefix(&self.root[..]) {
            Some(rest) if !rest.is_empty() => Ok([&self.prefix, rest].concat()),
            _ => Err(Error::Invalid("a key is outside of what this store holds")),
        }
    }

    /// The key that etcd has, as the store knows it; `None` for what is no key of the store.
    pub(super) fn inner(&self, key: Vec<u8>) -> Option<Bytes> {
        let rest = key.strip_prefix(&self.prefix[..]).filter(|rest| !rest.is_empty())?;
        if self.root == self.prefix {
            return Some(key.into());
        }
        Some([&self.root, rest].concat().into())
    }

    /// The range of etcd from `start` to before `end`, where an empty end is none. The mark is outside.
    pub(super) fn range(&self, start: &[u8], end: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let first = match start.strip_prefix(&self.root[..]) {
            Some(rest) if !rest.is_empty() => [&self.prefix, rest].concat(),
            None if start > &self.root[..] => self.end.to_vec(),
            _ => [&self.prefix, &[0][..]].concat(),
        };
        let last = match end.strip_prefix(&self.root[..]) {
            Some(rest) if !rest.is_empty() => [&self.prefix, rest].concat(),
            None if !end.is_empty() && end < &self.root[..] => self.prefix.to_vec(),
            Some(_) if !end.is_empty() => self.prefix.to_vec(),
            _ => self.end.to_vec(),
        };
        (first, last)
    }

    /// The range of etcd that holds the keys with this prefix; the mark is inside when that is all of them.
    pub(super) fn watched(&self, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
        if self.root.starts_with(prefix) {
            return (self.prefix.to_vec(), self.end.to_vec());
        }
        let end = prefix_end(prefix);
        self.range(prefix, &end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_the_prefix() {
        let text =
            |(start, end): (Vec<u8>, Vec<u8>)| (String::from_utf8(start).unwrap(), String::from_utf8(end).unwrap());
        for (root, start, end, first, last) in [
            ("", "", "", "/p/\0", "/p0"),
            ("", "a", "b", "/p/a", "/p/b"),
            ("", "b", "", "/p/b", "/p0"),
            ("/r/", "", "", "/p/\0", "/p0"),
            ("/r/", "/r/", "/r0", "/p/\0", "/p0"),
            ("/r/", "/r/a", "/r/b", "/p/a", "/p/b"),
            ("/r/", "/a", "/r/b", "/p/\0", "/p/b"),
            ("/r/", "/s", "/t", "/p0", "/p0"),
            ("/r/", "/a", "/b", "/p/\0", "/p/"),
            ("/r/", "/a", "/r/", "/p/\0", "/p/"),
        ] {
            let range = Keys::new(root.as_bytes(), b"/p/").range(start.as_bytes(), end.as_bytes());
            assert_eq!(text(range), (first.to_owned(), last.to_owned()), "{root:?}: {start:?} to {end:?}");
        }
        let keys = Keys::new(b"/r/", b"/p/");
        for (prefix, first, last) in [("", "/p/", "/p0"), ("/r/", "/p/", "/p0"), ("/r/a/", "/p/a/", "/p/a0")] {
            assert_eq!(text(keys.watched(prefix.as_bytes())), (first.to_owned(), last.to_owned()), "{prefix:?}");
        }
    }

    #[test]
    fn keys_come_back_as_they_were() {
        for (root, key, there) in [("", "a", "/p/a"), ("/r/", "/r/a/b", "/p/a/b"), ("/p/", "/p/x", "/p/x")] {
            let keys = Keys::new(root.as_bytes(), b"/p/");
            assert_eq!(keys.outer(key.as_bytes()).unwrap(), there.as_bytes());
            assert_eq!(keys.inner(there.into()).unwrap(), key);
            assert_eq!(keys.inner(keys.mark()), None);
        }
        let keys = Keys::new(b"/r/", b"/p/");
        for key in ["", "/r/", "/other"] {
            assert!(matches!(keys.outer(key.as_bytes()), Err(Error::Invalid(_))), "{key:?}");
        }
    }
}

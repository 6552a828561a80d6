//! How upstream's findings are worded.

use std::fmt;

/// `"a", "b"`.
pub(super) fn quoted(items: &[impl AsRef<str>]) -> String {
    let items: Vec<_> = items.iter().map(AsRef::as_ref).collect();
    if items.is_empty() { String::new() } else { format!("\"{}\"", items.join("\", \"")) }
}

/// `container`, or `containers`.
pub(super) fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.into() } else { format!("{word}s") }
}

/// Who sets something: `pod and containers "a", "b"`.
#[derive(Debug)]
pub(super) struct Setters(Vec<String>);

impl Setters {
    /// The pod, or some of its containers, or both.
    pub(super) fn new(pod: bool, containers: &[&str]) -> Self {
        let pod = pod.then(|| "pod".to_owned());
        let named = || format!("{} {}", plural("container", containers.len()), quoted(containers));
        let containers = (!containers.is_empty()).then(named);
        Self([pod, containers].into_iter().flatten().collect())
    }

    /// Whether nobody does.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Somebody else, too.
    pub(super) fn push(&mut self, setter: String) {
        self.0.push(setter);
    }
}

impl fmt::Display for Setters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join(" and "))
    }
}

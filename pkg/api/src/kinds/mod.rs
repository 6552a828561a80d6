//! The built-in kinds: everything that Kubernetes v1.35 serves by default, and MetalLB's two.

mod autoscaler;
mod event;
mod row;
mod rows;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::kind::{Kind, KindRef, Storage};

static BUILTIN: LazyLock<Vec<KindRef>> = LazyLock::new(|| rows::GROUPS.iter().flat_map(row::Group::kinds).collect());

/// Rows by group and plural.
static BY_PLURAL: LazyLock<HashMap<(&str, &str), &KindRef>> =
    LazyLock::new(|| BUILTIN.iter().map(|kind| ((&*kind.group, &*kind.plural), kind)).collect());

/// Rows by group and kind.
static BY_KIND: LazyLock<HashMap<(&str, &str), &KindRef>> =
    LazyLock::new(|| BUILTIN.iter().map(|kind| ((&*kind.group, &*kind.kind), kind)).collect());

/// All built-in kinds, in the order of discovery: the core group first.
#[must_use]
pub fn builtin() -> &'static [KindRef] {
    &BUILTIN
}

/// The kind whose resource is `plural`, when it is served in `version`.
#[must_use]
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static KindRef> {
    BY_PLURAL.get(&(group, plural)).copied().filter(|row| row.version(version).is_some())
}

/// The kind of that name, when it is served in `version`.
#[must_use]
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static KindRef> {
    BY_KIND.get(&(group, kind)).copied().filter(|row| row.version(version).is_some())
}

/// The row under whose name the objects of a built-in `kind` are stored: mostly itself, none for reviews.
#[must_use]
pub fn storage_of(kind: &Kind) -> Option<&'static KindRef> {
    match kind.storage {
        Storage::Own => BY_PLURAL.get(&(&*kind.group, &*kind.plural)).copied(),
        Storage::Nowhere => None,
        Storage::As { group, plural } => BY_PLURAL.get(&(group, plural)).copied(),
    }
}

#[cfg(test)]
mod tests;

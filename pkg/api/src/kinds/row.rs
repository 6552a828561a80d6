//! The compact form in which the table is written down, and how it becomes [`Kind`]s.

use std::sync::Arc;

use crate::kind::{Convert, Kind, KindRef, Relaxed, SelectableField, Storage, Subresource, Version};

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// An API group with all its kinds, each of which is served in all its versions.
pub(super) struct Group {
    pub name: &'static str,
    /// Where the schemas are: `{package}.{version}.{kind}`.
    pub package: &'static str,
    pub versions: &'static [&'static str],
    pub rows: &'static [Row],
}

pub(super) struct Row {
    pub kind: &'static str,
    pub plural: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subs: &'static [Sub],
    /// Label, paths in the stored form, value when there is none.
    pub selectable: &'static [(&'static str, &'static [&'static str], &'static str)],
    /// Versions that differ in more than `apiVersion`.
    pub convert: &'static [(&'static str, Convert)],
    pub item_typemeta: bool,
    pub storage: Storage,
    pub relaxed: Relaxed,
    pub sealed: bool,
}

pub(super) struct Sub {
    pub name: &'static str,
    pub verbs: &'static [&'static str],
    pub body: Option<(&'static str, &'static str, &'static str)>,
}

pub(super) const fn namespaced(kind: &'static str, plural: &'static str) -> Row {
    Row {
        kind,
        plural,
        short: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL_VERBS,
        subs: &[],
        selectable: &[],
        convert: &[],
        item_typemeta: false,
        storage: Storage::Own,
        relaxed: Relaxed::Never,
        sealed: false,
    }
}

pub(super) const fn cluster(kind: &'static str, plural: &'static str) -> Row {
    Row { namespaced: false, ..namespaced(kind, plural) }
}

/// A kind whose only verb is `create` and whose objects are answers.
pub(super) const fn review(kind: &'static str, plural: &'static str) -> Row {
    Row { verbs: &["create"], storage: Storage::Nowhere, ..cluster(kind, plural) }
}

impl Row {
    pub(super) const fn short(self, short: &'static [&'static str]) -> Self {
        Self { short, ..self }
    }

    pub(super) const fn categories(self, categories: &'static [&'static str]) -> Self {
        Self { categories, ..self }
    }

    pub(super) const fn subs(self, subs: &'static [Sub]) -> Self {
        Self { subs, ..self }
    }
}

impl Group {
    pub(super) fn kinds(&'static self) -> impl Iterator<Item = KindRef> {
        self.rows.iter().map(|row| Arc::new(self.kind(row)))
    }

    fn kind(&self, row: &'static Row) -> Kind {
        let version = |name: &&'static str| Version {
            name: (*name).into(),
            schema: format!("{}.{name}.{}", self.package, row.kind).into(),
            convert: row.convert.iter().find(|(of, _)| of == name).map(|(_, convert)| *convert),
        };
        let subresource = |sub: &Sub| Subresource { name: sub.name.into(), verbs: sub.verbs, body: sub.body };
        let selectable =
            |(label, paths, zero): &(&'static str, &'static [&'static str], &'static str)| SelectableField {
                label: (*label).into(),
                paths: paths.iter().map(|path| (*path).into()).collect(),
                zero: (*zero).into(),
            };
        Kind {
            group: self.name.into(),
            kind: row.kind.into(),
            plural: row.plural.into(),
            singular: row.kind.to_ascii_lowercase().into(),
            short_names: row.short.iter().map(|name| (*name).into()).collect(),
            categories: row.categories.iter().map(|name| (*name).into()).collect(),
            namespaced: row.namespaced,
            versions: self.versions.iter().map(version).collect(),
            verbs: row.verbs,
            subresources: row.subs.iter().map(subresource).collect(),
            selectable_fields: row.selectable.iter().map(selectable).collect(),
            item_typemeta: row.item_typemeta,
            storage: row.storage,
            relaxed: row.relaxed,
            sealed: row.sealed,
        }
    }
}

//! A built-in kind as a row of data: tables where its rules are tables, functions where they are code.

use crate::Object;
use crate::field::Errors;
use crate::object::Meta;
use crate::tree;

use super::fill::{self, Fill};
use super::rules::{self, At, Rule};
use super::{Context, NameRule, Strategy};

/// What is special about a kind. A kind names only the columns in which it differs from [`Row::PLAIN`].
pub(super) struct Row {
    /// Defaults.
    pub(super) fills: &'static [Fill],
    /// What an object must be like on its own, on create and on update.
    pub(super) rules: &'static [Rule],
    /// The rest of that, where it needs the whole object.
    pub(super) check: fn(&Context<'_>, &mut Errors, &Object),
    /// What is checked of new objects only.
    pub(super) check_create: fn(&Context<'_>, &mut Errors, &Object),
    /// Paths that may not change.
    pub(super) immutable: &'static [&'static str],
    /// What else of a change is checked, through any subresource but `status`.
    pub(super) check_update: fn(&Context<'_>, &mut Errors, &Object, &Object),
    /// What is checked of a change through `status`.
    pub(super) check_status: fn(&mut Errors, &Object, &Object),
    /// Done to new objects.
    pub(super) prepare_create: fn(&Context<'_>, &mut Object),
    /// Done to changed objects, new and old.
    pub(super) prepare_update: fn(&Context<'_>, &mut Object, &Object),
    /// Fields of `metadata` that an update through `status` may not change.
    pub(super) status_restores: &'static [&'static str],
    /// Texts for people who write such objects.
    pub(super) warn: fn(&Object, Option<&Object>) -> Vec<String>,
    /// Form of the name.
    pub(super) name: NameRule,
    /// Whether PUT creates.
    pub(super) create_on_update: bool,
    /// Whether an update must name the revision that it changes.
    pub(super) needs_revision: bool,
    /// What changes `metadata.generation`, for kinds that have it.
    pub(super) generation: Option<fn(&Object, &Object) -> bool>,
    /// See [`Strategy::grace_period`].
    pub(super) grace: fn(&Object, Option<i64>) -> Option<i64>,
    /// Whether dependents are orphaned when a delete does not say.
    pub(super) orphans: bool,
    /// Whether a creator's status is kept.
    pub(super) keeps_status: bool,
}

impl Row {
    /// A kind with nothing special.
    pub(super) const PLAIN: Self = Self {
        fills: &[],
        rules: &[],
        check: |_, _, _| {},
        check_create: |_, _, _| {},
        immutable: &[],
        check_update: |_, _, _, _| {},
        check_status: |_, _, _| {},
        prepare_create: |_, _| {},
        prepare_update: |_, _, _| {},
        status_restores: &[],
        warn: |_, _| Vec::new(),
        name: NameRule::Subdomain,
        create_on_update: false,
        needs_revision: false,
        generation: None,
        grace: |_, _| None,
        orphans: false,
        keeps_status: false,
    };
}

/// The usual column `generation`: the spec changed.
pub(super) const SPEC: Option<fn(&Object, &Object) -> bool> =
    Some(|new, old| !tree::same(new.get("spec"), old.get("spec")));

/// The column `status_restores` of kinds whose `/status` leaves metadata alone: upstream's `ResetObjectMetaForStatus`.
pub(super) const METADATA: &[&str] = &["labels", "annotations", "finalizers", "ownerReferences"];

fn restore_metadata(new: &mut Object, old: &Object, fields: &[&str]) {
    for field in fields {
        match old.at(&["metadata", field]) {
            Some(value) => new.meta_mut().insert((*field).into(), value.clone()),
            None => new.meta_mut().remove(*field),
        };
    }
}

impl Row {
    fn check_alone(&self, cx: &Context<'_>, object: &Object) -> Errors {
        let mut errors = Errors::new();
        rules::check(&mut errors, &At::root(object), self.rules);
        (self.check)(cx, &mut errors, object);
        errors
    }
}

impl Strategy for Row {
    fn default(&self, object: &mut Object) {
        fill::fill(object, self.fills);
    }

    fn prepare_for_create(&self, cx: &Context<'_>, object: &mut Object) {
        (self.prepare_create)(cx, object);
    }

    fn prepare_for_update(&self, cx: &Context<'_>, new: &mut Object, old: &Object) {
        if cx.subresource == Some("status") {
            restore_metadata(new, old, self.status_restores);
        }
        (self.prepare_update)(cx, new, old);
    }

    fn keeps_status_on_create(&self) -> bool {
        self.keeps_status
    }

    fn validate(&self, cx: &Context<'_>, object: &Object) -> Errors {
        let mut errors = self.check_alone(cx, object);
        (self.check_create)(cx, &mut errors, object);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, new: &Object, old: &Object) -> Errors {
        let mut errors = Errors::new();
        match cx.subresource {
            Some("status") => (self.check_status)(&mut errors, new, old),
            None => {
                errors = self.check_alone(cx, new);
                rules::unchanged(&mut errors, new, old, self.immutable);
                (self.check_update)(cx, &mut errors, new, old);
            }
            Some(_) => (self.check_update)(cx, &mut errors, new, old),
        }
        errors
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        (self.warn)(object, old)
    }

    fn name_rule(&self) -> NameRule {
        self.name
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        !self.needs_revision
    }

    fn has_generation(&self) -> bool {
        self.generation.is_some()
    }

    fn changes_generation(&self, new: &Object, old: &Object) -> bool {
        self.generation.is_some_and(|changed| changed(new, old))
    }

    fn grace_period(&self, object: &Object, requested: Option<i64>) -> Option<i64> {
        (self.grace)(object, requested)
    }

    fn orphans_by_default(&self) -> bool {
        self.orphans
    }
}

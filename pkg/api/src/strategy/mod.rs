//! What is special about a kind.
//!
//! The generic registry runs every write through the same steps, in upstream's order (`k8s.io/apiserver`
//! `pkg/registry/rest/create.go` and `update.go`); a kind supplies only what differs:
//!
//! ```text
//! create: decode -> default -> prepare_for_create -> validate -> warnings -> encode
//! update: decode -> default -> prepare_for_update -> validate_update -> warnings -> encode
//! ```
//!
//! Defaults and validations see the *stored* version. Everything here is pure; what needs the store (allocation) or
//! other objects (admission) lives in the API server.

use crate::field::Errors;
use crate::object::Object;

/// What a strategy may know about the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub username: &'a str,
    /// `None` for the object itself, else for example `status`.
    pub subresource: Option<&'a str>,
    /// Now, as RFC 3339 with seconds: the form of `metadata.creationTimestamp`.
    pub now: &'a str,
}

/// What a kind adds to the generic registry. Every method has a default that does what most kinds need.
pub trait Strategy: Sync {
    /// Sets defaults that depend on other fields. Runs on everything that is decoded: bodies and patched objects.
    fn default(&self, _object: &mut Object) {}

    /// Clears what a creator may not set (by default `status`, for kinds with that subresource) and starts `generation`.
    fn prepare_for_create(&self, _cx: &Context<'_>, _object: &mut Object) {}

    /// Restores what this update may not change: everything but `status` through `/status`, `status` through the rest.
    /// The registry does that, and bumps `generation` when `spec` changed, before this is called.
    fn prepare_for_update(&self, _cx: &Context<'_>, _new: &mut Object, _old: &Object) {}

    /// Whether the status that comes with a new object is kept: a kubelet registers its node together with its status.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Errors of an object on its own. The registry validates names, labels, annotations and owner references itself.
    fn validate(&self, _cx: &Context<'_>, _object: &Object) -> Errors {
        Errors::new()
    }

    /// Errors of a change; immutable fields belong here. By default whatever [`Strategy::validate`] says of the new object.
    fn validate_update(&self, cx: &Context<'_>, new: &Object, _old: &Object) -> Errors {
        self.validate(cx, new)
    }

    /// Texts for `Warning:` headers.
    fn warnings(&self, _object: &Object, _old: Option<&Object>) -> Vec<String> {
        Vec::new()
    }

    /// How `metadata.name` is checked: by default a DNS-1123 subdomain.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Whether PUT of an object that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without `resourceVersion` overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Whether `metadata.generation` counts changes of the spec.
    fn has_generation(&self) -> bool {
        false
    }

    /// Seconds that a delete waits when the request does not say, for kinds that end gracefully; `None` deletes at once.
    fn default_grace_period(&self, _object: &Object) -> Option<i64> {
        None
    }

    /// The propagation policy of a delete that names none: upstream orphans for some old kinds, otherwise background.
    fn orphans_by_default(&self) -> bool {
        false
    }
}

/// The strategy of a built-in kind; [`Plain`] for every kind that needs nothing special.
#[must_use]
pub fn of(group: &str, kind: &str) -> &'static dyn Strategy {
    let _ = (group, kind);
    &Plain
}

/// How the name of an object is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
    /// RFC 1035 label.
    Label1035,
    /// Any path segment: RBAC names such as `system:node`.
    PathSegment,
    /// An IP address in canonical form.
    IpAddress,
}

/// A kind that needs nothing special.
#[derive(Debug)]
pub struct Plain;

impl Strategy for Plain {}

//! Role based access control: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>.
//!
//! Roles and bindings are parsed when they change and kept by the subject that they bind, so that a decision looks at the
//! bindings of this user and their groups only, however many others there are.

mod escalation;
mod rule;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use knarr_api::Object;
use knarr_api::user::UserInfo;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use rule::quoted_list;
pub use rule::{Rule, missing};

use crate::request::RequestInfo;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// All roles and bindings of the cluster.
#[derive(Debug, Default)]
pub struct Rbac(RwLock<Index>);

/// By namespace; the empty one holds what is cluster-scoped.
type Index = HashMap<String, Scope>;

#[derive(Debug, Default)]
struct Scope {
    roles: HashMap<String, Arc<[Rule]>>,
    bindings: HashMap<String, Arc<Binding>>,
    users: HashMap<String, Vec<Arc<Binding>>>,
    groups: HashMap<String, Vec<Arc<Binding>>>,
}

/// A `RoleBinding` or, without a namespace, a `ClusterRoleBinding`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    #[serde(skip)]
    namespace: String,
    #[serde(skip)]
    name: String,
    role_ref: RoleRef,
    subjects: Vec<Subject>,
}

/// Which role a binding gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

/// Why RBAC allows something.
#[derive(Clone, Debug)]
pub struct Grant {
    binding: Arc<Binding>,
    subject: String,
}

impl fmt::Display for Grant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binding { namespace, name, role_ref, .. } = &*self.binding;
        let (kind, name) = match namespace.as_str() {
            "" => ("ClusterRoleBinding", name.clone()),
            namespace => ("RoleBinding", format!("{name}/{namespace}")),
        };
        write!(out, "RBAC: allowed by {kind} {name:?} of {} {:?} to {}", role_ref.kind, role_ref.name, self.subject)
    }
}

impl Rbac {
    /// Takes over a `Role` or `ClusterRole` that was written, or forgets one that was deleted (`None`).
    pub fn role_changed(&self, namespace: &str, name: &str, role: Option<&Object>) {
        let rules = role.map(|role| rules_of(role).into());
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let scope = index.entry(namespace.to_owned()).or_default();
        match rules {
            Some(rules) => scope.roles.insert(name.to_owned(), rules),
            None => scope.roles.remove(name),
        };
    }

    /// Takes over a `RoleBinding` or `ClusterRoleBinding` that was written, or forgets one that was deleted (`None`).
    pub fn binding_changed(&self, namespace: &str, name: &str, binding: Option<&Object>) {
        let binding = binding.and_then(|object| Binding::parse(namespace, name, object));
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let scope = index.entry(namespace.to_owned()).or_default();
        scope.forget(name);
        if let Some(binding) = binding {
            scope.add(Arc::new(binding));
        }
    }

    /// Whether a rule of a role that is bound to the user allows the request.
    ///
    /// # Errors
    /// When nothing allows it: the bindings that name a role that does not exist, in the form of upstream's reason; most
    /// often there are none, and the text is empty.
    pub fn authorize(&self, user: &UserInfo, request: &RequestInfo) -> Result<Grant, String> {
        let index = self.read();
        let mut broken = Vec::new();
        for (binding, subject) in bindings(&index, user, &request.namespace) {
            match rules(&index, &binding.role_ref, &binding.namespace) {
                Ok(rules) if rules.iter().any(|rule| rule.allows(request)) => {
                    let subject = binding.describe(&user.username, &subject);
                    return Ok(Grant { binding: Arc::clone(binding), subject });
                }
                Ok(_) => {}
                Err(error) => broken.push(error),
            }
        }
        Err(if broken.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(broken)) })
    }

    /// Every rule that applies to the user in `namespace`, and what went wrong on the way.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Option<String>) {
        let index = self.read();
        let (mut seen, mut found, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for (binding, _) in bindings(&index, user, namespace) {
            if seen.iter().any(|other| Arc::ptr_eq(other, binding)) {
                continue;
            }
            seen.push(Arc::clone(binding));
            match rules(&index, &binding.role_ref, &binding.namespace) {
                Ok(rules) => found.extend_from_slice(rules),
                Err(error) => broken.push(error),
            }
        }
        (found, (!broken.is_empty()).then(|| aggregate(broken)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The `rules` of a role. Objects were validated when they were written, so that what does not parse gives no rights.
#[must_use]
pub fn rules_of(role: &Object) -> Vec<Rule> {
    role.get("rules").and_then(|rules| Vec::<Rule>::deserialize(rules).ok()).unwrap_or_default()
}

/// By which of the user's names a binding applies.
enum Match<'a> {
    User,
    Group(&'a str),
}

fn bindings<'a>(
    index: &'a Index,
    user: &'a UserInfo,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Arc<Binding>, Match<'a>)> {
    let scopes = [Some(""), Some(namespace).filter(|namespace| !namespace.is_empty())];
    scopes.into_iter().flatten().filter_map(|scope| index.get(scope)).flat_map(move |scope| {
        let by_name = scope.users.get(&user.username).into_iter().flatten().map(|binding| (binding, Match::User));
        let by_group = user.groups.iter().flat_map(|group| {
            scope.groups.get(group).into_iter().flatten().map(move |binding| (binding, Match::Group(group)))
        });
        by_name.chain(by_group)
    })
}

fn rules<'a>(index: &'a Index, reference: &RoleRef, namespace: &str) -> Result<&'a Arc<[Rule]>, String> {
    let (scope, resource) = match reference.kind.as_str() {
        "ClusterRole" => ("", "clusterrole"),
        "Role" => (namespace, "role"),
        other => return Err(format!("unsupported role reference kind: {other:?}")),
    };
    let missing = || format!("{resource}.{GROUP} {:?} not found", reference.name);
    index.get(scope).and_then(|scope| scope.roles.get(&reference.name)).ok_or_else(missing)
}

/// Go's `NewAggregate`: one error stands alone, several stand in brackets, equal ones once.
fn aggregate(mut errors: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    match errors.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

impl Binding {
    fn parse(namespace: &str, name: &str, object: &Object) -> Option<Self> {
        let part = |key: &str| object.get(key).cloned().unwrap_or(Value::Null);
        let role_ref = RoleRef::deserialize(part("roleRef")).ok()?;
        let subjects = Option::<Vec<Subject>>::deserialize(part("subjects")).ok()?.unwrap_or_default();
        Some(Self { namespace: namespace.into(), name: name.into(), role_ref, subjects })
    }

    /// The user name of a service account subject; without a namespace of its own it is meant in the binding's.
    fn service_account(&self, subject: &Subject) -> Option<String> {
        let namespace = Some(&subject.namespace).filter(|namespace| !namespace.is_empty()).unwrap_or(&self.namespace);
        let found = subject.kind == "ServiceAccount" && !namespace.is_empty();
        found.then(|| format!("system:serviceaccount:{namespace}:{}", subject.name))
    }

    fn users(&self) -> impl Iterator<Item = String> {
        self.subjects.iter().filter_map(|subject| match subject.kind.as_str() {
            "User" => Some(subject.name.clone()),
            _ => self.service_account(subject),
        })
    }

    fn groups(&self) -> impl Iterator<Item = &String> {
        self.subjects.iter().filter(|subject| subject.kind == "Group").map(|subject| &subject.name)
    }

    fn describe(&self, username: &str, matched: &Match<'_>) -> String {
        if let Match::Group(group) = matched {
            return format!("Group {group:?}");
        }
        let account = self.subjects.iter().find_map(|subject| {
            (self.service_account(subject)? == username).then(|| {
                let namespace = if subject.namespace.is_empty() { &self.namespace } else { &subject.namespace };
                format!("ServiceAccount {:?}", format!("{}/{namespace}", subject.name))
            })
        });
        account.unwrap_or_else(|| format!("User {username:?}"))
    }
}

impl Scope {
    fn add(&mut self, binding: Arc<Binding>) {
        for user in binding.users() {
            self.users.entry(user).or_default().push(Arc::clone(&binding));
        }
        for group in binding.groups() {
            self.groups.entry(group.clone()).or_default().push(Arc::clone(&binding));
        }
        self.bindings.insert(binding.name.clone(), binding);
    }

    fn forget(&mut self, name: &str) {
        let Some(binding) = self.bindings.remove(name) else { return };
        for user in binding.users() {
            remove(&mut self.users, &user, &binding);
        }
        for group in binding.groups() {
            remove(&mut self.groups, group, &binding);
        }
    }
}

fn remove(map: &mut HashMap<String, Vec<Arc<Binding>>>, subject: &str, binding: &Arc<Binding>) {
    if let Some(list) = map.get_mut(subject) {
        list.retain(|other| !Arc::ptr_eq(other, binding));
        if list.is_empty() {
            map.remove(subject);
        }
    }
}

#[cfg(test)]
mod tests;

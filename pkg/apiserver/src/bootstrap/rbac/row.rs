//! The notation of the tables: lists are words separated by spaces, `core` is the core group.

use crate::authz::rbac;

/// One role, cluster-wide or of a namespace.
#[derive(Debug)]
pub(in crate::bootstrap) struct Role {
    pub(in crate::bootstrap) name: &'static str,
    /// Gathers its rules from the roles that carry the label `rbac.authorization.k8s.io/aggregate-to-NAME`.
    pub(in crate::bootstrap) gathers: bool,
    /// The label by which its rules are gathered.
    pub(in crate::bootstrap) part_of: Option<&'static str>,
    pub(in crate::bootstrap) rules: &'static [Rule],
}

/// One rule.
#[derive(Debug)]
pub(in crate::bootstrap) struct Rule {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

/// Verbs.
pub(super) const READ: &str = "get list watch";
/// Verbs.
pub(super) const FOLLOW: &str = "list watch";
/// Verbs.
pub(super) const WRITE: &str = "create delete deletecollection patch update";
/// Verbs.
pub(super) const ALL: &str = "create delete deletecollection get list patch update watch";
/// What everybody needs who records events.
pub(super) const EVENTS: Rule = on("create patch update", "core events.k8s.io", "events");

/// A role with rules of its own.
pub(super) const fn role(name: &'static str, rules: &'static [Rule]) -> Role {
    Role { name, gathers: false, part_of: None, rules }
}

/// A role that gathers those labelled `aggregate-to-NAME`, and may itself be gathered.
pub(super) const fn aggregate(name: &'static str, part_of: Option<&'static str>) -> Role {
    Role { name, gathers: true, part_of, rules: &[] }
}

/// A role whose rules are gathered by the label.
pub(super) const fn part(name: &'static str, label: &'static str, rules: &'static [Rule]) -> Role {
    Role { name, gathers: false, part_of: Some(label), rules }
}

/// Verbs on resources of groups.
pub(super) const fn on(verbs: &'static str, groups: &'static str, resources: &'static str) -> Rule {
    named(verbs, groups, resources, "")
}

/// Verbs on resources of these names.
pub(super) const fn named(
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
) -> Rule {
    Rule { verbs, groups, resources, names, urls: "" }
}

/// Verbs on paths that are no resources.
pub(super) const fn urls(verbs: &'static str, urls: &'static str) -> Rule {
    Rule { verbs, groups: "", resources: "", names: "", urls }
}

impl Rule {
    /// The rule as the API has it.
    pub(in crate::bootstrap) fn expand(&self) -> rbac::Rule {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let group = |word: &str| if word == "core" { String::new() } else { word.to_owned() };
        rbac::Rule {
            verbs: words(self.verbs),
            api_groups: self.groups.split_whitespace().map(group).collect(),
            resources: words(self.resources),
            resource_names: words(self.names),
            non_resource_urls: words(self.urls),
        }
    }
}

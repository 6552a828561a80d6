//! `rbac.authorization.k8s.io`.

use crate::Object;
use crate::strategy::NameRule;
use crate::strategy::fill::Fill::{self, Each, Make, With, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::Row;
use crate::tree::Tree;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Roles and ClusterRoles.
pub(super) static ROLE: Row = Row { name: NameRule::PathSegment, create_on_update: true, ..Row::PLAIN };

const BINDING: &[Fill] =
    &[Make("roleRef", &[Zero("apiGroup", Text(GROUP))]), Each(&["subjects"], &[With(subject_group)])];

/// RoleBindings and ClusterRoleBindings.
pub(super) static ROLE_BINDING: Row =
    Row { fills: BINDING, name: NameRule::PathSegment, create_on_update: true, ..Row::PLAIN };

fn subject_group(subject: &mut Object) {
    if subject.text("apiGroup").is_empty() && matches!(subject.text("kind"), "User" | "Group") {
        subject.insert("apiGroup".into(), GROUP.into());
    }
}

//! The objects that every cluster has from its first start on.

pub mod rbac;

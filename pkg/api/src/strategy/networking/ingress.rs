//! Ingresses and IngressClasses.

use crate::strategy::fill::Fill::{Absent, In, Make};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::{Row, SPEC};

/// Ingresses.
pub(in crate::strategy) static INGRESS: Row =
    Row { fills: &[Make("status", &[Make("loadBalancer", &[])])], generation: SPEC, ..Row::PLAIN };

/// IngressClasses.
pub(in crate::strategy) static INGRESS_CLASS: Row = Row {
    fills: &[In(&["spec"], &[In(&["parameters"], &[Absent("scope", Text("Cluster"))])])],
    generation: SPEC,
    ..Row::PLAIN
};

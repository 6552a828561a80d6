//! EndpointSlices.

use super::fill::Fill::{Absent, Drop, Each};
use super::fill::Fixed::Text;
use super::row::Row;
use crate::Object;
use crate::tree::{Tree, same};

/// EndpointSlices.
pub(super) static ENDPOINT_SLICE: Row = Row {
    fills: &[
        Drop(&["endpoints", "ports"]),
        Each(&["ports"], &[Absent("name", Text("")), Absent("protocol", Text("TCP"))]),
        Each(&["endpoints"], &[Drop(&["deprecatedTopology"])]),
    ],
    generation: Some(changed),
    ..Row::PLAIN
};

/// Everything counts but metadata, and of metadata the labels.
fn changed(new: &Object, old: &Object) -> bool {
    ["addressType", "endpoints", "ports", "metadata.labels"].iter().any(|path| !same(new.value(path), old.value(path)))
}

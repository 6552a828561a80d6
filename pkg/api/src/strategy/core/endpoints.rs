//! Endpoints and Events.

use crate::strategy::fill::Fill::{Drop, Each, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::Row;

/// Endpoints.
pub(in crate::strategy) static ENDPOINTS: Row = Row {
    fills: &[
        Drop(&["subsets"]),
        Each(
            &["subsets"],
            &[Drop(&["addresses", "notReadyAddresses"]), Each(&["ports"], &[Zero("protocol", Text("TCP"))])],
        ),
    ],
    create_on_update: true,
    ..Row::PLAIN
};

/// Events.
pub(in crate::strategy) static EVENT: Row = Row { create_on_update: true, ..Row::PLAIN };

//! `metallb.io`, with the rules of MetalLB's own webhooks.

use super::fill::Fill::{Absent, Make};
use super::fill::Fixed::Flag;
use super::row::{Row, SPEC};

/// IPAddressPools.
pub(super) static ADDRESS_POOL: Row = Row {
    fills: &[Make("spec", &[Absent("autoAssign", Flag(true)), Absent("avoidBuggyIPs", Flag(false))])],
    generation: SPEC,
    needs_revision: true,
    ..Row::PLAIN
};

/// L2Advertisements.
pub(super) static L2_ADVERTISEMENT: Row =
    Row { fills: &[Make("spec", &[])], generation: SPEC, needs_revision: true, ..Row::PLAIN };

//! IPAddresses and ServiceCIDRs.

use crate::strategy::NameRule;
use crate::strategy::row::{METADATA, Row};

/// IPAddresses.
pub(in crate::strategy) static IP_ADDRESS: Row = Row { name: NameRule::IpAddress, ..Row::PLAIN };

/// ServiceCIDRs.
pub(in crate::strategy) static SERVICE_CIDR: Row = Row { status_restores: METADATA, ..Row::PLAIN };

//! `resource.k8s.io`: dynamic resource allocation.

use super::fill::Fill::{self, Drop, Each, In, Make, With, Zero};
use super::fill::Fixed::Text;
use super::row::{METADATA, Row, SPEC};
use crate::Object;
use crate::tree::Tree;

const REQUEST: &[Fill] = &[Zero("allocationMode", Text("ExactCount")), With(one), Drop(&["adminAccess"])];
const DEVICES: &[Fill] =
    &[In(&["devices"], &[Each(&["requests"], &[In(&["exactly"], REQUEST), Each(&["firstAvailable"], REQUEST)])])];

fn one(request: &mut Object) {
    if request.text("allocationMode") == "ExactCount" && request.number("count") == 0 {
        request.insert("count".into(), 1.into());
    }
}

/// ResourceClaims.
pub(super) static CLAIM: Row =
    Row { fills: &[Make("spec", DEVICES)], immutable: &["spec"], status_restores: METADATA, ..Row::PLAIN };

/// ResourceClaimTemplates.
pub(super) static CLAIM_TEMPLATE: Row =
    Row { fills: &[Make("spec", &[Make("spec", DEVICES)])], immutable: &["spec"], ..Row::PLAIN };

/// DeviceClasses, ResourceSlices and DeviceTaintRules.
pub(super) static COUNTED: Row = Row { generation: SPEC, status_restores: METADATA, ..Row::PLAIN };

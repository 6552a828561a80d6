//! The kinds of `metallb.io/v1beta1` (<https://metallb.io/apis/>), as far as they are read here.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize};

/// The namespace of MetalLB's objects; those in others are not read.
pub(crate) const NAMESPACE: &str = "metallb-system";

/// Addresses that Services may get.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IPAddressPool {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// The addresses and who may have them.
    pub spec: IPAddressPoolSpec,
}

/// `spec` of an [`IPAddressPool`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressPoolSpec {
    /// Prefixes, and ranges `first-last`.
    pub addresses: Vec<String>,
    /// Whether Services that do not name the pool get its addresses.
    pub auto_assign: bool,
    /// Whether addresses that end in 0 or 255 are left out.
    #[serde(rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// Which Services may have the addresses; `None` means all.
    pub service_allocation: Option<ServiceAllocation>,
}

impl Default for IPAddressPoolSpec {
    fn default() -> Self {
        Self { addresses: Vec::new(), auto_assign: true, avoid_buggy_ips: false, service_allocation: None }
    }
}

/// Ties a pool to certain Services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAllocation {
    /// Pools of a lower number come first; 0 comes last.
    pub priority: u32,
    /// Names of namespaces.
    pub namespaces: Vec<String>,
    /// Namespaces by their labels.
    pub namespace_selectors: Vec<LabelSelector>,
    /// Services by their labels.
    pub service_selectors: Vec<LabelSelector>,
}

/// Says that the addresses of pools are announced on the LAN.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct L2Advertisement {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What is announced where.
    pub spec: L2AdvertisementSpec,
}

/// `spec` of an [`L2Advertisement`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct L2AdvertisementSpec {
    /// Names of pools.
    #[serde(rename = "ipAddressPools")]
    pub ip_address_pools: Vec<String>,
    /// Pools by their labels. If no pool is named or selected, all are meant.
    #[serde(rename = "ipAddressPoolSelectors")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Nodes that may announce; none means all.
    pub node_selectors: Vec<LabelSelector>,
    /// Links to announce on; none means all.
    pub interfaces: Vec<String>,
}

macro_rules! resource {
    ($kind:ident, $plural:literal) => {
        impl Resource for $kind {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }
            fn group((): &()) -> Cow<'_, str> {
                "metallb.io".into()
            }
            fn version((): &()) -> Cow<'_, str> {
                "v1beta1".into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(IPAddressPool, "ipaddresspools");
resource!(L2Advertisement, "l2advertisements");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_read_as_users_write_them() {
        let pool: IPAddressPool = serde_json::from_value(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "p"},
            "spec": {"addresses": ["192.0.2.0/28"], "avoidBuggyIPs": true, "serviceAllocation": {"priority": 50}},
        }))
        .unwrap();
        assert!(pool.spec.auto_assign && pool.spec.avoid_buggy_ips);
        assert_eq!(pool.spec.service_allocation.unwrap().priority, 50);
        let advertisement: L2Advertisement = serde_json::from_value(json!({
            "metadata": {"name": "a"}, "spec": {"ipAddressPools": ["p"], "interfaces": ["eth0"]},
        }))
        .unwrap();
        assert_eq!(advertisement.spec.ip_address_pools, ["p"]);
        assert_eq!(IPAddressPool::url_path(&(), Some("x")), "/apis/metallb.io/v1beta1/namespaces/x/ipaddresspools");
    }
}

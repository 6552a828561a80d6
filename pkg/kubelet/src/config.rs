//! What a kubelet is told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Taint;

use crate::cgroup::Driver;
use crate::containerd::Starter;

/// The settings of one node. Everything has a meaning; what a flag leaves out, the caller defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name in the API. It is kept from the node's first start: see [`crate::node::name`].
    pub node_name: String,
    /// What the host calls itself.
    pub hostname: String,
    /// The node's addresses, the primary first; at most one per family.
    pub node_ips: Vec<IpAddr>,
    /// Labels of the node (`--node-labels`).
    pub labels: BTreeMap<String, String>,
    /// Taints that the node is registered with (`--register-with-taints`).
    pub taints: Vec<Taint>,
    /// Persistent state.
    pub data: PathBuf,
    /// State that a reboot may wipe; sockets. At most 80 bytes long.
    pub run: PathBuf,
    /// Archives of images to import at start.
    pub images: PathBuf,
    /// Where the CNI programs are.
    pub cni_bin: PathBuf,
    /// Where the CNI configuration appears; until then the node is not ready.
    pub cni_conf: PathBuf,
    /// The sandbox image's name, and the archive that contains it.
    pub sandbox_image: (String, &'static [u8]),
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// For example `cluster.local`.
    pub cluster_domain: String,
    /// How the node resolves names: `/etc/resolv.conf`, or what systemd-resolved forwards to.
    pub resolv_conf: PathBuf,
    /// Who makes the cgroups of pods.
    pub cgroup_driver: Driver,
    /// Where they begin: `/`, or for example `/lab/node-1` where several nodes share a machine.
    pub cgroup_root: String,
    /// Who starts containerd.
    pub starter: Starter,
    /// Further names of the runtime, for RuntimeClasses.
    pub runtime_handlers: Vec<String>,
    /// How many pods the node takes (`--max-pods`).
    pub max_pods: u32,
    /// Processes and threads that one pod may have (`--pod-max-pids`).
    pub pod_pids: Option<i64>,
    /// Where logs, exec and port-forward are served: 10250.
    pub port: u16,
    /// The version in `status.nodeInfo`, for example `v1.35.4+knarr1`.
    pub version: String,
}

impl Config {
    /// Where each pod has its directory.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }

    /// Where the logs of pods are: `NAMESPACE_NAME_UID/CONTAINER/N.log` below it.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// containerd's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config(directory: &std::path::Path) -> Config {
        Config {
            node_name: "edge-1".into(),
            hostname: "edge-1".into(),
            node_ips: vec![[192, 0, 2, 1].into()],
            labels: BTreeMap::new(),
            taints: Vec::new(),
            data: directory.join("data"),
            run: directory.join("run"),
            images: directory.join("images"),
            cni_bin: directory.join("cni/bin"),
            cni_conf: directory.join("cni/conf"),
            sandbox_image: ("registry.k8s.io/pause:3.10.1".into(), b""),
            cluster_dns: vec![[10, 43, 0, 10].into()],
            cluster_domain: "cluster.local".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            cgroup_driver: Driver::Cgroupfs,
            cgroup_root: "/".into(),
            starter: Starter::Detached { cgroup: "containerd".into() },
            runtime_handlers: Vec::new(),
            max_pods: 110,
            pod_pids: None,
            port: 10250,
            version: "v1.35.4+knarr".into(),
        }
    }
}

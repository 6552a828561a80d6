//! Where the things of a pod are on disk.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::pod::PodExt as _;

/// A pod and the directory below which all pods are.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) pods: &'a Path,
    pub(crate) pod: &'a Pod,
}

impl Place<'_> {
    pub(crate) fn directory(&self) -> PathBuf {
        self.pods.join(self.pod.uid())
    }

    pub(crate) fn volume(&self, kind: &str, name: &str) -> PathBuf {
        self.directory().join("volumes").join(format!("kubernetes.io~{kind}")).join(name)
    }

    /// The hosts file of the pod's containers.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.directory().join("etc-hosts")
    }

    /// The file that becomes a container's termination message; a new one for each start.
    pub(crate) fn message(&self, container: &str, restarts: u32) -> PathBuf {
        self.directory().join("containers").join(container).join(restarts.to_string())
    }

    /// Where a part of a volume is bound for one mount of a container.
    pub(crate) fn subpath(&self, volume: &str, container: &str, index: usize) -> PathBuf {
        self.directory().join("volume-subpaths").join(volume).join(container).join(index.to_string())
    }
}

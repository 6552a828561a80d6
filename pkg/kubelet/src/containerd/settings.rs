//! containerd's configuration.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// What differs from node to node; the rest is the same everywhere.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Persistent data: images, snapshots, metadata.
    pub root: PathBuf,
    /// What a reboot may wipe.
    pub state: PathBuf,
    /// The socket of all its services; at most 100 bytes long.
    pub socket: PathBuf,
    /// The image of every sandbox.
    pub sandbox_image: String,
    /// Where the CNI programs are.
    pub cni_bin: PathBuf,
    /// Where the CNI configuration appears.
    pub cni_conf: PathBuf,
    /// `certs.d`-style registry configuration: mirrors and their CAs.
    pub registries: PathBuf,
    /// Whether systemd manages the cgroups.
    pub systemd_cgroup: bool,
    /// Clamp negative `oom_score_adj`, for a root that may not lower it.
    pub restrict_oom_score_adj: bool,
    /// `overlayfs`, or `native` where the data directory cannot carry overlays.
    pub snapshotter: &'static str,
    /// Further names of the runtime `runc`, for RuntimeClasses.
    pub handlers: Vec<String>,
}

/// Needed by nothing that CRI does; each costs memory, start time, or a directory outside of ours.
const DISABLED: &[&str] = &[
    "io.containerd.grpc.v1.transfer",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.monitor.container.v1.restart",
    "io.containerd.monitor.v1.cgroups",
    "io.containerd.nri.v1.nri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
];

impl Settings {
    /// The configuration as TOML: version 2, which 1.6 and 1.7 read and 2.x converts.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { sandbox_image, systemd_cgroup, restrict_oom_score_adj, snapshotter, .. } = self;
        let [root, state, socket] = [&self.root, &self.state, &self.socket].map(|path| quote(path));
        let [cni_bin, cni_conf, registries] = [&self.cni_bin, &self.cni_conf, &self.registries].map(|path| quote(path));
        let disabled: Vec<String> = DISABLED.iter().map(|name| format!("  \"{name}\",\n")).collect();
        let disabled = disabled.concat();
        let handlers: String = std::iter::once("runc")
            .chain(self.handlers.iter().map(String::as_str))
            .map(|name| {
                format!(
                    "[{CRI}.containerd.runtimes.\"{name}\"]\n\
                     runtime_type = \"io.containerd.runc.v2\"\n\
                     [{CRI}.containerd.runtimes.\"{name}\".options]\n\
                     SystemdCgroup = {systemd_cgroup}\n"
                )
            })
            .collect();
        format!(
            "# Made by knarr at every start; the file's name contains the hash of this content.\n\
             version = 2\n\
             root = {root}\n\
             state = {state}\n\
             disabled_plugins = [\n{disabled}]\n\
             [grpc]\n\
             address = {socket}\n\
             [debug]\n\
             level = \"warn\"\n\
             [{CRI}]\n\
             sandbox_image = \"{sandbox_image}\"\n\
             restrict_oom_score_adj = {restrict_oom_score_adj}\n\
             enable_unprivileged_ports = true\n\
             enable_unprivileged_icmp = true\n\
             netns_mounts_under_state_dir = true\n\
             max_concurrent_downloads = 3\n\
             [{CRI}.cni]\n\
             bin_dir = {cni_bin}\n\
             conf_dir = {cni_conf}\n\
             [{CRI}.registry]\n\
             config_path = {registries}\n\
             [{CRI}.containerd]\n\
             snapshotter = \"{snapshotter}\"\n\
             default_runtime_name = \"runc\"\n\
             {handlers}"
        )
    }

    /// Where the configuration is written: its name tells its content.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let hash: String = Sha256::digest(self.render()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.root.join(format!("config-{hash}.toml"))
    }
}

const CRI: &str = "plugins.\"io.containerd.grpc.v1.cri\"";

/// A path as a TOML string. Ours are UTF-8; JSON's escapes are a subset of TOML's.
fn quote(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy().into_owned()).to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings(directory: &Path) -> Settings {
        Settings {
            root: directory.join("root"),
            state: directory.join("state"),
            socket: directory.join("containerd.sock"),
            sandbox_image: "registry.k8s.io/pause:3.10.1".into(),
            cni_bin: directory.join("cni/bin"),
            cni_conf: directory.join("cni/conf"),
            registries: directory.join("registries"),
            systemd_cgroup: false,
            restrict_oom_score_adj: true,
            snapshotter: "overlayfs",
            handlers: vec!["test-handler".into()],
        }
    }

    #[test]
    fn the_name_follows_the_content() {
        let one = settings(Path::new("/data"));
        let mut other = one.clone();
        assert_eq!(one.path(), other.path());
        other.systemd_cgroup = true;
        assert_ne!(one.path(), other.path());
    }

    #[test]
    fn what_the_node_needs_is_in_it() {
        let text = settings(Path::new("/data with \"quotes\"")).render();
        for line in [
            r#"root = "/data with \"quotes\"/root""#,
            r#"sandbox_image = "registry.k8s.io/pause:3.10.1""#,
            "restrict_oom_score_adj = true",
            r#"[plugins."io.containerd.grpc.v1.cri".containerd.runtimes."test-handler"]"#,
        ] {
            assert!(text.lines().any(|present| present == line), "{line} is not in:\n{text}");
        }
    }
}

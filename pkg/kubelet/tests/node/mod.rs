#![allow(dead_code, reason = "each test uses a part of it")]
//! A node that vanishes whole: the test runs itself again in mount, pid and network namespaces of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use knarr_kubelet::cgroup::{Cgroups, Driver};
use knarr_kubelet::containerd::Settings;

/// Longer than any test takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(120);
const INSIDE: &str = "KNARR_TEST_NODE";

/// The directories of one throw-away node.
pub(crate) struct Node {
    pub(crate) directory: PathBuf,
    pub(crate) cgroup_root: String,
}

/// Runs `test` inside a new node; needs root, containerd and runc. Everything it started ends with it.
pub(crate) fn on_a_node(name: &str, test: impl AsyncFnOnce(Node)) {
    if let Ok(directory) = std::env::var(INSIDE) {
        // Shim sockets have a fixed place below /run; this node's are its own.
        let run = Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]).status().unwrap();
        assert!(run.success());
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        let directory = PathBuf::from(directory);
        let cgroup_root = cgroup_root(&directory);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let test = test(Node { directory, cgroup_root });
        let done = runtime.block_on(async { tokio::time::timeout(LIMIT, test).await });
        assert!(done.is_ok(), "still running after {LIMIT:?}");
        return;
    }
    let directory = tempfile::Builder::new().prefix("knarr-kubelet-").tempdir().unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, directory.path())
        .status()
        .expect("unshare (util-linux) runs");
    // The pid namespace has taken every process with it; what is left is in the cgroup file systems.
    remove_cgroups(&cgroup_root(directory.path()));
    assert!(status.success(), "the test failed inside its node: {status}");
}

fn cgroup_root(directory: &Path) -> String {
    format!("/{}", directory.file_name().unwrap().to_str().unwrap())
}

fn remove_cgroups(root: &str) {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        remove_below(&hierarchy.path().join(root.trim_start_matches('/')));
    }
    remove_below(&Path::new("/sys/fs/cgroup").join(root.trim_start_matches('/')));
}

fn remove_below(group: &Path) {
    let Ok(entries) = std::fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_below(&entry.path());
    }
    // The last process may take a moment to leave.
    for _ in 0..100 {
        if std::fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} cannot be removed", group.display());
}

impl Node {
    pub(crate) fn cgroups(&self) -> Cgroups {
        Cgroups::detect(Driver::Cgroupfs, &self.cgroup_root).unwrap()
    }

    pub(crate) fn settings(&self, restrict_oom_score_adj: bool, snapshotter: &'static str) -> Settings {
        let part = |name: &str| self.directory.join(name);
        Settings {
            root: part("containerd"),
            state: part("run/containerd"),
            socket: part("run/containerd.sock"),
            sandbox_image: knarr_images::PAUSE_NAME.into(),
            cni_bin: part("cni/bin"),
            cni_conf: part("cni/conf"),
            registries: part("registries"),
            systemd_cgroup: false,
            restrict_oom_score_adj,
            snapshotter,
            handlers: Vec::new(),
        }
    }

    /// Puts the smallest pod network in place.
    pub(crate) fn pod_network(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let (bin, conf) = (self.directory.join("cni/bin"), self.directory.join("cni/conf"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(&conf).unwrap();
        for name in ["loopback", "veth"] {
            std::fs::write(bin.join(name), include_str!("cni.sh")).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let list = r#"{"cniVersion":"0.4.0","name":"test","plugins":[{"type":"veth"}]}"#;
        std::fs::write(conf.join("10-test.conflist"), list).unwrap();
    }
}

//! The cgroups of pods: one tree of our own below a configurable root, in cgroup v1 and v2, with either driver.
//!
//! The tree is upstream's: `ROOT/kubepods/podUID` for guaranteed pods, `ROOT/kubepods/burstable/podUID` and
//! `ROOT/kubepods/besteffort/podUID` for the others, so that tools that look for it find it
//! (<https://kubernetes.io/docs/concepts/architecture/cgroups/>).

mod files;
mod mounts;
mod name;
mod systemd;

use std::collections::BTreeSet;
use std::io;

pub use name::Qos;

pub(crate) use files::PERIOD;
use files::Tree;
use name::Name;

/// The group of all pods.
const PODS: &str = "kubepods";

/// Who makes the cgroups of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// We do, by writing to the cgroup file system.
    Cgroupfs,
    /// systemd does, as slices.
    Systemd,
}

/// What a cgroup may use. `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In v1's unit; v2's weight is derived from it.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period of 100 ms.
    pub cpu_quota: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Number of processes and threads.
    pub pids: Option<i64>,
}

/// The slice that holds all pods where systemd makes the cgroups below `root`: its name, and its path below a mount.
#[must_use]
pub fn slice_of_pods(root: &str) -> (String, String) {
    let pods = Name::parse(root).child(PODS);
    (pods.slice(), pods.slice_path())
}

/// This node's part of the host's cgroups.
#[derive(Clone, Debug)]
pub struct Cgroups {
    driver: Driver,
    root: Name,
    tree: Tree,
}

impl Cgroups {
    /// Looks at what is mounted. `root` is where our tree begins, `/` or for example `/lab/node-1`.
    ///
    /// # Errors
    /// When no cgroup file system is mounted.
    pub fn detect(driver: Driver, root: &str) -> io::Result<Self> {
        let tree = mounts::detect(&std::fs::read_to_string("/proc/self/mountinfo")?)
            .ok_or_else(|| io::Error::other("no cgroup file system is mounted at /sys/fs/cgroup"))?;
        Ok(Self { driver, root: Name::parse(root), tree })
    }

    /// The driver in use.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// Whether this is v2: one hierarchy for everything.
    #[must_use]
    pub fn unified(&self) -> bool {
        self.tree.unified()
    }

    /// Whether what pods may swap can be limited, once [`Cgroups::make_base`] has made their group.
    #[must_use]
    pub fn limits_swap(&self) -> bool {
        self.tree.limits_swap(&self.directory(&self.pods()))
    }

    /// Puts a process of our own into `ROOT/name` in every hierarchy.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn place(&self, name: &str, pid: u32) -> io::Result<()> {
        self.tree.place(&self.root.child(name).path(), pid)
    }

    /// Makes `kubepods` and the groups of the two lower classes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn make_base(&self, cpu_shares: u64) -> io::Result<()> {
        self.make(&self.pods(), &Limits { cpu_shares: Some(cpu_shares), ..Limits::default() }).await?;
        for qos in [Qos::Burstable, Qos::BestEffort] {
            self.make(&qos.below(&self.pods()), &Limits { cpu_shares: Some(2), ..Limits::default() }).await?;
        }
        Ok(())
    }

    /// Sets the CPU shares that all burstable pods have together.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_burstable(&self, cpu_shares: u64) -> io::Result<()> {
        let limits = Limits { cpu_shares: Some(cpu_shares), ..Limits::default() };
        self.make(&Qos::Burstable.below(&self.pods()), &limits).await
    }

    /// What CRI calls `cgroup_parent` for a pod.
    #[must_use]
    pub fn pod_parent(&self, qos: Qos, uid: &str) -> String {
        let name = self.pod(qos, uid);
        match self.driver {
            Driver::Cgroupfs => name.path(),
            Driver::Systemd => name.slice(),
        }
    }

    /// Makes a pod's group, or changes its limits.
    ///
    /// # Errors
    /// When the kernel or systemd refuses.
    pub async fn make_pod(&self, qos: Qos, uid: &str, limits: &Limits) -> io::Result<()> {
        self.make(&self.pod(qos, uid), limits).await
    }

    /// Removes a pod's group of whatever class, in every hierarchy. An absent group is fine.
    ///
    /// # Errors
    /// When processes are left in it.
    pub async fn remove_pod(&self, uid: &str) -> io::Result<()> {
        for qos in Qos::ALL {
            let name = self.pod(qos, uid);
            match self.driver {
                Driver::Cgroupfs => self.tree.remove(&name.path())?,
                Driver::Systemd => {
                    if self.tree.exists(&name.slice_path()) {
                        systemd::stop_slice(&name.slice()).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The UIDs of all pods that have a group.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn pod_uids(&self) -> io::Result<BTreeSet<String>> {
        let mut uids = BTreeSet::new();
        for qos in Qos::ALL {
            let parent = qos.below(&self.pods());
            for child in self.tree.children(&self.directory(&parent))? {
                uids.extend(name::pod_uid(&child));
            }
        }
        Ok(uids)
    }

    fn pods(&self) -> Name {
        self.root.child(PODS)
    }

    fn pod(&self, qos: Qos, uid: &str) -> Name {
        qos.below(&self.pods()).child(&format!("pod{uid}"))
    }

    fn directory(&self, name: &Name) -> String {
        match self.driver {
            Driver::Cgroupfs => name.path(),
            Driver::Systemd => name.slice_path(),
        }
    }

    async fn make(&self, name: &Name, limits: &Limits) -> io::Result<()> {
        if self.driver == Driver::Systemd {
            return systemd::start_slice(&name.slice(), limits, self.tree.unified()).await;
        }
        self.tree.make(&name.path(), limits)
    }
}

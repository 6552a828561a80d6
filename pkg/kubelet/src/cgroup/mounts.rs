//! Which cgroup hierarchies this host mounts.

use std::path::PathBuf;

use super::files::{Hierarchy, Tree};

/// Reads `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`). With v1 controllers present, a `cgroup2` mount beside them
/// (hybrid) has none of its own, and is only kept clean.
pub(crate) fn detect(mountinfo: &str) -> Option<Tree> {
    let mut hierarchies = Vec::new();
    let mut unified = None;
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let Some(mount) = before.split(' ').nth(4).map(PathBuf::from) else { continue };
        if !mount.starts_with("/sys/fs/cgroup") {
            continue;
        }
        let mut fields = after.split(' ');
        match fields.next() {
            Some("cgroup2") if unified.is_none() => unified = Some(mount),
            Some("cgroup") => {
                let options = fields.nth(1).unwrap_or_default();
                let controllers = options.split(',').filter(|name| !["rw", "ro", "xattr"].contains(name));
                let controllers: Vec<String> = controllers.map(Into::into).collect();
                if !hierarchies.iter().any(|known: &Hierarchy| known.controllers == controllers) {
                    hierarchies.push(Hierarchy { mount, controllers });
                }
            }
            _ => {}
        }
    }
    let controls = hierarchies.iter().any(|hierarchy| hierarchy.has("memory") || hierarchy.has("cpu"));
    match (controls, unified) {
        (true, unified) => {
            hierarchies.extend(unified.map(|mount| Hierarchy { mount, controllers: Vec::new() }));
            Some(Tree::V1(hierarchies))
        }
        (false, Some(mount)) => Some(Tree::V2(mount)),
        (false, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_v2_and_hybrid_are_told_apart() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(matches!(detect(unified), Some(Tree::V2(mount)) if mount.ends_with("cgroup")));
        let hybrid = "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let Some(Tree::V1(hierarchies)) = detect(hybrid) else { panic!("not v1") };
        assert_eq!(hierarchies.len(), 3);
        assert!(hierarchies[0].has("cpuacct") && hierarchies[1].has("memory"));
        assert!(detect("22 1 254:0 / / rw - ext4 /dev/vda rw\n").is_none());
    }
}

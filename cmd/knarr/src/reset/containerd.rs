//! What containerd leaves outside of the directories that its configuration names, when it and its shims are killed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{entries, folders, read};

/// Where containerd's CNI library notes what it has set up. A killed sandbox's notes stay.
pub(super) const CNI_NOTES: &str = "/var/lib/cni/results";

/// Removes the sockets of killed shims, which are in a directory of all containerds (`/run/containerd/s`): the bundle of a
/// task holds the address of its shim.
pub(super) fn remove_shim_sockets(run_dir: &Path) -> Result<()> {
    let tasks = run_dir.join("containerd/io.containerd.runtime.v2.task");
    for namespace in folders(&tasks)? {
        for bundle in folders(&namespace)? {
            // A task that was never started has none.
            let Some(address) = read(&bundle.join("address"))? else { continue };
            let address = String::from_utf8(address).with_context(|| format!("{}: address", bundle.display()))?;
            remove_file(Path::new(address.trim().trim_start_matches("unix://")))?;
        }
    }
    Ok(())
}

/// Removes the notes on sandboxes whose network namespaces were below `run_dir`: `knarr-ID-eth0` and, as all runtimes have
/// that network, `cni-loopback-ID-lo`.
pub(super) fn remove_notes(notes: &Path, run_dir: &Path) -> Result<()> {
    let sandbox = format!("\"sandbox\":\"{}/", run_dir.display());
    for note in entries(notes)? {
        let name = note.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(id) = name.strip_prefix("knarr-").and_then(|rest| rest.strip_suffix("-eth0")) else { continue };
        if read(&note)?.is_some_and(|text| String::from_utf8_lossy(&text).contains(&sandbox)) {
            for path in [notes.join(format!("cni-loopback-{id}-lo")), note.clone()] {
                remove_file(&path)?;
            }
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shims_take_their_sockets_along() {
        let directory = tempfile::tempdir().unwrap();
        let (run, sockets) = (directory.path().join("run"), directory.path().join("s"));
        fs::create_dir(&sockets).unwrap();
        for (task, socket) in [("one", "a"), ("same-pod", "a"), ("two", "b")] {
            let bundle = run.join("containerd/io.containerd.runtime.v2.task/k8s.io").join(task);
            fs::create_dir_all(&bundle).unwrap();
            fs::write(bundle.join("address"), format!("unix://{}/{socket}", sockets.display())).unwrap();
        }
        for socket in ["a", "b", "of-another-containerd"] {
            fs::write(sockets.join(socket), "").unwrap();
        }
        remove_shim_sockets(&run).unwrap();
        assert_eq!(fs::read_dir(&sockets).unwrap().count(), 1);
        remove_shim_sockets(Path::new("/nowhere")).unwrap();
    }

    #[test]
    fn notes_of_other_nodes_stay() {
        let notes = tempfile::tempdir().unwrap();
        let note = |name: &str, sandbox: &str| {
            let text = format!(r#"{{"result":{{"interfaces":[{{"name":"eth0","sandbox":"{sandbox}"}}]}}}}"#);
            fs::write(notes.path().join(name), text).unwrap();
        };
        note("knarr-a1-eth0", "/run/knarr/netns/cni-1");
        note("cni-loopback-a1-lo", "");
        note("knarr-b2-eth0", "/run/knarr-lab/netns/cni-2");
        note("cni-loopback-b2-lo", "");
        note("bridge-c3-eth0", "/run/knarr/netns/cni-3");
        remove_notes(notes.path(), Path::new("/run/knarr")).unwrap();
        let left = fs::read_dir(notes.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["bridge-c3-eth0", "cni-loopback-b2-lo", "knarr-b2-eth0"]);
        remove_notes(&notes.path().join("absent"), Path::new("/run/knarr")).unwrap();
    }
}

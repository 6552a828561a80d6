//! What knarr and systemd tell each other, where systemd runs the node from the units in `systemd/`.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The unit that runs the data plane.
pub(crate) const DATAPLANE: &str = "knarr-dataplane.service";
/// The unit that runs containerd.
pub(crate) const CONTAINERD: &str = "knarr-containerd.service";
/// The unit that runs the server.
const SERVER: &str = "knarr.service";
/// Holds the units of knarr.
const SLICE: &str = "knarr.slice";
/// In the data directory of a node that systemd runs. It stays over a reboot, as the data plane's unit does.
const MARK: &str = "run-by-systemd";

/// Whether systemd started this very process. What a service's child finds in its environment, a runner of tests for
/// example, was meant for its parent: `systemd.exec(5)`, `$SYSTEMD_EXEC_PID`.
pub(crate) fn is_parent() -> bool {
    is_meant_for(std::env::var("SYSTEMD_EXEC_PID").ok().as_deref(), std::process::id())
}

fn is_meant_for(variable: Option<&str>, pid: u32) -> bool {
    variable.is_some_and(|meant| meant == pid.to_string())
}

/// Notes for [`stop_units`] and [`cgroup`] whether systemd runs the node of this directory.
pub(crate) fn mark(data_dir: &Path, under_systemd: bool) -> Result<()> {
    let path = data_dir.join(MARK);
    let noted = match (under_systemd, path.exists()) {
        (true, false) => fs::write(&path, ""),
        (false, true) => fs::remove_file(&path),
        _ => Ok(()),
    };
    noted.with_context(|| format!("cannot note in {} who runs this node", path.display()))
}

/// Tells systemd that the server serves (`sd_notify(3)`); nothing where nobody asked for it.
pub(crate) fn notify_ready() -> Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) => notify(&socket, b"READY=1").context("cannot tell systemd that the server is ready"),
        None => Ok(()),
    }
}

fn notify(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

/// The cgroup of the units that run the node of this directory, where there are any.
pub(crate) fn cgroup(data_dir: &Path) -> Option<&'static str> {
    data_dir.join(MARK).exists().then_some(SLICE)
}

/// Stops the units of the node of this directory, so that nothing starts its processes again. Pods go on, and so do their
/// shims.
pub(crate) fn stop_units(data_dir: &Path) -> Result<()> {
    if cgroup(data_dir).is_some() {
        // A server that still runs would start containerd again.
        systemctl(&["stop", SERVER])?;
        // What is in a slice goes with it, what waits for its next start too.
        systemctl(&["stop", SLICE])?;
    }
    Ok(())
}

/// Removes a slice with all in it, and waits until it is gone; quick when its processes have ended.
pub(crate) fn stop_slice(slice: &str) -> Result<()> {
    systemctl(&["stop", slice])
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("systemctl").args(arguments).output().context("cannot start systemctl")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`systemctl {}`: {}", arguments.join(" "), told.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_for_a_parent_is_not_for_us() {
        assert!(is_meant_for(Some("7"), 7));
        assert!(!is_meant_for(Some("7"), 8));
        assert!(!is_meant_for(None, 8));
    }

    #[test]
    fn readiness_reaches_sockets_of_both_kinds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("@knarr-test-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str()),
            (UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap(), OsStr::new(&name)),
        ];
        for (socket, address) in sockets {
            notify(address, b"READY=1").unwrap();
            let mut buffer = [0; 16];
            let count = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"READY=1");
        }
        assert!(notify(OsStr::new("/nowhere/notify"), b"READY=1").is_err());
    }
}

//! The first process of a node: it gives the node a private view of the directories that cannot be configured, and reaps.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// The launcher's subcommand that becomes the holder.
pub const COMMAND: &str = "hold";

/// Becomes the first process of a lab's node. Returns only on an error.
///
/// # Errors
/// When the private mounts cannot be made.
pub fn hold(name: &str) -> Result<()> {
    let run = Path::new("/run").join(name);
    // Whatever its configuration says, containerd's shims listen below /run/containerd, and its CNI library keeps its
    // results in /var/lib/cni.
    private_directory(&run.join("shims"), "/run/containerd")?;
    private_directory(&Path::new("/var/lib").join(name).join("cni-results"), "/var/lib/cni")?;
    private_resolvers(&run)?;
    fs::write(run.join("holder.ready"), "")?;
    reap()
}

fn private_directory(private: &Path, public: &str) -> Result<()> {
    fs::create_dir_all(private)?;
    fs::create_dir_all(public)?;
    mount(Some(private), public, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot mount a private {public}"))
}

/// The lab has no route to the machine's resolvers, so the node must not try them.
fn private_resolvers(run: &Path) -> Result<()> {
    let own = run.join("resolv.conf");
    fs::write(&own, format!("nameserver {}\n", super::LAN_ADDRESS))?;
    let target = fs::canonicalize("/etc/resolv.conf").context("cannot find /etc/resolv.conf")?;
    mount(Some(&own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .context("cannot mount a private /etc/resolv.conf")
}

fn reap() -> Result<()> {
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    ended.thread_block().context("cannot block SIGCHLD")?;
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot wait for processes"),
            }
        }
        ended.wait().context("cannot wait for SIGCHLD")?;
    }
}

/// Whether that process runs (is no zombie) and each of `words` is one of its arguments, or the last part of such a path.
pub(super) fn runs(pid: u32, words: &[&str]) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ends = |argument: &[u8]| argument.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    let ends: Vec<_> = arguments.split(|&byte| byte == 0).map(ends).collect();
    !matches!(state, None | Some('Z' | 'X')) && words.iter().all(|word| ends.iter().any(|end| end == word.as_bytes()))
}

/// The parent of a process; `None` when it has ended.
pub(super) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

/// The one child of a process.
pub(super) fn only_child(pid: u32) -> Result<u32, String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .map_err(|error| format!("process {pid} has ended: {error}"))?;
    children.trim().parse().map_err(|_| format!("process {pid} has the children {children:?}"))
}

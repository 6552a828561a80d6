//! Puts the plugin where containerd looks for it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::ipam::state_dir;
use crate::error::Doing;
use crate::{Cidr, Error, Result};

/// The name of the plugin and of the network.
const NAME: &str = "knarr";

/// containerd calls this plugin by itself for each sandbox.
const LOOPBACK: &str = "loopback";

/// The kernel reads at most 255 bytes of a script's first line (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 255;

/// What the plugin needs to know of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// knarr's data directory.
    pub data_dir: PathBuf,
    /// knarr's binary.
    pub binary: PathBuf,
    /// The ranges of this node's pods, at most one per family.
    pub subnets: Vec<Cidr>,
    /// The largest packet that leaves the node whole.
    pub mtu: u32,
}

/// Where containerd finds plugins (`bin_dir`).
#[must_use]
pub fn bin_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("cni").join("bin")
}

/// Where containerd finds networks (`conf_dir`). It takes a node for ready as soon as a network is here.
#[must_use]
pub fn conf_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("cni").join("conf")
}

fn conf_file(data_dir: &Path) -> PathBuf {
    conf_dir(data_dir).join("10-knarr.conflist")
}

/// Whether a network is there.
#[must_use]
pub fn is_installed(data_dir: &Path) -> bool {
    conf_file(data_dir).is_file()
}

/// Installs the plugin, then the network that names it. Files are replaced in one step, and only if they differ: containerd
/// loads its networks anew whenever a file changes.
///
/// # Errors
/// When a file cannot be written, or the binary's path cannot be the interpreter of a script.
pub fn install(install: &Install) -> Result<()> {
    let bin = bin_dir(&install.data_dir);
    let launcher = launcher(&install.binary)?;
    for plugin in [NAME, LOOPBACK] {
        write(&bin.join(plugin), &launcher, 0o755)?;
    }
    let state_dir = state_dir(&install.data_dir);
    let network = json!({
        "cniVersion": "1.0.0",
        "name": NAME,
        "plugins": [{
            "type": NAME,
            "capabilities": {"portMappings": true},
            "stateDir": state_dir,
            "subnets": install.subnets,
            "mtu": install.mtu,
        }],
    });
    write(&conf_file(&install.data_dir), &format!("{network:#}\n"), 0o644)
}

/// A script whose interpreter is knarr itself: the kernel executes `knarr cni /path/of/this/script`, without a shell.
fn launcher(binary: &Path) -> Result<String> {
    let path = binary.to_str().filter(|path| path.starts_with('/') && !path.contains(char::is_whitespace));
    let line = path.map(|path| format!("#!{path} cni\n")).filter(|line| line.len() <= FIRST_LINE);
    line.ok_or_else(|| {
        let binary = binary.display();
        Error::Config(format!("knarr's own path must be absolute, without blanks and below 250 bytes, not {binary}"))
    })
}

fn write(path: &Path, content: &str, mode: u32) -> Result<()> {
    let what = || format!("write {}", path.display());
    match std::fs::read(path) {
        Ok(present) if present == content.as_bytes() => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).doing(what),
        _ => {}
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).doing(what)?;
    }
    // containerd ignores files of this ending.
    let half = path.with_extension("new");
    std::fs::write(&half, content)
        .and_then(|()| std::fs::set_permissions(&half, std::fs::Permissions::from_mode(mode)))
        .and_then(|()| std::fs::rename(&half, path))
        .doing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_is_a_line_that_the_kernel_understands() {
        assert_eq!(launcher(Path::new("/usr/bin/knarr")).unwrap(), "#!/usr/bin/knarr cni\n");
        let long = format!("/{}", "x".repeat(300));
        for wrong in ["knarr", "/opt/my programs/knarr", long.as_str()] {
            assert!(launcher(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}

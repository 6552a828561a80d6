//! What this host allows containerd to do, found by trying.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Error;

/// The programs that are needed, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] =
    &[("containerd", "containerd"), ("containerd-shim-runc-v2", "containerd"), ("runc", "runc")];

/// Facts about the host that shape containerd's configuration.
#[derive(Clone, Debug)]
pub struct Host {
    /// The containerd program.
    pub containerd: PathBuf,
    /// Root may not lower `oom_score_adj`: without CAP_SYS_RESOURCE every sandbox would fail.
    pub restrict_oom_score_adj: bool,
    /// `overlayfs` or `native`.
    pub snapshotter: &'static str,
}

impl Host {
    /// Looks at the host. `data` is an existing directory on the file system that will carry the images.
    ///
    /// # Errors
    /// When programs are missing: one line that names them and how to get them.
    pub fn look(data: &Path) -> Result<Self, Error> {
        let path = search_path();
        let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| find(program, &path).is_none()).collect();
        if let (true, Some(containerd)) = (missing.is_empty(), find("containerd", &path)) {
            let snapshotter = if carries_overlays(data) { "overlayfs" } else { "native" };
            return Ok(Self { containerd, restrict_oom_score_adj: !may_lower_oom_score(), snapshotter });
        }
        let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        packages.dedup();
        Err(Error::Missing(missing.into_iter().map(|(program, _)| *program).collect(), packages))
    }
}

/// `PATH`, with the directories that a unit or a cron job's `PATH` may lack.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(if path.is_empty() { "" } else { ":" });
    path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

fn find(program: &str, path: &OsString) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(program)).find(|file| {
        std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// Tries on ourselves, and restores the value.
fn may_lower_oom_score() -> bool {
    const FILE: &str = "/proc/self/oom_score_adj";
    let Some(now) = std::fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return false;
    };
    if now <= -999 {
        return true;
    }
    let lowered = std::fs::write(FILE, "-999").is_ok();
    if lowered && std::fs::write(FILE, now.to_string()).is_err() {
        tracing::warn!("could not restore {FILE} to {now}");
    }
    lowered
}

/// Mounts a tiny overlay below `data` for a moment: overlays do not stack on every file system. Its directories stay, so
/// that a disk that has become full meanwhile gives the same answer.
fn carries_overlays(data: &Path) -> bool {
    let part = |name: &str| data.join(".overlay-probe").join(name);
    for name in ["lower", "upper", "work", "merged"] {
        if std::fs::create_dir_all(part(name)).is_err() {
            return false;
        }
    }
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| part(name).display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let merged = part("merged");
    if mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str())).is_err() {
        return false;
    }
    if let Err(error) = umount2(&merged, MntFlags::MNT_DETACH) {
        tracing::warn!("could not unmount {}: {error}", merged.display());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_are_programs() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tool");
        std::fs::write(&file, "").unwrap();
        let path = OsString::from(directory.path());
        assert_eq!(find("tool", &path), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("tool", &path), Some(file));
        assert_eq!(find("absent", &path), None);
    }

    #[test]
    fn missing_programs_are_one_line_with_the_remedy() {
        let text = Error::Missing(vec!["containerd", "runc"], vec!["containerd", "runc"]).to_string();
        assert_eq!(text, "not found in PATH: containerd, runc; on Debian and Ubuntu: apt-get install containerd runc");
    }
}

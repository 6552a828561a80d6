//! What is tested, as the machine's second disk: a tar archive of what a package would install, and the checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::checkout;
use crate::command::{output, run};
use crate::suite::beside;

/// Images that the node imports by itself, and the archive for the user's own containerd.
const NODE_IMAGES: &str = "var/lib/knarr/images";

/// Makes the archive below `scratch`.
pub(super) fn make(knarr: &Path, scratch: &Path) -> Result<PathBuf> {
    let stage = scratch.join("stage");
    let directory = |path: &str| -> Result<PathBuf> {
        let directory = stage.join(path);
        fs::create_dir_all(&directory)?;
        Ok(directory)
    };
    let bin = directory("usr/bin")?;
    for (program, name) in [(knarr, "knarr"), (&std::env::current_exe()?, "vm")] {
        let mut strip = Command::new("strip");
        output(strip.arg("--strip-debug").arg("-o").arg(bin.join(name)).arg(program))?;
    }
    let [kubectl, busybox] = [which("kubectl")?, which("busybox")?];
    fs::copy(kubectl, bin.join("kubectl"))?;
    output(Command::new(beside("images")?).arg(directory(NODE_IMAGES)?).arg("--busybox").arg(busybox))?;

    let (units, presets) = (directory("usr/lib/systemd/system")?, directory("usr/lib/systemd/system-preset")?);
    for entry in fs::read_dir(checkout("systemd"))? {
        let path = entry?.path();
        let target = if path.extension().is_some_and(|it| it == "preset") { &presets } else { &units };
        fs::copy(&path, target.join(path.file_name().context("a file without a name")?))?;
    }
    fs::copy(checkout("examples/hello.yaml"), directory("usr/share/knarr")?.join("hello.yaml"))?;
    output(Command::new("cp").arg("-r").arg(checkout("tests/vm/root/.")).arg(&stage))?;

    let archive = scratch.join("payload.tar");
    let top: Vec<_> = fs::read_dir(&stage)?.flatten().map(|entry| entry.file_name()).collect();
    // Not the directory itself: its mode would become the root directory's.
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--mode=u+rwX,go+rX,go-w", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&stage)
        .args(top);
    output(&mut tar)?;
    fs::remove_dir_all(stage)?;
    Ok(archive)
}

fn which(program: &str) -> Result<String> {
    let found = run("sh", &["-c", &format!("command -v {program}")]);
    Ok(found.with_context(|| format!("{program} is missing"))?.trim().to_owned())
}

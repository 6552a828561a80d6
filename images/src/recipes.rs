//! What goes into each image.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::{Error, Image, Layer, write_archive};

/// The sandbox image, under the name that upstream v1.35 uses, so that nothing is pulled where it exists already.
pub const PAUSE_NAME: &str = "registry.k8s.io/pause:3.10.1";

/// Names of the busybox image: what tests and examples call it.
pub const BUSYBOX_NAMES: &[&str] =
    &["docker.io/library/busybox:latest", "docker.io/library/busybox:1", "docker.io/library/busybox:1.37"];

/// A web server that serves `/www` on port 80 (busybox's httpd) until it is told to end, for the examples.
pub const WEB_NAME: &str = "knarr.io/examples/web:1";

const PAUSE: &[u8] = include_bytes!(env!("PAUSE"));

/// The pause image: one static program of a few KiB, as user 65535 like upstream's.
///
/// # Errors
/// None in practice: everything is in memory.
pub fn pause() -> Result<Image, Error> {
    let mut layer = Layer::new();
    layer.file("pause", 0o755, PAUSE)?;
    Ok(Image {
        names: vec![PAUSE_NAME.into()],
        layer: layer.finish()?,
        config: json!({"Entrypoint": ["/pause"], "Env": [SEARCH_PATH], "User": "65535:65535", "WorkingDir": "/"}),
    })
}

/// [`pause`] as an archive.
///
/// # Errors
/// None in practice: everything is in memory.
pub fn pause_archive() -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    write_archive(&[pause()?], &mut bytes)?;
    Ok(bytes)
}

/// An image of a static busybox, for example Debian's `/bin/busybox` of the package `busybox-static`, with every applet
/// linked into `/bin`.
///
/// # Errors
/// When `program` cannot be read or run, or is not static.
pub fn busybox(program: &Path, names: &[&str]) -> Result<Image, Error> {
    let layer = busybox_root(program)?.finish()?;
    Ok(Image {
        names: names.iter().map(|&name| name.into()).collect(),
        layer,
        config: json!({"Cmd": ["sh"], "Env": [SEARCH_PATH]}),
    })
}

/// The kernel keeps from a container's first process every signal that it has no handler for, and httpd has none: the shell
/// that started it ends instead, and the kernel then ends httpd.
const SERVE: &str = "trap 'exit 0' TERM INT; httpd -f -p 80 -h /www & wait $!";

/// The examples' web server: busybox's httpd on port 80.
///
/// # Errors
/// As [`busybox`].
pub fn web(program: &Path) -> Result<Image, Error> {
    let mut layer = busybox_root(program)?;
    layer.directory("www", 0o755)?.file("www/index.html", 0o644, b"knarr\n")?;
    Ok(Image {
        names: vec![WEB_NAME.into()],
        layer: layer.finish()?,
        config: json!({
            "Entrypoint": ["sh", "-c", SERVE],
            "Env": [SEARCH_PATH],
            "ExposedPorts": {"80/tcp": {}},
        }),
    })
}

const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

fn busybox_root(program: &Path) -> Result<Layer, Error> {
    let binary = static_program(program)?;
    let mut layer = Layer::new();
    for (path, mode) in [("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("root", 0o700)] {
        layer.directory(path, mode)?;
    }
    layer.directory("tmp", 0o1777)?.directory("usr", 0o755)?.directory("usr/bin", 0o755)?.directory("var", 0o755)?;
    layer.file("etc/passwd", 0o644, PASSWD.as_bytes())?.file("etc/group", 0o644, GROUP.as_bytes())?;
    layer.file("bin/busybox", 0o755, &binary)?;
    for applet in applets(program)? {
        layer.hard_link(&format!("bin/{applet}"), "bin/busybox")?;
    }
    layer.symlink("usr/bin/env", "/bin/env")?;
    Ok(layer)
}

fn applets(program: &Path) -> Result<Vec<String>, Error> {
    let failed = |cause: String| Error::Applets { program: program.display().to_string(), cause };
    let output = Command::new(program).arg("--list").output().map_err(|error| failed(error.to_string()))?;
    let list = String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))?;
    let mut applets: Vec<String> = list.lines().filter(|name| *name != "busybox").map(Into::into).collect();
    applets.sort_unstable();
    if applets.is_empty() { Err(failed("no applets".into())) } else { Ok(applets) }
}

/// Reads a program and makes sure that it needs no dynamic loader.
fn static_program(path: &Path) -> Result<Vec<u8>, Error> {
    let named = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|cause| Error::Program { path: named(), cause })?;
    if needs_loader(&bytes) != Some(false) {
        return Err(Error::Dynamic(named()));
    }
    Ok(bytes)
}

/// Whether a 64-bit little-endian ELF file has a `PT_INTERP` segment; `None` when it is no such file.
fn needs_loader(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(elf.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let table = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(elf.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn pause_is_small_static_and_ends_when_asked() {
        assert!(PAUSE.len() < 64 * 1024, "{} bytes", PAUSE.len());
        assert_eq!(needs_loader(PAUSE), Some(false));
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("pause");
        std::fs::write(&program, PAUSE).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&program).spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        // Its signals are blocked only once it runs: before that SIGTERM would kill it, which is an end as well.
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = child.wait().unwrap();
        assert!(status.success() || status.signal() == Some(15), "{status}");
    }

    #[test]
    fn what_is_no_static_program_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(matches!(busybox(&script, &["x"]), Err(Error::Dynamic(_))));
        assert!(matches!(busybox(Path::new("/absent"), &["x"]), Err(Error::Program { .. })));
    }
}

//! hostPath volumes. <https://kubernetes.io/docs/concepts/storage/volumes/#hostpath>

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Makes sure that the path is what the volume says it is, and makes it where the type allows that.
///
/// # Errors
/// The cause for `FailedMount`.
pub(crate) fn check(source: &HostPathVolumeSource) -> Result<(), String> {
    let (path, kind) = (Path::new(&source.path), source.type_.as_deref().unwrap_or_default());
    let found = std::fs::metadata(path).map(|found| found.file_type()).ok();
    let is = |what: &str, holds: bool| {
        if holds { Ok(()) } else { Err(format!("hostPath type check failed: {} is not a {what}", source.path)) }
    };
    let io = |error: std::io::Error| format!("{}: {error}", source.path);
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_none() => {
            std::fs::create_dir_all(path).map_err(io)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(io)
        }
        "FileOrCreate" if found.is_none() => {
            std::fs::write(path, "").map_err(io)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(io)
        }
        "Directory" | "DirectoryOrCreate" => is("directory", found.is_some_and(|found| found.is_dir())),
        "File" | "FileOrCreate" => is("file", found.is_some_and(|found| found.is_file())),
        "Socket" => is("socket file", found.is_some_and(|found| found.is_socket())),
        "CharDevice" => is("character device", found.is_some_and(|found| found.is_char_device())),
        "BlockDevice" => is("block device", found.is_some_and(|found| found.is_block_device())),
        other => Err(format!("unknown hostPath type {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let directory = tempfile::tempdir().unwrap();
        let source = |name: &str, kind: &str| HostPathVolumeSource {
            path: directory.path().join(name).display().to_string(),
            type_: Some(kind.into()),
        };
        assert!(check(&source("d", "Directory")).is_err());
        check(&source("d", "DirectoryOrCreate")).unwrap();
        check(&source("d", "Directory")).unwrap();
        let text = check(&source("d", "File")).unwrap_err();
        assert!(text.starts_with("hostPath type check failed:") && text.ends_with("is not a file"), "{text}");
        check(&source("f", "FileOrCreate")).unwrap();
        check(&source("f", "File")).unwrap();
        assert!(check(&source("f", "Socket")).is_err());
        check(&source("absent", "")).unwrap();
    }
}

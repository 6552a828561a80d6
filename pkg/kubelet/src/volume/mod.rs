//! Volumes: what a pod's containers mount.
//!
//! Everything of a pod lies below one directory, `PODS/UID`, laid out as upstream does. Files that come from the API are
//! swapped as a whole (see [`atomic`]); those that carry secrets live on tmpfs and never touch a disk.

pub(crate) mod atomic;
pub(crate) mod host_path;
pub(crate) mod mounts;
pub(crate) mod payload;
pub(crate) mod place;
pub(crate) mod subpath;
pub(crate) mod token;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};

use crate::pod::PodExt as _;
pub use mounts::unmount_below;
use payload::Payload;
use place::Place;

/// Where each volume of a pod is, by its name.
pub(crate) type Mounted = BTreeMap<String, PathBuf>;

/// A volume that cannot be had (yet); the text is that of the event `FailedMount`.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {cause}")]
pub(crate) struct Failed {
    pub(crate) volume: String,
    pub(crate) cause: String,
}

/// Makes one volume and returns where it is. Repeating it is cheap, and brings the content up to date.
///
/// `payload` is given for the kinds whose files come from the API.
///
/// # Errors
/// With the text for the event.
pub(crate) fn set_up(place: &Place<'_>, volume: &Volume, payload: Option<Payload>) -> Result<PathBuf, Failed> {
    let failed = |cause: String| Failed { volume: volume.name.clone(), cause };
    let group = place.pod.spec().security_context.as_ref().and_then(|context| context.fs_group);
    let io = |error: io::Error| failed(error.to_string());
    if let Some(source) = &volume.empty_dir {
        let path = place.volume("empty-dir", &volume.name);
        empty_dir(&path, source, group).map_err(io)?;
        return Ok(path);
    }
    if let Some(source) = &volume.host_path {
        host_path::check(source).map_err(failed)?;
        return Ok(PathBuf::from(&source.path));
    }
    let (kind, memory) = match () {
        () if volume.config_map.is_some() => ("configmap", false),
        () if volume.secret.is_some() => ("secret", true),
        () if volume.downward_api.is_some() => ("downward-api", true),
        () if volume.projected.is_some() => ("projected", true),
        () => return Err(failed("no volume plugin matched".into())),
    };
    let path = place.volume(kind, &volume.name);
    if memory {
        mounts::tmpfs(&path, "mode=1777").map_err(io)?;
    } else {
        std::fs::create_dir_all(&path).map_err(io)?;
    }
    atomic::write(&path, &payload.unwrap_or_default(), group).map_err(io)?;
    Ok(path)
}

fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, group: Option<i64>) -> io::Result<()> {
    let fresh = match source.medium.as_deref().unwrap_or_default() {
        "" => {
            let fresh = !path.exists();
            std::fs::create_dir_all(path)?;
            fresh
        }
        "Memory" => {
            let limit =
                source.size_limit.as_ref().and_then(|limit| limit.0.parse::<knarr_api::quantity::Quantity>().ok());
            let size = limit.map_or_else(String::new, |limit| format!("size={},", limit.value()));
            mounts::tmpfs(path, &format!("{size}mode=777"))?
        }
        medium => return Err(io::Error::other(format!("storage medium {medium} is not supported"))),
    };
    if fresh {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, u32::try_from(group).ok())?;
        }
    }
    Ok(())
}

/// Unmounts everything of a pod and removes its directory. Nothing is removed while anything is mounted below it.
///
/// # Errors
/// When something is still in use.
pub(crate) fn tear_down(pods: &Path, uid: &str) -> io::Result<()> {
    let directory = pods.join(uid);
    unmount_below(&directory)?;
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a volume's files come from the API.
pub(crate) fn from_api(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The names of the ConfigMaps and Secrets that a pod refers to: in volumes, in variables, and for pulling images.
pub(crate) fn references(pod: &Pod) -> (std::collections::BTreeSet<String>, std::collections::BTreeSet<String>) {
    let (mut maps, mut secrets) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for volume in pod.spec().volumes.iter().flatten() {
        maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            maps.extend(source.config_map.as_ref().map(|map| map.name.clone()));
            secrets.extend(source.secret.as_ref().map(|secret| secret.name.clone()));
        }
    }
    for part in pod.parts() {
        for from in part.container.env_from.iter().flatten() {
            maps.extend(from.config_map_ref.as_ref().map(|map| map.name.clone()));
            secrets.extend(from.secret_ref.as_ref().map(|secret| secret.name.clone()));
        }
        for from in part.container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            maps.extend(from.config_map_key_ref.as_ref().map(|map| map.name.clone()));
            secrets.extend(from.secret_key_ref.as_ref().map(|secret| secret.name.clone()));
        }
    }
    secrets.extend(pod.spec().image_pull_secrets.iter().flatten().map(|reference| reference.name.clone()));
    maps.remove("");
    secrets.remove("");
    (maps, secrets)
}

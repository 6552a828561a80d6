//! What a container finds mounted: its volumes, the hosts file, the file for its last words.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use crate::cri::api;
use crate::pod::config::{hostname, hosts_file};
use crate::pod::expand::expand;
use crate::pod::shared::Shared;
use crate::pod::spec::PodExt as _;
use crate::volume::place::Place;
use crate::volume::{Mounted, subpath};

/// Prepares all mounts of a container. Blocking.
///
/// # Errors
/// The text for the container's status.
pub(super) fn prepare(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    restarts: u32,
    mounted: &Mounted,
    environment: &[(String, String)],
    ips: &[String],
) -> Result<Vec<api::Mount>, String> {
    let place = Place { pods: &shared.pods, pod };
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = mounted.get(&mount.name).ok_or_else(|| {
            format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
        })?;
        mounts.push(volume_mount(&place, container, index, mount, volume, environment)?);
    }
    let taken = |path: &str| container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
    if !taken("/etc/hosts") {
        let io = |error: io::Error| format!("failed to prepare the hosts file: {error}");
        let path = hosts(shared, &place, ips).map_err(io)?;
        mounts.push(plain("/etc/hosts", &path));
    }
    let last_words = container.termination_message_path.as_deref().unwrap_or_default();
    if !last_words.is_empty() {
        let io = |error: io::Error| format!("failed to prepare the termination message: {error}");
        let path = place.message(&container.name, restarts);
        message_file(&path).map_err(io)?;
        mounts.push(plain(last_words, &path));
    }
    Ok(mounts)
}

fn plain(container_path: &str, host_path: &Path) -> api::Mount {
    api::Mount {
        container_path: container_path.into(),
        host_path: host_path.display().to_string(),
        ..Default::default()
    }
}

fn volume_mount(
    place: &Place<'_>,
    container: &Container,
    index: usize,
    mount: &VolumeMount,
    volume: &Path,
    environment: &[(String, String)],
) -> Result<api::Mount, String> {
    let lookup = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let part = match (mount.sub_path.as_deref().unwrap_or_default(), mount.sub_path_expr.as_deref().unwrap_or_default())
    {
        ("", "") => String::new(),
        ("", expression) => {
            let missing = std::cell::RefCell::new(None);
            let path = expand(expression, &|name| {
                let value = lookup(name);
                if value.is_none() {
                    missing.replace(Some(name.to_owned()));
                }
                value
            });
            match missing.into_inner() {
                Some(name) => return Err(format!("missing value for {name:?}")),
                None => path,
            }
        }
        (path, _) => path.to_owned(),
    };
    let mut host_path = volume.to_owned();
    if !part.is_empty() {
        let target = place.subpath(&mount.name, &container.name, index);
        subpath::bind(volume, &part, &target).map_err(|error| {
            format!(
                "failed to create subPath directory for volumeMount {:?} of container {:?}: {error}",
                mount.name, container.name
            )
        })?;
        host_path = target;
    }
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => api::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => api::MountPropagation::PropagationBidirectional,
        _ => api::MountPropagation::PropagationPrivate,
    };
    let container_path =
        if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
    Ok(api::Mount {
        readonly: mount.read_only == Some(true) || shows_objects(place.pod, &mount.name),
        propagation: propagation.into(),
        ..plain(&container_path, &host_path)
    })
}

/// Whether a volume shows the content of API objects: those are read-only in every container, as upstream mounts them.
fn shows_objects(pod: &Pod, name: &str) -> bool {
    pod.spec().volumes.iter().flatten().filter(|volume| volume.name == name).any(|volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some()
    })
}

/// Writes the hosts file in place: containers that run have it mounted.
fn hosts(shared: &Shared, place: &Place<'_>, ips: &[String]) -> io::Result<PathBuf> {
    let path = place.hosts();
    let (name, domain) = hostname(place.pod, &shared.resolver.domain);
    let node = if place.pod.host_network() { Some(std::fs::read_to_string("/etc/hosts")?) } else { None };
    let text = hosts_file(place.pod, &name, &domain, ips, node.as_deref());
    if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(path);
    }
    std::fs::create_dir_all(place.directory())?;
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

fn message_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, "")?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

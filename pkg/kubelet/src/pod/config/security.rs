//! Security contexts of pods and containers.
//! <https://kubernetes.io/docs/tasks/configure-pod-container/security-context/>

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};

use crate::cri::api;
use crate::pod::spec::PodExt as _;

/// What runc masks and protects in `/proc` and `/sys` unless `procMount` is `Unmasked`: containerd's defaults.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// As which user an image runs unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageUser {
    pub(crate) uid: Option<i64>,
    pub(crate) name: String,
}

pub(super) fn namespaces(pod: &Pod) -> api::NamespaceOption {
    let spec = pod.spec();
    let node_or = |host: Option<bool>, other: api::NamespaceMode| {
        if host == Some(true) { api::NamespaceMode::Node } else { other }.into()
    };
    let shared = if spec.share_process_namespace == Some(true) {
        api::NamespaceMode::Pod
    } else {
        api::NamespaceMode::Container
    };
    api::NamespaceOption {
        network: node_or(spec.host_network, api::NamespaceMode::Pod),
        ipc: node_or(spec.host_ipc, api::NamespaceMode::Pod),
        pid: node_or(spec.host_pid, shared),
        ..Default::default()
    }
}

pub(super) fn groups(pod: &Pod) -> Vec<i64> {
    let context = pod.spec().security_context.as_ref();
    let fs = context.and_then(|context| context.fs_group);
    fs.into_iter()
        .chain(context.and_then(|context| context.supplemental_groups.clone()).into_iter().flatten())
        .collect()
}

fn groups_policy(pod: &Pod) -> i32 {
    let policy = pod.spec().security_context.as_ref().and_then(|context| context.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") { api::SupplementalGroupsPolicy::Strict } else { api::SupplementalGroupsPolicy::Merge }
        .into()
}

pub(super) fn sandbox(pod: &Pod) -> api::LinuxSandboxSecurityContext {
    let context = pod.spec().security_context.as_ref();
    let value = |number: Option<i64>| number.map(|value| api::Int64Value { value });
    let privileged = pod
        .parts()
        .iter()
        .any(|part| part.container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true)));
    api::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: value(context.and_then(|context| context.run_as_user)),
        run_as_group: value(context.and_then(|context| context.run_as_group)),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        privileged,
        seccomp: Some(profile(api::security_profile::ProfileType::RuntimeDefault, "")),
        ..Default::default()
    }
}

/// The container's own context over the pod's, over the image's user.
///
/// # Errors
/// The text for the container's status, when it must not run as root but would.
pub(super) fn container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
) -> Result<api::LinuxContainerSecurityContext, String> {
    let empty = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&empty);
    let pods = pod.spec().security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pods.run_as_user);
    let group = own.run_as_group.or(pods.run_as_group);
    if own.run_as_non_root.or(pods.run_as_non_root) == Some(true) {
        verify_non_root(pod, container, user, image)?;
    }
    let privileged = own.privileged == Some(true);
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|&path| path.into()).collect() };
    let capabilities = own.capabilities.as_ref().map(|wanted| api::Capability {
        add_capabilities: wanted.add.clone().unwrap_or_default(),
        drop_capabilities: wanted.drop.clone().unwrap_or_default(),
        ..Default::default()
    });
    let value = |number: i64| api::Int64Value { value: number };
    let app_armor = own.app_armor_profile.as_ref().or(pods.app_armor_profile.as_ref());
    Ok(api::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(namespaces(pod)),
        run_as_user: user.or(image.uid).map(value),
        run_as_username: if user.is_none() { image.name.clone() } else { String::new() },
        run_as_group: group.map(value),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(seccomp(own.seccomp_profile.as_ref().or(pods.seccomp_profile.as_ref()))),
        apparmor: app_armor
            .map(|wanted| match wanted.type_.as_str() {
                "Localhost" => Some(profile(
                    api::security_profile::ProfileType::Localhost,
                    wanted.localhost_profile.as_deref().unwrap_or_default(),
                )),
                "Unconfined" => Some(profile(api::security_profile::ProfileType::Unconfined, "")),
                _ => Some(profile(api::security_profile::ProfileType::RuntimeDefault, "")),
            })
            .unwrap_or_default(),
        ..Default::default()
    })
}

fn profile(kind: api::security_profile::ProfileType, path: &str) -> api::SecurityProfile {
    api::SecurityProfile { profile_type: kind.into(), localhost_ref: path.into() }
}

/// Where kubelets keep seccomp profiles of the type `Localhost`.
const SECCOMP: &str = "/var/lib/kubelet/seccomp";

fn seccomp(wanted: Option<&SeccompProfile>) -> api::SecurityProfile {
    use api::security_profile::ProfileType;
    match wanted.map(|wanted| wanted.type_.as_str()) {
        Some("RuntimeDefault") => profile(ProfileType::RuntimeDefault, ""),
        Some("Localhost") => {
            let name = wanted.and_then(|wanted| wanted.localhost_profile.as_deref()).unwrap_or_default();
            profile(ProfileType::Localhost, &format!("{SECCOMP}/{name}"))
        }
        _ => profile(ProfileType::Unconfined, ""),
    }
}

fn verify_non_root(pod: &Pod, container: &Container, user: Option<i64>, image: &ImageUser) -> Result<(), String> {
    let whose = format!("(pod: {:?}, container: {})", pod.full_name(), container.name);
    match (user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {whose}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {whose}")),
        (None, None) if !image.name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {whose}",
            image.name
        )),
        (None, None) => Err(format!("container has runAsNonRoot and image will run as root {whose}")),
        (None, Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::{Value, json};

    fn of(pods: Value, own: Value, image: &ImageUser) -> Result<api::LinuxContainerSecurityContext, String> {
        let pod = pod(json!({"securityContext": pods, "containers": [{"name": "a", "securityContext": own}]}));
        container(&pod, &pod.spec().containers[0], image)
    }

    #[test]
    fn the_container_comes_before_the_pod_before_the_image() {
        let image = ImageUser { uid: Some(65535), name: String::new() };
        let user = |made: api::LinuxContainerSecurityContext| made.run_as_user.map(|user| user.value);
        assert_eq!(user(of(json!({"runAsUser": 1}), json!({"runAsUser": 2}), &image).unwrap()), Some(2));
        assert_eq!(user(of(json!({"runAsUser": 1}), json!({}), &image).unwrap()), Some(1));
        assert_eq!(user(of(json!({}), json!({}), &image).unwrap()), Some(65535));
        let named = of(json!({}), json!({}), &ImageUser { uid: None, name: "www".into() }).unwrap();
        assert_eq!((named.run_as_user, named.run_as_username.as_str()), (None, "www"));
        let made = of(json!({"fsGroup": 7, "supplementalGroups": [8]}), json!({}), &image).unwrap();
        assert_eq!(made.supplemental_groups, [7, 8]);
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let root = ImageUser { uid: Some(0), name: String::new() };
        let strict = json!({"runAsNonRoot": true});
        assert!(of(strict.clone(), json!({}), &root).is_err());
        assert!(of(strict.clone(), json!({"runAsUser": 0}), &root).is_err());
        assert!(of(strict.clone(), json!({"runAsUser": 5}), &root).is_ok());
        assert!(of(strict.clone(), json!({"runAsNonRoot": false}), &root).is_ok());
        let text = of(strict, json!({}), &ImageUser { uid: None, name: "www".into() }).unwrap_err();
        assert!(text.contains("non-numeric user (www)"), "{text}");
    }

    #[test]
    fn profiles_and_masks() {
        let made = of(json!({"seccompProfile": {"type": "RuntimeDefault"}}), json!({}), &ImageUser::default()).unwrap();
        assert_eq!(made.seccomp.unwrap().profile_type(), api::security_profile::ProfileType::RuntimeDefault);
        let made =
            of(json!({}), json!({"procMount": "Unmasked", "allowPrivilegeEscalation": false}), &ImageUser::default());
        let made = made.unwrap();
        assert_eq!(made.seccomp.unwrap().profile_type(), api::security_profile::ProfileType::Unconfined);
        assert!(made.masked_paths.is_empty() && made.no_new_privs);
    }
}

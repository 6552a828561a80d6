//! A container of a pod.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::resources::{self, Capacity};
use super::security;
pub(crate) use super::security::ImageUser;
use crate::cri::api;
use crate::pod::expand::expand;
use crate::pod::names;

/// What was looked up and prepared for a container.
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<api::Mount>,
    pub(crate) environment: Vec<(String, String)>,
    /// What `image` resolved to.
    pub(crate) image_ref: String,
    pub(crate) image_user: ImageUser,
    pub(crate) capacity: Capacity,
    /// The container whose pid namespace an ephemeral container joins.
    pub(crate) target: Option<String>,
}

/// The configuration of a container.
///
/// # Errors
/// The text for its status, when the specification cannot be met.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    restarts: u32,
    made: Mounts,
) -> Result<api::ContainerConfig, String> {
    let mut security = security::container(pod, container, &made.image_user)?;
    if let (Some(target), Some(options)) = (&made.target, security.namespace_options.as_mut())
        && options.pid() == api::NamespaceMode::Container
    {
        options.set_pid(api::NamespaceMode::Target);
        options.target_id.clone_from(target);
    }
    let lookup = |name: &str| made.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let words = |list: &Option<Vec<String>>| list.iter().flatten().map(|word| expand(word, &lookup)).collect();
    let image = container.image.clone().unwrap_or_default();
    let signal = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    Ok(api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: container.name.clone(), attempt: restarts }),
        image: Some(api::ImageSpec { image: made.image_ref, user_specified_image: image, ..Default::default() }),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: made.environment.iter().map(|(key, value)| key_value(key, value)).collect(),
        mounts: made.mounts,
        labels: names::container_labels(pod, container),
        annotations: names::container_annotations(pod, container, restarts),
        log_path: names::log_path(&container.name, restarts),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        stop_signal: signal.and_then(api::Signal::from_str_name).unwrap_or_default().into(),
        linux: Some(api::LinuxContainerConfig {
            resources: Some(resources::container(pod, container, made.capacity)),
            security_context: Some(security),
        }),
        ..Default::default()
    })
}

fn key_value(key: &str, value: &str) -> api::KeyValue {
    api::KeyValue { key: key.into(), value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use crate::pod::spec::PodExt as _;
    use serde_json::json;

    #[test]
    fn commands_are_expanded_and_labels_are_upstreams() {
        let pod = pod(json!({"terminationGracePeriodSeconds": 5, "containers": [
            {"name": "a", "image": "busybox", "command": ["echo"], "args": ["$(A)", "$(B)"], "tty": true},
        ]}));
        let made = Mounts {
            mounts: Vec::new(),
            environment: vec![("A".into(), "1".into())],
            image_ref: "sha256:1".into(),
            image_user: ImageUser::default(),
            capacity: Capacity { memory: 1, unified: false, swap: false },
            target: None,
        };
        let config = container(&pod, &pod.spec().containers[0], 3, made).unwrap();
        assert_eq!((config.command, config.args), (vec!["echo".to_owned()], vec!["1".to_owned(), "$(B)".to_owned()]));
        assert_eq!(config.log_path, "a/3.log");
        assert_eq!(config.annotations.get("io.kubernetes.container.restartCount").unwrap(), "3");
        assert_eq!(config.labels.get("io.kubernetes.pod.uid").unwrap(), "u");
        assert_eq!(config.image.unwrap().image, "sha256:1");
    }
}

//! The labels and annotations by which a sandbox or container is known as a pod's, the same as upstream's, so that tools
//! and a restarted kubelet find them; and where logs go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest as _, Sha256};

use super::spec::PodExt as _;
use super::state::{Instance, Sandbox, Stage};
use crate::cri::api;

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
const HASH: &str = "io.kubernetes.container.hash";
const RESTARTS: &str = "io.kubernetes.container.restartCount";
const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// What of a container's specification, if changed, makes it another container: its name and image, as upstream. Nothing
/// that a new version of the API may default or order differently enters.
pub(crate) fn hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    hash.update(&container.name);
    hash.update([0]);
    hash.update(container.image.as_deref().unwrap_or_default());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    pod.metadata.labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).chain(identity(pod)).collect()
}

pub(crate) fn container_labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    identity(pod).chain([(CONTAINER_NAME.to_owned(), container.name.clone())]).collect()
}

fn identity(pod: &Pod) -> impl Iterator<Item = (String, String)> {
    [(POD_NAME, pod.name()), (POD_NAMESPACE, pod.namespace()), (POD_UID, pod.uid())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
}

pub(crate) fn container_annotations(pod: &Pod, container: &Container, restarts: u32) -> HashMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut annotations = HashMap::from([
        (HASH.to_owned(), hash(container)),
        (RESTARTS.to_owned(), restarts.to_string()),
        (MESSAGE_PATH.to_owned(), text(&container.termination_message_path)),
        (MESSAGE_POLICY.to_owned(), text(&container.termination_message_policy)),
    ]);
    if let Some(grace) = pod.spec().termination_grace_period_seconds {
        annotations.insert(POD_GRACE.into(), grace.to_string());
    }
    annotations
}

/// How many seconds the container's pod may take to end.
pub(crate) fn grace(annotations: &HashMap<String, String>) -> Option<i64> {
    annotations.get(POD_GRACE)?.parse().ok()
}

/// The pod's log directory below `logs`: `NAMESPACE_NAME_UID`.
pub(crate) fn pod_logs(logs: &Path, pod: &Pod) -> PathBuf {
    logs_of(logs, pod.namespace(), pod.name(), pod.uid())
}

fn logs_of(logs: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    logs.join(format!("{namespace}_{name}_{uid}"))
}

/// Where a container logs to, by what its list entry tells; `None` for one that is not ours.
pub(crate) fn container_log(logs: &Path, container: &api::Container) -> Option<PathBuf> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    let pod = logs_of(logs, label(POD_NAMESPACE)?, label(POD_NAME)?, label(POD_UID)?);
    let restarts = container.annotations.get(RESTARTS)?.parse().ok()?;
    Some(pod.join(log_path(label(CONTAINER_NAME)?, restarts)))
}

/// A container's log, relative to the pod's log directory.
pub(crate) fn log_path(container: &str, restarts: u32) -> String {
    format!("{container}/{restarts}.log")
}

/// A sandbox as we keep it.
pub(crate) fn sandbox(status: &api::PodSandboxStatus) -> Sandbox {
    let network = status.network.as_ref();
    let ips = network.into_iter().flat_map(|network| {
        std::iter::once(network.ip.clone()).chain(network.additional_ips.iter().map(|more| more.ip.clone()))
    });
    Sandbox {
        id: status.id.clone(),
        attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        ready: status.state() == api::PodSandboxState::SandboxReady,
        created_at: time(status.created_at).unwrap_or_default(),
        ips: ips.filter(|ip| !ip.is_empty()).collect(),
    }
}

/// A container as we keep it. `sandbox` is known to who lists or creates it; its status does not tell.
pub(crate) fn instance(status: &api::ContainerStatus, sandbox: &str) -> Instance {
    let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let stage = match status.state() {
        api::ContainerState::ContainerCreated => Stage::Created,
        api::ContainerState::ContainerRunning => Stage::Running,
        api::ContainerState::ContainerExited => Stage::Exited,
        api::ContainerState::ContainerUnknown => Stage::Unknown,
    };
    let user = status.user.as_ref().and_then(|user| user.linux.as_ref());
    let exited = stage == Stage::Exited;
    let signal = api::Signal::try_from(status.stop_signal).unwrap_or_default();
    Instance {
        id: status.id.clone(),
        name: status.labels.get(CONTAINER_NAME).cloned().unwrap_or_default(),
        sandbox: sandbox.into(),
        restarts: annotation(RESTARTS).parse().unwrap_or(0),
        hash: annotation(HASH),
        stage,
        created_at: time(status.created_at).unwrap_or_default(),
        started_at: time(status.started_at),
        finished_at: time(status.finished_at).filter(|_| exited),
        exit_code: if exited { status.exit_code } else { 0 },
        reason: if exited { status.reason.clone() } else { String::new() },
        message: if exited {
            message(status, &annotation(MESSAGE_PATH), &annotation(MESSAGE_POLICY))
        } else {
            String::new()
        },
        image: status.image.as_ref().map(|image| image.image.clone()).unwrap_or_default(),
        image_id: status.image_ref.clone(),
        user: user.map(|user| (user.uid, user.gid, user.supplemental_groups.clone())),
        stop_signal: (signal != api::Signal::RuntimeDefault).then(|| signal.as_str_name().to_owned()),
    }
}

/// At most this much of a termination message is shown, as upstream.
const MESSAGE_BYTES: usize = 4096;
/// Of a log that stands in for the message: so many bytes and lines.
const LOG_BYTES: usize = 2048;
const LOG_LINES: usize = 80;

/// What a container left in its termination message file, or the end of its log where its policy says so.
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
fn message(status: &api::ContainerStatus, path: &str, policy: &str) -> String {
    let file = status.mounts.iter().find(|mount| !path.is_empty() && mount.container_path == path);
    if let Some(text) = file.and_then(|mount| tail(Path::new(&mount.host_path), MESSAGE_BYTES))
        && !text.is_empty()
    {
        return text;
    }
    if policy == "FallbackToLogsOnError" && status.exit_code != 0 {
        let text = tail(Path::new(&status.log_path), LOG_BYTES * 4).unwrap_or_default();
        return log_message(&text);
    }
    status.message.clone()
}

/// The last `limit` bytes of a file that its container wrote.
fn tail(path: &Path, limit: usize) -> Option<String> {
    use std::io::{Read as _, Seek as _};
    let mut file = std::fs::File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let length = file.metadata().ok()?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(limit as u64))).ok()?;
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The plain text of the last lines of a CRI log.
fn log_message(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let mut text = String::new();
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
        text.push_str(line);
        text.push('\n');
    }
    let mut start = text.len().saturating_sub(LOG_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.split_off(start)
}

fn time(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(nanoseconds.into()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_image_make_a_container_another_one() {
        let one = Container { name: "a".into(), image: Some("x:1".into()), ..Container::default() };
        let mut other = one.clone();
        other.termination_message_path = Some("/dev/termination-log".into());
        other.env = Some(Vec::new());
        assert_eq!(hash(&one), hash(&other));
        other.image = Some("x:2".into());
        assert_ne!(hash(&one), hash(&other));
        assert_eq!(hash(&one), "52448b2e788406a5", "a new version of knarr must not restart containers");
    }

    #[test]
    fn a_listed_container_logs_to_where_it_was_told_to() {
        let pod = crate::pod::examples::plain("Always");
        let container = &pod.spec().containers[0];
        let mut listed = api::Container {
            labels: container_labels(&pod, container),
            annotations: container_annotations(&pod, container, 3),
            ..Default::default()
        };
        let logs = Path::new("/logs");
        let told = pod_logs(logs, &pod).join(log_path("a", 3));
        assert_eq!(container_log(logs, &listed), Some(told));
        listed.labels.clear();
        assert_eq!(container_log(logs, &listed), None);
    }

    #[test]
    fn a_log_stands_in_for_the_message() {
        let log = "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr F two words\n";
        assert_eq!(log_message(log), "one\ntwo words\n");
    }

    #[test]
    fn a_message_is_read_from_the_mounted_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("message");
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        let status = api::ContainerStatus {
            exit_code: 1,
            mounts: vec![api::Mount {
                container_path: "/dev/termination-log".into(),
                host_path: file.to_str().unwrap().into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(message(&status, "/dev/termination-log", "File").len(), MESSAGE_BYTES);
        assert_eq!(message(&status, "/elsewhere", "File"), "");
    }
}

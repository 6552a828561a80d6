//! `status.containerStatuses` and its siblings.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, LinuxContainerUser, VolumeMountStatus,
};

use super::phase::find;
use super::{Inputs, seconds};
use crate::pod::spec::{Part, PodExt as _, Role, restarts_after};
use crate::pod::state::{Cause, Instance, Stage};

const LOST: &str = "ContainerStatusUnknown";

/// The statuses of all containers of these roles, in the order of the specification, as upstream's are.
pub(super) fn build(inputs: &Inputs<'_>, roles: &[Role]) -> Vec<ContainerStatus> {
    let before = match roles.first() {
        Some(Role::Regular) => inputs.before.container_statuses.as_deref(),
        Some(Role::Ephemeral) => inputs.before.ephemeral_container_statuses.as_deref(),
        _ => inputs.before.init_container_statuses.as_deref(),
    };
    let parts = inputs.pod.parts();
    let mut statuses: Vec<ContainerStatus> = parts
        .iter()
        .filter(|part| roles.contains(&part.role))
        .filter(|part| part.role != Role::Ephemeral || known(inputs, part))
        .map(|part| status(inputs, part, find(before, part.name())))
        .collect();
    if roles == [Role::Regular] {
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
    }
    statuses
}

fn known(inputs: &Inputs<'_>, part: &Part<'_>) -> bool {
    inputs.state.latest(part.name()).is_some()
        || inputs.waiting.contains_key(part.name())
        || inputs.state.stop.is_none()
}

fn status(inputs: &Inputs<'_>, part: &Part<'_>, before: Option<&ContainerStatus>) -> ContainerStatus {
    let container = &part.container;
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    };
    let mut instances = inputs.state.instances.iter().filter(|instance| instance.name == container.name);
    match instances.next() {
        Some(newest) => {
            describe(&mut status, newest);
            status.resources = container.resources.clone();
            status.allocated_resources = container.resources.as_ref().and_then(|resources| resources.requests.clone());
            // The runtime may have forgotten the one before; the API remembers.
            let remembered = || {
                let before = before?;
                let ended = before.state.as_ref().filter(|state| state.terminated.is_some());
                let same = before.container_id.as_deref() == status.container_id.as_deref();
                if same { before.last_state.clone() } else { ended.or(before.last_state.as_ref()).cloned() }
            };
            status.last_state = instances.next().map(state).or_else(remembered);
        }
        None => absent(inputs, part, before, &mut status),
    }
    wait(inputs, part, &mut status);
    health(inputs, part, &mut status);
    // As the API shows a container that has never ended.
    status.last_state.get_or_insert_default();
    status
}

fn describe(status: &mut ContainerStatus, instance: &Instance) {
    status.container_id = Some(format!("containerd://{}", instance.id));
    status.image.clone_from(&instance.image);
    status.image_id.clone_from(&instance.image_id);
    status.restart_count = i32::try_from(instance.restarts).unwrap_or(i32::MAX);
    status.state = Some(state(instance));
    status.stop_signal.clone_from(&instance.stop_signal);
    status.user = instance.user.as_ref().map(|(uid, gid, groups)| ContainerUser {
        linux: Some(LinuxContainerUser { uid: *uid, gid: *gid, supplemental_groups: Some(groups.clone()) }),
    });
}

fn state(instance: &Instance) -> ContainerState {
    let mut state = ContainerState::default();
    match instance.stage {
        Stage::Running => {
            state.running = Some(ContainerStateRunning { started_at: instance.started_at.map(seconds) });
        }
        Stage::Exited => {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            state.terminated = Some(ContainerStateTerminated {
                exit_code: instance.exit_code,
                reason: text(&instance.reason),
                message: text(&instance.message),
                started_at: instance.started_at.map(seconds),
                finished_at: instance.finished_at.map(seconds),
                container_id: Some(format!("containerd://{}", instance.id)),
                signal: None,
            });
        }
        Stage::Created | Stage::Unknown => state.waiting = Some(ContainerStateWaiting::default()),
    }
    state
}

/// A container that the runtime does not know: it has not run yet, or what is known of it is only in the API.
fn absent(inputs: &Inputs<'_>, part: &Part<'_>, before: Option<&ContainerStatus>, status: &mut ContainerStatus) {
    let reason = if inputs.pod.init().is_empty() || part.role == Role::Ephemeral {
        "ContainerCreating"
    } else {
        "PodInitializing"
    };
    let waiting = ContainerStateWaiting { reason: Some(reason.into()), message: None };
    status.state = Some(ContainerState { waiting: Some(waiting), ..ContainerState::default() });
    if let Some(before) = before {
        if before.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
            *status = before.clone();
            return;
        }
        status.restart_count = before.restart_count;
        status.last_state = before.last_state.clone().filter(|last| last.terminated.is_some());
        let ran = before.state.as_ref().is_some_and(|state| state.running.is_some());
        if ran && status.last_state.is_none() {
            let message =
                "The container could not be located when the pod was deleted.  The container used to be Running";
            status.last_state = Some(lost(message));
            status.restart_count += i32::from(!inputs.pod.deleted());
        }
    }
    let over =
        inputs.state.torn_down && matches!(inputs.state.stop.as_ref().map(|stop| &stop.cause), Some(Cause::Deleted));
    if over && part.role == Role::Regular {
        status.state = Some(lost("The container could not be located when the pod was terminated"));
    }
}

fn lost(message: &str) -> ContainerState {
    let terminated = ContainerStateTerminated {
        reason: Some(LOST.into()),
        message: Some(message.into()),
        exit_code: 137,
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// A container that is to be started again waits; what it was before becomes its last state.
fn wait(inputs: &Inputs<'_>, part: &Part<'_>, status: &mut ContainerStatus) {
    let Some(waiting) = inputs.waiting.get(part.name()) else { return };
    let Inputs { pod, state, .. } = inputs;
    let again = match state.latest(part.name()) {
        Some(last) if last.stage == Stage::Running => false,
        Some(last) if last.stage == Stage::Exited => {
            let succeeded = part.role == Role::Init && last.exit_code == 0;
            !succeeded && restarts_after(&part.container, pod, last.exit_code)
        }
        _ => true,
    };
    if !again || state.stop.is_some() {
        return;
    }
    if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
        status.last_state = status.state.take();
    }
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let waiting = ContainerStateWaiting { reason: text(&waiting.reason), message: text(&waiting.message) };
    status.state = Some(ContainerState { waiting: Some(waiting), ..ContainerState::default() });
}

/// `started` and `ready`.
fn health(inputs: &Inputs<'_>, part: &Part<'_>, status: &mut ContainerStatus) {
    let container = &part.container;
    let Some(instance) = inputs.state.latest(part.name()).filter(|instance| instance.stage == Stage::Running) else {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        status.started = Some(false);
        status.ready = part.role == Role::Init && ended.is_some_and(|end| end.exit_code == 0);
        return;
    };
    let health = inputs.state.health(&instance.id);
    let started = container.startup_probe.is_none() || health.startup == Some(true);
    status.started = Some(started);
    let ready = container.readiness_probe.is_none() || health.readiness == Some(true);
    status.ready = started && ready && !matches!(part.role, Role::Init | Role::Ephemeral);
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.iter().flatten().map(|mount| {
        let read_only = mount.read_only.filter(|read_only| *read_only);
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| "Disabled".to_owned()),
        }
    });
    super::some(mounts.collect())
}

impl Part<'_> {
    /// The container, whether it is borrowed from the specification or made from an ephemeral one.
    pub(crate) fn into_container(self) -> Container {
        match self.container {
            Cow::Borrowed(container) => container.clone(),
            Cow::Owned(container) => container,
        }
    }
}

//! Pods and states for tests.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::names::hash;
use super::spec::PodExt as _;
use super::state::{Instance, Sandbox, Stage, State, Volumes};

/// The time at which every test begins.
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START).unwrap() + SignedDuration::from_secs(seconds)
}

/// A pod `p` in namespace `n` with this specification.
pub(crate) fn pod(spec: Value) -> Pod {
    let metadata = json!({"name": "p", "namespace": "n", "uid": "u", "generation": 1});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A pod of the containers `a` and `b`, as the policy says.
pub(crate) fn plain(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}))
}

/// A state with a ready sandbox and volumes.
pub(crate) fn ready() -> State {
    let sandbox = Sandbox { id: "s".into(), attempt: 0, ready: true, created_at: at(0), ips: vec!["10.42.0.5".into()] };
    State { sandboxes: vec![sandbox], volumes: Volumes::Ready, seen_at: Some(at(0)), ..State::default() }
}

/// An instance of a container of `pod` in sandbox `s`, created at second `created`.
pub(crate) fn instance(pod: &Pod, name: &str, stage: Stage, created: i64) -> Instance {
    Instance {
        id: format!("{name}-{created}"),
        name: name.into(),
        sandbox: "s".into(),
        restarts: 0,
        hash: hash(&pod.part(name).unwrap().container),
        stage,
        created_at: at(created),
        started_at: Some(at(created)),
        finished_at: None,
        exit_code: 0,
        reason: String::new(),
        message: String::new(),
        image: "i".into(),
        image_id: "sha256:1".into(),
        user: None,
        stop_signal: None,
    }
}

/// As [`instance`], ended with this code a second after it was created.
pub(crate) fn ended(pod: &Pod, name: &str, code: i32, created: i64) -> Instance {
    Instance {
        exit_code: code,
        finished_at: Some(at(created + 1)),
        reason: if code == 0 { "Completed".into() } else { "Error".into() },
        ..instance(pod, name, Stage::Exited, created)
    }
}

/// Adds instances to [`ready`].
pub(crate) fn with(instances: impl IntoIterator<Item = Instance>) -> State {
    let mut state = ready();
    state.instances.extend(instances);
    state.sort();
    state
}

//! What users see, case by case.

use super::*;
use crate::pod::examples::{at, ended, instance, plain, pod, ready, with};
use crate::pod::plan::plan;
use crate::pod::state::{Health, Stop};
use serde_json::{Value, json};

fn status(pod: &Pod, state: &State, before: &PodStatus, second: i64) -> PodStatus {
    let waiting = plan(pod, state, at(second)).waiting;
    let host_ips = ["192.0.2.1".to_owned()];
    build(&Inputs { pod, state, waiting: &waiting, host_ips: &host_ips, before, now: at(second) })
}

fn fresh(pod: &Pod, state: &State) -> PodStatus {
    status(pod, state, &PodStatus::default(), 30)
}

fn condition(status: &PodStatus, kind: &str) -> (String, String, String) {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap();
    (found.status.clone(), found.reason.clone().unwrap_or_default(), found.message.clone().unwrap_or_default())
}

fn shown(status: &PodStatus, index: usize) -> Value {
    serde_json::to_value(&status.container_statuses.as_ref().unwrap()[index].state).unwrap()
}

fn text(parts: (&str, &str, &str)) -> (String, String, String) {
    (parts.0.into(), parts.1.into(), parts.2.into())
}

#[test]
fn a_new_pod_is_pending() {
    let pod = plain("Always");
    let state = State { seen_at: Some(at(0)), ..State::default() };
    let status = fresh(&pod, &state);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(shown(&status, 0), json!({"waiting": {"reason": "ContainerCreating"}}));
    assert_eq!(condition(&status, "PodReadyToStartContainers").0, "False");
    assert_eq!(condition(&status, "Initialized").0, "True");
    let expect = ("False", "ContainersNotReady", "containers with unready status: [a b]");
    assert_eq!(condition(&status, "Ready"), text(expect));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(status.pod_ip, None);
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
}

#[test]
fn a_running_pod_is_ready_and_keeps_the_times_of_its_conditions() {
    let pod = plain("Always");
    let state = with([instance(&pod, "a", Stage::Running, 1), instance(&pod, "b", Stage::Running, 2)]);
    let first = fresh(&pod, &state);
    assert_eq!(first.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&first, "Ready").0, "True");
    assert_eq!(first.pod_ip.as_deref(), Some("10.42.0.5"));
    let containers = first.container_statuses.as_ref().unwrap();
    assert_eq!(containers[0].container_id.as_deref(), Some("containerd://a-1"));
    assert!(containers.iter().all(|container| container.ready && container.started == Some(true)));
    let later = status(&pod, &state, &first, 500);
    assert_eq!(later, first, "nothing has changed, so nothing is written");
}

#[test]
fn probes_decide_on_ready_and_started() {
    let probe = json!({"exec": {"command": ["x"]}});
    let pod = pod(json!({"containers": [{"name": "a", "image": "i", "readinessProbe": probe, "startupProbe": probe}]}));
    let mut state = with([instance(&pod, "a", Stage::Running, 1)]);
    for (health, started, ready) in [
        (Health::default(), false, false),
        (Health { startup: Some(true), ..Health::default() }, true, false),
        (Health { startup: Some(true), readiness: Some(true), ..Health::default() }, true, true),
        (Health { startup: Some(true), readiness: Some(false), ..Health::default() }, true, false),
    ] {
        state.health.insert("a-1".into(), health);
        let status = fresh(&pod, &state);
        let container = &status.container_statuses.unwrap()[0];
        assert_eq!((container.started, container.ready), (Some(started), ready), "{health:?}");
    }
}

#[test]
fn readiness_gates_hold_a_pod_back() {
    let mut pod = plain("Always");
    pod.spec.as_mut().unwrap().readiness_gates =
        serde_json::from_value(json!([{"conditionType": "example.com/lb"}])).unwrap();
    let state = with([instance(&pod, "a", Stage::Running, 1), instance(&pod, "b", Stage::Running, 2)]);
    let message = "corresponding condition of pod readiness gate \"example.com/lb\" does not exist.";
    assert_eq!(condition(&fresh(&pod, &state), "Ready"), text(("False", "ReadinessGatesNotReady", message)));
    let theirs = |holds: &str| json!({"conditions": [{"type": "example.com/lb", "status": holds}]});
    // The answer to our last patch showed the gate open; the watch is not there yet.
    pod.status = serde_json::from_value(theirs("False")).unwrap();
    let status = status(&pod, &state, &serde_json::from_value(theirs("True")).unwrap(), 30);
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(condition(&status, "example.com/lb").0, "True", "others' conditions are kept");
}

#[test]
fn a_crash_loop_shows_its_last_end() {
    let pod = plain("Always");
    let mut state = with([ended(&pod, "a", 1, 20), instance(&pod, "b", Stage::Running, 1)]);
    let crash = crate::pod::crash::CrashLoop::next(None, at(1), at(1));
    state.crashes.insert("a".into(), crash);
    let status = fresh(&pod, &state);
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.state.as_ref().unwrap().waiting.as_ref().unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
    let last = container.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn phases_of_pods_that_end() {
    for (policy, codes, phase) in [
        ("Never", [0, 0], "Succeeded"),
        ("Never", [0, 1], "Failed"),
        ("OnFailure", [0, 0], "Succeeded"),
        ("OnFailure", [0, 1], "Running"),
        ("Always", [0, 0], "Running"),
    ] {
        let pod = plain(policy);
        let state = with([ended(&pod, "a", codes[0], 1), ended(&pod, "b", codes[1], 1)]);
        assert_eq!(fresh(&pod, &state).phase.as_deref(), Some(phase), "{policy} {codes:?}");
    }
}

#[test]
fn a_finished_pod_says_so_everywhere_and_for_ever() {
    let pod = plain("Never");
    let mut state = with([ended(&pod, "a", 0, 1), ended(&pod, "b", 0, 1)]);
    state.stop = Some(Stop { cause: Cause::Finished, since: at(3), grace: 30 });
    let first = fresh(&pod, &state);
    assert_eq!(condition(&first, "Initialized"), text(("True", "PodCompleted", "")));
    assert_eq!(condition(&first, "Ready"), text(("False", "PodCompleted", "")));
    let forgotten = State { stop: state.stop.clone(), torn_down: true, ..ready() };
    assert_eq!(status(&pod, &forgotten, &first, 900).phase.as_deref(), Some("Succeeded"));
}

#[test]
fn a_refused_pod_has_reason_and_message_only() {
    let pod = plain("Always");
    let cause = Cause::Failed { reason: "NodeAffinity".into(), message: "no".into() };
    let state = State { stop: Some(Stop { cause, since: at(0), grace: 0 }), ..State::default() };
    let status = fresh(&pod, &state);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("NodeAffinity")));
    assert_eq!(status.container_statuses, None);
}

#[test]
fn a_pod_past_its_deadline_has_failed() {
    let pod = plain("Always");
    let mut state = with([ended(&pod, "a", 0, 1), ended(&pod, "b", 0, 1)]);
    let cause = Cause::Failed { reason: "DeadlineExceeded".into(), message: "late".into() };
    state.stop = Some(Stop { cause, since: at(0), grace: 0 });
    let status = fresh(&pod, &state);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
}

#[test]
fn init_containers_keep_a_pod_pending() {
    let init = json!([{"name": "one", "image": "i"}]);
    let pod = pod(json!({"initContainers": init, "containers": [{"name": "a", "image": "i"}]}));
    let status = fresh(&pod, &with([instance(&pod, "one", Stage::Running, 1)]));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(shown(&status, 0), json!({"waiting": {"reason": "PodInitializing"}}));
    let expect = ("False", "ContainersNotInitialized", "containers with incomplete status: [one]");
    assert_eq!(condition(&status, "Initialized"), text(expect));
    let status = fresh(&pod, &with([ended(&pod, "one", 0, 1), instance(&pod, "a", Stage::Running, 2)]));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(status.init_container_statuses.unwrap()[0].ready);
}

#[test]
fn a_pod_runs_as_long_as_its_sidecars_do() {
    let init = json!([{"name": "side", "image": "i", "restartPolicy": "Always"}]);
    let pod =
        pod(json!({"restartPolicy": "Never", "initContainers": init, "containers": [{"name": "a", "image": "i"}]}));
    let mut state = with([instance(&pod, "side", Stage::Running, 1), ended(&pod, "a", 0, 2)]);
    state.stop = Some(Stop { cause: Cause::Finished, since: at(3), grace: 30 });
    assert_eq!(fresh(&pod, &state).phase.as_deref(), Some("Running"));
    let mut state = with([ended(&pod, "side", 137, 1), ended(&pod, "a", 0, 2)]);
    state.stop = Some(Stop { cause: Cause::Finished, since: at(3), grace: 30 });
    assert_eq!(fresh(&pod, &state).phase.as_deref(), Some("Succeeded"));
}

#[test]
fn a_deleted_pod_that_never_ran_has_failed() {
    let pod = plain("Always");
    let mut state = ready();
    state.stop = Some(Stop { cause: Cause::Deleted, since: at(0), grace: 0 });
    state.torn_down = true;
    assert_eq!(fresh(&pod, &state).phase.as_deref(), Some("Failed"));
}

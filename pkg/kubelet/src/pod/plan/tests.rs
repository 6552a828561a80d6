//! The table of cases.

use super::*;
use crate::pod::crash::CrashLoop;
use crate::pod::examples::{at, ended, instance, plain, pod, ready, with};
use crate::pod::state::{Failure, Health, Instance, Stage, Volumes};
use serde_json::json;

/// The plan in short: `mount`, `sandbox 0`, `start a#1`, `kill a in 30`, ..., `stop Finished`.
fn brief(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().map(|step| match step {
        Step::Refresh => "refresh".into(),
        Step::MountVolumes => "mount".into(),
        Step::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Step::StopSandbox { id } => format!("stop {id}"),
        Step::Start { name, restarts } => format!("start {name}#{restarts}"),
        Step::Kill { name, grace, .. } => format!("kill {name} in {grace}"),
        Step::Teardown => "teardown".into(),
        Step::Delete => "delete".into(),
        Step::Remove => "remove".into(),
    });
    let stop = plan.stop.iter().map(|stop| match &stop.cause {
        Cause::Failed { reason, .. } => format!("fail {reason}"),
        cause => format!("end {cause:?}"),
    });
    steps.chain(stop).collect()
}

#[track_caller]
fn check(pod: &Pod, state: &State, seconds: i64, expect: &[&str]) -> Plan {
    let plan = plan(pod, state, at(seconds));
    assert_eq!(brief(&plan), expect);
    plan
}

fn running(pod: &Pod, name: &str) -> Instance {
    instance(pod, name, Stage::Running, 1)
}

#[test]
fn a_new_pod_gets_volumes_and_sandbox_at_once() {
    let pod = plain("Always");
    check(&pod, &State::default(), 0, &["mount", "sandbox 0"]);
    let mut state = State::default();
    state.busy.extend([Op::Volumes, Op::Sandbox]);
    check(&pod, &state, 0, &[]);
}

#[test]
fn containers_wait_for_both() {
    let pod = plain("Always");
    let mut state = ready();
    check(&pod, &state, 0, &["start a#0", "start b#0"]);
    state.volumes = Volumes::Absent;
    check(&pod, &state, 0, &["mount"]);
}

#[test]
fn a_failed_sandbox_is_tried_again_later() {
    let pod = plain("Always");
    let mut state = ready();
    state.sandboxes.clear();
    state.retries.insert(Op::Sandbox, (1, at(5)));
    let plan = check(&pod, &state, 0, &[]);
    assert_eq!(plan.wake, Some(at(5)));
    check(&pod, &state, 5, &["sandbox 0"]);
}

#[test]
fn restart_policies() {
    for (policy, code, expect) in [
        ("Always", 0, &["start a#1"][..]),
        ("Always", 1, &["start a#1"]),
        ("OnFailure", 0, &[]),
        ("OnFailure", 1, &["start a#1"]),
        ("Never", 1, &[]),
    ] {
        let pod = plain(policy);
        let state = with([ended(&pod, "a", code, 1), running(&pod, "b")]);
        check(&pod, &state, 10, expect);
    }
}

#[test]
fn a_pod_whose_containers_are_done_ends() {
    for (policy, code, over) in
        [("Never", 1, true), ("OnFailure", 0, true), ("OnFailure", 2, false), ("Always", 0, false)]
    {
        let pod = plain(policy);
        let state = with([ended(&pod, "a", code, 1), ended(&pod, "b", 0, 1)]);
        assert_eq!(plan(&pod, &state, at(10)).stop.is_some(), over, "{policy} {code}");
    }
}

#[test]
fn rules_of_a_container_come_before_policies() {
    let container = json!({
        "name": "a", "image": "i", "restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
    });
    let pod = pod(json!({"restartPolicy": "Always", "containers": [container]}));
    check(&pod, &with([ended(&pod, "a", 42, 1)]), 10, &["start a#1"]);
    check(&pod, &with([ended(&pod, "a", 1, 1)]), 10, &["end Finished"]);
}

#[test]
fn a_crash_loop_waits_and_says_so() {
    let pod = plain("Always");
    let mut state = with([ended(&pod, "a", 1, 20), running(&pod, "b")]);
    let first = CrashLoop::next(None, at(19), at(20));
    state.crashes.insert("a".into(), CrashLoop::next(Some(&first), at(20), at(20)));
    let plan = check(&pod, &state, 21, &[]);
    assert_eq!(plan.wake, Some(at(41)));
    let waiting = plan.waiting.get("a").unwrap();
    assert_eq!(waiting.reason, "CrashLoopBackOff");
    assert_eq!(waiting.message, "back-off 20s restarting failed container=a pod=p_n(u)");
    check(&pod, &state, 41, &["start a#1"]);
}

#[test]
fn a_restart_that_is_under_way_is_no_crash_loop() {
    let pod = plain("Always");
    let mut state = with([ended(&pod, "a", 1, 20), running(&pod, "b")]);
    check(&pod, &state, 20, &["start a#1"]);
    state.crashes.insert("a".into(), CrashLoop::next(None, at(20), at(20)));
    state.busy.insert(Op::Start("a".into()));
    assert!(check(&pod, &state, 20, &[]).waiting.is_empty());
}

#[test]
fn a_failure_is_shown_first_as_such_then_as_a_back_off() {
    let pod = plain("Always");
    let mut state = with([running(&pod, "b")]);
    let then = Some(("ImagePullBackOff".into(), "later".into()));
    let failure = Failure { since: at(0), retry: at(10), reason: "ErrImagePull".into(), message: "no".into(), then };
    state.failures.insert("a".into(), failure);
    for (second, reason, steps) in
        [(1, "ErrImagePull", &[][..]), (3, "ImagePullBackOff", &[]), (10, "ImagePullBackOff", &["start a#0"])]
    {
        let plan = check(&pod, &state, second, steps);
        assert_eq!(plan.waiting.get("a").unwrap().reason, reason);
    }
}

fn with_init() -> Pod {
    pod(json!({
        "restartPolicy": "Always",
        "initContainers": [
            {"name": "one", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["x"]}}},
            {"name": "two", "image": "i"},
        ],
        "containers": [{"name": "a", "image": "i"}],
    }))
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let pod = with_init();
    check(&pod, &ready(), 0, &["start one#0"]);
    check(&pod, &with([running(&pod, "one")]), 0, &[]);
    check(&pod, &with([ended(&pod, "one", 0, 1)]), 5, &["start side#0"]);
    let mut state = with([ended(&pod, "one", 0, 1), running(&pod, "side")]);
    check(&pod, &state, 5, &[]);
    state.health.insert("side-1".into(), Health { startup: Some(true), ..Health::default() });
    check(&pod, &state, 5, &["start two#0"]);
    state.instances.push(ended(&pod, "two", 0, 3));
    state.sort();
    check(&pod, &state, 5, &["start a#0"]);
    state.instances.push(instance(&pod, "a", Stage::Running, 4));
    state.sort();
    check(&pod, &state, 5, &[]);
    // The runtime has removed old instances; that must not run anything again.
    state.instances.retain(|instance| ["side", "a"].contains(&instance.name.as_str()));
    check(&pod, &state, 6, &[]);
    state.instance_mut("side-1").unwrap().stage = Stage::Exited;
    check(&pod, &state, 6, &["start side#1"]);
}

#[test]
fn a_failed_init_container_ends_a_pod_only_with_policy_never() {
    let mut pod = with_init();
    check(&pod, &with([ended(&pod, "one", 3, 1)]), 5, &["start one#1"]);
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    check(&pod, &with([ended(&pod, "one", 3, 1)]), 5, &["end Finished"]);
}

#[test]
fn init_containers_run_again_in_a_new_sandbox() {
    let pod = with_init();
    let mut state = with([ended(&pod, "one", 0, 1), ended(&pod, "two", 0, 2), ended(&pod, "a", 1, 3)]);
    for instance in &mut state.instances {
        instance.sandbox = "old".into();
    }
    check(&pod, &state, 20, &["start one#1"]);
}

#[test]
fn a_dead_sandbox_is_replaced_once_nothing_is_left_of_it() {
    let pod = plain("Always");
    let mut state = with([running(&pod, "a")]);
    state.sandboxes[0].ready = false;
    check(&pod, &state, 5, &["kill a in 30"]);
    state.instance_mut("a-1").unwrap().stage = Stage::Exited;
    check(&pod, &state, 5, &["stop s"]);
    state.stopped.insert("s".into());
    check(&pod, &state, 5, &["sandbox 1"]);
}

#[test]
fn a_finished_pod_gets_no_new_sandbox() {
    let pod = plain("OnFailure");
    let mut state = with([ended(&pod, "a", 0, 1), ended(&pod, "b", 0, 1)]);
    state.sandboxes[0].ready = false;
    check(&pod, &state, 5, &["end Finished"]);
}

#[test]
fn probes_and_changes_kill_with_upstreams_words() {
    let pod = pod(json!({"terminationGracePeriodSeconds": 7, "containers": [
        {"name": "a", "image": "i", "livenessProbe": {"terminationGracePeriodSeconds": 3, "exec": {"command": ["x"]}}},
    ]}));
    let message = |plan: &Plan| match plan.steps.first() {
        Some(Step::Kill { message, .. }) => message.clone(),
        step => panic!("{step:?}"),
    };
    let mut state = with([running(&pod, "a")]);
    state.health.insert("a-1".into(), Health { liveness: Some(false), ..Health::default() });
    let plan = check(&pod, &state, 5, &["kill a in 3"]);
    assert_eq!(message(&plan), "Container a failed liveness probe, will be restarted");
    state.health.insert("a-1".into(), Health { startup: Some(false), ..Health::default() });
    let plan = check(&pod, &state, 5, &["kill a in 7"]);
    assert_eq!(message(&plan), "Container a failed startup probe, will be restarted");
    state.health.clear();
    state.instance_mut("a-1").unwrap().hash = "other".into();
    let plan = check(&pod, &state, 5, &["kill a in 7"]);
    assert_eq!(message(&plan), "Container a definition changed, will be restarted");
}

fn deleted(mut pod: Pod, grace: i64) -> Pod {
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    pod
}

fn stopping(mut state: State, grace: i64) -> State {
    state.stop = Some(Stop { cause: Cause::Deleted, since: at(0), grace });
    state
}

#[test]
fn a_deleted_pod_ends_step_by_step() {
    let pod = deleted(plain("Always"), 30);
    let mut state = with([running(&pod, "a"), running(&pod, "b")]);
    check(&pod, &state, 0, &["end Deleted"]);
    state = stopping(state, 30);
    check(&pod, &state, 4, &["kill a in 26", "kill b in 26"]);
    for instance in &mut state.instances {
        instance.stage = Stage::Exited;
    }
    check(&pod, &state, 5, &["stop s"]);
    state.stopped.insert("s".into());
    check(&pod, &state, 5, &["teardown"]);
    state.torn_down = true;
    check(&pod, &state, 5, &[]);
    state.reported = true;
    check(&pod, &state, 5, &["delete"]);
    state.deleted = true;
    check(&pod, &state, 5, &[]);
    state.gone = true;
    check(&pod, &state, 5, &["remove"]);
    state.removed = true;
    check(&pod, &state, 5, &[]);
}

#[test]
fn less_time_cuts_a_kill_that_is_under_way() {
    let pod = deleted(plain("Always"), 1);
    let mut state = stopping(with([running(&pod, "a")]), 30);
    state.busy.insert(Op::Kill("a-1".into()));
    state.kills.insert("a-1".into(), at(30));
    check(&pod, &state, 3, &["end Deleted"]);
    state.stop = Some(Stop { cause: Cause::Deleted, since: at(3), grace: 1 });
    check(&pod, &state, 3, &["kill a in 1"]);
    state.kills.insert("a-1".into(), at(5));
    check(&pod, &state, 3, &[]);
}

#[test]
fn sidecars_end_last_and_in_reverse() {
    let pod = pod(json!({
        "initContainers": [
            {"name": "s1", "image": "i", "restartPolicy": "Always"}, {"name": "s2", "image": "i", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a", "image": "i"}],
    }));
    let mut state = stopping(with([running(&pod, "s1"), running(&pod, "s2"), running(&pod, "a")]), 10);
    for (name, expect) in [("a-1", "kill a in 10"), ("s2-1", "kill s2 in 10"), ("s1-1", "kill s1 in 10")] {
        check(&deleted(pod.clone(), 10), &state, 0, &[expect]);
        state.instance_mut(name).unwrap().stage = Stage::Exited;
    }
}

#[test]
fn what_is_being_started_is_awaited_before_the_end() {
    let pod = deleted(plain("Always"), 30);
    let mut state = stopping(ready(), 30);
    state.busy.insert(Op::Start("a".into()));
    check(&pod, &state, 1, &[]);
    state.busy.clear();
    state.stale = true;
    check(&pod, &state, 1, &["refresh"]);
}

#[test]
fn a_pod_has_a_deadline() {
    let mut pod = plain("Always");
    pod.spec.as_mut().unwrap().active_deadline_seconds = Some(60);
    let state = with([running(&pod, "a"), running(&pod, "b")]);
    let plan = check(&pod, &state, 10, &[]);
    assert_eq!(plan.wake, Some(at(60)));
    check(&pod, &state, 60, &["fail DeadlineExceeded"]);
}

#[test]
fn a_pod_that_ended_before_is_only_cleaned_up() {
    let mut pod = plain("Never");
    pod.status = Some(k8s_openapi::api::core::v1::PodStatus { phase: Some("Succeeded".into()), ..Default::default() });
    check(&pod, &State::default(), 0, &["end Finished"]);
    let state = State { stop: plan(&pod, &State::default(), at(0)).stop, ..State::default() };
    check(&pod, &state, 0, &["teardown"]);
}

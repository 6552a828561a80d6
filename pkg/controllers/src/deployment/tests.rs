//! Rollouts, step by step.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSetStatus, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::*;
use crate::pods::tests::at;

fn deployment(replicas: i32, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "generation": 2},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    }))
    .unwrap()
}

fn recreate(mut deployment: Deployment) -> Deployment {
    let strategy = deployment.spec.as_mut().unwrap().strategy.as_mut().unwrap();
    strategy.type_ = Some("Recreate".into());
    strategy.rolling_update = None;
    deployment
}

/// The set that the Deployment would make, with a size and that many available pods.
fn set(deployment: &Deployment, image: &str, size: i32, available: i32, revision: i64) -> ReplicaSet {
    let mut of = deployment.clone();
    of.spec.as_mut().unwrap().paused = None;
    of.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    let mut plan = steps(&of, &[]);
    let mut set = plan.write.remove(0).set;
    set.metadata.uid = Some(format!("uid-{image}"));
    set.metadata.creation_timestamp = Some(Time(at(revision)));
    set.annotations_mut().insert(history::REVISION.into(), revision.to_string());
    set.spec.as_mut().unwrap().replicas = Some(size);
    set.status = Some(ReplicaSetStatus {
        replicas: size,
        ready_replicas: Some(available),
        available_replicas: Some(available),
        observed_generation: Some(1),
        terminating_replicas: Some(0),
        ..Default::default()
    });
    set
}

fn steps(deployment: &Deployment, sets: &[ReplicaSet]) -> Plan {
    let sets = sets.iter().cloned().map(Arc::new).collect();
    plan::plan(Observed { deployment, sets, busy: HashSet::new(), now: at(1000) })
}

/// `image: from -> to` of every set that changes its size.
fn sizes(plan: &Plan) -> Vec<String> {
    let image = |set: &ReplicaSet| {
        let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
        template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
    };
    let resized = plan.write.iter().filter(|member| member.from != Some(member.size()));
    resized.map(|m| format!("{}: {:?} -> {}", image(&m.set), m.from, m.size())).collect()
}

fn condition(plan: &Plan, kind: &str) -> Option<(String, String)> {
    let found = conditions::find(plan.status.conditions.as_deref().unwrap_or_default(), kind)?;
    Some((found.status.clone(), found.reason.clone().unwrap()))
}

#[test]
fn a_new_deployment_gets_its_first_set() {
    let plan = steps(&deployment(3, "v1"), &[]);
    assert_eq!(sizes(&plan), ["v1: None -> 3"]);
    let set = &plan.write[0].set;
    let hash = set.labels()[hash::LABEL].clone();
    assert_eq!(set.name_any(), format!("web-{hash}"));
    let spec = set.spec.as_ref().unwrap();
    assert_eq!(spec.selector.match_labels.as_ref().unwrap()[hash::LABEL], hash);
    assert_eq!(spec.template.as_ref().unwrap().metadata.as_ref().unwrap().labels.as_ref().unwrap()[hash::LABEL], hash);
    assert_eq!(set.annotations()["deployment.kubernetes.io/max-replicas"], "4");
    assert_eq!(plan.revision.as_deref(), Some("1"));
    assert_eq!(condition(&plan, "Progressing"), Some(("True".into(), "NewReplicaSetCreated".into())));
    assert_eq!(condition(&plan, "Available"), Some(("False".into(), "MinimumReplicasUnavailable".into())));
}

#[test]
fn rolling_update_step_by_step() {
    let d = deployment(4, "v2");
    // (old size, old available, new size, new available) -> changes; 25% of 4: one more, one less.
    type Case<'a> = ((i32, i32), Option<(i32, i32)>, &'a [&'a str]);
    let cases: [Case<'_>; 7] = [
        ((4, 4), None, &["v2: None -> 1", "v1: Some(4) -> 3"]),
        ((4, 4), Some((1, 0)), &["v1: Some(4) -> 3"]),
        ((3, 3), Some((1, 0)), &["v2: Some(1) -> 2"]),
        ((3, 3), Some((2, 0)), &[]),
        ((3, 3), Some((2, 1)), &["v1: Some(3) -> 2"]),
        ((3, 1), Some((2, 0)), &[]),
        ((0, 0), Some((4, 4)), &[]),
    ];
    for ((size, available), new, expected) in cases {
        let mut sets = vec![set(&d, "v1", size, available, 1)];
        sets.extend(new.map(|(size, available)| set(&d, "v2", size, available, 2)));
        assert_eq!(sizes(&steps(&d, &sets)), *expected, "old {size}/{available}, new {new:?}");
    }
}

#[test]
fn unhealthy_old_pods_go_first() {
    let d = deployment(10, "v3");
    let sets = [set(&d, "v1", 4, 4, 1), set(&d, "v2", 6, 1, 2), set(&d, "v3", 3, 3, 3)];
    // 8 must stay available, 8 are; only the unhealthy ones may go: 13 - 8 = 5.
    assert_eq!(sizes(&steps(&d, &sets)), ["v2: Some(6) -> 1"]);
}

#[test]
fn recreate_waits_for_the_end_of_old_pods() {
    let d = recreate(deployment(3, "v2"));
    let old = set(&d, "v1", 3, 3, 1);
    assert_eq!(sizes(&steps(&d, std::slice::from_ref(&old))), ["v1: Some(3) -> 0"]);
    let mut empty = set(&d, "v1", 0, 0, 1);
    let busy: HashSet<String> = [empty.metadata.uid.clone().unwrap()].into();
    let waiting = plan::plan(Observed { deployment: &d, sets: vec![Arc::new(empty.clone())], busy, now: at(1000) });
    assert_eq!(sizes(&waiting), [""; 0]);
    empty.status.as_mut().unwrap().replicas = 1;
    assert_eq!(sizes(&steps(&d, std::slice::from_ref(&empty))), [""; 0]);
    empty.status.as_mut().unwrap().replicas = 0;
    assert_eq!(sizes(&steps(&d, &[empty])), ["v2: None -> 3"]);
}

#[test]
fn going_back_reuses_the_old_set_with_a_new_revision() {
    let d = deployment(2, "v1");
    let plan = steps(&d, &[set(&d, "v1", 0, 0, 1), set(&d, "v2", 2, 2, 2)]);
    let new = plan.write.iter().find(|member| member.set.annotations()[history::REVISION] == "3").unwrap();
    assert_eq!(new.set.annotations()["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(new.size(), 1);
    assert_eq!(plan.revision.as_deref(), Some("3"));
}

#[test]
fn a_paused_deployment_is_scaled_but_not_rolled_out() {
    let mut d = deployment(4, "v2");
    d.spec.as_mut().unwrap().paused = Some(true);
    let old = set(&d, "v1", 4, 4, 1);
    let plan = steps(&d, std::slice::from_ref(&old));
    assert_eq!(sizes(&plan), [""; 0]);
    assert_eq!(condition(&plan, "Progressing"), Some(("Unknown".into(), "DeploymentPaused".into())));
    d.spec.as_mut().unwrap().replicas = Some(6);
    assert_eq!(sizes(&steps(&d, &[old])), ["v1: Some(4) -> 6"]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut d = deployment(10, "v2");
    let bounds =
        RollingUpdateDeployment { max_surge: Some(IntOrString::Int(3)), max_unavailable: Some(IntOrString::Int(2)) };
    d.spec.as_mut().unwrap().strategy.as_mut().unwrap().rolling_update = Some(bounds);
    // The example of the documentation: 8 old and 5 new pods, scaled from 10 to 15: 3 more for the old, 2 for the new.
    let sets = [set(&d, "v1", 8, 8, 1), set(&d, "v2", 5, 0, 2)];
    d.spec.as_mut().unwrap().replicas = Some(15);
    assert_eq!(sizes(&steps(&d, &sets)), ["v2: Some(5) -> 7", "v1: Some(8) -> 11"]);
    d.spec.as_mut().unwrap().replicas = Some(0);
    assert_eq!(sizes(&steps(&d, &sets)), ["v2: Some(5) -> 0", "v1: Some(8) -> 0"]);
}

#[test]
fn progress_is_judged_by_time() {
    let mut d = deployment(2, "v1");
    let healthy = set(&d, "v1", 2, 2, 1);
    let stuck = set(&d, "v1", 2, 1, 1);
    let complete = steps(&d, std::slice::from_ref(&healthy));
    assert_eq!(condition(&complete, "Progressing"), Some(("True".into(), "NewReplicaSetAvailable".into())));
    assert_eq!(complete.again, None);
    // (progress last seen at, status before) -> (reason, next look)
    let counted = |available| DeploymentStatus {
        replicas: Some(2),
        updated_replicas: Some(2),
        ready_replicas: Some(available),
        available_replicas: Some(available),
        ..Default::default()
    };
    let cases = [
        (900, counted(1), "ReplicaSetUpdated", Some(501)),
        (100, counted(0), "ReplicaSetUpdated", Some(601)),
        (100, counted(1), "ProgressDeadlineExceeded", None),
    ];
    for (seen, before, reason, again) in cases {
        let condition_ = conditions::new(conditions::PROGRESSING, "True", "ReplicaSetUpdated", "", at(seen));
        d.status = Some(DeploymentStatus { conditions: Some(vec![condition_]), ..before });
        let plan = steps(&d, std::slice::from_ref(&stuck));
        assert_eq!(condition(&plan, "Progressing").unwrap().1, reason);
        assert_eq!(plan.again.map(|again| again.as_secs()), again, "{reason}");
    }
}

#[test]
fn a_settled_deployment_changes_nothing_and_forgets_what_is_too_old() {
    let mut d = deployment(2, "v4");
    d.spec.as_mut().unwrap().revision_history_limit = Some(1);
    let sets = [set(&d, "v1", 0, 0, 1), set(&d, "v2", 0, 0, 2), set(&d, "v3", 0, 0, 3), set(&d, "v4", 2, 2, 4)];
    let first = steps(&d, &sets);
    d.status = Some(first.status);
    d.annotations_mut().insert(history::REVISION.into(), first.revision.unwrap());
    let second = steps(&d, &sets);
    assert!(second.write.is_empty() && second.revision.is_none(), "{second:?}");
    assert!(!status::differs(d.status.as_ref().unwrap(), &second.status));
    let names = |indexes: [usize; 2]| indexes.map(|index| sets[index].name_any()).to_vec();
    assert_eq!(second.delete, names([0, 1]));
}

#[test]
fn failures_of_sets_are_shown() {
    let d = deployment(2, "v1");
    let mut failing = set(&d, "v1", 2, 0, 1);
    let failure = k8s_openapi::api::apps::v1::ReplicaSetCondition {
        type_: "ReplicaFailure".into(),
        status: "True".into(),
        reason: Some("FailedCreate".into()),
        ..Default::default()
    };
    failing.status.as_mut().unwrap().conditions = Some(vec![failure]);
    let plan = steps(&d, &[failing]);
    assert_eq!(condition(&plan, "ReplicaFailure"), Some(("True".into(), "FailedCreate".into())));
}

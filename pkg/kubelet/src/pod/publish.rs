//! Writing a pod's status.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::spec::PodExt as _;

/// What became of a patch.
#[derive(Debug)]
pub(super) enum Patched {
    /// The API took the status and shows this pod now.
    Now(Box<(PodStatus, Pod)>),
    Failed(Box<kube::Error>),
}

/// A status that was written and that the API nevertheless shows differently is written again after this long.
const REPEAT: SignedDuration = SignedDuration::from_mins(1);

/// What the API shows of a pod, and what we have told it.
#[derive(Debug)]
pub(super) struct Publisher {
    shown: PodStatus,
    /// The revision of the pod that shows it.
    revision: u64,
    written: Option<(PodStatus, Timestamp)>,
    patching: bool,
    failures: u32,
    /// After a failure nothing is sent before this.
    again: Option<Timestamp>,
    /// When to look again although nothing has changed.
    retry: Option<Timestamp>,
}

impl Publisher {
    pub(super) fn new(pod: &Pod) -> Self {
        let shown = pod.status.clone().unwrap_or_default();
        Self { shown, revision: revision(pod), written: None, patching: false, failures: 0, again: None, retry: None }
    }

    /// What the API shows, as far as we know.
    pub(super) fn shown(&self) -> &PodStatus {
        &self.shown
    }

    /// When to try again although nothing has changed.
    pub(super) fn retry(&self) -> Option<Timestamp> {
        self.retry
    }

    /// The watch shows a pod: somebody else may have changed its status.
    pub(super) fn heard(&mut self, pod: &Pod) {
        self.show(revision(pod), pod.status.clone());
    }

    /// Watch and answers come by different ways: the newest counts.
    fn show(&mut self, revision: u64, status: Option<PodStatus>) {
        if revision > self.revision {
            (self.shown, self.revision) = (status.unwrap_or_default(), revision);
        }
    }

    /// Whether the API has this status.
    pub(super) fn settled(&self, status: &PodStatus) -> bool {
        *status == self.shown || self.written.as_ref().is_some_and(|(written, _)| written == status)
    }

    /// Whether to send this status now; if so, it is under way until [`Publisher::done`].
    pub(super) fn start(&mut self, status: &PodStatus, now: Timestamp) -> bool {
        if self.patching || *status == self.shown || self.again.is_some_and(|at| at > now) {
            return false;
        }
        if let Some((written, at)) = &self.written
            && written == status
            && now < *at + REPEAT
        {
            self.retry = Some(*at + REPEAT);
            return false;
        }
        (self.patching, self.retry) = (true, None);
        true
    }

    /// The patch has been answered.
    pub(super) fn done(&mut self, pod: &Pod, patched: Patched, now: Timestamp) {
        self.patching = false;
        match patched {
            Patched::Now(answer) => {
                let (status, pod) = *answer;
                (self.failures, self.again, self.retry) = (0, None, None);
                self.show(revision(&pod), pod.status);
                if self.shown != status {
                    let differs = difference(&value(&self.shown), &value(&status));
                    tracing::debug!("the API shows the status in another form: {differs}");
                }
                self.written = Some((status, now));
            }
            Patched::Failed(error) => {
                match *error {
                    // Gone, or another pod of that name: the watch is about to say so.
                    kube::Error::Api(status) if matches!(status.code, 404 | 409) => {}
                    error => tracing::warn!("{}: cannot update the status: {error}", pod.full_name()),
                }
                self.failures = self.failures.saturating_add(1).min(8);
                let delay = SignedDuration::from_millis(50).saturating_mul(2_i32.pow(self.failures));
                (self.again, self.retry) = (Some(now + delay), Some(now + delay));
            }
        }
    }
}

fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Sends what differs between `before` and `after` as a strategic merge patch, so that conditions of others stay, and for
/// this very pod only.
pub(super) async fn patch(client: kube::Client, pod: &Pod, before: &PodStatus, after: PodStatus) -> Patched {
    let pods: Api<Pod> = Api::namespaced(client, pod.namespace());
    let body = json!({"metadata": {"uid": pod.uid()}, "status": difference(&value(before), &value(&after))});
    match pods.patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(body)).await {
        Ok(pod) => Patched::Now(Box::new((after, pod))),
        Err(error) => Patched::Failed(Box::new(error)),
    }
}

fn value(status: &PodStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// The fields of `after` that differ from `before`; those that are gone as null. Conditions are merged by their type, other
/// lists replaced as a whole.
fn difference(before: &Value, after: &Value) -> Value {
    let mut patch = serde_json::Map::new();
    let empty = serde_json::Map::new();
    let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    for (field, value) in new {
        if old.get(field) == Some(value) {
            continue;
        }
        let value = match (field.as_str(), value) {
            ("podIPs" | "hostIPs", Value::Array(items)) => {
                let mut items = items.clone();
                items.push(json!({"$patch": "replace"}));
                Value::Array(items)
            }
            ("conditions", Value::Array(items)) => conditions(old.get(field), items),
            _ => value.clone(),
        };
        patch.insert(field.clone(), value);
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// The conditions that differ. A merge keeps fields that a patch does not name, so those that are gone are named as null.
fn conditions(before: Option<&Value>, after: &[Value]) -> Value {
    let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let changed = after.iter().filter(|condition| !before.contains(condition));
    changed
        .map(|condition| {
            let mut merged = condition.clone();
            let former = before.iter().find(|former| former.get("type") == condition.get("type"));
            if let (Some(fields), Some(former)) = (merged.as_object_mut(), former.and_then(Value::as_object)) {
                for field in former.keys() {
                    fields.entry(field.clone()).or_insert(Value::Null);
                }
            }
            merged
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::at;

    fn shows(revision: u64, phase: &str) -> Pod {
        let metadata = json!({"name": "p", "resourceVersion": revision.to_string()});
        serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap()
    }

    fn status(phase: &str) -> PodStatus {
        PodStatus { phase: Some(phase.into()), ..PodStatus::default() }
    }

    #[test]
    fn one_patch_at_a_time_and_only_on_change() {
        let mut publisher = Publisher::new(&shows(1, "Pending"));
        assert!(!publisher.start(&status("Pending"), at(0)));
        assert!(publisher.start(&status("Running"), at(0)));
        assert!(!publisher.start(&status("Failed"), at(0)), "the first one is under way");
        publisher.heard(&shows(2, "Unknown"));
        assert_eq!(publisher.shown(), &status("Unknown"), "the watch is ahead of the answer");
        publisher.done(&shows(1, "Pending"), Patched::Now(Box::new((status("Running"), shows(3, "Running")))), at(0));
        assert!(publisher.settled(&status("Running")) && !publisher.start(&status("Running"), at(0)));
        publisher.heard(&shows(2, "Pending"));
        assert_eq!(publisher.shown(), &status("Running"), "an older revision changes nothing");
    }

    #[test]
    fn an_answer_does_not_hide_what_the_watch_has_shown_since() {
        let mut publisher = Publisher::new(&shows(1, "Pending"));
        assert!(publisher.start(&status("Running"), at(0)));
        publisher.heard(&shows(3, "Unknown"));
        publisher.done(&shows(1, ""), Patched::Now(Box::new((status("Running"), shows(2, "Running")))), at(0));
        assert_eq!(publisher.shown(), &status("Unknown"));
    }

    #[test]
    fn what_others_overwrite_is_repaired_but_not_in_a_loop() {
        let mut publisher = Publisher::new(&shows(1, "Pending"));
        assert!(publisher.start(&status("Running"), at(0)));
        publisher.done(&shows(1, ""), Patched::Now(Box::new((status("Running"), shows(2, "Running")))), at(0));
        publisher.heard(&shows(3, "Unknown"));
        assert!(publisher.settled(&status("Running")), "a deletion does not wait for the repair");
        assert!(!publisher.start(&status("Running"), at(1)));
        assert_eq!(publisher.retry(), Some(at(60)));
        assert!(publisher.start(&status("Failed"), at(2)), "what is new does not wait");
        publisher.done(&shows(1, ""), Patched::Now(Box::new((status("Running"), shows(4, "Unknown")))), at(0));
        assert!(publisher.start(&status("Running"), at(60)));
    }

    #[test]
    fn only_what_differs_is_sent() {
        let before = json!({"phase": "Pending", "qosClass": "BestEffort", "reason": "X"});
        let after = json!({"phase": "Running", "qosClass": "BestEffort", "podIPs": [{"ip": "10.42.0.5"}]});
        let expect =
            json!({"phase": "Running", "reason": null, "podIPs": [{"ip": "10.42.0.5"}, {"$patch": "replace"}]});
        assert_eq!(difference(&before, &after), expect);
    }

    /// The API server's own strategic merge makes of `before` exactly `after`, and keeps what others have put there.
    #[test]
    fn the_patch_arrives_as_it_was_meant() {
        let before = json!({
            "phase": "Pending", "reason": "X", "podIPs": [{"ip": "10.42.0.4"}],
            "conditions": [{"type": "Theirs", "status": "True"}, {"type": "Ready", "status": "False", "reason": "Y"}],
            "containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ContainerCreating"}}}],
        });
        let after = json!({
            "phase": "Running", "podIPs": [{"ip": "10.42.0.5"}],
            "conditions": [{"type": "Theirs", "status": "True"}, {"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "a", "image": "i", "imageID": "x", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
        });
        let body = json!({"status": difference(&before, &after)}).to_string();
        let kind = knarr_api::patch::PatchKind::Strategic;
        let patch = knarr_api::patch::Patch::parse(kind, body.as_bytes()).unwrap();
        let object = json!({"status": before}).as_object().unwrap().clone();
        let patched = patch.apply(object, knarr_api::schema::root("io.k8s.api.core.v1.Pod")).unwrap();
        assert_eq!(Value::Object(patched), json!({"status": after}));
    }
}

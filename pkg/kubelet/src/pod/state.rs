//! What is known of one pod at run time. The actor owns it; planning and reporting only read it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::crash::CrashLoop;

/// A sandbox of the pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) ready: bool,
    pub(crate) created_at: Timestamp,
    /// The pod's addresses, the primary first.
    pub(crate) ips: Vec<String>,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Created,
    Running,
    Exited,
    Unknown,
}

/// A container that the runtime knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox: String,
    pub(crate) restarts: u32,
    /// Of the specification that it was made from.
    pub(crate) hash: String,
    pub(crate) stage: Stage,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) user: Option<(i64, i64, Vec<i64>)>,
    pub(crate) stop_signal: Option<String>,
}

/// What the probes of a running container have found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// `None` until the startup probe has come to a result.
    pub(crate) startup: Option<bool>,
    pub(crate) liveness: Option<bool>,
    pub(crate) readiness: Option<bool>,
}

/// A container that could not be started, and what `status` says of it meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) since: Timestamp,
    pub(crate) retry: Timestamp,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Reason and message once the failure has been shown for a moment and the next attempt is awaited.
    pub(crate) then: Option<(String, String)>,
}

/// Something the actor has under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Op {
    Refresh,
    Volumes,
    Sandbox,
    StopSandbox(String),
    Start(String),
    Kill(String),
    Teardown,
    Delete,
    Remove,
}

/// Why a pod ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is being deleted, or is gone.
    Deleted,
    /// Its containers have done what they were for.
    Finished,
    /// The node ends it: reason and message become the pod's.
    Failed { reason: String, message: String },
}

/// A pod that is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) cause: Cause,
    pub(crate) since: Timestamp,
    /// Seconds.
    pub(crate) grace: i64,
}

/// Whether the pod's volumes can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Volumes {
    #[default]
    Absent,
    Ready,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Newest first.
    pub(crate) sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub(crate) instances: Vec<Instance>,
    pub(crate) volumes: Volumes,
    /// By container id.
    pub(crate) health: HashMap<String, Health>,
    /// By container name.
    pub(crate) failures: BTreeMap<String, Failure>,
    /// By container name.
    pub(crate) crashes: HashMap<String, CrashLoop>,
    /// Operations that failed: how often, and when they are tried again.
    pub(crate) retries: BTreeMap<Op, (u32, Timestamp)>,
    pub(crate) busy: BTreeSet<Op>,
    /// By container id: when the kill that is under way ends by force.
    pub(crate) kills: HashMap<String, Timestamp>,
    /// Sandboxes whose process has ended.
    pub(crate) dead: BTreeSet<String>,
    /// Sandboxes whose network has been freed.
    pub(crate) stopped: BTreeSet<String>,
    /// An operation was given up: only the runtime knows what it has done.
    pub(crate) stale: bool,
    /// Something was seen while a look at the whole pod was under way, whose answer may be older.
    pub(crate) overtaken: bool,
    pub(crate) stop: Option<Stop>,
    pub(crate) torn_down: bool,
    /// The API has the current status.
    pub(crate) reported: bool,
    /// The API has no such pod any more.
    pub(crate) gone: bool,
    pub(crate) deleted: bool,
    pub(crate) removed: bool,
    /// When this kubelet first saw the pod; `status.startTime` unless the API has one.
    pub(crate) seen_at: Option<Timestamp>,
}

impl State {
    /// The newest instance of a container.
    pub(crate) fn latest(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    /// The newest instance of a container that lives in this sandbox.
    pub(crate) fn latest_in(&self, name: &str, sandbox: &str) -> Option<&Instance> {
        self.latest(name).filter(|instance| instance.sandbox == sandbox)
    }

    pub(crate) fn instance_mut(&mut self, id: &str) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.id == id)
    }

    /// The sandbox that containers are started in.
    pub(crate) fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    pub(crate) fn busy(&self, op: &Op) -> bool {
        self.busy.contains(op)
    }

    /// Whether something like this is under way.
    pub(crate) fn any_busy(&self, like: impl Fn(&Op) -> bool) -> bool {
        self.busy.iter().any(like)
    }

    pub(crate) fn health(&self, id: &str) -> Health {
        self.health.get(id).copied().unwrap_or_default()
    }

    /// Takes what was seen of a container; an end that is known already is not undone by an older look.
    pub(crate) fn see(&mut self, instance: Instance) {
        match self.instance_mut(&instance.id) {
            Some(known) if known.stage == Stage::Exited => return,
            Some(known) => *known = instance,
            None => self.instances.push(instance),
        }
        self.overtaken = self.busy(&Op::Refresh);
        self.sort();
    }

    /// Takes a sandbox that has just been made.
    pub(crate) fn made(&mut self, sandbox: Sandbox) {
        self.sandboxes.push(sandbox);
        self.overtaken = self.busy(&Op::Refresh);
        self.sort();
    }

    /// Takes the answer to a look at the whole pod, and forgets what concerned containers and sandboxes that are no more.
    /// An answer that may not know the newest ones is no answer: the pod stays stale.
    pub(crate) fn refresh(&mut self, sandboxes: Vec<Sandbox>, instances: Vec<Instance>) {
        if std::mem::take(&mut self.overtaken) {
            self.stale = true;
            return;
        }
        (self.stale, self.sandboxes, self.instances) = (false, sandboxes, instances);
        let (sandboxes, instances) = (&mut self.sandboxes, &self.instances);
        self.dead.retain(|id| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        self.stopped.retain(|id| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        self.health.retain(|id, _| instances.iter().any(|instance| instance.id == *id));
        self.kills.retain(|id, _| instances.iter().any(|instance| instance.id == *id));
        for sandbox in sandboxes {
            sandbox.ready &= !self.dead.contains(&sandbox.id) && !self.stopped.contains(&sandbox.id);
        }
        self.sort();
    }

    /// Puts what the runtime has told in order.
    pub(crate) fn sort(&mut self) {
        self.sandboxes.sort_by_key(|sandbox| Reverse((sandbox.attempt, sandbox.created_at)));
        self.instances.sort_by_key(|instance| Reverse((instance.created_at, instance.restarts)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::{ended, instance, plain, ready, with};

    #[test]
    fn an_older_look_does_not_hide_what_was_seen_since_it_began() {
        let pod = plain("Always");
        let (old, new) = (ended(&pod, "a", 1, 1), instance(&pod, "a", Stage::Running, 5));
        let mut state = with([old.clone()]);
        state.stale = true;
        state.busy.insert(Op::Refresh);
        state.see(new.clone());
        state.busy.remove(&Op::Refresh);
        state.refresh(ready().sandboxes, vec![old.clone()]);
        assert_eq!(state.latest("a"), Some(&new), "it would be started twice");
        assert!(state.stale, "and is looked at again");
        state.refresh(ready().sandboxes, vec![old, new]);
        assert!(!state.stale && state.instances.len() == 2);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut state = with([ended(&plain("Always"), "a", 1, 1)]);
        state.health.insert("a-1".into(), Health::default());
        state.kills.insert("a-1".into(), Timestamp::UNIX_EPOCH);
        state.stopped.extend(["s".to_owned(), "former".to_owned()]);
        state.refresh(ready().sandboxes, Vec::new());
        assert!(state.health.is_empty() && state.kills.is_empty());
        assert_eq!(state.stopped, ["s".to_owned()].into());
        assert!(state.sandbox().is_none(), "one that was stopped is not ready, whatever the runtime's books say");
    }
}

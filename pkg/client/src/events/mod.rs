//! `v1 Event`s: what `kubectl describe` shows below an object.
//!
//! Recording never waits: occurrences go into a bounded queue and are lost, with a log line, when it is full. One writer per
//! process correlates them as client-go does (see [`correlate`]) and writes each under its component's own identity.

mod correlate;

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use tokio::sync::mpsc;
use tokio::time::Instant;

use correlate::Correlator;

/// Occurrences that wait for the writer; more are dropped.
const QUEUE: usize = 1000;

/// How often an unreachable API server is tried for one event (client-go's `maxTriesPerEvent`).
const TRIES: u32 = 12;

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Information.
    Normal,
    /// Something that a human may have to look at.
    Warning,
}

impl Type {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Where recorders put what they see. Cloning is cheap.
#[derive(Clone)]
pub struct Sink(mpsc::Sender<Occurrence>);

/// The task that writes what the recorders of a [`Sink`] see.
pub struct Writer {
    incoming: mpsc::Receiver<Occurrence>,
    correlator: Correlator,
}

/// A sink, and the component that empties it.
#[must_use]
pub fn channel() -> (Sink, Writer) {
    let (sender, incoming) = mpsc::channel(QUEUE);
    (Sink(sender), Writer { incoming, correlator: Correlator::default() })
}

impl Sink {
    /// Records as `component` on `host` (empty where that has no meaning), and writes with `client`.
    #[must_use]
    pub fn recorder(&self, client: kube::Client, component: &str, host: &str) -> Recorder {
        let optional = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let source = EventSource { component: optional(component), host: optional(host) };
        Recorder { sink: self.clone(), client, source }
    }
}

/// Tells what happens to objects. Cloning is cheap.
#[derive(Clone)]
pub struct Recorder {
    sink: Sink,
    client: kube::Client,
    source: EventSource,
}

impl Recorder {
    /// Something happened to `object`: `reason` is one word in CamelCase, `message` is for humans.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event_on(reference(object), kind, reason, message);
    }

    /// Something happened to what `involved` names, for example one container of a pod by its `fieldPath`.
    pub fn event_on(&self, involved: ObjectReference, kind: Type, reason: &str, message: impl Into<String>) {
        let event = event(involved, &self.source, kind, reason, message.into(), Timestamp::now());
        tracing::debug!(reason, message = event.message, object = event.involved_object.name, "event");
        if self.sink.0.try_send(Occurrence { client: self.client.clone(), event }).is_err() {
            tracing::warn!(reason, "too many events, one is lost");
        }
    }
}

/// A reference to a whole object.
#[must_use]
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: object.meta().resource_version.clone(), ..object.object_ref(&()) }
}

struct Occurrence {
    client: kube::Client,
    event: Event,
}

fn event(
    involved: ObjectReference,
    source: &EventSource,
    kind: Type,
    reason: &str,
    message: String,
    now: Timestamp,
) -> Event {
    let mut event = Event {
        involved_object: involved,
        reason: Some(reason.to_owned()),
        message: Some(message),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        type_: Some(kind.as_str().to_owned()),
        source: Some(source.clone()),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        ..Event::default()
    };
    event.metadata.name = Some(event_name(event.involved_object.name.as_deref().unwrap_or_default(), now));
    event.metadata.namespace = event.involved_object.namespace.clone().or_else(|| Some("default".to_owned()));
    event
}

/// The object's name and the time; without the name where an Event could not carry it (some RBAC names).
fn event_name(object: &str, now: Timestamp) -> String {
    let subdomain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let usable = !object.is_empty() && object.len() < 230 && object.bytes().all(subdomain);
    format!("{}.{:x}", if usable { object } else { "event" }, now.as_nanosecond())
}

impl Writer {
    /// Writes until the drain; what is queued then is written if that needs no waiting.
    ///
    /// # Errors
    /// Never; an event that cannot be written is dropped.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        while let Some(Some(Occurrence { client, event })) = shutdown.or(self.incoming.recv()).await {
            if let Some(event) = self.correlator.observe(event, Instant::now()) {
                let api = Api::namespaced(client, event.metadata.namespace.as_deref().unwrap_or("default"));
                let _draining = shutdown.or(write(&api, event)).await;
            }
        }
        shutdown.wait().await;
        Ok(())
    }
}

/// Writes one event; waits while the server cannot be reached, gives up when it says no.
async fn write(api: &Api<Event>, event: Event) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
    for _ in 0..TRIES {
        match write_once(api, &event).await {
            Ok(()) => return,
            Err(kube::Error::Api(status)) => {
                return tracing::debug!(error = %status, reason = event.reason, "the server refused an event");
            }
            Err(error) => tracing::debug!(%error, "an event cannot be written now"),
        }
        tokio::time::sleep(backoff.delay()).await;
    }
    tracing::warn!(reason = event.reason, message = event.message, "an event was given up");
}

async fn write_once(api: &Api<Event>, event: &Event) -> Result<(), kube::Error> {
    if event.count > Some(1) {
        let name = event.metadata.name.as_deref().unwrap_or_default();
        let patch = serde_json::json!({
            "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
        });
        match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            // It has expired meanwhile: create it anew.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => return other.map(|_| ()),
        }
    }
    api.create(&PostParams::default(), event).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_for_any_object() {
        let now = Timestamp::from_nanosecond(0x1234).unwrap();
        assert_eq!(event_name("web-1", now), "web-1.1234");
        assert_eq!(event_name("system:node", now), "event.1234");
        assert_eq!(event_name("", now), "event.1234");
    }

    #[test]
    fn events_of_nodes_live_in_the_default_namespace() {
        let node = ObjectReference { kind: Some("Node".into()), name: Some("edge-1".into()), ..Default::default() };
        let source = EventSource { component: Some("kubelet".into()), host: Some("edge-1".into()) };
        let event = event(node, &source, Type::Normal, "Starting", "Starting kubelet.".into(), Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.reporting_component.as_deref(), Some("kubelet"));
        assert_eq!(event.reporting_instance.as_deref(), Some("edge-1"));
    }
}

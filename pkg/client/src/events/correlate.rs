//! Keeps repeated events from flooding the store, by the rules of client-go's `EventCorrelator`:
//!
//! 1. *Aggregation*: from the tenth different message of one reason about one object within ten minutes on, further ones
//!    become one event, "(combined from similar events): ...".
//! 2. *Counting*: an event that differs from an earlier one only in its time raises that one's count.
//! 3. *Spam*: per component, object and type, 25 events at once and one more every five minutes.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

const SIMILAR: usize = 10;
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// How many keys of each rule are remembered at least.
const REMEMBERED: usize = 2048;

#[derive(Default)]
pub(super) struct Correlator {
    similar: Recent<Similar>,
    counted: Recent<Counted>,
    budgets: Recent<Budget>,
}

/// Different messages of one reason.
struct Similar {
    messages: HashSet<u64>,
    last: Instant,
}

/// An event that has been written.
struct Counted {
    name: Option<String>,
    first: Option<Time>,
    count: i32,
}

/// A token bucket.
struct Budget {
    left: f64,
    at: Instant,
}

impl Correlator {
    /// What is to be written: a new event, or one whose count is above one and whose name is that of the event to patch.
    /// `None` when there are too many.
    pub(super) fn observe(&mut self, mut event: Event, now: Instant) -> Option<Event> {
        let key = self.aggregate(&mut event, now);
        self.count(key, &mut event);
        self.afford(&event, now).then_some(event)
    }

    fn aggregate(&mut self, event: &mut Event, now: Instant) -> u64 {
        let aggregate = hash((subject(event), &event.involved_object.api_version, &event.reason));
        let own = hash((aggregate, &event.involved_object.field_path, &event.message));
        let similar = self.similar.entry(aggregate, || Similar { messages: HashSet::new(), last: now });
        if now.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        let message = hash(&event.message);
        // One more than is needed would only grow the set.
        if similar.messages.len() + 1 < SIMILAR || similar.messages.contains(&message) {
            similar.messages.insert(message);
            return own;
        }
        event.message =
            Some(format!("(combined from similar events): {}", event.message.as_deref().unwrap_or_default()));
        aggregate
    }

    fn count(&mut self, key: u64, event: &mut Event) {
        let (name, first) = (&event.metadata.name, &event.first_timestamp);
        let counted = self.counted.entry(key, || Counted { name: name.clone(), first: first.clone(), count: 0 });
        counted.count = counted.count.saturating_add(1);
        event.metadata.name.clone_from(&counted.name);
        event.first_timestamp.clone_from(&counted.first);
        event.count = Some(counted.count);
    }

    fn afford(&mut self, event: &Event, now: Instant) -> bool {
        let budget = self.budgets.entry(hash(subject(event)), || Budget { left: BURST, at: now });
        let refilled = budget.left + now.duration_since(budget.at).as_secs_f64() / REFILL_SECONDS;
        *budget = Budget { left: refilled.min(BURST), at: now };
        let affordable = budget.left >= 1.0;
        if affordable {
            budget.left -= 1.0;
        }
        affordable
    }
}

/// Who says what kind of thing about which object.
fn subject(event: &Event) -> impl Hash {
    let object = &event.involved_object;
    let source = event.source.as_ref().map(|source| (source.component.clone(), source.host.clone()));
    (source, hash((&object.kind, &object.namespace, &object.name, &object.uid)), event.type_.clone())
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A map that forgets what was not used for long: entries live in two generations, and when the young one is full the old
/// one is dropped.
struct Recent<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V> Recent<V> {
    fn entry(&mut self, key: u64, new: impl FnOnce() -> V) -> &mut V {
        if self.young.len() >= REMEMBERED && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_else(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, message: &str) -> Event {
        let mut event = Event { message: Some(message.into()), reason: Some("Failed".into()), ..Event::default() };
        event.metadata.name = Some(name.into());
        event.involved_object.name = Some("web".into());
        event
    }

    fn shown(event: Option<Event>) -> Option<(String, i32, String)> {
        event.map(|event| (event.metadata.name.unwrap(), event.count.unwrap(), event.message.unwrap()))
    }

    #[test]
    fn repetitions_are_counted_on_the_first_name() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        assert_eq!(shown(correlator.observe(event("a", "no"), now)), Some(("a".into(), 1, "no".into())));
        assert_eq!(shown(correlator.observe(event("b", "no"), now)), Some(("a".into(), 2, "no".into())));
        assert_eq!(shown(correlator.observe(event("c", "yes"), now)), Some(("c".into(), 1, "yes".into())));
    }

    #[test]
    fn many_different_messages_become_one() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        for number in 1..10 {
            let (name, ..) = shown(correlator.observe(event(&number.to_string(), &number.to_string()), now)).unwrap();
            assert_eq!(name, number.to_string());
        }
        let combined = |text: &str| format!("(combined from similar events): {text}");
        assert_eq!(shown(correlator.observe(event("x", "x"), now)), Some(("x".into(), 1, combined("x"))));
        assert_eq!(shown(correlator.observe(event("y", "y"), now)), Some(("x".into(), 2, combined("y"))));
        let later = now + SIMILAR_WITHIN + Duration::from_secs(1);
        assert_eq!(shown(correlator.observe(event("z", "z"), later)), Some(("z".into(), 1, "z".into())));
    }

    #[test]
    fn a_flood_is_stopped_and_resumes_slowly() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let passed = (0..100).filter(|_| correlator.observe(event("a", "no"), now).is_some()).count();
        assert_eq!(passed, 25);
        let later = now + Duration::from_secs(601);
        let passed = (0..100).filter(|_| correlator.observe(event("a", "no"), later).is_some()).count();
        assert_eq!(passed, 2);
    }

    #[test]
    fn what_is_used_is_not_forgotten() {
        let mut recent = Recent::default();
        for key in 0..REMEMBERED as u64 * 3 {
            recent.entry(key, || 0);
            *recent.entry(0, || 0) += 1;
        }
        assert_eq!(*recent.entry(0, || 0), REMEMBERED as u64 * 3);
        assert!(recent.young.len() + recent.old.len() <= REMEMBERED * 2);
    }
}

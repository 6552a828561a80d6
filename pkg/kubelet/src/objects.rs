//! The ConfigMaps and Secrets that pods of this node refer to, each followed by a watch of its own: the Node authorizer
//! allows nothing wider, and nothing else is held in memory (KEP-2000's watch-based change detection).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long the first answer about an object may take before what needs it is tried again later.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind whose objects can be followed.
pub(crate) trait Kind:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// What is known of an object.
#[derive(Debug)]
enum Known<K> {
    /// Nothing yet, and why.
    Nothing(String),
    /// The object; `None` when there is none.
    Shown(Option<Arc<K>>),
}

impl<K> Known<K> {
    fn is_shown(&self) -> bool {
        matches!(self, Self::Shown(_))
    }
}

/// One object, followed as long as somebody holds this.
#[derive(Debug)]
pub(crate) struct Followed<K> {
    current: watch::Receiver<Known<K>>,
    _task: AbortOnDropHandle<()>,
}

impl<K: Kind> Followed<K> {
    /// The object, `None` when there is none; waits for the first answer only.
    ///
    /// # Errors
    /// When there is no answer: upstream's sentence, with the cause where one is known.
    async fn get(&self) -> Result<Option<Arc<K>>, String> {
        let mut current = self.current.clone();
        // Ends early only with what follows the object, which lives as long as `self`.
        drop(tokio::time::timeout(PATIENCE, current.wait_for(Known::is_shown)).await);
        match &*current.borrow() {
            Known::Shown(object) => Ok(object.clone()),
            Known::Nothing(cause) => Err(format!("failed to sync {} cache: {cause}", K::kind(&()).to_lowercase())),
        }
    }
}

/// By namespace and name. An entry whose followers have all gone is dropped with the next one that is made.
type ByName<K> = HashMap<(String, String), Weak<Followed<K>>>;

/// All objects of one kind that are followed now.
pub(crate) struct Objects<K> {
    client: kube::Client,
    followed: Mutex<ByName<K>>,
}

impl<K: Kind> Objects<K> {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client, followed: Mutex::default() }
    }

    /// Follows an object, together with everybody else who does.
    fn follow(&self, namespace: &str, name: &str) -> Arc<Followed<K>> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(found) = followed.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        let (sender, current) = watch::channel(Known::Nothing("timed out waiting for the condition".to_owned()));
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watcher(api, config).default_backoff();
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            let mut listed = None;
            while let Some(event) = events.next().await {
                let shown = match event {
                    Ok(watcher::Event::Init) => {
                        listed = None;
                        continue;
                    }
                    Ok(watcher::Event::InitApply(object)) => {
                        listed = Some(Arc::new(object));
                        continue;
                    }
                    Ok(watcher::Event::InitDone) => Known::Shown(listed.take()),
                    Ok(watcher::Event::Apply(object)) => Known::Shown(Some(Arc::new(object))),
                    Ok(watcher::Event::Delete(_)) => Known::Shown(None),
                    Err(error) => {
                        tracing::debug!("{}: {error}", K::kind(&()));
                        if sender.borrow().is_shown() {
                            continue;
                        }
                        Known::Nothing(error.to_string())
                    }
                };
                sender.send_replace(shown);
            }
        });
        followed.retain(|_, weak| weak.strong_count() > 0);
        let entry = Arc::new(Followed { current, _task: AbortOnDropHandle::new(task) });
        followed.insert(key, Arc::downgrade(&entry));
        entry
    }
}

/// The objects of one kind that one pod refers to.
#[derive(Debug)]
pub(crate) struct References<K>(BTreeMap<String, Arc<Followed<K>>>);

impl<K> Default for References<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K> Clone for References<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> References<K> {
    /// Follows exactly these names from now on.
    pub(crate) fn set(&mut self, objects: &Objects<K>, namespace: &str, names: BTreeSet<String>) {
        self.0.retain(|name, _| names.contains(name));
        for name in names {
            self.0.entry(name).or_insert_with_key(|name| objects.follow(namespace, name));
        }
    }

    /// Those that exist, by name.
    ///
    /// # Errors
    /// When the API does not tell of one of them: whether it exists is not known.
    pub(crate) async fn get(&self) -> Result<BTreeMap<String, Arc<K>>, String> {
        let found = self.0.iter().map(async |(name, followed)| Ok::<_, String>((name.clone(), followed.get().await?)));
        let found = futures::future::try_join_all(found).await?;
        Ok(found.into_iter().filter_map(|(name, object)| Some((name, object?))).collect())
    }

    /// The changes of any of them after what is known of it now, or after its first answer. It ends when none is followed
    /// any more.
    pub(crate) fn changes(&self) -> impl Stream<Item = ()> + Send + use<K> {
        let changes = self.0.values().map(|followed| {
            let mut current = followed.current.clone();
            current.mark_unchanged();
            let known = current.borrow().is_shown();
            let changes = futures::stream::unfold((current, known), async |(mut current, known)| {
                if !known {
                    current.wait_for(Known::is_shown).await.ok()?;
                }
                current.changed().await.ok()?;
                Some(((), (current, true)))
            });
            changes.boxed()
        });
        futures::stream::select_all(changes)
    }
}

/// One of the objects that [`References::get`] has found; `None` when it is optional and absent.
///
/// # Errors
/// When it is absent and must not be.
pub(crate) fn found<'a, K: Kind>(
    name: &str,
    objects: &'a BTreeMap<String, Arc<K>>,
    optional: Option<bool>,
) -> Result<Option<&'a K>, String> {
    match objects.get(name) {
        None if optional != Some(true) => Err(format!("{} {name:?} not found", K::kind(&()).to_lowercase())),
        found => Ok(found.map(Arc::as_ref)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn followed() -> (watch::Sender<Known<ConfigMap>>, References<ConfigMap>) {
        let (sender, current) = watch::channel(Known::Nothing("no answer".into()));
        let task = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let followed = Arc::new(Followed { current, _task: task });
        (sender, References([("m".to_owned(), followed)].into()))
    }

    fn shown(value: &str) -> Known<ConfigMap> {
        let data = Some([("key".to_owned(), value.to_owned())].into());
        Known::Shown(Some(Arc::new(ConfigMap { data, ..ConfigMap::default() })))
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_of_which_the_api_does_not_tell_is_not_taken_for_absent() {
        let (sender, references) = followed();
        assert_eq!(references.get().await.unwrap_err(), "failed to sync configmap cache: no answer");
        sender.send_replace(Known::Shown(None));
        assert!(references.get().await.unwrap().is_empty());
        sender.send_replace(shown("1"));
        assert_eq!(references.get().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn every_change_after_the_first_answer_is_told_even_if_nobody_listens_just_then() {
        use futures::FutureExt as _;
        let (sender, references) = followed();
        let mut changes = references.changes();
        assert!(changes.next().now_or_never().is_none());
        sender.send_replace(shown("1"));
        assert!(changes.next().now_or_never().is_none(), "the first answer is awaited by who needs it");
        sender.send_replace(shown("2"));
        assert_eq!(changes.next().now_or_never(), Some(Some(())));
        sender.send_replace(shown("3"));
        assert_eq!(changes.next().now_or_never(), Some(Some(())));
        drop(sender);
        assert_eq!(changes.next().await, None);
    }
}

//! What every namespace starts with: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

use std::convert::Infallible;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use knarr_base::Shutdown;
use knarr_client::cache::Selection;
use knarr_client::{Action, Cache, Change, Controller, Key};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::deps::Deps;
use crate::error::{Error, already_exists, namespace_terminating};
use crate::owners::Namespaced;

const ACCOUNT: &str = "default";
const BUNDLE: &str = "kube-root-ca.crt";
const BUNDLE_KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
     service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

/// Creates the ServiceAccount `default` where it is missing.
pub(crate) async fn accounts(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    const NAME: &str = "service-account-controller";
    let only = Selection::fields(format!("metadata.name={ACCOUNT}"));
    let publisher = Publisher {
        namespaces: deps.cache(),
        copies: deps.caches.select::<ServiceAccount>(&only),
        client: deps.client(NAME),
        wanted: Box::new(|current: Option<&ServiceAccount>| {
            let mut account = ServiceAccount::default();
            account.metadata.name = Some(ACCOUNT.into());
            current.is_none().then_some(account)
        }),
    };
    publisher.run(NAME, shutdown).await
}

/// Publishes what pods verify the API server by.
pub(crate) async fn root_ca(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    const NAME: &str = "root-ca-cert-publisher";
    let only = Selection::fields(format!("metadata.name={BUNDLE}"));
    let bundle = deps.settings.root_ca.clone();
    let publisher = Publisher {
        namespaces: deps.cache(),
        copies: deps.caches.select::<ConfigMap>(&only),
        client: deps.client(NAME),
        wanted: Box::new(move |current| published(&bundle, current)),
    };
    publisher.run(NAME, shutdown).await
}

/// The ConfigMap as it should be; `None` when it is so.
fn published(bundle: &str, current: Option<&ConfigMap>) -> Option<ConfigMap> {
    let mut wanted = current.cloned().unwrap_or_default();
    wanted.metadata.name = Some(BUNDLE.into());
    wanted.data = Some([(BUNDLE_KEY.to_owned(), bundle.to_owned())].into());
    let (key, text) = DESCRIPTION;
    wanted.metadata.annotations.get_or_insert_default().insert(key.into(), text.into());
    (current != Some(&wanted)).then_some(wanted)
}

/// Keeps one object of one name in every namespace.
struct Publisher<K> {
    namespaces: Cache<Namespace>,
    copies: Cache<K>,
    client: Client,
    wanted: Wanted<K>,
}

/// Given what is there, what to write.
type Wanted<K> = Box<dyn Fn(Option<&K>) -> Option<K> + Send + Sync>;

impl<K: Namespaced + serde::Serialize> Publisher<K> {
    async fn run(self, name: &'static str, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut controller = Controller::new(name);
        controller.watch(&self.namespaces, |change| vec![change.key.clone()]);
        controller.watch(&self.copies, |change: &Change<K>| vec![Key::new("", change.key.namespace())]);
        let publisher = Arc::new(self);
        controller.run(2, shutdown, |namespace| publisher.reconcile(namespace)).await
    }

    async fn reconcile(&self, namespace: Key) -> Result<Action, Error> {
        let Some(alive) = self.namespaces.at(&namespace).filter(|namespace| is_alive(namespace)) else {
            return Ok(Action::Done);
        };
        let current = self.copies.in_namespace(alive.metadata.name.as_deref().unwrap_or_default()).pop();
        let Some(wanted) = (self.wanted)(current.as_deref()) else { return Ok(Action::Done) };
        let api = Api::<K>::namespaced(self.client.clone(), namespace.name());
        let written = match current {
            None => api.create(&PostParams::default(), &wanted).await,
            Some(_) => {
                api.replace(wanted.meta().name.as_deref().unwrap_or_default(), &PostParams::default(), &wanted).await
            }
        };
        match written {
            Ok(written) => self.copies.seen(written.meta().resource_version.as_deref().unwrap_or_default()).await?,
            // Somebody else was faster (admission makes the ServiceAccount of a pod that cannot wait): its change comes.
            Err(error) if already_exists(&error) || namespace_terminating(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Action::Done)
    }
}

fn is_alive(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tampered_bundle_is_mended_and_a_right_one_left_alone() {
        let new = published("PEM", None).unwrap();
        assert_eq!(new.data.as_ref().unwrap()[BUNDLE_KEY], "PEM");
        assert_eq!(published("PEM", Some(&new)), None);
        let mut tampered = new.clone();
        tampered.data.as_mut().unwrap().insert(BUNDLE_KEY.into(), "evil".into());
        assert_eq!(published("PEM", Some(&tampered)), Some(new.clone()));
        assert_eq!(published("NEW PEM", Some(&new)).unwrap().data.unwrap()[BUNDLE_KEY], "NEW PEM");
    }
}

//! The node's heartbeat: a lease, renewed every ten seconds.
//! <https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats>

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use knarr_base::Shutdown;
use knarr_client::Cache;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

const NAMESPACE: &str = "kube-node-lease";
const DURATION: i32 = 40;
const INTERVAL: Duration = Duration::from_secs(10);
/// How long until a failed renewal is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Renews the lease of the node `name` until the shutdown.
pub(crate) async fn renew(client: kube::Client, nodes: Cache<Node>, name: &str, shutdown: Shutdown) {
    let leases: Api<Lease> = Api::namespaced(client, NAMESPACE);
    loop {
        let renewed = shutdown.or(once(&leases, &nodes, name)).await;
        let wait = match renewed {
            None => return,
            Some(Ok(())) => INTERVAL,
            Some(Err(error)) => {
                tracing::debug!("cannot renew the node's lease: {error}");
                AGAIN
            }
        };
        if shutdown.or(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// One patch; the lease is made when it is not there.
async fn once(leases: &Api<Lease>, nodes: &Cache<Node>, name: &str) -> Result<(), kube::Error> {
    let now = MicroTime(Timestamp::now());
    let renewal = json!({"spec": {"holderIdentity": name, "leaseDurationSeconds": DURATION, "renewTime": now}});
    match leases.patch(name, &PatchParams::default(), &Patch::Merge(renewal)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            leases.create(&PostParams::default(), &lease(nodes, name, now)).await.map(|_| ())
        }
        outcome => outcome.map(|_| ()),
    }
}

fn lease(nodes: &Cache<Node>, name: &str, now: MicroTime) -> Lease {
    let mut lease = Lease {
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(DURATION),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
        ..Lease::default()
    };
    lease.metadata.name = Some(name.to_owned());
    lease.metadata.owner_references = nodes.get("", name).and_then(|node| node.metadata.uid.clone()).map(|uid| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.into(),
            uid,
            ..OwnerReference::default()
        }]
    });
    lease
}

//! ServiceAccount: every pod runs as a service account that exists, and finds a token, the cluster's CA and its namespace
//! under `/var/run/secrets/kubernetes.io/serviceaccount`:
//! <https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/>.

use std::time::Duration;

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::{Tree, objects_mut};
use rand::Rng;
use serde_json::{Value, json};

use super::pod_references::{PodReference, references};
use super::{Admission, AdmissionRequest, Operation};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// An hour, and seven seconds by which upstream knows these tokens again.
const TOKEN_SECONDS: u32 = 3607;
/// How long a pod waits for the account `default` of a namespace that was made just now, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct ServiceAccount;

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        if !request.creates("", "pods") || request.object.as_deref().is_none_or(is_mirror) {
            return Ok(());
        }
        if let Some(pod) = request.object.as_deref_mut()
            && pod.text("spec.serviceAccountName").is_empty()
        {
            pod.section("spec").insert("serviceAccountName".into(), "default".into());
        }
        let account = account(request).await?;
        if let Some(pod) = request.object.as_deref_mut() {
            // The field's old name, which upstream keeps equal.
            let name = pod.text("spec.serviceAccountName").to_owned();
            pod.section("spec").insert("serviceAccount".into(), name.into());
            complete(pod, &account, suffix());
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let Some(pod) = request.object.as_deref() else { return Ok(()) };
        let ephemeral = request.operation == Operation::Update && request.is_sub("", "pods", "ephemeralcontainers");
        if !ephemeral && !request.creates("", "pods") {
            return Ok(());
        }
        if !ephemeral && is_mirror(pod) {
            return check_mirror(pod).map_err(|why| request.forbidden(why));
        }
        if pod.text("spec.serviceAccountName").is_empty() {
            let why = format!("no service account specified for pod {}/{}", request.namespace, pod.name());
            return Err(request.forbidden(why));
        }
        let account = account(request).await?;
        match account.map("metadata.annotations").get(ENFORCE).and_then(Value::as_str) {
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => {
                check_secrets(pod, &account).map_err(|why| request.forbidden(why))
            }
            _ => Ok(()),
        }
    }
}

fn is_mirror(pod: &Object) -> bool {
    pod.map("metadata.annotations").contains_key(MIRROR)
}

/// The pod's account. The account `default` may be on its way: namespaces get theirs from a controller.
async fn account(request: &AdmissionRequest<'_>) -> Result<Object> {
    let namespace = request.namespace;
    let name = request.object.as_deref().map(|pod| pod.text("spec.serviceAccountName")).unwrap_or_default();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(account) = request.find("", "serviceaccounts", namespace, name).await? {
            return Ok(account);
        }
        if name != "default" || tokio::time::Instant::now() >= deadline {
            let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
            return Err(request.forbidden(why));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn complete(pod: &mut Object, account: &Object, suffix: String) {
    let automount = pod.flag("spec.automountServiceAccountToken");
    if automount.or_else(|| account.flag("automountServiceAccountToken")).unwrap_or(true) {
        mount_token(pod, suffix);
    }
    let secrets = account.list("imagePullSecrets");
    if pod.list("spec.imagePullSecrets").is_empty() && !secrets.is_empty() {
        let names = secrets.iter().map(|secret| json!({"name": secret.get("name")})).collect();
        pod.section("spec").insert("imagePullSecrets".into(), names);
    }
}

fn mount_token(pod: &mut Object, suffix: String) {
    let is_ours = |volume: &&Object| volume.text("name").starts_with(VOLUME_PREFIX);
    let present = pod.objects("spec.volumes").find(is_ours).map(|volume| volume.text("name").to_owned());
    let volume = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let mut needed = false;
    for containers in ["spec.initContainers", "spec.containers"] {
        for container in objects_mut(pod, containers) {
            // Who mounts something there themselves gets no token.
            let taken = |mount: &Object| mount.text("mountPath") == MOUNT_PATH;
            if !container.objects("volumeMounts").any(taken) {
                push(container, "volumeMounts", json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
                needed = true;
            }
        }
    }
    if needed && present.is_none() {
        push(pod.section("spec"), "volumes", token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}

/// Appends to a list that may not be there yet.
pub(super) fn push(object: &mut Object, field: &str, item: Value) {
    let list = object.entry(field).or_insert(Value::Null);
    match list {
        Value::Array(list) => list.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

/// Five characters of upstream's alphabet, which spells no words.
fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5).filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len()))).map(|byte| char::from(*byte)).collect()
}

/// A mirror pod is made by a node; it must not give the node rights.
fn check_mirror(pod: &Object) -> std::result::Result<(), &'static str> {
    if !pod.text("spec.serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if references(pod).any(|reference| matches!(reference, PodReference::Secret { .. })) {
        return Err("a mirror pod may not reference secrets");
    }
    let mut sources = pod.objects("spec.volumes").flat_map(|volume| volume.objects("projected.sources"));
    if sources.any(|source| source.has("serviceAccountToken")) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// The annotation `kubernetes.io/enforce-mountable-secrets`: a pod may use only the secrets that its account lists.
fn check_secrets(pod: &Object, account: &Object) -> std::result::Result<(), String> {
    let listed = |field, secret: &str| account.objects(field).any(|item| item.text("name") == secret);
    let name = account.name();
    for reference in references(pod) {
        let PodReference::Secret { name: secret, place } = reference else { continue };
        if place.is_pull_secret() {
            if !listed("imagePullSecrets", secret) {
                return Err(format!(
                    "{place} is not allowed because service account {name} does not reference that imagePullSecret"
                ));
            }
        } else if place.is_limited() && !listed("secrets", secret) {
            return Err(format!(
                "{place} is not allowed because service account {name} does not reference that secret"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn a_pod_gets_the_token_volume_in_every_container() {
        let mut pod = object(json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}],
        }}));
        let account = object(json!({"imagePullSecrets": [{"name": "pull"}]}));
        complete(&mut pod, &account, "abcde".into());
        let mount = json!([{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(pod["spec"]["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"], mount);
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"][0]["name"], "x");
        assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "kube-api-access-abcde", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ]}}])
        );
        // Admission may run again on the same object.
        let once = pod.clone();
        complete(&mut pod, &account, "fghij".into());
        assert_eq!(pod, once);
    }

    #[test]
    fn the_pods_wish_outweighs_the_accounts() {
        let table = [
            (None, None, true),
            (None, Some(false), false),
            (Some(true), Some(false), true),
            (Some(false), None, false),
        ];
        for (pod_says, account_says, mounted) in table {
            let mut pod = object(json!({"spec": {"containers": [{}], "automountServiceAccountToken": pod_says}}));
            complete(&mut pod, &object(json!({"automountServiceAccountToken": account_says})), "abcde".into());
            assert_eq!(pod["spec"].get("volumes").is_some(), mounted, "{pod_says:?} {account_says:?}");
        }
    }

    #[test]
    fn mirror_pods_may_not_gain_rights() {
        let table = [
            (json!({"serviceAccountName": "x"}), Err("a mirror pod may not reference service accounts")),
            (json!({"volumes": [{"secret": {"secretName": "s"}}]}), Err("a mirror pod may not reference secrets")),
            (
                json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
                Err("a mirror pod may not use ServiceAccountToken volume projections"),
            ),
            (json!({"volumes": [{"emptyDir": {}}]}), Ok(())),
        ];
        for (spec, expected) in table {
            assert_eq!(check_mirror(&object(json!({"spec": spec}))), expected, "{spec}");
        }
    }

    #[test]
    fn only_listed_secrets_where_the_account_says_so() {
        let account = object(json!({"metadata": {"name": "bot"}, "secrets": [{"name": "mine"}]}));
        let tail = "is not allowed because service account bot does not reference that";
        let table = [
            (json!({"volumes": [{"secret": {"secretName": "mine"}}]}), None),
            (
                json!({"volumes": [{"secret": {"secretName": "s"}}]}),
                Some(format!("volume with secret.secretName=\"s\" {tail} secret")),
            ),
            (
                json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
                Some(format!("container c with envVar E referencing secret.secretName=\"s\" {tail} secret")),
            ),
            (
                json!({"initContainers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]}),
                Some(format!("init container c with envFrom referencing secret.secretName=\"s\" {tail} secret")),
            ),
            (
                json!({"imagePullSecrets": [{"name": "p"}]}),
                Some(format!("imagePullSecrets[0].name=\"p\" {tail} imagePullSecret")),
            ),
            (json!({"volumes": [{"azureFile": {"secretName": "s"}}]}), None),
        ];
        for (spec, expected) in table {
            assert_eq!(check_secrets(&object(json!({"spec": spec})), &account).err(), expected, "{spec}");
        }
    }
}

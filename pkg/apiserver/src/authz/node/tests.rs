use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => unreachable!(),
    }
}

fn authorizer() -> NodeAuthorizer {
    let services = Rule {
        verbs: vec!["list".into()],
        api_groups: vec![String::new()],
        resources: vec!["services".into()],
        ..Rule::default()
    };
    let authorizer = NodeAuthorizer::new(vec![services]);
    let pod = object(json!({
        "metadata": {"name": "web", "namespace": "a"},
        "spec": {
            "nodeName": "n1", "serviceAccountName": "bot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}], "envFrom": [{"configMapRef": {"name": "from"}}]}],
            "volumes": [
                {"name": "v", "secret": {"secretName": "vol"}},
                {"name": "t", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "e", "ephemeral": {}},
            ],
        },
    }));
    authorizer.changed("pods", "a", "web", Some(&pod));
    let mirror = object(json!({
        "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n1", "volumes": [{"secret": {"secretName": "stolen"}}]},
    }));
    authorizer.changed("pods", "a", "mirror", Some(&mirror));
    let volume = object(json!({"spec": {
        "claimRef": {"namespace": "a", "name": "data"},
        "csi": {"nodeStageSecretRef": {"namespace": "csi", "name": "stage"}},
    }}));
    authorizer.changed("persistentvolumes", "", "pv-1", Some(&volume));
    authorizer.changed("volumeattachments", "", "va", Some(&object(json!({"spec": {"nodeName": "n1"}}))));
    authorizer
}

/// `get core/secrets a/vol` or `list core/pods ?spec.nodeName=n1`.
fn request(text: &str) -> RequestInfo {
    let mut words = text.split(' ');
    let (verb, resource, object) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
    let (group, resource) = resource.split_once('/').unwrap();
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (object, selector) = object.split_once('?').unwrap_or((object, ""));
    let (namespace, name) = object.split_once('/').unwrap_or(("", object));
    RequestInfo {
        is_resource: true,
        verb: verb.to_owned().into(),
        group: if group == "core" { String::new() } else { group.into() },
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        field_selector: selector.into(),
        ..RequestInfo::default()
    }
}

#[test]
fn a_node_sees_what_its_pods_need() {
    let authorizer = authorizer();
    let table = [
        ("get core/secrets a/vol", Ok(())),
        ("watch core/secrets a/vol", Ok(())),
        ("get core/secrets a/env", Ok(())),
        ("get core/secrets a/pull", Ok(())),
        ("get core/secrets csi/stage", Ok(())),
        ("get core/secrets b/vol", Err("no relationship found between node 'n1' and this object")),
        ("get core/secrets a/stolen", Err("no relationship found between node 'n1' and this object")),
        ("list core/secrets a/", Err("No Object name found")),
        ("list core/secrets", Err("can only read namespaced object of this type")),
        ("update core/secrets a/vol", Err("can only read resources of this type")),
        ("get core/configmaps a/from", Ok(())),
        ("get core/configmaps a/kube-root-ca.crt", Ok(())),
        ("get core/persistentvolumeclaims a/data", Ok(())),
        ("get core/persistentvolumeclaims a/web-e", Ok(())),
        ("list core/persistentvolumeclaims a/", Err("can only get individual resources of this type")),
        ("patch core/persistentvolumeclaims/status a/data", Ok(())),
        ("get core/persistentvolumes pv-1", Ok(())),
        ("get core/persistentvolumes pv-2", Err("no relationship found between node 'n1' and this object")),
        ("get storage.k8s.io/volumeattachments va", Ok(())),
        ("create core/serviceaccounts/token a/bot", Ok(())),
        ("get core/serviceaccounts a/bot", Ok(())),
        ("create core/serviceaccounts/token a/default", Err("no relationship found between node 'n1' and this object")),
        ("create core/serviceaccounts a/", Err("can only create tokens for individual service accounts")),
        ("update coordination.k8s.io/leases kube-node-lease/n1", Ok(())),
        ("create coordination.k8s.io/leases kube-node-lease/", Ok(())),
        (
            "update coordination.k8s.io/leases kube-node-lease/n2",
            Err("can only access node lease with the same name as the requesting node"),
        ),
        (
            "get coordination.k8s.io/leases kube-system/n1",
            Err("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        ("get core/nodes n1", Ok(())),
        ("get core/nodes n2", Err("node 'n1' cannot read 'n2', only its own Node object")),
        ("list core/nodes", Err("node 'n1' cannot read all nodes, only its own Node object")),
        ("delete core/nodes n1", Err("")),
        ("list core/pods ?spec.nodeName=n1", Ok(())),
        ("watch core/pods ?metadata.namespace=a,spec.nodeName==n1", Ok(())),
        ("list core/pods ?spec.nodeName!=n1", Err("can only list/watch pods with spec.nodeName field selector")),
        ("list core/pods ?spec.nodeName=n2", Err("can only list/watch pods with spec.nodeName field selector")),
        ("get core/pods a/web", Ok(())),
        ("get core/pods a/other", Err("no relationship found between node 'n1' and this object")),
        ("patch core/pods/status a/other", Ok(())),
        ("list core/services", Ok(())),
        ("list core/endpoints", Err("")),
    ];
    for (text, expected) in table {
        let seen = authorizer.decide(&UserInfo::node("n1"), &request(text));
        assert_eq!(seen, expected.map_err(str::to_owned), "{text}");
    }
}

#[test]
fn others_are_none_of_its_business() {
    let authorizer = authorizer();
    let services = request("list core/services");
    assert_eq!(authorizer.decide(&UserInfo::new("jane", &[]), &services), Err(String::new()));
    assert_eq!(authorizer.decide(&UserInfo::new("system:node:n1", &[]), &services), Err(String::new()));
    let nameless = UserInfo::node("");
    assert_eq!(authorizer.decide(&nameless, &services), Err("unknown node for user \"system:node:\"".into()));
}

#[test]
fn what_is_gone_is_seen_no_more() {
    let authorizer = authorizer();
    let sees = |text: &str| authorizer.decide(&UserInfo::node("n1"), &request(text)).is_ok();
    assert!(sees("get core/secrets csi/stage"));
    authorizer.changed("persistentvolumes", "", "pv-1", None);
    assert!(!sees("get core/secrets csi/stage"));
    let moved = object(json!({"spec": {"nodeName": "n2", "volumes": [{"secret": {"secretName": "vol"}}]}}));
    authorizer.changed("pods", "a", "web", Some(&moved));
    assert!(!sees("get core/secrets a/vol"));
    assert!(authorizer.decide(&UserInfo::node("n2"), &request("get core/secrets a/vol")).is_ok());
    for name in ["web", "mirror"] {
        authorizer.changed("pods", "a", name, None);
    }
    assert!(!sees("get core/pods a/web"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_faster_than_the_news_waits() {
    let authorizer = NodeAuthorizer::new(Vec::new());
    let (user, wanted) = (UserInfo::node("n1"), request("get core/secrets a/vol"));
    let news = async {
        tokio::task::yield_now().await;
        let other = object(json!({"spec": {"nodeName": "n1"}}));
        authorizer.changed("pods", "a", "other", Some(&other));
        tokio::task::yield_now().await;
        let pod = object(json!({"spec": {"nodeName": "n1", "volumes": [{"secret": {"secretName": "vol"}}]}}));
        authorizer.changed("pods", "a", "web", Some(&pod));
    };
    let (verdict, ()) = tokio::join!(authorizer.authorize(&user, &wanted), news);
    assert_eq!(verdict, Ok(()));
    let other = request("get core/secrets a/other");
    assert!(authorizer.authorize(&user, &other).await.is_err());
}

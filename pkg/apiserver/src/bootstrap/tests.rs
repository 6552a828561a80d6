use knarr_api::object::Meta;
use knarr_api::user::UserInfo;

use super::Settings;
use super::fixture::{Server, pki, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_has_what_it_needs_and_a_restart_changes_nothing() {
    let (store, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pki = pki(keys.path());
    let mut server = Server::start(store.path(), &pki).await;
    server.bootstrap(&pki, &settings()).await;
    let service = server.get("", "services", "default", "kubernetes").await;
    assert_eq!(service.str_at(&["spec", "clusterIP"]), "10.43.0.1");
    let slice = server.get("discovery.k8s.io", "endpointslices", "default", "kubernetes").await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.10");
    let definitions = ("apiextensions.k8s.io", "customresourcedefinitions");
    let pools = server.get(definitions.0, definitions.1, "", "ipaddresspools.metallb.io").await;
    assert_eq!(pools["status"]["conditions"][1]["type"], "Established");
    let user = |name: &str| UserInfo::new(name, &[]);
    assert!(server.allowed(user("jane"), "GET", "/version").await);
    assert!(!server.allowed(user("jane"), "GET", "/api/v1/nodes").await);
    assert!(server.allowed(user("system:kube-scheduler"), "GET", "/api/v1/nodes").await);
    let controller = UserInfo::service_account("kube-system", "deployment-controller");
    assert!(server.allowed(controller, "GET", "/apis/apps/v1/deployments").await);
    let before = server.registry.revision();
    server.stop().await;

    let mut server = Server::start(store.path(), &pki).await;
    let opened = server.registry.revision();
    server.bootstrap(&pki, &settings()).await;
    assert_eq!(server.registry.revision(), opened, "a restart wrote something, at {before}");
    let moved = Settings { advertise: "192.0.2.77".parse().unwrap(), ..settings() };
    server.bootstrap(&pki, &moved).await;
    let slice = server.get("discovery.k8s.io", "endpointslices", "default", "kubernetes").await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.77");
    server.stop().await;
}

//! The node's agent: kubelet, pod network, service proxy, load balancer, data plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Taint;
use knarr_api::user::UserInfo;
use knarr_base::Components;
use knarr_client::Caches;
use knarr_client::cache::Selection;
use knarr_kubelet::cgroup::Driver;
use knarr_kubelet::containerd::Starter;
use knarr_kubelet::server::{Access, PORT, Server};
use knarr_kubelet::{Api, Kubelet};
use knarr_network::{Network, cni};
use knarr_pki::{Kubeconfig, tls};

use super::control_plane::ControlPlane;
use super::dataplane::Supervisor;
use super::settings::Settings;
use crate::cli::{self, Part};
use crate::{dataplane, systemd};

/// How the node resolves names outside of the cluster.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// systemd-resolved's own list of resolvers; its stub address means nothing to pods.
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// Builds the agent and spawns its parts, all under the node's identity.
pub(super) async fn build(
    settings: &Settings,
    control_plane: &ControlPlane,
    components: &mut Components,
) -> Result<()> {
    let shutdown = components.shutdown();
    let client = control_plane.client(UserInfo::node(&settings.node));
    let (caches, watches) = Caches::new(client.clone());
    components.spawn("node watches", watches.run(shutdown.clone()));
    let recorder = control_plane.events.recorder(client.clone(), "kubelet", &settings.node);

    let api = Api { client: client.clone(), caches: caches.clone(), recorder };
    let kubelet = Kubelet::new(kubelet_config(settings)?, api)?;
    let node_tls = Arc::new(tls::server(&control_plane.pki.kubelet, &control_plane.pki.ca)?);
    let server = Server::new(kubelet.runtime(), node_tls, Access::new(client.clone(), settings.node.clone()));
    let listen = SocketAddr::new(settings.arguments.bind_address, PORT);
    let ready = control_plane.readiness.task("kubelet");
    components.spawn("kubelet server", server.run(listen, ready, shutdown.clone()));
    components.spawn("kubelet", kubelet.run(shutdown));
    spawn_network(settings, control_plane, &caches, &client, components)?;
    spawn_dataplane(settings, control_plane, components)
}

fn spawn_network(
    settings: &Settings,
    control_plane: &ControlPlane,
    caches: &Caches,
    client: &kube::Client,
    components: &mut Components,
) -> Result<()> {
    let config = knarr_network::Config {
        node: settings.node.clone(),
        data_dir: settings.arguments.directories.data_dir.clone(),
        binary: std::env::current_exe().context("cannot find knarr's own file")?,
        pod_ranges: settings.arguments.ranges.cluster_cidr.clone(),
        service_ranges: settings.arguments.ranges.service_cluster_ip_range.clone(),
        cluster_dns: settings.cluster_dns.clone(),
        announce: !settings.disabled(Part::Loadbalancer),
    };
    let pods = caches.select(&Selection::fields(format!("spec.nodeName={}", settings.node)));
    let network = Network::new(config, caches, pods, client, &control_plane.events);
    components.spawn("network", network.run(components.shutdown()));
    Ok(())
}

fn spawn_dataplane(settings: &Settings, control_plane: &ControlPlane, components: &mut Components) -> Result<()> {
    if settings.cluster_dns.is_empty() {
        return dataplane::Files::new(&settings.arguments.directories).retire();
    }
    let supervisor = Supervisor::new(&settings.arguments.directories, settings.under_systemd);
    let what = dataplane::Settings {
        cluster_domain: settings.arguments.cluster_domain.clone(),
        cluster_dns: settings.cluster_dns.clone(),
    };
    let server = settings.url();
    let pki = control_plane.pki.clone();
    let write = move |path: &std::path::Path| {
        let client = pki.dataplane.current();
        let kubeconfig =
            Kubeconfig { server: &server, cluster: "knarr", user: "dataplane", authority: &pki.ca, client: &client };
        Ok(kubeconfig.write(path)?)
    };
    components.spawn(
        "data plane",
        supervisor.run(what, write, control_plane.pki.dataplane.subscribe(), components.shutdown()),
    );
    Ok(())
}

fn kubelet_config(settings: &Settings) -> Result<knarr_kubelet::Config> {
    let arguments = &settings.arguments;
    let (data, run) = (&arguments.directories.data_dir, &arguments.directories.run_dir);
    let starter = if settings.under_systemd {
        Starter::Systemd { unit: systemd::CONTAINERD.to_owned(), environment: run.join("containerd.env") }
    } else {
        Starter::Detached { cgroup: "containerd".to_owned() }
    };
    let hostname = nix::unistd::gethostname().context("cannot read the host's name")?;
    Ok(knarr_kubelet::Config {
        node_name: settings.node.clone(),
        hostname: hostname.to_string_lossy().into_owned(),
        node_ips: settings.addresses.clone(),
        labels: labels(&arguments.node_labels)?,
        taints: arguments.register_with_taints.iter().map(|text| taint(text)).collect::<Result<_>>()?,
        data: data.clone(),
        run: run.clone(),
        images: settings.data("images"),
        cni_bin: cni::bin_dir(data),
        cni_conf: cni::conf_dir(data),
        sandbox_image: (knarr_images::PAUSE_NAME.to_owned(), knarr_images::pause_archive()?.leak()),
        cluster_dns: settings.cluster_dns.clone(),
        cluster_domain: arguments.cluster_domain.clone(),
        resolv_conf: resolv_conf(),
        cgroup_driver: if settings.under_systemd { Driver::Systemd } else { Driver::Cgroupfs },
        cgroup_root: arguments.cgroup_root.clone(),
        starter,
        runtime_handlers: vec!["test-handler".to_owned()],
        max_pods: 110,
        pod_pids: None,
        port: PORT,
        version: cli::VERSION.to_owned(),
    })
}

fn resolv_conf() -> PathBuf {
    let resolved = PathBuf::from(RESOLVED_CONF);
    if resolved.exists() { resolved } else { RESOLV_CONF.into() }
}

fn labels(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let label = |text: &String| {
        let (key, value) =
            text.split_once('=').with_context(|| format!("--node-labels={text}: KEY=VALUE is wanted"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    texts.iter().map(label).collect()
}

/// `key=value:Effect`, `key:Effect`.
fn taint(text: &str) -> Result<Taint> {
    let wrong = || {
        format!(
            "--register-with-taints={text}: KEY=VALUE:EFFECT is wanted, EFFECT one of NoSchedule, PreferNoSchedule, NoExecute"
        )
    };
    let (label, effect) = text.split_once(':').with_context(wrong)?;
    anyhow::ensure!(matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute"), wrong());
    let (key, value) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value.to_owned())));
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), ..Taint::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_of_flags() {
        let parsed = taint("dedicated=gpu:NoSchedule").unwrap();
        assert_eq!(
            (parsed.key.as_str(), parsed.value.as_deref(), parsed.effect.as_str()),
            ("dedicated", Some("gpu"), "NoSchedule")
        );
        assert_eq!(taint("a:NoExecute").unwrap().value, None);
        for nonsense in ["a", "a=b", "a=b:Never"] {
            assert!(taint(nonsense).is_err(), "{nonsense}");
        }
    }
}

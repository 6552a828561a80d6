//! Cluster DNS, as pods ask it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use knarr_tests::lab::{Host, Lab};
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;

use crate::servers::{cluster_ip, serve_datagrams, servers, service};

fn lookup(space: &Space<'_>, kind: &str, name: &str) -> Result<String> {
    let told = space.command(&["exec", "client", "--", "nslookup", &format!("-type={kind}"), name]).output()?;
    // The first lines name the server.
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    Ok(text.split_once("\n\n").map_or(text.clone(), |(_, answer)| answer.to_owned()))
}

pub(crate) fn of_services_and_pods(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "named", "who", "")?;
    space.apply(
        r#"
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, selector: {app: host}, ports: [{name: web, port: 8080}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host, labels: {app: host}}, spec: {hostname: first, subdomain: headless, terminationGracePeriodSeconds: 1,
  containers: [{name: c, image: "busybox:1", command: [sleep, "1000"]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: elsewhere}, spec: {type: ExternalName, externalName: kubernetes.default.svc.cluster.local}}
"#,
    )?;
    space.wait("condition=Ready", &["pod/host"])?;
    let address = cluster_ip(&space, "named")?.ip().to_string();
    let pod = space.field("pod/host", ".status.podIP")?;
    let reverse = |ip: &str| format!("{}.in-addr.arpa", ip.rsplit('.').collect::<Vec<_>>().join("."));
    for (kind, name, expected) in [
        ("a", "kubernetes.default.svc.cluster.local", "10.43.0.1".to_owned()),
        ("a", "kube-dns.kube-system.svc.cluster.local", "10.43.0.10".into()),
        ("a", "named.servers.svc.cluster.local", address.clone()),
        ("a", "headless.servers.svc.cluster.local", pod.clone()),
        ("a", "first.headless.servers.svc.cluster.local", pod.clone()),
        ("srv", "_web._tcp.headless.servers.svc.cluster.local", "8080 first.headless.servers.svc.cluster.local".into()),
        ("ptr", &reverse(&address), "named.servers.svc.cluster.local".into()),
        ("ptr", &reverse(&pod), "first.headless.servers.svc.cluster.local".into()),
        ("a", "elsewhere.servers.svc.cluster.local", "10.43.0.1".into()),
        ("a", "absent.servers.svc.cluster.local", "NXDOMAIN".into()),
        ("a", "named.absent.svc.cluster.local", "NXDOMAIN".into()),
    ] {
        until(&format!("{kind} {name}"), POD, || match lookup(&space, kind, name) {
            Ok(told) if told.contains(&expected) => Ok(()),
            other => Err(format!("{other:?}, expected {expected}")),
        })?;
    }
    let none = lookup(&space, "aaaa", "named.servers.svc.cluster.local")?;
    ensure!(!none.contains("NXDOMAIN") && !none.contains(&address), "a name without that type exists: {none}");
    space.kubectl(&["delete", "service", "named"])?;
    until("the name goes with its Service", POD, || match lookup(&space, "a", "named.servers.svc.cluster.local") {
        Ok(told) if told.contains("NXDOMAIN") => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

/// The lab's resolver is its LAN host: one that knows a single name.
pub(crate) fn forwarded(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    let needed = Arc::new(());
    let wanted = Arc::downgrade(&needed);
    let resolver = lab.spawn_on(Host::Lan, move || serve_datagrams(53, &wanted, answer));
    let told = until("a name of the LAN's resolver", POD, || match lookup(&space, "a", "printer.example.org") {
        Ok(told) if told.contains("192.0.2.7") => Ok(told),
        other => Err(format!("{other:?}")),
    });
    drop(needed);
    resolver.join().map_err(|_| anyhow::anyhow!("the resolver panicked"))??;
    told.map(drop)
}

/// The query's header and question, and one A record 192.0.2.7 for its name.
fn answer(query: &[u8]) -> Vec<u8> {
    // RFC 1035, 4.1: the question ends after its name's root label, type and class.
    let name = query.iter().skip(12).position(|&byte| byte == 0).unwrap_or(0);
    let question = query.get(12..12 + name + 5).unwrap_or_default();
    let mut answer = query.get(..2).unwrap_or_default().to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(question);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    answer
}

//! The server dies at the worst moment.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use knarr_tests::api::Api;
use knarr_tests::command::output;
use knarr_tests::lab::{Host, Lab};
use knarr_tests::web::fetch_from;
use serde_json::{Value, json};

use crate::client::Client;
use crate::world::{addresses, containers, resolved, world};

pub(crate) fn server_fails_nobody(lab: &Lab) -> Result<()> {
    let space = world(lab)?;
    let [balanced, ..] = addresses(&space)?;
    let api = Api::admin(lab)?;
    let before = containers(&space)?;
    let (resolved_before, _) = resolved(&space)?;
    let revisions = revisions(&api)?;
    let maps = "/api/v1/namespaces/world/configmaps";
    let marked = api.get(maps)?["metadata"]["resourceVersion"].as_str().context("resourceVersion")?.to_owned();
    let hosts = Hosts::new(lab)?;
    let bound = hosts.pods(balanced)?;
    let client = Client::start(lab, balanced);

    for round in 0..3 {
        api.post(maps, &json!({"metadata": {"name": format!("before-{round}")}}))?;
        space.kubectl(&["scale", "deployment/scaled", &format!("--replicas={}", 2 + round)])?;
        lab.kill_server()?;
        lab.up().with_context(|| format!("start after kill {round}"))?;
        api.post(maps, &json!({"metadata": {"name": format!("after-{round}")}}))?;
        let now = hosts.pods(balanced)?;
        ensure!(now == bound, "affinity after kill {round}: {now:?}, before {bound:?}");
        space.until_is("deployment/scaled", ".status.readyReplicas", &(2 + round).to_string())?;
    }

    let seen = client.stop()?;
    ensure!(
        seen.failures.is_empty(),
        "{} of {} requests failed: {:?}",
        seen.failures.len(),
        seen.count,
        seen.failures.first()
    );
    ensure!(seen.count > 100 && seen.gap < Duration::from_secs(1), "{} requests, a gap of {:?}", seen.count, seen.gap);
    ensure!(seen.bodies.len() == 1, "affinity: {:?}", seen.bodies);
    let (resolved_after, failed) = resolved(&space)?;
    ensure!(failed == 0 && resolved_after > resolved_before, "{failed} of {resolved_after} look-ups failed");
    let after = containers(&space)?;
    for (pod, identity) in &before {
        ensure!(after.get(pod) == Some(identity), "{pod} was {identity}, is {:?}", after.get(pod));
    }

    let mut watch = api.watch(&format!("{maps}?watch=1&resourceVersion={marked}"))?;
    for round in 0..3 {
        for word in ["before", "after"] {
            let event = watch.next(Duration::from_secs(10))?;
            let name = format!("{word}-{round}");
            ensure!(event["type"] == "ADDED" && event["object"]["metadata"]["name"] == name, "{name}: {event}");
        }
    }
    no_relist(&api, &revisions)
}

/// More hosts of the LAN, whose affinity nothing renews while the server dies: that all of them come to the same pods again
/// by chance is unlikely.
struct Hosts<'a>(&'a Lab);

impl<'a> Hosts<'a> {
    fn addresses() -> impl Iterator<Item = Ipv4Addr> {
        (50..58).map(|last| Ipv4Addr::new(192, 168, 1, last))
    }

    fn new(lab: &'a Lab) -> Result<Self> {
        for address in Self::addresses() {
            output(lab.on_lan("ip").args(["address", "add", &format!("{address}/24"), "dev", "lan0"]))?;
        }
        Ok(Self(lab))
    }

    /// Which pod answers each of them.
    fn pods(&self, address: SocketAddr) -> Result<Vec<String>> {
        let ask = move |source| fetch_from(source, address, "/", Duration::from_secs(3));
        self.0.on(Host::Lan, move || Hosts::addresses().map(ask).collect())
    }
}

/// The revision of every kind that can be watched, by its path.
fn revisions(api: &Api) -> Result<Vec<(String, String)>> {
    let mut versions = vec!["/api/v1".to_owned()];
    let groups = api.get("/apis")?;
    for group in groups["groups"].as_array().context("groups")? {
        versions.push(format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().context("version")?));
    }
    let mut revisions = Vec::new();
    for version in versions {
        for resource in api.get(&version)?["resources"].as_array().context("resources")? {
            if resource["verbs"].as_array().is_some_and(|verbs| verbs.contains(&json!("watch"))) {
                let path = format!("{version}/{}", resource["name"].as_str().context("name")?);
                let list = api.get(&format!("{path}?limit=1"))?;
                let revision = list["metadata"]["resourceVersion"].as_str().context("resourceVersion")?.to_owned();
                revisions.push((path, revision));
            }
        }
    }
    ensure!(revisions.len() > 50, "{revisions:?}");
    Ok(revisions)
}

/// Watches of every kind go on from before the kills: none is told to list again.
fn no_relist(api: &Api, revisions: &[(String, String)]) -> Result<()> {
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for part in revisions.chunks(revisions.len().div_ceil(8)) {
            let wrong = &wrong;
            scope.spawn(move || {
                for (path, revision) in part {
                    if let Err(error) = goes_on(api, path, revision)
                        && let Ok(mut wrong) = wrong.lock()
                    {
                        wrong.push(format!("{path} from {revision}: {error:#}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().map_err(|_| anyhow!("a watch panicked"))?;
    ensure!(wrong.is_empty(), "{} of {} kinds: {}", wrong.len(), revisions.len(), wrong.join("\n"));
    Ok(())
}

/// A watch from that revision is served, and has no error among its events.
fn goes_on(api: &Api, path: &str, revision: &str) -> Result<()> {
    let answer =
        api.request("GET", &format!("{path}?watch=1&resourceVersion={revision}&timeoutSeconds=1"), &[], b"")?;
    ensure!(answer.status == 200, "{answer}");
    for line in answer.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line)?;
        ensure!(event["type"] != "ERROR", "{event}");
    }
    Ok(())
}

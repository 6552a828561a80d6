//! The component of a node that answers for the addresses it is elected for.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use knarr_client::cache::Selection;
use knarr_client::events::{Recorder, Type};
use knarr_client::{Action, Cache, Caches, Controller, Index, Key};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::announcement::{Announcement, Seen, announcements};
use super::claim::{announce, announce_once, probe};
use super::holding::{Holding, Place, announcing_links};
use super::metallb::{IPAddressPool, L2Advertisement, NAMESPACE};
use super::pool::Pools;
use super::presence;
use crate::netlink::{Link, Netlink};
use crate::{Cidr, Result};

/// Names the Service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// How often everything is looked at although nothing changed: links come and go, and leases are renewed. As often as a
/// node renews its own lease.
const LOOK: Duration = Duration::from_secs(10);

/// How long the kernel answers for an address that another node could take over, unless this node says it again: as long
/// as a node's lease lasts.
const LEASE: Duration = Duration::from_secs(40);

/// How long after the first time, and how long at most, an address that somebody else has is tried again: it is free soon
/// where a host is being replaced, and never where the pool is wrong.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often all hosts are reminded: switches and neighbours forget.
const REMIND: Duration = Duration::from_mins(1);

/// There is one thing to reconcile.
const EVERYTHING: &str = "announcements";

/// Announces addresses of load balancers on a node's LAN.
pub struct Speaker {
    node: String,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    slices_of: Index<EndpointSlice>,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    pools: Cache<IPAddressPool>,
    advertisements: Cache<L2Advertisement>,
    recorder: Recorder,
    state: Mutex<State>,
}

struct State {
    holding: Holding,
    /// The last pools that made sense.
    pools: Pools,
    /// What is announced, and since when on which links.
    announced: BTreeMap<IpAddr, Announced>,
    /// Addresses that others have.
    disputed: BTreeMap<IpAddr, Dispute>,
    standing_down: bool,
    /// Tells the LAN of new addresses.
    telling: JoinSet<()>,
}

struct Announced {
    links: Vec<Link>,
    reminded: Instant,
}

struct Dispute {
    backoff: Backoff,
    /// When to ask again.
    again: Instant,
}

impl Speaker {
    /// The speaker of `node`. `pods` holds at least those of this node; `service_ranges` are those of the cluster.
    #[must_use]
    pub fn new(node: String, caches: &Caches, pods: Cache<Pod>, service_ranges: Vec<Cidr>, recorder: Recorder) -> Self {
        let slices: Cache<EndpointSlice> = caches.of();
        let metallb = Selection::namespace(NAMESPACE);
        let slices_of = slices.index("network/announced", |slice| {
            let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            name.map(|name| Key::new(namespace, name).to_string()).into_iter().collect()
        });
        Self {
            node,
            services: caches.of(),
            slices,
            slices_of,
            nodes: caches.of(),
            pods,
            pools: caches.select(&metallb),
            advertisements: caches.select(&metallb),
            recorder,
            state: Mutex::new(State {
                holding: Holding::new(service_ranges),
                pools: Pools::default(),
                announced: BTreeMap::new(),
                disputed: BTreeMap::new(),
                standing_down: false,
                telling: JoinSet::new(),
            }),
        }
    }

    /// Announces until the drain. The kernel goes on afterwards.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut controller = Controller::<&'static str>::new("load-balancer-speaker");
        controller.watch(&self.services, |_| vec![EVERYTHING]);
        controller.watch(&self.slices, |_| vec![EVERYTHING]);
        controller.watch(&self.nodes, |_| vec![EVERYTHING]);
        controller.watch(&self.pods, |_| vec![EVERYTHING]);
        controller.watch(&self.pools, |_| vec![EVERYTHING]);
        controller.watch(&self.advertisements, |_| vec![EVERYTHING]);
        controller.queue().add(EVERYTHING);
        controller.run(1, shutdown, |_| self.reconcile()).await
    }

    async fn reconcile(&self) -> Result<Action> {
        let mut state = self.state.lock().await;
        let wanted = if self.stands_down(&mut state) { BTreeMap::new() } else { self.wanted(&mut state) };
        let held = state.holding.held()?;
        let new: BTreeSet<IpAddr> = wanted.keys().copied().filter(|ip| !held.contains(ip)).collect();
        let free = self.free(&mut state, &wanted, new).await?;
        let places = wanted.iter().filter(|(ip, _)| held.contains(ip) || free.contains(ip));
        let places: BTreeMap<_, _> = places.map(|(ip, announcement)| (*ip, place(announcement))).collect();
        state.holding.set(&places).await?;
        self.tell(&mut state, &wanted, &places).await?;
        let now = Instant::now();
        let retries = state.disputed.values().map(|dispute| dispute.again).filter(|again| *again > now);
        Ok(Action::After(retries.map(|again| again - now).fold(LOOK, Duration::min)))
    }

    fn wanted(&self, state: &mut State) -> BTreeMap<IpAddr, Announcement> {
        match Pools::read(&self.pools.list()) {
            Ok(pools) => state.pools = pools,
            // The allocator tells the user.
            Err(error) => tracing::debug!(%error, "the last valid pools stay in use"),
        }
        let with_slices = |service: Arc<Service>| {
            let slices = self.slices_of.get(&Key::of(service.as_ref()).to_string());
            (service, slices)
        };
        let services: Vec<_> = self.services.list().into_iter().map(with_slices).collect();
        announcements(&Seen {
            node: &self.node,
            nodes: &self.nodes.list(),
            services: &services,
            pools: &state.pools,
            advertisements: &self.advertisements.list(),
        })
    }

    fn stands_down(&self, state: &mut State) -> bool {
        let speaker = presence::metallb(&self.pods.list(), "speaker", Some(&self.node));
        if let (Some(speaker), false) = (&speaker, state.standing_down) {
            let message = "MetalLB's own speaker runs on this node: knarr announces nothing here";
            self.recorder.event(speaker.as_ref(), Type::Normal, "StandingDown", message);
        }
        state.standing_down = speaker.is_some();
        state.standing_down
    }

    /// Those of the `new` addresses that nobody on the LAN has.
    async fn free(
        &self,
        state: &mut State,
        wanted: &BTreeMap<IpAddr, Announcement>,
        mut new: BTreeSet<IpAddr>,
    ) -> Result<BTreeSet<IpAddr>> {
        let now = Instant::now();
        state.disputed.retain(|ip, _| wanted.contains_key(ip));
        new.retain(|ip| state.disputed.get(ip).is_none_or(|dispute| dispute.again <= now));
        let mut netlink = Netlink::open()?;
        let mut probes = Vec::new();
        for ip in new {
            let announcement = wanted.get(&ip).cloned().unwrap_or_default();
            let links = announcing_links(&mut netlink, announcement.interfaces.as_ref())?;
            probes.push(async move {
                let holder = match ip {
                    IpAddr::V4(ip) => probe(&links, ip).await?,
                    // Duplicate address detection of IPv6 is the kernel's, per address; ours are exempt from it.
                    IpAddr::V6(_) => None,
                };
                Ok::<_, crate::Error>((ip, announcement, holder))
            });
        }
        let mut free = BTreeSet::new();
        for (ip, announcement, holder) in futures::future::try_join_all(probes).await? {
            let Some(holder) = holder else {
                state.disputed.remove(&ip);
                free.insert(ip);
                continue;
            };
            let message = format!(
                "{ip} is in use on {} by another host, {}: node {:?} does not announce it",
                holder.link, holder.mac, self.node
            );
            self.event(&announcement, Type::Warning, "AddressInUse", &message);
            let new = || Dispute { backoff: Backoff::new(RETRY.0, RETRY.1), again: now };
            let dispute = state.disputed.entry(ip).or_insert_with(new);
            dispute.again = now + dispute.backoff.delay();
        }
        Ok(free)
    }

    /// Tells the LAN of addresses that are new on a link, and reminds it of the others.
    async fn tell(
        &self,
        state: &mut State,
        wanted: &BTreeMap<IpAddr, Announcement>,
        places: &BTreeMap<IpAddr, Place>,
    ) -> Result<()> {
        let State { announced, telling, .. } = state;
        while telling.try_join_next().is_some() {}
        announced.retain(|ip, _| places.contains_key(ip));
        let mut netlink = Netlink::open()?;
        for (ip, place) in places {
            let links = announcing_links(&mut netlink, place.interfaces.as_ref())?;
            match announced.get_mut(ip) {
                Some(known) if known.links == links => {
                    if known.reminded.elapsed() >= REMIND {
                        known.reminded = Instant::now();
                        remind(&links, *ip).await;
                    }
                    continue;
                }
                Some(_) => {}
                None => self.say_assigned(wanted.get(ip)),
            }
            if let IpAddr::V4(ip) = *ip {
                telling.spawn(announce(links.clone(), ip));
            }
            announced.insert(*ip, Announced { links, reminded: Instant::now() });
        }
        Ok(())
    }

    fn say_assigned(&self, announcement: Option<&Announcement>) {
        let Some(announcement) = announcement else { return };
        let message = format!("announcing from node {:?} with protocol \"layer2\"", self.node);
        self.event(announcement, Type::Normal, "nodeAssigned", &message);
        if announcement.despite_label {
            let message = format!(
                "node {:?} is labelled to be left out by load balancers, but it is the only one: it announces all the same",
                self.node
            );
            self.event(announcement, Type::Warning, "ExclusionIgnored", &message);
        }
    }

    fn event(&self, announcement: &Announcement, kind: Type, reason: &str, message: &str) {
        for service in announcement.services.iter().filter_map(|key| self.services.at(key)) {
            self.recorder.event(service.as_ref(), kind, reason, message);
        }
    }
}

fn place(announcement: &Announcement) -> Place {
    Place { interfaces: announcement.interfaces.clone(), expires: (!announcement.alone).then_some(LEASE) }
}

async fn remind(links: &[Link], ip: IpAddr) {
    let v4: Option<Ipv4Addr> = match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    if let Some(ip) = v4 {
        announce_once(links, ip).await;
    }
}

//! The cluster's zone, and what it answers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::records::{Port, ServiceRecords, Target};

/// Seconds that an answer may be kept; CoreDNS's default for clusters.
const TTL: u32 = 5;
/// The specification's version, which `dns-version.<zone>` tells.
const VERSION: &str = "1.1.0";

/// All names of the cluster.
#[derive(Debug)]
pub struct Zone {
    domain: Name,
    /// Labels of the domain, to cut them off.
    depth: usize,
    namespaces: HashMap<String, HashMap<String, ServiceRecords>>,
    /// Who an address belongs to; several Services may share an endpoint.
    reverse: HashMap<IpAddr, BTreeMap<Name, usize>>,
}

/// What the zone says to a question.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// The name is the zone's business.
    Ours {
        /// `NoError` or `NXDomain`.
        code: ResponseCode,
        /// Empty when the name does not exist or has nothing of that type.
        records: Vec<Record>,
        /// Addresses of the names that the records mention.
        additionals: Vec<Record>,
    },
    /// A Service's name leads to this name outside: the answer is the alias and what a resolver says of its target.
    Alias(Box<Record>, Name),
    /// Somebody else's business.
    Elsewhere,
}

impl Zone {
    /// An empty zone of that domain.
    ///
    /// # Errors
    /// When the domain is no DNS name.
    pub fn new(domain: &str) -> Result<Self, ProtoError> {
        let mut domain = Name::from_ascii(domain)?.to_lowercase();
        domain.set_fqdn(true);
        let depth = domain.iter().len();
        Ok(Self { domain, depth, namespaces: HashMap::new(), reverse: HashMap::new() })
    }

    /// Replaces what is known of a Service; `None` when it is gone. Answers whether anything changed.
    pub(crate) fn set(&mut self, namespace: &str, name: &str, records: Option<ServiceRecords>) -> bool {
        let services = self.namespaces.entry(namespace.to_owned()).or_default();
        let old = match records.clone() {
            Some(records) => services.insert(name.to_owned(), records),
            None => services.remove(name),
        };
        if services.is_empty() {
            self.namespaces.remove(namespace);
        }
        if old == records {
            return false;
        }
        for (address, target) in old.iter().flat_map(|old| self.reverse_names(old)).collect::<Vec<_>>() {
            self.forget_reverse(address, &target);
        }
        for (address, target) in records.iter().flat_map(|new| self.reverse_names(new)).collect::<Vec<_>>() {
            *self.reverse.entry(address).or_default().entry(target).or_default() += 1;
        }
        true
    }

    /// All Services, for the copy on disk.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceRecords> {
        self.namespaces.values().flat_map(HashMap::values)
    }

    /// The names of all Services that the zone knows.
    pub(crate) fn keys(&self) -> HashSet<(String, String)> {
        self.services().map(|records| (records.namespace.clone(), records.name.clone())).collect()
    }

    fn forget_reverse(&mut self, address: IpAddr, target: &Name) {
        let Some(names) = self.reverse.get_mut(&address) else { return };
        if let Some(count) = names.get_mut(target) {
            *count -= 1;
            if *count == 0 {
                names.remove(target);
            }
        }
        if names.is_empty() {
            self.reverse.remove(&address);
        }
    }

    fn reverse_names(&self, records: &ServiceRecords) -> Vec<(IpAddr, Name)> {
        let named = |address: IpAddr, labels: &[&str]| Some((address, self.name(labels)?));
        let (namespace, service) = (records.namespace.as_str(), records.name.as_str());
        match &records.target {
            Target::Cluster { addresses, .. } => {
                addresses.iter().filter_map(|&address| named(address, &[service, namespace, "svc"])).collect()
            }
            Target::Headless(endpoints) => endpoints
                .iter()
                .filter_map(|endpoint| named(endpoint.address, &[&endpoint.hostname, service, namespace, "svc"]))
                .collect(),
            Target::External(_) => Vec::new(),
        }
    }

    /// The labels below the zone's domain as a name.
    fn name(&self, labels: &[&str]) -> Option<Name> {
        Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?.append_domain(&self.domain).ok()
    }

    /// The zone's own record, which says in negative answers how long they may be kept.
    pub(crate) fn soa(&self) -> Record {
        let server = self.name(&["ns", "dns"]).unwrap_or_else(|| self.domain.clone());
        let mailbox = self.name(&["hostmaster"]).unwrap_or_else(|| self.domain.clone());
        let soa = SOA::new(server, mailbox, 1, 7200, 1800, 86_400, TTL);
        Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa))
    }

    /// What the zone says to a question. `name` may be in any case.
    pub(crate) fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        let lower = name.to_lowercase();
        if let Some(address) = reverse_address(&lower) {
            return self.answer_reverse(name, address, kind);
        }
        if !self.domain.zone_of(&lower) {
            return Answer::Elsewhere;
        }
        let texts: Vec<String> = lower.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        let below = texts.len().saturating_sub(self.depth);
        let labels: Vec<&str> = texts.iter().take(below).map(String::as_str).collect();
        let found = match labels.as_slice() {
            [] => Found::Records(if kind == RecordType::SOA { vec![self.soa().data] } else { vec![] }),
            ["dns-version"] => Found::of(kind, vec![RData::TXT(TXT::new(vec![VERSION.to_owned()]))]),
            ["svc" | "pod"] => Found::Records(vec![]),
            [namespace, "svc" | "pod"] if self.namespaces.contains_key(*namespace) => Found::Records(vec![]),
            [address, _, "pod"] => {
                pod_address(address).map_or(Found::Nothing, |address| Found::of(kind, vec![address.into()]))
            }
            [rest @ .., service, namespace, "svc"] => self.service(namespace, service, rest, kind),
            _ => Found::Nothing,
        };
        self.finish(name, found)
    }

    fn finish(&self, name: &Name, found: Found) -> Answer {
        let record = |data| Record::from_rdata(name.clone(), TTL, data);
        match found {
            Found::Nothing => Answer::Ours { code: ResponseCode::NXDomain, records: vec![], additionals: vec![] },
            Found::Alias(target) => Answer::Alias(Box::new(record(RData::CNAME(CNAME(target.clone())))), target),
            Found::Records(data) => {
                let additionals = data.iter().filter_map(|data| match data {
                    RData::SRV(srv) => Some(self.addresses_of(&srv.target)),
                    _ => None,
                });
                let mut unique: Vec<Record> = Vec::new();
                for record in additionals.flatten() {
                    if !unique.contains(&record) {
                        unique.push(record);
                    }
                }
                let records = data.into_iter().map(record).collect();
                Answer::Ours { code: ResponseCode::NoError, records, additionals: unique }
            }
        }
    }

    fn addresses_of(&self, target: &Name) -> Vec<Record> {
        let of = |kind| match self.answer(target, kind) {
            Answer::Ours { records, .. } => records,
            Answer::Alias(..) | Answer::Elsewhere => Vec::new(),
        };
        [of(RecordType::A), of(RecordType::AAAA)].concat()
    }

    /// `rest` is what stands before `service.namespace.svc`.
    fn service(&self, namespace: &str, service: &str, rest: &[&str], kind: RecordType) -> Found {
        let Some(records) = self.namespaces.get(namespace).and_then(|services| services.get(service)) else {
            return Found::Nothing;
        };
        let own = [service, namespace, "svc"];
        match (rest, &records.target) {
            ([], Target::External(target)) => match Name::from_ascii(target) {
                Ok(mut target) => {
                    target.set_fqdn(true);
                    Found::Alias(target)
                }
                Err(_) => Found::Nothing,
            },
            ([], Target::Cluster { addresses, .. }) if kind != RecordType::SRV => {
                Found::of(kind, addresses.iter().map(|&address| address.into()).collect())
            }
            ([], Target::Headless(endpoints)) if kind != RecordType::SRV => {
                Found::of(kind, endpoints.iter().map(|endpoint| endpoint.address.into()).collect())
            }
            ([hostname], Target::Headless(endpoints)) if !hostname.starts_with('_') => {
                let named: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.hostname == *hostname).collect();
                if named.is_empty() {
                    return Found::Nothing;
                }
                Found::of(kind, named.iter().map(|endpoint| endpoint.address.into()).collect())
            }
            ([] | [_, _], target) => self.service_ports(&own, rest, target, kind),
            _ => Found::Nothing,
        }
    }

    /// `_port._protocol.service...`, or all ports of the Service when `wanted` is empty.
    fn service_ports(&self, own: &[&str; 3], wanted: &[&str], target: &Target, kind: RecordType) -> Found {
        let is_wanted = |port: &Port| match wanted {
            [name, protocol] => *name == format!("_{}", port.name) && *protocol == format!("_{}", port.protocol),
            _ => true,
        };
        let mut found: Vec<RData> = Vec::new();
        let mut add = |port: &Port, labels: &[&str]| {
            if let Some(name) = self.name(labels).filter(|_| is_wanted(port)) {
                let srv = RData::SRV(SRV::new(0, 100, port.number, name));
                if !found.contains(&srv) {
                    found.push(srv);
                }
            }
        };
        match target {
            Target::Cluster { ports, .. } => ports.iter().for_each(|port| add(port, own)),
            Target::Headless(endpoints) => {
                for endpoint in endpoints {
                    let [service, namespace, svc] = *own;
                    endpoint.ports.iter().for_each(|port| add(port, &[&endpoint.hostname, service, namespace, svc]));
                }
            }
            Target::External(_) => {}
        }
        if found.is_empty() && !wanted.is_empty() {
            return Found::Nothing;
        }
        Found::of(kind, found)
    }

    fn answer_reverse(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        match self.reverse.get(&address) {
            None => Answer::Elsewhere,
            Some(names) => {
                let names = names.keys().map(|target| RData::PTR(PTR(target.clone())));
                self.finish(name, Found::of(kind, names.collect()))
            }
        }
    }
}

/// What stands at a name.
enum Found {
    /// The name does not exist.
    Nothing,
    /// The name exists; what it has of the type that was asked for.
    Records(Vec<RData>),
    Alias(Name),
}

impl Found {
    /// Of what the name has, that of the type that was asked for.
    fn of(kind: RecordType, mut all: Vec<RData>) -> Self {
        all.retain(|data| data.record_type() == kind);
        Self::Records(all)
    }
}

/// The address of `10-42-0-7`; IPv6 addresses have dashes for colons.
fn pod_address(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().ok().or_else(|| label.replace('-', ":").parse().ok())
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` asks about, when it names a whole one.
fn reverse_address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<_> = name.iter().collect();
    match labels.as_slice() {
        [.., b"in-addr", b"arpa"] | [.., b"ip6", b"arpa"] => {}
        _ => return None,
    }
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    let net = absolute.parse_arpa_name().ok()?;
    let whole = if net.addr().is_ipv4() { 32 } else { 128 };
    (net.prefix_len() == whole).then(|| net.addr())
}

#[cfg(test)]
mod tests;

//! `/metrics`: figures about requests and caches, named as upstream names them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::request::RequestInfo;
use crate::server::Server;

/// Upper bounds of the duration histogram, in seconds: every second one of upstream's.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What has been counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<Series, Counts>>);

/// What requests are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
}

#[derive(Debug, Default)]
struct Counts {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
}

impl Series {
    fn new(info: &RequestInfo) -> Self {
        let scope = match (info.is_resource, info.name.is_empty(), info.namespace.is_empty()) {
            (false, ..) => "",
            (true, false, _) => "resource",
            (true, true, false) => "namespace",
            (true, true, true) => "cluster",
        };
        let verb = info.verb.to_ascii_uppercase();
        let verb = match verb.as_str() {
            "CREATE" => "POST",
            "UPDATE" => "PUT",
            other => other,
        };
        Self {
            verb: verb.into(),
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            scope,
        }
    }

    fn labels(&self) -> String {
        let Self { verb, group, version, resource, subresource, scope } = self;
        format!(
            "group={group:?},resource={resource:?},scope={scope:?},subresource={subresource:?},verb={verb:?},version={version:?}"
        )
    }
}

impl Metrics {
    /// Counts an answered request. A request for what does not exist is not told apart: its path is the client's to choose.
    pub(crate) fn observe(&self, info: &RequestInfo, code: StatusCode, took: Duration) {
        let unknown = RequestInfo { verb: info.verb.clone(), ..RequestInfo::default() };
        let is_unknown = code == StatusCode::NOT_FOUND || code == StatusCode::METHOD_NOT_ALLOWED;
        let series = Series::new(if is_unknown { &unknown } else { info });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry(series).or_default();
        *counts.by_code.entry(code.as_u16()).or_default() += 1;
        let seconds = took.as_secs_f64();
        counts.seconds += seconds;
        for (count, bound) in counts.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        head(out, "apiserver_request_total", "counter", "Requests by verb, resource and code.")?;
        for (series, counts) in all.iter() {
            for (code, count) in &counts.by_code {
                writeln!(out, "apiserver_request_total{{code=\"{code}\",{}}} {count}", series.labels())?;
            }
        }
        let name = "apiserver_request_duration_seconds";
        head(out, name, "histogram", "Time until the answer's head stood.")?;
        for (series, counts) in all.iter() {
            let (labels, total) = (series.labels(), counts.by_code.values().sum::<u64>());
            for (count, bound) in counts.buckets.iter().zip(BUCKETS) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}")?;
            writeln!(out, "{name}_sum{{{labels}}} {}", counts.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {total}")?;
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// The whole page, in the text format of Prometheus.
pub(crate) fn page(server: &Server) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    server.metrics.write(&mut out)?;
    let (reading, mutating) = server.inflight.taken();
    head(&mut out, "apiserver_current_inflight_requests", "gauge", "Requests being served.")?;
    writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"readOnly\"}} {reading}")?;
    writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"mutating\"}} {mutating}")?;
    let resources = server.api.registry.resources();
    let stored: Vec<_> = resources.iter().filter_map(|resource| resource.cache.as_ref()).collect();
    head(&mut out, "apiserver_storage_objects", "gauge", "Objects by resource.")?;
    for cache in &stored {
        writeln!(out, "apiserver_storage_objects{{resource={:?}}} {}", cache.kind().qualified(), cache.size().0)?;
    }
    head(&mut out, "apiserver_storage_size_bytes", "gauge", "Size of the objects by resource.")?;
    for cache in &stored {
        writeln!(out, "apiserver_storage_size_bytes{{resource={:?}}} {}", cache.kind().qualified(), cache.size().1)?;
    }
    head(&mut out, "apiserver_registered_watchers", "gauge", "Running watches by resource.")?;
    for cache in stored.iter().filter(|cache| cache.watchers() > 0) {
        writeln!(out, "apiserver_registered_watchers{{resource={:?}}} {}", cache.kind().qualified(), cache.watchers())?;
    }
    head(&mut out, "apiserver_storage_revision", "counter", "Newest revision of the store.")?;
    writeln!(out, "apiserver_storage_revision {}", server.api.registry.revision())?;
    Ok(out)
}

//! `/healthz`, `/livez`, `/readyz`: <https://kubernetes.io/docs/reference/using-api/health-checks/>.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use knarr_api::Status;
use knarr_api::status::Result;

use crate::request::Query;
use crate::server::Server;

/// One check: its name, and why it fails.
struct Check {
    name: String,
    failure: Option<&'static str>,
}

impl Server {
    /// `/readyz?verbose&exclude=x` or one check alone, as `/readyz/ping`.
    pub(super) fn health(&self, page: &str, rest: &[&str], request: &Request<Body>) -> Result<Response> {
        let query = Query::new(request.uri().query().unwrap_or_default());
        let checks = self.checks(page);
        if !rest.is_empty() {
            let name = rest.join("/");
            let check = checks.iter().find(|check| check.name == name).ok_or_else(Status::no_such_path)?;
            return Ok(match check.failure {
                None => "ok".into_response(),
                Some(why) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")).into_response()
                }
            });
        }
        let excluded = query.all("exclude");
        let (mut lines, mut failed) = (String::new(), false);
        for Check { name, failure } in &checks {
            let line = match failure {
                _ if excluded.contains(name) => format!("[+]{name} excluded: ok\n"),
                None => format!("[+]{name} ok\n"),
                Some(why) => {
                    failed = true;
                    format!("[-]{name} failed: {why}\n")
                }
            };
            lines.push_str(&line);
        }
        for name in excluded.iter().filter(|name| !checks.iter().any(|check| check.name == **name)) {
            lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {name:?}\n"));
        }
        Ok(if failed {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{page} check failed\n")).into_response()
        } else if query.flag("verbose") {
            format!("{lines}{page} check passed\n").into_response()
        } else {
            "ok".into_response()
        })
    }

    fn checks(&self, page: &str) -> Vec<Check> {
        let check = |name: &str, failure| Check { name: name.into(), failure };
        let cache = if self.api.registry.is_fed() { None } else { Some("it does not follow the store any more") };
        let mut checks = vec![check("ping", None), check("etcd", None), check("watch-cache", cache)];
        if page == "readyz" {
            let pending = self.config.readiness.pending();
            checks.extend(pending.iter().map(|name| check(name, Some("not finished"))));
            checks.push(check("shutdown", self.api.drain.started().then_some("process is shutting down")));
        }
        checks
    }
}

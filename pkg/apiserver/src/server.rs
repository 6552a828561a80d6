//! The server: what handlers share, the in-process router, and the listeners.

mod listener;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use knarr_api::status::Result;
use knarr_base::{Shutdown, readiness::Readiness};
use knarr_pki::tls::Reception;

use crate::authn::Authenticate;
use crate::authz::Authorize;
use crate::cache::{Feed, FeedError};
use crate::filter::{self, InFlight};
use crate::metrics::Metrics;
use crate::pages::{Documents, Pages};
use crate::registry::{Registry, Upkeep};
use crate::request::RequestContext;
use crate::serve::Api;
use crate::subresource::Subresources;

/// Settings, named as upstream's flags.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach the server, as `192.0.2.1:6443`; shown by discovery.
    pub advertise_address: String,
    /// `--max-requests-inflight`.
    pub max_requests_inflight: usize,
    /// `--max-mutating-requests-inflight`.
    pub max_mutating_requests_inflight: usize,
    /// `--etcd-compaction-interval`: history reaches back so far, and up to twice that. Never zero.
    pub compaction_interval: Duration,
    /// `--request-timeout`.
    pub request_timeout: Duration,
    /// How long requests in progress may take when the server ends.
    pub drain_timeout: Duration,
    /// What `/readyz` waits for beside the server itself.
    pub readiness: Readiness,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            advertise_address: "127.0.0.1:6443".into(),
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
            compaction_interval: Duration::from_secs(300),
            request_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            readiness: Readiness::new(),
        }
    }
}

/// Who may come in, and what they may do.
#[derive(Clone)]
pub struct Access {
    /// Says who sends a request.
    pub authenticator: Arc<dyn Authenticate>,
    /// Says who may do what.
    pub authorizer: Arc<dyn Authorize>,
}

/// What all requests share.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) access: Access,
    pub(crate) api: Api,
    pub(crate) pages: Pages,
    pub(crate) documents: Documents,
    pub(crate) inflight: InFlight,
    pub(crate) metrics: Metrics,
}

impl Server {
    /// Answers an authorized request.
    pub(crate) async fn dispatch(&self, cx: &RequestContext, request: Request<Body>) -> Result<Response> {
        if cx.info.is_resource { self.api.serve(cx, request).await } else { self.page(cx, request).await }
    }
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The watch cache cannot follow the store any more.
    #[error("watch cache: {0}")]
    Feed(#[from] FeedError),
    /// A listener cannot be used.
    #[error("listener: {0}")]
    Listen(#[from] std::io::Error),
}

/// The API server.
///
/// ```text
/// let (registry, feed) = Registry::open(store, admission, hooks).await?;
/// let server = ApiServer::new(Config::default(), registry, access, subresources, pages);
/// let client = knarr_client::transport::in_process(server.router(), user);
/// components.spawn("apiserver", server.run(feed, listeners, tls, shutdown));
/// ```
#[derive(Clone)]
pub struct ApiServer(Arc<Server>);

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("ApiServer").field(&self.0.config).finish()
    }
}

impl ApiServer {
    /// A server over a registry. `pages` are paths of others, such as the token issuer's discovery documents.
    #[must_use]
    pub fn new(
        config: Config,
        registry: Arc<Registry>,
        access: Access,
        subresources: Subresources,
        pages: Pages,
    ) -> Self {
        let subresources = crate::subresource::with_builtin(subresources);
        Self(Arc::new(Server {
            inflight: InFlight::new(config.max_requests_inflight, config.max_mutating_requests_inflight),
            config,
            access,
            api: Api { registry, subresources, drain: Shutdown::new() },
            pages,
            documents: Documents::default(),
            metrics: Metrics::default(),
        }))
    }

    /// The server without its listener, for clients in this process: they go through the same filters as everybody.
    pub fn router(&self) -> axum::Router {
        let server = self.0.clone();
        axum::Router::new().fallback(move |request: Request<Body>| filter::answer(server.clone(), request))
    }

    /// Serves until the shutdown starts, then drains: `/readyz` fails, watches end, listeners close, requests in progress
    /// finish.
    ///
    /// # Errors
    /// When a listener or the watch cache fails.
    pub async fn run(
        self,
        feed: Feed,
        listeners: Vec<TcpListener>,
        tls: Reception,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let drain = self.0.api.drain.clone();
        let fed = Shutdown::new();
        let listening = async {
            let served = listener::serve(&self.0, listeners, tls, &shutdown).await;
            // The cache is needed to the end: a write in progress may have to read.
            fed.start();
            served.map_err(Error::from)
        };
        let draining = async {
            shutdown.wait().await;
            drain.start();
            Ok(())
        };
        let upkeep = async {
            Upkeep::new(self.0.api.registry.clone()).run(self.0.config.compaction_interval, shutdown.clone()).await;
            Ok(())
        };
        let feeding = async { feed.run(fed.clone()).await.map_err(Error::from) };
        tokio::try_join!(listening, draining, upkeep, feeding).map(|_| ())
    }
}

#[cfg(test)]
mod tests;

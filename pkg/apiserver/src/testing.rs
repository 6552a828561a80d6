//! A whole server over a real store in a temporary directory, for tests.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use knarr_api::status::Result;
use knarr_api::user::{InProcess, UserInfo};
use knarr_base::Shutdown;
use knarr_store::{LogStore, Store as _};
use serde_json::Value;
use tower::ServiceExt;

use crate::authn::Authenticate;
use crate::authz::{Attributes, Authorize, Decision};
use crate::registry::{Hooks, Registry};
use crate::subresource::Subresources;
use crate::{Access, ApiServer, Config, Pages};

/// Everybody is who the request says.
struct Believe;

#[async_trait]
impl Authenticate for Believe {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>> {
        Ok(request.extensions.get::<InProcess>().map(|user| user.0.clone()))
    }
}

/// Everybody may do everything but read what is called `forbidden`.
struct Permit;

#[async_trait]
impl Authorize for Permit {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.info.name == "forbidden" {
            return Decision::NoOpinion("not that".into());
        }
        Decision::Allow(String::new())
    }
}

/// A running server.
pub(crate) struct Fixture {
    pub(crate) server: ApiServer,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<LogStore>,
    directory: Arc<tempfile::TempDir>,
    feed: tokio::task::JoinHandle<()>,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) bytes: bytes::Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Code and message, for errors.
    pub(crate) fn message(&self) -> (u16, String) {
        (self.code.as_u16(), self.json()["message"].as_str().unwrap_or_default().to_owned())
    }

    /// The body of an answer that must be a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.code.is_success(), "{}: {}", self.code, self.text());
        self.json()
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default(), Hooks::default()).await
    }

    pub(crate) async fn with(config: Config, hooks: Hooks) -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), config, hooks).await
    }

    async fn open(directory: Arc<tempfile::TempDir>, config: Config, hooks: Hooks) -> Self {
        let path = directory.path().to_owned();
        let store = tokio::task::spawn_blocking(move || LogStore::open(path, knarr_store::Options::default()));
        let store = store.await.unwrap().unwrap();
        let (registry, feed) = Registry::open(store.clone(), Vec::new(), hooks).await.unwrap();
        let feed = tokio::spawn(async move { feed.run(Shutdown::new()).await.unwrap() });
        let access = Access { authenticator: Arc::new(Believe), authorizer: Arc::new(Permit) };
        let server = ApiServer::new(config, registry.clone(), access, Subresources::default(), Pages::default());
        Self { server, registry, store, directory, feed }
    }

    /// Ends the server and starts another on the same directory.
    pub(crate) async fn restart(self) -> Self {
        let Self { server, registry, store, directory, feed } = self;
        feed.abort();
        assert!(feed.await.unwrap_err().is_cancelled());
        drop((server, registry));
        store.close().await.unwrap();
        drop(store);
        Self::open(directory, Config::default(), Hooks::default()).await
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> http::Response<Body> {
        let user = UserInfo::new("tester", &["system:masters"]);
        request.extensions_mut().insert(InProcess(user));
        self.server.router().oneshot(request).await.unwrap()
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { code: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(request(Method::GET, path, "", Body::empty())).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(request(Method::POST, path, "application/json", body.to_string().into())).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(request(Method::PUT, path, "application/json", body.to_string().into())).await
    }

    /// `kind` is `json`, `merge` or `strategic-merge`.
    pub(crate) async fn patch(&self, path: &str, kind: &str, body: Value) -> Answer {
        let media = format!("application/{kind}-patch+json");
        self.call(request(Method::PATCH, path, &media, body.to_string().into())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(request(Method::DELETE, path, "", Body::empty())).await
    }

    /// The events of a watch, as they come.
    pub(crate) async fn watch(&self, path: &str) -> Lines {
        self.lines(request(Method::GET, path, "", Body::empty())).await
    }

    /// The lines of an answer, as they come.
    pub(crate) async fn lines(&self, request: Request<Body>) -> Lines {
        let response = self.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Lines { body: response.into_body(), buffer: Vec::new() }
    }
}

pub(crate) fn request(method: Method, path: &str, media: &str, body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !media.is_empty() {
        request = request.header("content-type", media);
    }
    request.body(body).unwrap()
}

/// The lines of a watch.
pub(crate) struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), self.body.frame());
            let frame = frame.await.expect("no event within 10 seconds")?.unwrap();
            self.buffer.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    /// Type and name of the next event.
    pub(crate) async fn change(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch has ended");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

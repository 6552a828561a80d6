use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Request};
use knarr_api::status::Result;
use serde_json::json;

use crate::Config;
use crate::registry::{Change, Hook, Hooks};
use crate::testing::{Fixture, request};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Misbehaves on objects of certain names.
#[derive(Debug)]
struct Misbehave;

#[async_trait]
impl Hook for Misbehave {
    async fn apply(&self, change: &mut Change<'_>) -> Result<()> {
        use knarr_api::object::Meta;
        match change.new.as_deref().map(Meta::name) {
            Some("panic") => panic!("a test panics on purpose"),
            Some("hang") => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

async fn misbehaving(config: Config) -> Fixture {
    let hook: Arc<dyn Hook> = Arc::new(Misbehave);
    Fixture::with(config, Hooks::from([(("", "configmaps"), vec![hook])])).await
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_lives() {
    let api = misbehaving(Config::default()).await;
    let answer = api.post(MAPS, json!({"metadata": {"name": "panic"}})).await;
    assert_eq!((answer.code.as_u16(), &answer.json()["reason"]), (500, &json!("InternalError")));
    api.post(MAPS, json!({"metadata": {"name": "fine"}})).await.ok();
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_504() {
    let api = misbehaving(Config { request_timeout: Duration::from_millis(50), ..Config::default() }).await;
    let answer = api.post(MAPS, json!({"metadata": {"name": "hang"}})).await;
    assert_eq!((answer.code.as_u16(), &answer.json()["reason"]), (504, &json!("Timeout")));
    let api = misbehaving(Config::default()).await;
    let path = format!("{MAPS}?timeout=50ms");
    assert_eq!(api.post(&path, json!({"metadata": {"name": "hang"}})).await.code, 504, "the client's own deadline");
    for (timeout, code) in [("1m30s", 201), ("0", 201), ("0s", 201), ("-5s", 201), ("", 201), ("5", 400), ("soon", 400)]
    {
        let path = format!("{MAPS}?timeout={timeout}&dryRun=All");
        let answer = api.post(&path, json!({"metadata": {"name": "fine"}})).await;
        assert_eq!(answer.code, code, "{timeout}: {}", answer.text());
    }
    let message = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
    assert_eq!(api.get(&format!("{MAPS}?timeout=soon")).await.message(), (400, message.into()));
}

#[test]
fn durations_are_read_as_go_reads_them() {
    let ms = |ms| Some(Duration::from_millis(ms));
    let table = [
        ("50ms", ms(50)),
        ("1m30s", ms(90_000)),
        ("1.5h", ms(5_400_000)),
        (".5s", ms(500)),
        ("+2s", ms(2000)),
        ("0", ms(0)),
        ("-1s", ms(0)),
        ("1us", Some(Duration::from_micros(1))),
        ("1\u{b5}s", Some(Duration::from_micros(1))),
        ("9223372036854775807h", None),
        ("5", None),
        ("s", None),
        (".s", None),
        ("1d", None),
        ("1.2.3s", None),
        ("", None),
        ("-", None),
    ];
    for (text, expected) in table {
        assert_eq!(super::duration(text), expected, "{text}");
    }
}

#[tokio::test]
async fn who_nobody_knows_is_a_401() {
    let api = Fixture::new().await;
    let response =
        tower::ServiceExt::oneshot(api.server.router(), Request::get(MAPS).body(Body::empty()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 401);
}

#[tokio::test]
async fn too_many_requests_at_once_are_sent_away() {
    use crate::request::RequestInfo;
    use knarr_api::user::UserInfo;
    let slots = super::InFlight::new(1, 1);
    let (anybody, master) = (UserInfo::new("x", &[]), UserInfo::new("root", &["system:masters"]));
    let info = |method, path: &str| RequestInfo::new(&method, &path.parse().unwrap());
    let (read, write) = (info(Method::GET, MAPS), info(Method::POST, MAPS));
    let held = slots.enter(&read, &anybody).unwrap();
    assert_eq!(slots.taken(), (1, 0));
    let refused = slots.enter(&read, &anybody).unwrap_err();
    assert_eq!((refused.code, refused.details.unwrap().retry_after_seconds), (429, 1));
    assert!(slots.enter(&read, &master).is_ok(), "system:masters is never refused");
    assert!(slots.enter(&write, &anybody).is_ok(), "writes have slots of their own");
    let watch = info(Method::GET, &format!("{MAPS}?watch=1"));
    assert!(slots.enter(&watch, &anybody).is_ok(), "watches take none");
    drop(held);
    assert!(slots.enter(&read, &anybody).is_ok());
}

#[tokio::test]
async fn answers_carry_the_audit_id_and_are_not_cached() {
    let api = Fixture::new().await;
    let answer = api.get(MAPS).await;
    assert_eq!(answer.headers["audit-id"].len(), 36);
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    let mut own = request(Method::GET, MAPS, "", Body::empty());
    own.headers_mut().insert("audit-id", "mine".parse().unwrap());
    assert_eq!(api.call(own).await.headers["audit-id"], "mine");
}

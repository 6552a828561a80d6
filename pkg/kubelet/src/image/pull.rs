//! Getting the image of a container. <https://kubernetes.io/docs/concepts/containers/images/>

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Secret};
use serde::Deserialize;

use super::name;
use crate::cri::{Runtime, api};
use crate::pod::Report;
use crate::pod::crash::CrashLoop;

/// How long until an image that cannot be looked up, or may not be pulled, is looked for again.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// An image that is present.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    /// The runtime's own id.
    pub(crate) id: String,
    pub(crate) uid: Option<i64>,
    pub(crate) user: String,
}

/// Why an image is not present; reason and message are the container's `waiting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absent {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// When to try again.
    pub(crate) retry: Timestamp,
}

/// Pulls images, remembering failures per pod and image, as upstream, so that no registry is hammered.
pub(crate) struct Puller {
    runtime: Arc<dyn Runtime>,
    failures: Mutex<HashMap<(String, String), CrashLoop>>,
}

/// When to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

fn policy(container: &Container) -> Policy {
    let image = container.image.as_deref().unwrap_or_default();
    match container.image_pull_policy.as_deref() {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        Some("IfNotPresent") => Policy::IfNotPresent,
        // As the API server defaults it; ephemeral containers come without.
        _ => match name::tag(&name::normalize(image)) {
            Some("latest") => Policy::Always,
            _ => Policy::IfNotPresent,
        },
    }
}

impl Puller {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, failures: Mutex::default() }
    }

    /// Makes sure that the image of a container of the pod `uid` is there, and reports what it does as upstream's events.
    ///
    /// # Errors
    /// What to show while it is not there.
    pub(crate) async fn ensure(
        &self,
        uid: &str,
        container: &Container,
        secrets: &BTreeMap<String, Arc<Secret>>,
        report: &Report,
    ) -> Result<Present, Absent> {
        let image = container.image.clone().unwrap_or_default();
        let soon = Timestamp::now() + AGAIN;
        let found = self.runtime.image_status(&image).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {}", error.rpc());
            report.warning("InspectFailed", &message);
            Absent { reason: "ImageInspectError", message, retry: soon }
        })?;
        match (policy(container), found) {
            (Policy::IfNotPresent | Policy::Never, Some(found)) => {
                report.normal("Pulled", &format!("Container image {image:?} already present on machine"));
                Ok(present(found))
            }
            (Policy::Never, None) => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                report.warning("ErrImageNeverPull", &message);
                Err(Absent { reason: "ErrImageNeverPull", message, retry: soon })
            }
            (Policy::Always | Policy::IfNotPresent, _) => self.pull(uid, &image, secrets, report).await,
        }
    }

    async fn pull(
        &self,
        uid: &str,
        image: &str,
        secrets: &BTreeMap<String, Arc<Secret>>,
        report: &Report,
    ) -> Result<Present, Absent> {
        report.normal("Pulling", &format!("Pulling image {image:?}"));
        let begin = Instant::now();
        let mut outcome = Err(None);
        // Without fitting credentials the pull is tried once without any.
        let mut candidates: Vec<Option<api::AuthConfig>> = credentials(image, secrets).into_iter().map(Some).collect();
        if candidates.is_empty() {
            candidates.push(None);
        }
        for auth in candidates {
            outcome = self.runtime.pull_image(image, auth).await.map_err(Some);
            if outcome.is_ok() {
                break;
            }
        }
        let failed = |message: String| {
            let message = format!("failed to pull image {image:?}: {message}");
            report.warning("Failed", &format!("Failed to pull image {image:?}: {message}"));
            Absent { reason: "ErrImagePull", message, retry: self.failed(uid, image, Timestamp::now()) }
        };
        let reference = outcome.map_err(|error| failed(error.map_or_else(String::new, |error| error.rpc())))?;
        let found = self.runtime.image_status(&reference).await.map_err(|error| failed(error.rpc()))?;
        let found = found.ok_or_else(|| failed("it vanished after the pull".into()))?;
        let key = (uid.to_owned(), image.to_owned());
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let took = begin.elapsed();
        let took = format!("{:.3}s", took.as_secs_f64());
        let size = found.size;
        report.normal(
            "Pulled",
            &format!(
                "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {size} bytes."
            ),
        );
        Ok(present(found))
    }

    /// When to try again after a failure at `now`. Failures that were long ago are forgotten.
    fn failed(&self, uid: &str, image: &str, now: Timestamp) -> Timestamp {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, failure| !failure.expired(now));
        let key = (uid.to_owned(), image.to_owned());
        let failure = CrashLoop::next(failures.get(&key), now, now);
        failures.insert(key, failure);
        now + failure.delay
    }
}

fn present(image: api::Image) -> Present {
    Present {
        id: image.id,
        uid: image.uid.map(|uid| uid.value),
        user: image.username.split(':').next().unwrap_or_default().to_owned(),
    }
}

/// A `.dockerconfigjson`.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct DockerAuth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// The credentials in pull secrets that fit an image, the most specific first.
fn credentials(image: &str, secrets: &BTreeMap<String, Arc<Secret>>) -> Vec<api::AuthConfig> {
    let full = name::normalize(image);
    let mut fitting: Vec<(usize, api::AuthConfig)> = Vec::new();
    for secret in secrets.values() {
        for (registry, auth) in entries(secret) {
            let scope =
                registry.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_owned();
            let scope = if scope.starts_with("index.docker.io") { "docker.io".to_owned() } else { scope };
            if full == scope || full.strip_prefix(&scope).is_some_and(|rest| rest.starts_with(['/', ':', '@'])) {
                fitting.push((scope.len(), auth_config(&auth)));
            }
        }
    }
    fitting.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    fitting.into_iter().map(|(_, auth)| auth).collect()
}

fn entries(secret: &Secret) -> BTreeMap<String, DockerAuth> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            let config = data(".dockerconfigjson").and_then(|bytes| serde_json::from_slice::<DockerConfig>(bytes).ok());
            config.map(|config| config.auths).unwrap_or_default()
        }
        Some("kubernetes.io/dockercfg") => {
            data(".dockercfg").and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
        }
        _ => BTreeMap::new(),
    }
}

fn auth_config(auth: &DockerAuth) -> api::AuthConfig {
    let decoded = STANDARD.decode(&auth.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let (user, password) = decoded.split_once(':').unwrap_or((&auth.username, &auth.password));
    api::AuthConfig {
        username: user.into(),
        password: password.into(),
        identity_token: auth.identitytoken.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_default_by_tag() {
        for (image, written, expect) in [
            ("busybox", None, Policy::Always),
            ("busybox:1", None, Policy::IfNotPresent),
            ("busybox@sha256:00", None, Policy::IfNotPresent),
            ("busybox", Some("Never"), Policy::Never),
            ("busybox:1", Some("Always"), Policy::Always),
        ] {
            let container = Container {
                image: Some(image.into()),
                image_pull_policy: written.map(ToOwned::to_owned),
                ..Container::default()
            };
            assert_eq!(policy(&container), expect, "{image} {written:?}");
        }
    }

    #[tokio::test]
    async fn a_failed_pull_waits_ever_longer_and_holds_up_no_other_pod() {
        let absent = crate::cri::Cri::new(crate::cri::unix_channel("/absent".into()));
        let puller = Puller::new(Arc::new(absent));
        let now = Timestamp::UNIX_EPOCH;
        let waits = |uid: &str, at: Timestamp| puller.failed(uid, "busybox", at).duration_since(at).as_secs();
        assert_eq!([waits("u", now), waits("u", now), waits("u", now)], [10, 20, 40]);
        assert_eq!(waits("v", now), 10);
        assert_eq!(waits("u", now + SignedDuration::from_mins(11)), 10, "a failure long ago counts for nothing");
        assert_eq!(puller.failures.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_most_specific_credentials_come_first() {
        let auths = json!({"auths": {
            "registry.example": {"auth": STANDARD.encode("wide:1")},
            "https://registry.example/team/": {"username": "narrow", "password": "2"},
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:3")},
            "other.example": {"username": "no", "password": "no"},
        }});
        let data = json!({".dockerconfigjson": STANDARD.encode(auths.to_string())});
        let secret: Secret =
            serde_json::from_value(json!({"type": "kubernetes.io/dockerconfigjson", "data": data})).unwrap();
        let secrets = BTreeMap::from([("s".to_owned(), Arc::new(secret))]);
        let users =
            |image: &str| credentials(image, &secrets).into_iter().map(|auth| auth.username).collect::<Vec<_>>();
        assert_eq!(users("registry.example/team/app:1"), ["narrow", "wide"]);
        assert_eq!(users("registry.example/teams/app"), ["wide"]);
        assert_eq!(users("registry.example.com/app"), [""; 0]);
        assert_eq!(users("quay.io/app"), [""; 0]);
    }
}

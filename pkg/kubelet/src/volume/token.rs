//! ServiceAccount tokens, bound to their pod and renewed while it runs.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::PostParams;

use crate::pod::PodExt as _;

/// How long until a renewal that the API refused is tried again; upstream looks at volumes as often.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// A token and when to replace it.
#[derive(Clone, Debug)]
struct Token {
    value: String,
    renew: Timestamp,
}

/// The tokens of one pod, by volume and path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(BTreeMap<(String, String), Token>);

impl Tokens {
    /// Gets every token that the pod's volumes want and that is missing or due.
    ///
    /// # Errors
    /// The volume, and the cause for `FailedMount`.
    pub(crate) async fn renew(
        &mut self,
        client: &kube::Client,
        pod: &Pod,
        now: Timestamp,
    ) -> Result<(), (String, String)> {
        for (volume, projection) in wanted(pod) {
            let key = (volume.clone(), projection.path.clone());
            if self.0.get(&key).is_some_and(|token| token.renew > now) {
                continue;
            }
            let request = request(client, pod, projection).await;
            match (request.map_err(|error| format!("failed to fetch token: {error}")), self.0.get_mut(&key)) {
                (Ok(answer), _) => drop(self.0.insert(key, answer)),
                // A token that is still good is used until the API answers again.
                (Err(error), Some(former)) => {
                    tracing::warn!("{}: {error}", pod.full_name());
                    former.renew = now + AGAIN;
                }
                (Err(error), None) => return Err((volume, error)),
            }
        }
        Ok(())
    }

    /// The values.
    pub(crate) fn values(&self) -> BTreeMap<(String, String), String> {
        self.0.iter().map(|(key, token)| (key.clone(), token.value.clone())).collect()
    }

    /// When the first of them must be renewed.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.0.values().map(|token| token.renew).min()
    }
}

fn wanted(pod: &Pod) -> impl Iterator<Item = (String, &ServiceAccountTokenProjection)> {
    pod.spec().volumes.iter().flatten().flat_map(|volume| {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        sources.filter_map(|source| Some((volume.name.clone(), source.service_account_token.as_ref()?)))
    })
}

async fn request(
    client: &kube::Client,
    pod: &Pod,
    projection: &ServiceAccountTokenProjection,
) -> Result<Token, String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), pod.namespace());
    let account = pod.spec().service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    let body = TokenRequest {
        spec: TokenRequestSpec {
            audiences: projection.audience.iter().filter(|audience| !audience.is_empty()).cloned().collect(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(pod.name().into()),
                uid: Some(pod.uid().into()),
            }),
            expiration_seconds: Some(projection.expiration_seconds.unwrap_or(3600)),
        },
        ..TokenRequest::default()
    };
    let now = Timestamp::now();
    let answer = accounts.create_token_request(account, &PostParams::default(), &body).await;
    let status = answer.map_err(|error| error.to_string())?.status.ok_or("the answer has no token")?;
    Ok(Token { renew: renewal(now, status.expiration_timestamp.0), value: status.token })
}

/// At 80 % of the life of the token, and once a day.
fn renewal(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now);
    now + SignedDuration::from_hours(24).min(life * 4 / 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::json;

    #[tokio::test]
    async fn a_refused_renewal_is_tried_again_later_with_the_former_token_in_use() {
        let refuse = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            let answer = http::Response::builder().status(404);
            answer.body(kube::client::Body::empty())
        });
        let client = kube::Client::new(refuse, "default");
        let pod = pod(json!({"containers": [], "volumes": [
            {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}));
        let now = Timestamp::UNIX_EPOCH;
        assert!(Tokens::default().renew(&client, &pod, now).await.is_err(), "there is none to go on with");
        let key = ("v".to_owned(), "token".to_owned());
        let mut tokens = Tokens([(key.clone(), Token { value: "former".into(), renew: now })].into());
        tokens.renew(&client, &pod, now).await.unwrap();
        assert_eq!(tokens.values().get(&key).unwrap(), "former");
        assert_eq!(tokens.due(), Some(now + AGAIN));
    }

    #[test]
    fn tokens_are_renewed_at_four_fifths_of_their_life() {
        let now = Timestamp::UNIX_EPOCH;
        for (life, renew) in [(3600, 2880), (10, 8), (400_000, 86_400)] {
            assert_eq!(renewal(now, now + SignedDuration::from_secs(life)), now + SignedDuration::from_secs(renew));
        }
    }
}

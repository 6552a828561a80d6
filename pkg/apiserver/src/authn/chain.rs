//! The cluster's authenticator: in-process identity, client certificate, bearer token, anonymous; asked in this order.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_api::user::{InProcess, UserInfo};

use super::service_account::ServiceAccountTokens;
use super::{Authenticate, PeerCertificate, x509};

/// Everybody who proved who they are.
const AUTHENTICATED: &str = "system:authenticated";

/// Finds out who sends a request, as upstream does by default; whoever brings no credentials is `system:anonymous`.
#[derive(Debug)]
pub struct ClusterAuthenticator {
    tokens: Arc<ServiceAccountTokens>,
    anonymous: bool,
}

impl ClusterAuthenticator {
    /// `anonymous` is upstream's `--anonymous-auth`, which is on by default.
    #[must_use]
    pub fn new(tokens: Arc<ServiceAccountTokens>, anonymous: bool) -> Self {
        Self { tokens, anonymous }
    }

    async fn by_credentials(&self, request: &Parts) -> std::result::Result<Option<UserInfo>, String> {
        let now = jiff::Timestamp::now().as_second();
        let mut broken = None;
        if let Some(PeerCertificate(certificate)) = request.extensions.get() {
            match certificate.as_ref().as_ref().map_err(Clone::clone).and_then(|leaf| x509::user(leaf, now)) {
                Ok(Some(user)) => return Ok(Some(user)),
                Ok(None) => {}
                // A good token outweighs a bad certificate.
                Err(why) => broken = Some(why),
            }
        }
        if let Some(token) = bearer_token(&request.headers) {
            let audiences = [self.tokens.issuer().to_owned()];
            let verified = self.tokens.check(token, &audiences, now).await?;
            return verified.map(|verified| Some(verified.user)).ok_or_else(|| "invalid bearer token".into());
        }
        broken.map_or(Ok(None), Err)
    }
}

#[async_trait]
impl Authenticate for ClusterAuthenticator {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>> {
        if let Some(InProcess(user)) = request.extensions.get() {
            return Ok(Some(user.clone()));
        }
        match self.by_credentials(request).await {
            Ok(Some(mut user)) => {
                if !user.is_in(AUTHENTICATED) {
                    user.groups.push(AUTHENTICATED.into());
                }
                Ok(Some(user))
            }
            Ok(None) => Ok(self.anonymous.then(anonymous)),
            Err(why) => {
                tracing::debug!("unable to authenticate the request: {why}");
                Err(Status::unauthorized())
            }
        }
    }
}

/// Who brings no credentials.
#[must_use]
pub fn anonymous() -> UserInfo {
    UserInfo {
        username: "system:anonymous".into(),
        groups: vec!["system:unauthenticated".into()],
        ..UserInfo::default()
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, rest) = value.split_once(' ')?;
    let token = rest.split(' ').next().filter(|token| !token.is_empty())?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens_are_read_as_upstream_reads_them() {
        let table = [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            (" Bearer abc def", Some("abc")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
            ("", None),
        ];
        for (value, token) in table {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(bearer_token(&headers), token, "{value:?}");
        }
    }
}

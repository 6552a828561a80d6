//! Service account tokens:
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>.

mod claims;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::user::UserInfo;
use knarr_pki::ClusterPki;

use crate::registry::Registry;

pub use claims::{Binding, Claims, Reference};

/// Where objects that tokens are bound to are looked up.
#[async_trait]
pub trait Objects: Send + Sync + std::fmt::Debug {
    /// The object of the core group; `None` when it does not exist.
    async fn find(&self, plural: &str, namespace: &str, name: &str) -> Result<Option<Object>, String>;
}

#[async_trait]
impl Objects for Registry {
    async fn find(&self, plural: &str, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        let kind = self.kind("", plural).ok_or_else(|| format!("there is no resource {plural:?}"))?;
        match self.get(&kind, namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is("NotFound") => Ok(None),
            Err(status) => Err(status.message),
        }
    }
}

/// A token that holds.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whom it speaks for.
    pub user: UserInfo,
    /// The audiences that were asked for and that it has.
    pub audiences: Vec<String>,
}

/// Checks service account tokens.
#[derive(Debug)]
pub struct ServiceAccountTokens {
    pki: Arc<ClusterPki>,
    issuer: String,
    objects: Arc<dyn Objects>,
    signatures: Signatures,
}

impl ServiceAccountTokens {
    /// Checks tokens that `pki` signed and that name `issuer`. The API server is an audience under the issuer's name.
    #[must_use]
    pub fn new(pki: Arc<ClusterPki>, issuer: String, objects: Arc<dyn Objects>) -> Self {
        Self { pki, issuer, objects, signatures: Signatures::default() }
    }

    /// Who issues tokens; also the audience of the API server itself.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Checks a token for one of `audiences`; `None` when it is not a token of this issuer at all.
    ///
    /// # Errors
    /// When it is, but does not hold: upstream's text.
    pub async fn check(&self, token: &str, audiences: &[String], now: i64) -> Result<Option<Verified>, String> {
        let Some(claims) = self.claims(token)? else { return Ok(None) };
        let own = [self.issuer.clone()];
        let has: &[String] = if claims.aud.is_empty() { &own } else { &claims.aud };
        let common: Vec<_> = has.iter().filter(|audience| audiences.contains(audience)).cloned().collect();
        if common.is_empty() {
            return Err(format!("token audiences {has:?} is invalid for the target audiences {audiences:?}"));
        }
        claims.check_time(now)?;
        self.check_objects(&claims.kubernetes, now).await?;
        Ok(Some(Verified { user: claims.user(), audiences: common }))
    }

    fn claims(&self, token: &str) -> Result<Option<Arc<Claims>>, String> {
        if let Some(claims) = self.signatures.get(token) {
            return Ok(Some(claims));
        }
        // Whose it is is read before its signature is checked, so that the tokens of others are left to others.
        if issuer_of(token).as_deref() != Some(&self.issuer) {
            return Ok(None);
        }
        let claims: Claims = self.pki.tokens.verify(token).map_err(|error| error.to_string())?;
        Ok(Some(self.signatures.remember(token, claims)))
    }

    /// A token lives no longer than what it is bound to. An object that is being deleted ends it when the leeway is over.
    async fn check_objects(&self, bound: &Binding, now: i64) -> Result<(), String> {
        let (namespace, account) = (bound.namespace.as_str(), &bound.serviceaccount);
        let found = self.objects.find("serviceaccounts", namespace, &account.name).await?;
        let found = found.ok_or_else(|| format!("serviceaccounts {:?} not found", account.name))?;
        if found.uid() != account.uid {
            return Err(format!("service account UID ({}) does not match claim ({})", found.uid(), account.uid));
        }
        if is_deleted(&found, now) {
            return Err(format!("service account {namespace}/{} has been deleted", account.name));
        }
        if let Some(secret) = &bound.secret {
            self.check_reference("secrets", namespace, secret, "secret", now).await?;
        }
        match (&bound.pod, &bound.node) {
            (Some(pod), _) => self.check_reference("pods", namespace, pod, "pod", now).await,
            (None, Some(node)) => self.check_reference("nodes", "", node, "node", now).await,
            (None, None) => Ok(()),
        }
    }

    async fn check_reference(
        &self,
        plural: &str,
        namespace: &str,
        wanted: &Reference,
        what: &str,
        now: i64,
    ) -> Result<(), String> {
        let found = self.objects.find(plural, namespace, &wanted.name).await?;
        let found =
            found.filter(|found| !is_deleted(found, now)).ok_or("service account token has been invalidated")?;
        if found.uid() == wanted.uid {
            return Ok(());
        }
        let (present, uid) = (found.uid(), &wanted.uid);
        Err(format!("{what} UID ({present}) does not match service account {what} ref claim ({uid})"))
    }
}

fn is_deleted(object: &Object, now: i64) -> bool {
    let stamp = object.meta("deletionTimestamp").parse::<jiff::Timestamp>();
    stamp.is_ok_and(|stamp| stamp.as_second() < now - claims::LEEWAY)
}

/// The `iss` of something that may be a token.
fn issuer_of(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Issuer {
        iss: String,
    }
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token);
    claims.ok().map(|claims| claims.iss)
}

/// Tokens whose signature was found right: clients send the same one with every request, and checking a signature costs
/// more than all the rest. What the claims say is checked anew each time.
#[derive(Debug, Default)]
struct Signatures(Mutex<HashMap<String, Arc<Claims>>>);

impl Signatures {
    /// A few per pod of a big node; when full, all go: they come back at one signature each.
    const CAPACITY: usize = 512;

    fn get(&self, token: &str) -> Option<Arc<Claims>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn remember(&self, token: &str, claims: Claims) -> Arc<Claims> {
        let claims = Arc::new(claims);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::CAPACITY {
            known.clear();
        }
        known.insert(token.to_owned(), Arc::clone(&claims));
        claims
    }
}

#[cfg(test)]
mod tests;

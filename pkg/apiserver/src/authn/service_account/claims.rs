//! What stands in a service account token: `k8s.io/kubernetes/pkg/serviceaccount/claims.go`.

use knarr_api::user::UserInfo;
use serde::{Deserialize, Deserializer, Serialize};

use crate::authn::x509::CREDENTIAL_ID;

/// Clocks of clients and servers may differ by so many seconds.
pub(crate) const LEEWAY: i64 = 60;

/// The claims of a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is; empty in tokens that no TokenRequest made.
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Until when it holds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date", default)]
    pub exp: Option<i64>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date", default)]
    pub iat: Option<i64>,
    /// Who made it.
    #[serde(default)]
    pub iss: String,
    /// Its own id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// What is special to Kubernetes.
    #[serde(default, rename = "kubernetes.io")]
    pub kubernetes: Binding,
    /// From when on it holds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date", default)]
    pub nbf: Option<i64>,
    /// The user name.
    #[serde(default)]
    pub sub: String,
}

/// What a token is bound to: it holds no longer than these objects exist.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    /// Of the service account, and of the pod or secret.
    pub namespace: String,
    /// The node, alone or as a fact about the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The service account.
    pub serviceaccount: Reference,
    /// When the client should have fetched a new one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    pub warnafter: Option<i64>,
}

/// An object by name and identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its UID; empty for a node that did not exist.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Claims {
    /// Whether the token holds now.
    ///
    /// # Errors
    /// Upstream's text.
    pub(crate) fn check_time(&self, now: i64) -> Result<(), &'static str> {
        if self.nbf.is_some_and(|start| now + LEEWAY < start) {
            return Err("service account token is not valid yet");
        }
        if self.exp.is_some_and(|end| now - LEEWAY > end) {
            return Err("service account token has expired");
        }
        if self.iat.is_some_and(|made| now + LEEWAY < made) {
            return Err("service account token is issued in the future");
        }
        Ok(())
    }

    /// The user that the token speaks for.
    pub(crate) fn user(&self) -> UserInfo {
        let bound = &self.kubernetes;
        let mut user = UserInfo::service_account(&bound.namespace, &bound.serviceaccount.name);
        user.uid = bound.serviceaccount.uid.clone();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(key.into(), vec![value.into()]);
            }
        };
        if let Some(pod) = &bound.pod {
            add("authentication.kubernetes.io/pod-name", &pod.name);
            add("authentication.kubernetes.io/pod-uid", &pod.uid);
        }
        if let Some(node) = &bound.node {
            add("authentication.kubernetes.io/node-name", &node.name);
            add("authentication.kubernetes.io/node-uid", &node.uid);
        }
        if !self.jti.is_empty() {
            add(CREDENTIAL_ID, &format!("JTI={}", self.jti));
        }
        user
    }
}

/// RFC 7519: one audience may stand without a list.
fn one_or_many<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(input)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// RFC 7519: a NumericDate may have a fraction, which is cut off.
fn date<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a cast from float saturates, and years are far from its bounds"
    )]
    let seconds = Option::<f64>::deserialize(input)?.map(|seconds| seconds as i64);
    // A date so far off must not overflow when leeway is added.
    Ok(seconds.map(|seconds| seconds.clamp(i64::MIN / 4, i64::MAX / 4)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_have_a_minute_of_leeway() {
        let claims = |exp, nbf, iat| Claims { exp: Some(exp), nbf: Some(nbf), iat: Some(iat), ..Claims::default() };
        let table = [
            (claims(1000, 0, 0), 1060, Ok(())),
            (claims(1000, 0, 0), 1061, Err("service account token has expired")),
            (claims(9000, 1000, 0), 940, Ok(())),
            (claims(9000, 1000, 0), 939, Err("service account token is not valid yet")),
            (claims(9000, 0, 1000), 939, Err("service account token is issued in the future")),
        ];
        for (claims, now, expected) in table {
            assert_eq!(claims.check_time(now), expected, "{claims:?} {now}");
        }
    }

    #[test]
    fn foreign_spellings_are_read() {
        let claims: Claims =
            serde_json::from_value(json!({"aud": "one", "exp": 12.7, "nbf": 1e300, "iss": "x"})).unwrap();
        assert_eq!((claims.aud, claims.exp), (vec!["one".to_owned()], Some(12)));
        assert!(claims.nbf.unwrap() > i64::MAX / 8);
        for bad in [json!({"aud": 1}), json!({"exp": "soon"}), json!({"kubernetes.io": 5})] {
            assert!(serde_json::from_value::<Claims>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_user_carries_what_the_token_is_bound_to() {
        let claims: Claims = serde_json::from_value(json!({
            "jti": "j", "sub": "system:serviceaccount:a:bot",
            "kubernetes.io": {
                "namespace": "a", "serviceaccount": {"name": "bot", "uid": "u"},
                "pod": {"name": "p", "uid": "pu"}, "node": {"name": "n", "uid": "nu"},
            },
        }))
        .unwrap();
        let user = claims.user();
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("system:serviceaccount:a:bot", "u"));
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
        let extra: Vec<_> =
            user.extra.iter().map(|(key, value)| format!("{}={}", key.rsplit('/').next().unwrap(), value[0])).collect();
        assert_eq!(extra, ["credential-id=JTI=j", "node-name=n", "node-uid=nu", "pod-name=p", "pod-uid=pu"]);
    }
}

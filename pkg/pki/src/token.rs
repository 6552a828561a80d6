//! The key that signs service account tokens: JWTs with ES256 (RFC 7515, RFC 7518).

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, CommonParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;

use crate::Error;
use crate::disk::{self, Access};

/// Signs with `sa.key`, verifies with every key in `sa.pub`: an old public key that is kept there keeps its tokens valid.
pub struct TokenKeys {
    signer: EncodingKey,
    header: Header,
    verifiers: Vec<Verifier>,
}

struct Verifier {
    id: String,
    key: DecodingKey,
    jwk: Jwk,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenKeys").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

impl TokenKeys {
    /// Reads `sa.key` and `sa.pub` from `directory`, or makes them. `sa.pub` may hold several keys; the one that belongs
    /// to `sa.key` is put there when it is missing.
    ///
    /// # Errors
    /// When a file cannot be read, written or used.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let (private_path, public_path) = (directory.join("sa.key"), directory.join("sa.pub"));
        let key =
            match disk::read(&private_path)? {
                Some(pem) => KeyPair::from_pem(&pem)
                    .ok()
                    .filter(|key| key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256))
                    .ok_or_else(|| Error::Unusable { path: private_path, what: "is not an ECDSA P-256 key".into() })?,
                None => {
                    let key = KeyPair::generate()?;
                    disk::write(&private_path, &key.serialize_pem(), Access::Private)?;
                    key
                }
            };
        let own = key.subject_public_key_info();
        let mut public = disk::read(&public_path)?.unwrap_or_default();
        if !public_keys(&public, &public_path)?.iter().any(|der| der.as_ref() == own) {
            public.insert_str(0, &key.public_key_pem());
            disk::write(&public_path, &public, Access::Public)?;
        }
        let verifiers =
            public_keys(&public, &public_path)?.iter().map(|der| Verifier::new(der)).collect::<Result<_, _>>()?;
        let header = Header { kid: Some(key_id(&own)), typ: None, ..Header::new(Algorithm::ES256) };
        Ok(Self { signer: EncodingKey::from_ec_der(key.serialized_der()), header, verifiers })
    }

    /// Signs claims.
    ///
    /// # Errors
    /// When the claims cannot be encoded.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        Ok(jsonwebtoken::encode(&self.header, claims, &self.signer)?)
    }

    /// Checks the signature, and nothing else: what the claims mean is the authenticator's business.
    ///
    /// # Errors
    /// When the text is no token, or none of the keys signed it.
    pub fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, Error> {
        let kid = jsonwebtoken::decode_header(token)?.kid;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let mut outcome = Err(jsonwebtoken::errors::ErrorKind::InvalidSignature.into());
        for verifier in self.verifiers.iter().filter(|verifier| kid.as_ref().is_none_or(|kid| *kid == verifier.id)) {
            outcome = jsonwebtoken::decode::<C>(token, &verifier.key, &validation);
            if outcome.is_ok() {
                break;
            }
        }
        Ok(outcome?.claims)
    }

    /// The public keys for `/openid/v1/jwks`.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.verifiers.iter().map(|verifier| verifier.jwk.clone()).collect() }
    }
}

impl Verifier {
    fn new(der: &[u8]) -> Result<Self, Error> {
        let id = key_id(der);
        let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        let key = DecodingKey::from_ec_der(&info.subject_public_key.data);
        let algorithm: AlgorithmParameters = Jwk::from_decoding_key(&key, Some(Algorithm::ES256))?.algorithm;
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(KeyAlgorithm::ES256),
            key_id: Some(id.clone()),
            ..CommonParameters::default()
        };
        Ok(Self { id, key, jwk: Jwk { common, algorithm } })
    }
}

fn public_keys(pem: &str, path: &Path) -> Result<Vec<SubjectPublicKeyInfoDer<'static>>, Error> {
    SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Unusable { path: path.into(), what: error.to_string() })
}

/// Upstream's key id: the hash of the key, so that it does not give the key away.
fn key_id(public_key: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(public_key))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn old_public_keys_still_verify() {
        let directory = tempfile::tempdir().unwrap();
        let old = TokenKeys::open(directory.path()).unwrap();
        let token = old.sign(&json!({"sub": "system:serviceaccount:a:b", "exp": 1})).unwrap();
        std::fs::remove_file(directory.path().join("sa.key")).unwrap();
        let new = TokenKeys::open(directory.path()).unwrap();
        assert_eq!(new.verify::<Value>(&token).unwrap()["sub"], "system:serviceaccount:a:b");
        assert_eq!(new.jwks().keys.len(), 2);
        let strange = TokenKeys::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(strange.verify::<Value>(&token).is_err());
    }

    #[test]
    fn forged_tokens_are_refused() {
        let keys = TokenKeys::open(tempfile::tempdir().unwrap().path()).unwrap();
        let token = keys.sign(&json!({"sub": "a"})).unwrap();
        let (message, _) = token.rsplit_once('.').unwrap();
        let (_, payload) = message.split_once('.').unwrap();
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let other = keys.sign(&json!({"sub": "b"})).unwrap();
        let foreign_signature = other.rsplit_once('.').unwrap().1;
        for forged in [
            String::new(),
            "a".into(),
            "a.b.c".into(),
            format!("{none}.{payload}."),
            format!("{message}."),
            format!("{message}.{foreign_signature}"),
        ] {
            assert!(keys.verify::<Value>(&forged).is_err(), "{forged}");
        }
    }

    #[test]
    fn the_key_set_has_upstreams_form() {
        let keys = TokenKeys::open(tempfile::tempdir().unwrap().path()).unwrap();
        let jwks = serde_json::to_value(keys.jwks()).unwrap();
        let key = &jwks["keys"][0];
        assert_eq!(
            (&key["use"], &key["kty"], &key["crv"], &key["alg"]),
            (&json!("sig"), &json!("EC"), &json!("P-256"), &json!("ES256"))
        );
        assert_eq!(key["kid"], json!(keys.header.kid));
        assert_eq!(key["x"].as_str().unwrap().len(), 43);
    }
}

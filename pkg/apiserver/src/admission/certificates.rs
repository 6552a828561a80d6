//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may approve and sign which requests:
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use knarr_api::Object;
use knarr_api::status::Result;
use knarr_api::tree::{Tree, same};
use knarr_pki::SigningRequest;

use super::lookup::Rights;
use super::{Admission, AdmissionRequest, Operation};
use crate::request::RequestInfo;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// The PKCS#10 request in a `CertificateSigningRequest`.
pub(super) fn parse(object: &Object) -> std::result::Result<SigningRequest, String> {
    let bytes = BASE64_STANDARD.decode(object.text("spec.request")).map_err(|error| error.to_string())?;
    let pem = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    SigningRequest::parse(&pem).map_err(|error| error.to_string())
}

/// Whether the user may do `verb` with the signer, or with all signers of its domain.
async fn may(rights: &Rights, request: &AdmissionRequest<'_>, verb: &'static str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    let about = |name: &str| RequestInfo {
        verb: verb.into(),
        group: GROUP.into(),
        resource: "signers".into(),
        name: name.into(),
        ..RequestInfo::default()
    };
    rights.may(request, about(signer)).await || rights.may(request, about(&format!("{domain}/*"))).await
}

/// Who approves a request must be allowed to for its signer.
#[derive(Debug)]
pub(super) struct CertificateApproval(pub(super) Rights);

/// Who signs a request must be allowed to for its signer.
#[derive(Debug)]
pub(super) struct CertificateSigning(pub(super) Rights);

/// Nobody gets `system:masters` by a request.
#[derive(Debug)]
pub(super) struct CertificateSubjectRestriction;

#[async_trait]
impl Admission for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        // The old object counts: the new one could name another signer.
        let Some(old) = request.old.filter(|_| request.is_sub(GROUP, REQUESTS, "approval")) else { return Ok(()) };
        let signer = old.text("spec.signerName");
        if may(&self.0, request, "approve", signer).await {
            return Ok(());
        }
        Err(request.forbidden(format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

#[async_trait]
impl Admission for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let old = request.old.filter(|_| request.is_sub(GROUP, REQUESTS, "status"));
        let Some((old, new)) = old.zip(request.object.as_deref()) else { return Ok(()) };
        let unchanged = |path: &str| same(new.value(path), old.value(path));
        let signer = old.text("spec.signerName");
        if unchanged("status.certificate") && unchanged("status.conditions")
            || may(&self.0, request, "sign", signer).await
        {
            return Ok(());
        }
        Err(request.forbidden(format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

#[async_trait]
impl Admission for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let created = request.operation == Operation::Create && request.is(GROUP, REQUESTS);
        let Some(object) = request.object.as_deref().filter(|_| created) else { return Ok(()) };
        restrict(object).map_err(|why| request.forbidden(why))
    }
}

fn restrict(object: &Object) -> std::result::Result<(), String> {
    if object.text("spec.signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let parsed = parse(object).map_err(|why| format!("failed to parse CSR: {why}"))?;
    if parsed.organizations.iter().any(|group| group == "system:masters") {
        return Err(format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn malformed_requests_are_refused_for_clients_only() {
        let request = |signer: &str, request: &str| object(json!({"spec": {"signerName": signer, "request": request}}));
        assert_eq!(restrict(&request("example.com/mine", "junk")), Ok(()));
        let refused = restrict(&request(CLIENT_SIGNER, "junk!")).unwrap_err();
        assert!(refused.starts_with("failed to parse CSR: "), "{refused}");
    }
}

//! Client certificates: the subject's CN is the user, its O are the groups.

use knarr_api::user::UserInfo;
use sha2::{Digest, Sha256};

/// Under which key a user's extra names the credential that was used.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The user of a certificate whose chain the listener has verified; `None` when it names nobody.
///
/// # Errors
/// When it cannot be read, or has expired while its connection lasted.
pub(crate) fn user(certificate: &[u8], now: i64) -> Result<Option<UserInfo>, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let (not_before, not_after) = (parsed.validity().not_before, parsed.validity().not_after);
    if now > not_after.timestamp() {
        return Err(format!("x509: certificate has expired or is not yet valid: current time is after {not_after}"));
    }
    if now < not_before.timestamp() {
        return Err(format!("x509: certificate has expired or is not yet valid: current time is before {not_before}"));
    }
    let subject = parsed.subject();
    let Some(name) = subject.iter_common_name().next() else { return Ok(None) };
    let username = name.as_str().map_err(|error| error.to_string())?.to_owned();
    if username.is_empty() {
        return Ok(None);
    }
    let groups = subject.iter_organization().map(|group| group.as_str().map(str::to_owned)).collect::<Result<_, _>>();
    let groups = groups.map_err(|error| error.to_string())?;
    let digest: String = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect();
    let extra = [(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={digest}")])].into();
    Ok(Some(UserInfo { username, groups, extra, ..UserInfo::default() }))
}

#[cfg(test)]
mod tests {
    use knarr_pki::{Authority, Profile};

    use super::*;

    #[test]
    fn a_certificate_names_user_groups_and_itself() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let leaf = authority.issue(&Profile::client("jane", Some("devs"))).unwrap();
        let der = leaf.certified_key().cert[0].to_vec();
        let window = leaf.window();
        let now = i64::try_from(window.not_before).unwrap() + 10;
        let user = super::user(&der, now).unwrap().unwrap();
        assert_eq!((user.username.as_str(), user.groups.as_slice()), ("jane", &["devs".to_owned()][..]));
        assert_eq!(user.extra[CREDENTIAL_ID][0].len(), "X509SHA256=".len() + 64);
        let late = i64::try_from(window.not_after).unwrap() + 1;
        assert!(super::user(&der, late).unwrap_err().contains("has expired"));
        assert!(super::user(&der, now - 11).unwrap_err().contains("not yet valid"));
        assert!(super::user(b"junk", now).is_err());
    }

    #[test]
    fn a_certificate_without_a_name_is_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let leaf = authority.issue(&Profile::client("", None)).unwrap();
        let now = i64::try_from(leaf.window().not_before).unwrap() + 10;
        assert_eq!(super::user(&leaf.certified_key().cert[0], now).unwrap(), None);
    }
}

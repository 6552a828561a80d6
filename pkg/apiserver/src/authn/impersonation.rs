//! Acting as somebody else: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>.

use std::collections::BTreeMap;

use http::HeaderMap;
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_api::user::UserInfo;

use super::service_account_of;
use crate::authz::{Attributes, Authorize, Decision, forbidden};
use crate::request::RequestInfo;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// What the headers ask for.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

/// The user that the request is to be made as, once `user` was found to be allowed that; `None` when the headers ask for
/// nothing. The headers are taken out.
///
/// # Errors
/// 400 when they ask for a group, UID or extra without a user; 403 when any of it is not allowed.
pub async fn impersonate(
    authorizer: &dyn Authorize,
    user: &UserInfo,
    headers: &mut HeaderMap,
) -> Result<Option<UserInfo>> {
    let wanted = take(headers)?;
    if wanted == Wanted::default() {
        return Ok(None);
    }
    if wanted.user.is_empty() {
        return Err(Status::bad_request("requested groups, a UID or extra without impersonating a user"));
    }
    for info in questions(&wanted) {
        let attributes = Attributes { user, info: &info };
        match authorizer.authorize(&attributes).await {
            Decision::Allow(_) => {}
            refusal => return Err(forbidden(&attributes, refusal.reason())),
        }
    }
    Ok(Some(become_user(wanted)))
}

/// A value that is no text must not be passed over: the request would then be made with the rights of its sender.
fn take(headers: &mut HeaderMap) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    let mut names = Vec::new();
    for (name, value) in headers.iter() {
        let text = || match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Status::bad_request(format!("the value of the header {name} is not UTF-8"))),
        };
        match name.as_str() {
            USER if wanted.user.is_empty() => wanted.user = text()?,
            UID if wanted.uid.is_empty() => wanted.uid = text()?,
            USER | UID => {}
            GROUP => wanted.groups.push(text()?),
            other => {
                let Some(key) = other.strip_prefix(EXTRA) else { continue };
                let decoded = percent_encoding::percent_decode_str(key).decode_utf8();
                let key = decoded.map_or_else(|_| key.to_owned(), Into::into);
                wanted.extra.entry(key).or_default().push(text()?);
            }
        }
        names.push(name.clone());
    }
    for name in names {
        headers.remove(name);
    }
    Ok(wanted)
}

/// One question to the authorizer for each thing that is asked for.
fn questions(wanted: &Wanted) -> Vec<RequestInfo> {
    let ask = |group: &str, resource: &str, name: &str| RequestInfo {
        is_resource: true,
        verb: "impersonate".into(),
        group: group.into(),
        resource: resource.into(),
        name: name.into(),
        ..RequestInfo::default()
    };
    let user = match service_account_of(&wanted.user) {
        Some((namespace, name)) => RequestInfo { namespace: namespace.into(), ..ask("", "serviceaccounts", name) },
        None => ask("", "users", &wanted.user),
    };
    let mut questions = vec![user];
    questions.extend(wanted.groups.iter().map(|group| ask("", "groups", group)));
    for (key, values) in &wanted.extra {
        let about = |value: &String| RequestInfo {
            subresource: key.clone(),
            ..ask("authentication.k8s.io", "userextras", value)
        };
        questions.extend(values.iter().map(about));
    }
    if !wanted.uid.is_empty() {
        questions.push(ask("authentication.k8s.io", "uids", &wanted.uid));
    }
    questions
}

/// Groups that are not named are those that the user would have; `system:authenticated` comes with every user but the
/// anonymous one, unless the groups say something about it themselves.
fn become_user(wanted: Wanted) -> UserInfo {
    let mut groups = wanted.groups;
    if let (true, Some((namespace, _))) = (groups.is_empty(), service_account_of(&wanted.user)) {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let says = |groups: &[String], group: &str| groups.iter().any(|own| own == group);
    if wanted.user == "system:anonymous" {
        if !says(&groups, UNAUTHENTICATED) {
            groups.push(UNAUTHENTICATED.into());
        }
    } else if !says(&groups, AUTHENTICATED) && !says(&groups, UNAUTHENTICATED) {
        groups.push(AUTHENTICATED.into());
    }
    UserInfo { username: wanted.user, uid: wanted.uid, groups, extra: wanted.extra }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    /// Allows what is in the list, as `resource/subresource namespace/name`.
    struct Only(&'static [&'static str]);

    #[async_trait]
    impl Authorize for Only {
        async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
            let info = attributes.info;
            assert_eq!(info.verb, "impersonate");
            let asked = format!("{}/{} {}/{}", info.resource, info.subresource, info.namespace, info.name);
            if self.0.contains(&asked.as_str()) {
                Decision::Allow(String::new())
            } else {
                Decision::NoOpinion(String::new())
            }
        }
    }

    async fn run(allowed: &'static [&'static str], headers: &[(&'static str, &str)]) -> Result<Option<UserInfo>> {
        let mut map = HeaderMap::new();
        map.append("accept", "x".parse().unwrap());
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let result = impersonate(&Only(allowed), &UserInfo::new("root", &[]), &mut map).await;
        assert_eq!(map.len(), 1);
        result
    }

    #[tokio::test]
    async fn groups_follow_upstreams_rules() {
        type Row<'a> = (&'static [&'static str], &'a [(&'static str, &'a str)], &'a [&'a str]);
        let table: [Row<'_>; 5] = [
            (&["users/ /jane"], &[(USER, "jane")], &["system:authenticated"]),
            (&["users/ /jane", "groups/ /devs"], &[(USER, "jane"), (GROUP, "devs")], &["devs", "system:authenticated"]),
            (
                &["users/ /jane", "groups/ /system:unauthenticated"],
                &[(USER, "jane"), (GROUP, "system:unauthenticated")],
                &["system:unauthenticated"],
            ),
            (
                &["serviceaccounts/ a/bot"],
                &[(USER, "system:serviceaccount:a:bot")],
                &["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"],
            ),
            (&["users/ /system:anonymous"], &[(USER, "system:anonymous")], &["system:unauthenticated"]),
        ];
        for (allowed, headers, groups) in table {
            assert_eq!(run(allowed, headers).await.unwrap().unwrap().groups, groups, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn everything_is_asked_for() {
        let headers = [
            (USER, "jane"),
            (UID, "7"),
            ("impersonate-extra-acme.com%2fproject", "x"),
            ("impersonate-extra-scopes", "y"),
        ];
        let all: &[&str] = &["users/ /jane", "uids/ /7", "userextras/acme.com/project /x", "userextras/scopes /y"];
        let user = run(all, &headers).await.unwrap().unwrap();
        assert_eq!((user.uid.as_str(), user.extra["acme.com/project"].as_slice()), ("7", &["x".to_owned()][..]));
        let refused = run(&["users/ /jane", "uids/ /7"], &headers).await.unwrap_err();
        assert_eq!(
            refused.message,
            "userextras.authentication.k8s.io \"x\" is forbidden: User \"root\" cannot impersonate resource \
             \"userextras/acme.com/project\" in API group \"authentication.k8s.io\" at the cluster scope"
        );
        assert_eq!(run(&[], &[(GROUP, "devs")]).await.unwrap_err().code, 400);
        assert_eq!(run(&[], &[]).await.unwrap(), None);
        let mut headers = HeaderMap::new();
        headers.append(USER, http::HeaderValue::from_bytes(&[0xff]).unwrap());
        assert_eq!(impersonate(&Only(&[]), &UserInfo::new("root", &[]), &mut headers).await.unwrap_err().code, 400);
    }
}

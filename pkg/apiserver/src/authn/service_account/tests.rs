use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NOW: i64 = 1_800_000_000;

#[derive(Debug)]
struct Fixed(Vec<(&'static str, Value)>);

#[async_trait]
impl Objects for Fixed {
    async fn find(&self, plural: &str, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        let found = self.0.iter().filter(|(of, _)| *of == plural).filter_map(|(_, object)| object.as_object());
        let mut found = found.filter(|object| object.namespace() == namespace && object.name() == name);
        Ok(found.next().cloned())
    }
}

fn object(namespace: &str, name: &str, uid: &str, deleted: Option<&str>) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": uid, "deletionTimestamp": deleted}})
}

fn pki(directory: &std::path::Path) -> Arc<ClusterPki> {
    let names = knarr_pki::Names {
        node: "n".into(),
        addresses: Vec::new(),
        service: Vec::new(),
        cluster_domain: "cluster.local".into(),
        extra: Vec::new(),
    };
    Arc::new(ClusterPki::open(directory, &names).unwrap())
}

fn claims(bound: Value) -> Claims {
    let mut kubernetes = json!({"namespace": "a", "serviceaccount": {"name": "bot", "uid": "u1"}});
    kubernetes.as_object_mut().unwrap().extend(bound.as_object().unwrap().clone());
    Claims {
        aud: vec![ISSUER.into()],
        exp: Some(NOW + 600),
        iat: Some(NOW),
        nbf: Some(NOW),
        iss: ISSUER.into(),
        kubernetes: serde_json::from_value(kubernetes).unwrap(),
        ..Claims::default()
    }
}

#[tokio::test]
async fn tokens_hold_as_long_as_what_they_are_bound_to() {
    let directory = tempfile::tempdir().unwrap();
    let pki = pki(directory.path());
    let objects = Arc::new(Fixed(vec![
        ("serviceaccounts", object("a", "bot", "u1", None)),
        ("serviceaccounts", object("a", "gone", "u1", Some("2020-01-01T00:00:00Z"))),
        ("pods", object("a", "p", "p1", None)),
        ("pods", object("a", "ending", "p1", Some("2020-01-01T00:00:00Z"))),
        ("secrets", object("a", "s", "s1", None)),
        ("nodes", json!({"metadata": {"name": "n", "uid": "n1"}})),
    ]));
    let tokens = ServiceAccountTokens::new(Arc::clone(&pki), ISSUER.into(), objects);
    let bound = |what: &str, name: &str, uid: &str| claims(json!({what: {"name": name, "uid": uid}}));
    let table = [
        (claims(json!({})), Ok(())),
        (Claims { aud: Vec::new(), ..claims(json!({})) }, Ok(())),
        (bound("pod", "p", "p1"), Ok(())),
        (bound("secret", "s", "s1"), Ok(())),
        (bound("node", "n", "n1"), Ok(())),
        (claims(json!({"pod": {"name": "p", "uid": "p1"}, "node": {"name": "any"}})), Ok(())),
        (bound("pod", "q", "p1"), Err("service account token has been invalidated")),
        (bound("pod", "ending", "p1"), Err("service account token has been invalidated")),
        (bound("pod", "p", "p2"), Err("pod UID (p1) does not match service account pod ref claim (p2)")),
        (bound("secret", "t", "s1"), Err("service account token has been invalidated")),
        (bound("node", "n", "n2"), Err("node UID (n1) does not match service account node ref claim (n2)")),
        (bound("serviceaccount", "bot", "u2"), Err("service account UID (u1) does not match claim (u2)")),
        (bound("serviceaccount", "none", "u1"), Err("serviceaccounts \"none\" not found")),
        (bound("serviceaccount", "gone", "u1"), Err("service account a/gone has been deleted")),
        (Claims { exp: Some(NOW - 61), ..claims(json!({})) }, Err("service account token has expired")),
        (
            Claims { aud: vec!["vault".into()], ..claims(json!({})) },
            Err("token audiences [\"vault\"] is invalid for the target audiences \
                 [\"https://kubernetes.default.svc.cluster.local\"]"),
        ),
    ];
    for (claims, expected) in table {
        let token = pki.tokens.sign(&claims).unwrap();
        // The second time the signature is known; the answer must be the same.
        for _ in 0..2 {
            let seen = tokens.check(&token, &[ISSUER.into()], NOW).await.map(|found| assert!(found.is_some()));
            assert_eq!(seen, expected.map_err(str::to_owned), "{claims:?}");
        }
    }
}

#[tokio::test]
async fn tokens_of_others_are_left_to_others() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokens = ServiceAccountTokens::new(pki(ours.path()), ISSUER.into(), Arc::new(Fixed(Vec::new())));
    let check = |token: String| {
        let tokens = &tokens;
        async move { tokens.check(&token, &[ISSUER.into()], NOW).await.map(|found| found.is_some()) }
    };
    let foreign = Claims { iss: "https://other".into(), ..claims(json!({})) };
    let theirs = pki(theirs.path());
    assert_eq!(check(theirs.tokens.sign(&foreign).unwrap()).await, Ok(false));
    assert_eq!(check("opaque".into()).await, Ok(false));
    // Our name under a strange signature is an attempt, not somebody else's token.
    assert!(check(theirs.tokens.sign(&claims(json!({}))).unwrap()).await.is_err());
}

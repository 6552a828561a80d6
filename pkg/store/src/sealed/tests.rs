use std::sync::Arc;

use bytes::Bytes;

use super::{Provider, Rules, Sealed, SealingKey};
use crate::error::Error;
use crate::model::{Event, Guard, Op, Outcome, Range, Txn};
use crate::store::{Shared, Store};
use crate::{LogStore, MAX_VALUE, Options};

fn key(name: &str, fill: u8) -> Provider {
    Provider::Key(Arc::new(SealingKey::aes_gcm(name, &[fill; 32]).unwrap()))
}

fn rules(providers: &[Provider]) -> Rules {
    vec![(Bytes::from_static(b"/secrets/"), providers.to_vec())]
}

fn put(key: &'static str, value: &'static str) -> Txn {
    Txn { ops: vec![Op::Put(key.into(), value.into())], ..Txn::default() }
}

/// A store, the same store sealed, and where it is.
fn stores(providers: &[Provider]) -> (Shared, Arc<Sealed>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let inner: Shared = LogStore::open(directory.path(), Options::default()).unwrap();
    (inner.clone(), Sealed::new(inner, rules(providers)), directory)
}

async fn value(store: &dyn Store, key: &str) -> Result<Bytes, Error> {
    Ok(store.get(key.as_bytes()).await?.unwrap().value)
}

#[tokio::test]
async fn below_the_prefix_only_ciphertext_is_stored() {
    let (inner, sealed, directory) = stores(&[key("one", 1)]);
    let mut watch = sealed.watch(Bytes::new(), None).await.unwrap();
    sealed.txn(put("/secrets/a", "a password")).await.unwrap();
    sealed.txn(put("/maps/a", "no password")).await.unwrap();
    assert_eq!(value(&*sealed, "/secrets/a").await.unwrap(), "a password");
    assert!(value(&*inner, "/secrets/a").await.unwrap().starts_with(b"k8s:enc:aesgcm:v1:one:"));
    assert_eq!(value(&*inner, "/maps/a").await.unwrap(), "no password");
    let page = sealed.range(Range::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|item| &item.value[..]).collect::<Vec<_>>(), [&b"no password"[..], b"a password"]);
    sealed.txn(put("/secrets/a", "another")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        for event in watch.next().await.unwrap().unwrap().events {
            let Event::Put { now, previous } = event else { panic!("{event:?}") };
            seen.push((now.value, previous.map(|previous| previous.value)));
        }
    }
    let a_password = Bytes::from_static(b"a password");
    assert_eq!(seen, [(a_password.clone(), None), ("no password".into(), None), ("another".into(), Some(a_password))]);
    let raw: Vec<u8> = std::fs::read_dir(directory.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_file())
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let holds = |text: &[u8]| raw.windows(text.len()).any(|window| window == text);
    assert!(holds(b"no password") && !holds(b"a password"));
}

#[tokio::test]
async fn guards_see_what_was_written() {
    let (_inner, sealed, _directory) = stores(&[key("one", 1)]);
    sealed.txn(put("/secrets/a", "first")).await.unwrap();
    let refused = sealed.txn(Txn { guards: vec![Guard::Absent("/secrets/a".into())], ..put("/secrets/a", "second") });
    let Outcome::Refused { guard: 0, found: Some(found) } = refused.await.unwrap() else { panic!("not refused") };
    assert_eq!(found.value, "first");
}

#[tokio::test]
async fn a_value_is_bound_to_its_key_and_its_secret() {
    let (inner, sealed, _directory) = stores(&[key("one", 1)]);
    sealed.txn(put("/secrets/a", "a password")).await.unwrap();
    let taken = value(&*inner, "/secrets/a").await.unwrap();
    let moved = Txn { ops: vec![Op::Put("/secrets/b".into(), taken.clone())], ..Txn::default() };
    inner.txn(moved).await.unwrap();
    let mut changed = taken.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    inner.txn(Txn { ops: vec![Op::Put("/secrets/c".into(), changed.into())], ..Txn::default() }).await.unwrap();
    inner.txn(put("/secrets/plain", "never sealed")).await.unwrap();
    for (name, why) in [
        ("b", "/secrets/b cannot be unsealed: it was damaged, moved, or sealed with another key of the same name"),
        ("c", "/secrets/c cannot be unsealed: it was damaged, moved, or sealed with another key of the same name"),
        ("plain", "/secrets/plain cannot be unsealed: it is not sealed, and has to be"),
    ] {
        assert_eq!(value(&*sealed, &format!("/secrets/{name}")).await.unwrap_err().to_string(), why);
    }
    sealed.replace(rules(&[key("one", 2)]));
    assert!(value(&*sealed, "/secrets/a").await.is_err());
    sealed.replace(rules(&[key("one", 2), key("one", 1)]));
    assert_eq!(value(&*sealed, "/secrets/a").await.unwrap(), "a password");
    sealed.replace(rules(&[key("two", 1)]));
    let error = value(&*sealed, "/secrets/a").await.unwrap_err();
    assert_eq!(error.to_string(), "/secrets/a cannot be unsealed: no key is known that sealed it");
}

#[tokio::test]
async fn everything_is_sealed_anew_after_a_rotation() {
    let (inner, sealed, _directory) = stores(&[Provider::Identity]);
    let keys: Vec<String> = (0..200).map(|number| format!("/secrets/{number:03}")).collect();
    for key in &keys {
        let ops = vec![Op::Put(key.clone().into(), key.clone().into())];
        sealed.txn(Txn { ops, ..Txn::default() }).await.unwrap();
    }
    for (providers, form) in [
        (vec![key("one", 1), Provider::Identity], "k8s:enc:aesgcm:v1:one:"),
        (vec![key("two", 2), key("one", 1)], "k8s:enc:aesgcm:v1:two:"),
        (
            vec![Provider::Key(Arc::new(SealingKey::aes_cbc("c", &[3; 16]).unwrap())), key("two", 2)],
            "k8s:enc:aescbc:v1:c:",
        ),
        (
            vec![
                Provider::Key(Arc::new(SealingKey::secret_box("b", &[4; 32]).unwrap())),
                Provider::Key(Arc::new(SealingKey::aes_cbc("c", &[3; 16]).unwrap())),
            ],
            "k8s:enc:secretbox:v1:b:",
        ),
        (
            vec![Provider::Identity, Provider::Key(Arc::new(SealingKey::secret_box("b", &[4; 32]).unwrap()))],
            "/secrets/",
        ),
    ] {
        sealed.replace(rules(&providers));
        assert_eq!(sealed.reseal().await.unwrap(), keys.len());
        for key in &keys {
            assert!(value(&*inner, key).await.unwrap().starts_with(form.as_bytes()));
            assert_eq!(value(&*sealed, key).await.unwrap(), key);
        }
        assert_eq!(sealed.reseal().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_sealed_value_has_nearly_the_limit_of_others() {
    let (_inner, sealed, _directory) = stores(&[key("one", 1)]);
    let big = |size: usize| Txn { ops: vec![Op::Put("/secrets/a".into(), vec![0; size].into())], ..Txn::default() };
    assert!(matches!(sealed.txn(big(MAX_VALUE + 1)).await, Err(Error::TooLarge(_))));
    sealed.txn(big(MAX_VALUE - 64)).await.unwrap();
}

#[test]
fn keys_are_checked() {
    let said = |name: &str, size: usize| SealingKey::aes_gcm(name, &vec![0; size]).unwrap_err().to_string();
    assert_eq!(said("a", 5), "secret is not of the expected length, got 5, expected one of [16 24 32]");
    assert_eq!(said("a:b", 32), "secret name \"a:b\" is empty or has a colon");
    let error = SealingKey::secret_box("a", &[0; 16]).unwrap_err().to_string();
    assert_eq!(error, "secret is not of the expected length, got 16, expected one of [32]");
    assert!(SealingKey::aes_gcm("a", &[0; 24]).is_ok() && SealingKey::aes_cbc("a", &[0; 24]).is_ok());
}

/// `crypto_secretbox` of the NaCl paper's test vectors, as upstream's provider writes it.
#[test]
fn a_secret_box_is_that_of_nacl() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let secret = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
    let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
    let key = SealingKey::secret_box("k", &secret).unwrap();
    let sealed = hex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5",
    );
    let value = [&b"k8s:enc:secretbox:v1:k:"[..], &nonce, &sealed].concat();
    let opened = key.open(b"any", &value).expect("the vector opens");
    assert_eq!(opened.len(), 131);
    assert!(opened.starts_with(&hex("be075fc53c81f2d5cf141316ebeb0c7b")));
}

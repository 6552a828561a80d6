use knarr_store::Provider;

use super::Encryption;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
/// 32 bytes, in base64.
const SECRET: &str = "c2VjcmV0IGlzIHNlY3VyZSwgSSB0aGluayBpdCBpcy4=";

fn parse(rules: &str) -> Result<Encryption, String> {
    Encryption::parse(&format!("{HEAD}{rules}")).map_err(|error| error.to_string())
}

/// Prefix of keys, then the providers by the names in what they write.
fn meaning(encryption: &Encryption) -> Vec<(String, Vec<String>)> {
    let provider = |provider: &Provider| match provider {
        Provider::Identity => "identity".to_owned(),
        Provider::Key(key) => key.to_string(),
    };
    let rules = encryption.rules().into_iter();
    rules
        .map(|(prefix, list)| (String::from_utf8_lossy(&prefix).into_owned(), list.iter().map(provider).collect()))
        .collect()
}

#[test]
fn the_example_of_the_documentation_is_understood() {
    let text = format!(
        "
  - resources: [secrets, configmaps, pandas.awesome.bears.example]
    providers:
      - identity: {{}}
      - aesgcm: {{keys: [{{name: key1, secret: c2VjcmV0IGlzIHNlY3VyZQ==}}, {{name: key2, secret: dGhpcyBpcyBwYXNzd29yZA==}}]}}
      - aescbc: {{keys: [{{name: key1, secret: c2VjcmV0IGlzIHNlY3VyZQ==}}]}}
      - secretbox: {{keys: [{{name: key1, secret: {SECRET}}}]}}
  - resources: [events]
    providers: [{{identity: {{}}}}]
  - resources: ['*.apps']
    providers: [{{aescbc: {{keys: [{{name: key2, secret: {SECRET}}}]}}}}]
  - resources: ['*.']
    providers: [{{identity: {{}}}}]
  - resources: ['*.*']
    providers: [{{aesgcm: {{keys: [{{name: key3, secret: {SECRET}}}]}}}}]
"
    );
    let all = ["identity", "aesgcm:v1:key1", "aesgcm:v1:key2", "aescbc:v1:key1", "secretbox:v1:key1"];
    let expected: [(&str, &[&str]); 7] = [
        ("/registry/core/secrets/", &all),
        ("/registry/core/configmaps/", &all),
        ("/registry/awesome.bears.example/pandas/", &all),
        ("/registry/core/events/", &["identity"]),
        ("/registry/apps/", &["aescbc:v1:key2"]),
        ("/registry/core/", &["identity"]),
        ("/registry/", &["aesgcm:v1:key3"]),
    ];
    let owned =
        |(prefix, list): (&str, &[&str])| (prefix.to_owned(), list.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(meaning(&parse(&text).unwrap()), expected.map(owned));
}

#[test]
fn what_is_wrong_is_said_as_upstream_says_it() {
    let keys = |name: &str, secret: &str| {
        format!(
            "- {{resources: [secrets], providers: [{{aescbc: {{keys: [{{name: '{name}', secret: '{secret}'}}]}}}}]}}"
        )
    };
    let resources = |names: &str| format!("- {{resources: [{names}], providers: [{{identity: {{}}}}]}}");
    let at = "resources[0].providers[0].aescbc.keys[0]";
    for (rules, error) in [
        ("  []".to_owned(), "resources: Required value: at least one resources is required".to_owned()),
        (keys("", SECRET), format!("{at}.name: Required value: name is a mandatory field for a key")),
        (keys("a", ""), format!("{at}.secret: Required value: secret is a mandatory field for a key")),
        (keys("a", "?"), format!("{at}.secret: Invalid value: \"REDACTED\": secrets must be base64 encoded")),
        (
            keys("a", "YQ=="),
            format!("{at}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 1, expected one of [16 24 32]"),
        ),
        (
            "- {resources: [secrets], providers: [{kms: {name: a, endpoint: 'unix:///a'}}]}".to_owned(),
            "resources[0].providers[0].kms: Forbidden: knarr has no KMS plugins: use aesgcm, aescbc, secretbox or identity"
                .to_owned(),
        ),
        (
            resources("Secrets"),
            "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters".to_owned(),
        ),
        (
            resources("secrets, secrets"),
            "resources[0].resources: Invalid value: [\"secrets\",\"secrets\"]: the same resource cannot be specified multiple times"
                .to_owned(),
        ),
        (
            resources("secrets, '*.'"),
            "resources[0].resources: Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' and '*.' \
             in the same resource list is not allowed as they will be masked"
                .to_owned(),
        ),
        (
            resources("'pods.*'"),
            "resources[0].resources[0]: Invalid value: \"pods.*\": encrypting the same resource across groups is not supported"
                .to_owned(),
        ),
    ] {
        assert_eq!(parse(&rules).unwrap_err(), error);
    }
    for rules in ["- {resources: [secrets], providers: [{rot13: {}}]}", "- {unknown: 1}", "- ["] {
        let error = parse(rules).unwrap_err();
        assert!(!error.contains('\n'), "{error}");
    }
    let other = Encryption::parse("{apiVersion: v1, kind: Pod, resources: []}").unwrap_err().to_string();
    assert!(
        other.contains("kind: Unsupported value: \"Pod\": supported values: \"EncryptionConfiguration\""),
        "{other}"
    );
}

#[test]
fn a_generated_configuration_survives_its_file_and_rotates() {
    let first = Encryption::generate().unwrap();
    let secrets = |list: &[&str]| {
        vec![("/registry/core/secrets/".to_owned(), list.iter().map(|&name| name.to_owned()).collect())]
    };
    assert_eq!(meaning(&first), secrets(&["aesgcm:v1:key1", "identity"]));
    let (second, name) = Encryption::parse(&first.render().unwrap()).unwrap().rotate().unwrap();
    assert_eq!(name, "key2");
    assert_eq!(meaning(&second), secrets(&["aesgcm:v1:key2", "aesgcm:v1:key1", "identity"]));
    let third = second.rotate().unwrap().0.render().unwrap();
    let lines: Vec<_> = third.lines().collect();
    let key3 = lines.iter().position(|line| line.contains("name: key3")).unwrap();
    let without = [&lines[..key3 + 2], &lines[key3 + 6..]].concat().join("\n");
    let (_, name) = Encryption::parse(&without).unwrap().rotate().unwrap();
    assert_eq!(name, "key4", "no name comes again when a key was removed by hand");
    let text = second.render().unwrap();
    assert!(text.contains("kind: EncryptionConfiguration") && !format!("{second:?}").contains("secret:"), "{text}");
    let secrets: std::collections::BTreeSet<_> = text.lines().filter(|line| line.contains("secret:")).collect();
    assert_eq!(secrets.len(), 2, "each key is random: {text}");
}

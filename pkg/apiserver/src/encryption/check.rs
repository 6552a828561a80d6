//! What can be wrong with such a file, in upstream's words (`validation_encryption.go`).

use knarr_api::field::{Errors, Path};

use super::file::{API_VERSION, File, KIND, Keys, Provider};

pub(super) fn errors(file: &File) -> Errors {
    let mut errors = Errors::new();
    if file.api_version != API_VERSION {
        errors.not_supported(Path::root("apiVersion"), file.api_version.as_str(), &[API_VERSION]);
    }
    if file.kind != KIND {
        errors.not_supported(Path::root("kind"), file.kind.as_str(), &[KIND]);
    }
    let root = Path::root("resources");
    if file.resources.is_empty() {
        errors.required(root.clone(), at_least_one(&root));
    }
    for (index, rule) in file.resources.iter().enumerate() {
        let (names, providers) = (root.index(index).child("resources"), root.index(index).child("providers"));
        resources(&rule.resources, &names, &mut errors);
        if rule.providers.is_empty() {
            errors.required(providers.clone(), at_least_one(&providers));
        }
        for (index, provider) in rule.providers.iter().enumerate() {
            self::provider(provider, &providers.index(index), &mut errors);
        }
    }
    errors
}

fn at_least_one(what: impl std::fmt::Display) -> String {
    format!("at least one {what} is required")
}

fn resources(names: &[String], path: &Path, errors: &mut Errors) {
    if names.is_empty() {
        errors.required(path.clone(), at_least_one(path));
    }
    let parts: Vec<_> = names.iter().map(|name| name.split_once('.').unwrap_or((name, ""))).collect();
    let others = |at: usize| parts.iter().enumerate().filter(move |(other, _)| *other != at).map(|(_, parts)| *parts);
    let mut found = (false, false);
    for (at, &(resource, group)) in parts.iter().enumerate() {
        found.0 |= others(at).any(|other| other == (resource, group));
        let covers =
            |other: (&str, &str)| other != (resource, group) && (group == "*" || (resource == "*" && group == other.1));
        found.1 |= others(at).any(covers);
    }
    if found.0 {
        errors.invalid(path.clone(), names.to_vec(), "the same resource cannot be specified multiple times");
    }
    if found.1 {
        let detail = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as \
                      they will be masked";
        errors.invalid(path.clone(), names.to_vec(), detail);
    }
    for (index, (name, (resource, group))) in names.iter().zip(parts).enumerate() {
        let detail = match (resource, group) {
            _ if name.chars().any(char::is_uppercase) => "resource name should not contain capital letters",
            _ if name == "*" => {
                "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
            }
            (_, "events.k8s.io") => {
                "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
                 config file"
            }
            (_, "extensions") => "'extensions' group has been removed and cannot be used for encryption",
            (resource, "*") if resource != "*" => "encrypting the same resource across groups is not supported",
            _ => continue,
        };
        errors.invalid(path.index(index), name.as_str(), detail);
    }
}

fn provider(provider: &Provider, path: &Path, errors: &mut Errors) {
    match provider {
        Provider::Aesgcm(list) => keys(list, &path.child("aesgcm").child("keys"), errors, &[16, 24, 32]),
        Provider::Aescbc(list) => keys(list, &path.child("aescbc").child("keys"), errors, &[16, 24, 32]),
        Provider::Secretbox(list) => keys(list, &path.child("secretbox").child("keys"), errors, &[32]),
        Provider::Kms(_) => {
            errors.forbidden(path.child("kms"), "knarr has no KMS plugins: use aesgcm, aescbc, secretbox or identity");
        }
        Provider::Identity {} => {}
    }
}

fn keys(list: &Keys, path: &Path, errors: &mut Errors, sizes: &[usize]) {
    if list.keys.is_empty() {
        errors.required(path.clone(), at_least_one("keys"));
    }
    for (index, key) in list.keys.iter().enumerate() {
        let (name, secret) = (path.index(index).child("name"), path.index(index).child("secret"));
        if key.name.is_empty() {
            errors.required(name, "name is a mandatory field for a key");
        } else if key.name.contains(':') {
            errors.invalid(name, key.name.as_str(), "must not contain ':'");
        }
        match key.bytes() {
            _ if key.secret.is_empty() => errors.required(secret, "secret is a mandatory field for a key"),
            None => errors.invalid(secret, "REDACTED", "secrets must be base64 encoded"),
            Some(bytes) if !sizes.contains(&bytes.len()) => {
                let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
                let (length, sizes) = (bytes.len(), sizes.join(" "));
                let detail = format!("secret is not of the expected length, got {length}, expected one of [{sizes}]");
                errors.invalid(secret, "REDACTED", detail);
            }
            Some(_) => {}
        }
    }
}

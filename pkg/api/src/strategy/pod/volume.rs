//! Validation of volumes. Each kind of source is a row of rules.

use std::collections::{BTreeMap, BTreeSet};

use super::env;
use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::core::check_claim_spec;
use crate::strategy::rules::{At, Rule, check, formed, in_range};
use crate::strategy::{forms, selector};
use crate::tree::Tree;

const HOST_PATH_TYPES: &[&str] =
    &["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
const POD_FIELDS: &[&str] =
    &["metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"];
const KEY_TO_PATH: &[Rule] = &[
    Rule::Required("key"),
    Rule::Required("path"),
    Rule::With(|errors, at| unreserved_path(errors, &at.path("path"), at.text("path"))),
    Rule::With(|errors, at| check_mode(errors, at, "mode")),
];

/// Kinds of sources in upstream's order, and their rules.
const SOURCES: &[(&str, &[Rule])] = &[
    ("emptyDir", &[]),
    (
        "hostPath",
        &[
            Rule::Required("path"),
            Rule::With(|errors, at| no_backsteps(errors, at.path("path"), at.text("path"))),
            Rule::OneOf("type", HOST_PATH_TYPES),
        ],
    ),
    (
        "gitRepo",
        &[
            Rule::Required("repository"),
            Rule::With(|errors, at| local_path(errors, &at.path("directory"), at.text("directory"))),
        ],
    ),
    ("gcePersistentDisk", &[Rule::Required("pdName"), Rule::Range("partition", 0, 255)]),
    ("awsElasticBlockStore", &[Rule::Required("volumeID"), Rule::Range("partition", 0, 255)]),
    (
        "secret",
        &[
            Rule::Required("secretName"),
            Rule::With(|errors, at| check_mode(errors, at, "defaultMode")),
            Rule::Each("items", KEY_TO_PATH),
        ],
    ),
    ("nfs", NFS),
    ("iscsi", &[Rule::Required("targetPortal"), Rule::Required("iqn"), Rule::Range("lun", 0, 255)]),
    ("glusterfs", &[Rule::Required("endpoints"), Rule::Required("path")]),
    ("flocker", &[]),
    ("persistentVolumeClaim", &[Rule::Required("claimName")]),
    ("rbd", &[Rule::Required("monitors"), Rule::Required("image")]),
    ("cinder", &[Rule::Required("volumeID")]),
    ("cephfs", &[Rule::Required("monitors")]),
    ("quobyte", &[Rule::Required("registry"), Rule::Required("volume")]),
    ("downwardAPI", &[Rule::With(check_downward)]),
    ("fc", &[]),
    ("flexVolume", &[Rule::Required("driver")]),
    (
        "configMap",
        &[
            Rule::Required("name"),
            Rule::With(|errors, at| check_mode(errors, at, "defaultMode")),
            Rule::Each("items", KEY_TO_PATH),
        ],
    ),
    ("azureFile", &[Rule::Required("secretName"), Rule::Required("shareName")]),
    ("vsphereVolume", &[Rule::Required("volumePath")]),
    ("photonPersistentDisk", &[Rule::Required("pdID")]),
    ("portworxVolume", &[Rule::Required("volumeID")]),
    ("azureDisk", &[Rule::Required("diskName"), Rule::Required("diskURI")]),
    ("storageos", &[Rule::Named("volumeName", forms::label), Rule::Formed("volumeNamespace", forms::label)]),
    ("projected", &[Rule::With(|errors, at| check_mode(errors, at, "defaultMode")), Rule::With(check_projected)]),
    ("scaleIO", &[Rule::Required("gateway"), Rule::Required("system"), Rule::Required("volumeName")]),
    ("csi", &[Rule::Required("driver"), Rule::In("nodePublishSecretRef", &[Rule::Named("name", forms::subdomain)])]),
    ("ephemeral", &[Rule::With(check_ephemeral)]),
    ("image", &[Rule::MustBe("pullPolicy", &["Always", "IfNotPresent", "Never"])]),
];

/// Of NFS, which persistent volumes share.
pub(in crate::strategy) const NFS: &[Rule] = &[
    Rule::Required("server"),
    Rule::Required("path"),
    Rule::With(|errors, at| {
        if !at.text("path").starts_with('/') {
            errors.invalid(at.path("path"), at.text("path"), "must be an absolute path");
        }
    }),
];

/// Checks `volumes`, and gives those without errors by name: mounts may refer to them.
pub(super) fn check_all<'a>(
    errors: &mut Errors,
    spec: &At<'a>,
    metadata: Option<&Object>,
) -> BTreeMap<&'a str, &'a Object> {
    let pod_name = metadata.map(|metadata| metadata.text("name")).filter(|name| !name.is_empty());
    let made =
        |volume: &Object| volume.has("ephemeral").then(|| format!("{}-{}", pod_name?, volume.text("name")).into());
    let made: BTreeSet<String> = spec.object.objects("volumes").filter_map(|volume| made(volume).flatten()).collect();
    let mut known = BTreeMap::new();
    for volume in spec.each("volumes") {
        let name = volume.text("name");
        let mut own = Errors::new();
        check_source(&mut own, &volume, metadata.is_some());
        check(&mut own, &volume, &[Rule::Named("name", forms::label)]);
        if known.contains_key(name) {
            own.duplicate(volume.path("name"), name);
        }
        if own.is_empty() {
            known.insert(name, volume.object);
        } else {
            errors.extend(own);
        }
        let claim = volume.object.text("persistentVolumeClaim.claimName");
        if made.contains(claim) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(volume.path("persistentVolumeClaim.claimName"), claim, detail);
        }
    }
    known
}

fn check_source(errors: &mut Errors, volume: &At<'_>, is_pod: bool) {
    let mut found = false;
    for (kind, rules) in SOURCES {
        let Some(source) = volume.enter(kind) else { continue };
        if found {
            errors.forbidden(source.path, "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        check(errors, &source, rules);
        if *kind == "image" && is_pod {
            check(errors, &source, &[Rule::Required("reference")]);
        }
    }
    if !found {
        errors.required(volume.path.clone(), "must specify a volume type");
    }
}

/// A file's permissions.
fn check_mode(errors: &mut Errors, at: &At<'_>, field: &str) {
    if let Some(mode) = at.object.int(field).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(at.path(field), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A path that never leaves the folder it starts in by `..`.
pub(in crate::strategy) fn no_backsteps(errors: &mut Errors, path: Path, text: &str) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

/// A relative path without `..`.
pub(super) fn local_path(errors: &mut Errors, path: &Path, text: &str) {
    if text.starts_with('/') {
        errors.invalid(path.clone(), text, "must be a relative path");
    }
    no_backsteps(errors, path.clone(), text);
}

/// A relative path outside of what the kubelet keeps for itself (`..data`).
fn unreserved_path(errors: &mut Errors, path: &Path, text: &str) {
    local_path(errors, path, text);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path.clone(), text, "must not start with '..'");
    }
}

fn check_downward(errors: &mut Errors, at: &At<'_>) {
    check_mode(errors, at, "defaultMode");
    at.object.objects("items").for_each(|file| check_downward_file(errors, at, file));
}

/// Upstream reports the errors of all files at the path of their volume.
fn check_downward_file(errors: &mut Errors, volume: &At<'_>, file: &Object) {
    let at = At { path: volume.path.clone(), object: file };
    check(errors, &at, &[Rule::Required("path")]);
    unreserved_path(errors, &at.path("path"), at.text("path"));
    match (at.enter("fieldRef"), at.enter("resourceFieldRef")) {
        (Some(field), resource) => {
            env::check_field(errors, &field, POD_FIELDS);
            if resource.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(at.path.clone(), "resource", detail);
            }
        }
        (None, Some(resource)) => env::check_resource(errors, &resource, true),
        (None, None) => errors.required(at.path.clone(), "one of fieldRef and resourceFieldRef is required"),
    }
    check_mode(errors, &at, "mode");
}

fn check_ephemeral(errors: &mut Errors, at: &At<'_>) {
    match at.enter("volumeClaimTemplate") {
        None => errors.required(at.path("volumeClaimTemplate"), ""),
        Some(template) => {
            if let Some(spec) = template.enter("spec") {
                check_claim_spec(errors, &spec);
            }
        }
    }
}

fn check_projected(errors: &mut Errors, at: &At<'_>) {
    let mut paths = BTreeSet::new();
    let mut take = |errors: &mut Errors, path: &str, shown: &str| {
        if !path.is_empty() && !paths.insert(path.to_owned()) {
            errors.invalid(at.path.clone(), shown, "conflicting duplicate paths");
        }
    };
    for source in at.each("sources") {
        let kinds =
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        let found: Vec<_> = kinds.into_iter().filter_map(|kind| Some((kind, source.enter(kind)?))).collect();
        for (kind, own) in &found {
            match *kind {
                "secret" | "configMap" => {
                    check(errors, own, &[Rule::Required("name")]);
                    for item in own.each("items") {
                        check(errors, &item, KEY_TO_PATH);
                        take(errors, item.text("path"), own.text("name"));
                    }
                }
                "downwardAPI" => {
                    for file in own.object.objects("items") {
                        check_downward_file(errors, own, file);
                        take(errors, file.text("path"), file.text("path"));
                    }
                }
                "serviceAccountToken" => check_token(errors, at, own),
                "clusterTrustBundle" => {
                    check_trust(errors, own);
                    take(errors, own.text("path"), own.text("path"));
                }
                _ => {
                    check_certificate(errors, own);
                    for field in CERTIFICATE_PATHS {
                        take(errors, own.text(field), own.text(field));
                    }
                }
            }
        }
        if found.len() > 1 {
            errors.forbidden(source.path, "may not specify more than 1 volume type per source");
        }
    }
}

fn check_token(errors: &mut Errors, volume: &At<'_>, token: &At<'_>) {
    let seconds = token.object.number("expirationSeconds");
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        errors.invalid(token.path("expirationSeconds"), seconds, detail);
    }
    if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(token.path("expirationSeconds"), seconds, detail);
    }
    match token.text("path") {
        "" => errors.required(volume.path("path"), ""),
        path => unreserved_path(errors, &volume.path("path"), path),
    }
}

fn check_trust(errors: &mut Errors, at: &At<'_>) {
    match (at.object.has("name"), at.object.has("signerName")) {
        (true, true) => {
            errors.invalid(at.path.clone(), at.as_value(), "only one of name and signerName may be used");
        }
        (true, false) => {
            if at.text("name").is_empty() {
                errors.required(at.path("name"), "must be a valid object name");
            }
            if let Some(selector) = at.enter("labelSelector") {
                let detail = "labelSelector must be unset if name is specified";
                errors.invalid(selector.path.clone(), selector.as_value(), detail);
            }
        }
        (false, true) => {
            match at.text("signerName") {
                "" => errors.required(at.path("signerName"), "must be a valid signer name"),
                name => formed(errors, &at.path("signerName"), name, forms::signer),
            }
            selector::check_in(errors, at, "labelSelector");
        }
        (false, false) => errors.required(at.path.clone(), "either name or signerName must be specified"),
    }
    check(errors, at, &[Rule::Required("path")]);
    unreserved_path(errors, &at.path("path"), at.text("path"));
}

const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const CERTIFICATE_PATHS: [&str; 3] = ["credentialBundlePath", "keyPath", "certificateChainPath"];

fn check_certificate(errors: &mut Errors, at: &At<'_>) {
    formed(errors, &at.path("signerName"), at.text("signerName"), forms::signer);
    let key = at.text("keyType");
    if !KEY_TYPES.contains(&key) {
        errors.not_supported(at.path("keyType"), key, KEY_TYPES);
    }
    if let Some(seconds) = at.object.int("maxExpirationSeconds") {
        in_range(errors, at.path("maxExpirationSeconds"), seconds, 3600, 91 * 24 * 3600);
    }
    for field in CERTIFICATE_PATHS {
        unreserved_path(errors, &at.path(field), at.text(field));
    }
    if CERTIFICATE_PATHS.iter().all(|field| at.text(field).is_empty()) {
        let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.required(at.path.clone(), detail);
    }
}

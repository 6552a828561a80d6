//! The dependency rules of ARCHITECTURE.md, held over `cargo metadata`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use knarr_tests::command::output;
use serde_json::Value;

/// Who may use whom, by the code map; `None` may use all.
fn allowed() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md")).unwrap();
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, _, name, _, may, _] = cells.as_slice() else { return None };
        let short = name.trim_matches('`').strip_prefix("knarr")?.trim_start_matches('-').to_owned();
        let may = match *may {
            "all" => None,
            "nothing of ours" => Some(BTreeSet::new()),
            names => Some(names.split(' ').map(str::to_owned).collect()),
        };
        Some((short, may))
    });
    rows.collect()
}

/// Crates of which two versions would mean two incompatible worlds in one process.
const ONE_VERSION: &[&str] = &["tonic", "prost", "hyper", "rustls", "tokio", "axum", "http", "kube", "k8s-openapi"];

/// Crates that must not be built: one TLS provider only, and no C TLS library.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "serde_yaml"];

/// Licences that fit into an Apache-2.0 work; an expression needs one of its alternatives here.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo
}

fn metadata() -> Value {
    let text = output(cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]));
    serde_json::from_str(&text.expect("cargo metadata works")).expect("cargo prints JSON")
}

/// Names and versions of what is really built: `Cargo.lock` also lists what no feature pulls in.
fn built() -> BTreeMap<String, BTreeSet<String>> {
    let text = output(cargo().args([
        "tree",
        "--workspace",
        "--edges=normal,build",
        "--prefix=none",
        "--locked",
        "--format={p}",
    ]));
    let mut built: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.expect("cargo tree works").lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            built.entry(name.into()).or_default().insert(version.into());
        }
    }
    built
}

#[test]
fn crates_use_only_what_they_may() {
    let (allowed, metadata) = (allowed(), metadata());
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap().iter().filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().unwrap();
        let short = name.strip_prefix("knarr").unwrap_or(name).trim_start_matches('-');
        let may = allowed.get(short).unwrap_or_else(|| panic!("{name} is not in the code map"));
        let Some(may) = may else { continue };
        for dependency in package["dependencies"].as_array().unwrap() {
            let Some(used) = dependency["name"].as_str().unwrap().strip_prefix("knarr-") else { continue };
            // Tests of a crate may use the real thing instead of a double.
            if dependency["kind"] != "dev" && !may.contains(used) {
                wrong.push(format!("{short} -> {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies that the architecture does not allow: {wrong:?}");
}

#[test]
fn one_version_of_what_must_be_one() {
    let built = built();
    for name in ONE_VERSION {
        assert_eq!(built.get(*name).map(BTreeSet::len), Some(1), "{name}: {:?}", built.get(*name));
    }
}

#[test]
fn nothing_banned_is_built() {
    let built = built();
    let found: Vec<_> = BANNED.iter().filter(|name| built.contains_key(**name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn licences_fit() {
    let (built, metadata) = (built(), metadata());
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, licence) = (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or_default());
        let fits =
            |licence: &str| licence.split(" AND ").all(|part| LICENCES.contains(&part.trim_matches(['(', ')', ' '])));
        if built.contains_key(name) && !licence.replace('/', " OR ").split(" OR ").any(fits) {
            wrong.push(format!("{name}: {licence:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

//! What ARCHITECTURE.md says of tests is so.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// All sources of tests.
fn sources() -> String {
    let mut directories: Vec<PathBuf> = ["cmd", "images", "pkg", "tests"].map(|name| Path::new(ROOT).join(name)).into();
    let mut text = String::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let document = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    let sources = sources();
    let is_test = |name: &str| {
        // A function, or the row of a suite.
        ["]\nfn ", "]\nasync fn ", "]\n    fn ", "]\n    async fn "]
            .iter()
            .any(|kind| sources.contains(&format!("{kind}{name}()")))
            || sources.contains(&format!("(\"{name}\", "))
    };
    let exists = |name: &str| match name.strip_prefix("make ") {
        Some(target) => makefile.contains(&format!("\n{target}:")),
        None if name.contains('/') => Path::new(ROOT).join(name).exists(),
        None => is_test(name),
    };
    let mut invariants = 0;
    for table in document.split("| What stays true | Held by |").skip(1) {
        for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let held_by = row.rsplit('|').nth(1).unwrap();
            invariants += 1;
            // Some words name what a test does rather than the test.
            let named: Vec<_> = quoted(held_by).filter(|name| !["kill -9", "knarr reset"].contains(name)).collect();
            assert!(!named.is_empty() || held_by.contains("table"), "no test: {row}");
            let absent: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
            assert!(absent.is_empty(), "{absent:?} do not exist: {row}");
        }
    }
    assert!(invariants > 20, "{invariants} invariants");
}

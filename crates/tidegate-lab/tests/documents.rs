//! docs/proof.md names tests; these see to it that it names the right ones.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The tests that the page names, as `file::name`.
fn named() -> BTreeSet<(String, String)> {
    let page = read("docs/proof.md");
    let spans = page.split('`').skip(1).step_by(2);
    let is_name = |text: &str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    let tests = spans.filter_map(|span| span.split_once("::")).filter(|(file, name)| is_name(file) && is_name(name));
    tests.filter(|(file, _)| !file.starts_with("tidegate_")).map(|(file, name)| (file.into(), name.into())).collect()
}

/// The functions of a source file that are tests.
fn tests_of(source: &str) -> BTreeSet<String> {
    let parts = source.split("#[test]").skip(1).chain(source.split("#[tokio::test").skip(1));
    let names = parts.filter_map(|part| part.split_once("fn ")?.1.split('(').next());
    names.map(str::to_owned).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_test_that_is_named_here_exists() {
    let mut files = Vec::new();
    for folder in ["crates", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut existing = BTreeSet::new();
    for path in files {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let tests = tests_of(&std::fs::read_to_string(&path).unwrap());
        existing.extend(tests.into_iter().map(|name| (stem.clone(), name)));
    }
    let named = named();
    assert!(named.len() > 30, "the page is read as it is written: {named:?}");
    let missing = named.difference(&existing).collect::<Vec<_>>();
    assert!(missing.is_empty(), "docs/proof.md names tests that do not exist: {missing:?}");
}

#[test]
fn every_guard_that_is_tested_is_named_here() {
    let named = named();
    for (file, path) in [
        ("guards", "crates/tidegate-lab/tests/guards.rs"),
        ("holds", "crates/tidegate-model/tests/protocol/holds.rs"),
        ("reached", "crates/tidegate-model/tests/protocol/reached.rs"),
        ("removed", "crates/tidegate-model/tests/protocol/removed.rs"),
        ("unneeded", "crates/tidegate-model/tests/protocol/unneeded.rs"),
    ] {
        let tests = tests_of(&read(path));
        assert!(tests.len() > 8, "{path}: {tests:?}");
        for test in tests {
            assert!(named.contains(&(file.to_owned(), test.clone())), "docs/proof.md does not name {file}::{test}");
        }
    }
}

//! Plays every story in `tests/scenarios` and compares what it prints with the reviewed file.

use std::path::{Path, PathBuf};

use tidegate_tests::scenario::Scenario;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// `TIDEGATE_REVIEW=1 cargo test -p tidegate-tests --test scenarios` writes what was printed, for a
/// person to read in the diff.
#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_ends_as_it_was_reviewed() {
    let mut stories = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "scenario"))
        .collect::<Vec<_>>();
    stories.sort();
    assert!(stories.len() >= 13, "{} scenarios", stories.len());
    let mut differing = Vec::new();
    for story in stories {
        let told = Scenario::play(&std::fs::read_to_string(&story).unwrap()).await;
        let reviewed = story.with_extension("out");
        if std::env::var_os("TIDEGATE_REVIEW").is_some() {
            std::fs::write(&reviewed, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&reviewed).unwrap_or_default();
        if told != expected {
            let line = told
                .lines()
                .zip(expected.lines().chain(std::iter::repeat("")))
                .find(|(told, reviewed)| told != reviewed);
            differing.push(format!("{}: {line:?}", story.display()));
        }
    }
    assert!(differing.is_empty(), "told, then reviewed:\n{}", differing.join("\n"));
}

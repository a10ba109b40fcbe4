//! Searches: breadth first, on one thread, so that a broken promise is found with the fewest steps.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, UniformChooser};

use crate::model::mutants::{Mutant, Mutants};
use crate::model::promises::{ALL, Promise};
use crate::model::scope::Scope;
use crate::model::{Protocol, World};

/// `true` for the larger bounds.
fn is_full() -> bool {
    std::env::var("TIDEGATE_MODEL").is_ok_and(|bounds| bounds == "full")
}

/// Number of transitions after which a search ends, by the bounds that are set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    ordinary: usize,
    full: usize,
}

/// The start of a search in the ordinary run; all of it in the full one, where it has up to five million transitions.
pub(crate) const COMPLETE_IN_FULL: Most = Most { ordinary: 150_000, full: 5_000_000 };
/// The searches that the full run does not end.
pub(crate) const CUT_OFF: Most = Most { ordinary: 150_000, full: 3_000_000 };
/// A search that is complete in the ordinary run.
pub(crate) const COMPLETE: Most = Most { ordinary: 2_000_000, full: 2_000_000 };

/// Result of a search.
struct Searched {
    name: String,
    is_complete: bool,
    /// Steps to the broken promise.
    broken: Option<usize>,
}

#[expect(clippy::disallowed_methods, reason = "the test prints the duration of a search")]
fn search(name: &str, model: Protocol, most: Most) -> Searched {
    let begun = Instant::now();
    let limit = if is_full() { most.full } else { most.ordinary };
    let search = model
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(limit)
        .spawn_bfs()
        .join();
    let found = search.discoveries().into_iter().next();
    let is_complete = search.state_count() < limit && found.is_none();
    let mut text = format!(
        "{name}: {} states, {} transitions, {} steps deep, {:.1?}, {}\n",
        search.unique_state_count(),
        search.state_count(),
        search.max_depth() - 1,
        begun.elapsed(),
        if found.is_some() {
            "broken"
        } else if is_complete {
            "complete"
        } else {
            "cut off"
        }
    );
    let broken = found.map(|(promise, path)| {
        let steps = path.into_actions();
        text += &format!("  breaks \"{promise}\" in {} steps:\n", steps.len());
        for (at, step) in steps.iter().enumerate() {
            text += &format!("  {:>3}. {step:?}\n", at + 1);
        }
        steps.len()
    });
    print!("{text}");
    Searched { name: name.to_owned(), is_complete, broken }
}

/// Walks at random through a scope that no search can end. A walk ends where it comes back to a world that it has seen.
#[expect(clippy::disallowed_methods, reason = "the test prints the duration of a search")]
pub(crate) fn walks(name: &str, scope: Scope, seed: u64) {
    let begun = Instant::now();
    let model = Protocol { scope, mutants: Mutants::default(), promises: ALL, goal: None };
    let limit = if is_full() { 3_000_000 } else { 200_000 };
    let walks = model
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(limit)
        .spawn_simulation(seed, UniformChooser)
        .join();
    println!(
        "{name}: {} steps of random walks, up to {} steps long, {:.1?}",
        walks.state_count(),
        walks.max_depth(),
        begun.elapsed()
    );
    walks.assert_properties();
}

fn without(scope: Scope, mutants: &[Mutant], promises: &'static [Promise], most: Most) -> Searched {
    search(
        &format!("without {mutants:?}"),
        Protocol { scope, mutants: Mutants::of(mutants), promises, goal: None },
        most,
    )
}

/// Searches `scope`, and fails with a trace if a promise is broken.
pub(crate) fn holds(name: &str, scope: Scope, most: Most) {
    let found = search(name, Protocol { scope, mutants: Mutants::default(), promises: ALL, goal: None }, most);
    assert_eq!(found.broken, None, "{name} breaks a promise; the trace is above");
    let is_cut_off = !is_full() || most.full == CUT_OFF.full;
    assert!(found.is_complete || is_cut_off, "the search of {name} is complete in the full run");
}

/// Searches all of `scope` without some conditions, and fails with a trace if a promise is broken.
pub(crate) fn is_safe(scope: Scope, mutants: &[Mutant], promises: &'static [Promise]) {
    let found = without(scope, mutants, promises, COMPLETE);
    assert_eq!(found.broken, None, "{} breaks a promise; the trace is above", found.name);
    assert!(found.is_complete, "the search of {} is complete", found.name);
}

/// Searches until a promise is broken, and prints the shortest way to it. `docs/proof.md` names the number of steps.
pub(crate) fn breaks(scope: Scope, mutants: &[Mutant], promise: &'static [Promise], steps: usize) {
    let found = without(scope, mutants, promise, COMPLETE);
    assert_eq!(found.broken, Some(steps), "{} must break {promise:?}", found.name);
}

/// Searches until a world is reached that a promise is about.
pub(crate) fn reaches(name: &str, scope: Scope, goal: fn(&World) -> bool) {
    let model = Protocol { scope, mutants: Mutants::default(), promises: &[], goal: Some(goal) };
    let found = model.checker().threads(1).target_state_count(1_000_000).spawn_bfs().join();
    println!("{name}: reached after {} transitions", found.state_count());
    found.assert_properties();
}

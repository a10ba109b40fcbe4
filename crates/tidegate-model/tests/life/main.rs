//! Model of the life of claims, over the transition table of `tidegate-core`: one claim in every order of events, and a
//! fleet that an update bricks, in every order of grants, words and silences. And of rule P: a device comes to rest, whatever
//! campaigns are opened and ended.
#![allow(clippy::unwrap_used)] // the helpers of tests are tests, too

mod brick;
mod circle;
mod claim;

use stateright::{Checker, HasDiscoveries, Model};

/// Searches a model to its end, and returns the broken promise with the number of steps to it.
fn search<M>(name: &str, model: M) -> Option<(&'static str, usize)>
where
    M: Model + Send + Sync + 'static,
    M::State: std::hash::Hash + Clone + std::fmt::Debug + PartialEq + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync,
{
    let found = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken = found.discoveries().into_iter().next();
    println!("{name}: {} states, {} transitions", found.unique_state_count(), found.state_count());
    broken.map(|(promise, path)| {
        let steps = path.into_actions();
        println!("  breaks \"{promise}\": {steps:?}");
        (promise, steps.len())
    })
}

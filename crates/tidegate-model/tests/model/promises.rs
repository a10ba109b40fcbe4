//! Promises: properties that hold in every reachable world, and worlds that must be reachable so that the promises are
//! not empty.

use stateright::Property;
use tidegate_core::claim::ClaimState;
use tidegate_core::lifecycle::State;
use tidegate_core::status::Outcome;

use super::change::ChangeKind;
use super::rows::{CLAIM_TICKS, Claim, End};
use super::scope::Scope;
use super::{Rollout, World};

pub(crate) const LIMIT: &str = "never more claims than max_devices";
pub(crate) const USED: &str = "used is the number of claims of every shard";
pub(crate) const USED_AT_REST: &str = "used is the number of claims when no function is at work";
pub(crate) const IN_FLIGHT: &str = "in_flight is the number of reserved claims of every shard";
pub(crate) const MAX_IN_FLIGHT: &str = "never more reserved claims than max_in_flight";
pub(crate) const RATE: &str = "never more grants in a period than max_per_period";
pub(crate) const ONE_CLAIM: &str = "a device is given its first offer once";
pub(crate) const COUNTED_ONCE: &str = "every outcome is counted once";
pub(crate) const STOPPED: &str = "no grant after an acknowledged pause or abort";
pub(crate) const IN_FORCE: &str = "no grant that was decided on another definition than the one in force";
pub(crate) const NO_LIVE_URL: &str = "no live URL on an expired claim";

/// The promises, and the worlds that must be reachable in `scope`.
pub(crate) fn of(scope: &Scope) -> Vec<Property<Rollout>> {
    let mut promises = vec![
        Property::always(LIMIT, |_, world: &World| {
            world.claims.iter().flatten().count() <= usize::from(world.record().ceiling)
        }),
        Property::always(USED, |_, world: &World| by_shard(world, |_| true) == world.shards.map(|shard| shard.used)),
        Property::always(USED_AT_REST, |_, world: &World| {
            !world.requests.is_empty() || by_shard(world, |_| true) == world.shards.map(|shard| shard.used)
        }),
        Property::always(IN_FLIGHT, |_, world: &World| {
            by_shard(world, is_reserved) == world.shards.map(|shard| shard.in_flight)
        }),
        Property::always(MAX_IN_FLIGHT, |model: &Rollout, world: &World| {
            world.claims.iter().flatten().filter(|claim| is_reserved(claim)).count()
                <= usize::from(model.scope.max_in_flight)
        }),
        Property::always(RATE, |model: &Rollout, world: &World| {
            world.grants_in.iter().all(|grants| *grants <= model.scope.max_per_period)
        }),
        Property::always(ONE_CLAIM, |_, world: &World| world.first_grants.iter().all(|grants| *grants <= 1)),
        Property::always(COUNTED_ONCE, |_, world: &World| {
            let counted = |outcome| by_shard(world, |claim| claim.counted == Some(outcome));
            counted(Outcome::Succeeded) == world.shards.map(|shard| shard.succeeded)
                && counted(Outcome::Failed) == world.shards.map(|shard| shard.failed)
                && counted(Outcome::TimedOut) == world.shards.map(|shard| shard.timed_out)
        }),
        Property::always(STOPPED, |_, world: &World| !world.granted_while_stopped),
        Property::always(IN_FORCE, |_, world: &World| !world.granted_on_other_definition),
        Property::always(NO_LIVE_URL, |_, world: &World| {
            let is_expired = |claim: &Option<Claim>| claim.is_some_and(|claim| claim.state == ClaimState::Expired);
            let mut devices = world.claims.iter().zip(world.url_ends);
            devices.all(|(claim, ends)| !(is_expired(claim) && ends > world.clock))
        }),
    ];
    promises.extend(of_attempts(scope));
    promises.extend(of_changes(scope));
    promises
}

fn of_attempts(scope: &Scope) -> Vec<Property<Rollout>> {
    let mut reachable = Vec::new();
    if scope.devices >= scope.max_devices {
        reachable.push(Property::sometimes("every slot can be given", |_, world: &World| {
            world.claims.iter().flatten().count() == usize::from(world.record().max_devices)
        }));
    }
    if scope.ends.contains(&End::Success) {
        reachable.push(Property::sometimes("a device can succeed", |_, world: &World| {
            any(world, |claim| claim.state == ClaimState::Succeeded)
        }));
    }
    let has_time = scope.last_tick >= CLAIM_TICKS;
    if has_time {
        reachable.push(Property::sometimes("a claim can expire", |_, world: &World| {
            any(world, |claim| claim.state == ClaimState::Expired)
        }));
    }
    if has_time && scope.max_attempts > 1 {
        let can_fail = scope.ends.contains(&End::Failure);
        reachable.push(Property::sometimes(
            "a device can be offered the update again after a timeout",
            |_, world: &World| {
                any(world, |claim| is_again(claim) && is_reserved(claim) && claim.counted == Some(Outcome::TimedOut))
            },
        ));
        reachable.push(Property::sometimes("a device can succeed at its second attempt", |_, world: &World| {
            any(world, |claim| is_again(claim) && claim.counted == Some(Outcome::Succeeded))
        }));
        if can_fail {
            reachable.push(Property::sometimes(
                "a device can be offered the update again after a failure",
                |_, world: &World| {
                    any(world, |claim| is_again(claim) && is_reserved(claim) && claim.counted == Some(Outcome::Failed))
                },
            ));
        }
    }
    reachable
}

fn of_changes(scope: &Scope) -> Vec<Property<Rollout>> {
    let mut reachable = Vec::new();
    let changes = |kind: fn(&ChangeKind) -> bool| scope.changes.iter().any(kind);
    if changes(|kind| *kind == ChangeKind::Abort) {
        reachable.push(Property::sometimes("an abort can be acknowledged after a grant", |_, world: &World| {
            world.record().state == State::Aborted && world.claims[0].is_some()
        }));
    }
    if changes(|kind| *kind == ChangeKind::Resume) {
        reachable.push(Property::sometimes("a rollout that was paused can be open again", |_, world: &World| {
            let was_paused = world.records.iter().any(|record| record.state == State::Paused);
            was_paused && world.record().state == State::Active && world.is_open_as_recorded()
        }));
    }
    if changes(|kind| matches!(kind, ChangeKind::Limit(limit) if *limit <= 2)) {
        reachable.push(Property::sometimes("a new limit can be in force and used up", |_, world: &World| {
            let limit = world.record().max_devices;
            world.generation() > 0
                && world.is_open_as_recorded()
                && world.claims.iter().flatten().count() == usize::from(limit)
        }));
    }
    reachable
}

fn is_reserved(claim: &Claim) -> bool {
    claim.state == ClaimState::Reserved
}

fn is_again(claim: &Claim) -> bool {
    claim.attempts == 2
}

fn any(world: &World, holds: impl Fn(&Claim) -> bool) -> bool {
    world.claims.iter().flatten().any(holds)
}

fn by_shard(world: &World, counts: impl Fn(&Claim) -> bool) -> [i8; 2] {
    let mut numbers = [0; 2];
    for claim in world.claims.iter().flatten().filter(|claim| counts(claim)) {
        numbers[usize::from(claim.shard)] += 1;
    }
    numbers
}

//! One claim, and every event at every time in every order. The clocks of two functions differ, so the times do not rise.

use stateright::{Model, Property};
use tidegate_core::Timestamp;
use tidegate_core::life::table::Event;
use tidegate_core::life::{Bucket, Effect, Life, Rules, State};

use crate::search;

/// Hours at which an event comes: before every time of the rules has passed, after some of them, after all.
const HOURS: [i64; 3] = [1, 30, 2000];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// A grant clears the bucket of a device that failed.
    FailureForgottenAtGrant,
    /// A report of success proves.
    SuccessProves,
    /// A lost device that gave up its place has it again when it comes back.
    PlaceComesBack,
    /// One check-in on the old version takes a success back.
    OldOnceIsEnough,
}

struct OneClaim {
    prove_after_s: i64,
    mutant: Option<Mutant>,
}

/// A claim, and the promise that the last step broke.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Claim {
    life: Option<Life>,
    broken: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Grant(i64),
    Event(Event, i64, bool),
    GiveOn,
    Void,
    Forget,
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(hours * 3600).unwrap()
}

impl OneClaim {
    fn rules(&self, is_open: bool) -> Rules {
        Rules {
            prove_after_s: self.prove_after_s,
            boot_grace_s: 10 * 3600,
            watch_s: 1000 * 3600,
            soak_s: 20 * 3600,
            apply_within_s: 1500 * 3600,
            open_since: is_open.then_some(Timestamp::UNIX_EPOCH),
            due_after_s: 25 * 3600,
        }
    }

    fn step(&self, life: Option<&Life>, action: Action) -> Option<Option<Life>> {
        let after = match (life, action) {
            (_, Action::Grant(hours)) => Some(Life::granted(life, at(hours))?),
            (None, _) => return None,
            (Some(_), Action::Forget) => None,
            (Some(life), Action::Void) => Some(life.voided()),
            (Some(life), Action::GiveOn) => Some(life.without_place()?),
            (Some(life), Action::Event(event, hours, is_open)) => {
                match life.after(event, &self.rules(is_open), at(hours)) {
                    Effect::Moved(after) => Some(*after),
                    Effect::Ignored | Effect::Heard => return None,
                }
            }
        };
        Some(after.map(|after| self.mutated(life, action, after)))
    }

    fn mutated(&self, before: Option<&Life>, action: Action, after: Life) -> Life {
        match (self.mutant, action) {
            (Some(Mutant::FailureForgottenAtGrant), Action::Grant(_)) => Life { bucket: None, ..after },
            (Some(Mutant::SuccessProves), Action::Event(Event::Success, ..)) => {
                Life { state: State::Proved, bucket: Some(Bucket::Proved), holds_place: false, ..after }
            }
            (Some(Mutant::PlaceComesBack), Action::Event(..))
                if before.is_some_and(|life| life.state == State::Lost) =>
            {
                Life { holds_place: after.state.keeps_place(), ..after }
            }
            (Some(Mutant::OldOnceIsEnough), Action::Event(Event::Old, ..)) if after.old_once => {
                Life { state: State::Reverted, bucket: Some(Bucket::Reverted), holds_place: false, ..after }
            }
            _ => after,
        }
    }
}

const PLACE: &str = "only a state that keeps a place has one";
const ONLY_A_GRANT: &str = "only a grant takes a place";
const ONLY_A_PROOF: &str = "only an expected version proves";
const FAILURE_STAYS: &str = "a failure is taken back by a proof or an operator only";
const OLD_TWICE: &str = "one old version takes nothing back";
const BUCKET: &str = "an ended claim is in a bucket";
const NEVER_LOST: &str = "only a device that is due is lost";
const CLOSED_IS_OVER: &str = "a closed claim changes by a grant or an operator only";

/// The promise that a step breaks.
fn broken(before: Option<&Life>, action: Action, after: Option<&Life>) -> Option<&'static str> {
    let after = after?;
    let event = match action {
        Action::Event(event, ..) => Some(event),
        _ => None,
    };
    let had_place = before.is_some_and(|life| life.holds_place);
    let state = before.map(|life| life.state);
    let bucket = before.and_then(|life| life.bucket);
    let is_bad = |bucket| matches!(bucket, Some(Bucket::Failed | Bucket::Reverted));
    let is_by_operator = matches!(action, Action::Void);
    let comes_to = |wanted| after.state == wanted && state != Some(wanted);
    let promises = [
        (PLACE, !after.holds_place || after.state.keeps_place()),
        (ONLY_A_GRANT, had_place || !after.holds_place || matches!(action, Action::Grant(_))),
        (
            ONLY_A_PROOF,
            !comes_to(State::Proved)
                || event == Some(Event::Expected)
                || before.is_some_and(|life| life.lost_from == Some(State::Proved)),
        ),
        (
            FAILURE_STAYS,
            !is_bad(bucket)
                || is_bad(after.bucket)
                || is_by_operator
                || (event == Some(Event::Expected) && after.bucket == Some(Bucket::Proved)),
        ),
        (
            OLD_TWICE,
            !comes_to(State::Reverted) || event != Some(Event::Old) || before.is_some_and(|life| life.old_once),
        ),
        (BUCKET, !after.state.has_ended() || after.bucket.is_some()),
        (NEVER_LOST, !comes_to(State::Lost) || event == Some(Event::Due)),
        (CLOSED_IS_OVER, state != Some(State::Closed) || event.is_none()),
    ];
    promises.into_iter().find(|(_, holds)| !holds).map(|(promise, _)| promise)
}

impl Model for OneClaim {
    type State = Claim;
    type Action = Action;

    fn init_states(&self) -> Vec<Claim> {
        vec![Claim { life: None, broken: None }]
    }

    fn actions(&self, _: &Claim, actions: &mut Vec<Action>) {
        actions.extend(HOURS.map(Action::Grant));
        for event in Event::ALL {
            for hours in HOURS {
                actions.extend([true, false].map(|is_open| Action::Event(event, hours, is_open)));
            }
        }
        actions.extend([Action::GiveOn, Action::Void, Action::Forget]);
    }

    fn next_state(&self, claim: &Claim, action: Action) -> Option<Claim> {
        let after = self.step(claim.life.as_ref(), action)?;
        let broken = broken(claim.life.as_ref(), action, after.as_ref());
        Some(Claim { life: after, broken })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! promises {
            ($($promise:ident)+) => {
                vec![$(Property::always($promise, |_, claim: &Claim| claim.broken != Some($promise))),+]
            };
        }
        promises!(PLACE ONLY_A_GRANT ONLY_A_PROOF FAILURE_STAYS OLD_TWICE BUCKET NEVER_LOST CLOSED_IS_OVER)
    }
}

#[test]
fn one_claim_keeps_every_promise_in_every_order() {
    for prove_after_s in [0, 5 * 3600] {
        let name = format!("one claim, proof after {prove_after_s} s");
        assert_eq!(search(&name, OneClaim { prove_after_s, mutant: None }), None);
    }
}

fn check(mutant: Mutant, promise: &str) {
    let found = search(&format!("{mutant:?}"), OneClaim { prove_after_s: 0, mutant: Some(mutant) });
    assert_eq!(found.map(|(promise, _)| promise), Some(promise));
}

#[test]
fn a_failure_that_is_forgotten_at_the_next_grant_is_noticed() {
    check(Mutant::FailureForgottenAtGrant, FAILURE_STAYS);
}

#[test]
fn a_success_that_proves_is_noticed() {
    check(Mutant::SuccessProves, ONLY_A_PROOF);
}

#[test]
fn a_place_that_comes_back_without_a_grant_is_noticed() {
    check(Mutant::PlaceComesBack, ONLY_A_GRANT);
}

#[test]
fn a_success_that_one_check_in_takes_back_is_noticed() {
    check(Mutant::OldOnceIsEnough, OLD_TWICE);
}

//! A fleet that an update bricks: every device that installs it is silent for ever. Some report success first, some wait
//! for their window for a long time. In every order a silent brick costs at most `max_in_flight` devices, or as many as
//! have proved the update, if these are more.

use stateright::{Model, Property};
use tidegate_core::life::table::Event;
use tidegate_core::life::{Bucket, Effect, Life, Rules, State};
use tidegate_core::{Timestamp, places};

use crate::search;

const DEVICES: usize = 7;
const MAX_IN_FLIGHT: u64 = 3;
const RULES: Rules = Rules {
    prove_after_s: 0,
    boot_grace_s: 3600,
    watch_s: 864_000,
    soak_s: 86_400,
    apply_within_s: 10_000_000,
    open_since: Some(Timestamp::UNIX_EPOCH),
    due_after_s: 324_000,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// A lost device gives its place up.
    LostGivesUpItsPlace,
    /// A report of success frees the place.
    SuccessFreesThePlace,
    /// Places of lost devices are given on while nobody is proved.
    GivenOnWithoutProof,
    /// A device that waits, and is heard from, lets the places grow.
    WhoWaitsIsMature,
}

struct Brick {
    /// Devices that run the update well. They can prove it, and let places grow.
    healthy: usize,
    mutant: Option<Mutant>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Device {
    is_healthy: bool,
    life: Option<Standing>,
    is_bricked: bool,
}

/// A claim without its times, which are all the same here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Standing {
    state: State,
    bucket: Option<Bucket>,
    holds_place: bool,
    lost_from: Option<State>,
    has_sign: bool,
    mature: bool,
}

impl Standing {
    fn of(life: &Life) -> Self {
        let Life { state, bucket, holds_place, lost_from, first_sign, mature, .. } = life;
        let (state, bucket, holds_place, lost_from, mature) = (*state, *bucket, *holds_place, *lost_from, *mature);
        Self { state, bucket, holds_place, lost_from, has_sign: first_sign.is_some(), mature }
    }

    fn life(&self) -> Life {
        let Self { state, bucket, holds_place, lost_from, has_sign, mature } = *self;
        let granted = Life::granted(None, Timestamp::UNIX_EPOCH).unwrap();
        let first_sign = has_sign.then_some(Timestamp::UNIX_EPOCH);
        Life { state, bucket, holds_place, lost_from, first_sign, mature, ..granted }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Grant(usize),
    /// It is heard from on the old version, days after the grant.
    Waits(usize),
    Success(usize),
    /// A bricked device is silent from now on; a healthy one says the expected version, days after the grant.
    Boots(usize),
    Due(usize),
    GiveOn(usize),
}

type Fleet = Vec<Device>;

impl Brick {
    fn places(&self, fleet: &Fleet) -> u64 {
        let matures = |device: &&Device| device.life.as_ref().is_some_and(|life| life.mature);
        let mature = fleet.iter().filter(matures).count();
        places::in_force(MAX_IN_FLIGHT, 100, i64::try_from(mature).unwrap())
    }

    fn applied(&self, device: &Device, event: Event) -> Option<Standing> {
        let life = device.life.as_ref()?;
        let late = Timestamp::from_second(400_000).unwrap();
        let mut after = match life.life().after(event, &RULES, late) {
            Effect::Moved(moved) => Standing::of(&moved),
            Effect::Heard => life.clone(),
            Effect::Ignored => return None,
        };
        match self.mutant {
            Some(Mutant::LostGivesUpItsPlace) if after.state == State::Lost => after.holds_place = false,
            Some(Mutant::SuccessFreesThePlace) if after.state == State::Installed => after.holds_place = false,
            Some(Mutant::WhoWaitsIsMature) if event == Event::Old && after.state == State::Open => after.mature = true,
            _ => {}
        }
        Some(after)
    }
}

fn count(fleet: &Fleet, is: impl Fn(&Device) -> bool) -> usize {
    fleet.iter().filter(|device| is(device)).count()
}

fn in_state(device: &Device, state: State) -> bool {
    device.life.as_ref().is_some_and(|life| life.state == state)
}

impl Model for Brick {
    type State = Fleet;
    type Action = Action;

    fn init_states(&self) -> Vec<Fleet> {
        let device = |number| Device { is_healthy: number < self.healthy, life: None, is_bricked: false };
        let mut fleet = (0..DEVICES).map(device).collect::<Vec<_>>();
        fleet.sort();
        vec![fleet]
    }

    fn actions(&self, fleet: &Fleet, actions: &mut Vec<Action>) {
        for (place, device) in fleet.iter().enumerate() {
            // Devices in the same standing are one.
            if place > 0 && fleet.get(place - 1) == Some(device) {
                continue;
            }
            let kinds = [Action::Grant, Action::Waits, Action::Success, Action::Boots, Action::Due, Action::GiveOn];
            actions.extend(kinds.map(|kind| kind(place)));
        }
    }

    fn next_state(&self, fleet: &Fleet, action: Action) -> Option<Fleet> {
        let (Action::Grant(place)
        | Action::Waits(place)
        | Action::Success(place)
        | Action::Boots(place)
        | Action::Due(place)
        | Action::GiveOn(place)) = action;
        let device = fleet.get(place)?;
        let mut after = device.clone();
        match action {
            Action::Grant(_) => {
                let held = count(fleet, |device| device.life.as_ref().is_some_and(|life| life.holds_place));
                if device.life.is_some() || held as u64 >= self.places(fleet) {
                    return None;
                }
                after.life = Some(Standing::of(&Life::granted(None, Timestamp::UNIX_EPOCH)?));
            }
            Action::Waits(_) | Action::Success(_) if device.is_bricked || !in_state(device, State::Open) => {
                return None;
            }
            Action::Waits(_) => after.life = Some(self.applied(device, Event::Old)?),
            Action::Success(_) => after.life = Some(self.applied(device, Event::Success)?),
            Action::Boots(_) if device.is_bricked || device.life.is_none() => return None,
            Action::Boots(_) if device.is_healthy => after.life = Some(self.applied(device, Event::Expected)?),
            Action::Boots(_) => after.is_bricked = true,
            Action::Due(_) => after.life = Some(self.applied(device, Event::Due)?),
            Action::GiveOn(_) => {
                let proved =
                    count(fleet, |device| device.life.as_ref().is_some_and(|life| life.bucket == Some(Bucket::Proved)));
                let given_on = count(fleet, |device| {
                    device.life.as_ref().is_some_and(|life| life.state == State::Lost && !life.holds_place)
                });
                let (proved, given_on) = (i64::try_from(proved).ok()?, i64::try_from(given_on).ok()?);
                if self.mutant != Some(Mutant::GivenOnWithoutProof) && places::to_give_on(proved, given_on) == 0 {
                    return None;
                }
                after.life = Some(Standing::of(&device.life.as_ref()?.life().without_place()?));
            }
        }
        let mut fleet = fleet.clone();
        *fleet.get_mut(place)? = after;
        fleet.sort();
        Some(fleet)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BRICK, |_, fleet: &Fleet| {
                let proved =
                    count(fleet, |device| device.is_healthy && device.life.as_ref().is_some_and(|life| life.mature));
                count(fleet, |device| device.is_bricked) as u64 <= MAX_IN_FLIGHT.max(proved as u64)
            }),
            Property::always(PLACES, |model: &Self, fleet: &Fleet| {
                count(fleet, |device| device.life.as_ref().is_some_and(|life| life.holds_place)) as u64
                    <= model.places(fleet)
            }),
        ]
    }
}

const BRICK: &str = "a silent brick costs at most max_in_flight devices, or as many as are well for long";
const PLACES: &str = "no more places are held than are in force";

#[test]
fn a_total_silent_brick_costs_at_most_max_in_flight_in_every_order() {
    assert_eq!(search("total brick", Brick { healthy: 0, mutant: None }), None);
}

#[test]
fn places_grow_only_with_devices_that_are_well() {
    for healthy in [1, 3, 5] {
        assert_eq!(search(&format!("{healthy} healthy devices"), Brick { healthy, mutant: None }), None);
    }
}

fn check(mutant: Mutant, healthy: usize) {
    let found = search(&format!("{mutant:?}"), Brick { healthy, mutant: Some(mutant) });
    assert_eq!(found.map(|(promise, _)| promise), Some(BRICK));
}

#[test]
fn a_lost_device_that_gives_its_place_up_is_noticed() {
    check(Mutant::LostGivesUpItsPlace, 0);
}

#[test]
fn a_success_that_frees_the_place_is_noticed() {
    check(Mutant::SuccessFreesThePlace, 0);
}

#[test]
fn a_place_that_is_given_on_without_a_proof_is_noticed() {
    check(Mutant::GivenOnWithoutProof, 0);
}

/// A fleet with a weekly window: one device is well, the others wait and are heard from, and install the update together.
#[test]
fn a_device_that_waits_and_lets_the_places_grow_is_noticed() {
    check(Mutant::WhoWaitsIsMature, 1);
}

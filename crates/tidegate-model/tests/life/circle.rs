//! Rule P: campaigns are opened and ended in every order, and a device takes any of the offers of those that are open. It
//! must come to rest: no open campaigns send it round in a circle.

use stateright::{Model, Property};
use tidegate_core::Version;
use tidegate_core::campaign::Way;

use crate::search;

const VERSIONS: u8 = 4;
/// Most campaigns that are open at a time.
const MOST_OPEN: usize = 3;
/// Times that the device goes to another version by itself.
const MOST_DEPARTURES: u8 = 3;

/// A campaign: an upgrade, or a rollback from these versions, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Campaign {
    to: u8,
    from: u8,
}

impl Campaign {
    fn way(self) -> Way {
        let version = |number: u8| Version::new(1, u64::from(number), 0);
        match self.from {
            0 => Way::Up { to: version(self.to) },
            from => {
                let from = (0..VERSIONS).filter(|number| from >> number & 1 == 1).map(version).collect();
                Way::Back { to: version(self.to), from }
            }
        }
    }

    fn moves(self, version: u8) -> bool {
        self.way().leads_from(&Version::new(1, u64::from(version), 0))
    }
}

/// Every upgrade, and every rollback from higher versions.
fn campaigns() -> Vec<Campaign> {
    let back = |to: u8| (1..1_u8 << VERSIONS).filter(move |from| from.trailing_zeros() > u32::from(to));
    let each = |to| back(to).map(move |from| Campaign { to, from }).chain([Campaign { to, from: 0 }]);
    (0..VERSIONS).flat_map(each).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    open: Vec<Campaign>,
    version: u8,
    departures: u8,
    /// Moves since anybody did anything else.
    moves: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Open(Campaign),
    End(Campaign),
    CheckIn(Campaign),
    Depart(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// Any campaign may be opened beside any other.
    NoRule,
    /// An upgrade may be opened into a version that an open rollback names.
    UpgradeIntoWhatIsTakenBack,
    /// A rollback may be opened to a version that another open rollback names.
    RollbackIntoWhatIsTakenBack,
    /// A rollback may be opened beside an upgrade to a version that it names.
    RollbackBesideTheUpgrade,
}

struct Circles(Option<Mutant>);

impl Circles {
    fn may_open(&self, campaign: Campaign, open: &[Campaign]) -> bool {
        let is_left_out = |other: &Campaign| match self.0 {
            None => false,
            Some(Mutant::NoRule) => true,
            Some(Mutant::UpgradeIntoWhatIsTakenBack) => campaign.from == 0 && other.from != 0,
            Some(Mutant::RollbackIntoWhatIsTakenBack) => campaign.from != 0 && other.from != 0,
            Some(Mutant::RollbackBesideTheUpgrade) => campaign.from != 0 && other.from == 0,
        };
        let others = open.iter().filter(|other| !is_left_out(other)).map(|other| other.way()).collect::<Vec<_>>();
        campaign.way().may_open(&others).is_ok()
    }
}

impl Model for Circles {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        (0..VERSIONS).map(|version| World { open: Vec::new(), version, departures: 0, moves: 0 }).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.open.len() < MOST_OPEN {
            let is_new = |campaign: &Campaign| !world.open.iter().any(|open| open.to == campaign.to);
            let new = campaigns().into_iter().filter(is_new);
            actions.extend(new.filter(|campaign| self.may_open(*campaign, &world.open)).map(Action::Open));
        }
        actions.extend(world.open.iter().map(|campaign| Action::End(*campaign)));
        let offers = world.open.iter().filter(|campaign| campaign.moves(world.version));
        actions.extend(offers.map(|campaign| Action::CheckIn(*campaign)));
        if world.departures < MOST_DEPARTURES {
            actions.extend((0..VERSIONS).filter(|version| *version != world.version).map(Action::Depart));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = World { moves: 0, ..world.clone() };
        match action {
            Action::Open(campaign) => {
                next.open.push(campaign);
                next.open.sort_unstable();
            }
            Action::End(campaign) => next.open.retain(|open| *open != campaign),
            Action::CheckIn(campaign) => (next.version, next.moves) = (campaign.to, world.moves + 1),
            Action::Depart(version) => (next.version, next.departures) = (version, world.departures + 1),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("a device comes to rest", |_, world: &World| world.moves < VERSIONS)]
    }
}

#[test]
fn no_open_campaigns_send_a_device_round_in_a_circle() {
    assert_eq!(search("rule P", Circles(None)), None);
}

/// Rollbacks alone lead only down. That one may not lead into what another takes back is for people: a device would go two
/// ways back in a row.
#[test]
fn rollbacks_into_what_is_taken_back_make_no_circle() {
    assert_eq!(search("rollbacks in a row", Circles(Some(Mutant::RollbackIntoWhatIsTakenBack))), None);
}

#[test]
fn without_any_part_of_the_rule_a_device_goes_round() {
    for mutant in [Mutant::NoRule, Mutant::UpgradeIntoWhatIsTakenBack, Mutant::RollbackBesideTheUpgrade] {
        let (promise, _) = search(&format!("{mutant:?}"), Circles(Some(mutant))).unwrap();
        assert_eq!(promise, "a device comes to rest", "{mutant:?}");
    }
}

//! Promises: what holds in every reachable world and in every step.

use stateright::Property;

use super::mutants::Mutant;
use super::rows::{BUCKETS, Bucket, Campaign, Gate, State, Tally};
use super::scope::NO_LIMIT;
use super::stop::force;
use super::{Protocol, SHARDS, World, is_counting};

/// Declares the promises, each with its text, and their properties.
macro_rules! promises {
    ($($promise:ident: $text:literal,)*) => {
        /// Promise of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Promise {
            $($promise,)*
        }

        /// Every promise.
        pub(crate) const ALL: &[Promise] = &[$(Promise::$promise,)*];

        impl Promise {
            /// The promise for the checker, which takes functions without a state of their own.
            pub(crate) fn property(self) -> Property<Protocol> {
                match self {
                    $(Self::$promise => Property::always($text, |protocol, world| {
                        Self::$promise.holds(protocol, world)
                    }),)*
                }
            }
        }
    };
}

promises! {
    Places: "never more places than the cap of a shard or the limit",
    Devices: "never more devices than max_devices",
    UsedIsDevices: "used is the number of claims",
    Attempts: "granted is the number of attempts, and no device has more than it may",
    Epochs: "an epoch is given once",
    Heard: "a device heard from in time is never lost",
    StopIsKept: "a stop that is wanted is not lost",
    NoGrantAfterStop: "no grant after an acknowledged stop",
    NothingOpensAfterStop: "no shard opens after an acknowledged stop",
    UrlToLateCheckIn: "no URL to a check-in that arrives after an acknowledged stop",
    UrlAfterStop: "no URL is signed after an acknowledged stop",
    UrlAsTold: "a URL lives as long as the device was told",
    NoLiveUrl: "no live URL of a claim whose reservation is over",
    NoRaise: "no ceiling is raised by one who saw that a change is wanted",
    Judged: "no place is given on after failures that hold the campaign were counted",
    Uncounted: "never more grants of a shard uncounted than the headroom",
    Rate: "never more grants in a period than max_per_period",
    Ceiling: "the ceiling of an open shard is at most granted - held + places",
    Counts: "tallies and undelivered records are the truth",
    CountsAtRest: "at rest the tallies are the truth",
    NotNegative: "no count is negative",
    NoPlaceLeaks: "at rest the ceiling is released + places",
    FailureStays: "a failure that was counted is replaced only by a proof",
}

impl Promise {
    fn holds(self, protocol: &Protocol, world: &World) -> bool {
        if world.broken == Some(self) {
            return false;
        }
        match self {
            Self::UsedIsDevices => is_used_right(protocol, world),
            Self::Attempts => are_attempts_right(protocol, world),
            Self::StopIsKept => is_stop_kept(world),
            Self::NoLiveUrl => has_no_live_url(protocol, world),
            Self::Judged => is_judged(protocol, world),
            Self::Uncounted => is_counted_in_time(protocol, world),
            Self::Rate => world.grants_in.iter().all(|grants| *grants <= protocol.scope.per_period),
            Self::Ceiling => is_ceiling_low(protocol, world),
            Self::Counts => protocol.has(Mutant::ReleasedAsDifference) || counts_are_true(protocol, world),
            Self::CountsAtRest => {
                !is_at_rest(world) || counts_are_off(protocol, world) || rest_is_true(protocol, world)
            }
            Self::NotNegative => {
                // Buckets stay off after a loss: they are shown as recounted.
                world.has_lost_records || world.sums().buckets.iter().all(|count| *count >= 0)
            }
            Self::NoPlaceLeaks => !is_at_rest(world) || leaks_nothing(protocol, world),
            _ => true,
        }
    }
}

impl Protocol {
    /// Notes a broken promise, if the search checks it.
    pub(crate) fn breaks(&self, world: &mut World, promise: Promise) {
        if self.promises.contains(&promise) {
            world.broken = world.broken.or(Some(promise));
        }
    }

    /// Promises about a step: limits may fall below what is held, but nothing is given above them.
    pub(crate) fn check_step(&self, before: &World, after: &mut World) {
        let (held_before, held) = (before.held(), after.held());
        let used = |world: &World| world.shards.iter().map(|shard| shard.used).sum::<i8>();
        if self.scope.ramp > 0 {
            after.most_mature = after.most_mature.max(matured(self, after));
        }
        let forgets_failure = before.devices.iter().zip(&after.devices).any(|(was, is)| match (was.claim, is.claim) {
            (Some(was), Some(is)) => {
                is_failure(was.bucket) && !is_failure(is.bucket) && is.bucket != Some(Bucket::Proved)
            }
            _ => false,
        });
        if forgets_failure {
            self.breaks(after, Promise::FailureStays);
        }
        for at in 0..SHARDS {
            let (was, is) = (before.shards[at], after.shards[at]);
            if held[at] > held_before[at] {
                let grown = self.grown(after, after.most_mature);
                if held[at] > is.caps.places + grown[at] || held[0] + held[1] > is.limit + grown[0] + grown[1] {
                    self.breaks(after, Promise::Places);
                }
                if before.is_stopped() {
                    self.breaks(after, Promise::NoGrantAfterStop);
                }
            }
            if is.gate == Gate::Open && was.gate != Gate::Open && before.is_stopped() {
                self.breaks(after, Promise::NothingOpensAfterStop);
            }
            if is.used > was.used && used(after) > self.scope.max_devices {
                self.breaks(after, Promise::Devices);
            }
        }
    }
}

/// Devices that are proved and mature, by the claims.
fn matured(protocol: &Protocol, world: &World) -> i8 {
    if protocol.scope.ramp == 0 {
        return 0;
    }
    let claims = world.devices.iter().filter_map(|device| device.claim);
    claims.map(|claim| i8::from(claim.state == State::Proved && claim.is_mature)).sum()
}

fn is_failure(bucket: Option<Bucket>) -> bool {
    matches!(bucket, Some(Bucket::Failed | Bucket::Reverted))
}

/// After `forget`, `used` and `granted` name claims that are gone.
fn forgets(protocol: &Protocol) -> bool {
    protocol.scope.events.contains(&super::device::Event::Forget)
}

fn is_used_right(protocol: &Protocol, world: &World) -> bool {
    let claims = world.devices.iter().filter(|device| device.claim.is_some()).count();
    forgets(protocol) || usize::try_from(world.shards.iter().map(|shard| shard.used).sum::<i8>()) == Ok(claims)
}

fn are_attempts_right(protocol: &Protocol, world: &World) -> bool {
    let mut granted = [0_i8; SHARDS];
    for claim in world.devices.iter().filter_map(|device| device.claim) {
        if claim.grants.iter().sum::<u8>() > protocol.scope.most_attempts {
            return false;
        }
        let grants = claim.grants.map(|grants| i8::try_from(grants).expect("there are few attempts"));
        granted = [granted[0] + grants[0], granted[1] + grants[1]];
    }
    // A repair sets `granted` to the places that are held.
    forgets(protocol) || protocol.scope.repairs || granted == world.shards.map(|shard| shard.granted)
}

fn is_stop_kept(world: &World) -> bool {
    let wanted = world.record.wanted.map_or(0, |wanted| wanted.wish.force());
    world.stop.force() <= force(world.record.state).max(wanted)
}

fn has_no_live_url(protocol: &Protocol, world: &World) -> bool {
    protocol.scope.claim_ticks == 0
        || world.devices.iter().all(|device| {
            let is_over = device.claim.is_some_and(|claim| claim.state == State::Lost);
            !is_over || device.url_ends <= world.clock
        })
}

/// Every failure frees one place here, so all grants but those of the places in force follow a judged failure.
fn is_judged(protocol: &Protocol, world: &World) -> bool {
    let granted = world.shards.iter().map(|shard| shard.granted).sum::<i8>();
    let allowed = protocol.scope.places + protocol.scope.hold_at - 1;
    protocol.scope.hold_at == NO_LIMIT || granted <= allowed
}

fn is_counted_in_time(protocol: &Protocol, world: &World) -> bool {
    let counted = world.sums().granted;
    !protocol.counts_grants() || (0..SHARDS).all(|at| world.shards[at].granted <= counted[at] + protocol.scope.headroom)
}

fn is_ceiling_low(protocol: &Protocol, world: &World) -> bool {
    let held = world.held();
    let grown = protocol.grown(world, world.most_mature);
    (0..SHARDS).all(|at| {
        let shard = &world.shards[at];
        shard.gate != Gate::Open || shard.ceiling <= shard.granted - held[at] + shard.caps.places + grown[at]
    })
}

/// `true` if `counted` is what the items say.
fn is_truth(protocol: &Protocol, world: &World, counted: &Tally) -> bool {
    let number = usize::from(world.record.number);
    let held = world.held();
    let is_released = (0..SHARDS).all(|at| counted.released[number][at] == world.shards[at].granted - held[at]);
    let are_buckets = (world.has_lost_records && protocol.keeps(Mutant::LossIsNoticed))
        || BUCKETS.iter().all(|bucket| {
            let claims = world.devices.iter().filter_map(|device| device.claim);
            let truth = claims.filter(|claim| claim.bucket == Some(*bucket)).count();
            usize::try_from(counted.buckets[*bucket as usize]) == Ok(truth)
        });
    is_released && are_buckets && counted.mature == matured(protocol, world)
}

/// Records were lost, and the campaign was not repaired.
fn counts_are_off(protocol: &Protocol, world: &World) -> bool {
    let is_off = if protocol.scope.repairs { world.record.needs_recount } else { world.has_lost_records };
    is_off && protocol.keeps(Mutant::LossIsNoticed)
}

fn counts_are_true(protocol: &Protocol, world: &World) -> bool {
    let mut counted = world.sums();
    world.streams.iter().for_each(|stream| counted.add(&stream.undelivered()));
    counts_are_off(protocol, world) || is_truth(protocol, world, &counted)
}

fn rest_is_true(protocol: &Protocol, world: &World) -> bool {
    let mut sums = world.sums();
    if protocol.has(Mutant::ReleasedAsDifference) {
        sums.released[0] = [0, 1].map(|at| world.shards[at].granted - sums.released[0][at]);
    }
    is_truth(protocol, world, &sums)
}

/// Nothing is under way, and every record is counted.
fn is_at_rest(world: &World) -> bool {
    world.slow.is_none()
        && world.late.is_none()
        && world.change.is_none()
        && world.record.wanted.is_none()
        && world.visit.is_none()
        && !is_counting(world)
        && world.streams.iter().all(|stream| stream.length == 0)
}

fn leaks_nothing(protocol: &Protocol, world: &World) -> bool {
    let is_open = world.record.state == Campaign::Open && world.shards.iter().all(|shard| shard.gate == Gate::Open);
    if !is_open || counts_are_off(protocol, world) || protocol.is_hold(&world.sums()) {
        return true;
    }
    let held = world.held();
    let counted = world.sums().granted;
    let mature = matured(protocol, world);
    (0..SHARDS).all(|at| {
        let shard = &world.shards[at];
        let released = shard.granted - held[at];
        let of_mature = |mature| {
            let places = shard.caps.places + protocol.grown(world, mature)[at];
            protocol.ceiling_of(places, released, counted[at])
        };
        // The sweep raises what is too low. What mature devices added stays until limits are split again.
        let ceiling = protocol.sweep_raises(world, at).unwrap_or(shard.ceiling);
        (of_mature(mature)..=of_mature(world.most_mature)).contains(&ceiling)
    })
}

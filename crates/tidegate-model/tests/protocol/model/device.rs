//! Devices: check-ins, reports and the sweep, each one write of the device item; the grant is a transaction with a shard.

use super::late::{Fate, Late};
use super::mutants::Mutant;
use super::promises::Promise;
use super::rows::{Bucket, Claim, State};
use super::{Protocol, SHARDS, Slow, Step, World, count};

/// Event in the life of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The device reports a success.
    Success,
    Failure,
    /// The device runs the new version: a proof.
    NewVersion,
    /// The device runs the version from before the update.
    OldVersion,
    /// The device runs a third version.
    ForeignVersion,
    /// The sweep finds the device overdue. In scopes with reservations: its reservation is over.
    Silence,
    /// A lost device makes itself heard.
    Back,
    /// The device makes itself heard, and nothing else changes.
    Seen,
    /// The device has been proved for so long that silence would have shown.
    Ripeness,
    /// The operator's `forget`.
    Forget,
    /// The sweep frees the place of a lost device.
    FreePlace,
}

impl Event {
    /// `true` for the events that the sweep finds.
    fn is_of_sweep(self) -> bool {
        matches!(self, Self::Silence | Self::FreePlace)
    }
}

/// Clock of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Clock {
    True,
    /// Slow by one tick.
    Late,
}

/// Grant as a function decided on it, from what it had read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Attempt {
    pub(crate) device: u8,
    pub(crate) read: Option<Claim>,
    /// `rev` of the device as read.
    revision: u8,
    shard: u8,
    generation: u8,
    number: u8,
    /// Time, by the function's clock.
    now: u8,
}

/// Write of a claim, from what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Settle {
    pub(crate) device: u8,
    pub(crate) read: Claim,
    /// `seen` as read.
    seen: u8,
    event: Event,
}

/// A failed or reverted trial keeps its bucket until there is a proof.
fn moved(bucket: Option<Bucket>, to: Option<Bucket>) -> Option<Bucket> {
    match bucket {
        Some(Bucket::Failed | Bucket::Reverted) if to != Some(Bucket::Proved) => bucket,
        _ => to,
    }
}

impl Protocol {
    /// The transition table of a claim. `None` if the event changes nothing.
    fn transition(&self, claim: &Claim, event: Event) -> Option<Claim> {
        use State::{Failed, Installed, Left, Lost, Open, Proved, Reverted};
        let (place, bucket) = (claim.has_place, claim.bucket);
        let to = |state: State, has_place: bool, bucket: Option<Bucket>| {
            Some(Claim { state, has_place, bucket, lost_from: None, ..*claim })
        };
        let left = || to(Left, false, moved(bucket, Some(Bucket::Left)));
        match (event, claim.state) {
            (Event::Success, Open | Failed | Reverted) => to(Installed, place, bucket),
            (Event::Success, Left | Lost) => to(Installed, place, moved(bucket, None)),
            (Event::Failure, Open | Installed | Left | Lost) => to(Failed, false, moved(bucket, Some(Bucket::Failed))),
            (Event::Failure | Event::OldVersion, Proved) => to(Reverted, false, Some(Bucket::Reverted)),
            (Event::NewVersion, Open | Installed | Failed | Reverted | Lost | Left) => {
                to(Proved, false, Some(Bucket::Proved))
            }
            (Event::OldVersion, Installed) => to(Reverted, false, moved(bucket, Some(Bucket::Reverted))),
            (Event::OldVersion, Lost) if matches!(claim.lost_from, Some(Installed | Proved)) => {
                to(Reverted, false, moved(bucket, Some(Bucket::Reverted)))
            }
            (Event::OldVersion, Lost) if place => to(Open, true, moved(bucket, None)),
            (Event::OldVersion, Lost) => left(),
            (Event::ForeignVersion, Open | Installed | Lost) => left(),
            (Event::Silence, Open | Installed | Proved) => Some(Claim {
                state: Lost,
                bucket: moved(bucket, Some(Bucket::Lost)),
                lost_from: Some(claim.state),
                ..*claim
            }),
            (Event::Back, Lost) if claim.lost_from == Some(Open) => {
                if place || self.has(Mutant::LostTakesAPlace) {
                    to(Open, true, moved(bucket, None))
                } else {
                    left()
                }
            }
            (Event::Back, Lost) => to(Installed, place, moved(bucket, None)),
            (Event::Ripeness, Proved) if !claim.is_mature => Some(Claim { is_mature: true, ..*claim }),
            (Event::Seen, Open | Installed | Proved) => Some(*claim),
            (Event::FreePlace, Lost) if place => Some(Claim { has_place: false, ..*claim }),
            _ => None,
        }
    }

    /// `AS_READ(c)`.
    pub(crate) fn is_as_read(&self, stored: &Claim, read: &Claim) -> bool {
        let compares_place = self.keeps(Mutant::PlaceAndBucketNotCompared);
        let compares_bucket = compares_place && self.keeps(Mutant::BucketNotCompared);
        stored.epoch == read.epoch
            && stored.state == read.state
            && (!compares_place || stored.has_place == read.has_place)
            && (!compares_bucket || stored.bucket == read.bucket)
    }

    /// `true` if device revisions are counted: only `forget` needs them.
    fn has_revisions(&self) -> bool {
        self.scope.events.contains(&Event::Forget)
    }

    /// Stores the claim of a device. The record of the write goes to the device's stream shard.
    fn put(&self, world: &mut World, device: u8, claim: Option<Claim>) -> Option<()> {
        let stream = self.stream_of(world, device);
        let item = &mut world.devices[usize::from(device)];
        let effect = count::effect(self, item.claim.as_ref(), claim.as_ref());
        item.claim = claim;
        item.revision += u8::from(self.has_revisions());
        world.streams[stream].append(effect, self.scope.most_waiting)
    }

    fn stream_of(&self, world: &World, device: u8) -> usize {
        if self.scope.stream_splits { usize::from(world.has_split) } else { usize::from(device % self.scope.streams) }
    }

    pub(crate) fn can_be_granted(&self, claim: Option<&Claim>) -> bool {
        claim.is_none_or(|claim| {
            matches!(claim.state, State::Failed | State::Reverted | State::Left)
                && claim.grants.iter().sum::<u8>() < self.scope.most_attempts
        })
    }

    /// Shards that a device may ask: its own, or any.
    pub(crate) fn shards_to_ask(&self, claim: Option<&Claim>) -> impl Iterator<Item = u8> {
        let own = claim.filter(|_| !self.scope.may_move).map(|claim| claim.shard);
        (0..2).filter(move |shard| own.is_none_or(|own| own == *shard))
    }

    pub(crate) fn clocks(&self, world: &World) -> &'static [Clock] {
        let has_late = (self.scope.period_ticks > 0 || self.scope.claim_ticks > 0) && world.clock > 0;
        if has_late { &[Clock::True, Clock::Late] } else { &[Clock::True] }
    }

    pub(crate) fn now(&self, world: &World, clock: Clock) -> u8 {
        match clock {
            Clock::True => world.clock,
            Clock::Late => world.clock - 1,
        }
    }

    /// Reads the device. In scopes with a head the generation is the catalog's; elsewhere it is the shard's, as read.
    pub(crate) fn attempt(
        &self,
        world: &World,
        device: u8,
        shard: u8,
        clock: Clock,
        generation: Option<u8>,
    ) -> Attempt {
        let item = &world.devices[usize::from(device)];
        let read = world.shards[usize::from(shard)];
        Attempt {
            device,
            read: item.claim,
            revision: item.revision,
            shard,
            generation: generation.unwrap_or(read.generation),
            number: read.number,
            now: self.now(world, clock),
        }
    }

    /// The grant: device and shard in one transaction, both or neither.
    pub(crate) fn grant(&self, world: &mut World, attempt: &Attempt) -> Option<()> {
        let item = world.devices[usize::from(attempt.device)];
        let is_as_read = match (&item.claim, &attempt.read) {
            (None, None) => true,
            (Some(stored), Some(read)) if self.has(Mutant::GrantOfAnyEpoch) => stored.state == read.state,
            (Some(stored), Some(read)) => self.is_as_read(stored, read),
            (Some(_), None) => self.has(Mutant::ClaimIsNew),
            (None, Some(_)) => false,
        };
        let is_same_revision = !self.has_revisions() || item.revision == attempt.revision;
        if !is_as_read || !(is_same_revision || self.has(Mutant::RevAtGrant)) {
            return None;
        }
        let is_first = attempt.read.is_none() || self.has(Mutant::RetryUsesAgain);
        let shard = &mut world.shards[usize::from(attempt.shard)];
        let period = self.period_of(attempt.now);
        self.spend(shard, (attempt.generation, attempt.number), is_first, period)?;
        if self.scope.period_ticks > 0 {
            world.grants_in[usize::from(period)] += 1;
        }
        let claim = self.granted_claim(attempt);
        if self.has_revisions() {
            if claim.epoch <= item.last_epoch {
                self.breaks(world, Promise::Epochs);
            }
            world.devices[usize::from(attempt.device)].last_epoch = claim.epoch;
        }
        self.put(world, attempt.device, Some(claim))
    }

    fn granted_claim(&self, attempt: &Attempt) -> Claim {
        let ends = attempt.now + self.scope.claim_ticks;
        let first = Claim {
            state: State::Open,
            has_place: true,
            shard: attempt.shard,
            epoch: 0,
            bucket: None,
            is_mature: false,
            lost_from: None,
            number: attempt.number,
            ends: 0,
            grants: [0; SHARDS],
        };
        let read = attempt.read.unwrap_or(first);
        let mut grants = read.grants;
        grants[usize::from(attempt.shard)] += 1;
        let epoch = if self.has_revisions() { attempt.revision + 1 } else { read.epoch + 1 };
        let ends = if self.scope.claim_ticks == 0 {
            0
        } else if self.keeps(Mutant::RenewalEndsLater) {
            ends.max(read.ends)
        } else {
            ends
        };
        let bucket = read.bucket.filter(|bucket| *bucket != Bucket::Left);
        Claim { epoch, bucket, ends, grants, ..first }
    }

    /// Conditions of an event that are no conditions of the write.
    fn may_happen(&self, world: &World, device: u8, claim: &Claim, event: Event) -> bool {
        let seen = world.devices[usize::from(device)].seen;
        if event.is_of_sweep() && self.scope.allowed_ticks > 0 {
            return world.clock > seen + self.scope.allowed_ticks;
        }
        if event == Event::Silence && self.scope.claim_ticks > 0 {
            // The clock of the sweep may be one tick ahead.
            return world.clock + 1 >= claim.ends;
        }
        event != Event::Seen || (self.scope.allowed_ticks > 0 && seen < world.clock)
    }

    pub(crate) fn settle(&self, world: &mut World, settle: &Settle) -> Option<()> {
        let item = world.devices[usize::from(settle.device)];
        let stored = item.claim?;
        if !self.is_as_read(&stored, &settle.read) {
            return None;
        }
        if self.scope.allowed_ticks > 0 {
            if settle.event.is_of_sweep() {
                if item.seen != settle.seen && self.keeps(Mutant::SeenAsReadForLost) {
                    return None;
                }
                if world.clock <= item.seen + self.scope.allowed_ticks {
                    self.breaks(world, Promise::Heard);
                }
            } else {
                world.devices[usize::from(settle.device)].seen = item.seen.max(world.clock);
            }
        }
        if settle.event == Event::Forget {
            return self.put(world, settle.device, None);
        }
        let to = self.transition(&settle.read, settle.event)?;
        // The write sets these four attributes and leaves the others.
        let claim = Claim {
            state: to.state,
            has_place: to.has_place,
            bucket: to.bucket,
            is_mature: to.is_mature,
            lost_from: to.lost_from,
            ..stored
        };
        self.put(world, settle.device, Some(claim))
    }

    pub(crate) fn device_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let is_slow_free = self.scope.has_slow_writer && world.slow.is_none();
        for device in 0..self.scope.devices {
            let claim = world.claim(device);
            if self.can_be_granted(claim.as_ref()) && !self.scope.has_head {
                for shard in self.shards_to_ask(claim.as_ref()) {
                    for clock in self.clocks(world) {
                        let fates = self.once_or_twice(world);
                        steps.extend(fates.iter().map(|fate| Step::CheckIn {
                            device,
                            shard,
                            clock: *clock,
                            fate: *fate,
                        }));
                        if is_slow_free {
                            steps.push(Step::SlowCheckIn { device, shard, clock: *clock });
                        }
                    }
                }
            }
            let Some(claim) = claim else { continue };
            for event in self.scope.events {
                let changes = *event == Event::Forget || self.transition(&claim, *event).is_some();
                if !changes || !self.may_happen(world, device, &claim, *event) {
                    continue;
                }
                steps.extend(self.once_or_twice(world).iter().map(|fate| Step::Settle {
                    device,
                    event: *event,
                    fate: *fate,
                }));
                if is_slow_free {
                    steps.push(Step::SlowSettle { device, event: *event });
                }
            }
        }
        if world.slow.is_some() {
            steps.extend([Step::SlowWriterWrites, Step::SlowWriterDies]);
        }
    }

    fn read_to_settle(&self, world: &World, device: u8, event: Event) -> Option<Settle> {
        let item = &world.devices[usize::from(device)];
        Some(Settle { device, read: item.claim?, seen: item.seen, event })
    }

    pub(crate) fn device_step(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::CheckIn { device, shard, clock, fate } => {
                let attempt = self.attempt(world, device, shard, clock, None);
                self.send(world, Late::Grant(attempt), fate)
            }
            Step::SlowCheckIn { device, shard, clock } => {
                world.slow = Some(Slow::Grant(self.attempt(world, device, shard, clock, None)));
                Some(())
            }
            Step::Settle { device, event, fate } => {
                let settle = self.read_to_settle(world, device, event)?;
                self.send(world, Late::Settle(settle), fate)
            }
            Step::SlowSettle { device, event } => {
                world.slow = self.read_to_settle(world, device, event).map(Slow::Settle);
                Some(())
            }
            Step::SlowWriterWrites => match world.slow.take()? {
                Slow::Grant(attempt) => self.grant(world, &attempt),
                Slow::Settle(settle) => self.settle(world, &settle),
            },
            _ => {
                world.slow = None;
                Some(())
            }
        }
    }

    /// Fates of a write that is either sent once or twice.
    pub(crate) fn once_or_twice(&self, world: &World) -> &'static [Fate] {
        if self.can_be_late(world) { &[Fate::Once, Fate::Twice] } else { &[Fate::Once] }
    }

    /// Fates of a write whose sender may also go on without it.
    pub(crate) fn any_fate(&self, world: &World) -> &'static [Fate] {
        if self.can_be_late(world) { &[Fate::Once, Fate::Twice, Fate::Later] } else { &[Fate::Once] }
    }

    fn can_be_late(&self, world: &World) -> bool {
        world.duplicates_left > 0 && world.late.is_none()
    }
}

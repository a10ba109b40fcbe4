//! Stored items, in a form small enough for millions of worlds.

use super::{DEVICES, NUMBERS, SHARDS};

/// State of a claim: the states of `notes/outcomes.md` that differ in what they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum State {
    Open,
    Installed,
    Proved,
    Failed,
    Reverted,
    Lost,
    Left,
}

/// Bucket in which a claim counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Bucket {
    Proved,
    Failed,
    Reverted,
    Lost,
    Left,
}

pub(crate) const BUCKETS: [Bucket; 5] = [Bucket::Proved, Bucket::Failed, Bucket::Reverted, Bucket::Lost, Bucket::Left];

/// Claim of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) state: State,
    /// `pl`: the claim holds a place of its shard.
    pub(crate) has_place: bool,
    /// Shard of the latest grant.
    pub(crate) shard: u8,
    pub(crate) epoch: u8,
    pub(crate) bucket: Option<Bucket>,
    /// `fl`: mature.
    pub(crate) is_mature: bool,
    /// State before the claim was lost.
    pub(crate) lost_from: Option<State>,
    /// Counting number, `cn`.
    pub(crate) number: u8,
    /// End of the reservation, in ticks.
    pub(crate) ends: u8,
    /// Number of grants on each shard. Only promises and wrong designs read it.
    pub(crate) grants: [u8; SHARDS],
}

/// What a claim counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Shard and epoch of the place that the claim holds.
    pub(crate) place: Option<(u8, u8)>,
    pub(crate) bucket: Option<Bucket>,
}

/// The one function that says what a claim counts as. Without a claim nothing counts.
pub(crate) fn part(claim: Option<&Claim>) -> Part {
    Part {
        place: claim.filter(|claim| claim.has_place).map(|claim| (claim.shard, claim.epoch)),
        bucket: claim.and_then(|claim| claim.bucket),
    }
}

/// Device item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Device {
    pub(crate) claim: Option<Claim>,
    /// `rev`. It moves only in scopes that have `forget`; elsewhere an epoch is the number of the attempt.
    pub(crate) revision: u8,
    /// Tick of the last check-in that wrote `seen`.
    pub(crate) seen: u8,
    /// Highest epoch given so far. Only a promise reads it.
    pub(crate) last_epoch: u8,
    /// End of the last URL, in ticks, as the device was told, and as S3 sees it.
    pub(crate) url_told: u8,
    pub(crate) url_ends: u8,
}

/// Gate of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) enum Gate {
    #[default]
    Open,
    Paused,
    Stopped,
}

/// Part of the limits that one shard has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Caps {
    /// Part of `max_in_flight`.
    pub(crate) places: i8,
    /// Part of `max_devices`.
    pub(crate) devices: i8,
    /// Part of `max_per_period`.
    pub(crate) per_period: i8,
}

/// Shard item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Shard {
    pub(crate) gate: Gate,
    pub(crate) generation: u8,
    /// `places` is in the campaign's record; it stands here for the promises.
    pub(crate) caps: Caps,
    pub(crate) used: i8,
    pub(crate) granted: i8,
    pub(crate) ceiling: i8,
    /// `w` and `wused`: the period that is counted, and its grants.
    pub(crate) period: u8,
    pub(crate) period_used: i8,
    /// Counting number, `cn`.
    pub(crate) number: u8,
    /// Whole `max_in_flight` of this generation. Only a promise reads it.
    pub(crate) limit: i8,
    /// `granted` before the last grant: the value of an eventually consistent read.
    pub(crate) granted_before: i8,
}

/// State of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Campaign {
    Open,
    Paused,
    Held,
    Aborted,
}

/// Change that an operator or the service wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Wish {
    /// Another `max_in_flight`. `0` splits the present limits again.
    Edit(i8),
    /// Resume after a pause.
    Resume,
    /// Count again with a new counting number, after records of the stream were lost.
    Repair,
    Pause,
    Hold,
    Abort,
}

impl Wish {
    /// Order of force: abort > hold > pause > edit.
    pub(crate) fn force(self) -> u8 {
        match self {
            Self::Edit(_) | Self::Resume | Self::Repair => 1,
            Self::Pause => 2,
            Self::Hold => 3,
            Self::Abort => 4,
        }
    }

    pub(crate) fn is_stop(self) -> bool {
        self.force() > 1
    }

    /// Gate of a shard that is shut for the wish.
    pub(crate) fn gate(self) -> Gate {
        if self.is_stop() { Gate::Stopped } else { Gate::Paused }
    }

    /// State of the campaign when the wish is recorded.
    pub(crate) fn leads_to(self) -> Campaign {
        match self {
            Self::Edit(_) | Self::Resume | Self::Repair => Campaign::Open,
            Self::Pause => Campaign::Paused,
            Self::Hold => Campaign::Held,
            Self::Abort => Campaign::Aborted,
        }
    }
}

/// `wanted` of a campaign's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) wish: Wish,
    pub(crate) generation: u8,
}

/// Record of the campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) generation: u8,
    pub(crate) state: Campaign,
    pub(crate) limit: i8,
    /// `alloc`: caps by shard.
    pub(crate) caps: [Caps; SHARDS],
    /// Period for which the caps were split.
    pub(crate) period: u8,
    /// Counting number whose places count.
    pub(crate) number: u8,
    /// Last counting number that a repair took.
    pub(crate) last_number: u8,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) needs_recount: bool,
}

/// Sums over records of the stream. A tally item, one record's effect, and a sum of tallies have this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Tally {
    /// `rel`: places that came free, by counting number and shard.
    pub(crate) released: [[i8; SHARDS]; NUMBERS],
    /// `gr`: grants, by shard. Counted only in scopes with a headroom.
    pub(crate) granted: [i8; SHARDS],
    /// Mature devices that are proved. Counted only in scopes with a ramp.
    pub(crate) mature: i8,
    /// `out`: claims by bucket.
    pub(crate) buckets: [i8; BUCKETS.len()],
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        for (sums, more) in self.released.iter_mut().zip(&other.released) {
            add(sums, more);
        }
        add(&mut self.granted, &other.granted);
        self.mature += other.mature;
        add(&mut self.buckets, &other.buckets);
    }

    /// Devices whose trial failed: what the health gate reads.
    pub(crate) fn failures(&self) -> i8 {
        self.buckets[Bucket::Failed as usize] + self.buckets[Bucket::Reverted as usize]
    }
}

fn add(sums: &mut [i8], more: &[i8]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

/// The tally `!base`, into which old tallies are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Base {
    pub(crate) sums: Tally,
    /// `folded`: the first stream shard's tally is in the sums.
    pub(crate) has_folded: bool,
}

/// Catalog: whether it offers the campaign, and the generation that check-ins decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Catalog {
    pub(crate) offers: bool,
    pub(crate) generation: u8,
}

/// Head of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Head {
    pub(crate) revision: u8,
    pub(crate) catalog: Catalog,
    /// The campaign is in the list of halted campaigns.
    pub(crate) has_halted: bool,
    /// Flag of a product stop.
    pub(crate) is_stopped: bool,
}

pub(crate) const NO_DEVICES: [Device; DEVICES] =
    [Device { claim: None, revision: 0, seen: 0, last_epoch: 0, url_told: 0, url_ends: 0 }; DEVICES];

//! Guards: conditions of the storage protocol. Each can be removed from the store in memory, to see which promise
//! breaks without it.

use crate::named::named;

named! {
    /// A condition of the storage protocol.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    Guard {
        /// A first claim is put only where there is none
        ClaimIsNew = "claim-is-new",
        /// A further claim replaces only the one that was read
        ClaimIsTheOneThatEnded = "claim-is-the-one-that-ended",
        /// A grant finds the device at the revision that was read
        RevisionAtGrant = "revision-at-grant",
        /// `used < cap` at a grant
        Devices = "devices",
        /// `granted < ceiling` at a grant
        InFlight = "in-flight",
        /// `wused < wcap` at a grant
        Period = "period",
        /// The shard's gate is open at a grant
        Gate = "gate",
        /// The grant is for the generation of the shard
        Generation = "generation",
        /// A claim moves only as it was read
        SettleOnce = "settle-once",
        /// A claim moves only with the number of changes that was read, not only its epoch
        ClaimAsRead = "claim-as-read",
        /// A device is lost only while its record has the time that was read
        SeenAsReadForLost = "seen-as-read-for-lost",
        /// Shards are shut before a stop is acknowledged
        Fence = "fence",
        /// All shards are shut before a stop is acknowledged, and not only the first
        EveryShardIsShut = "every-shard-is-shut",
        /// A ceiling is only raised
        CeilingIsRaised = "ceiling-is-raised",
        /// A ceiling is raised only for the shard's generation
        CeilingOfGeneration = "ceiling-of-generation",
        /// A shard is opened only if it is paused for the same generation
        OpenIfPaused = "open-if-paused",
        /// A tally is written only at the position that was read
        PositionAsRead = "position-as-read",
        /// A change is wanted only over the one that was read
        WantedAsRead = "wanted-as-read",
        /// A record is written only while the change that it ends is wanted
        WantedIsMine = "wanted-is-mine",
        /// A stop puts its version into the head before it shuts a shard
        HeadNamesStopped = "head-names-stopped",
        /// Nothing is opened while the whole product is stopped
        OpenUnlessStopped = "open-unless-stopped",
        /// A catalog is put in force only over an older one
        CatalogIsNewer = "catalog-is-newer",
    }
}

impl Guard {
    /// The guard of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|guard| guard.name() == name)
    }
}

//! Scope: the size of a search, and the parts of the protocol that it has.

use super::device::Event;
use super::rows::Wish;

/// A limit that no search reaches.
pub(crate) const NO_LIMIT: i8 = 9;

/// Bounds of one search. The search is complete within them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) devices: u8,
    /// `max_in_flight`, split over two shards.
    pub(crate) places: i8,
    pub(crate) max_devices: i8,
    pub(crate) most_attempts: u8,
    /// Events in the life of a claim.
    pub(crate) events: &'static [Event],
    /// A writer may read, and write at any later time.
    pub(crate) has_slow_writer: bool,
    /// Number of writes that are sent twice, or that land late.
    pub(crate) duplicates: u8,
    /// Largest number of stream records that wait in a stream shard. `0` for as many as there is room for.
    pub(crate) most_waiting: u8,
    /// A further attempt may take any shard.
    pub(crate) may_move: bool,
    pub(crate) streams: u8,
    /// The stream shard splits into itself and a child.
    pub(crate) stream_splits: bool,
    /// Limits that operators set, one after another.
    pub(crate) edits: &'static [i8],
    /// Stops that may be wanted, each once.
    pub(crate) stops: &'static [Wish],
    pub(crate) resumes: u8,
    pub(crate) most_generations: u8,
    /// The product may be stopped and resumed.
    pub(crate) has_product_stop: bool,
    /// Records that wait may be lost; the campaign is then repaired.
    pub(crate) loses_records: bool,
    pub(crate) repairs: bool,
    /// The tally of a closed stream shard is folded, and readers read item by item.
    pub(crate) folds: bool,
    /// Largest number of grants of a shard that are not counted. `NO_LIMIT` counts no grants.
    pub(crate) headroom: i8,
    /// Places for each mature device. `0`: places do not grow.
    pub(crate) ramp: i8,
    /// Number of failed devices at which the health gate holds.
    pub(crate) hold_at: i8,
    pub(crate) last_tick: u8,
    /// `max_per_period`, and the length of a period. `0` ticks: no periods.
    pub(crate) per_period: i8,
    pub(crate) period_ticks: u8,
    /// Ticks after which a silent device is overdue. `0`: a device may be lost at any time.
    pub(crate) allowed_ticks: u8,
    /// Length of a reservation. `0`: claims do not end.
    pub(crate) claim_ticks: u8,
    /// Check-ins go by the head and sign URLs.
    pub(crate) has_head: bool,
    /// Ticks between the wish to stop and its acknowledgement.
    pub(crate) wait_ticks: u8,
    /// Number of catalogs that are compiled.
    pub(crate) compiles: u8,
}

/// One shard each of two, one place each, two attempts: the bounds on which the others are built.
pub(crate) const BASE: Scope = Scope {
    devices: 2,
    places: 2,
    max_devices: NO_LIMIT,
    most_attempts: 2,
    events: &[Event::Failure],
    has_slow_writer: false,
    duplicates: 0,
    most_waiting: 2,
    may_move: false,
    streams: 1,
    stream_splits: false,
    edits: &[],
    stops: &[],
    resumes: 0,
    most_generations: 4,
    has_product_stop: false,
    loses_records: false,
    repairs: false,
    folds: false,
    headroom: NO_LIMIT,
    ramp: 0,
    hold_at: NO_LIMIT,
    last_tick: 0,
    per_period: NO_LIMIT,
    period_ticks: 0,
    allowed_ticks: 0,
    claim_ticks: 0,
    has_head: false,
    wait_ticks: 0,
    compiles: 0,
};

use Event::{Back, Failure, ForeignVersion, Forget, FreePlace, NewVersion, OldVersion, Silence, Success};

pub(crate) const FAIL: Scope = Scope { devices: 3, has_slow_writer: true, duplicates: 1, ..BASE };
pub(crate) const FAIL1: Scope = Scope { places: 1, has_slow_writer: true, duplicates: 1, most_waiting: 3, ..BASE };
pub(crate) const FAIL0: Scope = Scope { places: 1, ..BASE };
pub(crate) const PROOF: Scope =
    Scope { places: 1, events: &[Success, NewVersion, OldVersion, Failure], has_slow_writer: true, ..BASE };
pub(crate) const LOST: Scope =
    Scope { places: 1, events: &[Silence, Back, Failure, FreePlace], has_slow_writer: true, ..BASE };
/// Everything at once, for random walks.
pub(crate) const EVERYTHING: Scope = Scope {
    devices: 3,
    places: 4,
    most_attempts: 3,
    events: &[Success, Failure, NewVersion, OldVersion, ForeignVersion, Silence, Back, FreePlace],
    has_slow_writer: true,
    duplicates: 3,
    most_waiting: 3,
    may_move: true,
    streams: 2,
    edits: &[2, 3],
    stops: &[Wish::Pause, Wish::Abort],
    resumes: 1,
    most_generations: 9,
    headroom: 2,
    ..BASE
};
/// One device whose place is freed, and a success after its failure.
pub(crate) const LOST1: Scope = Scope { devices: 1, events: &[Silence, Back, Failure, FreePlace, Success], ..LOST };
pub(crate) const LOST2: Scope = Scope {
    events: &[Silence, OldVersion, Success, NewVersion, FreePlace],
    has_slow_writer: true,
    most_waiting: 1,
    ..BASE
};
pub(crate) const LEFT: Scope = Scope { places: 1, events: &[ForeignVersion, Success, Failure], duplicates: 1, ..BASE };
pub(crate) const MOVE: Scope = Scope { has_slow_writer: true, duplicates: 1, may_move: true, ..BASE };
pub(crate) const MOVE3: Scope = Scope { devices: 3, may_move: true, ..BASE };
pub(crate) const MOVE0: Scope = Scope { may_move: true, ..BASE };
pub(crate) const TWO: Scope = Scope { devices: 3, duplicates: 1, streams: 2, ..BASE };
pub(crate) const SPLIT: Scope = Scope { events: &[Failure, NewVersion], streams: 2, stream_splits: true, ..BASE };
pub(crate) const USED: Scope =
    Scope { devices: 3, places: 4, max_devices: 2, has_slow_writer: true, duplicates: 1, most_waiting: 1, ..BASE };
pub(crate) const STOP: Scope = Scope {
    devices: 3,
    most_attempts: 1,
    has_slow_writer: true,
    duplicates: 1,
    most_waiting: 1,
    stops: &[Wish::Abort],
    ..BASE
};
pub(crate) const STOP2: Scope = Scope { devices: 2, most_attempts: 2, ..STOP };
pub(crate) const DOWN: Scope = Scope { duplicates: 1, edits: &[1], ..BASE };
pub(crate) const DOWN0: Scope = Scope { has_slow_writer: true, edits: &[1], ..BASE };
pub(crate) const DOWN1: Scope = Scope { most_attempts: 1, most_waiting: 1, ..DOWN };
pub(crate) const DOWNS: Scope =
    Scope { devices: 3, most_attempts: 1, has_slow_writer: true, most_waiting: 1, edits: &[1], ..BASE };
pub(crate) const UP: Scope =
    Scope { devices: 3, places: 1, most_attempts: 1, duplicates: 1, most_waiting: 1, edits: &[2], ..BASE };
pub(crate) const BOTH: Scope =
    Scope { most_attempts: 1, has_slow_writer: true, most_waiting: 1, edits: &[1], stops: &[Wish::Abort], ..BASE };
pub(crate) const BOTHG: Scope = Scope { has_slow_writer: false, duplicates: 1, ..BOTH };
pub(crate) const UEDIT: Scope = Scope {
    devices: 3,
    places: NO_LIMIT,
    max_devices: 2,
    most_attempts: 1,
    events: &[],
    has_slow_writer: true,
    duplicates: 1,
    most_waiting: 0,
    edits: &[NO_LIMIT],
    ..BASE
};
pub(crate) const FORGET: Scope = Scope { places: 1, max_devices: 3, events: &[Failure, Forget], duplicates: 1, ..BASE };
/// A slow writer instead of the duplicate: a grant or a report of an attempt that was forgotten.
pub(crate) const FORGET_SLOW: Scope = Scope { has_slow_writer: true, duplicates: 0, most_waiting: 1, ..FORGET };
pub(crate) const TRIM: Scope =
    Scope { places: 1, max_devices: 3, events: &[Failure, NewVersion], duplicates: 1, loses_records: true, ..BASE };

/// Stops of different force and an edit, in every order.
pub(crate) const FORCE: Scope =
    Scope { stops: &[Wish::Pause, Wish::Abort], most_generations: 5, duplicates: 1, has_slow_writer: false, ..BOTH };
/// The same without late writes.
pub(crate) const FORCE0: Scope = Scope { duplicates: 0, ..FORCE };
/// A pause, and the resume after it.
pub(crate) const RESUME: Scope = Scope {
    most_attempts: 1,
    most_waiting: 1,
    duplicates: 1,
    stops: &[Wish::Pause],
    resumes: 1,
    most_generations: 5,
    ..BASE
};
/// A product stop, an opening under it, and `resume-stopped`.
pub(crate) const PRODUCT: Scope =
    Scope { has_product_stop: true, devices: 1, most_generations: 6, resumes: 2, ..RESUME };
/// The health gate holds at the first failure.
pub(crate) const VERDICT: Scope =
    Scope { devices: 3, most_attempts: 1, duplicates: 1, most_waiting: 2, hold_at: 1, ..BASE };
pub(crate) const VERDICT_EDIT: Scope = Scope { duplicates: 0, edits: &[2], ..VERDICT };
/// A hold, a pause and an edit, in every order.
pub(crate) const VERDICT_PAUSE: Scope = Scope { stops: &[Wish::Pause], most_waiting: 1, ..VERDICT_EDIT };
/// No limit, and one grant of a shard that is not counted.
pub(crate) const HEADROOM: Scope =
    Scope { devices: 3, places: NO_LIMIT, most_attempts: 1, duplicates: 1, most_waiting: 2, headroom: 1, ..BASE };
pub(crate) const HEADROOM_EDIT: Scope = Scope { places: 2, edits: &[3], most_waiting: 1, duplicates: 0, ..HEADROOM };
/// Mature devices add places: two for the first one.
pub(crate) const RAMP: Scope = Scope {
    devices: 3,
    places: 1,
    most_attempts: 1,
    events: &[NewVersion, Event::Ripeness, OldVersion, Failure],
    most_waiting: 2,
    ramp: 2,
    ..BASE
};
pub(crate) const RAMP_EDIT: Scope = Scope { most_waiting: 1, edits: &[1], ..RAMP };
/// Two grants a period, with clocks that are late; a further attempt counts too.
pub(crate) const PERIOD: Scope = Scope {
    devices: 3,
    places: 4,
    most_attempts: 2,
    most_waiting: 1,
    has_slow_writer: true,
    last_tick: 2,
    per_period: 2,
    period_ticks: 1,
    ..BASE
};
/// Limits are split again while a period ends.
pub(crate) const PERIOD_EDIT: Scope = Scope {
    devices: 3,
    places: 6,
    most_attempts: 1,
    events: &[],
    most_waiting: 0,
    last_tick: 1,
    per_period: 2,
    period_ticks: 1,
    edits: &[6, 6],
    ..BASE
};
/// A device is overdue after one silent tick.
pub(crate) const SILENT: Scope = Scope {
    devices: 1,
    places: 1,
    events: &[Silence, Back, Failure, FreePlace],
    has_slow_writer: true,
    last_tick: 5,
    allowed_ticks: 1,
    ..BASE
};
/// Check-ins with heads of the last tick, around a stop.
pub(crate) const HEAD: Scope = Scope {
    devices: 1,
    places: 1,
    most_attempts: 1,
    events: &[],
    stops: &[Wish::Abort],
    last_tick: 2,
    has_head: true,
    wait_ticks: 2,
    compiles: 2,
    ..BASE
};
pub(crate) const HEAD_RESUME: Scope =
    Scope { stops: &[Wish::Pause], resumes: 1, most_generations: 5, compiles: 1, ..HEAD };
/// A pause, a resume, and an abort after it, for random walks.
pub(crate) const HEAD_AGAIN: Scope =
    Scope { stops: &[Wish::Pause, Wish::Abort], last_tick: 4, compiles: 2, ..HEAD_RESUME };
/// The age of a head is enough when it is checked again before a URL is signed. Otherwise the acknowledgement also waits
/// for the deadline of a check-in.
pub(crate) const HEAD_DEADLINE: Scope = Scope { last_tick: 3, wait_ticks: 3, compiles: 1, ..HEAD };
/// Two devices, failures and further attempts under heads.
pub(crate) const HEAD2: Scope =
    Scope { devices: 2, places: 2, events: &[Event::Failure], most_waiting: 1, compiles: 1, ..HEAD };
pub(crate) const HEAD_PRODUCT: Scope =
    Scope { stops: &[], has_product_stop: true, compiles: 1, resumes: 1, most_generations: 5, ..HEAD };
/// Reservations that end, and the URLs of their devices.
pub(crate) const URLS: Scope = Scope {
    devices: 1,
    places: 1,
    most_attempts: 3,
    events: &[Failure, Silence],
    most_waiting: 2,
    last_tick: 6,
    claim_ticks: 3,
    has_head: true,
    ..BASE
};
/// A stream shard that was closed is folded while a reader is under way.
pub(crate) const FOLD: Scope = Scope { folds: true, streams: 2, stream_splits: true, places: 1, ..BASE };
/// Records are lost for good, and the campaign is repaired.
pub(crate) const REPAIR: Scope = Scope {
    most_attempts: 2,
    most_waiting: 1,
    duplicates: 1,
    loses_records: true,
    repairs: true,
    most_generations: 2,
    ..BASE
};
/// A slow writer instead of the late write.
pub(crate) const REPAIR_SLOW: Scope = Scope { has_slow_writer: true, duplicates: 0, ..REPAIR };
/// Claims are forgotten during a repair.
pub(crate) const REPAIR_FORGET: Scope = Scope { events: &[Event::Forget], most_attempts: 1, max_devices: 3, ..REPAIR };
/// Slow writers and late writes, where the scopes of the mutants have none.
pub(crate) const HEAD_LATE: Scope = Scope { duplicates: 1, ..HEAD };
pub(crate) const PERIOD_EDIT_LATE: Scope = Scope { has_slow_writer: true, duplicates: 1, ..PERIOD_EDIT };
pub(crate) const FOLD_LATE: Scope = Scope { has_slow_writer: true, duplicates: 1, ..FOLD };

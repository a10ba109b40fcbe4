//! Model of the storage protocol: a set of small steps. Any possible step may be the next one.
//!
//! A step is an atomic action of the code: one read, or one write with its conditions. Between two steps of a function
//! other steps may happen, the function may stop for ever, and a write may be sent twice or land late. The conditions
//! are those of the expressions in DynamoDB; `mutants` names each of them.

pub(crate) mod change;
pub(crate) mod count;
pub(crate) mod device;
pub(crate) mod fold;
pub(crate) mod head;
pub(crate) mod late;
pub(crate) mod mutants;
pub(crate) mod promises;
pub(crate) mod repair;
pub(crate) mod rows;
pub(crate) mod scope;
pub(crate) mod shard;
pub(crate) mod stop;

use stateright::{Model, Property};

use change::Change;
use count::{Run, Stream};
use device::{Attempt, Clock, Event, Settle};
use head::{Cache, Compile, Visit};
use late::{Fate, Late};
use mutants::{Mutant, Mutants};
use promises::Promise;
use rows::{Base, Campaign, Catalog, Claim, Device, Head, Record, Shard, Wish};
use scope::{NO_LIMIT, Scope};
use stop::Stop;

/// Largest number of devices.
pub(crate) const DEVICES: usize = 3;
/// Number of shards of the campaign.
pub(crate) const SHARDS: usize = 2;
/// Largest number of shards of the stream.
pub(crate) const STREAMS: usize = 2;
/// Largest number of counting numbers.
pub(crate) const NUMBERS: usize = 3;
/// Number of periods that a search can reach.
const PERIODS: usize = 3;

/// Model of one campaign with its devices, functions and operators.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) scope: Scope,
    pub(crate) mutants: Mutants,
    /// Promises that the search checks.
    pub(crate) promises: &'static [Promise],
    /// World that must be reachable, so that the promises are not empty.
    pub(crate) goal: Option<fn(&World) -> bool>,
}

/// State of the model: stored items, functions at work, and the facts that the promises need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// True time, in ticks.
    pub(crate) clock: u8,
    pub(crate) devices: [Device; DEVICES],
    pub(crate) shards: [Shard; SHARDS],
    pub(crate) record: Record,
    pub(crate) head: Head,
    pub(crate) streams: [Stream; STREAMS],
    pub(crate) base: Base,
    /// The one who carries an edit on: the operator's request or the sweep.
    pub(crate) change: Option<Change>,
    /// A writer that has read and has not written.
    pub(crate) slow: Option<Slow>,
    /// A write that is under way although its sender went on.
    pub(crate) late: Option<Late>,
    pub(crate) visit: Option<Visit>,
    pub(crate) cache: Option<Cache>,
    /// Compiles at work, in a fixed order.
    pub(crate) compiles: [Option<Compile>; 2],
    pub(crate) duplicates_left: u8,
    pub(crate) edits_done: u8,
    /// Stops of the scope that were wanted, as bits.
    pub(crate) stops_done: u8,
    pub(crate) resumes_left: u8,
    pub(crate) compiles_left: u8,
    /// The strongest stop of the campaign.
    pub(crate) stop: Stop,
    pub(crate) product_stop: Stop,
    /// The product may still be stopped.
    pub(crate) can_stop_product: bool,
    pub(crate) has_split: bool,
    pub(crate) has_lost_records: bool,
    /// Number of grants, by the period that counted them.
    pub(crate) grants_in: [i8; PERIODS],
    /// Most devices that were proved and mature at once. Only promises read it.
    pub(crate) most_mature: i8,
    /// Promise that the last step broke.
    pub(crate) broken: Option<Promise>,
}

/// Slow writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Slow {
    Grant(Attempt),
    Settle(Settle),
}

/// Possible next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Tick,
    /// A check-in reads the device and the shard, and grants.
    CheckIn {
        device: u8,
        shard: u8,
        clock: Clock,
        fate: Fate,
    },
    /// The same, but the grant is sent later.
    SlowCheckIn {
        device: u8,
        shard: u8,
        clock: Clock,
    },
    /// A report, a check-in or the sweep reads the claim and writes it.
    Settle {
        device: u8,
        event: Event,
        fate: Fate,
    },
    /// The same, but the write is sent later.
    SlowSettle {
        device: u8,
        event: Event,
    },
    SlowWriterWrites,
    SlowWriterDies,
    LateWriteLands,
    LateWriteIsLost,

    /// `count` adds records to its tally, up to the given number.
    CountTallies {
        stream: usize,
        records: u8,
        fate: Fate,
    },
    CountReadsSums {
        stream: usize,
        view: View,
    },
    CountReadsTallies {
        stream: usize,
    },
    CountReadsBase {
        stream: usize,
    },
    CountHolds {
        stream: usize,
    },
    CountRaises {
        stream: usize,
        shard: usize,
        fate: Fate,
    },
    CountAcknowledges {
        stream: usize,
    },
    CountDies {
        stream: usize,
    },
    RecordsAreLost {
        stream: usize,
    },
    StreamShardSplits,
    TallyIsFolded,

    SweepRaises {
        shard: usize,
    },
    SweepHolds,
    SweepSplitsAgain,
    SweepGoesOnOpening,
    OperatorWants(Wish),
    Shut {
        shard: usize,
        fate: Fate,
    },
    StopIsRecorded,
    StopIsAcknowledged,
    ProductIsStopped,
    ProductStopPauses,
    ProductStopIsAcknowledged,
    ProductIsResumed,
    ChangeReadsTallies,
    ChangeSplits {
        view: View,
        clock: Clock,
    },
    ChangeIsRecorded {
        fate: Fate,
    },
    ChangeIsRefused,
    ChangeOpens {
        shard: usize,
        fate: Fate,
    },
    ChangeDies,
    RepairTakesANumber,
    RepairReads {
        device: u8,
    },
    RepairStamps {
        fate: Fate,
    },
    RepairNumbers {
        shard: usize,
        fate: Fate,
    },

    DeviceArrives {
        device: u8,
    },
    FunctionAsksForTheHead,
    HeadReplyArrives,
    VisitDecides {
        shard: u8,
        clock: Clock,
    },
    VisitGrants,
    VisitSigns {
        clock: Clock,
    },
    VisitEnds,
    CompileReadsHead {
        compile: usize,
    },
    CompileReadsRecords {
        compile: usize,
    },
    CompilePublishes {
        compile: usize,
    },
}

/// What an eventually consistent read may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Now,
    /// As it was before the last write.
    Before,
}

/// A number of the model, in its stored form.
pub(crate) fn small(number: usize) -> u8 {
    u8::try_from(number).expect("searches are small")
}

impl World {
    fn at_start(scope: &Scope) -> Self {
        let places = shard::split(scope.places, [0, 0]);
        let devices = shard::split(scope.max_devices, [0, 0]);
        let per_period = shard::split(scope.per_period, [0, 0]);
        let caps = [0, 1].map(|at| rows::Caps { places: places[at], devices: devices[at], per_period: per_period[at] });
        let shards = caps.map(|caps| Shard {
            generation: 1,
            caps,
            ceiling: caps.places.min(scope.headroom),
            limit: scope.places,
            ..Shard::default()
        });
        let catalog = Catalog { offers: true, generation: 1 };
        Self {
            clock: 0,
            devices: rows::NO_DEVICES,
            shards,
            record: Record {
                generation: 1,
                state: Campaign::Open,
                limit: scope.places,
                caps,
                period: 0,
                number: 0,
                last_number: 0,
                wanted: None,
                needs_recount: false,
            },
            head: Head { revision: 0, catalog, has_halted: false, is_stopped: false },
            streams: [Stream::default(); STREAMS],
            base: Base::default(),
            change: None,
            slow: None,
            late: None,
            visit: None,
            cache: None,
            compiles: [None; 2],
            duplicates_left: scope.duplicates,
            edits_done: 0,
            stops_done: 0,
            resumes_left: scope.resumes,
            compiles_left: scope.compiles,
            stop: Stop::None,
            product_stop: Stop::None,
            can_stop_product: scope.has_product_stop,
            has_split: false,
            has_lost_records: false,
            grants_in: [0; PERIODS],
            most_mature: 0,
            broken: None,
        }
    }

    /// Places that are held on each shard, by the claims.
    pub(crate) fn held(&self) -> [i8; SHARDS] {
        let mut held = [0; SHARDS];
        for device in &self.devices {
            if let Some((shard, _)) = rows::part(device.claim.as_ref()).place {
                held[usize::from(shard)] += 1;
            }
        }
        held
    }

    pub(crate) fn claim(&self, device: u8) -> Option<Claim> {
        self.devices[usize::from(device)].claim
    }

    /// Swaps the names of two devices that are interchangeable.
    fn swap(&mut self, one: u8, other: u8) {
        self.devices.swap(usize::from(one), usize::from(other));
        let rename = |device: &mut u8| {
            if *device == one {
                *device = other;
            } else if *device == other {
                *device = one;
            }
        };
        self.slow.iter_mut().for_each(|slow| rename(slow.device_mut()));
        self.late.iter_mut().filter_map(Late::device_mut).for_each(rename);
        self.visit.iter_mut().for_each(|visit| {
            rename(&mut visit.device);
            visit.attempt.iter_mut().for_each(|attempt| rename(&mut attempt.device));
        });
    }

    /// All that concerns a device, without its name.
    fn of_device(&self, device: u8) -> (Device, Option<Slow>, Option<Late>, Option<Visit>) {
        let slow = self.slow.filter(|slow| slow.device() == device).map(|mut slow| {
            *slow.device_mut() = 0;
            slow
        });
        let late = self.late.filter(|late| late.device() == Some(device)).map(|mut late| {
            late.device_mut().into_iter().for_each(|device| *device = 0);
            late
        });
        let visit = self.visit.filter(|visit| visit.device == device).map(Visit::without_name);
        (self.devices[usize::from(device)], slow, late, visit)
    }
}

impl Slow {
    fn device(&self) -> u8 {
        match self {
            Self::Grant(attempt) => attempt.device,
            Self::Settle(settle) => settle.device,
        }
    }

    fn device_mut(&mut self) -> &mut u8 {
        match self {
            Self::Grant(attempt) => &mut attempt.device,
            Self::Settle(settle) => &mut settle.device,
        }
    }
}

impl Protocol {
    pub(crate) fn keeps(&self, condition: Mutant) -> bool {
        self.mutants.keep(condition)
    }

    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutants.has(mutant)
    }

    pub(crate) fn counts_grants(&self) -> bool {
        self.scope.headroom < NO_LIMIT
    }

    /// Puts interchangeable devices into a fixed order, so that worlds that differ only in their names are equal.
    fn in_order(&self, world: &mut World) {
        if self.scope.repairs {
            return;
        }
        let pairs: &[(u8, u8)] = match (self.scope.devices, self.scope.streams) {
            (2, 1) => &[(0, 1)],
            (2, _) if self.scope.stream_splits => &[(0, 1)],
            (3, 1) => &[(0, 1), (1, 2), (0, 1)],
            (3, _) if self.scope.stream_splits => &[(0, 1), (1, 2), (0, 1)],
            // A device stays on its stream shard.
            (3, _) => &[(0, 2)],
            _ => &[],
        };
        for (one, other) in pairs {
            if world.of_device(*other) < world.of_device(*one) {
                world.swap(*one, *other);
            }
        }
    }

    /// The world after `step`; `None` if the step is refused or changes nothing.
    fn after(&self, before: &World, step: Step) -> Option<World> {
        let mut world = *before;
        self.take(&mut world, step)?;
        self.check_step(before, &mut world);
        self.in_order(&mut world);
        Some(world)
    }

    fn take(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::Tick => world.clock += 1,
            Step::CheckIn { .. }
            | Step::SlowCheckIn { .. }
            | Step::Settle { .. }
            | Step::SlowSettle { .. }
            | Step::SlowWriterWrites
            | Step::SlowWriterDies => self.device_step(world, step)?,
            Step::LateWriteLands => {
                let late = world.late.take()?;
                self.land(world, late)?;
            }
            Step::LateWriteIsLost => world.late = None,
            Step::CountTallies { .. }
            | Step::CountReadsSums { .. }
            | Step::CountHolds { .. }
            | Step::CountRaises { .. }
            | Step::CountAcknowledges { .. }
            | Step::CountDies { .. }
            | Step::RecordsAreLost { .. }
            | Step::SweepRaises { .. }
            | Step::SweepHolds => self.count_step(world, step)?,
            Step::CountReadsTallies { .. }
            | Step::CountReadsBase { .. }
            | Step::StreamShardSplits
            | Step::TallyIsFolded => self.fold_step(world, step)?,
            Step::OperatorWants(_)
            | Step::Shut { .. }
            | Step::StopIsRecorded
            | Step::StopIsAcknowledged
            | Step::ProductIsStopped
            | Step::ProductStopPauses
            | Step::ProductStopIsAcknowledged
            | Step::ProductIsResumed => self.stop_step(world, step)?,
            Step::SweepSplitsAgain
            | Step::SweepGoesOnOpening
            | Step::ChangeReadsTallies
            | Step::ChangeSplits { .. }
            | Step::ChangeIsRecorded { .. }
            | Step::ChangeIsRefused
            | Step::ChangeOpens { .. }
            | Step::ChangeDies => self.change_step(world, step)?,
            Step::RepairTakesANumber
            | Step::RepairReads { .. }
            | Step::RepairStamps { .. }
            | Step::RepairNumbers { .. } => self.repair_step(world, step)?,
            Step::DeviceArrives { .. }
            | Step::FunctionAsksForTheHead
            | Step::HeadReplyArrives
            | Step::VisitDecides { .. }
            | Step::VisitGrants
            | Step::VisitSigns { .. }
            | Step::VisitEnds
            | Step::CompileReadsHead { .. }
            | Step::CompileReadsRecords { .. }
            | Step::CompilePublishes { .. } => self.head_step(world, step)?,
        }
        Some(())
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::at_start(&self.scope)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.broken.is_some() {
            return;
        }
        if world.clock < self.scope.last_tick {
            steps.push(Step::Tick);
        }
        if world.late.is_some() {
            steps.extend([Step::LateWriteIsLost, Step::LateWriteLands]);
        }
        self.device_steps(world, steps);
        self.count_steps(world, steps);
        self.fold_steps(world, steps);
        self.stop_steps(world, steps);
        self.change_steps(world, steps);
        self.repair_steps(world, steps);
        self.head_steps(world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        self.after(world, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let goal = self.goal.map(|_| {
            Property::sometimes("the goal is reached", |protocol: &Self, world| {
                protocol.goal.is_some_and(|goal| goal(world))
            })
        });
        self.promises.iter().map(|promise| promise.property()).chain(goal).collect()
    }
}

/// `true` if a count invocation is at work.
pub(crate) fn is_counting(world: &World) -> bool {
    world.streams.iter().any(|stream| stream.run != Run::None)
}

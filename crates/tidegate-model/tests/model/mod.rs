//! Model of the reservation protocol: a set of small steps. Any possible step may be the next one.
//!
//! A step is an atomic action of the code: one read, or one write with its conditions. Between two steps of a request
//! other steps may happen, the request may stop for ever, and a write may succeed without a reply. If a rule is a
//! function of `tidegate_core`, the step calls it. The conditions of storage transactions are repeated here, with the
//! name of the function that sends them.

pub(crate) mod change;
pub(crate) mod check_in;
pub(crate) mod design;
pub(crate) mod promises;
pub(crate) mod rows;
pub(crate) mod scope;
pub(crate) mod settle;
pub(crate) mod wrong;

use stateright::{Model, Property};
use tidegate_core::lifecycle::State;

use change::{Change, ChangeKind, ChangeStep};
use design::Design;
use rows::{Caps, Claim, Door, End, Period, Record, Shard};
use scope::Scope;

/// Largest number of devices.
pub(crate) const DEVICES: usize = 3;
/// Number of shards of the rollout.
pub(crate) const SHARDS: usize = 2;
/// Number of periods that a search can reach.
const PERIODS: usize = 8;

/// Model of one rollout with its devices, functions and operators.
#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) scope: Scope,
    pub(crate) design: Design,
}

/// State of the model: stored records, requests in progress, and the facts that the promises need.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// True time, in ticks.
    pub(crate) clock: u8,
    pub(crate) claims: [Option<Claim>; DEVICES],
    pub(crate) shards: [Shard; SHARDS],
    /// Record of the update after each change. Its index is its generation.
    pub(crate) records: Vec<Record>,
    /// Requests in progress, in a fixed order.
    pub(crate) requests: Vec<Request>,
    /// Changes in progress by operators and by the sweep.
    pub(crate) changes: Vec<Change>,
    /// End of the last URL of each device.
    pub(crate) url_ends: [u8; DEVICES],
    /// Number of first grants of each device.
    pub(crate) first_grants: [u8; DEVICES],
    /// Number of grants, by the period that counted them.
    pub(crate) grants_in: [u8; PERIODS],
    /// A grant was committed while the record was paused or aborted.
    pub(crate) granted_while_stopped: bool,
    /// A grant was committed that was decided with another definition than the current one.
    pub(crate) granted_on_other_definition: bool,
}

/// Request of a function for one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) device: u8,
    pub(crate) task: Task,
}

/// Next action of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Task {
    /// The catalog and the device's claim were read. The decision is next.
    Decide { catalog: u8, known: Option<Claim> },
    /// Reservation at one shard.
    Reserve(Reservation),
    /// The claim was read. Its end is written next.
    Settle { before: Claim, end: End },
    /// Mutant: the claim is inserted separately from the count.
    Insert { catalog: u8, claim: Claim, period: Period },
    /// Mutant: the count is written after the claim.
    Increment { catalog: u8, claim: Claim, period: Period },
    /// Mutant: the count is decreased again.
    Undo { shard: u8 },
}

/// `store::Reservation`, without the fields that the model does not need.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reservation {
    pub(crate) catalog: u8,
    pub(crate) previous: Option<Claim>,
    pub(crate) claim: Claim,
    pub(crate) period: Period,
    /// `true` if the other shard was asked before.
    pub(crate) is_last_probe: bool,
}

/// Clock of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Clock {
    True,
    /// Slow by one tick.
    Late,
}

/// Reply of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Arrives,
    /// The write succeeded without a reply, and the caller sends it again.
    IsLost,
}

/// Possible next step of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Tick,
    CheckIn {
        device: u8,
        catalog: u8,
    },
    Report {
        device: u8,
        end: End,
    },
    Sweep {
        device: u8,
    },
    GoOn {
        request: Request,
        clock: Clock,
        reply: Reply,
    },
    /// A function stops, or its reply does not reach the device.
    Crash {
        request: Request,
    },
    BeginChange(ChangeKind),
    GoOnChange {
        change: Change,
        step: ChangeStep,
    },
    CrashChange {
        change: Change,
    },
}

impl World {
    pub(crate) fn record(&self) -> &Record {
        self.records.last().expect("a rollout has a record from the start")
    }

    /// Current generation.
    pub(crate) fn generation(&self) -> u8 {
        u8::try_from(self.records.len() - 1).expect("a search has few changes")
    }

    /// Replaces `request` by its next action. The order is fixed, so that worlds that differ only in the order of requests
    /// are equal.
    pub(crate) fn put(&mut self, request: &Request, next: Option<Task>) {
        let place = self.requests.iter().position(|known| known == request).expect("only what is under way goes on");
        match next {
            Some(task) => self.requests[place].task = task,
            None => drop(self.requests.remove(place)),
        }
        self.requests.sort_unstable();
    }

    fn begin(&mut self, device: u8, task: Task) {
        self.requests.push(Request { device, task });
        self.requests.sort_unstable();
    }

    pub(crate) fn of_device(&self, device: u8) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| request.device == device)
    }
}

impl Model for Rollout {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let allocation = self.scope.split(self.scope.max_devices, [Shard::default(); SHARDS], 0);
        let shard = |caps: Caps| Shard { gate: Door::Open, caps, ..Shard::default() };
        let record = Record {
            state: State::Active,
            max_devices: self.scope.max_devices,
            ceiling: self.scope.max_devices,
            allocation,
        };
        vec![World {
            clock: 0,
            claims: [None; DEVICES],
            shards: allocation.caps.map(shard),
            records: vec![record],
            requests: Vec::new(),
            changes: Vec::new(),
            url_ends: [0; DEVICES],
            first_grants: [0; DEVICES],
            grants_in: [0; PERIODS],
            granted_while_stopped: false,
            granted_on_other_definition: false,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.clock < self.scope.last_tick {
            steps.push(Step::Tick);
        }
        self.beginnings(world, steps);
        for (place, request) in world.requests.iter().enumerate() {
            // Equal requests take the same steps.
            if place > 0 && world.requests[place - 1] == *request {
                continue;
            }
            self.steps_of(request, world, steps);
            steps.push(Step::Crash { request: request.clone() });
        }
        self.changes_to_begin(world, steps);
        for change in &world.changes {
            let next = change.steps().into_iter();
            steps.extend(next.map(|step| Step::GoOnChange { change: change.clone(), step }));
            steps.push(Step::CrashChange { change: change.clone() });
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Tick => {
                world.clock += 1;
                // A URL that has ended is removed, because it has no further effect.
                for end in &mut world.url_ends {
                    *end = if *end > world.clock { *end } else { 0 };
                }
            }
            Step::CheckIn { device, catalog } => {
                let known = world.claims[usize::from(device)];
                world.begin(device, Task::Decide { catalog, known });
            }
            Step::Report { device, end } => world.begin_settling(device, end),
            Step::Sweep { device } => world.begin_settling(device, End::Silence),
            Step::GoOn { request, clock, reply } => self.go_on(&mut world, &request, clock, reply),
            Step::Crash { request } => world.put(&request, None),
            Step::BeginChange(kind) => self.begin_change(&mut world, kind),
            Step::GoOnChange { change, step } => self.go_on_change(&mut world, &change, step),
            Step::CrashChange { change } => world.end_change(&change),
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::of(&self.scope)
    }
}

impl Rollout {
    /// Requests that can begin now.
    fn beginnings(&self, world: &World, steps: &mut Vec<Step>) {
        if world.requests.len() >= self.scope.most_requests {
            return;
        }
        for device in 0..self.scope.devices {
            if world.of_device(device).count() >= self.scope.most_requests_of_a_device {
                continue;
            }
            let oldest = world.generation().saturating_sub(self.scope.catalog_age);
            steps.extend((oldest..=world.generation()).map(|catalog| Step::CheckIn { device, catalog }));
            let Some(claim) = world.claims[usize::from(device)] else {
                continue;
            };
            for end in [End::Success, End::Failure] {
                if self.scope.ends.contains(&end) && settle::settled(&claim, end, world.clock).is_some() {
                    steps.push(Step::Report { device, end });
                }
            }
            if settle::settled(&claim, End::Silence, world.clock).is_some() {
                steps.push(Step::Sweep { device });
            }
        }
    }

    /// Possible next steps of a request. Only a decision reads the clock, and only a write has a reply.
    fn steps_of(&self, request: &Request, world: &World, steps: &mut Vec<Step>) {
        let reads_clock = matches!(request.task, Task::Decide { .. });
        let (clocks, replies): (&[Clock], &[Reply]) = match (reads_clock, world.clock > 0) {
            (true, true) => (&[Clock::True, Clock::Late], &[Reply::Arrives]),
            (true, false) => (&[Clock::True], &[Reply::Arrives]),
            (false, _) => (&[Clock::True], &[Reply::Arrives, Reply::IsLost]),
        };
        for clock in clocks {
            steps.extend(replies.iter().map(|reply| Step::GoOn {
                request: request.clone(),
                clock: *clock,
                reply: *reply,
            }));
        }
    }

    fn go_on(&self, world: &mut World, request: &Request, clock: Clock, reply: Reply) {
        let device = request.device;
        let next = match &request.task {
            Task::Decide { catalog, known } => self.decide(world, device, *catalog, *known, clock),
            Task::Reserve(reservation) => self.reserve(world, device, reservation, reply),
            Task::Settle { before, end } => self.settle(world, device, before, *end, reply),
            Task::Insert { catalog, claim, period } => self.insert(world, device, (*catalog, *claim, *period), reply),
            Task::Increment { catalog, claim, period } => self.increment(world, device, (*catalog, *claim, *period)),
            Task::Undo { shard } => self.undo(world, *shard, reply),
        };
        world.put(request, next);
    }
}

//! Head, catalog and URLs: what a check-in may be offered, and until when.

use super::device::{Attempt, Clock};
use super::mutants::Mutant;
use super::promises::Promise;
use super::rows::{Campaign, Catalog, Claim, Head, State};
use super::{Protocol, Step, World};

/// Ticks for which a head is used.
const HEAD_TICKS: u8 = 1;
/// Ticks after which a check-in signs nothing.
const CHECK_IN_TICKS: u8 = 1;
/// Longest life of a URL.
const URL_TICKS: u8 = 15;
/// Ticks by which a URL ends before its claim, because the sweep's clock may be ahead.
const MARGIN_TICKS: u8 = 1;
/// Tick at which a function's credentials end, and the end of the next ones.
const CREDENTIALS_END: [u8; 2] = [2, 20];

/// A head that a function keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Cache {
    head: Head,
    /// Tick from which its age counts.
    since: u8,
    /// The reply is under way.
    is_under_way: bool,
}

/// A check-in that asks for a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Visit {
    pub(crate) device: u8,
    arrived: u8,
    /// The check-in arrived after a stop was acknowledged.
    is_after_stop: bool,
    stage: VisitStage,
    pub(crate) attempt: Option<Attempt>,
    /// End of the reservation, as read.
    ends: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum VisitStage {
    Decides,
    Grants,
    Signs,
}

/// Compile of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Compile {
    /// Revision of the head, as read.
    revision: Option<u8>,
    catalog: Option<Catalog>,
}

impl Visit {
    /// The check-in has a claim, and its URL is next.
    pub(crate) fn is_signing(&self) -> bool {
        self.stage == VisitStage::Signs
    }

    pub(crate) fn without_name(mut self) -> Self {
        self.device = 0;
        self.attempt.iter_mut().for_each(|attempt| attempt.device = 0);
        self
    }
}

impl Cache {
    /// `true` if the head lets this campaign be offered.
    fn offers(&self) -> bool {
        self.head.catalog.offers && !self.head.has_halted && !self.head.is_stopped
    }
}

fn is_held(claim: &Claim) -> bool {
    claim.has_place && matches!(claim.state, State::Open | State::Installed)
}

impl Protocol {
    fn is_fresh(&self, world: &World, cache: &Cache) -> bool {
        !cache.is_under_way && (world.clock <= cache.since + HEAD_TICKS || self.has(Mutant::HeadAge))
    }

    /// The head that may be used for the visit's next step.
    fn usable(&self, world: &World, visit: &Visit) -> Option<Cache> {
        let at_signing = visit.stage == VisitStage::Signs && self.has(Mutant::HeadAgeAtSigning);
        world.cache.filter(|cache| at_signing || self.is_fresh(world, cache))
    }

    pub(crate) fn head_steps(&self, world: &World, steps: &mut Vec<Step>) {
        if !self.scope.has_head {
            return;
        }
        self.compile_steps(world, steps);
        let Some(visit) = world.visit else {
            steps.extend((0..self.scope.devices).map(|device| Step::DeviceArrives { device }));
            return;
        };
        steps.push(Step::VisitEnds);
        if world.cache.is_some_and(|cache| cache.is_under_way) {
            steps.push(Step::HeadReplyArrives);
        }
        let Some(_) = self.usable(world, &visit) else {
            if visit.stage != VisitStage::Grants && world.cache.is_none_or(|cache| !cache.is_under_way) {
                steps.push(Step::FunctionAsksForTheHead);
            }
            if visit.stage == VisitStage::Grants {
                steps.push(Step::VisitGrants);
            }
            return;
        };
        let clocks = self.clocks(world);
        match visit.stage {
            VisitStage::Decides => {
                let claim = world.claim(visit.device);
                for shard in self.shards_to_ask(claim.as_ref()) {
                    steps.extend(clocks.iter().map(|clock| Step::VisitDecides { shard, clock: *clock }));
                }
            }
            VisitStage::Grants => steps.push(Step::VisitGrants),
            VisitStage::Signs => steps.extend(clocks.iter().map(|clock| Step::VisitSigns { clock: *clock })),
        }
    }

    fn compile_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let head_first = self.keeps(Mutant::CompileReadsHeadFirst);
        for (compile, slot) in world.compiles.iter().enumerate() {
            let may_begin = world.compiles_left > 0 && world.compiles.iter().position(Option::is_none) == Some(compile);
            steps.extend(match slot {
                None if !may_begin => None,
                None if head_first => Some(Step::CompileReadsHead { compile }),
                None => Some(Step::CompileReadsRecords { compile }),
                Some(Compile { revision: None, .. }) => Some(Step::CompileReadsHead { compile }),
                Some(Compile { catalog: None, .. }) => Some(Step::CompileReadsRecords { compile }),
                Some(_) => Some(Step::CompilePublishes { compile }),
            });
        }
    }

    pub(crate) fn head_step(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::DeviceArrives { device } => {
                world.visit = Some(Visit {
                    device,
                    arrived: world.clock,
                    is_after_stop: world.is_stopped(),
                    stage: VisitStage::Decides,
                    attempt: None,
                    ends: 0,
                });
            }
            Step::FunctionAsksForTheHead => {
                // The age counts from before the request is sent.
                world.cache = Some(Cache { head: world.head, since: world.clock, is_under_way: true });
            }
            Step::HeadReplyArrives => {
                let clock = world.clock;
                let cache = world.cache.as_mut()?;
                cache.is_under_way = false;
                if self.has(Mutant::HeadAgeFromReply) {
                    cache.since = clock;
                }
            }
            Step::VisitDecides { shard, clock } => self.decide(world, shard, clock)?,
            Step::VisitGrants => self.grant_visit(world),
            Step::VisitSigns { clock } => self.sign(world, clock)?,
            Step::VisitEnds => world.visit = None,
            Step::CompileReadsHead { compile }
            | Step::CompileReadsRecords { compile }
            | Step::CompilePublishes { compile } => self.compile(world, compile, step)?,
            _ => return None,
        }
        Some(())
    }

    fn decide(&self, world: &mut World, shard: u8, clock: Clock) -> Option<()> {
        let mut visit = world.visit?;
        let cache = self.usable(world, &visit)?;
        let claim = world.claim(visit.device);
        let held = claim.filter(is_held);
        world.visit = if !cache.offers() {
            None
        } else if let Some(claim) = held {
            visit.stage = VisitStage::Signs;
            visit.ends = claim.ends;
            Some(visit)
        } else if self.can_be_granted(claim.as_ref()) {
            let generation = Some(cache.head.catalog.generation);
            visit.stage = VisitStage::Grants;
            visit.attempt = Some(self.attempt(world, visit.device, shard, clock, generation));
            Some(visit)
        } else {
            None
        };
        Some(())
    }

    fn grant_visit(&self, world: &mut World) {
        let Some(mut visit) = world.visit.take() else { return };
        let mut granted = *world;
        if let Some(attempt) = visit.attempt.take()
            && self.grant(&mut granted, &attempt).is_some()
        {
            *world = granted;
            visit.stage = VisitStage::Signs;
            visit.ends = world.claim(visit.device).map_or(0, |claim| claim.ends);
            world.visit = Some(visit);
        }
    }

    /// Signs a URL for a claim that had not ended when it was read.
    fn sign(&self, world: &mut World, clock: Clock) -> Option<()> {
        let visit = world.visit.take()?;
        let cache = self.usable(world, &visit)?;
        let is_late = world.clock > visit.arrived + CHECK_IN_TICKS && self.keeps(Mutant::CheckInAge);
        // An old head was read again, so it is asked again.
        if is_late || !cache.offers() {
            return Some(());
        }
        if world.is_stopped() {
            if visit.is_after_stop {
                self.breaks(world, Promise::UrlToLateCheckIn);
            }
            self.breaks(world, Promise::UrlAfterStop);
        }
        if self.scope.claim_ticks > 0 {
            self.store_url(world, &visit, clock);
        }
        Some(())
    }

    fn store_url(&self, world: &mut World, visit: &Visit, clock: Clock) {
        let now = self.now(world, clock);
        let margin = if self.keeps(Mutant::UrlMargin) { MARGIN_TICKS } else { 0 };
        let ends = (now + URL_TICKS).min(visit.ends - margin);
        if ends <= world.clock {
            return;
        }
        let credentials = CREDENTIALS_END[usize::from(world.clock >= CREDENTIALS_END[0])];
        let device = &mut world.devices[usize::from(visit.device)];
        device.url_told = if self.keeps(Mutant::UrlEndsWithCredentials) { ends.min(credentials) } else { ends };
        device.url_ends = ends.min(credentials).max(device.url_ends);
        if device.url_told > ends.min(credentials) {
            self.breaks(world, Promise::UrlAsTold);
        }
    }

    fn compile(&self, world: &mut World, at: usize, step: Step) -> Option<()> {
        if world.compiles[at].is_none() {
            world.compiles_left -= 1;
        }
        let mut compile = world.compiles[at].unwrap_or_default();
        match step {
            Step::CompileReadsHead { .. } => compile.revision = Some(world.head.revision),
            Step::CompileReadsRecords { .. } => {
                let record = &world.record;
                let offers = record.state == Campaign::Open;
                compile.catalog = Some(Catalog { offers, generation: record.generation });
            }
            _ => {
                world.compiles[at] = None;
                world.compiles.sort_unstable();
                let is_as_read = compile.revision == Some(world.head.revision);
                if !is_as_read && self.keeps(Mutant::PublishOnlyAsRead) {
                    return Some(());
                }
                let head = &mut world.head;
                head.catalog = compile.catalog?;
                head.revision += 1;
                if !head.catalog.offers || self.has(Mutant::HaltedUntilCatalogAgrees) {
                    head.has_halted = false;
                }
                return Some(());
            }
        }
        world.compiles[at] = Some(compile);
        world.compiles.sort_unstable();
        Some(())
    }
}

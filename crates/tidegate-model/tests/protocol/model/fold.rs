//! Folding of tallies: a closed stream shard's tally is added to `!base` and deleted, in one transaction.

use super::count::Run;
use super::late::Late;
use super::mutants::Mutant;
use super::rows::{Base, Tally};
use super::{Protocol, STREAMS, Step, World};

/// Tallies as a Query reads them: item by item, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Reading {
    tallies: Option<[Tally; STREAMS]>,
    base: Option<Base>,
}

impl Protocol {
    pub(crate) fn fold_steps(&self, world: &World, steps: &mut Vec<Step>) {
        if self.scope.stream_splits && !world.has_split {
            steps.push(Step::StreamShardSplits);
        }
        if !self.scope.folds {
            return;
        }
        if self.may_fold(world) {
            steps.push(Step::TallyIsFolded);
        }
        for stream in 0..usize::from(self.scope.streams) {
            if stream == 1 && world.streams[0].length > 0 {
                continue;
            }
            let reading = match world.streams[stream].run {
                Run::None if world.streams[stream].ahead > 0 => Reading::default(),
                Run::Reading(reading) => reading,
                _ => continue,
            };
            if reading.tallies.is_none() {
                steps.push(Step::CountReadsTallies { stream });
            }
            if reading.base.is_none() {
                steps.push(Step::CountReadsBase { stream });
            }
        }
    }

    /// 25 h after the last write of a closed stream shard no record of it is delivered again.
    fn may_fold(&self, world: &World) -> bool {
        let parent = &world.streams[0];
        let is_over = parent.length == 0 && !matches!(world.late, Some(Late::Tally { stream: 0, .. }));
        world.has_split
            && !world.base.has_folded
            && parent.run == Run::None
            && (is_over || (parent.ahead > 0 && self.has(Mutant::FoldWaits)))
    }

    pub(crate) fn fold_step(&self, world: &mut World, step: Step) -> Option<()> {
        match step {
            Step::StreamShardSplits => world.has_split = true,
            Step::TallyIsFolded => {
                let parent = &mut world.streams[0];
                world.base.sums.add(&parent.tally);
                world.base.has_folded = true;
                (parent.tally, parent.ahead) = (Tally::default(), 0);
            }
            Step::CountReadsTallies { stream } => {
                let tallies = world.streams.map(|stream| stream.tally);
                self.read(world, stream, |reading| reading.tallies = Some(tallies));
            }
            Step::CountReadsBase { stream } => {
                let base = world.base;
                self.read(world, stream, |reading| reading.base = Some(base));
            }
            _ => return None,
        }
        Some(())
    }

    fn read(&self, world: &mut World, stream: usize, note: impl FnOnce(&mut Reading)) {
        let mut reading = match world.streams[stream].run {
            Run::Reading(reading) => reading,
            _ => Reading::default(),
        };
        note(&mut reading);
        world.streams[stream].run = match (reading.tallies, reading.base) {
            (Some(tallies), Some(base)) => {
                let mut sums = base.sums;
                sums.add(&tallies[1]);
                if !base.has_folded || self.has(Mutant::FoldedIsSkipped) {
                    sums.add(&tallies[0]);
                }
                Run::Raising(self.judge(world, stream, &sums))
            }
            _ => Run::Reading(reading),
        };
    }
}

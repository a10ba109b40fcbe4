//! The counters of a rollout.

use tidegate_core::Version;
use tidegate_core::count::Count;
use tidegate_core::gate::{self, Channel, THRESHOLD};
use tidegate_engine::operate::Progress;
use tidegate_store::PublishStore;
use tidegate_wire::answer::rounded_down;
use tidegate_wire::operator::{
    ChannelName, ChannelView, Counters, HealthView, Metrics, NewcomersView, NextPhaseView, SeriesPoint, Verdict,
};

use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// The counters, the evidence of the health gate, and the counters over time.
    pub(crate) async fn metrics(&self, call: &Call<'_>, version: &Version) -> Answer {
        let record = self.engine.update(&call.product, version).await.map_err(refused)?;
        let progress = self.engine.progress(&record, call.now).await.map_err(refused)?;
        let series = self.engine.series(&record).await.map_err(refused)?;
        let points = series.into_iter().map(|point| SeriesPoint {
            at: rounded_down(point.at),
            offered: point.offered,
            in_flight: point.in_flight,
            proved: point.proved,
            failed: point.failed,
            reverted: point.reverted,
            lost: point.lost,
        });
        ok(&Metrics { series: Some(points.collect()), ..metrics(progress) })
    }
}

/// The progress of a rollout, without its course over time.
pub(crate) fn metrics(progress: Progress) -> Metrics {
    let Progress { state, counts, places, as_of, deferred, judgement, next_phase, min_failures, .. } = progress;
    let devices = |count| counts.devices(count);
    Metrics {
        state,
        as_of: as_of.map(rounded_down),
        counters: Counters {
            offered: counts.used,
            in_flight: counts.in_flight,
            installed: devices(Count::Installed),
            proved: devices(Count::Proved),
            proved_by_report: devices(Count::ByReport),
            soaked: devices(Count::Soaked),
            failed: devices(Count::Failed),
            reverted: devices(Count::Reverted),
            lost: devices(Count::Lost),
            not_taken: devices(Count::NotTaken),
            declined: devices(Count::Declined),
            transfer_failed: devices(Count::TransferFailed),
            voided: devices(Count::Voided),
            left: devices(Count::Left),
        },
        places,
        deferred,
        next_phase: next_phase.map(|phase| NextPhaseView {
            number: phase.number as u64,
            waits_for: phase.lack.map(|lack| lack.to_string()),
            sentence: phase.soaking.to_string(),
        }),
        newcomers: progress.newcomers.map(|newcomers| NewcomersView {
            offered: newcomers.offered,
            is_held: newcomers.judgement.hold().is_some(),
            sentence: newcomers.judgement.to_string(),
        }),
        stalled: progress.stalled.map(|stalled| stalled.to_string()),
        transfers_wait_until: progress.transfers_wait_until.map(rounded_down),
        health: HealthView {
            verdict: if judgement.hold().is_some() { Verdict::Hold } else { Verdict::Continue },
            threshold: THRESHOLD,
            min_failures,
            channels: judgement.channels.iter().map(channel).collect(),
            sentence: judgement.to_string(),
        },
        series: None,
    }
}

fn channel(channel: &Channel) -> ChannelView {
    ChannelView {
        name: match channel.name {
            gate::ChannelName::Failed => ChannelName::Failed,
            gate::ChannelName::Lost => ChannelName::Lost,
            gate::ChannelName::NotTaken => ChannelName::NotTaken,
        },
        bad: channel.bad,
        of: channel.of,
        tolerated_percent: (channel.tolerated * 10_000.0).round() / 100.0,
        evidence: channel.evidence,
        is_off: channel.is_off,
    }
}

//! The counters of a rollout.

use tidegate_core::Version;
use tidegate_core::health::{Channel, Ruling};
use tidegate_engine::operate::Progress;
use tidegate_store::PublishStore;
use tidegate_wire::answer::rounded_down;
use tidegate_wire::operator::{Counters, Evidence, HealthView, Metrics, SeriesPoint, Verdict};

use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// The counters, the evidence of the health gate, and the counters over time.
    pub(crate) async fn metrics(&self, call: &Call<'_>, version: &Version) -> Answer {
        let record = self.engine.update(&call.product, version).await.map_err(refused)?;
        let progress = self.engine.progress(&record).await.map_err(refused)?;
        let series = self.engine.series(&record).await.map_err(refused)?;
        let points = series.into_iter().map(|point| SeriesPoint {
            at: rounded_down(point.at),
            counters: Counters {
                offered: point.offered,
                in_flight: point.in_flight,
                succeeded: point.succeeded,
                failed: point.failed,
                timed_out: point.timed_out,
            },
        });
        ok(&Metrics { series: Some(points.collect()), ..metrics(progress) })
    }
}

/// The progress of a rollout, without its course over time.
pub(crate) fn metrics(progress: Progress) -> Metrics {
    let Progress { state, counts, as_of, deferred, verdict } = progress;
    let strongest = verdict.strongest();
    let evidence = |channel: Channel| Evidence { failures: channel.failures, evidence: channel.evidence };
    Metrics {
        state,
        as_of: as_of.map(rounded_down),
        counters: Counters {
            offered: counts.used,
            in_flight: counts.in_flight,
            succeeded: counts.succeeded,
            failed: counts.failed,
            timed_out: counts.timed_out,
        },
        deferred,
        health: HealthView {
            verdict: match verdict.ruling {
                Ruling::Continue => Verdict::Continue,
                Ruling::Abort => Verdict::Abort,
            },
            failures: strongest.failures,
            successes: strongest.successes,
            evidence: strongest.evidence,
            threshold: verdict.threshold,
            min_failures: verdict.min_failures,
            reported: evidence(verdict.reported),
            reported_or_silent: evidence(verdict.reported_or_silent),
            sentence: verdict.to_string(),
        },
        series: None,
    }
}

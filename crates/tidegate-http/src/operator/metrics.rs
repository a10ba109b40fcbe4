//! `GET updates/{version}/metrics`: what became of a rollout.

use serde_json::{Value, json};
use tidegate_core::Version;
use tidegate_core::health::Ruling;
use tidegate_core::policy::Slots;
use tidegate_core::shard::Counts;
use tidegate_store::PublishStore;
use tidegate_store::record::UpdateRecord;
use tidegate_wire::ApiError;
use tidegate_wire::answer::happened;

use super::update::compiled;
use super::{Answer, Call, PublishService, unavailable};

impl<S: PublishStore> PublishService<S> {
    /// Counters, the health rule's evidence, and the counters over time.
    pub(crate) async fn metrics(&self, call: &Call<'_>, version: &Version) -> Answer {
        let record = self.find(call, version).await?;
        let mut body = self.counters(&record).await?;
        let series = self.store.series(&record.id).await.map_err(unavailable)?;
        let points = series.iter().map(|point| {
            json!({
                "at": happened(point.at),
                "offered": point.offered,
                "in_flight": point.in_flight,
                "succeeded": point.succeeded,
                "failed": point.failed,
                "timed_out": point.timed_out,
            })
        });
        body["series"] = points.collect();
        Ok((200, body))
    }

    /// The counters of all shards together.
    pub(crate) async fn counters(&self, record: &UpdateRecord) -> Result<Value, ApiError> {
        let shards = match &record.allocation {
            Some(allocation) => self.store.shards(&record.id, allocation.shards()).await.map_err(unavailable)?,
            None => Vec::new(),
        };
        let counts = Counts::of(&shards);
        let deferred = self.store.deferrals(&record.id).await.map_err(unavailable)?;
        let rule = compiled(record, &mut Slots::new())?.rollout.health;
        let verdict = rule.judge(&counts);
        let strongest = verdict.strongest();
        Ok(json!({
            "state": record.state.name(),
            "offered": counts.used,
            "in_flight": counts.in_flight,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "timed_out": counts.timed_out,
            "deferred": deferred,
            "health": {
                "verdict": match verdict.ruling { Ruling::Continue => "continue", Ruling::Abort => "abort" },
                "failures": strongest.failures,
                "successes": strongest.successes,
                "evidence": strongest.evidence,
                "threshold": verdict.threshold,
                "min_failures": verdict.min_failures,
                "reported": {"failures": verdict.reported.failures, "evidence": verdict.reported.evidence},
                "reported_or_silent": {
                    "failures": verdict.reported_or_silent.failures,
                    "evidence": verdict.reported_or_silent.evidence,
                },
                "sentence": verdict.to_string(),
            },
        }))
    }
}

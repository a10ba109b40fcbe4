//! What the service says of its live updates, looked at before, during and after the load.

use std::collections::BTreeMap;
use std::time::Duration;

use super::between::Between;
use super::limits::{Limits, Seen};
use crate::api_client::{ApiClient, ApiPath};
use crate::error::{CommandError, CommandResult};
use crate::update::{self, Metrics, UpdateView};
use tidegate_wire::route::PublishRoute;

/// Each is one more request in every look; further ones are looked at only before and after.
const MOST_WATCHED: usize = 8;

/// A function that was asked in one period may still grant in it for as long as it may run.
const LONGEST_CALL_S: i64 = 10;

/// One update, as the service showed it.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// Its version.
    pub version: String,
    /// Its state at the last look.
    pub state: String,
    /// What it allowed at the loosest.
    limits: Limits,
    claim_ttl_s: Option<u64>,
    last: Metrics,
    /// The limits may have been lowered below this before anybody looked.
    first: Metrics,
    most_in_flight: u64,
    most_in_period: u64,
    /// The period of the first look that tells of it, and how many had been offered by then.
    period: Option<(i64, u64)>,
}

impl Watched {
    fn new(update: &UpdateView, metrics: Metrics) -> Self {
        Self {
            version: update.version.clone(),
            state: update.state.clone(),
            limits: Limits::of(update),
            claim_ttl_s: update.rollout.get("claim_ttl_s").and_then(serde_json::Value::as_u64),
            first: metrics.clone(),
            last: metrics,
            most_in_flight: 0,
            most_in_period: 0,
            period: None,
        }
    }

    fn look(&mut self, update: &UpdateView, metrics: Metrics, at: Option<Between>) {
        self.limits = self.limits.or_looser(Limits::of(update));
        self.state.clone_from(&update.state);
        self.most_in_flight = self.most_in_flight.max(metrics.in_flight);
        if let (Some(at), Some(period_s)) = (at, self.limits.period_s) {
            self.look_at_period(at, period_s, metrics.offered);
        }
        self.last = metrics;
    }

    fn look_at_period(&mut self, at: Between, period_s: u64, offered: u64) {
        let Some(now) = at.period(period_s) else {
            return;
        };
        match self.period {
            Some((period, before)) if period == now => {
                self.most_in_period = self.most_in_period.max(offered.saturating_sub(before));
            }
            _ if at.into_period_s(now) >= LONGEST_CALL_S => self.period = Some((now, offered)),
            _ => {}
        }
    }

    /// What it allows. What was above a limit from the start, an operator lowered the limit to below what
    /// was given; only more of it would be wrong.
    pub(super) fn allowed(&self) -> Limits {
        Limits {
            max_devices: self.limits.max_devices.map(|limit| limit.max(self.first.offered)),
            max_in_flight: self.limits.max_in_flight.map(|limit| limit.max(self.first.in_flight)),
            ..self.limits
        }
    }

    /// How long a device may take to report before its place is somebody else's.
    pub(super) fn claim_ttl_s(&self) -> Option<u64> {
        self.claim_ttl_s
    }

    /// The most that the service said.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            devices: Some(self.last.offered),
            in_flight: Some(self.most_in_flight),
            in_period: Some(self.most_in_period),
        }
    }
}

/// Looks at the live updates of a product.
#[derive(Debug)]
pub(super) struct Watcher {
    client: ApiClient,
    product: String,
    updates: BTreeMap<String, Watched>,
    looks: u64,
    last_failure: Option<CommandError>,
}

impl Watcher {
    /// Looks for the first time.
    ///
    /// # Errors
    /// When the service does not answer, or not to us.
    pub(super) fn new(client: ApiClient, product: &str) -> CommandResult<Self> {
        let product = product.to_owned();
        let mut watcher = Self { client, product, updates: BTreeMap::new(), looks: 0, last_failure: None };
        watcher.look_at_all();
        watcher.last_failure.take().map_or(Ok(watcher), Err)
    }

    /// The updates, by id.
    pub(super) fn updates(&self) -> &BTreeMap<String, Watched> {
        &self.updates
    }

    /// How often we looked.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// Why the last look failed, if it did.
    pub(super) fn last_failure(&self) -> Option<&CommandError> {
        self.last_failure.as_ref()
    }

    /// Looks at those that were live before, and at those that are now.
    pub(super) fn look_at_all(&mut self) {
        let looked = self.live().and_then(|versions| self.look_at(versions));
        self.last_failure = looked.err();
    }

    /// Looks at the newest of those that were live before.
    pub(super) fn look(&mut self) {
        let mut versions = self.updates.values().map(|watched| watched.version.clone()).collect::<Vec<_>>();
        versions.sort_by_cached_key(|version| std::cmp::Reverse(semver::Version::parse(version).ok()));
        versions.truncate(MOST_WATCHED);
        self.last_failure = self.look_at(versions).err();
    }

    fn live(&self) -> CommandResult<Vec<String>> {
        let listed = self.client.get(&ApiPath::product(PublishRoute::ListUpdates, &self.product))?;
        let listed: Vec<UpdateView> = update::read(listed.get("updates").unwrap_or(&listed), "list of updates")?;
        let live =
            listed.into_iter().filter(|update| update.state == "active" || self.updates.contains_key(&update.id));
        Ok(live.map(|update| update.version).collect())
    }

    fn look_at(&mut self, versions: Vec<String>) -> CommandResult {
        for version in versions {
            let asked = crate::time::start();
            let (document, date) =
                self.client.get_dated(&ApiPath::update(PublishRoute::ShowUpdate, &self.product, &version))?;
            let at = date.map(|date| Between::working(date, asked.elapsed()));
            let update: UpdateView = update::read(&document, "update")?;
            let metrics = update.metrics.clone().unwrap_or_default();
            let watched = self.updates.entry(update.id.clone());
            watched.or_insert_with(|| Watched::new(&update, metrics.clone())).look(&update, metrics, at);
        }
        self.looks += 1;
        Ok(())
    }
}

/// How long between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn update(max_devices: u64) -> UpdateView {
        let limits = json!({"max_devices": max_devices, "max_in_flight": 5, "max_per_period": 3, "period_s": 60});
        UpdateView { version: "2.0.0".into(), rollout: json!({"limits": limits}), ..UpdateView::default() }
    }

    fn metrics(offered: u64, in_flight: u64) -> Metrics {
        Metrics { offered, in_flight, ..Metrics::default() }
    }

    fn at(second: i64) -> Option<Between> {
        let date = jiff::Timestamp::from_second(second).expect("a valid time");
        Some(Between::working(date, Duration::ZERO))
    }

    #[test]
    fn the_most_of_every_look_is_kept_and_periods_are_counted_from_their_first_sure_look() {
        let mut watched = Watched::new(&update(100), metrics(1, 1));
        for (second, offered, in_flight) in [(605, 2, 1), (620, 3, 4), (640, 6, 2), (661, 7, 2), (675, 9, 2)] {
            watched.look(&update(100), metrics(offered, in_flight), at(second));
        }
        assert_eq!(watched.seen(), Seen { devices: Some(9), in_flight: Some(4), in_period: Some(3) });
    }

    #[test]
    fn a_limit_that_was_lowered_below_what_was_given_is_not_exceeded_until_more_is_given() {
        let mut watched = Watched::new(&update(10), metrics(20, 7));
        watched.look(&update(10), metrics(20, 6), None);
        let allowed = watched.allowed();
        assert_eq!((allowed.max_devices, allowed.max_in_flight), (Some(20), Some(7)));
        watched.look(&update(30), metrics(20, 6), None);
        assert_eq!(watched.allowed().max_devices, Some(30));
    }
}

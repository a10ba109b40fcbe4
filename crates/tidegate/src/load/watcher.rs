//! The watcher: looks at the live updates of the service before, during and after the load.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_lab::load::{Between, Limits, Look, Watched};

use crate::api_client::{ApiClient, ApiPath};
use crate::error::{CommandError, CommandResult};
use crate::update::{self, Metrics, UpdateView};
use tidegate_wire::route::PublishRoute;

/// The largest number of updates in a look during the load. Each costs one request. Further updates are examined only
/// before and after the load.
const MOST_WATCHED: usize = 8;

/// An update of the service under load.
#[derive(Debug, Clone)]
pub(super) struct WatchedUpdate {
    /// Its limits and counts.
    pub watched: Watched,
    /// Time that a device may take to report before another device gets its place.
    pub claim_ttl_s: Option<u64>,
}

/// Looks at the live updates of a product.
#[derive(Debug)]
pub(super) struct Watcher {
    client: ApiClient,
    product: String,
    updates: BTreeMap<String, WatchedUpdate>,
    looks: u64,
    last_failure: Option<CommandError>,
}

impl Watcher {
    /// Looks for the first time.
    ///
    /// # Errors
    /// When the service does not answer or refuses the operator.
    pub(super) fn new(client: ApiClient, product: &str) -> CommandResult<Self> {
        let product = product.to_owned();
        let mut watcher = Self { client, product, updates: BTreeMap::new(), looks: 0, last_failure: None };
        watcher.look_at_all();
        watcher.last_failure.take().map_or(Ok(watcher), Err)
    }

    /// The updates, by id.
    pub(super) fn updates(&self) -> &BTreeMap<String, WatchedUpdate> {
        &self.updates
    }

    /// Number of looks.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// Error of the last look, if it failed.
    pub(super) fn last_failure(&self) -> Option<&CommandError> {
        self.last_failure.as_ref()
    }

    /// Looks at the updates that were live before and at those that are live now.
    pub(super) fn look_at_all(&mut self) {
        let looked = self.live().and_then(|versions| self.look_at(versions));
        self.last_failure = looked.err();
    }

    /// Looks at the newest of the updates that were live before.
    pub(super) fn look(&mut self) {
        let mut versions = self.updates.values().map(|update| update.watched.version().to_owned()).collect::<Vec<_>>();
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
            let look = look_of(&update);
            let watched = self.updates.entry(update.id.clone()).or_insert_with(|| WatchedUpdate {
                watched: Watched::new(&update.version, &look),
                claim_ttl_s: update.rollout.get("claim_ttl_s").and_then(serde_json::Value::as_u64),
            });
            watched.watched.look(&look, at);
        }
        self.looks += 1;
        Ok(())
    }
}

/// Time between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

fn look_of(update: &UpdateView) -> Look {
    let metrics = update.metrics.clone().unwrap_or_default();
    let Metrics { offered, in_flight, .. } = metrics;
    Look { state: update.state.clone(), limits: limits_of(update), offered, in_flight }
}

/// The limits of an update. A limit on bytes is one on devices: each gets the same bytes.
fn limits_of(update: &UpdateView) -> Limits {
    let by_bytes = update.limit("max_bytes_per_period").and_then(|bytes| bytes.checked_div(update.size_bytes()));
    Limits {
        max_devices: update.limit("max_devices"),
        max_in_flight: update.limit("max_in_flight"),
        max_per_period: update.limit("max_per_period").into_iter().chain(by_bytes).min(),
        period_s: update.limit("period_s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_on_bytes_is_one_on_devices() {
        let limits = json!({"max_bytes_per_period": 2550, "max_per_period": 50, "period_s": 60});
        let update = UpdateView {
            rollout: json!({"limits": limits}),
            files: vec![crate::update::FileView { size: 100, ..Default::default() }],
            ..UpdateView::default()
        };
        let expected = Limits { max_per_period: Some(25), period_s: Some(60), ..Limits::default() };
        assert_eq!(limits_of(&update), expected);
    }
}

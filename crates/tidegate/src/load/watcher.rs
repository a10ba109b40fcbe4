//! The watcher: looks at the live updates of the service before, during and after the load.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_lab::load::{Between, Limits, Look, Watched};

use crate::api_client::{ApiClient, ApiPath};
use crate::error::{CommandError, CommandResult};
use crate::update;
use tidegate_core::State;
use tidegate_wire::definition::Definition;
use tidegate_wire::operator::UpdateView;
use tidegate_wire::route::PublishRoute;

/// The largest number of updates in a look during the load. Each costs one request. Further updates are examined only
/// before and after the load.
const MOST_WATCHED: usize = 8;

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
    /// When the service does not answer or refuses the operator.
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
        let mut versions = self.updates.values().map(|update| update.version().to_owned()).collect::<Vec<_>>();
        versions.sort_by_cached_key(|version| std::cmp::Reverse(semver::Version::parse(version).ok()));
        versions.truncate(MOST_WATCHED);
        self.last_failure = self.look_at(versions).err();
    }

    fn live(&self) -> CommandResult<Vec<String>> {
        let listed = self.client.items(&ApiPath::product(PublishRoute::ListUpdates, &self.product), None)?;
        let updates = update::read_all::<UpdateView>(listed, "update")?;
        let live = updates
            .iter()
            .filter(|update| update.state == State::Active || self.updates.contains_key(update.id.as_str()));
        Ok(live.map(|update| update.version().to_owned()).collect())
    }

    fn look_at(&mut self, versions: Vec<String>) -> CommandResult {
        for version in versions {
            let asked = crate::time::start();
            let (document, date) =
                self.client.get_dated(&ApiPath::update(PublishRoute::ShowUpdate, &self.product, &version))?;
            let at = date.map(|date| Between::working(date, asked.elapsed()));
            let update: UpdateView = update::read(&document, "update")?;
            let look = look_of(&update);
            let watched =
                self.updates.entry(update.id.to_string()).or_insert_with(|| Watched::new(update.version(), &look));
            watched.look(&look, at);
        }
        self.looks += 1;
        Ok(())
    }
}

/// Time between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

fn look_of(update: &UpdateView) -> Look {
    let (offered, in_flight) =
        update.metrics.as_ref().map_or((0, 0), |metrics| (metrics.counters.offered, metrics.counters.in_flight));
    let places = update.metrics.as_ref().and_then(|metrics| metrics.places);
    let limits = update.definition().map(|definition| limits_of(definition, places)).unwrap_or_default();
    Look { state: update.state.to_string(), limits, offered, in_flight }
}

/// The limits of an update with these places. A limit on bytes is one on devices: each gets the same bytes.
fn limits_of(definition: &Definition, places: Option<u64>) -> Limits {
    let limits = &definition.rollout.limits;
    let by_bytes = limits.max_bytes_per_period.and_then(|bytes| bytes.checked_div(update::size_bytes(definition)));
    Limits {
        max_devices: limits.max_devices,
        max_in_flight: limits.max_in_flight.number().or(places),
        max_per_period: limits.max_per_period.into_iter().chain(by_bytes).min(),
        period_s: Some(limits.period_s.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_on_bytes_is_one_on_devices() {
        let limits = json!({
            "max_bytes_per_period": 2550, "max_per_period": 50, "period_s": 60, "max_in_flight": null,
        });
        let files = json!([{"name": "a.bin", "sha256": "ab", "size": 100}]);
        let definition = json!({"version": "2.0.0", "rollout": {"limits": limits}, "files": files});
        let definition = serde_json::from_value::<Definition>(definition).expect("a definition");
        let expected = Limits { max_per_period: Some(25), period_s: Some(60), ..Limits::default() };
        assert_eq!(limits_of(&definition, None), expected);
    }
}

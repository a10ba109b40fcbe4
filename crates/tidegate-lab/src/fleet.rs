//! The fleet: devices of one product, described once and numbered from 0. The forecast, the simulator, the load
//! generator and the tests play it.

use serde_json::{Map, Value};
use tidegate_core::{DeviceId, ProductId, Version};

use crate::dice::{Dice, Throw};

/// A population of devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    ids: Ids,
    /// Groups of devices. They follow one another.
    pub(crate) groups: Vec<Group>,
    /// The outcomes of attempts to install an update.
    pub(crate) outcomes: Outcomes,
}

/// Devices that say the same of themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Their number.
    pub devices: u32,
    /// The version that they run at the start.
    pub version: Version,
    /// The fields of their `device.json`, beside `id`, `product` and `version`.
    pub said: Map<String, Value>,
}

/// Device ids: a name, and a number with leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The name, with everything that stands before the number.
    pub name: String,
    /// The least number of digits.
    pub digits: usize,
}

/// Shares of the outcomes of attempts, each from 0 to 1. In what is left, the device ignores the offer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcomes {
    /// The device installs the update and reports it.
    pub success: f64,
    /// The device reports that it could not install the update.
    pub failure: f64,
    /// The device is never heard from again.
    pub silence: f64,
}

/// The outcome of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The device reports success.
    Succeeds,
    /// The device reports a failure.
    Fails,
    /// The device is never heard from again.
    FallsSilent,
    /// The device ignores the offer, and goes on checking in.
    IgnoresIt,
}

impl Outcomes {
    /// Every attempt succeeds.
    pub const ALL_SUCCEED: Self = Self { success: 1.0, failure: 0.0, silence: 0.0 };

    /// The outcome of one attempt of one device. The same dice give the same outcome.
    #[must_use]
    pub fn fate(self, dice: Dice, device: u32, attempt: u32) -> Fate {
        let Self { success, failure, silence } = self;
        let thrown = dice.share(Throw::Fate, device, attempt);
        if thrown < failure {
            Fate::Fails
        } else if thrown < failure + silence {
            Fate::FallsSilent
        } else if thrown < failure + silence + success + 1e-12 {
            Fate::Succeeds
        } else {
            Fate::IgnoresIt
        }
    }
}

impl Fleet {
    /// A fleet whose every attempt succeeds.
    #[must_use]
    pub fn new(ids: Ids, groups: Vec<Group>) -> Self {
        Self { ids, groups, outcomes: Outcomes::ALL_SUCCEED }
    }

    /// A fleet of one group.
    #[must_use]
    pub fn of(name: &str, group: Group) -> Self {
        Self::new(Ids { name: format!("{name}-"), digits: 1 }, vec![group])
    }

    /// The same fleet with other outcomes.
    #[must_use]
    pub fn with_outcomes(self, outcomes: Outcomes) -> Self {
        Self { outcomes, ..self }
    }

    /// Number of devices.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.groups.iter().map(|group| group.devices).sum()
    }

    /// The id of a device.
    ///
    /// # Panics
    /// When the name of the fleet cannot be a part of an id.
    #[must_use]
    pub fn id(&self, device: u32) -> DeviceId {
        let Ids { name, digits } = &self.ids;
        DeviceId::new(format!("{name}{device:0digits$}")).expect("a fleet's name is a part of a device id")
    }

    /// The number of a device's group.
    #[must_use]
    pub fn group_of(&self, device: u32) -> usize {
        let ends = self.groups.iter().scan(0, |end, group| {
            *end += group.devices;
            Some(*end)
        });
        ends.take_while(|end| *end <= device).count()
    }

    /// The version that a device runs at the start.
    #[must_use]
    pub fn version(&self, device: u32) -> Version {
        let group = self.groups.get(self.group_of(device));
        group.map_or(Version::new(0, 0, 0), |group| group.version.clone())
    }

    /// The `device.json` of a device that says that it runs `version`.
    #[must_use]
    pub fn device_json(&self, product: &ProductId, device: u32, version: &str) -> Value {
        let mut said = self.groups.get(self.group_of(device)).map(|group| group.said.clone()).unwrap_or_default();
        said.insert("id".into(), self.id(device).as_str().into());
        said.insert("product".into(), product.as_str().into());
        said.insert("version".into(), version.into());
        Value::Object(said)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_device_says_what_its_group_says_and_who_it_is() {
        let group = |devices, version, region: &str| Group {
            devices,
            version,
            said: json!({"region": region, "id": "template"}).as_object().cloned().unwrap_or_default(),
        };
        let groups = vec![group(2, Version::new(1, 0, 0), "eu"), group(1, Version::new(2, 0, 0), "us")];
        let fleet = Fleet::new(Ids { name: "lamp-".into(), digits: 3 }, groups);
        assert_eq!((fleet.devices(), [0, 1, 2].map(|device| fleet.group_of(device))), (3, [0, 0, 1]));
        let said = fleet.device_json(&ProductId::new("lamp").unwrap(), 2, "2.0.0");
        assert_eq!(said, json!({"region": "us", "id": "lamp-002", "product": "lamp", "version": "2.0.0"}));
    }

    #[test]
    fn as_many_attempts_fail_as_was_asked_for_and_always_the_same() {
        let failing = |failure: f64| {
            let outcomes = Outcomes { success: 1.0 - failure, failure, silence: 0.0 };
            let fails = |device: &u32| outcomes.fate(Dice::new(7), *device, 1) == Fate::Fails;
            (0..1000).filter(fails).collect::<Vec<_>>()
        };
        assert_eq!((failing(0.0).len(), failing(1.0).len()), (0, 1000));
        assert!((150..250).contains(&failing(0.2).len()), "{}", failing(0.2).len());
        assert_eq!(failing(0.2), failing(0.2));
    }
}

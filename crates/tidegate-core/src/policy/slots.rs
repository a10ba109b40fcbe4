//! Slots: the attributes that the policies of one catalog use. Each is looked up once per check-in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::operand::{Numeric, decimal};
use crate::attributes::{Attributes, Value};
use crate::device::Device;
use crate::orders::Orders;

/// Beginning of the names of tags.
const TAGS: &str = "tags.";

/// Names of the attributes that the policies of one catalog use, each with its number.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Slots {
    by_name: BTreeMap<String, usize>,
}

impl Slots {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks up every attribute that a policy parsed with these slots can use.
    ///
    /// A policy that is parsed later sees attributes that only it uses as missing.
    pub fn bind<'a>(&self, device: &'a Device) -> Facts<'a> {
        self.facts(&device.version, &device.attributes, Some(&device.orders))
    }

    /// The same for a device whose orders are not known.
    pub fn bind_unordered<'a>(&self, version: &'a semver::Version, attributes: &'a Attributes) -> Facts<'a> {
        self.facts(version, attributes, None)
    }

    fn facts<'a>(
        &self,
        version: &'a semver::Version,
        attributes: &'a Attributes,
        orders: Option<&'a Orders>,
    ) -> Facts<'a> {
        let mut values = vec![None; self.by_name.len()];
        for (name, slot) in &self.by_name {
            if let Some(value) = values.get_mut(*slot) {
                let found = match name.strip_prefix(TAGS) {
                    // What a device says of its tags is not what operators say.
                    Some(tag) => orders.and_then(|orders| orders.tag(tag)),
                    None => attributes.get(name),
                };
                *value = found.map(Fact::of);
            }
        }
        Facts { version, orders, values }
    }

    /// Every attribute that a policy names.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Every name with its slot.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.by_name.iter().map(|(name, slot)| (name.as_str(), *slot))
    }

    pub(super) fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.by_name.len();
        self.by_name.insert(name.to_owned(), slot);
        slot
    }
}

/// Attributes of one device, by slot.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub(super) version: &'a semver::Version,
    pub(super) orders: Option<&'a Orders>,
    values: Vec<Option<Fact<'a>>>,
}

/// Value of an attribute, with its number if it is a number or a text that is a decimal number.
#[derive(Debug, Clone)]
pub(super) struct Fact<'a> {
    pub(super) value: &'a Value,
    pub(super) number: Option<Numeric>,
}

impl<'a> Fact<'a> {
    fn of(value: &'a Value) -> Self {
        let number = match value {
            Value::Integer(number) => Some(Numeric::Integer(*number)),
            Value::Number(number) => number.is_finite().then_some(Numeric::Number(*number)),
            Value::Text(text) => decimal(text),
            Value::Bool(_) | Value::List(_) => None,
        };
        Self { value, number }
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn value(&self, slot: usize) -> Option<&'a Value> {
        self.values.get(slot)?.as_ref().map(|fact| fact.value)
    }

    pub(super) fn fact(&self, slot: u16) -> Option<&Fact<'a>> {
        self.values.get(usize::from(slot))?.as_ref()
    }
}

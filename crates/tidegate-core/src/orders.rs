//! Orders: what operators have ordered for one device. A device cannot say any of it by itself.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use crate::attributes::Value;
use crate::id::without_build;
use crate::objection::Objection;

/// Most tags of a device.
const MOST_TAGS: usize = 8;
/// Most bytes of its tags, with their names. They are part of the device's small record.
const MOST_TAG_BYTES: usize = 256;
/// Most updates that are assigned to a device.
const MOST_ASSIGNED: usize = 8;

/// Orders for one device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Orders {
    /// It is offered nothing.
    pub is_on_hold: bool,
    /// The only version that it may be offered.
    pub pin: Option<Version>,
    /// Texts by name. A policy reads the tag `site` as `tags.site`.
    tags: BTreeMap<String, Value>,
    /// The versions that were assigned to it. A policy asks `assigned`.
    assigned: BTreeSet<Version>,
}

/// Order that a device cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages are the rules
pub enum OrderError {
    #[error("a tag's name must be 1 to 64 characters out of A-Z a-z 0-9 and _, and not begin with a digit")]
    TagName,
    #[error("a tag's value must be a text of 1 to 128 bytes without control characters")]
    TagValue,
    #[error("a device can have {MOST_TAGS} tags of {MOST_TAG_BYTES} bytes together, names included")]
    TooManyTags,
    #[error("a device can have {MOST_ASSIGNED} assigned updates; take one back first")]
    TooManyAssigned,
}

impl Orders {
    /// The orders as they were read from storage.
    #[must_use]
    pub fn new(
        is_on_hold: bool,
        pin: Option<Version>,
        tags: impl IntoIterator<Item = (String, String)>,
        assigned: impl IntoIterator<Item = Version>,
    ) -> Self {
        let tags = tags.into_iter().map(|(name, value)| (name, Value::Text(value))).collect();
        Self { is_on_hold, pin, tags, assigned: assigned.into_iter().collect() }
    }

    /// The tags, by name.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().filter_map(|(name, value)| match value {
            Value::Text(text) => Some((name.as_str(), text.as_str())),
            _ => None,
        })
    }

    /// A tag, as a policy reads it.
    pub(crate) fn tag(&self, name: &str) -> Option<&Value> {
        self.tags.get(name)
    }

    /// Sets a tag.
    ///
    /// # Errors
    /// When the name or the value cannot be one, or there are too many tags.
    pub fn set_tag(&mut self, name: &str, value: &str) -> Result<(), OrderError> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !(1..=64).contains(&name.len())
            || !name.chars().all(is_word)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(OrderError::TagName);
        }
        if !(1..=128).contains(&value.len()) || value.chars().any(char::is_control) {
            return Err(OrderError::TagValue);
        }
        let before = self.tags.insert(name.to_string(), Value::Text(value.to_string()));
        let bytes =
            self.tags().fold(0_usize, |sum, (name, value)| sum.saturating_add(name.len()).saturating_add(value.len()));
        if self.tags.len() > MOST_TAGS || bytes > MOST_TAG_BYTES {
            match before {
                Some(before) => self.tags.insert(name.to_string(), before),
                None => self.tags.remove(name),
            };
            return Err(OrderError::TooManyTags);
        }
        Ok(())
    }

    /// Removes a tag; returns false if there is none.
    pub fn remove_tag(&mut self, name: &str) -> bool {
        self.tags.remove(name).is_some()
    }

    /// The versions that were assigned to the device.
    pub fn assigned(&self) -> impl Iterator<Item = &Version> {
        self.assigned.iter()
    }

    /// Returns true if an update to `version` was assigned to the device.
    #[must_use]
    pub fn is_assigned(&self, version: &Version) -> bool {
        !self.assigned.is_empty() && self.assigned.contains(&without_build(version))
    }

    /// Assigns an update.
    ///
    /// # Errors
    /// When too many are assigned.
    pub fn assign(&mut self, version: &Version) -> Result<(), OrderError> {
        let version = without_build(version);
        if self.assigned.len() >= MOST_ASSIGNED && !self.assigned.contains(&version) {
            return Err(OrderError::TooManyAssigned);
        }
        self.assigned.insert(version);
        Ok(())
    }

    /// Takes an assignment back; returns false if there is none.
    pub fn unassign(&mut self, version: &Version) -> bool {
        self.assigned.remove(&without_build(version))
    }

    /// The objection of the orders to an update.
    ///
    /// # Errors
    /// The objection.
    pub fn allow(&self, version: &Version) -> Result<(), Objection> {
        match &self.pin {
            Some(to) if to.cmp_precedence(version).is_ne() => Err(Objection::Pinned { to: to.clone() }),
            _ if self.is_on_hold => Err(Objection::OnHold),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_few_and_small() {
        let mut orders = Orders::default();
        for name in ["", "9th", "si te", "tags.site", "größe"] {
            assert_eq!(orders.set_tag(name, "berlin"), Err(OrderError::TagName), "{name}");
        }
        for value in ["", "a\nb", &"x".repeat(129)] {
            assert_eq!(orders.set_tag("site", value), Err(OrderError::TagValue), "{value}");
        }
        for number in 0..8 {
            orders.set_tag(&format!("tag_{number}"), "x").unwrap();
        }
        let full = orders.clone();
        assert_eq!(orders.set_tag("another", "x"), Err(OrderError::TooManyTags));
        orders.set_tag("tag_0", &"x".repeat(128)).unwrap();
        assert_eq!(orders.set_tag("tag_1", &"x".repeat(128)), Err(OrderError::TooManyTags));
        orders.set_tag("tag_0", "x").unwrap();
        assert_eq!(orders, full, "what is refused changes nothing");
        assert!(orders.remove_tag("tag_0") && !orders.remove_tag("tag_0"));
    }

    #[test]
    fn a_pinned_device_gets_one_version_and_a_device_on_hold_none() {
        let version = |text: &str| Version::parse(text).unwrap();
        let pinned = Orders { pin: Some(version("1.5.0")), ..Orders::default() };
        assert_eq!(pinned.allow(&version("1.5.0+build")), Ok(()));
        assert_eq!(pinned.allow(&version("1.6.0")), Err(Objection::Pinned { to: version("1.5.0") }));
        let held = Orders { is_on_hold: true, ..pinned };
        assert_eq!(held.allow(&version("1.5.0")), Err(Objection::OnHold));
    }

    #[test]
    fn eight_updates_may_be_assigned() {
        let mut orders = Orders::default();
        for minor in 0..8 {
            orders.assign(&Version::new(1, minor, 0)).unwrap();
        }
        assert_eq!(orders.assign(&Version::new(2, 0, 0)), Err(OrderError::TooManyAssigned));
        orders.assign(&Version::new(1, 3, 0)).unwrap();
        assert!(orders.is_assigned(&"1.3.0+b".parse().unwrap()) && !orders.is_assigned(&Version::new(2, 0, 0)));
        assert!(orders.unassign(&Version::new(1, 3, 0)) && !orders.unassign(&Version::new(1, 3, 0)));
    }
}

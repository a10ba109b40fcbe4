//! Campaigns that are open at the same time must not send a device round in a circle.
//!
//! Draw an arrow from one version to another if an open campaign can move a device so. Upgrades go only up, and
//! rollbacks only from the versions that they name. A circle needs an arrow that leads down, from a version that a
//! rollback names, and a way back into that version. So nothing may lead into a version that an open rollback names.

use std::fmt;

use semver::Version;

/// Devices that a campaign moves, and the version that it moves them to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// From every lower version.
    Up {
        /// The version that it offers.
        to: Version,
    },
    /// From exactly the versions that it names.
    Back {
        /// The version that it offers.
        to: Version,
        /// The versions that a device must run.
        from: Vec<Version>,
    },
}

/// Two campaigns that cannot be open at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// The version that one of them offers, and the other one takes back.
    pub version: Version,
    /// The version that the rollback offers.
    pub back_to: Version,
    /// The rollback is the one that is open already.
    pub rollback_is_open: bool,
}

impl std::error::Error for Circle {}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, back_to, rollback_is_open } = self;
        match rollback_is_open {
            true => write!(f, "the open rollback to {back_to} takes devices off {version}; end it first"),
            false => {
                write!(f, "an open campaign offers {version}, from which this rollback takes devices; end it first")
            }
        }
    }
}

impl Way {
    /// The version that it offers.
    #[must_use]
    pub fn to(&self) -> &Version {
        match self {
            Self::Up { to } | Self::Back { to, .. } => to,
        }
    }

    /// Returns true if it moves devices that run `version`.
    #[must_use]
    pub fn leads_from(&self, version: &Version) -> bool {
        match self {
            Self::Up { to } => version.cmp_precedence(to).is_lt(),
            Self::Back { from, .. } => from.iter().any(|from| from.cmp_precedence(version).is_eq()),
        }
    }

    fn names(&self, version: &Version) -> bool {
        matches!(self, Self::Back { .. }) && self.leads_from(version)
    }

    /// Checks that this campaign can be open beside `open`. A rollback ends the upgrades to the versions that it names
    /// first; the caller leaves them out.
    ///
    /// # Errors
    /// The first open campaign that it would make a circle with.
    pub fn may_open<'a>(&self, open: impl IntoIterator<Item = &'a Self>) -> Result<(), Circle> {
        if self.names(self.to()) {
            return Err(Circle { version: self.to().clone(), back_to: self.to().clone(), rollback_is_open: false });
        }
        for other in open {
            if other.names(self.to()) {
                let (version, back_to) = (self.to().clone(), other.to().clone());
                return Err(Circle { version, back_to, rollback_is_open: true });
            }
            if self.names(other.to()) {
                let (version, back_to) = (other.to().clone(), self.to().clone());
                return Err(Circle { version, back_to, rollback_is_open: false });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(minor: usize) -> Version {
        Version::new(1, minor as u64, 0)
    }

    fn back(to: usize, from: &[usize]) -> Way {
        Way::Back { to: version(to), from: from.iter().map(|minor| version(*minor)).collect() }
    }

    #[test]
    fn the_refusal_names_both_campaigns() {
        let up = Way::Up { to: version(7) };
        let rollback = back(5, &[7]);
        let refused = up.may_open([&rollback]).unwrap_err().to_string();
        assert_eq!(refused, "the open rollback to 1.5.0 takes devices off 1.7.0; end it first");
        let refused = rollback.may_open([&up]).unwrap_err().to_string();
        assert_eq!(refused, "an open campaign offers 1.7.0, from which this rollback takes devices; end it first");
        assert!(back(5, &[5]).may_open([]).is_err(), "to where it comes from");
        assert_eq!(Way::Up { to: version(8) }.may_open([&rollback]), Ok(()), "past it");
        assert_eq!(back(6, &[8]).may_open([&rollback]), Ok(()));
    }

    /// The versions from which devices can come back to where they were, by open campaigns alone.
    fn has_circle(open: &[Way], versions: usize) -> bool {
        let mut reach = vec![vec![false; versions]; versions];
        for way in open {
            for (from, row) in reach.iter_mut().enumerate() {
                for (to, reached) in row.iter_mut().enumerate() {
                    *reached |= way.leads_from(&version(from)) && *way.to() == version(to);
                }
            }
        }
        for middle in 0..versions {
            for from in 0..versions {
                for to in 0..versions {
                    reach[from][to] |= reach[from][middle] && reach[middle][to];
                }
            }
        }
        (0..versions).any(|place| reach[place][place])
    }

    /// Every set of campaigns over four versions that the rule lets open one after another, in every order.
    #[test]
    fn no_order_of_openings_makes_a_circle() {
        const VERSIONS: usize = 4;
        let ups = (0..VERSIONS).map(|to| Way::Up { to: version(to) });
        let backs = (0..VERSIONS).flat_map(|to| {
            (1_usize..1 << VERSIONS).map(move |set| {
                let from = (0..VERSIONS).filter(|place| set >> place & 1 == 1).collect::<Vec<_>>();
                back(to, &from)
            })
        });
        let ways = ups.chain(backs).filter(|way| way.may_open([]).is_ok()).collect::<Vec<_>>();
        assert_eq!(ways.len(), 4 + 28, "a rollback does not lead to where it comes from");
        // So the order of openings does not matter.
        let (mut allowed, mut refused) = (0, 0);
        for (place, first) in ways.iter().enumerate() {
            for (other_place, second) in ways.iter().enumerate().skip(place + 1) {
                assert_eq!(first.may_open([second]).is_ok(), second.may_open([first]).is_ok(), "{first:?} {second:?}");
                for third in ways.iter().skip(other_place + 1) {
                    let open = [first.clone(), second.clone(), third.clone()];
                    if second.may_open([first]).is_ok() && third.may_open([first, second]).is_ok() {
                        allowed += 1;
                        assert!(!has_circle(&open, VERSIONS), "{open:?}");
                    } else {
                        refused += 1;
                    }
                }
            }
        }
        assert!(allowed > 500 && refused > 1000, "{allowed} allowed, {refused} refused");
    }
}

//! The mix of a load: how many of which requests, and in which order.

use std::fmt;
use std::str::FromStr;

use crate::random::Random;

/// The order repeats after as many requests as the shares add up to.
const LARGEST_SHARE: u32 = 1000;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A check-in of a device that runs the newest version.
    Idle,
    /// A check-in of a device that runs an old version, or what it was offered meanwhile.
    Offer,
    /// A report of a device that was offered an update.
    Report,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Idle, Self::Offer, Self::Report];

    /// As it is written in a mix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Offer => "offer",
            Self::Report => "report",
        }
    }
}

/// The shares of the kinds, in proportion to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix([u32; 3]);

impl Mix {
    /// The share of one kind.
    #[must_use]
    pub fn share(self, kind: Kind) -> u32 {
        self.0.get(kind as usize).copied().unwrap_or(0)
    }

    fn total(self) -> u32 {
        self.0.iter().sum()
    }

    /// Number of devices, of so many, that ask for updates and report: in proportion to their requests.
    #[must_use]
    pub fn asking(self, devices: u32) -> u32 {
        let asking = u64::from(self.total() - self.share(Kind::Idle));
        let share = (u64::from(devices) * asking).div_ceil(u64::from(self.total()));
        u32::try_from(share).unwrap_or(devices)
    }

    /// An order with exactly these shares, to be gone through again and again.
    #[must_use]
    pub fn deck(self, random: &mut Random) -> Vec<Kind> {
        let of = |kind| std::iter::repeat_n(kind, self.share(kind) as usize);
        let mut deck = Kind::ALL.into_iter().flat_map(of).collect::<Vec<_>>();
        // Fisher and Yates's shuffle.
        for last in (1..deck.len()).rev() {
            deck.swap(last, random.place(last + 1));
        }
        deck
    }
}

/// Text that is no mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// It is not a list of shares.
    #[error("expected shares such as idle=90,offer=9,report=1, each at most {LARGEST_SHARE}")]
    Expectation,
    /// A kind has two shares.
    #[error("{} is given twice", .0.name())]
    Twice(Kind),
    /// Nothing is left to be sent.
    #[error("every share is 0")]
    Nothing,
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut shares = [None; 3];
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or(MixError::Expectation)?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim()).ok_or(MixError::Expectation)?;
            let share =
                share.trim().parse().ok().filter(|share| *share <= LARGEST_SHARE).ok_or(MixError::Expectation)?;
            match shares.get_mut(kind as usize) {
                Some(slot @ None) => *slot = Some(share),
                _ => return Err(MixError::Twice(kind)),
            }
        }
        let mix = Self(shares.map(Option::unwrap_or_default));
        if mix.total() == 0 { Err(MixError::Nothing) } else { Ok(mix) }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = Kind::ALL.map(|kind| format!("{}={}", kind.name(), self.share(kind)));
        f.write_str(&shares.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_type_them() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let read = text.parse::<Mix>().map(|mix| mix.to_string()).map_err(|error| error.to_string());
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{text}");
        };
        let expectation = Err("expected shares such as idle=90,offer=9,report=1, each at most 1000");
        check("idle=90,offer=9,report=1", Ok("idle=90,offer=9,report=1"));
        check("report=1, offer = 2", Ok("idle=0,offer=2,report=1"));
        check("idle", expectation);
        check("sleepy=3", expectation);
        check("idle=-1", expectation);
        check("idle=1001", expectation);
        check("", expectation);
        check("idle=1,idle=2", Err("idle is given twice"));
        check("idle=0,offer=0", Err("every share is 0"));
    }

    #[test]
    fn a_deck_has_exactly_the_shares_and_the_same_order_for_the_same_seed() {
        let mix = "idle=90,offer=9,report=1".parse::<Mix>().expect("good shares");
        let deck = |seed| mix.deck(&mut Random::new(seed));
        let count = |kind| deck(7).into_iter().filter(|dealt| *dealt == kind).count();
        assert_eq!(Kind::ALL.map(count), [90, 9, 1]);
        assert_eq!(deck(7), deck(7));
        assert_ne!(deck(7), deck(8));
    }

    #[test]
    fn devices_are_shared_out_like_requests() {
        let asking = |text: &str, devices| text.parse::<Mix>().expect("good shares").asking(devices);
        assert_eq!(asking("idle=90,offer=9,report=1", 1000), 100);
        assert_eq!(asking("idle=90,offer=9,report=1", 1), 1);
        assert_eq!(asking("idle=1", 1000), 0);
        assert_eq!(asking("offer=1", 1000), 1000);
    }
}

//! Numbers of devices that an operator has seen, and in spite of which a held campaign goes on.

use std::fmt;

use crate::count::{Count, Sums};

/// Numbers of devices, of all tests of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Acknowledged {
    /// Devices that failed.
    pub failed: u64,
    /// Devices that fell back.
    pub reverted: u64,
    /// Devices that are overdue.
    pub lost: u64,
    /// Devices that did not apply the update in time.
    pub not_taken: u64,
    /// Devices that could not transfer it.
    pub transfer_failed: u64,
}

impl Acknowledged {
    /// The present numbers.
    #[must_use]
    pub fn present(sums: &Sums) -> Self {
        let devices = |count| u64::try_from(sums.devices(count)).unwrap_or(0);
        Self {
            failed: devices(Count::Failed),
            reverted: devices(Count::Reverted),
            lost: devices(Count::Lost),
            not_taken: devices(Count::NotTaken),
            transfer_failed: devices(Count::TransferFailed),
        }
    }

    /// Returns true if none of the present numbers is larger.
    #[must_use]
    pub fn covers(&self, present: &Self) -> bool {
        present.failed <= self.failed
            && present.reverted <= self.reverted
            && present.lost <= self.lost
            && present.not_taken <= self.not_taken
            && present.transfer_failed <= self.transfer_failed
    }
}

impl fmt::Display for Acknowledged {
    /// As the option of the command writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failed, reverted, lost, not_taken, transfer_failed } = self;
        write!(
            f,
            "failed={failed},reverted={reverted},lost={lost},not_taken={not_taken},transfer_failed={transfer_failed}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_more_of_any_kind_is_not_covered() {
        let seen = Acknowledged { failed: 4, reverted: 3, lost: 2, not_taken: 1, transfer_failed: 0 };
        assert!(seen.covers(&seen) && seen.covers(&Acknowledged::default()));
        for more in [
            Acknowledged { failed: 5, ..seen },
            Acknowledged { reverted: 4, ..seen },
            Acknowledged { lost: 3, ..seen },
            Acknowledged { not_taken: 2, ..seen },
            Acknowledged { transfer_failed: 1, ..seen },
        ] {
            assert!(!seen.covers(&more), "{more}");
        }
    }
}

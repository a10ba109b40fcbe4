//! Places of a campaign: how many devices may have the update and not be done with it.

use crate::limits::DEFAULT_MAX_IN_FLIGHT;

/// Audience share of the default, as one in so many.
const DEFAULT_PART: u64 = 20;
/// Least and most of the default.
const DEFAULT_RANGE: (u64, u64) = (10, DEFAULT_MAX_IN_FLIGHT);
/// One place of a lost device is given on for so many devices that are proved.
const PROVED_FOR_A_PLACE: u64 = 20;

/// The default of `max_in_flight`: one in twenty devices of the audience, at least 10 and at most 500.
#[must_use]
pub fn default_max_in_flight(audience: u64) -> u64 {
    audience.div_euclid(DEFAULT_PART).clamp(DEFAULT_RANGE.0, DEFAULT_RANGE.1)
}

/// The places in force. They grow with devices that are well for longer than a dead one would stay unnoticed, and never
/// with devices that are merely proved: then growth outruns the silence.
#[must_use]
pub fn in_force(max_in_flight: u64, ramp_percent: u64, mature: i64) -> u64 {
    let mature = u64::try_from(mature).unwrap_or(0);
    max_in_flight.max(mature.saturating_mul(ramp_percent).div_euclid(100))
}

/// Number of places of lost devices that may be given to other devices now. While nobody is proved there is none, so a
/// total silent brick costs the places in force and not one device more.
#[must_use]
pub fn to_give_on(proved: i64, given_on: i64) -> u64 {
    let may = u64::try_from(proved).unwrap_or(0).div_euclid(PROVED_FOR_A_PLACE);
    may.saturating_sub(u64::try_from(given_on).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_follows_the_audience() {
        let defaults = [0, 100, 400, 1000, 10_000, 1_000_000].map(default_max_in_flight);
        assert_eq!(defaults, [10, 10, 20, 50, 500, 500]);
    }

    #[test]
    fn places_grow_with_mature_devices_only_above_the_limit() {
        assert_eq!([in_force(100, 100, 50), in_force(100, 100, 250), in_force(100, 0, 250)], [100, 250, 100]);
        assert_eq!(in_force(100, 100, -3), 100);
    }

    #[test]
    fn nothing_of_a_lost_device_is_given_on_while_nobody_is_proved() {
        assert_eq!([to_give_on(0, 0), to_give_on(19, 0), to_give_on(20, 0), to_give_on(100, 3)], [0, 0, 1, 2]);
        assert_eq!([to_give_on(-5, 0), to_give_on(20, 4)], [0, 0]);
    }
}

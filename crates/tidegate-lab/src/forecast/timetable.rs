//! The seconds at which a rule of time may change its mind. Between two of them it does not.

use jiff::Timestamp;
use tidegate_core::Rollout;
use tidegate_core::phase::Phase;
use tidegate_core::window::{Opening, OpeningWindow, any_open};

const MINUTE_S: i64 = 60;

/// The seconds within `from_s..until_s` at which the rollout's start, end, groups, phases or
/// windows may answer differently than the second before, in order.
pub(crate) fn turning_points(rollout: &Rollout, from_s: i64, until_s: i64) -> Vec<i64> {
    let starts = rollout.groups.iter().map(|group| group.starts_at);
    let phases = rollout.phases.iter().filter_map(Phase::starts_at);
    let moments = starts.chain(phases).chain(rollout.starts_at).chain(rollout.ends_at).map(first_second);
    let mut points: Vec<i64> = moments.chain(window_edges(&rollout.windows, from_s, until_s)).collect();
    points.retain(|second| (from_s..until_s).contains(second));
    points.sort_unstable();
    points.dedup();
    points
}

/// When the windows open and close: the spans within `from_s..until_s` in which none is open.
pub(crate) fn closed_spans(windows: &[OpeningWindow], from_s: i64, until_s: i64) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    let mut from = from_s;
    for edge in window_edges(windows, from_s, until_s).into_iter().chain([until_s]) {
        if edge > from && !is_open(windows, from) {
            spans.push((from, edge));
        }
        from = edge;
    }
    spans
}

/// The first whole second that is not before `moment`.
fn first_second(moment: Timestamp) -> i64 {
    moment.as_second() + i64::from(moment.subsec_nanosecond() > 0)
}

/// A window opens at a full minute and stays open for at least one, so within a minute the answer
/// changes at most once, from open to closed. Closed spans say themselves when they end.
fn window_edges(windows: &[OpeningWindow], from_s: i64, until_s: i64) -> Vec<i64> {
    if windows.is_empty() {
        return Vec::new();
    }
    let mut edges = Vec::new();
    let mut was_open = is_open(windows, from_s);
    let mut minute = from_s.div_euclid(MINUTE_S) * MINUTE_S;
    while minute < until_s {
        let opening = any_open(windows, moment(minute));
        if minute > from_s && (opening == Opening::Open) != was_open {
            was_open = !was_open;
            edges.push(minute);
        }
        if let Opening::Closed(opens_at) = opening {
            let next = opens_at.map_or(until_s, first_second);
            minute = next.div_euclid(MINUTE_S).max(minute / MINUTE_S + 1) * MINUTE_S;
            continue;
        }
        if !is_open(windows, minute + MINUTE_S - 1) {
            let closes = (1..MINUTE_S).map(|second| minute + second).find(|second| !is_open(windows, *second));
            if let Some(closes) = closes.filter(|closes| *closes > from_s) {
                was_open = false;
                edges.push(closes);
            }
        }
        minute += MINUTE_S;
    }
    edges.retain(|edge| (from_s..until_s).contains(edge));
    edges
}

fn is_open(windows: &[OpeningWindow], second: i64) -> bool {
    any_open(windows, moment(second)) == Opening::Open
}

/// A second of the play as a moment.
pub(crate) fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("plays are checked to begin after 1970 and to end within months")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_edges_are_exactly_the_seconds_at_which_the_answer_changes() {
        let windows = [
            vec![OpeningWindow::new("0 22 * * *", 6 * 3600 + 17, "Europe/Berlin").unwrap()],
            vec![OpeningWindow::new("*/2 * * * *", 90, "UTC").unwrap()],
            vec![
                OpeningWindow::new("15 * * * *", 100, "UTC").unwrap(),
                OpeningWindow::new("16 * * * *", 61, "Asia/Kolkata").unwrap(),
            ],
        ];
        for windows in windows {
            // The night of the change to summer time, and not from a full minute.
            let (from, until) = (second("2026-03-28T20:30:07Z"), second("2026-03-29T05:00:00Z"));
            let mut expected = Vec::new();
            for second in from + 1..until {
                if is_open(&windows, second) != is_open(&windows, second - 1) {
                    expected.push(second);
                }
            }
            assert_eq!(window_edges(&windows, from, until), expected);
        }
    }

    #[test]
    fn a_rollout_without_times_never_turns() {
        assert!(turning_points(&Rollout::default(), 0, 1 << 30).is_empty());
        assert!(closed_spans(&[], 0, 1 << 30).is_empty());
    }
}

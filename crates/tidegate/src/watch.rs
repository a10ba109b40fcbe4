//! `tidegate watch`: follow a rollout until it ends.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::{CommandError, CommandResult};
use crate::output::{Output, Tone, clean};
use crate::update;
use tidegate_core::State;
use tidegate_wire::operator::{Counters, HealthView, Metrics, SeriesPoint, UpdateView, Verdict};
use tidegate_wire::route::PublishRoute;

/// Wide enough to see 3 %, narrow enough for a terminal of 80 columns.
const BAR_WIDTH: u64 = 32;

/// Options of `tidegate watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Version of the update
    pub version: String,
    /// Time between two looks, such as 10s or 1m
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = crate::duration::parse_period)]
    pub interval: Duration,
    /// Look once and stop
    #[arg(long)]
    pub once: bool,
}

/// One look at the rollout.
struct Look {
    document: Value,
    update: UpdateView,
    metrics: Metrics,
    at: Instant,
}

/// Watches until the update is completed (done), or aborted or withdrawn (failed).
pub fn run(args: WatchArgs, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let product = common.product()?;
    let mut drawn = Drawn::default();
    let mut before: Option<Look> = None;
    loop {
        let look = match look(&client, product, &args.version) {
            // The service may be restarting, and the watch must continue until the rollout ends.
            Err(error) if error.is_unreachable() && before.is_some() => {
                output.note(format!("{}; trying again", error.sentence()));
                drawn.forget();
                std::thread::sleep(args.interval);
                continue;
            }
            look => look?,
        };
        let speed = match &before {
            Some(before) => speed(
                (&before.metrics.counters).into(),
                (&look.metrics.counters).into(),
                look.at.duration_since(before.at),
            ),
            None => last_speed(look.metrics.series.as_deref().unwrap_or_default()),
        };
        drawn.draw(lines(&look, speed, output), &one_line(&look), output)?;
        let state = look.update.state;
        if args.once || matches!(state, State::Completed | State::Aborted | State::Withdrawn) {
            output.document(&look.document)?;
            return verdict(look.update.version(), state);
        }
        before = Some(look);
        std::thread::sleep(args.interval);
    }
}

fn verdict(version: &str, state: State) -> CommandResult {
    let stopped = |code, text: &str| Err(CommandError::failed(code, format!("{} was {text}", clean(version))));
    match state {
        State::Aborted => stopped("aborted", "aborted"),
        State::Withdrawn => stopped("withdrawn", "withdrawn"),
        _ => Ok(()),
    }
}

fn look(client: &ApiClient, product: &str, version: &str) -> CommandResult<Look> {
    let document = client.get(&ApiPath::update(PublishRoute::ShowUpdate, product, version))?;
    let update: UpdateView = update::read(&document, "update")?;
    let metrics = match update.metrics.clone() {
        Some(metrics) => metrics,
        None => {
            let path = ApiPath::update(PublishRoute::ShowMetrics, product, version);
            update::read(&client.get(&path)?, "metrics")?
        }
    };
    Ok(Look { document, update, metrics, at: crate::time::start() })
}

/// The lines that are on the screen.
#[derive(Default)]
struct Drawn {
    lines: usize,
    last: String,
}

impl Drawn {
    /// Draws over the last look on a terminal; elsewhere writes a line when something has changed.
    fn draw(&mut self, lines: Vec<String>, one_line: &str, output: &Output) -> CommandResult {
        if !output.redraws() {
            if self.last != one_line {
                output.line(one_line)?;
                self.last = one_line.to_owned();
            }
            return Ok(());
        }
        let mut text = match self.lines {
            0 => String::new(),
            // Up to the first line, then clear to the end of the screen.
            count => format!("\x1b[{count}A\x1b[J"),
        };
        // Without wrapping: on a narrow terminal, a line that takes two would not be drawn over.
        text.push_str("\x1b[?7l");
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\x1b[?7h");
        self.lines = lines.len();
        output.raw(&text)
    }

    /// Draws the next look below the present output, because another line was written there.
    fn forget(&mut self) {
        self.lines = 0;
    }
}

/// The whole picture, for a terminal.
fn lines(look: &Look, speed: Option<Speed>, output: &Output) -> Vec<String> {
    let (update, counters) = (&look.update, &look.metrics.counters);
    let limit = update.definition().and_then(|definition| definition.rollout.limits.max_devices);
    let total = limit.unwrap_or(counters.offered).max(counters.offered);
    let speed = match speed {
        Some(speed) => {
            format!("{:.1} offered, {:.1} proved, {:.1} failed per minute", speed.offered, speed.proved, speed.failed)
        }
        None => "not known yet".to_owned(),
    };
    let health = match look.metrics.health.verdict {
        Verdict::Hold => output.paint(Tone::Bad, &health(&look.metrics.health)),
        Verdict::Continue => health(&look.metrics.health),
    };
    let mut lines = vec![
        format!(
            "{}  {}",
            output.paint(Tone::Strong, &clean(update.version())),
            output.paint_state(update.state.name())
        ),
        format!("  {}  # proved  > in flight  ! failed", bar(counters, total)),
        format!(
            "  offered {}{}   in flight {}   proved {}   failed {}   fell back {}   overdue {}",
            counters.offered,
            limit.map_or(String::new(), |limit| format!(" of {limit}")),
            counters.in_flight,
            counters.proved,
            counters.failed,
            counters.reverted,
            counters.lost
        ),
        format!("  speed    {speed}"),
        format!("  health   {health}"),
    ];
    match update.state {
        State::Held => lines.push(format!("  held     {}", clean(&update.reason))),
        State::Aborted if !update.reason.is_empty() => lines.push(format!("  stopped  {}", clean(&update.reason))),
        _ => {}
    }
    lines
}

/// The same on one line, for logs.
fn one_line(look: &Look) -> String {
    let Counters { offered, in_flight, proved, failed, reverted, lost, .. } = look.metrics.counters;
    format!(
        "{} {} offered={offered} in_flight={in_flight} proved={proved} failed={failed} reverted={reverted} lost={lost} \
         health={}",
        clean(look.update.version()),
        look.update.state,
        look.metrics.health.verdict,
    )
}

/// The verdict of the health gate with its most evidence.
pub fn health(health: &HealthView) -> String {
    let HealthView { verdict, channels, threshold, .. } = health;
    let evidence = channels.iter().map(|channel| channel.evidence).fold(0.0, f64::max);
    format!("{verdict} (evidence {} of {})", figures(evidence), figures(*threshold))
}

/// Evidence runs from a thousandth to astronomic: three digits tell enough.
fn figures(number: f64) -> String {
    if number != 0.0 && !(0.01..1e6).contains(&number.abs()) {
        return format!("{number:.2e}");
    }
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A bar of `total` devices. A part with at least one device has at least one mark, because a single failure among a
/// million must be visible. A device that tries again after a failure counts as failed and as in flight, so the parts
/// can add up to more than `total`.
fn bar(counters: &Counters, total: u64) -> String {
    let counts = [counters.proved, counters.in_flight, failures(counters)];
    let total = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count)).max(total).max(1);
    let mut widths = counts.map(|count| match count {
        0 => 0,
        _ => (count.saturating_mul(BAR_WIDTH) / total).clamp(1, BAR_WIDTH),
    });
    // Marks that were rounded up to one take their room from the longest part.
    while widths.iter().sum::<u64>() > BAR_WIDTH {
        if let Some(longest) = widths.iter_mut().max() {
            *longest -= 1;
        }
    }
    let marks: String =
        ['#', '>', '!'].into_iter().zip(widths).flat_map(|(mark, width)| (0..width).map(move |_| mark)).collect();
    format!("[{marks:.<0$}]", BAR_WIDTH as usize)
}

/// Devices that count against the update.
fn failures(counters: &Counters) -> u64 {
    let Counters { failed, reverted, lost, not_taken, .. } = counters;
    [failed, reverted, lost, not_taken].into_iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// The counters of a moment, as far as a speed needs them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    offered: u64,
    proved: u64,
    failed: u64,
}

impl From<&Counters> for Sample {
    fn from(counters: &Counters) -> Self {
        Self { offered: counters.offered, proved: counters.proved, failed: failures(counters) }
    }
}

/// Devices per minute.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Speed {
    offered: f64,
    proved: f64,
    failed: f64,
}

fn speed(before: Sample, now: Sample, elapsed: Duration) -> Option<Speed> {
    let minutes = elapsed.as_secs_f64() / 60.0;
    if minutes <= 0.0 {
        return None;
    }
    // Counters may step back when a late report moves a device from one to another.
    let per_minute = |before: u64, now: u64| now.saturating_sub(before) as f64 / minutes;
    Some(Speed {
        offered: per_minute(before.offered, now.offered),
        proved: per_minute(before.proved, now.proved),
        failed: per_minute(before.failed, now.failed),
    })
}

/// The speed between the last two samples of the service.
fn last_speed(series: &[SeriesPoint]) -> Option<Speed> {
    let [.., before, now] = series else {
        return None;
    };
    let elapsed = Duration::try_from(now.at.duration_since(before.at)).ok()?;
    let sample = |point: &SeriesPoint| Sample {
        offered: point.offered,
        proved: point.proved,
        failed: point.failed.saturating_add(point.reverted).saturating_add(point.lost),
    };
    speed(sample(before), sample(now), elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_always_as_wide_and_shows_a_single_failure() {
        let check = |proved, in_flight, failed, total, expected: &str| {
            let metrics = Counters { proved, in_flight, failed, ..Counters::default() };
            assert_eq!(bar(&metrics, total), expected);
        };
        check(0, 0, 0, 0, "[................................]");
        check(16, 8, 8, 32, "[################>>>>>>>>!!!!!!!!]");
        check(999_999, 0, 1, 1_000_000, "[###############################!]");
        check(0, 1, 0, 1_000_000, "[>...............................]");
        check(5, 5, 5, 1, "[##########>>>>>>>>>>!!!!!!!!!!..]");
        check(1, 2, 2, 4, "[######>>>>>>>>>>>>!!!!!!!!!!!!..]");
        check(999_998, 1, 1, 1_000_000, "[##############################>!]");
    }

    #[test]
    fn a_speed_is_per_minute_and_never_negative() {
        let before = Sample::from(&Counters { offered: 10, proved: 5, lost: 3, ..Counters::default() });
        let now = Sample::from(&Counters { offered: 40, proved: 6, lost: 2, ..Counters::default() });
        let expected = Speed { offered: 60.0, proved: 2.0, failed: 0.0 };
        assert_eq!(speed(before, now, Duration::from_secs(30)), Some(expected));
        assert_eq!(speed(before, now, Duration::ZERO), None);
    }

    #[test]
    fn the_first_look_takes_its_speed_from_the_series() {
        let sample = |at: &str, offered| SeriesPoint {
            at: at.parse().expect("a time"),
            offered,
            in_flight: 0,
            proved: 0,
            failed: 0,
            reverted: 0,
            lost: 0,
        };
        let series =
            [sample("2026-01-01T00:00:00Z", 0), sample("2026-01-01T00:01:00Z", 10), sample("2026-01-01T00:03:00Z", 30)];
        assert_eq!(last_speed(&series).map(|speed| speed.offered), Some(10.0));
        assert_eq!(last_speed(&[]), None);
    }

    #[test]
    fn evidence_is_readable_at_every_size() {
        let check = |number, expected: &str| assert_eq!(figures(number), expected);
        check(0.0, "0");
        check(100.0, "100");
        check(1.256, "1.26");
        check(0.000_12, "1.20e-4");
        check(3e12, "3.00e12");
    }

    #[test]
    fn a_completed_rollout_is_a_success_and_an_aborted_one_is_not() {
        assert_eq!(verdict("2.0.0", State::Completed), Ok(()));
        assert_eq!(verdict("2.0.0", State::Active), Ok(()));
        let error = verdict("2.0.0", State::Aborted).expect_err("aborted");
        assert_eq!(error.to_string(), "2.0.0 was aborted (aborted)");
    }
}

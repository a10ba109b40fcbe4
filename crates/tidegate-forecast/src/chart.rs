//! The forecast as a picture: what was offered and installed above, what is in flight below.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::forecast::{Ending, Forecast, Point};
use crate::text;
use crate::timetable::moment;

const SIZE: (u32, u32) = (1200, 760);
const LEFT: i32 = 90;
const RIGHT: i32 = 960;
/// Okabe and Ito's colours, which colour-blind people can tell apart.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const GREEN: RGBColor = RGBColor(0, 130, 95);
const ORANGE: RGBColor = RGBColor(190, 120, 0);
const RED: RGBColor = RGBColor(213, 94, 0);
const PURPLE: RGBColor = RGBColor(160, 70, 125);
const GREY: RGBColor = RGBColor(95, 95, 95);
const PALE: RGBColor = RGBColor(236, 241, 247);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), String>;
type Curve = (&'static str, RGBColor, fn(&Point) -> u64);

impl Forecast {
    /// The picture, as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())
            .expect("nothing fails that writes into a string");
        svg
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        let ending = match &self.ended {
            Ending::Aborted { at, .. } => format!("stopped by the health gate on {}", text::moment(*at)),
            Ending::Finished { at } => format!("finished on {}", text::moment(*at)),
            Ending::Running => "still running at the end".to_owned(),
        };
        write(area, &format!("{}: {ending}", self.plan.title), (LEFT, 28), 24, BLACK, HPos::Left)?;
        let rate = self.plan.offers_per_period.map_or_else(String::new, |most| {
            let period = text::span(self.limits().period_s.into());
            format!(" · at most {} offers per {period}", text::grouped(most))
        });
        let devices = text::grouped(self.eligible.into());
        write(
            area,
            &format!("Forecast for {devices} devices that the update is for{rate}"),
            (LEFT, 56),
            15,
            GREY,
            HPos::Left,
        )?;
        let above: [Curve; 2] = [("offered", BLUE, |p| p.offered), ("succeeded", GREEN, |p| p.succeeded)];
        let below: [Curve; 3] = [
            ("in flight", ORANGE, |p| p.in_flight),
            ("failed", RED, |p| p.failed),
            ("silent", PURPLE, |p| p.timed_out),
        ];
        self.panel(area, (100, 410), &above, "devices, in total", self.limits().max_devices, "max_devices")?;
        self.panel(area, (470, 690), &below, "devices", self.limits().max_in_flight, "max_in_flight")?;
        write(area, "time (UTC)", (i32::midpoint(LEFT, RIGHT), 738), 15, GREY, HPos::Center)
    }

    /// One pair of axes between two heights of the picture.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // pixels
    fn panel(
        &self,
        area: &Area<'_>,
        (top, bottom): (i32, i32),
        curves: &[Curve],
        unit: &str,
        limit: Option<u64>,
        limit_name: &str,
    ) -> Drawn {
        let play = f64::from(self.plan.play_s);
        let peak = curves.iter().flat_map(|(.., of)| self.curve.iter().map(of)).max().unwrap_or(0).max(4);
        let limit = limit.filter(|limit| *limit <= peak.saturating_mul(4));
        let (step, most) = scale(peak.max(limit.unwrap_or(0)));
        let x = |second: f64| LEFT + (second.clamp(0.0, play) / play * f64::from(RIGHT - LEFT)).round() as i32;
        let y = |count: u64| bottom - (count as f64 / most as f64 * f64::from(bottom - top)).round() as i32;
        let at = |second: i64| x((second - self.plan.start_s) as f64);
        let is_upper = limit_name == "max_devices";
        let phases = &self.plan.rollout.phases;
        let ends = phases.iter().skip(1).map(|phase| phase.starts_at.as_second()).chain([i64::MAX / 2]);
        for (index, (phase, end)) in phases.iter().zip(ends).enumerate() {
            let (from, until) = (at(phase.starts_at.as_second()), at(end));
            if index % 2 == 0 {
                shape(area, Rectangle::new([(from, top), (until, bottom)], PALE.filled()))?;
            }
            if is_upper && until - from >= 60 {
                let label = format!("phase {}: {}", index + 1, phase.share);
                write(area, &label, (i32::midpoint(from, until), top - 12), 14, GREY, HPos::Center)?;
            }
        }
        for (from, until) in &self.plan.closed {
            shape(area, Rectangle::new([(at(*from), top), (at(*until), bottom)], GREY.mix(0.15).filled()))?;
        }
        for count in (0..=most).step_by(usize::try_from(step).unwrap_or(1)) {
            line(area, vec![(LEFT, y(count)), (RIGHT, y(count))], GREY.mix(0.25), 1)?;
            write(area, &text::grouped(count), (LEFT - 8, y(count)), 13, GREY, HPos::Right)?;
        }
        write(area, unit, (LEFT - 70, top - 14), 14, GREY, HPos::Left)?;
        let tick_s = tick(self.plan.play_s);
        let mut second = (self.plan.start_s + tick_s - 1).div_euclid(tick_s) * tick_s;
        while second <= self.plan.start_s + i64::from(self.plan.play_s) {
            line(area, vec![(at(second), bottom), (at(second), bottom + 5)], GREY, 1)?;
            let format = if tick_s >= 86_400 { "%a %-d %b" } else { "%a %H:%M" };
            write(
                area,
                &moment(second).strftime(format).to_string(),
                (at(second), bottom + 17),
                13,
                GREY,
                HPos::Center,
            )?;
            second += tick_s;
        }
        if is_upper {
            // The announced timetable: how many devices the phases reach.
            let mut steps = vec![(LEFT, y(0))];
            for phase in phases {
                let from = at(phase.starts_at.as_second());
                steps.push((from, steps.last().map_or(y(0), |last| last.1)));
                steps.push((from, y((f64::from(self.eligible) * phase.share.percent() / 100.0) as u64)));
            }
            steps.push((RIGHT, steps.last().map_or(y(0), |last| last.1)));
            if !phases.is_empty() {
                dashed(area, steps, GREY)?;
            }
        }
        if let Some(limit) = limit {
            dashed(area, vec![(LEFT, y(limit)), (RIGHT, y(limit))], BLACK)?;
            write(
                area,
                &format!("{limit_name} {}", text::grouped(limit)),
                (RIGHT - 6, y(limit) - 9),
                14,
                BLACK,
                HPos::Right,
            )?;
        }
        for (_, colour, of) in curves {
            line(
                area,
                self.curve.iter().map(|point| (x(f64::from(point.second)), y(of(point)))).collect(),
                *colour,
                3,
            )?;
        }
        if let Some(aborted) = self.aborted_at() {
            let x = at(aborted.as_second());
            line(area, vec![(x, top), (x, bottom)], BLACK, 2)?;
            if is_upper {
                write(area, "stopped", (x + 6, top + 12), 14, BLACK, HPos::Left)?;
            }
        }
        // Named where they end; names that would meet are moved apart.
        let last = self.curve.last().copied().unwrap_or_default();
        let mut names =
            curves.iter().map(|(name, colour, of)| (y(of(&last)), *name, *colour, of(&last))).collect::<Vec<_>>();
        names.sort_by_key(|(height, ..)| std::cmp::Reverse(*height));
        let mut lowest = bottom;
        for (height, name, colour, count) in names {
            let shown = height.min(lowest);
            lowest = shown - 19;
            line(area, vec![(RIGHT + 2, height), (RIGHT + 12, shown)], colour, 1)?;
            write(
                area,
                &format!("{name}: {} at the end", text::grouped(count)),
                (RIGHT + 16, shown),
                15,
                colour,
                HPos::Left,
            )?;
        }
        Ok(())
    }
}

fn shape(area: &Area<'_>, element: Rectangle<(i32, i32)>) -> Drawn {
    area.draw(&element).map_err(|error| error.to_string())
}

fn line(area: &Area<'_>, points: Vec<(i32, i32)>, colour: impl Color, width: u32) -> Drawn {
    area.draw(&PathElement::new(points, colour.stroke_width(width))).map_err(|error| error.to_string())
}

fn dashed(area: &Area<'_>, points: Vec<(i32, i32)>, colour: RGBColor) -> Drawn {
    area.draw(&plotters::element::DashedPathElement::new(points, 7, 5, colour.stroke_width(2)))
        .map_err(|error| error.to_string())
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, colour: RGBColor, side: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(|error| error.to_string())
}

/// The step and the end of an axis that reaches `most` in four to ten steps of 1, 2 or 5.
fn scale(most: u64) -> (u64, u64) {
    let mut step = 1_u64;
    for factor in [2_u64, 5, 10].iter().cycle().scan(1_u64, |power, factor| {
        let step = *power * factor;
        if *factor == 10 {
            *power = step;
        }
        Some(step)
    }) {
        if most.div_ceil(step) <= 6 {
            break;
        }
        step = factor;
    }
    (step, most.div_ceil(step) * step)
}

fn tick(play_s: u32) -> i64 {
    [600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800]
        .into_iter()
        .find(|tick| i64::from(play_s) / tick <= 8)
        .unwrap_or(1_209_600)
}

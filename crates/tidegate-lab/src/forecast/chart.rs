//! The forecast as a chart: offers and installations at the top, devices in flight at the bottom. A rollout with a rate
//! has a third part between them: the offers in each period.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::forecast::course::{Ending, Forecast, Point};
use crate::forecast::text;
use crate::forecast::timetable::moment;

const SIZE: (u32, u32) = (1200, 820);
const LEFT: i32 = 90;
const RIGHT: i32 = 960;
/// A bar that is narrower is not seen.
const NARROWEST_BAR: i32 = 3;
/// Okabe and Ito's colours, which colour-blind people can tell apart.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const GREEN: RGBColor = RGBColor(0, 130, 95);
const ORANGE: RGBColor = RGBColor(190, 120, 0);
const RED: RGBColor = RGBColor(213, 94, 0);
const PURPLE: RGBColor = RGBColor(160, 70, 125);
const GREY: RGBColor = RGBColor(95, 95, 95);
const SKY: RGBColor = RGBColor(226, 236, 246);
const SHADE: RGBColor = RGBColor(196, 196, 196);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), String>;
type Spot = (i32, i32);

/// One pair of axes.
struct Panel<'a, 'b> {
    area: &'a Area<'b>,
    start_s: i64,
    play_s: u32,
    top: i32,
    bottom: i32,
    step: u64,
    most: u64,
}

/// One counter over time.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    width: u32,
    spots: Vec<Spot>,
    at_the_end: u64,
}

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
            Ending::Held { at, .. } => format!("held by the health gate on {}", text::moment(*at)),
            Ending::Finished { at } => format!("finished on {}", text::moment(*at)),
            Ending::Running => "still running at the end".to_owned(),
        };
        write(area, &format!("{}: {ending}", self.plan.title), (LEFT, 26), 24, BLACK, HPos::Left)?;
        let devices = text::grouped(self.eligible.into());
        write(
            area,
            &format!("Forecast for {devices} devices that the update is for"),
            (LEFT, 52),
            15,
            GREY,
            HPos::Left,
        )?;
        match self.plan.offers_per_period {
            Some(most) => {
                self.draw_totals(area, 120..360)?;
                self.draw_rate(area, 430..520, most)?;
                self.draw_in_flight(area, 590..730)?;
            }
            None => {
                self.draw_totals(area, 120..420)?;
                self.draw_in_flight(area, 500..730)?;
            }
        }
        self.draw_legend(area, 792)
    }

    /// Everything that was offered and installed, below what the phases reach and `max_devices`.
    fn draw_totals(&self, area: &Area<'_>, heights: Range<i32>) -> Drawn {
        let limit = self.limits().max_devices.filter(|limit| *limit <= u64::from(self.eligible).saturating_mul(2));
        let offered = self.peak(|point| point.offered);
        let reached = self.timetable().map(|(_, devices)| devices).max().unwrap_or(0);
        let panel = self.panel(area, heights, offered.max(reached.min(offered.saturating_mul(2))), limit);
        self.draw_ground(&panel, "Devices, in total")?;
        self.label_phases(&panel)?;
        self.draw_timetable(&panel)?;
        // Where nearly all succeed at once, the narrow line lies on the wide one and hides none of it.
        panel.draw_curves(&[
            self.curve(&panel, ("offered", BLUE, 7), |point| point.offered),
            self.curve(&panel, ("proved", GREEN, 3), |point| point.proved),
        ])?;
        // After the curves, which lie on their limits for long.
        panel.draw_limit(limit, "max_devices")?;
        self.draw_stop(&panel)?;
        self.draw_starts(&panel)
    }

    /// Offers in each period of the rate limit, further attempts included.
    fn draw_rate(&self, area: &Area<'_>, heights: Range<i32>, most: u64) -> Drawn {
        let peak = self.offers_per_period.iter().map(|(_, offers)| u64::from(*offers)).max().unwrap_or(0);
        let limit = Some(most).filter(|most| *most <= peak.saturating_mul(4));
        let panel = self.panel(area, heights, peak, limit);
        let period_s = i64::from(self.limits().period_s);
        let period = text::each(self.limits().period_s);
        let periods = self.periods_per_bar(&panel);
        let title = match periods {
            1 => format!("Offers in each {period}"),
            _ => format!("Offers in each {period}, the most of any {periods} in a row"),
        };
        self.draw_ground(&panel, &title)?;
        for bar in self.offers_per_period.chunks(periods) {
            let (Some((from, _)), Some((last, _))) = (bar.first(), bar.last()) else {
                continue;
            };
            let offers = bar.iter().map(|(_, offers)| u64::from(*offers)).max().unwrap_or(0);
            let (left, right) = (panel.at(*from), panel.at(last + period_s));
            if offers > 0 {
                let corners = [(left, panel.y(offers)), ((right - 1).max(left + 1), panel.bottom)];
                shape(area, Rectangle::new(corners, BLUE.mix(0.75).filled()))?;
            }
        }
        panel.draw_limit(limit, &format!("at most in each {period}:"))?;
        self.draw_stop(&panel)
    }

    /// Devices that have not said how it went, below `max_in_flight`, and those that did not get there.
    fn draw_in_flight(&self, area: &Area<'_>, heights: Range<i32>) -> Drawn {
        let in_flight = self.busiest();
        let peak = in_flight.iter().map(|(_, most)| *most).max().unwrap_or(0);
        let peak = peak.max(self.peak(|point| point.failed)).max(self.peak(|point| point.lost));
        let limit = self.limits().max_in_flight.filter(|limit| *limit <= peak.saturating_mul(4));
        let panel = self.panel(area, heights, peak, limit);
        let each = text::each(self.plan.bucket_s());
        self.draw_ground(&panel, &format!("Devices in flight (the most in each {each}), failed, and overdue"))?;
        let mut steps = Vec::with_capacity(in_flight.len() * 2);
        for (within, most) in &in_flight {
            steps.extend([within.start, within.end].map(|second| (panel.x(second), panel.y(*most))));
        }
        let ground = [(RIGHT, panel.bottom), (LEFT, panel.bottom)];
        let filled = steps.iter().copied().chain(ground).collect::<Vec<_>>();
        area.draw(&Polygon::new(filled, ORANGE.mix(0.25).filled())).map_err(|error| error.to_string())?;
        let at_the_end = self.last().map_or(0, |hour| hour.in_flight);
        panel.draw_curves(&[
            Curve { name: "in flight", colour: ORANGE, width: 2, spots: steps, at_the_end },
            self.curve(&panel, ("failed", RED, 3), |point| point.failed),
            self.curve(&panel, ("overdue", PURPLE, 3), |point| point.lost),
        ])?;
        panel.draw_limit(limit, "max_in_flight")?;
        self.draw_stop(&panel)
    }

    /// The meaning of the shades and dashes, as far as they occur.
    fn draw_legend(&self, area: &Area<'_>, y: i32) -> Drawn {
        write(area, "time (UTC)", (RIGHT, y), 14, GREY, HPos::Right)?;
        let mut x = LEFT;
        let mut entry = |name: &str, draw: &dyn Fn(i32) -> Drawn| {
            draw(x)?;
            write(area, name, (x + 34, y), 14, GREY, HPos::Left)?;
            x += 60 + i32::try_from(name.len()).unwrap_or(0) * 7;
            Ok::<(), String>(())
        };
        let box_at = |x: i32| [(x, y - 8), (x + 26, y + 8)];
        if !self.plan.rollout.phases.is_empty() {
            let groups = if self.plan.rollout.groups.is_empty() { "" } else { ", groups aside" };
            entry(&format!("what the phases reach{groups}"), &|x| dashed(area, vec![(x, y), (x + 28, y)], GREY))?;
            entry("every other phase", &|x| shape(area, Rectangle::new(box_at(x), SKY.filled())))?;
        }
        if !self.plan.closed.is_empty() {
            entry("no window open", &|x| shape(area, Rectangle::new(box_at(x), SHADE.mix(0.6).filled())))?;
        }
        entry("limit", &|x| dashed(area, vec![(x, y), (x + 28, y)], BLACK))
    }

    fn panel<'a, 'b>(&self, area: &'a Area<'b>, heights: Range<i32>, peak: u64, limit: Option<u64>) -> Panel<'a, 'b> {
        // A limit at the very edge is not seen.
        let most = peak.max(limit.map_or(0, |limit| limit.saturating_add(limit / 20 + 1))).max(4);
        let (step, most) = scale(most, u64::from(heights.end.abs_diff(heights.start)) / 42);
        let (start_s, play_s) = (self.plan.start_s, self.plan.play_s);
        Panel { area, start_s, play_s, top: heights.start, bottom: heights.end, step, most }
    }

    /// Phases and closed windows as shades, and the axes.
    fn draw_ground(&self, panel: &Panel<'_, '_>, title: &str) -> Drawn {
        for (from, until, _) in self.phases(panel).into_iter().step_by(2) {
            panel.shade(from, until, &SKY)?;
        }
        for (from, until) in &self.plan.closed {
            panel.shade(panel.at(*from), panel.at(*until), &SHADE.mix(0.6))?;
        }
        panel.draw_axes(title)
    }

    /// Where each phase begins and ends, and its name.
    fn phases(&self, panel: &Panel<'_, '_>) -> Vec<(i32, i32, String)> {
        let phases = &self.plan.rollout.phases;
        let begin_s = &self.plan.phases_begin_s;
        let ends_s = begin_s.iter().skip(1).copied().chain([i64::MAX / 2]);
        let spans = phases.iter().zip(begin_s).zip(ends_s).enumerate();
        spans
            .map(|(index, ((phase, begin_s), end_s))| {
                let name = format!("phase {}: {}", index + 1, phase.share);
                (panel.at(*begin_s), panel.at(end_s), name)
            })
            .collect()
    }

    fn label_phases(&self, panel: &Panel<'_, '_>) -> Drawn {
        for (from, until, name) in self.phases(panel) {
            if until - from >= 60 {
                write(panel.area, &name, (i32::midpoint(from, until), panel.top - 11), 14, GREY, HPos::Center)?;
            }
        }
        Ok(())
    }

    /// The announced timetable: from when on the phases reach how many devices.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of the devices
    fn timetable(&self) -> impl Iterator<Item = (i64, u64)> {
        let ends_s = self.plan.start_s + i64::from(self.plan.play_s);
        let phases = self
            .plan
            .rollout
            .phases
            .iter()
            .zip(&self.plan.phases_begin_s)
            .map(|(phase, begin_s)| (*begin_s, (f64::from(self.eligible) * phase.share.percent() / 100.0) as u64));
        phases.filter(move |(starts_s, _)| *starts_s < ends_s)
    }

    fn draw_timetable(&self, panel: &Panel<'_, '_>) -> Drawn {
        let mut before = 0;
        let mut steps = self.timetable().peekable();
        while let Some((starts_s, devices)) = steps.next() {
            let (from, until) = (panel.at(starts_s), steps.peek().map_or(RIGHT, |(next_s, _)| panel.at(*next_s)));
            let height = panel.y(devices);
            dashed(panel.area, vec![(from, panel.y(before)), (from, height.max(panel.top))], GREY)?;
            if height >= panel.top {
                dashed(panel.area, vec![(from, height), (until, height)], GREY)?;
            }
            before = devices.min(panel.most);
        }
        Ok(())
    }

    fn draw_stop(&self, panel: &Panel<'_, '_>) -> Drawn {
        match self.held_at() {
            Some(at) => panel.draw_moment(at.as_second(), "held", BLACK, 0),
            None => Ok(()),
        }
    }

    /// The start, the end and the starts of the groups.
    fn draw_starts(&self, panel: &Panel<'_, '_>) -> Drawn {
        let rollout = &self.plan.rollout;
        let start = rollout.starts_at.map(|at| (at, "starts".to_owned()));
        let end = rollout.ends_at.map(|at| (at, "ends".to_owned()));
        let groups = rollout.groups.iter().zip(1..).map(|(group, number)| (group.starts_at, format!("group {number}")));
        let play = self.plan.start_s..self.plan.start_s + i64::from(self.plan.play_s);
        let moments = start.into_iter().chain(groups).chain(end).filter(|(at, _)| play.contains(&at.as_second()));
        for ((at, name), row) in moments.zip([0, 1, 2].into_iter().cycle()) {
            panel.draw_moment(at.as_second(), &name, GREY, row)?;
        }
        Ok(())
    }

    fn curve(
        &self,
        panel: &Panel<'_, '_>,
        (name, colour, width): (&'static str, RGBColor, u32),
        of: fn(&Point) -> u64,
    ) -> Curve {
        let spots = self.curve.iter().map(|point| (panel.x(point.second), panel.y(of(point)))).collect();
        Curve { name, colour, width, spots, at_the_end: self.curve.last().map_or(0, of) }
    }

    fn peak(&self, of: fn(&Point) -> u64) -> u64 {
        self.curve.iter().map(of).max().unwrap_or(0)
    }

    fn periods_per_bar(&self, panel: &Panel<'_, '_>) -> usize {
        let period_s = i64::from(self.limits().period_s);
        let is_seen = |periods: &i64| panel.x_after(period_s * periods) >= NARROWEST_BAR;
        // The longest play has 132,480 of the shortest periods.
        (1..132_480).find(is_seen).and_then(|periods| usize::try_from(periods).ok()).unwrap_or(1)
    }

    /// The most in flight within each bucket of time. The counter itself is a comb: a rate limit
    /// lets a batch of devices begin with each period, and they end together.
    fn busiest(&self) -> Vec<(Range<u32>, u64)> {
        let bucket_s = self.plan.bucket_s();
        let mut buckets: Vec<(Range<u32>, u64)> = Vec::new();
        for point in self.curve.iter().filter(|point| point.second > 0) {
            let from = (point.second - 1) / bucket_s * bucket_s;
            match buckets.last_mut() {
                Some((within, most)) if within.start == from => *most = (*most).max(point.in_flight),
                _ => buckets.push((from..(from + bucket_s).min(self.plan.play_s), point.in_flight)),
            }
        }
        buckets
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // pixels
impl Panel<'_, '_> {
    fn x(&self, second: u32) -> i32 {
        LEFT + self.x_after(second.into())
    }

    /// A moment in seconds since 1970; what lies before or after the play is at its edge.
    fn at(&self, second: i64) -> i32 {
        LEFT + self.x_after((second - self.start_s).clamp(0, self.play_s.into()))
    }

    /// Width of a time span in pixels.
    fn x_after(&self, span_s: i64) -> i32 {
        (span_s as f64 / f64::from(self.play_s) * f64::from(RIGHT - LEFT)).round() as i32
    }

    fn y(&self, count: u64) -> i32 {
        self.bottom - (count as f64 / self.most as f64 * f64::from(self.bottom - self.top)).round() as i32
    }

    fn shade(&self, from: i32, until: i32, colour: &impl Color) -> Drawn {
        if until <= from {
            return Ok(());
        }
        shape(self.area, Rectangle::new([(from, self.top), (until, self.bottom)], colour.filled()))
    }

    fn draw_axes(&self, title: &str) -> Drawn {
        write(self.area, title, (LEFT, self.top - 30), 15, BLACK, HPos::Left)?;
        for count in (0..=self.most).step_by(usize::try_from(self.step).unwrap_or(1)) {
            let y = self.y(count);
            line(self.area, vec![(LEFT, y), (RIGHT, y)], GREY.mix(0.25), 1)?;
            write(self.area, &text::grouped(count), (LEFT - 8, y), 13, GREY, HPos::Right)?;
        }
        let tick_s = tick(self.play_s);
        let format = if tick_s >= 86_400 { "%a %-d %b" } else { "%a %H:%M" };
        let mut second = (self.start_s + tick_s - 1).div_euclid(tick_s) * tick_s;
        while second <= self.start_s + i64::from(self.play_s) {
            let x = self.at(second);
            line(self.area, vec![(x, self.bottom), (x, self.bottom + 5)], GREY, 1)?;
            let name = moment(second).strftime(format).to_string();
            write(self.area, &name, (x, self.bottom + 16), 13, GREY, HPos::Center)?;
            second += tick_s;
        }
        Ok(())
    }

    fn draw_limit(&self, limit: Option<u64>, name: &str) -> Drawn {
        let Some(limit) = limit else {
            return Ok(());
        };
        let y = self.y(limit);
        dashed(self.area, vec![(LEFT, y), (RIGHT, y)], BLACK)?;
        write(self.area, &format!("{name} {}", text::grouped(limit)), (RIGHT - 6, y - 11), 14, BLACK, HPos::Right)
    }

    /// `row`: names of neighbours stand below one another.
    fn draw_moment(&self, second: i64, name: &str, colour: RGBColor, row: i32) -> Drawn {
        let x = self.at(second);
        line(self.area, vec![(x, self.top), (x, self.bottom)], colour, 2)?;
        let (x, side) = if x > RIGHT - 60 { (x - 6, HPos::Right) } else { (x + 6, HPos::Left) };
        write(self.area, name, (x, self.top + 12 + 17 * row), 14, colour, side)
    }

    /// Draws them in order, and names them where they end; names that would meet are moved apart.
    fn draw_curves(&self, curves: &[Curve]) -> Drawn {
        for curve in curves {
            // One that never leaves the ground would only hide what lies there.
            if curve.spots.iter().any(|(_, y)| *y != self.bottom) {
                line(self.area, curve.spots.clone(), curve.colour, curve.width)?;
            }
        }
        let mut names = curves.iter().map(|curve| (self.y(curve.at_the_end), curve)).collect::<Vec<_>>();
        names.sort_by_key(|(height, curve)| (std::cmp::Reverse(*height), curve.at_the_end));
        let mut lowest = self.bottom;
        for (height, curve) in names {
            let shown = height.min(lowest);
            lowest = shown - 19;
            line(self.area, vec![(RIGHT + 2, height), (RIGHT + 12, shown)], curve.colour, 1)?;
            let name = format!("{}: {} at the end", curve.name, text::grouped(curve.at_the_end));
            write(self.area, &name, (RIGHT + 16, shown), 15, curve.colour, HPos::Left)?;
        }
        Ok(())
    }
}

fn shape(area: &Area<'_>, element: Rectangle<Spot>) -> Drawn {
    area.draw(&element).map_err(|error| error.to_string())
}

fn line(area: &Area<'_>, spots: Vec<Spot>, colour: impl Color, width: u32) -> Drawn {
    area.draw(&PathElement::new(spots, colour.stroke_width(width))).map_err(|error| error.to_string())
}

fn dashed(area: &Area<'_>, spots: Vec<Spot>, colour: RGBColor) -> Drawn {
    area.draw(&plotters::element::DashedPathElement::new(spots, 7, 5, colour.stroke_width(2)))
        .map_err(|error| error.to_string())
}

fn write(area: &Area<'_>, text: &str, at: Spot, size: i32, colour: RGBColor, side: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(|error| error.to_string())
}

/// The step and the end of an axis that reaches `most` in at most `steps` steps of 1, 2 or 5 times
/// a power of ten.
fn scale(most: u64, steps: u64) -> (u64, u64) {
    let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    let step = powers
        .flat_map(|power| [1, 2, 5].map(|factor| power.saturating_mul(factor)))
        .find(|step| most.div_ceil(*step) <= steps.max(1))
        .unwrap_or(most);
    (step, most.div_ceil(step) * step)
}

fn tick(play_s: u32) -> i64 {
    [600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800]
        .into_iter()
        .find(|tick| i64::from(play_s) / tick <= 8)
        .unwrap_or(1_209_600)
}

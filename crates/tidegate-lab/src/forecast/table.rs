//! The forecast by the hour, as text.

use tidegate_core::ByteSize;

use crate::forecast::course::{Forecast, Hour};
use crate::forecast::text;

/// Rows that fit on a screen; longer plays are thinned out.
const MOST_ROWS: usize = 48;

const HEADINGS: [&str; 8] =
    ["from (UTC)", "check-ins", "offered", "in flight", "proved", "failed", "overdue", "downloaded"];

impl Forecast {
    /// A table by the hour, or by several hours for a long play: check-ins and bytes of the row,
    /// everything else as it stands at the row's end.
    #[must_use]
    pub fn table(&self) -> String {
        let hours_per_row = self.hours.len().div_ceil(MOST_ROWS).max(1);
        let rows = self.hours.chunks(hours_per_row).filter_map(cells).collect::<Vec<_>>();
        let headings = HEADINGS.map(str::to_owned);
        let width = |column: usize| {
            rows.iter().chain([&headings]).map(|cells| cells[column].chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
        let mut table = String::new();
        for cells in [&headings].into_iter().chain(&rows) {
            let line = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect::<Vec<_>>();
            table.push_str(&line.join("  "));
            table.push('\n');
        }
        table
    }
}

fn cells(hours: &[Hour]) -> Option<[String; HEADINGS.len()]> {
    let (first, last) = (hours.first()?, hours.last()?);
    Some([
        text::moment(first.at),
        text::grouped(hours.iter().map(|hour| hour.check_ins).sum()),
        text::grouped(last.offered),
        text::grouped(last.in_flight),
        text::grouped(last.proved),
        text::grouped(last.failed),
        text::grouped(last.lost),
        ByteSize(hours.iter().map(|hour| hour.bytes).sum()).to_string(),
    ])
}

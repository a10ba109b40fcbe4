//! Numbers and times as people read them.

use jiff::Timestamp;

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `40 min`, `26 h` or `7 days`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours) = (seconds.div_ceil(60), (seconds + 1800) / 3600);
    match minutes {
        0..=119 => format!("{minutes} min"),
        120..=4319 => format!("{hours} h"),
        _ => {
            let tenths = (seconds * 10 + 43_200) / 86_400;
            let days = tenths / 10;
            if tenths.is_multiple_of(10) { format!("{days} days") } else { format!("{days}.{} days", tenths % 10) }
        }
    }
}

/// The words after "in each": `hour` or `10 min`.
pub(crate) fn each(seconds: u32) -> String {
    match seconds {
        60 => "minute".to_owned(),
        3600 => "hour".to_owned(),
        86_400 => "day".to_owned(),
        _ => span(seconds.into()),
    }
}

/// `Mon 2 Mar 08:00`, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%a %-d %b %H:%M").to_string()
}

/// `12.5 %`, without decimals that say nothing.
#[allow(clippy::cast_precision_loss)] // for reading
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    // What is not all is not 100 %, and what is not nothing is not 0 %.
    let shown = if part < whole { percent.min(99.9) } else { percent };
    let shown = if part > 0 { shown.max(0.1) } else { shown };
    let text = format!("{shown:.1}");
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_prose() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 61, 7200, 93_600, 604_800, 400_000].map(span),
            ["0 min", "2 min", "2 h", "26 h", "7 days", "4.6 days"]
        );
        assert_eq!(
            [(0, 0), (1, 1_000_000), (1, 4), (999_999, 1_000_000), (7, 7)].map(|(part, whole)| percent(part, whole)),
            ["0 %", "0.1 %", "25 %", "99.9 %", "100 %"]
        );
        assert_eq!(moment("2026-03-02T08:05:00Z".parse().unwrap()), "Mon 2 Mar 08:05");
    }
}

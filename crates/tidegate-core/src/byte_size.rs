//! Sizes in bytes, as people read them.

use std::fmt;

/// A size in bytes. Prints in binary units: `999 B`, `1.5 MiB`, `115 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    #[allow(clippy::cast_precision_loss)] // for reading
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0 as f64, "B");
        for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
            if value < 1023.5 {
                break;
            }
            (value, unit) = (value / 1024.0, larger);
        }
        let decimals = if unit == "B" || value >= 99.95 { 0 } else { 1 };
        f.pad(&format!("{value:.decimals$} {unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_binary_units() {
        let check = |bytes, expected: &str| assert_eq!(ByteSize(bytes).to_string(), expected);
        check(0, "0 B");
        check(1000, "1000 B");
        check(1024, "1.0 KiB");
        check(200_000, "195 KiB");
        check(12_345_678, "11.8 MiB");
        check(123_000_000_000, "115 GiB");
        check(u64::MAX, "16384 PiB");
    }
}

//! The audit log of a product. It is kept by month.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use tidegate_core::{ProductId, Timestamp};
use tidegate_store::PublishStore;
use tidegate_store::record::AuditEntry;
use tidegate_store::store::Freshness;
use tidegate_wire::ApiError;

use super::Operations;
use crate::error::{Done, EngineError};

/// Most months that are read for a page. A page may have fewer entries than asked for, and none: then the next one goes on.
const MOST_MONTHS: usize = 3;
/// The longest time before a product's first update in which entries are looked for: a factory issues tokens before.
const LONGEST_BEFORE: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Digits of the time at the beginning of an entry's name.
const TIME_DIGITS: usize = 20;

impl<S: PublishStore> Operations<S> {
    /// A page of the log, the newest entry first, and where the next page starts; only entries about `subject`, if it is
    /// given.
    ///
    /// # Errors
    /// When the product does not exist, `after` is no `next` of a page, or the store cannot be reached.
    pub async fn audit(
        &self,
        product: &ProductId,
        subject: Option<&str>,
        after: Option<&str>,
        most: usize,
        now: Timestamp,
    ) -> Done<(Vec<AuditEntry>, Option<String>)> {
        let head = self.store.head(product, Freshness::Eventual).await?;
        let head = head.ok_or_else(|| EngineError::UnknownProduct(product.clone()))?;
        let oldest = head.created_at.and_then(|created| created.checked_sub(LONGEST_BEFORE).ok());
        let mut month = match after {
            None => now,
            Some(after) => time_of(after).ok_or_else(|| ApiError::bad_field("after must be the `next` of a page"))?,
        };
        let mut before = after.map(str::to_string);
        let mut entries = Vec::new();
        for _ in 0..MOST_MONTHS {
            let left = most.saturating_sub(entries.len());
            let (page, next) = self.store.audit_month(product, month, before.as_deref(), subject, left).await?;
            entries.extend(page);
            if next.is_some() {
                return Ok((entries, next));
            }
            let first = first_moment(month);
            if oldest.is_none_or(|oldest| first <= oldest) {
                return Ok((entries, None));
            }
            before = Some(format!("{:0TIME_DIGITS$}", first.as_nanosecond()));
            month = Timestamp::from_nanosecond(first.as_nanosecond().saturating_sub(1)).unwrap_or(first);
        }
        Ok((entries, before))
    }
}

/// A time in the month of the entries before this name.
fn time_of(name: &str) -> Option<Timestamp> {
    let nanoseconds: i128 = name.get(..TIME_DIGITS)?.parse().ok()?;
    // The name of a month's beginning has nothing after the time, and its entries are of the month before.
    let of = if name.len() > TIME_DIGITS { nanoseconds } else { nanoseconds.saturating_sub(1) };
    Timestamp::from_nanosecond(of).ok()
}

fn first_moment(at: Timestamp) -> Timestamp {
    let month = at.to_zoned(TimeZone::UTC).first_of_month();
    month.and_then(|day| day.start_of_day()).map_or(at, |day| day.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_midnight_of_its_first_day() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(first_moment(at("2026-12-31T23:59:59.999Z")), at("2026-12-01T00:00:00Z"));
        assert_eq!(first_moment(at("2026-12-01T00:00:00Z")), at("2026-12-01T00:00:00Z"));
        assert_eq!(time_of("01798761600000000000"), Some(at("2026-12-31T23:59:59.999999999Z")));
        assert_eq!(time_of("01798761600000000000#0123"), Some(at("2027-01-01T00:00:00Z")));
        assert_eq!(time_of("1.2.0"), None);
    }
}

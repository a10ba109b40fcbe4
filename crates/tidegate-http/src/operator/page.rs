//! Pages of lists. No answer is larger than 1 MB, whatever is stored: Lambda gives up above 6 MB, and a browser far below.

use serde::Serialize;
use tidegate_wire::ApiError;
use tidegate_wire::operator::{DEFAULT_PAGE, LARGEST_PAGE};

use super::Call;

/// The largest sum of the items of a page, in bytes. The rest of a megabyte is for what stands beside them: the record of a
/// device in an export is the largest.
const LARGEST_ITEMS: usize = 800_000;
/// The longest name of an item in a list, in bytes. No stored name is longer.
const LONGEST_NAME: usize = 512;

/// The page that a call asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Most items.
    pub(super) limit: usize,
    /// The `next` of the page before.
    pub(super) after: Option<&'a str>,
}

impl Call<'_> {
    /// The page that the query asks for, with `limit` and `after`.
    pub(super) fn page(&self) -> Result<Asked<'_>, ApiError> {
        let limit = match self.parameter("limit") {
            None => DEFAULT_PAGE,
            Some(text) => text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(|| {
                ApiError::bad_field(format!("limit must be within 1 and {LARGEST_PAGE}; it is {text}"))
            })?,
        };
        let after = self.parameter("after");
        if after.is_some_and(|after| after.is_empty() || after.len() > LONGEST_NAME) {
            return Err(ApiError::bad_field("after must be the `next` of a page"));
        }
        Ok(Asked { limit, after })
    }
}

/// The items that fit into one answer, and where the next page starts: after the last of them, if some do not fit. Each item
/// comes with its name in the list.
pub(super) fn fitting<T: Serialize>(
    items: impl IntoIterator<Item = (String, T)>,
    next: Option<String>,
) -> (Vec<T>, Option<String>) {
    let (mut page, mut bytes, mut last) = (Vec::new(), 0_usize, None);
    for (name, item) in items {
        // What cannot be written is found when the whole answer is.
        let length = serde_json::to_vec(&item).map_or(0, |text| text.len().saturating_add(1));
        bytes = bytes.saturating_add(length);
        if bytes > LARGEST_ITEMS && !page.is_empty() {
            return (page, last);
        }
        page.push(item);
        last = Some(name);
    }
    (page, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_a_megabyte_and_names_its_last_item() {
        let items = || (0..5).map(|number| (number.to_string(), "x".repeat(300_000)));
        let (page, next) = fitting(items(), Some("the store's".into()));
        assert_eq!((page.len(), next.as_deref()), (2, Some("1")));
        let (page, next) = fitting(items().take(2), Some("the store's".into()));
        assert_eq!((page.len(), next.as_deref()), (2, Some("the store's")));
        let (page, next) = fitting(items().take(2), None);
        assert_eq!((page.len(), next), (2, None));
    }

    #[test]
    fn one_item_is_never_left_out_for_its_size() {
        let (page, next) = fitting([("a".to_string(), "x".repeat(2_000_000)), ("b".into(), String::new())], None);
        assert_eq!((page.len(), next.as_deref()), (1, Some("a")));
    }
}

//! A listing: one page of keys, in which all keys behind a delimiter are one entry.

use s3s::dto::{CommonPrefix, ListObjectsV2Input, ListObjectsV2Output, Object as ListedObject};

use super::object::{Object, signed};

/// S3's limit of entries in one page.
const MAX_PAGE: usize = 1000;

/// One page.
#[derive(Debug, Default)]
pub(super) struct Listing {
    objects: Vec<(String, Object)>,
    prefixes: Vec<String>,
    /// The key after which the next page starts, if there is one.
    next: Option<String>,
}

/// The number of entries that the request asks for.
pub(super) fn page_size(max_keys: Option<i32>) -> usize {
    max_keys.map_or(MAX_PAGE, |wanted| usize::try_from(wanted).unwrap_or_default().min(MAX_PAGE))
}

impl Listing {
    /// The first `size` entries of `found`, which is sorted and in which every key begins with `prefix`.
    pub(super) fn page(found: Vec<(String, Object)>, prefix: &str, delimiter: Option<&str>, size: usize) -> Listing {
        let mut listing = Listing::default();
        let mut last_key = None;
        for (key, object) in found {
            let folded = folded(&key, prefix, delimiter);
            let is_listed = folded.is_some() && listing.prefixes.last().map(String::as_str) == folded;
            if !is_listed && listing.len() >= size {
                listing.next = last_key;
                break;
            }
            last_key = Some(key.clone());
            match folded {
                Some(_) if is_listed => {}
                Some(folded) => listing.prefixes.push(folded.to_owned()),
                None => listing.objects.push((key, object)),
            }
        }
        listing
    }

    /// The page as S3's answer.
    pub(super) fn output(self, input: ListObjectsV2Input) -> ListObjectsV2Output {
        ListObjectsV2Output {
            key_count: i32::try_from(self.len()).ok(),
            max_keys: i32::try_from(page_size(input.max_keys)).ok(),
            is_truncated: Some(self.next.is_some()),
            next_continuation_token: self.next,
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            contents: Some(self.objects.into_iter().map(|(key, object)| listed(key, &object)).collect()),
            common_prefixes: Some(
                self.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect(),
            ),
            ..Default::default()
        }
    }

    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

/// The part of `key` up to the first delimiter after the prefix.
fn folded<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.strip_prefix(prefix)?;
    let end = prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

fn listed(key: String, object: &Object) -> ListedObject {
    ListedObject {
        key: Some(key),
        e_tag: Some(object.etag()),
        size: Some(signed(object.size_bytes)),
        last_modified: Some(object.modified()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::Description;
    use super::*;

    /// Shows one page of `keys` as `objects | prefixes | next`.
    fn page(keys: &[&str], prefix: &str, delimiter: Option<&str>, size: usize) -> String {
        let object = Object {
            version: "1".to_owned(),
            etag: "aa".to_owned(),
            size_bytes: 1,
            modified_s: 1000,
            description: Description::default(),
            blob: Some("blob".to_owned()),
        };
        let found = keys.iter().map(|key| ((*key).to_owned(), object.clone())).collect();
        let listing = Listing::page(found, prefix, delimiter, size);
        let objects = listing.objects.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(" ");
        format!("{objects} | {} | {}", listing.prefixes.join(" "), listing.next.as_deref().unwrap_or("end"))
    }

    #[test]
    fn a_page_ends_with_the_key_after_which_the_next_begins() {
        assert_eq!(page(&["a", "b", "c"], "", None, 2), "a b |  | b");
        assert_eq!(page(&["c"], "", None, 2), "c |  | end");
        assert_eq!(page(&["a", "b"], "", None, 2), "a b |  | end");
        assert_eq!(page(&[], "", None, 2), " |  | end");
    }

    #[test]
    fn a_delimiter_folds_what_is_behind_it() {
        let keys = ["p/a", "p/b/1", "p/b/2", "p/c/1", "p/d"];
        assert_eq!(page(&keys, "p/", Some("/"), 10), "p/a p/d | p/b/ p/c/ | end");
        assert_eq!(page(&keys, "p/", Some("/"), 2), "p/a | p/b/ | p/b/2");
        assert_eq!(page(&keys, "", Some("/"), 10), " | p/ | end");
    }
}

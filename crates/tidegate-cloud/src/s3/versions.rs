//! A listing of versions: one page of keys, each with all its versions, the newest first.

use s3s::dto::{DeleteMarkerEntry, ListObjectVersionsInput, ListObjectVersionsOutput, ObjectVersion};

use super::listing::page_size;
use super::object::{Object, signed};

/// A version of a key.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) key: String,
    pub(super) object: Object,
    pub(super) is_latest: bool,
}

impl Version {
    fn name(&self) -> Option<String> {
        Some(self.object.version.clone())
    }
}

/// The page of `found`, which is sorted, that the request asks for.
pub(super) fn page(found: Vec<Version>, input: ListObjectVersionsInput) -> ListObjectVersionsOutput {
    let size = page_size(input.max_keys);
    let key = input.key_marker.clone().unwrap_or_default();
    let start = match &input.version_id_marker {
        Some(version) => {
            let last = found.iter().position(|found| found.key == key && found.object.version == *version);
            last.map_or(found.len(), |last| last + 1)
        }
        None => found.iter().take_while(|found| found.key <= key && !key.is_empty()).count(),
    };
    let mut listed = found.into_iter().skip(start).collect::<Vec<_>>();
    let is_truncated = listed.len() > size;
    listed.truncate(size);
    let last = listed.last().filter(|_| is_truncated);
    let (next_key_marker, next_version_id_marker) = (last.map(|last| last.key.clone()), last.and_then(Version::name));
    let (markers, versions): (Vec<_>, Vec<_>) = listed.into_iter().partition(|found| found.object.is_delete_marker());
    let version = |found: Version| ObjectVersion {
        e_tag: Some(found.object.etag()),
        is_latest: Some(found.is_latest),
        last_modified: Some(found.object.modified()),
        size: Some(signed(found.object.size_bytes)),
        version_id: found.name(),
        key: Some(found.key),
        ..Default::default()
    };
    let marker = |found: Version| DeleteMarkerEntry {
        is_latest: Some(found.is_latest),
        last_modified: Some(found.object.modified()),
        version_id: found.name(),
        key: Some(found.key),
        owner: None,
    };
    ListObjectVersionsOutput {
        versions: Some(versions.into_iter().map(version).collect()),
        delete_markers: Some(markers.into_iter().map(marker).collect()),
        is_truncated: Some(is_truncated),
        next_key_marker,
        next_version_id_marker,
        max_keys: i32::try_from(size).ok(),
        name: Some(input.bucket),
        prefix: input.prefix,
        key_marker: input.key_marker,
        version_id_marker: input.version_id_marker,
        ..Default::default()
    }
}

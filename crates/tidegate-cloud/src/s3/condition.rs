//! Conditions of a request on the current object, checked before it is read or replaced.

use s3s::dto::{ETagCondition, GetObjectInput, HeadObjectInput, Timestamp};
use s3s::{S3Result, s3_error};

use super::object::Object;

/// Conditions on the current object under which an upload may replace it.
#[derive(Debug, Default)]
pub(super) struct WriteConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Refuses what S3 refuses: on an upload, `If-None-Match` may only be `*`.
    pub(super) fn judge(&self, current: Option<&Object>) -> S3Result<()> {
        match (&self.if_none_match, current) {
            (None, _) | (Some(ETagCondition::Any), None) => {}
            (Some(ETagCondition::Any), Some(_)) => return Err(s3_error!(PreconditionFailed)),
            (Some(ETagCondition::ETag(_)), _) => {
                return Err(s3_error!(NotImplemented, "an upload takes only * as its If-None-Match"));
            }
        }
        match (&self.if_match, current) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(s3_error!(NoSuchKey)),
            (Some(condition), Some(object)) if names(condition, object) => Ok(()),
            (Some(_), Some(_)) => Err(s3_error!(PreconditionFailed)),
        }
    }
}

/// Conditions on an object under which it may be read (RFC 9110, section 13.2.2).
#[derive(Debug, Default)]
pub(super) struct ReadConditions {
    if_match: Option<ETagCondition>,
    if_unmodified_since: Option<Timestamp>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
}

impl ReadConditions {
    pub(super) fn of_get(input: &GetObjectInput) -> ReadConditions {
        ReadConditions {
            if_match: input.if_match.clone(),
            if_unmodified_since: input.if_unmodified_since.clone(),
            if_none_match: input.if_none_match.clone(),
            if_modified_since: input.if_modified_since.clone(),
        }
    }

    pub(super) fn of_head(input: &HeadObjectInput) -> ReadConditions {
        ReadConditions {
            if_match: input.if_match.clone(),
            if_unmodified_since: input.if_unmodified_since.clone(),
            if_none_match: input.if_none_match.clone(),
            if_modified_since: input.if_modified_since.clone(),
        }
    }

    /// A condition on the entity tag takes precedence over the condition on the time of the same kind.
    pub(super) fn judge(&self, object: &Object) -> S3Result<()> {
        let modified = object.modified();
        let wanted = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => names(condition, object),
            (None, Some(since)) => modified <= *since,
            (None, None) => true,
        };
        if !wanted {
            return Err(s3_error!(PreconditionFailed));
        }
        let already_there = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => names(condition, object),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if already_there { Err(s3_error!(NotModified)) } else { Ok(()) }
    }
}

fn names(condition: &ETagCondition, object: &Object) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::ETag;

    use super::super::object::{Description, timestamp};
    use super::*;

    fn object() -> Object {
        Object {
            version: "1".to_owned(),
            etag: "aa".to_owned(),
            size_bytes: 1,
            modified_s: 1000,
            description: Description::default(),
            blob: Some("blob".to_owned()),
        }
    }

    fn etag(value: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(ETag::Strong(value.to_owned())))
    }

    fn verdict(judged: S3Result<()>) -> String {
        judged.map_or_else(|error| error.code().as_str().to_owned(), |()| "yes".to_owned())
    }

    #[track_caller]
    fn check_write(if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>, now: &str, absent: &str) {
        let conditions = WriteConditions { if_match, if_none_match };
        assert_eq!(verdict(conditions.judge(Some(&object()))), now, "with an object there");
        assert_eq!(verdict(conditions.judge(None)), absent, "with no object there");
    }

    #[test]
    fn an_upload_replaces_only_what_it_expects() {
        let any = || Some(ETagCondition::Any);
        check_write(None, None, "yes", "yes");
        check_write(None, any(), "PreconditionFailed", "yes");
        check_write(etag("aa"), None, "yes", "NoSuchKey");
        check_write(etag("bb"), None, "PreconditionFailed", "NoSuchKey");
        check_write(any(), None, "yes", "NoSuchKey");
        check_write(None, etag("aa"), "NotImplemented", "NotImplemented");
    }

    #[track_caller]
    fn check_read(conditions: ReadConditions, expected: &str) {
        assert_eq!(verdict(conditions.judge(&object())), expected);
    }

    #[test]
    fn a_download_is_answered_only_when_the_reader_needs_it() {
        let at = |seconds| Some(timestamp(seconds));
        check_read(ReadConditions::default(), "yes");
        check_read(ReadConditions { if_match: etag("aa"), ..Default::default() }, "yes");
        check_read(ReadConditions { if_match: etag("bb"), ..Default::default() }, "PreconditionFailed");
        check_read(ReadConditions { if_none_match: etag("aa"), ..Default::default() }, "NotModified");
        check_read(ReadConditions { if_none_match: etag("bb"), ..Default::default() }, "yes");
        check_read(ReadConditions { if_modified_since: at(999), ..Default::default() }, "yes");
        check_read(ReadConditions { if_modified_since: at(1000), ..Default::default() }, "NotModified");
        check_read(ReadConditions { if_unmodified_since: at(1000), ..Default::default() }, "yes");
        check_read(ReadConditions { if_unmodified_since: at(999), ..Default::default() }, "PreconditionFailed");
    }

    #[test]
    fn an_entity_tag_outranks_a_time() {
        let at = |seconds| Some(timestamp(seconds));
        let same_tag = ReadConditions { if_match: etag("aa"), if_unmodified_since: at(1), ..Default::default() };
        check_read(same_tag, "yes");
        let other_tag = ReadConditions { if_none_match: etag("bb"), if_modified_since: at(5000), ..Default::default() };
        check_read(other_tag, "yes");
    }
}

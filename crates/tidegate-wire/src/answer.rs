//! The answer to a check-in.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_core::update::Content;
use tidegate_core::{Timestamp, Update};

use crate::definition::KindField;
use crate::ioto::{Empty, IotoAnswer, IotoOffer};

/// A file with its presigned URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SignedFile {
    /// The name.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileName))]
    pub name: String,
    /// The presigned URL.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::SignedUrl))]
    pub url: String,
    /// The SHA-256 of the bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::Sha256))]
    pub sha256: String,
    /// The length in bytes.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::FileSize))]
    pub size: u64,
}

/// The answer to a check-in: an update, or the reason why there is none. An answer with an update has `version`,
/// `update` and `kind`; any other has `reason`. `url`, `checksum` and `size` are those of the first of `files`,
/// and stand first, because some agents take the first `url` that they find.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = CheckAnswer))]
pub struct NativeAnswer {
    /// The presigned URL of the first file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::SignedUrl>))]
    pub url: Option<String>,
    /// The SHA-256 of the first file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::Sha256>))]
    pub checksum: Option<String>,
    /// The version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::Version>))]
    pub version: Option<String>,
    /// The update's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::UpdateId>))]
    pub update: Option<String>,
    /// The length of the first file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::FileSize>))]
    pub size: Option<u64>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, max_length = 4096))]
    pub name: Option<String>,
    /// A description for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, max_length = 4096))]
    pub description: Option<String>,
    /// The kind of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub kind: Option<KindField>,
    /// Any JSON, as the operator wrote it, if `kind` is `json` or `url_list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub payload: Option<Box<RawValue>>,
    /// The files; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(max_items = 16))]
    pub files: Vec<SignedFile>,
    /// Any JSON, as the operator wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Value))]
    pub specification: Option<Box<RawValue>>,
    /// Always true: the user must agree before the device installs the update.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub ask_consent: Option<bool>,
    /// The end of the URLs: 1 to 15 minutes from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::Time>))]
    pub expires_at: Option<Timestamp>,
    /// The time in seconds after which the device should check in again; 3,600 with an offer.
    #[cfg_attr(feature = "schema", schema(minimum = 60, maximum = 86400))]
    pub check_again_after_s: u32,
    /// The code of the objection that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::ObjectionCode>))]
    pub reason: Option<Cow<'static, str>>,
    /// The time that ends the objection by itself; missing, if time does not end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::Time>))]
    pub opens_at: Option<Timestamp>,
}

impl NativeAnswer {
    /// An answer with an update. `expires_at` is the end of the URLs.
    #[must_use]
    pub fn offer(update: &Update, files: Vec<SignedFile>, expires_at: Timestamp, check_again_after_s: u32) -> Self {
        let Content { name, description, payload, specification, kind, ask_consent, .. } = &update.content;
        let raw = |text: &Option<String>| text.clone().and_then(|text| RawValue::from_string(text).ok());
        let first = files.first();
        Self {
            url: first.map(|file| file.url.clone()),
            checksum: first.map(|file| file.sha256.clone()),
            version: Some(update.version.to_string()),
            update: Some(update.id.to_string()),
            size: first.map(|file| file.size),
            name: name.clone(),
            description: description.clone(),
            kind: Some((*kind).into()),
            payload: raw(payload),
            specification: raw(specification),
            ask_consent: ask_consent.then_some(true),
            expires_at: (!files.is_empty()).then(|| rounded_down(expires_at)),
            files,
            check_again_after_s,
            reason: None,
            opens_at: None,
        }
    }

    /// An answer without one.
    #[must_use]
    pub fn nothing(reason: &'static str, opens_at: Option<Timestamp>, check_again_after_s: u32) -> Self {
        Self { check_again_after_s, reason: Some(reason.into()), opens_at: opens_at.map(rounded_up), ..Self::default() }
    }

    /// The same answer for an Ioto agent or updater: exactly four flat fields, or none. Their parser
    /// is a string search, so an answer is never more than this.
    #[must_use]
    pub fn ioto(&self) -> IotoAnswer {
        let four = || {
            Some(IotoOffer {
                url: self.url.clone()?,
                checksum: self.checksum.clone()?,
                version: self.version.clone()?,
                update: self.update.clone()?,
            })
        };
        four().map_or(IotoAnswer::Nothing(Empty {}), IotoAnswer::Offer)
    }
}

/// A time at which something opens, in whole seconds: rounded up, so that a device that asks at that second is not told
/// to wait again.
#[must_use]
pub fn rounded_up(at: Timestamp) -> Timestamp {
    let up = i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(at.as_second().saturating_add(up)).unwrap_or(at)
}

/// A time at which something happened or ends, in whole seconds: rounded down, so that it is never in the future.
#[must_use]
pub fn rounded_down(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_millisecond().div_euclid(1000)).unwrap_or(at)
}

/// [`rounded_up`] as a text in RFC 3339.
#[must_use]
pub fn opens(at: Timestamp) -> String {
    rounded_up(at).to_string()
}

/// [`rounded_down`] as a text in RFC 3339.
#[must_use]
pub fn happened(at: Timestamp) -> String {
    rounded_down(at).to_string()
}

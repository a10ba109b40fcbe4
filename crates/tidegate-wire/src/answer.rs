//! What a device is answered, in each dialect.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate_core::update::{Content, Kind};
use tidegate_core::{Timestamp, Update};

/// A file with the URL that was signed for it.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // the fields of DESIGN's `files`
pub struct SignedFile {
    pub name: String,
    pub url: String,
    pub sha256: String,
    pub size: u64,
}

/// The native answer. The flat fields come first: some agents take the first `url` they find.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)] // the fields of DESIGN's answer
pub struct NativeAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SignedFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specification: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_consent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    pub check_again_after_s: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<String>,
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
            kind: Some(kind_name(*kind)),
            payload: raw(payload),
            specification: raw(specification),
            ask_consent: ask_consent.then_some(true),
            expires_at: (!files.is_empty()).then(|| happened(expires_at)),
            files,
            check_again_after_s,
            reason: None,
            opens_at: None,
        }
    }

    /// An answer without one.
    #[must_use]
    pub fn nothing(reason: &'static str, opens_at: Option<Timestamp>, check_again_after_s: u32) -> Self {
        Self { check_again_after_s, reason: Some(reason), opens_at: opens_at.map(opens), ..Self::default() }
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
        IotoAnswer(four())
    }
}

/// What an Ioto agent is answered: `{"url","checksum","version","update"}` or `{}`.
#[derive(Debug, Clone)]
pub struct IotoAnswer(Option<IotoOffer>);

#[derive(Debug, Clone, Serialize)]
struct IotoOffer {
    url: String,
    checksum: String,
    version: String,
    update: String,
}

impl Serialize for IotoAnswer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(offer) => offer.serialize(serializer),
            None => Value::Object(serde_json::Map::new()).serialize(serializer),
        }
    }
}

/// The name of a kind on the wire.
#[must_use]
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Json => "json",
        Kind::UrlList => "url_list",
    }
}

/// When something opens: RFC 3339 in UTC without fractions, rounded up, so that a device that asks
/// at that second is not told to wait again.
#[must_use]
pub fn opens(at: Timestamp) -> String {
    let up = i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(at.as_second().saturating_add(up)).unwrap_or(at).to_string()
}

/// When something happened, or ends: the same, rounded down, so that it is never in the future.
#[must_use]
pub fn happened(at: Timestamp) -> String {
    Timestamp::from_second(at.as_millisecond().div_euclid(1000)).unwrap_or(at).to_string()
}

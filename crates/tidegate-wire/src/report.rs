//! A report of a device: a progress status or an outcome.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidegate_core::status::Status;
use tidegate_core::{DeviceId, ProductId, UpdateId, Version};

use crate::device_json::parse_version;
use crate::error::ApiError;
use crate::word::words;
use crate::{body_limits, strict_json};

/// The longest message that is kept, in bytes.
const LONGEST_MESSAGE: usize = 256;

/// The body of a report. One of `update` and `version` says which update it is about; `update` wins. Other fields
/// are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Report))]
pub struct ReportBody {
    /// The device's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::DeviceId))]
    pub id: String,
    /// The product's id.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ProductId))]
    pub product: String,
    /// The update's id, as it was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::UpdateId>))]
    pub update: Option<String>,
    /// The update's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false, value_type = Option<crate::schema::Version>))]
    pub version: Option<String>,
    /// The status.
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::ReportStatus))]
    pub status: String,
    /// A text for people; the first 256 bytes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The progress in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 0, maximum = 100))]
    pub progress: Option<f64>,
}

/// The answer to a report. The device is done in both cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ReportAnswer))]
pub struct ReportAnswer {
    /// Why it changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub reason: Option<NotRecorded>,
    /// Whether the report changed anything.
    pub recorded: bool,
}

words! {
    /// The reason why a report changed nothing.
    NotRecorded {
        /// The device was never offered this update.
        NoClaim "no_claim",
        /// The report is about an earlier attempt.
        EarlierAttempt "earlier_attempt",
        /// The device said so before.
        SaidBefore "said_before",
        /// The update is not under way on this device any more: it was proved, or the attempt has ended.
        NotUnderWay "not_under_way",
    }
}

/// The subject of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The update of this id.
    Update(UpdateId),
    /// The last offer of this version.
    Version(Version),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(update) => write!(f, "{update}"),
            Self::Version(version) => write!(f, "{version}"),
        }
    }
}

/// A report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The device that it names; its token must be this device's.
    pub device: DeviceId,
    /// The device's product.
    pub product: ProductId,
    /// Its subject.
    pub about: Subject,
    /// What the device says.
    pub status: Status,
    /// A free text, cut to 256 bytes.
    pub message: Option<String>,
    /// How far it is, in percent.
    pub progress: Option<u8>,
}

impl Report {
    /// Reads a [`ReportBody`].
    ///
    /// # Errors
    /// `body_too_large`, `bad_json`, `bad_field` or `bad_version`.
    pub fn native(body: &[u8]) -> Result<Self, ApiError> {
        let object = strict_json::parse_object(body, body_limits::DEVICE)?;
        let device = device(&object)?;
        let product = ProductId::new(text(&object, "product")?)
            .map_err(|error| ApiError::bad_field(format!("product: {error}")))?;
        let about = match (object.get("update"), object.get("version")) {
            (Some(_), _) => Subject::Update(update_id(text(&object, "update")?)?),
            (None, Some(_)) => Subject::Version(parse_version(text(&object, "version")?)?),
            (None, None) => {
                return Err(ApiError::bad_field("update or version is missing; a report says which it is about"));
            }
        };
        if matches!(&about, Subject::Update(update) if update.product().as_ref() != Some(&product)) {
            return Err(ApiError::bad_field("update must be one of the device's own product"));
        }
        let name = text(&object, "status")?;
        let status = Status::parse(name).ok_or_else(|| {
            let names = Status::names().collect::<Vec<_>>().join(", ");
            ApiError::bad_field(format!("status must be one of {names}; got `{name:.32}`"))
        })?;
        let progress = match object.get("progress") {
            None | Some(Value::Null) => None,
            Some(number) => {
                let percent = number.as_f64().filter(|percent| (0.0..=100.0).contains(percent));
                let percent =
                    percent.ok_or_else(|| ApiError::bad_field("progress must be a number within 0 and 100"))?;
                // Within 0 and 100 by the line above.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                Some(percent as u8)
            }
        };
        Ok(Self { device, product, about, status, message: message_of(&object), progress })
    }

    /// Reads an Ioto `updateReport`. It does not say the product: the update's id does.
    ///
    /// # Errors
    /// `body_too_large`, `bad_json` or `bad_field`.
    pub fn ioto(body: &[u8]) -> Result<Self, ApiError> {
        let object = strict_json::parse_object(body, body_limits::DEVICE)?;
        let update = update_id(text(&object, "update")?)?;
        let product = update.product().ok_or_else(|| ApiError::bad_field("update must be the id that was offered"))?;
        // The shell client sends the word, the others the value.
        let status = match object.get("success") {
            Some(Value::Bool(true)) => Status::InstallSuccess,
            Some(Value::Bool(false)) => Status::InstallError,
            Some(Value::String(word)) if word == "true" => Status::InstallSuccess,
            Some(Value::String(word)) if word == "false" => Status::InstallError,
            _ => return Err(ApiError::bad_field("success must be true or false")),
        };
        let about = Subject::Update(update);
        Ok(Self { device: device(&object)?, product, about, status, message: None, progress: None })
    }
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, ApiError> {
    object
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| ApiError::bad_field(format!("{field} is missing or not a string")))
}

fn device(object: &Map<String, Value>) -> Result<DeviceId, ApiError> {
    DeviceId::new(text(object, "id")?).map_err(|error| ApiError::bad_field(format!("id: {error}")))
}

fn update_id(text: &str) -> Result<UpdateId, ApiError> {
    UpdateId::new(text).map_err(|error| ApiError::bad_field(format!("update: {error}")))
}

/// The `message` of a report, cut to the length that is kept.
#[must_use]
pub fn message_of(object: &Map<String, Value>) -> Option<String> {
    shortened(object.get("message")?.as_str()?)
}

/// The first 256 bytes of a message: what is kept of it.
#[must_use]
pub fn shortened(text: &str) -> Option<String> {
    let end = (0..=LONGEST_MESSAGE.min(text.len())).rev().find(|end| text.is_char_boundary(*end))?;
    text.get(..end).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: Result<Report, ApiError>, expected: &str) {
        let got = match report {
            Ok(report) => format!("{} {} {} {}", report.product, report.device, report.about, report.status),
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expected), "{got}");
    }

    #[test]
    fn a_report_names_an_update_or_a_version() {
        let report = |about: &str| {
            Report::native(format!(r#"{{"id":"a","product":"lamp",{about},"status":"INIT"}}"#).as_bytes())
        };
        check(report(r#""version":"1.2.0""#), "lamp a 1.2.0 INIT");
        check(report(r#""update":"lamp.00","version":"1.2.0""#), "lamp a lamp.00 INIT");
    }

    #[test]
    fn an_ioto_report_says_success_as_a_value_or_a_word() {
        let report =
            |success: &str| Report::ioto(format!(r#"{{"success":{success},"id":"a","update":"lamp.00"}}"#).as_bytes());
        check(report("true"), "lamp a lamp.00 INSTALL_SUCCESS");
        check(report("\"true\""), "lamp a lamp.00 INSTALL_SUCCESS");
        check(report("false"), "lamp a lamp.00 INSTALL_ERROR");
        check(report("\"false\""), "lamp a lamp.00 INSTALL_ERROR");
        check(report("1"), "success must be true or false (bad_field)");
    }

    #[test]
    fn a_report_about_another_products_update_is_refused() {
        let body = br#"{"id":"a","product":"lamp","update":"door.00","status":"INIT"}"#;
        check(Report::native(body), "update must be one of the device's own product (bad_field)");
    }

    #[test]
    fn an_unknown_status_is_answered_with_the_list() {
        let body = br#"{"id":"a","product":"lamp","version":"1.0.0","status":"DONE"}"#;
        check(Report::native(body), "status must be one of INIT, TEST, ");
    }
}

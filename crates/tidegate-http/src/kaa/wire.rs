//! Kaa's configuration management protocol (7/CMP) over HTTP, as its software updates use it: the id of
//! a configuration is the version of the software, and the configuration is its specification.
//!
//! An endpoint asks with the version that it runs. That version counts as applied ("implicit application"), and so does
//! a version that it confirms on `applied`.

use lambda_http::{Body, Response};
use serde_json::{Map, Value};
use tidegate_core::status::Status;
use tidegate_core::update::Kind;
use tidegate_core::{Update, Version};

use tidegate_engine::token::{Bearer, TokenKeys};
use tidegate_wire::ApiError;
use tidegate_wire::answer::SignedFile;
use tidegate_wire::body_limits;
use tidegate_wire::device_json::parse_version;
use tidegate_wire::ioto::Empty;
use tidegate_wire::kaa::{KaaAnswer, KaaConfig, KaaStatus};
use tidegate_wire::report::{Report, Subject, shortened};
use tidegate_wire::route::Found;
use tidegate_wire::strict_json;

/// The endpoint of a request: the application version is the product, and the endpoint's token contains the device.
///
/// # Errors
/// `unauthorized`.
pub fn caller(found: &Found<'_>, keys: &TokenKeys) -> Result<Bearer, ApiError> {
    let (app_version, token) = (found.parameter("app_version"), found.parameter("token"));
    let bearer = keys.verify_named(token, Some(app_version));
    let bearer = bearer.filter(|bearer| bearer.product.as_str() == app_version);
    bearer.ok_or_else(|| ApiError {
        message: "the path must name the application version and carry a valid token of this endpoint".into(),
        ..ApiError::unauthorized()
    })
}

/// Reads a question on `config`: the version that the endpoint runs, or `None` if it has applied none.
///
/// # Errors
/// `body_too_large`, `bad_json`, `bad_field` or `bad_version`.
pub fn running(body: &[u8]) -> Result<Option<Version>, ApiError> {
    let object = object(body)?;
    match object.get("configId") {
        // "No configuration is applied."
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(_) => version_in(&object).map(Some),
    }
}

/// A statement of an endpoint on `applied`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The version that it is about.
    pub version: Version,
    /// True if the endpoint runs it.
    pub is_applied: bool,
    message: Option<String>,
}

impl Applied {
    /// Reads `{"configId","statusCode"?,"reasonPhrase"?}`.
    ///
    /// # Errors
    /// `body_too_large`, `bad_json`, `bad_field` or `bad_version`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let object = object(body)?;
        let code = match object.get("statusCode") {
            None | Some(Value::Null) => 200,
            Some(code) => {
                let code = code.as_u64().filter(|code| (100..1000).contains(code));
                code.ok_or_else(|| ApiError::bad_field("statusCode must be an HTTP status"))?
            }
        };
        let phrase = object.get("reasonPhrase").and_then(Value::as_str).filter(|text| !text.is_empty());
        let is_applied = (200..300).contains(&code);
        let message = match (is_applied, phrase) {
            (true, phrase) => phrase.and_then(shortened),
            (false, phrase) => shortened(format!("{code} {}", phrase.unwrap_or_default()).trim_end()),
        };
        Ok(Self { version: version_in(&object)?, is_applied, message })
    }

    /// The statement as a report.
    #[must_use]
    pub fn report(&self, bearer: &Bearer) -> Report {
        Report {
            device: bearer.device.clone(),
            product: bearer.product.clone(),
            about: Subject::Version(self.version.clone()),
            status: if self.is_applied { Status::InstallSuccess } else { Status::InstallError },
            message: self.message.clone(),
            progress: None,
        }
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    strict_json::parse_object(body, body_limits::DEVICE)
}

fn version_in(object: &Map<String, Value>) -> Result<Version, ApiError> {
    let version = object.get("configId").and_then(Value::as_str);
    parse_version(version.ok_or_else(|| ApiError::bad_field("configId is missing or not a string"))?)
}

/// The configuration that an endpoint is to apply.
#[must_use]
pub fn config(update: &Update, files: &[SignedFile]) -> KaaAnswer {
    KaaAnswer::Config(KaaConfig {
        config: specification(update, files),
        config_id: update.version.to_string(),
        reason_phrase: "ok".into(),
        status_code: 200,
    })
}

/// The answer to a result that was handled.
#[must_use]
pub fn ok() -> KaaStatus {
    KaaStatus { reason_phrase: "ok".into(), status_code: 200 }
}

/// The software's specification as published. If the software has a file, `link` is a fresh URL; `checksum` and `size`
/// are added only if they are missing.
fn specification(update: &Update, files: &[SignedFile]) -> Value {
    let read = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let payload = read(&update.content.payload);
    let specification = read(&update.content.specification);
    let mut config = match (specification, files) {
        (Some(Value::Object(fields)), _) => fields,
        (Some(other), []) => return other,
        (Some(other), _) => Map::from_iter([("specification".to_string(), other)]),
        (None, _) => match (update.content.kind, payload) {
            (Kind::Json, Some(Value::Object(fields))) => fields,
            (Kind::Json, Some(other)) if files.is_empty() => return other,
            (Kind::Json, Some(other)) => Map::from_iter([("payload".to_string(), other)]),
            (Kind::UrlList, Some(Value::Array(links))) => {
                let first = links.first().map(|link| ("link".to_string(), link.clone()));
                first.into_iter().chain([("links".to_string(), Value::Array(links))]).collect()
            }
            _ => Map::new(),
        },
    };
    if let Some(file) = files.first() {
        // A link in the specification is replaced: only the signed one works for this endpoint.
        config.insert("link".into(), file.url.clone().into());
        config.entry("checksum").or_insert_with(|| file.sha256.clone().into());
        config.entry("size").or_insert_with(|| file.size.into());
    }
    if files.len() > 1 {
        config.entry("files").or_insert_with(|| serde_json::to_value(files).unwrap_or_default());
    }
    Value::Object(config)
}

/// The answer if there is no new configuration.
#[must_use]
pub fn unchanged() -> KaaAnswer {
    KaaAnswer::Unchanged(Empty {})
}

/// An error in the format of this protocol.
#[must_use]
pub fn refuse(error: &ApiError) -> Response<Body> {
    let body = KaaStatus { reason_phrase: error.message.clone(), status_code: error.status() };
    let mut response = crate::edge::respond(error.status(), &body);
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_asks_with_what_it_runs_or_with_nothing() {
        let check = |body: &str, expected: &str| {
            let got = match running(body.as_bytes()) {
                Ok(version) => version.map(|version| version.to_string()).unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            assert!(got.starts_with(expected) && got.is_empty() == expected.is_empty(), "{body}: {got}");
        };
        check(r#"{"configId":"1.0.0","observe":true}"#, "1.0.0");
        check(r#"{"observe":true}"#, "");
        check(r#"{"configId":""}"#, "");
        check(r#"{"configId":null}"#, "");
        check("", "");
        check(r#"{"configId":"one"}"#, "version must be SemVer");
        check(r#"{"configId":7}"#, "configId is missing or not a string");
        check("[]", "the body must be a JSON object");
    }

    #[test]
    fn a_status_of_the_two_hundreds_is_a_success() {
        let check = |body: &str, expected: &str| {
            let got = match Applied::parse(body.as_bytes()) {
                Ok(said) => format!("{} {} {}", said.version, said.is_applied, said.message.unwrap_or_default()),
                Err(error) => error.to_string(),
            };
            assert!(got.starts_with(expected), "{body}: {got}");
        };
        check(r#"{"configId":"1.0.0"}"#, "1.0.0 true ");
        check(r#"{"configId":"1.0.0","statusCode":202,"reasonPhrase":"ok"}"#, "1.0.0 true ok");
        check(r#"{"configId":"1.0.1","statusCode":400,"reasonPhrase":"no space"}"#, "1.0.1 false 400 no space");
        check(r#"{"configId":"1.0.1","statusCode":500}"#, "1.0.1 false 500");
        check(r#"{"configId":"1.0.1","statusCode":"200"}"#, "statusCode must be");
        check(r#"{"statusCode":200}"#, "configId is missing");
        check("{", "the body must be JSON");
    }
}

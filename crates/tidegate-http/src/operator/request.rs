//! What operators ask: who they are, and the bodies of their calls.

use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};
use serde_json::Value;

use tidegate_wire::body_limits;
use tidegate_wire::error::{ApiError, ErrorCode};
use tidegate_wire::strict_json;

/// Who asks, as API Gateway's IAM authorizer says it. Functions believe nothing else: a request
/// that did not pass the authorizer has no operator.
///
/// # Errors
/// `forbidden`, when there is none.
pub fn principal(request: &Request) -> Result<String, ApiError> {
    let arn = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context
            .authorizer
            .as_ref()
            .and_then(|authorizer| authorizer.iam.as_ref())
            .and_then(|iam| iam.user_arn.clone()),
        _ => None,
    };
    arn.ok_or_else(|| {
        ApiError::new(ErrorCode::Forbidden, "operator calls must be signed with IAM, or carry the local operator key")
    })
}

/// Reads an object of an operator; an empty body is an empty object.
///
/// # Errors
/// `body_too_large`, `bad_json`, or `unknown_field` for a field that is not `known`.
pub fn object(body: &[u8], known: &[&str]) -> Result<serde_json::Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(serde_json::Map::new());
    }
    let object = strict_json::parse_object(body, body_limits::OPERATOR)?;
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let known = known.join(", ");
            Err(ApiError::new(ErrorCode::UnknownField, format!("there is no field `{name}` here; there is {known}")))
        }
        None => Ok(object),
    }
}

/// The reason that an operator gives for a change, for the audit log.
///
/// # Errors
/// `bad_field`, when it is not a text of at most 1,000 bytes.
pub fn reason(object: &serde_json::Map<String, Value>) -> Result<String, ApiError> {
    match object.get("reason") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) if text.len() <= 1000 => Ok(text.clone()),
        Some(_) => Err(ApiError::bad_field("reason must be a text of at most 1000 bytes")),
    }
}

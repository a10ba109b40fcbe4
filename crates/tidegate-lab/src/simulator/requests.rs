//! Requests as API Gateway hands them to a function, and answers as a device reads them.

use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerIamDescription, ApiGatewayV2httpRequestContext,
};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::Value;

/// The operator of the simulated rollouts.
const OPERATOR: &str = "arn:aws:iam::1:user/ada";

/// A device's request with these headers.
///
/// # Panics
/// When the method, the path or a header cannot stand in a request.
#[must_use]
pub fn device(method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Request {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::Text(body)).expect("devices write good requests")
}

/// An operator's request, as it passed the IAM authorizer.
///
/// # Panics
/// When the method or the path cannot stand in a request.
#[must_use]
pub fn operator(method: &str, path: &str, body: &str) -> Request {
    let request = http::Request::builder().method(method).uri(path).body(Body::Text(body.into()));
    let mut iam = ApiGatewayRequestAuthorizerIamDescription::default();
    iam.user_arn = Some(OPERATOR.into());
    let mut authorizer = ApiGatewayRequestAuthorizer::default();
    authorizer.iam = Some(iam);
    let mut context = ApiGatewayV2httpRequestContext::default();
    context.authorizer = Some(authorizer);
    request
        .expect("operators write good paths")
        .with_raw_http_path(path)
        .with_request_context(RequestContext::ApiGatewayV2(context))
}

/// An answer whose body should be JSON and is not.
#[derive(Debug, thiserror::Error)]
#[error("the body is not JSON: {0}")]
pub struct AnswerError(#[from] serde_json::Error);

/// An answer of a function.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, where there is one.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// Reads an answer. A body of another media type is a text.
    ///
    /// # Errors
    /// When the body should be JSON and is not.
    pub fn read(response: &Response<Body>) -> Result<Self, AnswerError> {
        let media = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_json = media.contains("json");
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        Ok(Self {
            status: response.status().as_u16(),
            retry_after_s: retry_after.and_then(|text| text.parse().ok()),
            body: match is_json {
                true => serde_json::from_slice(response.body())?,
                false => String::from_utf8_lossy(response.body()).into(),
            },
        })
    }

    /// A text in the body.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }

    /// The status, and the code or the offer, for people.
    #[must_use]
    pub fn brief(&self) -> String {
        let code = self.body.pointer("/error/code").and_then(Value::as_str);
        let what = code.or_else(|| self.text("version")).or_else(|| self.text("reason")).or_else(|| self.text("state"));
        let retry = self.retry_after_s.map(|seconds| format!(" retry after {seconds} s")).unwrap_or_default();
        format!("{} {}{retry}", self.status, what.unwrap_or("-"))
    }
}

//! Requests as API Gateway hands them to a function, and answers as a device reads them.

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use http::HeaderValue;
use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerIamDescription, ApiGatewayV2httpRequestContext,
};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::Value;
use tidegate_store::Images;

/// The operator of the simulated rollouts.
const OPERATOR: &str = "arn:aws:iam::1:user/ada";

/// A device's request.
///
/// # Panics
/// When the path or the token cannot stand in a request.
#[must_use]
pub fn device(path: &'static str, token: &str, body: String) -> Request {
    let mut request = Request::new(Body::Text(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    let token = HeaderValue::from_str(token).expect("a token is base64url and dots");
    request.headers_mut().insert("authorization", token);
    request
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

/// An answer whose body is not JSON.
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
    /// Reads an answer.
    ///
    /// # Errors
    /// When the body is not JSON.
    pub fn read(response: &Response<Body>) -> Result<Self, AnswerError> {
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        Ok(Self {
            status: response.status().as_u16(),
            retry_after_s: retry_after.and_then(|text| text.parse().ok()),
            body: serde_json::from_slice(response.body())?,
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

/// Images that can sign and are never asked for bytes.
#[must_use]
pub fn images() -> Images {
    let credentials =
        SharedCredentialsProvider::new(Credentials::new("simulated", "simulated", None, None, "simulator"));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url("http://127.0.0.1:9")
        .credentials_provider(credentials.clone())
        .build();
    Images::new(aws_sdk_s3::Client::from_conf(config), credentials, "simulated")
}

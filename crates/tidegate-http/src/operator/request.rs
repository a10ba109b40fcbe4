//! The identity of an operator.

use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

use tidegate_wire::error::{ApiError, ErrorCode};

/// The operator of a request, from API Gateway's IAM authorizer. Functions trust no other source: a request that did
/// not pass the authorizer has no operator.
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

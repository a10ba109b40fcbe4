//! The event that API Gateway sends to a Lambda function for one HTTP request, payload format 2.0.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerIamDescription, ApiGatewayV2httpRequest,
    ApiGatewayV2httpRequestContext, ApiGatewayV2httpRequestContextHttpDescription,
};
use percent_encoding::percent_decode_str;

use super::OPERATOR_ARN;

/// The account of the local operator.
const ACCOUNT: &str = "000000000000";

/// The only address that can reach loopback.
const LOOPBACK: &str = "127.0.0.1";

/// The route and the stage of an HTTP API that has only one of each.
const DEFAULT: &str = "$default";

/// The path of a request cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The sender of a request, as far as the front door knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// No key is needed: the functions check device tokens themselves.
    Device,
    /// The request carried the operator key.
    Operator,
}

/// A request and what the front door found out about it.
pub(super) struct Event<'a> {
    pub(super) head: &'a Parts,
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
    pub(super) caller: Caller,
    pub(super) request_id: &'a str,
}

impl Event<'_> {
    /// The event as JSON, with the present time.
    pub(super) fn to_json(&self) -> String {
        let (body, is_base64_encoded) = encoded(self.body);
        let mut event = ApiGatewayV2httpRequest::default();
        event.version = owned("2.0");
        event.route_key = owned(DEFAULT);
        event.raw_path = owned(self.path);
        event.raw_query_string = owned(self.head.uri.query().unwrap_or_default());
        event.headers = headers(&self.head.headers);
        event.request_context = self.context(Timestamp::now());
        event.body = body;
        event.is_base64_encoded = is_base64_encoded;
        serde_json::to_string(&event).expect("every header is UTF-8, and the rest is text and numbers")
    }

    fn context(&self, now: Timestamp) -> ApiGatewayV2httpRequestContext {
        let mut http = ApiGatewayV2httpRequestContextHttpDescription::default();
        http.method = self.head.method.clone();
        http.path = owned(self.path);
        http.protocol = owned("HTTP/1.1");
        http.source_ip = owned(LOOPBACK);
        http.user_agent = text(&self.head.headers, "user-agent");

        let mut context = ApiGatewayV2httpRequestContext::default();
        context.account_id = owned(ACCOUNT);
        context.apiid = owned("local");
        context.domain_name = owned("localhost");
        context.domain_prefix = owned("local");
        context.http = http;
        context.request_id = owned(self.request_id);
        context.route_key = owned(DEFAULT);
        context.stage = owned(DEFAULT);
        context.time = Some(now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string());
        context.time_epoch = now.as_millisecond();
        context.authorizer = (self.caller == Caller::Operator).then(operator);
        context
    }
}

/// The part that API Gateway's IAM authorizer adds to a request of an operator.
fn operator() -> ApiGatewayRequestAuthorizer {
    let mut iam = ApiGatewayRequestAuthorizerIamDescription::default();
    iam.access_key = owned("AKIALOCALOPERATOR");
    iam.account_id = owned(ACCOUNT);
    iam.caller_id = owned("AIDALOCALOPERATOR");
    iam.user_arn = owned(OPERATOR_ARN);
    iam.user_id = owned("AIDALOCALOPERATOR");
    let mut authorizer = ApiGatewayRequestAuthorizer::default();
    authorizer.iam = Some(iam);
    authorizer
}

/// The path as an HTTP API sends it: percent-decoded, and cut at a decoded question mark. AWS documents
/// neither; middleapi/standard-server#93 reports both from captured events. The local front door does the
/// same, so that a function cannot rely on an encoded path here and fail in AWS.
pub(super) fn decoded_path(path: &str) -> Result<String, Malformed> {
    let is_escape = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    if !path.split('%').skip(1).all(|rest| rest.as_bytes().get(..2).is_some_and(is_escape)) {
        return Err(Malformed);
    }
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| Malformed)?;
    Ok(decoded.split('?').next().unwrap_or_default().to_owned())
}

/// Repeated headers joined with a comma. A value that is not UTF-8 is left out, because JSON cannot hold it.
fn headers(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let values: Vec<_> = values.filter(|value| std::str::from_utf8(value).is_ok()).collect();
        if !values.is_empty() {
            let value = HeaderValue::from_bytes(&values.join(&b','));
            joined.insert(name, value.expect("header values joined with a comma are a header value"));
        }
    }
    // API Gateway overwrites what a client says of these.
    joined.insert(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(LOOPBACK));
    joined.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("http"));
    joined
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok().map(str::to_owned)
}

fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The body as a JSON string, and whether it is in base64.
fn encoded(body: &[u8]) -> (Option<String>, bool) {
    match std::str::from_utf8(body) {
        Ok("") => (None, false),
        Ok(text) => (Some(text.to_owned()), false),
        Err(_) => (Some(STANDARD.encode(body)), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_cut_at_a_question_mark() {
        let check = |path: &str, expected: Result<&str, Malformed>| {
            assert_eq!(decoded_path(path), expected.map(str::to_owned), "{path}");
        };
        check("/v1/check", Ok("/v1/check"));
        check("/v1/updates/1.2.3%2Bbuild.7", Ok("/v1/updates/1.2.3+build.7"));
        check("/%C3%BC", Ok("/ü"));
        check("/%252e", Ok("/%2e"));
        check("/a%3Fb=1", Ok("/a"));
        check("/%", Err(Malformed));
        check("/%2", Err(Malformed));
        check("/%zz", Err(Malformed));
        check("/%+2", Err(Malformed));
        check("/%ff", Err(Malformed));
    }

    #[test]
    fn only_a_body_that_is_not_text_is_in_base64() {
        assert_eq!(encoded(b""), (None, false));
        assert_eq!(encoded("ü".as_bytes()), (Some("ü".to_owned()), false));
        assert_eq!(encoded(&[0xff, 0x00]), (Some("/wA=".to_owned()), true));
    }

    #[test]
    fn repeated_headers_are_one_and_a_client_does_not_choose_its_address() {
        let mut sent = HeaderMap::new();
        sent.append("accept", HeaderValue::from_static("a"));
        sent.append("accept", HeaderValue::from_bytes("ü".as_bytes()).unwrap());
        sent.append("accept", HeaderValue::from_bytes(&[0xff]).unwrap());
        sent.append("cookie", HeaderValue::from_bytes(&[0xff]).unwrap());
        sent.append("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        let joined = headers(&sent);
        assert_eq!(joined["accept"].as_bytes(), "a,ü".as_bytes());
        assert_eq!(joined["x-forwarded-for"], LOOPBACK);
        assert_eq!(joined["x-forwarded-proto"], "http");
        assert_eq!(joined.len(), 3);
    }
}

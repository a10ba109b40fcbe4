//! The event: one HTTP request as API Gateway describes it to a Lambda function, payload format 2.0.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::OPERATOR_ARN;

/// The account that a local operator belongs to.
const ACCOUNT: &str = "000000000000";

/// The only address that can reach loopback.
const LOOPBACK: &str = "127.0.0.1";

/// A request that makes no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Who sent a request, as far as the front door knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Anybody: the services check device tokens themselves.
    Device,
    /// Somebody with the operator key.
    Operator,
}

/// What goes into an event.
pub(super) struct Event<'a> {
    pub(super) head: &'a Parts,
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
    pub(super) caller: Caller,
    pub(super) request_id: &'a str,
}

impl Event<'_> {
    /// The event at this moment.
    pub(super) fn to_json(&self) -> String {
        let (body, is_base64_encoded) = encoded(self.body);
        let event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.head.uri.query().unwrap_or_default(),
            "headers": headers(&self.head.headers),
            "requestContext": self.context(Timestamp::now()),
            "body": body,
            "isBase64Encoded": is_base64_encoded,
        });
        event.to_string()
    }

    fn context(&self, now: Timestamp) -> Value {
        let mut context = json!({
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": "localhost",
            "domainPrefix": "local",
            "http": {
                "method": self.head.method.as_str(),
                "path": self.path,
                "protocol": "HTTP/1.1",
                "sourceIp": LOOPBACK,
                "userAgent": text(&self.head.headers, "user-agent"),
            },
            "requestId": self.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": now.as_millisecond(),
        });
        if self.caller == Caller::Operator {
            context["authorizer"] = operator();
        }
        context
    }
}

/// What the IAM authorizer of API Gateway would say about an operator.
fn operator() -> Value {
    json!({
        "iam": {
            "accessKey": "AKIALOCALOPERATOR",
            "accountId": ACCOUNT,
            "callerId": "AIDALOCALOPERATOR",
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": OPERATOR_ARN,
            "userId": "AIDALOCALOPERATOR",
        }
    })
}

/// The path as an HTTP API sends it: percent-decoded, and cut at a decoded question mark. AWS documents
/// neither; middleapi/standard-server#93 reports both from captures of live events. A service that relied on
/// an encoded path would work in one place and fail in the other, unless both do the same.
pub(super) fn decoded_path(path: &str) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = after.get(..2).ok_or(Malformed)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).map_err(|_| Malformed)?;
        bytes.push(byte[0]);
        rest = &after[2..];
    }
    let mut decoded = String::from_utf8(bytes).map_err(|_| Malformed)?;
    if let Some(end) = decoded.find('?') {
        decoded.truncate(end);
    }
    Ok(decoded)
}

/// Header names in lower case, repeated ones joined with a comma. What is not UTF-8 is left out, as an event
/// cannot hold it.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut joined = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
        let values = values.collect::<Vec<_>>();
        if !values.is_empty() {
            joined.insert(name.as_str().to_owned(), Value::from(values.join(",")));
        }
    }
    // What a client says of these is not true; API Gateway writes them itself.
    joined.insert("x-forwarded-for".to_owned(), Value::from(LOOPBACK));
    joined.insert("x-forwarded-proto".to_owned(), Value::from("http"));
    joined
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok()
}

/// The body as JSON can hold it, and whether it is in base64.
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
        check("/%ff", Err(Malformed));
    }

    #[test]
    fn only_a_body_that_is_not_text_is_in_base64() {
        assert_eq!(encoded(b""), (None, false));
        assert_eq!(encoded("ü".as_bytes()), (Some("ü".to_owned()), false));
        assert_eq!(encoded(&[0xff, 0x00]), (Some("/wA=".to_owned()), true));
    }
}

//! Presigned URLs with a malformed signature: S3 answers 403, `s3s` calls the request malformed.

use std::future::{Ready, ready};
use std::pin::Pin;

use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse};

/// S3's answer to a signature that does not match.
const REFUSED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SignatureDoesNotMatch</Code>\
<Message>the signature of the URL does not match it</Message></Error>";

/// The S3 service behind the check.
#[derive(Debug, Clone)]
pub(crate) struct Checked(pub(super) S3Service);

type Answer = Result<HttpResponse, HttpError>;

impl Service<Request<Incoming>> for Checked {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if request.uri().query().is_some_and(has_impossible_signature) {
            let refused: Ready<Answer> = ready(Ok(refusal()));
            return Box::pin(refused);
        }
        Service::call(&self.0, request)
    }
}

fn has_impossible_signature(query: &str) -> bool {
    let mut signatures = query.split('&').filter_map(|part| part.strip_prefix("X-Amz-Signature="));
    signatures.any(|signature| signature.len() != 64 || !signature.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn refusal() -> HttpResponse {
    let mut response = HttpResponse::new(Body::from(REFUSED.to_string()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/xml"));
    response
}

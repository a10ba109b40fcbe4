//! A bucket in memory behind the real client of S3. It needs no socket and no thread, so a seed plays the same each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use sha2::{Digest, Sha256};
use tidegate_store::Images;

/// The version of every object.
const OBJECT_VERSION: &str = "1";

/// A bucket. Clones share the objects. Object keys end with the SHA-256 of the bytes.
#[derive(Debug, Clone, Default)]
pub struct Bucket(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Bucket {
    /// Stores an object. Returns its SHA-256 in hexadecimal digits.
    pub fn put(&self, bytes: Vec<u8>) -> String {
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256.clone(), bytes);
        sha256
    }

    /// The images in this bucket.
    #[must_use]
    pub fn images(&self) -> Images {
        let credentials =
            SharedCredentialsProvider::new(Credentials::new("simulated", "simulated", None, None, "simulator"));
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url("http://127.0.0.1:9")
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.clone())
            .credentials_provider(credentials.clone())
            .build();
        Images::new(aws_sdk_s3::Client::from_conf(config), credentials, "simulated")
    }

    /// The answer of S3 to a read of an object.
    fn answer(&self, request: &HttpRequest) -> http::Response<SdkBody> {
        let path = request.uri().split('?').next().unwrap_or_default();
        let sha256 = path.rsplit('/').next().unwrap_or_default();
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut response = http::Response::new(SdkBody::empty());
        match objects.get(sha256) {
            Some(bytes) => {
                response.headers_mut().insert("x-amz-version-id", http::HeaderValue::from_static(OBJECT_VERSION));
                *response.body_mut() = SdkBody::from(bytes.clone());
            }
            None => {
                *response.status_mut() = http::StatusCode::NOT_FOUND;
                *response.body_mut() = SdkBody::from("<Error><Code>NoSuchKey</Code></Error>");
            }
        }
        response
    }
}

impl HttpConnector for Bucket {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let response = HttpResponse::try_from(self.answer(&request)).expect("its headers are texts");
        HttpConnectorFuture::ready(Ok(response))
    }
}

impl HttpClient for Bucket {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

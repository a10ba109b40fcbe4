//! Speaking to a deployment in AWS: requests signed with Signature Version 4, as any of its clients.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use tidegate_store::https::{self, Roots};
use tokio::runtime::Runtime;
use ureq::http::Request;

use crate::error::{CommandError, CommandResult};

/// The service name that API Gateway's signatures are made for.
const SERVICE: &str = "execute-api";

/// An identity in AWS that signs requests.
#[derive(Clone)]
pub struct AwsIdentity {
    credentials: SharedCredentialsProvider,
    region: String,
    runtime: Arc<Runtime>,
}

impl fmt::Debug for AwsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsIdentity").field("region", &self.region).finish_non_exhaustive()
    }
}

impl AwsIdentity {
    /// The identity that the AWS command line would use: `profile`, or the environment's. The region is
    /// `region`, or the one in the address of an API, or the profile's.
    ///
    /// # Errors
    /// When there are no credentials, or no region.
    pub fn load(api: &str, profile: Option<&str>, region: Option<&str>) -> CommandResult<Self> {
        let (config, runtime) = config(profile, region.or_else(|| region_of(api)))?;
        let region = config
            .region()
            .map(ToString::to_string)
            .ok_or_else(|| CommandError::usage("say which region: --region, AWS_REGION, or in the profile"))?;
        let credentials = config.credentials_provider().ok_or_else(no_credentials)?;
        Ok(Self { credentials, region, runtime: Arc::new(runtime) })
    }

    /// Signs a complete request: method, address, headers and body must be final.
    ///
    /// # Errors
    /// When there are no credentials.
    pub fn sign(&self, request: &mut Request<Vec<u8>>, now: SystemTime) -> CommandResult {
        let credentials = self.runtime.block_on(self.credentials.provide_credentials()).map_err(|cause| {
            let message = format!("{} ({})", no_credentials(), aws_sdk_s3::error::DisplayErrorContext(&cause));
            CommandError::usage(message).because(cause)
        })?;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|cause| CommandError::failed("not_signed", cause.to_string()).because(cause))?
            .into();
        let method = request.method().to_string();
        let address = request.uri().to_string();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signed = SignableRequest::new(&method, &address, headers, SignableBody::Bytes(request.body()))
            .and_then(|signable| sign(signable, &parameters))
            .map_err(|cause| CommandError::failed("not_signed", cause.to_string()).because(cause))?;
        let (instructions, _) = signed.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// The SDK's configuration of a person: `profile`, or the environment's, with the runtime that loaded it.
///
/// # Errors
/// When there is no runtime, or the certificates of the machine cannot be read.
pub fn config(profile: Option<&str>, region: Option<&str>) -> CommandResult<(SdkConfig, Runtime)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CommandError::failed("no_runtime", cause.to_string()).because(cause))?;
    let https = https::client(Roots::System).map_err(|error| CommandError::usage(error.to_string()).because(error))?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https);
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let config = runtime.block_on(loader.load());
    Ok((config, runtime))
}

fn no_credentials() -> CommandError {
    CommandError::usage("there are no AWS credentials to sign with: give --profile, or log in")
}

/// The region in an address such as `https://abc.execute-api.eu-west-1.amazonaws.com`.
fn region_of(api: &str) -> Option<&str> {
    api.split('/').nth(2)?.split('.').skip_while(|part| *part != SERVICE).nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::config::Credentials;

    #[test]
    fn an_address_of_an_api_says_its_region() {
        assert_eq!(region_of("https://abc.execute-api.eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of("https://updates.example.com/x"), None);
        assert_eq!(region_of("nonsense"), None);
    }

    /// The signature was computed by botocore 1.44.5 for the same request.
    #[test]
    fn a_signature_is_what_other_clients_of_aws_make() {
        let identity = AwsIdentity {
            credentials: SharedCredentialsProvider::new(Credentials::new("AKID", "SECRET", None, None, "test")),
            region: "eu-west-1".into(),
            runtime: Arc::new(tokio::runtime::Builder::new_current_thread().build().unwrap()),
        };
        let address =
            "https://abc.execute-api.eu-west-1.amazonaws.com/v1/products/lamp/updates/1.0.0%2Bb/pause?a=1%202";
        let mut request = Request::post(address)
            .header("content-type", "application/json")
            .body(br#"{"reason":"x"}"#.to_vec())
            .unwrap();
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600);
        identity.sign(&mut request, now).unwrap();
        assert_eq!(request.headers()["x-amz-date"], "20260101T000000Z");
        assert_eq!(
            request.headers()["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/execute-api/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=ed2de6d8d35ad764210c52e6008a7e5ad498c9b8e9afd970d87051a63d5671cd"
        );
    }
}

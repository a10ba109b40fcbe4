//! The SDK's configuration from the environment variables that Lambda sets: region, credentials, endpoints.
//!
//! `aws-config` also looks for profiles, instance roles, web identities and containers, and builds an STS
//! client for them. Lambda has none of these, and the search takes a quarter of a function's start.

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::https::{self, Roots};

/// The SDK's configuration from the environment, as Lambda sets it; `AWS_MAX_ATTEMPTS` and
/// `AWS_ENDPOINT_URL`, also of one service (`AWS_ENDPOINT_URL_S3`), are for tests.
///
/// It is async like its counterparts, `aws_config::load` and the local cloud's.
pub async fn sdk_config() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(variable("AWS_REGION").map(Region::new))
        .service_config(Environment);
    config.set_credentials_provider(credentials().map(SharedCredentialsProvider::new));
    if let Some(most) = variable("AWS_MAX_ATTEMPTS").and_then(|most| most.parse().ok()) {
        config.set_retry_config(Some(RetryConfig::standard().with_max_attempts(most)));
    }
    match https::client(Roots::Amazon) {
        Ok(client) => config.set_http_client(Some(client)),
        // Without a client every call fails: unusable certificates are not replaced by others.
        Err(error) => {
            tracing::error!(reason = %error, "no_https");
            &mut config
        }
    };
    config.build()
}

/// Lambda ends a function's environment before its credentials end.
fn credentials() -> Option<Credentials> {
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"))
}

/// The settings that the client of a service asks for by name.
#[derive(Debug)]
struct Environment;

impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        variable(&of_service(key.env(), key.service_id())).or_else(|| variable(key.env()))
    }
}

fn of_service(variable: &str, service: &str) -> String {
    format!("{variable}_{}", service.replace([' ', '-'], "_").to_uppercase())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_have_an_endpoint_of_its_own() {
        assert_eq!(of_service("AWS_ENDPOINT_URL", "DynamoDB"), "AWS_ENDPOINT_URL_DYNAMODB");
        assert_eq!(of_service("AWS_ENDPOINT_URL", "Secrets Manager"), "AWS_ENDPOINT_URL_SECRETS_MANAGER");
    }
}

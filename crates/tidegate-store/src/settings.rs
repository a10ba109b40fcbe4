//! Where the table and the bucket are, from the environment of a function.

use aws_config::SdkConfig;

use crate::dynamo::DynamoStore;
use crate::images::Images;

/// What a function's environment says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `TIDEGATE_TABLE`.
    pub table: String,
    /// `TIDEGATE_BUCKET`.
    pub bucket: String,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// A sentence that names the variable that is missing.
    pub fn from_env() -> Result<Self, String> {
        Ok(Self { table: variable("TIDEGATE_TABLE")?, bucket: variable("TIDEGATE_BUCKET")? })
    }

    /// The store and the images, over one SDK configuration.
    ///
    /// # Errors
    /// A sentence, when the configuration has no credentials.
    pub fn open(&self, config: &SdkConfig) -> Result<(DynamoStore, Images), String> {
        let credentials = config.credentials_provider().ok_or("there are no AWS credentials to sign with")?;
        let dynamodb = aws_sdk_dynamodb::Client::new(config);
        let s3 = aws_sdk_s3::Client::new(config);
        Ok((DynamoStore::new(dynamodb, &self.table), Images::new(s3, credentials, &self.bucket)))
    }
}

/// The SDK's configuration from the environment, as Lambda sets it.
pub async fn sdk_config() -> SdkConfig {
    aws_config::load_from_env().await
}

/// A variable that a function cannot do without.
///
/// # Errors
/// A sentence that names it.
pub fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("the environment variable {name} must be set"))
}

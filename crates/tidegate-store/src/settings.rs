//! Where the table and the bucket are, from the environment of a function.

use aws_sdk_secretsmanager::error::DisplayErrorContext;
use aws_types::SdkConfig;

pub use crate::aws::sdk_config;
use crate::cdn::Cdn;
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
    /// A sentence, when the configuration has no credentials or the CDN's key cannot be read.
    pub async fn open(&self, config: &SdkConfig) -> Result<(DynamoStore, Images), String> {
        let credentials = config.credentials_provider().ok_or("there are no AWS credentials to sign with")?;
        let s3 = aws_sdk_s3::Client::new(config);
        let images = Images::new(s3.clone(), credentials, &self.bucket);
        let images = match cdn(config).await? {
            Some(cdn) => images.behind(cdn),
            None => images,
        };
        let store = DynamoStore::new(aws_sdk_dynamodb::Client::new(config), &self.table, s3, &self.bucket);
        Ok((store, images))
    }
}

/// The CDN in front of the images, where the environment names one.
async fn cdn(config: &SdkConfig) -> Result<Option<Cdn>, String> {
    let Ok(url) = std::env::var("TIDEGATE_CDN_URL") else {
        return Ok(None);
    };
    let key = secret(config, &variable("TIDEGATE_CDN_KEY_SECRET")?).await?;
    Cdn::new(&url, &variable("TIDEGATE_CDN_KEY_ID")?, &key).map(Some)
}

/// The keys of device tokens, `name:secret[,name:secret…]`: the variable `TIDEGATE_TOKEN_KEYS`, or
/// the secret in Secrets Manager that `TIDEGATE_TOKEN_KEYS_SECRET` names. It is read once: a function
/// learns of new keys when it is started anew.
///
/// # Errors
/// A sentence that names the variables, or the secret that cannot be read.
pub async fn token_keys(config: &SdkConfig) -> Result<String, String> {
    if let Ok(keys) = std::env::var("TIDEGATE_TOKEN_KEYS") {
        return Ok(keys);
    }
    let name = std::env::var("TIDEGATE_TOKEN_KEYS_SECRET").map_err(|_| {
        "one of the environment variables TIDEGATE_TOKEN_KEYS and TIDEGATE_TOKEN_KEYS_SECRET must be set".to_string()
    })?;
    secret(config, &name).await
}

/// A text in Secrets Manager.
async fn secret(config: &SdkConfig, name: &str) -> Result<String, String> {
    let client = aws_sdk_secretsmanager::Client::new(config);
    let read = client.get_secret_value().secret_id(name).send().await;
    let read = read.map_err(|error| format!("the secret {name} cannot be read: {}", DisplayErrorContext(error)))?;
    read.secret_string.ok_or_else(|| format!("the secret {name} must be a text"))
}

/// A variable that a function cannot do without.
///
/// # Errors
/// A sentence that names it.
pub fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("the environment variable {name} must be set"))
}

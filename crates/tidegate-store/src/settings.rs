//! Settings of a function from its environment: table, bucket, CDN, keys of device tokens.

use std::fmt;

use aws_sdk_secretsmanager::error::{DisplayErrorContext, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_types::SdkConfig;

pub use crate::aws::sdk_config;
use crate::cdn::{Cdn, CdnKeyError};
use crate::dynamo::DynamoStore;
use crate::images::Images;
use crate::seal::{CatalogKey, CatalogKeyError};

/// Reason why a function cannot start with its environment.
#[derive(thiserror::Error)]
pub enum SettingsError {
    /// A variable that the function needs is not set.
    #[error("the environment variable {0} must be set")]
    Missing(&'static str),
    /// Neither variable for the keys of device tokens is set.
    #[error("one of the environment variables {TOKEN_KEYS} and {TOKEN_KEYS_SECRET} must be set")]
    NoTokenKeys,
    /// The SDK's configuration has no credentials.
    #[error("there are no AWS credentials to sign with")]
    NoCredentials,
    /// Secrets Manager did not give a secret.
    #[error("the secret {name} cannot be read: {}", DisplayErrorContext(.source))]
    Secret {
        /// The secret's name or ARN.
        name: String,
        /// The answer of Secrets Manager.
        source: Box<SdkError<GetSecretValueError>>,
    },
    /// A secret holds bytes instead of a text.
    #[error("the secret {name} must be a text")]
    BinarySecret {
        /// The secret's name or ARN.
        name: String,
    },
    /// The secret of the CDN holds no usable key.
    #[error(transparent)]
    CdnKey(#[from] CdnKeyError),
    /// The key of catalogs is not usable.
    #[error(transparent)]
    CatalogKey(#[from] CatalogKeyError),
}

/// The sentence, as in `Display`: a function's `main` returns this error, and Rust prints it with `Debug`.
impl fmt::Debug for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const TABLE: &str = "TIDEGATE_TABLE";
const BUCKET: &str = "TIDEGATE_BUCKET";
const TOKEN_KEYS: &str = "TIDEGATE_TOKEN_KEYS";
const TOKEN_KEYS_SECRET: &str = "TIDEGATE_TOKEN_KEYS_SECRET";
const CATALOG_KEY: &str = "TIDEGATE_CATALOG_KEY";
const CATALOG_KEY_SECRET: &str = "TIDEGATE_CATALOG_KEY_SECRET";
/// Bytes above which `verify` reads a file, if it is not the usual number: tests have no files of a gigabyte.
const READ_AT_ONCE: &str = "TIDEGATE_READ_AT_ONCE";
const CDN_URL: &str = "TIDEGATE_CDN_URL";
const CDN_KEY_ID: &str = "TIDEGATE_CDN_KEY_ID";
const CDN_KEY_SECRET: &str = "TIDEGATE_CDN_KEY_SECRET";

/// Settings of a function from its environment.
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
    /// When a variable is missing.
    pub fn from_env() -> Result<Self, SettingsError> {
        Ok(Self { table: variable(TABLE)?, bucket: variable(BUCKET)? })
    }

    /// The store and the images, over one SDK configuration.
    ///
    /// # Errors
    /// When the configuration has no credentials, or a key that the environment names cannot be read.
    pub async fn open(&self, config: &SdkConfig) -> Result<(DynamoStore, Images), SettingsError> {
        let credentials = config.credentials_provider().ok_or(SettingsError::NoCredentials)?;
        let s3 = aws_sdk_s3::Client::new(config);
        let images = Images::new(s3.clone(), credentials, &self.bucket);
        let (cdn, key) = tokio::try_join!(cdn(config), catalog_key(config))?;
        let images = match std::env::var(READ_AT_ONCE).ok().and_then(|bytes| bytes.parse().ok()) {
            Some(bytes) => images.reading_at_once(bytes),
            None => images,
        };
        let images = match cdn {
            Some(cdn) => images.behind(cdn),
            None => images,
        };
        let store = DynamoStore::new(aws_sdk_dynamodb::Client::new(config), &self.table, s3, &self.bucket);
        let store = match key {
            Some(key) => store.with_catalog_key(key),
            None => store,
        };
        Ok((store, images))
    }
}

/// The key that seals catalogs: the variable `TIDEGATE_CATALOG_KEY`, or the secret in Secrets Manager that
/// `TIDEGATE_CATALOG_KEY_SECRET` names. Functions that read and write no catalog have neither.
async fn catalog_key(config: &SdkConfig) -> Result<Option<CatalogKey>, SettingsError> {
    let text = match (std::env::var(CATALOG_KEY), std::env::var(CATALOG_KEY_SECRET)) {
        (Ok(key), _) => key,
        (Err(_), Ok(name)) => secret(config, &name).await?,
        (Err(_), Err(_)) => return Ok(None),
    };
    Ok(Some(CatalogKey::parse(&text)?))
}

/// The CDN in front of the images, if the environment names one.
async fn cdn(config: &SdkConfig) -> Result<Option<Cdn>, SettingsError> {
    let Ok(url) = std::env::var(CDN_URL) else {
        return Ok(None);
    };
    let key = secret(config, &variable(CDN_KEY_SECRET)?).await?;
    Ok(Some(Cdn::new(&url, &variable(CDN_KEY_ID)?, &key)?))
}

/// The keys of device tokens, `name:secret[,name:secret…]`: the variable `TIDEGATE_TOKEN_KEYS`, or
/// the secret in Secrets Manager that `TIDEGATE_TOKEN_KEYS_SECRET` names. A function reads them once, at its
/// start: it learns of new keys when it is started again.
///
/// # Errors
/// When neither variable is set or the secret cannot be read.
pub async fn token_keys(config: &SdkConfig) -> Result<String, SettingsError> {
    if let Ok(keys) = std::env::var(TOKEN_KEYS) {
        return Ok(keys);
    }
    let name = std::env::var(TOKEN_KEYS_SECRET).map_err(|_| SettingsError::NoTokenKeys)?;
    secret(config, &name).await
}

/// The text of a secret in Secrets Manager.
async fn secret(config: &SdkConfig, name: &str) -> Result<String, SettingsError> {
    let client = aws_sdk_secretsmanager::Client::new(config);
    let read = client.get_secret_value().secret_id(name).send().await;
    let read = read.map_err(|error| SettingsError::Secret { name: name.to_string(), source: Box::new(error) })?;
    read.secret_string.ok_or_else(|| SettingsError::BinarySecret { name: name.to_string() })
}

fn variable(name: &'static str) -> Result<String, SettingsError> {
    std::env::var(name).map_err(|_| SettingsError::Missing(name))
}

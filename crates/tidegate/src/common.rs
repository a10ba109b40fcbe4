//! The options that every command understands, and the clients that they describe.

use std::path::{Path, PathBuf};

use aws_config::SdkConfig;
use clap::Args;
use tokio::runtime::Runtime;
use ureq::tls::{ClientCert, PemItem, PrivateKey, parse_pem};

use crate::api_client::{ApiClient, Credential};
use crate::aws::AwsIdentity;
use crate::error::{CommandError, CommandResult};
use crate::output::Reader;

/// The file with the operator key that `tidegate dev` writes, relative to the folder in which it was started.
const LOCAL_KEY_FILE: &str = ".tidegate/operator.key";

/// The address of `tidegate dev`.
pub const DEFAULT_API: &str = "http://127.0.0.1:8080";

/// Options that every command understands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Address of the service
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_API",
        default_value = DEFAULT_API,
        value_name = "URL",
        help_heading = "Common options"
    )]
    pub api: String,

    /// Operator key [default: the content of .tidegate/operator.key, if that file exists]
    #[arg(long, global = true, env = "TIDEGATE_OPERATOR_KEY", hide_env_values = true, help_heading = "Common options")]
    pub key: Option<String>,

    /// File that holds the operator key
    #[arg(long, global = true, value_name = "PATH", help_heading = "Common options")]
    pub key_file: Option<PathBuf>,

    /// Sign with this profile of the AWS configuration instead of an operator key, for a service in AWS
    #[arg(long, global = true, value_name = "NAME", help_heading = "Common options")]
    pub profile: Option<String>,

    /// Sign for this region [default: the region in the address of the service, or of the profile]
    #[arg(long, global = true, value_name = "REGION", help_heading = "Common options")]
    pub region: Option<String>,

    /// Client certificate for a service that requires one: a PEM file
    #[arg(long, global = true, value_name = "PATH", requires = "client_key", help_heading = "Common options")]
    pub client_cert: Option<PathBuf>,

    /// Key of that certificate: a PEM file
    #[arg(long, global = true, value_name = "PATH", requires = "client_cert", help_heading = "Common options")]
    pub client_key: Option<PathBuf>,

    /// Product of the command
    #[arg(long, global = true, env = "TIDEGATE_PRODUCT", help_heading = "Common options")]
    pub product: Option<String>,

    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
}

impl Common {
    /// The options of a command line that names only the address.
    #[cfg(test)]
    pub(crate) fn of(api: &str) -> Self {
        Self {
            api: api.to_owned(),
            key: None,
            key_file: None,
            profile: None,
            region: None,
            client_cert: None,
            client_key: None,
            product: None,
            json: false,
        }
    }

    /// The reader of the output.
    pub fn reader(&self) -> Reader {
        if self.json { Reader::Program } else { Reader::Person }
    }

    /// The product, which most operator commands need.
    pub fn product(&self) -> CommandResult<&str> {
        self.product
            .as_deref()
            .filter(|product| !product.is_empty())
            .ok_or_else(|| CommandError::usage("say which product: --product P or TIDEGATE_PRODUCT"))
    }

    /// The operator key: from the command line, a file, the environment, or the local cloud.
    ///
    /// A `--key-file` wins over the environment, because it was typed for this command.
    pub fn operator_key(&self) -> CommandResult<Option<String>> {
        if let Some(path) = &self.key_file {
            return read_key(path).map(Some);
        }
        if let Some(key) = &self.key {
            return Ok(Some(key.trim().to_owned()).filter(|key| !key.is_empty()));
        }
        let local = Path::new(LOCAL_KEY_FILE);
        match local.exists() {
            true => read_key(local).map(Some),
            false => Ok(None),
        }
    }

    /// A client that speaks as the operator: with an identity in AWS where that was asked for or the
    /// service is an API there, and otherwise with the operator key.
    pub fn operator(&self) -> CommandResult<ApiClient> {
        let credential = match self.asks_for_aws() {
            true => Credential::Aws(self.aws_identity()?),
            false => match self.operator_key()? {
                Some(key) => Credential::OperatorKey(key),
                None if self.api.starts_with("https://") => Credential::Aws(self.aws_identity()?),
                None => {
                    return Err(CommandError::usage(format!(
                        "an operator key is needed: --key, --key-file, TIDEGATE_OPERATOR_KEY, or start in \
                         the folder where `tidegate dev` runs, which has {LOCAL_KEY_FILE}; or --profile for \
                         a service in AWS"
                    )));
                }
            },
        };
        ApiClient::with_certificate(&self.api, credential, self.certificate()?)
    }

    /// Returns true if there are credentials of an operator.
    pub fn can_operate(&self) -> CommandResult<bool> {
        Ok(self.asks_for_aws() || self.operator_key()?.is_some())
    }

    fn asks_for_aws(&self) -> bool {
        self.profile.is_some() || self.region.is_some()
    }

    /// A client that speaks as a device.
    pub fn device(&self, token: String) -> CommandResult<ApiClient> {
        ApiClient::with_certificate(&self.api, Credential::DeviceToken(token), self.certificate()?)
    }

    /// The SDK's configuration of this person, with the runtime that loaded it.
    pub fn aws_config(&self) -> CommandResult<(SdkConfig, Runtime)> {
        crate::aws::config(self.profile.as_deref(), self.region.as_deref())
    }

    fn aws_identity(&self) -> CommandResult<AwsIdentity> {
        AwsIdentity::load(&self.api, self.profile.as_deref(), self.region.as_deref())
    }

    fn certificate(&self) -> CommandResult<Option<ClientCert>> {
        let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(None);
        };
        let read = |path: &Path| {
            std::fs::read(path).map_err(|cause| CommandError::file("read the client certificate", path, cause))
        };
        let bad = |path: &Path, cause: ureq::Error| {
            CommandError::bad_input(format!("{} is not what it should be, in PEM: {cause}", path.display()))
                .because(cause)
        };
        let mut chain = Vec::new();
        for item in parse_pem(&read(certificate)?) {
            if let PemItem::Certificate(item) = item.map_err(|cause| bad(certificate, cause))? {
                chain.push(item);
            }
        }
        let key_text = read(key)?;
        let key = PrivateKey::from_pem(&key_text).map_err(|cause| bad(key, cause))?;
        match chain.is_empty() {
            true => Err(CommandError::bad_input(format!("{} holds no certificate", certificate.display()))),
            false => Ok(Some(ClientCert::new_with_certs(&chain, key))),
        }
    }
}

fn read_key(path: &Path) -> CommandResult<String> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| CommandError::file("read the operator key", path, cause))?;
    match text.trim() {
        "" => Err(CommandError::bad_input(format!("{} is empty", path.display()))),
        key => Ok(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_wins_over_the_environment() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "from-the-file\n").expect("a writable temporary folder");
        let common = Common { key: Some("from-the-environment".into()), key_file: Some(path), ..Common::of("") };
        assert_eq!(common.operator_key(), Ok(Some("from-the-file".into())));
    }
}

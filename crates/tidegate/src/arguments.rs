//! What can be typed after `tidegate`: the commands and the options that all of them share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use ureq::tls::{ClientCert, PemItem, PrivateKey, parse_pem};

use crate::api_client::{ApiClient, Credential};
use crate::aws::AwsIdentity;
use crate::error::{CommandError, CommandResult, EXIT_CODES};
use crate::output::Reader;

/// Where `tidegate dev` leaves the operator key, seen from the folder it was started in.
const LOCAL_KEY_FILE: &str = ".tidegate/operator.key";

/// Where `tidegate dev` listens.
pub const DEFAULT_API: &str = "http://127.0.0.1:8080";

/// The operator's and device author's tool of Tidegate, an over-the-air update service.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Options that every command understands.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

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

    /// Sign as this profile of the AWS configuration, for a service in AWS; no operator key is used then
    #[arg(long, global = true, value_name = "NAME", help_heading = "Common options")]
    pub profile: Option<String>,

    /// Sign for this region [default: the one in the address of the service, or the profile's]
    #[arg(long, global = true, value_name = "REGION", help_heading = "Common options")]
    pub region: Option<String>,

    /// Certificate to show to a service that asks for one: a PEM file
    #[arg(long, global = true, value_name = "PATH", requires = "client_key", help_heading = "Common options")]
    pub client_cert: Option<PathBuf>,

    /// Key of that certificate: a PEM file
    #[arg(long, global = true, value_name = "PATH", requires = "client_cert", help_heading = "Common options")]
    pub client_key: Option<PathBuf>,

    /// Product that the command is about
    #[arg(long, global = true, env = "TIDEGATE_PRODUCT", help_heading = "Common options")]
    pub product: Option<String>,

    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
}

impl Common {
    /// What stands in a test's command line when nothing but the address does.
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

    /// Who reads the output.
    pub fn reader(&self) -> Reader {
        if self.json { Reader::Program } else { Reader::Person }
    }

    /// The product, which most operator commands need.
    pub fn product(&self) -> CommandResult<&str> {
        self.product
            .as_deref()
            .filter(|product| !product.is_empty())
            .ok_or_else(|| CommandError::Usage("say which product: --product P or TIDEGATE_PRODUCT".into()))
    }

    /// The operator key: from the command line, a file, the environment, or the local cloud.
    ///
    /// A `--key-file` wins over the environment, because it was typed for this very command.
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
                    return Err(CommandError::Usage(format!(
                        "an operator key is needed: --key, --key-file, TIDEGATE_OPERATOR_KEY, or start in \
                         the folder where `tidegate dev` runs, which has {LOCAL_KEY_FILE}; or --profile for \
                         a service in AWS"
                    )));
                }
            },
        };
        ApiClient::with_certificate(&self.api, credential, self.certificate()?)
    }

    /// Whether somebody said who the operator is.
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

    fn aws_identity(&self) -> CommandResult<AwsIdentity> {
        AwsIdentity::load(&self.api, self.profile.as_deref(), self.region.as_deref())
    }

    fn certificate(&self) -> CommandResult<Option<ClientCert>> {
        let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(None);
        };
        let read = |path: &Path| {
            std::fs::read(path).map_err(|cause| CommandError::file("read the client certificate", path, &cause))
        };
        let bad = |path: &Path, cause: &ureq::Error| {
            CommandError::BadInput(format!("{} is not what it should be, in PEM: {cause}", path.display()))
        };
        let mut chain = Vec::new();
        for item in parse_pem(&read(certificate)?) {
            if let PemItem::Certificate(item) = item.map_err(|cause| bad(certificate, &cause))? {
                chain.push(item);
            }
        }
        let key_text = read(key)?;
        let key = PrivateKey::from_pem(&key_text).map_err(|cause| bad(key, &cause))?;
        match chain.is_empty() {
            true => Err(CommandError::BadInput(format!("{} holds no certificate", certificate.display()))),
            false => Ok(Some(ClientCert::new_with_certs(&chain, key))),
        }
    }
}

fn read_key(path: &Path) -> CommandResult<String> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| CommandError::file("read the operator key", path, &cause))?;
    match text.trim() {
        "" => Err(CommandError::BadInput(format!("{} is empty", path.display()))),
        key => Ok(key.to_owned()),
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play the whole story in a temporary folder: publish, check in, install, report
    Demo(DemoArgs),
    /// Run the local cloud until stopped
    Dev(DevArgs),
    /// Create an update from image files, upload them, and activate it if asked
    Publish(Box<crate::publish::PublishArgs>),
    /// Read the definitions of another service into drafts
    Import(crate::import::ImportArgs),
    /// List, show and steer updates
    #[command(subcommand)]
    Updates(crate::updates::UpdatesCommand),
    /// Emergency stop: pause everything that a product's devices are offered
    Stop(crate::stop::StopArgs),
    /// Follow a rollout until it ends
    Watch(crate::watch::WatchArgs),
    /// Explain what a device is offered, and why not something else
    Why(crate::why::WhyArgs),
    /// Count the devices on each version
    Versions,
    /// List devices, or show one
    Devices(crate::devices::DevicesArgs),
    /// Act as a device once: check in, and download if asked
    Check(crate::check::CheckArgs),
    /// Run a well-behaved reference device
    Device(Box<crate::device::DeviceArgs>),
    /// Issue and revoke tokens
    #[command(subcommand)]
    Token(crate::token::TokenCommand),
    /// Check a distribution policy, or try it on a device, without any service
    #[command(subcommand)]
    Policy(crate::policy_command::PolicyCommand),
    /// Rehearse without a service: fleets with faults and every promise checked, or one rollout ahead of time
    Simulate(crate::simulate::SimulateArgs),
    /// Drive a running service with a fleet, and check its limits from outside
    Load(Box<crate::load::LoadArgs>),
    /// Show or change the settings of a product
    Settings(crate::settings::SettingsArgs),
    /// Write a completion script for a shell
    Completions(crate::completions::CompletionsArgs),
}

/// Options of `tidegate demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {}

/// Options of `tidegate dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Folder for everything the local cloud keeps
    #[arg(long, default_value = ".tidegate", value_name = "DIR")]
    pub data: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn common_options_are_understood_before_and_after_the_command() {
        let before = Arguments::try_parse_from(["tidegate", "--json", "versions"]);
        let after = Arguments::try_parse_from(["tidegate", "versions", "--json"]);
        assert!(before.is_ok_and(|arguments| arguments.common.json));
        assert!(after.is_ok_and(|arguments| arguments.common.json));
    }

    #[test]
    fn a_key_file_wins_over_the_environment() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "from-the-file\n").expect("a writable temporary folder");
        let common = Common { key: Some("from-the-environment".into()), key_file: Some(path), ..Common::of("") };
        assert_eq!(common.operator_key(), Ok(Some("from-the-file".into())));
    }
}

//! `tidegate token`: tokens of devices and products.

use clap::Subcommand;
use serde_json::Value;

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{Output, Reader, clean};
use crate::update;
use tidegate_wire::operator::{Revoked, Token};
use tidegate_wire::route::PublishRoute;

/// Commands about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Issue the token of one device
    Issue {
        /// Id of the device
        device: String,
    },
    /// Revoke the tokens of one device, or those that all devices of the product share
    Revoke {
        /// Id of the device
        #[arg(required_unless_present = "shared", conflicts_with = "shared")]
        device: Option<String>,
        /// The tokens that all devices of the product share
        #[arg(long)]
        shared: bool,
    },
    /// Issue a token that all devices of the product share; the product must accept such tokens:
    /// `tidegate settings --product-tokens accept`
    Product,
}

/// Runs one of the commands.
pub fn run(command: TokenCommand, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let product = common.product()?;
    let document = match &command {
        TokenCommand::Issue { device } => client.put(&ApiPath::device(PublishRoute::IssueToken, product, device))?,
        TokenCommand::Revoke { device: Some(device), .. } => {
            client.delete(&ApiPath::device(PublishRoute::RevokeToken, product, device))?
        }
        TokenCommand::Revoke { device: None, .. } => {
            client.delete(&ApiPath::product(PublishRoute::RevokeProductToken, product))?
        }
        TokenCommand::Product => client.put(&ApiPath::product(PublishRoute::IssueProductToken, product))?,
    };
    output.document(&document)?;
    if output.reader() == Reader::Program {
        return Ok(());
    }
    match command {
        // The token alone, so that `TOKEN=$(tidegate token issue lamp-17)` works.
        TokenCommand::Issue { .. } | TokenCommand::Product => output.line(token_of(&document)?),
        TokenCommand::Revoke { device, .. } => {
            let whose = device.map_or_else(
                || format!("the shared tokens of {}", clean(product)),
                |device| format!("the tokens of {}", clean(&device)),
            );
            output.line(format!("{whose} are revoked"))?;
            match update::read::<Revoked>(&document, "revocation")?.was_known {
                true => Ok(()),
                false => {
                    output.line("nothing else is known of this device: it has never checked in, or its id is mistyped")
                }
            }
        }
    }
}

/// The token in an answer of the service.
pub fn token_of(document: &Value) -> CommandResult<String> {
    update::read::<Token>(document, "token").map(|token| token.token)
}

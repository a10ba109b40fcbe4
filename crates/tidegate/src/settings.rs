//! `tidegate settings`: what a product allows.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::api_client::ApiPath;
use crate::arguments::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, clean};
use tidegate_wire::route::PublishRoute;

/// Whether devices may share one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProductTokens {
    /// Product tokens are accepted.
    Accept,
    /// Every device needs its own.
    Refuse,
}

/// Whether devices may register themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// They may.
    Open,
    /// They may not.
    Closed,
}

/// Options of `tidegate settings`; without any, the settings are shown.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Whether a token shared by all devices of the product is accepted
    #[arg(long, value_name = "accept|refuse", hide_possible_values = true)]
    pub product_tokens: Option<ProductTokens>,
    /// Whether devices may register themselves
    #[arg(long, value_name = "open|closed", hide_possible_values = true)]
    pub registration: Option<Registration>,
    /// The attribute that is the version of devices with a hawkBit client [at first: sw_version]
    #[arg(long, value_name = "NAME")]
    pub version_attribute: Option<String>,
}

/// Shows the settings, after changing those that were given.
pub fn run(args: SettingsArgs, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let path = ApiPath::product(PublishRoute::ShowProduct, common.product()?);
    let changes = changes(&args);
    let document = match changes.is_empty() {
        true => client.get(&path)?,
        false => client.patch(&path, &Value::Object(changes))?,
    };
    output.document(&document)?;
    for (name, value) in document.as_object().into_iter().flatten() {
        output.line(format!("{:<19}{}", clean(name), output::plain(value)))?;
    }
    Ok(())
}

fn changes(args: &SettingsArgs) -> Map<String, Value> {
    let mut changes = Map::new();
    if let Some(choice) = args.product_tokens {
        let word = match choice {
            ProductTokens::Accept => "accept",
            ProductTokens::Refuse => "refuse",
        };
        changes.insert("product_tokens".into(), json!(word));
    }
    if let Some(choice) = args.registration {
        let word = match choice {
            Registration::Open => "open",
            Registration::Closed => "closed",
        };
        changes.insert("registration".into(), json!(word));
    }
    if let Some(name) = &args.version_attribute {
        changes.insert("version_attribute".into(), json!(name));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_changed() {
        let none = SettingsArgs { product_tokens: None, registration: None, version_attribute: None };
        assert!(changes(&none).is_empty());
        let args = SettingsArgs { registration: Some(Registration::Open), ..none };
        assert_eq!(Value::Object(changes(&args)), json!({"registration": "open"}));
    }
}

//! `tidegate settings`: the settings of a product.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, clean};
use tidegate_wire::operator::{self as wire, ProductChange};
use tidegate_wire::route::PublishRoute;

/// Setting of product tokens, which all devices of a product share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProductTokens {
    /// Product tokens are accepted.
    Accept,
    /// Every device needs its own.
    Refuse,
}

/// Setting of registration: devices register themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// They may.
    Open,
    /// They may not.
    Closed,
}

/// What proves that a device runs an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Proof {
    /// A check-in with its version.
    #[value(name = "check_in")]
    CheckIn,
    /// Its report of success, and two polls after that.
    Report,
}

/// Options of `tidegate settings`; without any, the settings are shown.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Accept or refuse product tokens, which all devices of the product share
    #[arg(long, value_name = "accept|refuse", hide_possible_values = true)]
    pub product_tokens: Option<ProductTokens>,
    /// Let devices register themselves, or not
    #[arg(long, value_name = "open|closed", hide_possible_values = true)]
    pub registration: Option<Registration>,
    /// Attribute with the version of a device that has a hawkBit client [initially: sw_version]
    #[arg(long, value_name = "NAME")]
    pub version_attribute: Option<String>,
    /// What proves that a device runs an update; `report` is for hawkBit clients that never send their version, and does not
    /// notice a device that falls back
    #[arg(long, value_name = "check_in|report", hide_possible_values = true)]
    pub proof: Option<Proof>,
    /// Time between two check-ins of a device [initially: 1d]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub poll: Option<Duration>,
    /// Time after a report of success in which the old version means that the device has not rebooted [initially: 1h]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub boot_grace: Option<Duration>,
    /// Time in which a device applies an update that it was offered [initially: 8d]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub apply_within: Option<Duration>,
    /// Time for which a device that runs an update is watched [initially: 10d]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub watch: Option<Duration>,
}

/// Shows the settings, after changing those that were given.
pub fn run(args: SettingsArgs, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let path = ApiPath::product(PublishRoute::ShowProduct, common.product()?);
    let changes = changes(&args);
    let document = match changes == ProductChange::default() {
        true => client.get(&path)?,
        false => client.patch(&path, &json!(changes))?,
    };
    output.document(&document)?;
    for (name, value) in document.as_object().into_iter().flatten() {
        output.line(format!("{:<19}{}", clean(name), output::plain(value)))?;
    }
    Ok(())
}

fn changes(args: &SettingsArgs) -> ProductChange {
    ProductChange {
        product_tokens: args.product_tokens.map(|choice| match choice {
            ProductTokens::Accept => wire::ProductTokens::Accept,
            ProductTokens::Refuse => wire::ProductTokens::Refuse,
        }),
        registration: args.registration.map(|choice| match choice {
            Registration::Open => wire::Registration::Open,
            Registration::Closed => wire::Registration::Closed,
        }),
        version_attribute: args.version_attribute.clone().map(Some),
        proof: args.proof.map(|choice| match choice {
            Proof::CheckIn => wire::ProofField::CheckIn,
            Proof::Report => wire::ProofField::Report,
        }),
        poll_s: args.poll.map(seconds),
        boot_grace_s: args.boot_grace.map(seconds),
        apply_within_s: args.apply_within.map(seconds),
        watch_s: args.watch.map(seconds),
        reason: None,
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_changed() {
        let none = SettingsArgs {
            product_tokens: None,
            registration: None,
            version_attribute: None,
            proof: None,
            poll: None,
            boot_grace: None,
            apply_within: None,
            watch: None,
        };
        assert_eq!(changes(&none), ProductChange::default());
        let (registration, poll) = (Some(Registration::Open), Some(Duration::from_secs(3600)));
        let args = SettingsArgs { registration, poll, ..none };
        assert_eq!(json!(changes(&args)), json!({"registration": "open", "poll_s": 3600}));
    }
}

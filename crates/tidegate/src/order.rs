//! `tidegate order`: orders for one device.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{Output, clean};
use crate::update;
use tidegate_wire::operator::{DeviceView, Forgotten};
use tidegate_wire::route::PublishRoute;

/// Orders for one device.
#[derive(Debug, Subcommand)]
pub enum OrderCommand {
    /// Offer it nothing until it is released
    Hold(OrderArgs),
    /// Offer it no other version than this one until it is released
    Pin {
        /// The device and the reason.
        #[command(flatten)]
        order: OrderArgs,
        /// The version
        #[arg(long, value_name = "VERSION")]
        to: String,
    },
    /// End a hold and a pin
    Release(OrderArgs),
    /// Tag it; policies ask for the tag site as tags.site
    Tag {
        /// The device and the reason.
        #[command(flatten)]
        order: OrderArgs,
        /// Name of the tag
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Value of the tag
        #[arg(long, value_name = "TEXT")]
        value: String,
    },
    /// Remove a tag
    Untag {
        /// The device and the reason.
        #[command(flatten)]
        order: OrderArgs,
        /// Name of the tag
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Forget what it did: another device has its id now
    Forget(OrderArgs),
    /// Delete it with everything that is stored about it; its tokens are good for nothing then
    Delete(OrderArgs),
}

/// A device, and the reason of the order.
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// Id of the device
    pub device: String,
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = crate::reason::parse)]
    pub reason: String,
}

/// Carries out an order.
pub fn run(command: &OrderCommand, common: &Common, output: &Output) -> CommandResult {
    let (client, product) = (common.operator()?, common.product()?);
    let path = |route, order: &OrderArgs| ApiPath::device(route, product, &order.device);
    let reason = |order: &OrderArgs| json!({"reason": order.reason});
    let document = match command {
        OrderCommand::Hold(order) => client.post(&path(PublishRoute::HoldDevice, order), &reason(order))?,
        OrderCommand::Pin { order, to } => {
            client.post(&path(PublishRoute::PinDevice, order), &json!({"version": to, "reason": order.reason}))?
        }
        OrderCommand::Release(order) => client.post(&path(PublishRoute::ReleaseDevice, order), &reason(order))?,
        OrderCommand::Tag { order, name, value } => {
            let path = ApiPath::tag(PublishRoute::TagDevice, product, &order.device, name);
            client.put_with(&path, &json!({"value": value, "reason": order.reason}))?
        }
        OrderCommand::Untag { order, name } => {
            let path = ApiPath::tag(PublishRoute::UntagDevice, product, &order.device, name);
            client.delete_with(&path, &reason(order))?
        }
        OrderCommand::Forget(order) => {
            let document = client.post(&path(PublishRoute::ForgetDevice, order), &reason(order))?;
            return say_forgotten(&document, &order.device, output);
        }
        OrderCommand::Delete(order) => {
            let document = client.delete_with(&path(PublishRoute::DeleteDevice, order), &reason(order))?;
            output.document(&document)?;
            return output.line(format!(
                "{} is deleted; its id stays in the audit log, and where its old tokens are kept dead",
                clean(&order.device)
            ));
        }
    };
    output.document(&document)?;
    let device: DeviceView = update::read(&document, "device")?;
    output.line(format!("{}: {}", clean(device.id.as_str()), in_words(&device)))
}

fn say_forgotten(document: &Value, device: &str, output: &Output) -> CommandResult {
    output.document(document)?;
    let Forgotten { forgotten } = update::read(document, "list of versions")?;
    output.line(match forgotten.as_slice() {
        [] => format!("{} had no offer that could be forgotten", clean(device)),
        versions => format!("{}: forgotten is what it did with {}", clean(device), clean(&versions.join(", "))),
    })
}

/// The orders for a device, on one line.
pub fn in_words(device: &DeviceView) -> String {
    let mut words = Vec::new();
    words.extend(device.on_hold.then(|| "on hold".to_string()));
    words.extend(device.pinned.as_ref().map(|version| format!("pinned to {}", clean(version))));
    words.extend(device.tags.iter().map(|(name, value)| format!("{}={}", clean(name), clean(value))));
    words.extend(device.assigned.iter().map(|version| format!("assigned {}", clean(version))));
    if words.is_empty() { "no orders".into() } else { words.join(", ") }
}

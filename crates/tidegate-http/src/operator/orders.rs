//! What operators order for one device, and for many.

use serde::Serialize;
use tidegate_core::{DeviceId, Version};
use tidegate_engine::operate::{self, MOST_DEVICES, Order};
use tidegate_store::PublishStore;
use tidegate_wire::device_json::parse_version;
use tidegate_wire::operator::{
    Devices, Forgotten, ManyChanged, Outcome, Pin, ReasonCount, Reasons, Retried, RetryMany, Tag, UpdateDevice,
    UpdateDevices,
};
use tidegate_wire::{ApiError, strict_json};

use super::page::Asked;
use super::{Answer, Call, PublishService, ok, parse_device, refused};
use tidegate_engine::control::Actor;

impl<S: PublishStore> PublishService<S> {
    /// Gives a device another try.
    pub(crate) async fn retry_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let actor = call.actor_with_reason()?;
        let versions = self.engine.retry(&call.product, device, &actor).await.map_err(refused)?;
        ok(&Retried { retried: versions.iter().map(ToString::to_string).collect() })
    }

    /// Puts a device on hold.
    pub(crate) async fn hold_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        self.order(call, device, &Order::Hold, call.actor_with_reason()?).await
    }

    /// Pins a device to a version.
    pub(crate) async fn pin_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let Pin { version, reason } = strict_json::read_body(call.body)?;
        self.order(call, device, &Order::Pin(parse_version(&version)?), call.actor(reason)?).await
    }

    /// Takes a device off hold, and lets it go from its pin.
    pub(crate) async fn release_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        self.order(call, device, &Order::Release, call.actor_with_reason()?).await
    }

    /// Tags a device.
    pub(crate) async fn tag_device(&self, call: &Call<'_>, device: &DeviceId, name: &str) -> Answer {
        let Tag { value, reason } = strict_json::read_body(call.body)?;
        self.order(call, device, &Order::Tag(name.to_string(), value), call.actor(reason)?).await
    }

    /// Removes a tag of a device.
    pub(crate) async fn untag_device(&self, call: &Call<'_>, device: &DeviceId, name: &str) -> Answer {
        self.order(call, device, &Order::Untag(name.to_string()), call.actor_with_reason()?).await
    }

    async fn order(&self, call: &Call<'_>, device: &DeviceId, order: &Order, actor: Actor) -> Answer {
        self.engine.order(&call.product, device, order, &actor).await.map_err(refused)?;
        self.show_device(call, device).await
    }

    /// Forgets what a device did with every update.
    pub(crate) async fn forget_device(&self, call: &Call<'_>, device: &DeviceId) -> Answer {
        let actor = call.actor_with_reason()?;
        let versions = self.engine.forget(&call.product, device, &actor).await.map_err(refused)?;
        ok(&Forgotten { forgotten: versions.iter().map(ToString::to_string).collect() })
    }

    /// Assigns an update to devices, or takes it back.
    pub(crate) async fn assign(&self, call: &Call<'_>, version: &Version, is_assigned: bool) -> Answer {
        let (devices, actor) = named(call)?;
        let many = self.engine.assign(&call.product, version, &devices, is_assigned, &actor).await;
        ok(&changed(many.map_err(refused)?))
    }

    /// Strikes devices as witnesses.
    pub(crate) async fn void_devices(&self, call: &Call<'_>, version: &Version) -> Answer {
        let (devices, actor) = named(call)?;
        let many = self.engine.void(&call.product, version, &devices, &actor).await;
        ok(&changed(many.map_err(refused)?))
    }

    /// Gives another try to the devices with one outcome.
    pub(crate) async fn retry_update(&self, call: &Call<'_>, version: &Version) -> Answer {
        let RetryMany { state, after, reason } = strict_json::read_body(call.body)?;
        let after = after.as_deref().map(parse_device).transpose()?;
        let actor = call.actor(reason)?;
        let many = self.engine.retry_many(&call.product, version, state.into(), after.as_ref(), &actor).await;
        ok(&changed(many.map_err(refused)?))
    }

    /// A page of the devices with one outcome.
    pub(crate) async fn list_update_devices(&self, call: &Call<'_>, version: &Version) -> Answer {
        let words = || Outcome::ALL.iter().map(|outcome| outcome.word()).collect::<Vec<_>>().join(", ");
        let state = call.parameter("state").and_then(Outcome::parse);
        let state = state.ok_or_else(|| ApiError::bad_field(format!("state must be one of {}", words())))?;
        let Asked { limit, after } = call.page()?;
        let after = after.map(parse_device).transpose()?;
        let page = self.engine.listed(&call.product, version, state.into(), after.as_ref(), limit).await;
        let (entries, next) = page.map_err(refused)?;
        let items = entries.into_iter().map(|entry| UpdateDevice {
            id: entry.device,
            state,
            message: entry.message,
            attempts: entry.attempts,
            at: entry.at,
        });
        ok(&UpdateDevices { items: items.collect(), next })
    }

    /// What the devices of an update said.
    pub(crate) async fn reasons(&self, call: &Call<'_>, version: &Version) -> Answer {
        let (reasons, complete) = self.engine.reasons(&call.product, version).await.map_err(refused)?;
        let items = reasons.into_iter().filter_map(|reason| {
            let state = Outcome::of(reason.bucket)?;
            Some(ReasonCount { state, message: reason.message, devices: reason.devices })
        });
        ok(&Reasons { items: items.collect(), complete })
    }
}

/// The devices that a body names, and the operator.
fn named(call: &Call<'_>) -> Result<(Vec<DeviceId>, Actor), ApiError> {
    let Devices { devices, reason } = strict_json::read_body(call.body)?;
    if !(1..=MOST_DEVICES).contains(&devices.len()) {
        let message = format!("devices must name 1 to {MOST_DEVICES} devices; it names {}", devices.len());
        return Err(ApiError::bad_field(message));
    }
    let devices = devices.iter().map(|device| parse_device(device)).collect::<Result<_, _>>()?;
    Ok((devices, call.actor(reason)?))
}

fn changed(many: operate::ManyChanged) -> impl Serialize {
    let operate::ManyChanged { changed, unchanged, next } = many;
    ManyChanged { changed, unchanged, next }
}

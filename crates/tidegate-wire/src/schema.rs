//! Schemas of the plain values in the API: names, versions, digests, codes. Only the API description uses them.

#![allow(dead_code, reason = "the types stand for schemas and are never built")]

use serde_json::json;
use tidegate_core::status;
use tidegate_core::{State as CoreState, objection};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// Declares schemas of texts: the name, the longest length, the pattern, and an example.
macro_rules! texts {
    ($(#[doc = $doc:literal] $Name:ident $longest:literal $pattern:literal $example:literal,)*) => {
        $(
            #[doc = $doc]
            pub struct $Name;

            impl PartialSchema for $Name {
                fn schema() -> RefOr<Schema> {
                    let text = ObjectBuilder::new().schema_type(Type::String).description(Some($doc.trim_ascii()));
                    text.max_length(Some($longest)).pattern(Some($pattern)).examples([json!($example)]).into()
                }
            }

            impl ToSchema for $Name {
                fn name() -> std::borrow::Cow<'static, str> {
                    stringify!($Name).into()
                }
            }
        )*
    };
}

texts! {
    /// A product: a line of devices. 1 to 64 characters.
    ProductId 64 "^[A-Za-z0-9._-]{1,64}$" "lamp",
    /// A device, such as its serial number or MAC address. 1 to 128 characters.
    DeviceId 128 "^[A-Za-z0-9._:@+=-]{1,128}$" "lamp-1",
    /// An update: the product's id, a dot, and a hash of the version.
    UpdateId 85 "^[A-Za-z0-9._-]{1,85}$" "lamp.18617c0e305c49f644fb",
    /// A version in SemVer 2.0, ordered by its precedence.
    Version 256 r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$" "1.1.0",
    /// A SHA-256 in 64 lower-case hex digits.
    Sha256 64 "^[0-9a-f]{64}$" "4e329ba3588b5a485665ba8b2b3e8ed4cd980f06eda452eb0cd29e1d809b6423",
    /// The name of a tag of a device: 1 to 64 characters. A policy reads it as `tags.<name>`.
    TagName 64 "^[A-Za-z_][A-Za-z0-9_]{0,63}$" "site",
    /// The name of a file: 1 to 255 characters; no path, and no dot at the start.
    FileName 255 "^[A-Za-z0-9_+ -][A-Za-z0-9._+ -]{0,254}$" "lamp.bin",
    /// A token of a device or a product.
    TokenText 190 r"^[dp]1\.[a-z0-9]{1,16}(-[0-9]+)?\.[A-Za-z0-9_-]{43}$" "d1.k1.0Q3wC6hVq0m9mJm4l0Yd0m1c3M8Z8l6m5v2t9r7xQkE",
    /// The number of one reservation of a claim, below 2^31.
    HawkbitActionId 10 "^[1-9][0-9]{0,9}$" "1193046471",
}

/// A time in RFC 3339. Answers are in UTC.
#[derive(ToSchema)]
#[schema(format = "date-time", examples("2026-01-02T03:04:05Z"))]
pub struct Time(String);

/// A presigned S3 URL.
#[derive(ToSchema)]
#[schema(format = "uri", max_length = 3800)]
pub struct SignedUrl(String);

/// The length of a file in bytes; at most 32 GiB.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 34359738368_u64)]
pub struct FileSize(u64);

/// Declares schemas of words that the rules list.
macro_rules! listed {
    ($(#[doc = $doc:literal] $Name:ident $values:expr,)*) => {
        $(
            #[doc = $doc]
            pub struct $Name;

            impl PartialSchema for $Name {
                fn schema() -> RefOr<Schema> {
                    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some($values));
                    word.description(Some($doc.trim_ascii())).into()
                }
            }

            impl ToSchema for $Name {
                fn name() -> std::borrow::Cow<'static, str> {
                    stringify!($Name).into()
                }
            }
        )*
    };
}

listed! {
    /// The state of an update: `draft` → `active` ⇄ `paused` → `completed` or `aborted`; any of them → `withdrawn`. Another campaign begins in `scheduled`.
    State CoreState::ALL.map(CoreState::name),
    /// Why an update is passed over, in the order in which the rules are asked. `up_to_date`: the device runs this version or a later one. `incompatible`: it cannot be installed over what the device runs, or the device's protocol cannot carry it. `not_targeted`: the policy does not admit the device. `policy_unclear`: the policy could not be evaluated. `aborted`: an operator stopped it. `ended`: the rollout is over. `cloned_id`: two devices say that they are this one. `reverted`: the device installed it and fell back. `failed_before`: the device failed it `max_attempts` times within 30 days. `declined`: the device or its user said no too often. `keeps_leaving`: the device came back from other versions too often. `retry_later`: the device tries it again later, or has it and has not shown yet what it runs. `paused`: an operator paused it. `held`: the health gate held it. `not_started`: it begins later. `outside_window`: no opening window is open. `not_in_phase`: the phase does not reach this device's place. `full`: `max_devices` have been offered it. `rate_limited`: this period's offers are used up. `too_many_in_flight`: `max_in_flight` devices have the offer and have not reported an outcome. `failed_before`, `keeps_leaving`, `retry_later`, `not_started`, `outside_window`, `not_in_phase` and `rate_limited` have `opens_at`, if time ends them.
    ObjectionCode objection::ObjectionCode::ALL.iter().map(|code| code.name()).collect::<Vec<_>>(),
    /// The statuses of Exosite's OTAU, in the order in which a device passes through them.
    ReportStatus status::Status::names().collect::<Vec<_>>(),
}

/// Check-ins by the code of the objection.
pub(crate) fn counts_by_objection() -> RefOr<Schema> {
    let count = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let object = ObjectBuilder::new().schema_type(Type::Object).description(Some(
        "The number of check-ins that were not offered the update, by objection. At most a minute old.",
    ));
    object.additional_properties(Some(AdditionalProperties::RefOr(count.into()))).into()
}

/// A number of devices, `auto`, or `null`.
pub(crate) fn max_in_flight() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(1_u64 << 50));
    let auto = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["auto"]));
    let description = "Devices that may have the offer and have not proved it: a number, `null` for no limit, or `auto`. With \
                       `auto` it is one in twenty devices of the audience, at least 10 and at most 500, and grows with the \
                       devices that are well for longer than a dead one would stay unnoticed. It is 10 until the audience was \
                       counted, within an hour.";
    let any = OneOfBuilder::new().item(number).item(auto).item(ObjectBuilder::new().schema_type(Type::Null));
    any.description(Some(description)).default(Some(json!("auto"))).into()
}

/// `offer`, or the code of an objection.
pub(crate) fn offer_or_objection() -> RefOr<Schema> {
    let offer = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["offer"]));
    OneOfBuilder::new().item(offer).item(Ref::from_schema_name("ObjectionCode")).into()
}

/// `true`, `"true"`, `false` or `"false"`.
pub(crate) fn boolean_or_word() -> RefOr<Schema> {
    let values = [json!(true), json!(false), json!("true"), json!("false")];
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).enum_values(Some(values)).into()
}

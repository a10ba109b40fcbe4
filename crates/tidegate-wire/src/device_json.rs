//! `device.json`: the description that a device sends when it checks in.

use serde_json::{Map, Value};
use tidegate_core::attributes::{Attributes, Value as Attribute};
use tidegate_core::device::Delivery;
use tidegate_core::orders::Orders;
use tidegate_core::{Device, DeviceId, ProductId, Version};

use crate::error::{ApiError, ErrorCode};
use crate::{body_limits, strict_json};

/// The longest text that one attribute may hold, in bytes; and the longest name.
const LONGEST_TEXT: usize = 1024;
const LONGEST_NAME: usize = 128;

/// A device's statement about itself. Every other field is an attribute that policies may ask about: a text of at most
/// 1,024 bytes, a number, a boolean, a list of these, or an object of them. A name, dotted if it is nested, has at most
/// 128 bytes. `null` is the same as leaving the field out. A number may be sent as a text: `"512"` compares as 512.
#[cfg(feature = "schema")]
#[derive(utoipa::ToSchema)]
#[schema(as = DeviceJson)]
#[allow(dead_code, reason = "it stands for a schema; the parser keeps all fields")]
pub struct DeviceJsonBody {
    /// The device's id.
    #[schema(value_type = crate::schema::DeviceId)]
    id: String,
    /// The product's id.
    #[schema(value_type = crate::schema::ProductId)]
    product: String,
    /// The version that the device runs, in SemVer 2.0.
    version: String,
}

/// A `device.json` whose identity has been checked and whose version has not: some dialects cannot
/// be told that it is bad.
#[derive(Debug, Clone)]
pub struct DeviceJson {
    /// `id`.
    pub id: DeviceId,
    /// `product`.
    pub product: ProductId,
    /// `version`, as it was sent.
    pub version: String,
    /// Everything, by dotted name, with `id` and `product` and without `version`.
    pub attributes: Attributes,
    /// The object as it was sent, for the device's record.
    pub object: Map<String, Value>,
}

impl DeviceJson {
    /// The version that the device runs.
    ///
    /// # Errors
    /// `bad_version`, when it is not SemVer 2.0.
    pub fn semver(&self) -> Result<Version, ApiError> {
        parse_version(&self.version)
    }

    /// The device that it describes, and the object as it was sent.
    ///
    /// # Errors
    /// `bad_version`, when its version is not SemVer 2.0.
    pub fn into_device(self, delivery: Delivery) -> Result<(Device, Map<String, Value>), ApiError> {
        let version = self.semver()?;
        let Self { id, product, attributes, object, .. } = self;
        let orders = Orders::default();
        Ok((Device { id, product, version, said: None, attributes, delivery, orders }, object))
    }
}

/// Reads a `device.json`.
///
/// # Errors
/// `body_too_large`, `bad_json` or `bad_field`.
pub fn parse(body: &[u8]) -> Result<DeviceJson, ApiError> {
    let object = strict_json::parse_object(body, body_limits::DEVICE)?;
    let id = DeviceId::new(text(&object, "id")?).map_err(|error| ApiError::bad_field(format!("id: {error}")))?;
    let product =
        ProductId::new(text(&object, "product")?).map_err(|error| ApiError::bad_field(format!("product: {error}")))?;
    let version = text(&object, "version")?.to_string();
    let attributes = attributes_of(&object)?;
    Ok(DeviceJson { id, product, version, attributes, object })
}

/// The longest version, in bytes. It is a part of keys in the store.
pub const LONGEST_VERSION: usize = 128;

/// Reads a version.
///
/// # Errors
/// `bad_version`, when it is not SemVer 2.0, or too long.
pub fn parse_version(text: &str) -> Result<Version, ApiError> {
    if text.len() > LONGEST_VERSION {
        let message = format!("version must have at most {LONGEST_VERSION} bytes; `{text:.64}…` has {}", text.len());
        return Err(ApiError::new(ErrorCode::BadVersion, message));
    }
    Version::parse(text).map_err(|error| {
        ApiError::new(
            ErrorCode::BadVersion,
            format!("version must be SemVer 2.0 such as 1.4.0; `{text:.64}` is not: {error}"),
        )
    })
}

/// Turns the fields of a `device.json` into attributes by dotted name.
///
/// # Errors
/// `bad_field`, when a name or a text is too long, or two fields have the same dotted name.
pub fn attributes_of(object: &Map<String, Value>) -> Result<Attributes, ApiError> {
    let mut attributes = Attributes::with_room_for(object.len());
    for (name, value) in object {
        if name != "version" {
            flatten(name, value, &mut attributes)?;
        }
    }
    Ok(attributes)
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, ApiError> {
    match object.get(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ApiError::bad_field(format!("{field} must be a string"))),
        None => Err(ApiError::bad_field(format!("{field} is missing; a check-in says id, product and version"))),
    }
}

fn flatten(name: &str, value: &Value, attributes: &mut Attributes) -> Result<(), ApiError> {
    if name.len() > LONGEST_NAME {
        return Err(ApiError::bad_field(format!(
            "the attribute name `{name:.32}…` must be at most {LONGEST_NAME} bytes"
        )));
    }
    if let Value::Object(fields) = value {
        return fields.iter().try_for_each(|(field, value)| flatten(&[name, ".", field].concat(), value, attributes));
    }
    let Some(attribute) = scalar_or_list(name, value)? else {
        return Ok(());
    };
    if attributes.get(name).is_some() {
        return Err(ApiError::bad_field(format!("the attribute `{name}` is given twice, nested and with a dot")));
    }
    attributes.insert(name, attribute);
    Ok(())
}

/// `null` is the same as not saying it, and a list of objects cannot be asked for.
fn scalar_or_list(name: &str, value: &Value) -> Result<Option<Attribute>, ApiError> {
    Ok(match value {
        Value::Null | Value::Object(_) => None,
        Value::Bool(value) => Some(Attribute::Bool(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Some(Attribute::Integer(integer)),
            None => number.as_f64().map(Attribute::Number),
        },
        Value::String(text) if text.len() > LONGEST_TEXT => {
            return Err(ApiError::bad_field(format!("the attribute `{name}` must be at most {LONGEST_TEXT} bytes")));
        }
        Value::String(text) => Some(Attribute::Text(text.clone())),
        Value::Array(elements) => {
            let scalars = elements.iter().filter(|element| !element.is_array());
            let list = scalars.map(|element| scalar_or_list(name, element)).collect::<Result<Vec<_>, _>>()?;
            Some(Attribute::List(list.into_iter().flatten().collect()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &str) {
        let got = match parse(body.as_bytes()) {
            Ok(device) => {
                device.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{body}");
    }

    #[test]
    fn nested_fields_become_dotted_names_and_null_is_not_said() {
        check(
            r#"{"id":"a","product":"p","version":"1.0.0","site":{"region":"eu","tags":["x",1]},"n":null,"memory":512}"#,
            r#"id="a" memory=512 product="p" site.region="eu" site.tags=["x", 1]"#,
        );
    }

    #[test]
    fn a_missing_or_wrong_identity_is_named() {
        check(
            r#"{"product":"p","version":"1.0.0"}"#,
            "id is missing; a check-in says id, product and version (bad_field)",
        );
        check(r#"{"id":7,"product":"p","version":"1.0.0"}"#, "id must be a string (bad_field)");
        check("[]", "the body must be a JSON object (bad_json)");
        check(
            r#"{"id":"a","product":"p#x","version":"1.0.0"}"#,
            "product: a product id must be 1 to 64 characters out of A-Z a-z 0-9 ._- (bad_field)",
        );
    }

    #[test]
    fn two_spellings_of_one_attribute_are_refused() {
        check(
            r#"{"id":"a","product":"p","version":"1.0.0","site":{"region":"eu"},"site.region":"us"}"#,
            "the attribute `site.region` is given twice, nested and with a dot (bad_field)",
        );
    }
}

//! Reads JSON within the limits of [`crate::body_limits`], and refuses a key that is given twice.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::map::{Entry, Map};

use crate::body_limits::{BodyLimits, OPERATOR};
use crate::error::{ApiError, ErrorCode};

/// Reads one JSON value.
///
/// # Errors
/// `body_too_large` or `bad_json`, with the line and column where there is one.
pub fn parse(text: &[u8], limits: BodyLimits) -> Result<Value, ApiError> {
    check_length(text, limits)?;
    let bad = |error: serde_json::Error| ApiError::new(ErrorCode::BadJson, format!("the body must be JSON: {error}"));
    let mut left = limits.keys;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Element { depth: limits.depth, left: &mut left }.deserialize(&mut reader).map_err(bad)?;
    reader.end().map_err(bad)?;
    Ok(value)
}

/// Reads one JSON object.
///
/// # Errors
/// As for [`parse`]; `bad_json`, when it is another value.
pub fn parse_object(text: &[u8], limits: BodyLimits) -> Result<Map<String, Value>, ApiError> {
    match parse(text, limits)? {
        Value::Object(object) => Ok(object),
        _ => Err(ApiError::new(ErrorCode::BadJson, "the body must be a JSON object")),
    }
}

/// A body of an operator. It is read strictly: a field that does not exist is refused.
pub trait OperatorInput: Serialize + DeserializeOwned {
    /// The paths of fields that may hold any JSON.
    const FREE_FORM: &'static [&'static str] = &[];

    /// The value with all its fields, also those that are not written when they are missing.
    ///
    /// # Errors
    /// When the value cannot be written as JSON. No body type has such a value.
    fn with_all_fields(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    /// The sentence that refuses the field at `path`. `known` are the fields that exist beside it.
    #[must_use]
    fn unknown_field(path: &str, known: &[String]) -> String {
        format!("there is no field `{path}` here; there is {}", known.join(", "))
    }
}

/// Reads a body of an operator. An empty body is an empty object.
///
/// # Errors
/// `body_too_large`, `bad_json`, `bad_field` or `unknown_field`, with the path of the field.
pub fn read_body<T: OperatorInput>(body: &[u8]) -> Result<T, ApiError> {
    let object = if body.is_empty() { Map::new() } else { parse_object(body, OPERATOR)? };
    read(&Value::Object(object))
}

/// The same for a value that was parsed already.
///
/// # Errors
/// `bad_field` or `unknown_field`, with the path of the field.
pub fn read<T: OperatorInput>(value: &Value) -> Result<T, ApiError> {
    let input: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        // The path of the whole value is a dot.
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        ApiError::bad_field(format!("{place}{}", in_words_of_json(&error.inner().to_string())))
    })?;
    let known = input.with_all_fields().map_err(|error| ApiError::bad_field(error.to_string()))?;
    check_shape::<T>("", value, &known)?;
    Ok(input)
}

/// A message of serde without names of Rust's types.
fn in_words_of_json(message: &str) -> String {
    let Some((got, expected)) = message.split_once("expected ") else {
        return message.to_string();
    };
    let expected = match expected {
        "a map" => "an object",
        expected if expected.starts_with("struct ") => "an object",
        "a sequence" => "a list",
        "u8" | "u16" | "u32" | "u64" => "a whole number, 0 or more",
        "i64" => "a whole number",
        "f64" => "a number",
        expected => expected,
    };
    format!("{got}expected {expected}")
}

/// Refuses what was sent and does not come back when the value that was read is written again: it is a field that
/// does not exist.
fn check_shape<T: OperatorInput>(path: &str, sent: &Value, known: &Value) -> Result<(), ApiError> {
    match (sent, known) {
        _ if T::FREE_FORM.contains(&path) => Ok(()),
        (Value::Object(sent), Value::Object(known)) => sent.iter().try_for_each(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match known.get(name) {
                Some(known) => check_shape::<T>(&path, value, known),
                None => {
                    let known = known.keys().cloned().collect::<Vec<_>>();
                    Err(ApiError::new(ErrorCode::UnknownField, T::unknown_field(&path, &known)))
                }
            }
        }),
        // Serde would take a list of values for an object; people do not mean that.
        (Value::Array(_), Value::Object(_)) => {
            let what = if path.is_empty() { "the body" } else { path };
            Err(ApiError::bad_field(format!("{what} must be an object, not a list")))
        }
        (Value::Array(sent), Value::Array(known)) => sent
            .iter()
            .zip(known)
            .enumerate()
            .try_for_each(|(index, (sent, known))| check_shape::<T>(&format!("{path}[{index}]"), sent, known)),
        _ => Ok(()),
    }
}

/// Checks the length of a text before it is parsed.
///
/// # Errors
/// `body_too_large`.
pub fn check_length(text: &[u8], limits: BodyLimits) -> Result<(), ApiError> {
    if text.len() > limits.bytes {
        return Err(ApiError::new(
            ErrorCode::BodyTooLarge,
            format!("the body must be at most {} bytes; got {}", limits.bytes, text.len()),
        ));
    }
    Ok(())
}

/// One value, with what is left of the limits.
struct Element<'a> {
    depth: usize,
    left: &'a mut usize,
}

impl Element<'_> {
    fn inner<E: serde::de::Error>(&mut self) -> Result<Element<'_>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("it is nested too deep"))?;
        Ok(Element { depth, left: self.left })
    }

    fn spend<E: serde::de::Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("it has too many keys"))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::from).map_err(|_| E::custom("an integer is larger than 2^63-1"))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // Integers that do not fit arrive here, rounded; a device's serial number must not.
        const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
        if value.abs() >= TWO_TO_63 {
            return Err(E::custom("a number is beyond 2^63"));
        }
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = elements.next_element_seed(self.inner()?)? {
            self.spend()?;
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.spend()?;
            match map.entry(key) {
                Entry::Vacant(place) => drop(place.insert(entries.next_value_seed(self.inner()?)?)),
                Entry::Occupied(known) => {
                    return Err(A::Error::custom(format!("the key \"{}\" is given twice", known.key())));
                }
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body_limits::DEVICE;

    #[test]
    fn a_wrong_type_is_said_in_words_of_json() {
        let said = |message| in_words_of_json(message);
        let null = "invalid type: null, expected struct LimitsField";
        assert_eq!(said(null), "invalid type: null, expected an object");
        assert_eq!(
            said("invalid value: integer `-1`, expected u32"),
            "invalid value: integer `-1`, expected a whole number, 0 or more"
        );
        assert_eq!(said("missing field `version`"), "missing field `version`");
    }

    fn check(text: &str, expected: &str) {
        let got = match parse(text.as_bytes(), DEVICE) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{text:.60}: {got}");
    }

    #[test]
    fn what_json_leaves_open_is_refused_rather_than_guessed() {
        check(r#"{"a":1,"b":[true,null,1.5,"x"]}"#, r#"{"a":1,"b":[true,null,1.5,"x"]}"#);
        check(r#"{"a":1,"a":2}"#, "the key \"a\" is given twice");
        check(r#"{"a":18446744073709551616}"#, "a number is beyond 2^63");
        check(r#"{"a":9223372036854775808}"#, "an integer is larger than 2^63-1");
        check(r#"{"a":9223372036854775807}"#, "9223372036854775807");
        check(r#"{"a":1}x"#, "trailing characters");
        check("", "EOF while parsing");
    }

    #[test]
    fn depth_keys_and_length_are_bounded_exactly() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(16), "[1]");
        check(&nested(17), "nested too deep");
        let keys = |count: usize| {
            let fields = (0..count).map(|number| format!("\"k{number}\":0")).collect::<Vec<_>>();
            format!("{{{}}}", fields.join(","))
        };
        check(&keys(256), "\"k255\":0");
        check(&keys(257), "too many keys");
        let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        check(&long(16 * 1024), "xxx");
        check(&long(16 * 1024 + 1), "at most 16384 bytes; got 16385 (body_too_large)");
    }
}

//! One record of an export, and the fields that are not read yet.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// A policy that admits no device.
pub(crate) const NOBODY: &str = "false";

/// One update of an export, as far as Tidegate has the same.
#[derive(Debug, Default)]
pub struct Record {
    /// Its place in the export: `record 3`.
    pub place: String,
    /// The version it would give.
    pub version: String,
    /// The product, as the other service calls it.
    pub line: Option<String>,
    /// The definition, without its files.
    pub definition: Map<String, Value>,
    /// Its files.
    pub files: Vec<WantedFile>,
    /// Why it cannot become a draft.
    pub skipped: Option<String>,
    /// The parts that could not be carried.
    pub not_carried: Vec<String>,
    /// Notes on parts that are carried, but may read differently than expected.
    pub remarks: Vec<String>,
}

/// A file that an export names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedFile {
    /// Its name.
    pub name: String,
    /// Its SHA-256, 64 lower-case hex digits.
    pub sha256: Option<String>,
    /// Its length.
    pub size_bytes: Option<u64>,
}

impl Record {
    /// Sets a field of the definition.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.definition.insert(name.into(), value.into());
    }

    /// Keeps a fact for people, as a label.
    pub(crate) fn label(&mut self, name: &str, value: Option<Value>) {
        let text = match value {
            None => return,
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        let labels = self.definition.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(name.into(), json!(text));
        }
    }

    /// Notes a part of the export that could not be carried.
    pub(crate) fn lose(&mut self, what: impl Into<String>) {
        self.not_carried.push(what.into());
    }

    /// Adds a note for the operator.
    pub(crate) fn remark(&mut self, what: impl Into<String>) {
        self.remarks.push(what.into());
    }

    /// Notes the fields that were not read.
    pub(crate) fn lose_rest(&mut self, fields: &Fields<'_>) {
        for name in fields.names() {
            self.lose(format!("{name}: there is nothing like it here"));
        }
    }
}

/// The fields of one object. Each is taken once; the report names those that are left.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// The name of the object in errors.
    place: String,
    left: Vec<(&'a str, &'a Value)>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value, place: impl Into<String>) -> Result<Self> {
        let place = place.into();
        match value {
            Value::Object(fields) => {
                Ok(Self { place, left: fields.iter().map(|(name, value)| (name.as_str(), value)).collect() })
            }
            other => Err(Error::NotAnObject { place, got: shown(other) }),
        }
    }

    /// Gives the object a better name in errors.
    pub(crate) fn rename(&mut self, place: String) {
        self.place = place;
    }

    /// A field; `null` is the same as none.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a Value> {
        let index = self.left.iter().position(|(field, _)| *field == name)?;
        let (_, value) = self.left.remove(index);
        (!value.is_null()).then_some(value)
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<&'a str>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a text", other)),
        }
    }

    pub(crate) fn required_text(&mut self, name: &str) -> Result<&'a str> {
        let text = self.text(name)?;
        text.ok_or_else(|| Error::Missing { place: self.place.clone(), name: name.into() })
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number >= 0.0 => Ok(Some(number)),
                _ => Err(self.wrong(name, "a number that is not negative", value)),
            },
        }
    }

    pub(crate) fn whole_number(&mut self, name: &str) -> Result<Option<u64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "a whole number that is not negative", value)),
            },
        }
    }

    pub(crate) fn list(&mut self, name: &str) -> Result<Option<&'a [Value]>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(elements)) => Ok(Some(elements)),
            Some(other) => Err(self.wrong(name, "a list", other)),
        }
    }

    pub(crate) fn wrong(&self, name: &str, wanted: &str, got: &Value) -> Error {
        Error::WrongField { place: self.place.clone(), name: name.into(), wanted: wanted.into(), got: shown(got) }
    }

    /// The names of the fields that are left, without those that are `null`.
    pub(crate) fn names(&self) -> Vec<String> {
        self.left.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// A value in an error message: its first 60 characters.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(&text)),
        None => text,
    }
}

/// The records of an export: a list, or an object that has the list in one of `names`.
pub(crate) fn list_in<'a>(document: &'a Value, names: &[&str]) -> Result<&'a [Value]> {
    match document {
        Value::Array(records) => return Ok(records),
        Value::Object(fields) => {
            if let Some(Value::Array(records)) = names.iter().find_map(|name| fields.get(*name)) {
                return Ok(records);
            }
        }
        _ => {}
    }
    Err(Error::NoRecords { names: names.iter().map(|name| (*name).to_owned()).collect() })
}

/// A name that a file may have here, out of a path or a URL; `None` when nothing is left of it.
pub(crate) fn file_name(written: &str) -> Option<String> {
    let path = written.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+ ".contains(c) { c } else { '_' };
    let name: String = name.trim_start_matches('.').chars().map(plain).take(255).collect();
    (!name.is_empty()).then_some(name)
}

/// A SHA-256 as we write it.
pub(crate) fn sha256(text: &str) -> Option<String> {
    let is_one = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_lead_out_of_a_folder() {
        let check = |written: &str, expected: Option<&str>| {
            assert_eq!(file_name(written).as_deref(), expected, "{written}");
        };
        check("https://example.com/a/lamp-1.2.0.bin?sig=1#x", Some("lamp-1.2.0.bin"));
        check("../../.ssh", Some("ssh"));
        check("C:\\images\\lamp.bin", Some("lamp.bin"));
        check("größe.bin", Some("gr__e.bin"));
        check("https://example.com/", None);
    }

    #[test]
    fn only_a_sha256_is_one() {
        assert_eq!(sha256(&"A".repeat(64)), Some("a".repeat(64)));
        assert_eq!(sha256(&"a".repeat(32)), None);
        assert_eq!(sha256(&"x".repeat(64)), None);
    }
}

//! One record of an export: its fields as they are read, and what became of them.

use serde_json::{Map, Value, json};

use crate::error::{CommandError, CommandResult};
use crate::output::shortened;

/// A policy that admits no device.
pub(super) const NOBODY: &str = "false";

/// What an export says of one update, as far as it can be said here.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Where it is in the export: `record 3`.
    pub(super) place: String,
    /// The version it would give.
    pub(super) version: String,
    /// What the other service calls the product.
    pub(super) line: Option<String>,
    /// The definition, without its files.
    pub(super) definition: Map<String, Value>,
    /// Its files.
    pub(super) files: Vec<WantedFile>,
    /// Why it cannot be a draft.
    pub(super) skipped: Option<String>,
    /// What could not be carried.
    pub(super) not_carried: Vec<String>,
    /// What is carried, but reads differently than someone may expect.
    pub(super) remarks: Vec<String>,
}

/// A file, as far as the export describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WantedFile {
    /// Its name.
    pub(super) name: String,
    /// Its SHA-256, 64 lower-case hex digits.
    pub(super) sha256: Option<String>,
    /// Its length.
    pub(super) size_bytes: Option<u64>,
}

impl Record {
    /// Sets a field of the definition.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.definition.insert(name.into(), value.into());
    }

    /// Keeps something that only people ask for.
    pub(super) fn label(&mut self, name: &str, value: Option<Value>) {
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

    /// Something of the export that has no place here.
    pub(super) fn lose(&mut self, what: impl Into<String>) {
        self.not_carried.push(what.into());
    }

    /// Something that is carried, but worth reading.
    pub(super) fn remark(&mut self, what: impl Into<String>) {
        self.remarks.push(what.into());
    }

    /// The fields that nobody asked for.
    pub(super) fn lose_rest(&mut self, fields: &Fields<'_>) {
        for name in fields.names() {
            self.lose(format!("{name}: there is nothing like it here"));
        }
    }
}

/// The fields of one object, each taken once; what is left at the end is in the report by name.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// How errors name the object.
    place: String,
    left: Vec<(&'a str, &'a Value)>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, place: impl Into<String>) -> CommandResult<Self> {
        let place = place.into();
        match value {
            Value::Object(fields) => {
                Ok(Self { place, left: fields.iter().map(|(name, value)| (name.as_str(), value)).collect() })
            }
            other => Err(CommandError::BadInput(format!("{place} must be an object; got {}", shown(other)))),
        }
    }

    /// Names the record better, once more is known of it.
    pub(super) fn rename(&mut self, place: String) {
        self.place = place;
    }

    /// A field; `null` is the same as none.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a Value> {
        let index = self.left.iter().position(|(field, _)| *field == name)?;
        let (_, value) = self.left.remove(index);
        (!value.is_null()).then_some(value)
    }

    pub(super) fn text(&mut self, name: &str) -> CommandResult<Option<&'a str>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a text", other)),
        }
    }

    pub(super) fn required_text(&mut self, name: &str) -> CommandResult<&'a str> {
        let text = self.text(name)?;
        text.ok_or_else(|| CommandError::BadInput(format!("{}: {name} is missing", self.place)))
    }

    pub(super) fn flag(&mut self, name: &str) -> CommandResult<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> CommandResult<Option<f64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number >= 0.0 => Ok(Some(number)),
                _ => Err(self.wrong(name, "a number that is not negative", value)),
            },
        }
    }

    pub(super) fn whole_number(&mut self, name: &str) -> CommandResult<Option<u64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "a whole number that is not negative", value)),
            },
        }
    }

    pub(super) fn list(&mut self, name: &str) -> CommandResult<Option<&'a [Value]>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(elements)) => Ok(Some(elements)),
            Some(other) => Err(self.wrong(name, "a list", other)),
        }
    }

    pub(super) fn wrong(&self, name: &str, wanted: &str, got: &Value) -> CommandError {
        CommandError::BadInput(format!("{}: {name} must be {wanted}; got {}", self.place, shown(got)))
    }

    /// The names that nobody took and that say something.
    pub(super) fn names(&self) -> Vec<String> {
        self.left.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| (*name).to_owned()).collect()
    }
}

fn shown(value: &Value) -> String {
    shortened(&value.to_string(), 60)
}

/// The records of an export: a list, or an object that has the list in one of `names`.
pub(super) fn list_in<'a>(document: &'a Value, names: &[&str]) -> CommandResult<&'a [Value]> {
    match document {
        Value::Array(records) => return Ok(records),
        Value::Object(fields) => {
            if let Some(Value::Array(records)) = names.iter().find_map(|name| fields.get(*name)) {
                return Ok(records);
            }
        }
        _ => {}
    }
    Err(CommandError::BadInput(format!(
        "the export must be a list of records, or an object that has one in `{}`",
        names.join("` or `")
    )))
}

/// A name that a file may have here, out of a path or a URL; `None` when nothing is left of it.
pub(super) fn file_name(written: &str) -> Option<String> {
    let path = written.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+ ".contains(c) { c } else { '_' };
    let name: String = name.trim_start_matches('.').chars().map(plain).take(255).collect();
    (!name.is_empty()).then_some(name)
}

/// A SHA-256 as we write it.
pub(super) fn sha256(text: &str) -> Option<String> {
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

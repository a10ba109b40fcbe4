//! Content of an Exosite Murano product, as its OTA update schema documents it: items whose id begins
//! with `package_` and whose tag `otau_info` holds JSON, plain or percent-encoded.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::record::{Fields, NOBODY, Record, WantedFile, file_name, list_in};

pub(crate) fn read(document: &Value, policy: Option<&str>) -> Result<Vec<Record>> {
    let items = list_in(document, &["content", "data"])?;
    items.iter().enumerate().map(|(index, value)| record(value, &format!("content {}", index + 1), policy)).collect()
}

fn record(value: &Value, place: &str, policy: Option<&str>) -> Result<Record> {
    let mut item = Fields::of(value, place)?;
    let id = item.required_text("id")?;
    let place = format!("{place} ({id})");
    item.rename(place.clone());
    let mut record = Record { place: place.clone(), ..Record::default() };
    let tags = item.take("tags");
    if !id.starts_with("package_") {
        record.skipped = Some("it is no package: its id does not begin with `package_`".into());
        return Ok(record);
    }
    let nothing = json!({});
    let mut tags = Fields::of(tags.unwrap_or(&nothing), format!("{place}: tags"))?;
    let Some(written) = tags.take("otau_info") else {
        return Err(Error::Missing { place, name: "the tag otau_info".into() });
    };
    let info = info(written, &place)?;
    let mut info = Fields::of(&info, format!("{place}: otau_info"))?;
    for name in ["author", "vendor"] {
        if let Some(text) = info.text(name)? {
            record.set(name, text);
        }
    }
    record.line = info.text("product")?.map(str::to_owned);
    record.label("exosite.product", record.line.as_deref().map(|line| json!(line)));
    record.label("exosite.id", Some(json!(id)));
    for name in ["type", "length", "mtime"] {
        record.label(&format!("exosite.{name}"), item.take(name).cloned());
    }
    let Some(config) = info.take("config_otau") else {
        return Err(Error::Missing { place: format!("{place}: otau_info"), name: "config_otau".into() });
    };
    let mut config = Fields::of(config, format!("{place}: config_otau"))?;
    let version = config.required_text("version")?;
    record.version = version.into();
    record.set("version", version);
    for name in ["name", "description"] {
        if let Some(text) = config.text(name)? {
            record.set(name, text);
        }
    }
    payload(&mut record, &mut config, &place)?;
    match policy {
        Some(policy) => record.set("policy", policy),
        None => {
            record.set("policy", NOBODY);
            record.lose("audience: in Exosite a person picks devices; the draft admits nobody, --policy says whom");
        }
    }
    record.lose_rest(&config);
    record.lose_rest(&info);
    record.lose_rest(&tags);
    record.lose_rest(&item);
    Ok(record)
}

fn info(written: &Value, place: &str) -> Result<Value> {
    let Value::String(text) = written else { return Ok(written.clone()) };
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    json(text)
        .or_else(|| json(&percent_decode_str(text).decode_utf8().ok()?))
        .ok_or_else(|| Error::BadTag { place: place.into() })
}

fn payload(record: &mut Record, config: &mut Fields<'_>, place: &str) -> Result<()> {
    let kind = config.required_text("type")?;
    let missing = || Error::Missing { place: format!("{place}: config_otau"), name: "payload".into() };
    let payload = config.take("payload").ok_or_else(missing)?;
    match (kind, payload) {
        ("FILE", Value::String(file)) if file.contains("://") => {
            record.set("kind", "url_list");
            record.set("payload", json!([file]));
        }
        // Without a host, it is the id of another content item.
        ("FILE", Value::String(file)) => match file_name(file) {
            Some(name) => record.files.push(WantedFile { name, ..WantedFile::default() }),
            None => return Err(config.wrong("payload", "a URL or the id of a content item", payload)),
        },
        ("FILE", other) => return Err(config.wrong("payload", "a text for type FILE", other)),
        ("JSON", any) => {
            record.set("kind", "json");
            record.set("payload", any.clone());
        }
        ("URL_LIST", Value::Array(_)) => {
            record.set("kind", "url_list");
            record.set("payload", payload.clone());
        }
        ("URL_LIST", other) => return Err(config.wrong("payload", "a list for type URL_LIST", other)),
        (other, _) => {
            record.lose(format!("type {other}: is none of FILE, JSON and URL_LIST; the payload is given as JSON"));
            record.set("kind", "json");
            record.set("payload", payload.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(config: Value) -> Value {
        json!([{"id": "package_a", "tags": {"otau_info": {"author": "Rob", "product": "lamp", "config_otau": config}}}])
    }

    fn check(config: Value, pointer: &str, expected: Value) {
        let info = json!({"author": "Rob", "product": "lamp", "config_otau": config});
        let document = json!([{"id": "package_a", "tags": {"otau_info": info.to_string()}}]);
        let [record] = <[Record; 1]>::try_from(read(&document, Some("")).expect("readable")).expect("one");
        assert_eq!(Value::Object(record.definition).pointer(pointer), Some(&expected));
        assert_eq!(record.line.as_deref(), Some("lamp"));
    }

    #[test]
    fn each_type_becomes_a_kind() {
        let check = |kind: &str, payload: Value, field: &str, expected: Value| {
            check(json!({"version": "1.0.1", "name": "n", "type": kind, "payload": payload}), field, expected);
        };
        check("FILE", json!("https://example.com/a.txt"), "/payload", json!(["https://example.com/a.txt"]));
        check("JSON", json!({"a": 1}), "/payload", json!({"a": 1}));
        check("URL_LIST", json!(["https://example.com/1"]), "/kind", json!("url_list"));
        check("DELTA", json!({"a": 1}), "/kind", json!("json"));
    }

    #[test]
    fn a_file_without_a_host_is_a_content_item() {
        let config = json!({"version": "1.0.1", "type": "FILE", "payload": "fw_v120.bin"});
        let records = read(&item(config), None).expect("readable");
        assert_eq!(records.first().map(|record| record.files.len()), Some(1));
    }

    #[test]
    fn bad_input_is_named_by_item_and_field() {
        let check = |document: Value, expected: &str| {
            let error = read(&document, None).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(json!([{"id": "package_a"}]), "content 1 (package_a): the tag otau_info is missing");
        check(json!([{"id": "package_a", "tags": {"otau_info": "{"}}]), "otau_info must be JSON");
        check(item(json!({"type": "FILE"})), "content 1 (package_a): config_otau: version is missing");
        check(item(json!({"version": "1.0.0", "type": "FILE"})), "payload is missing");
        check(item(json!({"version": "1.0.0", "type": "FILE", "payload": 1})), "payload must be a text for type FILE");
    }
}

//! Distribution sets of hawkBit: `GET /rest/v1/distributionsets`, each module with the artifacts that
//! `GET /rest/v1/softwaremodules/{id}/artifacts` answers, and `GET /rest/v1/targetfilters` beside them.

mod rsql;

use serde_json::{Value, json};

use crate::error::Result;
use crate::record::{Fields, NOBODY, Record, WantedFile, file_name, list_in, sha256};

pub(crate) fn read(document: &Value, policy: Option<&str>) -> Result<Vec<Record>> {
    let sets = list_in(document, &["content", "distributionsets"])?;
    let filters = match document.get("targetfilters") {
        None => Vec::new(),
        Some(filters) => filters_in(filters)?,
    };
    let mut records = Vec::with_capacity(sets.len());
    for (index, value) in sets.iter().enumerate() {
        records.push(set(value, &format!("set {}", index + 1), &filters, policy)?);
    }
    let known: Vec<Option<u64>> = sets.iter().map(|set| set.get("id").and_then(Value::as_u64)).collect();
    for filter in filters.iter().filter(|filter| !known.contains(&filter.set)) {
        if let Some(last) = records.last_mut() {
            last.lose(format!("target filter {}: it assigns none of these sets by itself", filter.name));
        }
    }
    Ok(records)
}

/// A target filter: the devices that get a set automatically.
struct Filter {
    name: String,
    query: String,
    set: Option<u64>,
    other_fields: Vec<String>,
}

fn filters_in(document: &Value) -> Result<Vec<Filter>> {
    let mut filters = Vec::new();
    for (index, value) in list_in(document, &["content"])?.iter().enumerate() {
        let mut fields = Fields::of(value, format!("target filter {}", index + 1))?;
        let name = fields.text("name")?.unwrap_or("without a name").to_owned();
        let query = fields.required_text("query")?.to_owned();
        let set = fields.whole_number("autoAssignDistributionSet")?;
        for silent in ["id", "createdBy", "createdAt", "lastModifiedBy", "lastModifiedAt", "_links"] {
            fields.take(silent);
        }
        let other_fields = fields.names();
        filters.push(Filter { name, query, set, other_fields });
    }
    Ok(filters)
}

fn set(value: &Value, place: &str, filters: &[Filter], policy: Option<&str>) -> Result<Record> {
    let mut fields = Fields::of(value, place)?;
    let name = fields.required_text("name")?;
    fields.rename(format!("{place} ({name})"));
    let version = fields.required_text("version")?;
    let place = format!("{place} ({name} {version})");
    fields.rename(place.clone());
    let mut record =
        Record { place: place.clone(), version: version.into(), line: Some(name.into()), ..Record::default() };
    record.set("version", version);
    record.set("name", name);
    if let Some(description) = fields.text("description")? {
        record.set("description", description);
    }
    let id = fields.whole_number("id")?;
    record.label("hawkbit.id", id.map(|id| json!(id)));
    for label in ["type", "typeName", "createdBy", "createdAt", "lastModifiedBy", "lastModifiedAt"] {
        record.label(&format!("hawkbit.{label}"), fields.take(label).cloned());
    }
    // Links into hawkBit say nothing; a locked set cannot be changed there, and none can be here.
    for silent in ["_links", "locked", "valid"] {
        fields.take(silent);
    }
    if fields.flag("requiredMigrationStep")? == Some(true) {
        record.lose(
            "requiredMigrationStep: has no equal; compatible_from of the newer updates says what must come first",
        );
    }
    if fields.flag("complete")? == Some(false) {
        record.lose("complete: false, modules are missing");
    }
    if fields.flag("deleted")? == Some(true) {
        record.skipped = Some("it is deleted".into());
    }
    modules(&mut record, fields.list("modules")?.unwrap_or_default(), &place)?;
    audience(&mut record, id, filters, policy);
    record.lose_rest(&fields);
    Ok(record)
}

fn modules(record: &mut Record, modules: &[Value], place: &str) -> Result<()> {
    let mut vendors: Vec<&str> = Vec::new();
    for (index, value) in modules.iter().enumerate() {
        let place = format!("{place}: module {}", index + 1);
        let mut fields = Fields::of(value, place.clone())?;
        let name = fields.required_text("name")?;
        let version = fields.text("version")?.unwrap_or_default();
        record.label(&format!("hawkbit.module.{name}"), Some(json!(version)));
        if let Some(vendor) = fields.text("vendor")? {
            vendors.push(vendor);
        }
        if fields.flag("encrypted")? == Some(true) {
            record.lose(format!("module {name}: encrypted, and no key is carried"));
        }
        let silent = [
            "id",
            "type",
            "typeName",
            "createdBy",
            "createdAt",
            "lastModifiedBy",
            "lastModifiedAt",
            "_links",
            "locked",
            "complete",
            "deleted",
            "description",
        ];
        for silent in silent {
            fields.take(silent);
        }
        for (index, artifact) in fields.list("artifacts")?.unwrap_or_default().iter().enumerate() {
            let file = artifact_file(artifact, &format!("{place}: artifact {}", index + 1))?;
            record.files.push(file);
        }
        for left in fields.names() {
            record.lose(format!("module {name}: {left}: there is nothing like it here"));
        }
    }
    vendors.dedup();
    match vendors.as_slice() {
        [] => {}
        [vendor] => record.set("vendor", *vendor),
        several => record.lose(format!("vendor: modules have several ({})", several.join(", "))),
    }
    if record.files.is_empty() && record.skipped.is_none() {
        record.skipped = Some("none of its modules lists artifacts; put each module's artifacts into it".into());
    }
    Ok(())
}

fn artifact_file(value: &Value, place: &str) -> Result<WantedFile> {
    let mut fields = Fields::of(value, place)?;
    let written = fields.required_text("providedFilename")?;
    let Some(name) = file_name(written) else {
        return Err(fields.wrong("providedFilename", "the name of a file", &json!(written)));
    };
    let size_bytes = fields.whole_number("size")?;
    let hash = fields.take("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str);
    Ok(WantedFile { name, sha256: hash.and_then(sha256), size_bytes })
}

/// Devices of any filter that assigns the set; of the command line's policy without one.
fn audience(record: &mut Record, id: Option<u64>, filters: &[Filter], policy: Option<&str>) {
    let assigning: Vec<&Filter> = filters.iter().filter(|filter| id.is_some() && filter.set == id).collect();
    if assigning.is_empty() {
        match policy {
            Some(policy) => record.set("policy", policy),
            None => {
                record.set("policy", NOBODY);
                record.lose("audience: no target filter here assigns it; the draft admits nobody, --policy says whom");
            }
        }
        return;
    }
    let mut policies = Vec::new();
    for filter in assigning {
        match rsql::translate(&filter.query) {
            Ok(translation) => {
                policies.push(translation.policy);
                record.remarks.extend(translation.remarks);
            }
            Err(why) => record
                .lose(format!("target filter {} `{}`: {why}. It adds nobody to the policy", filter.name, filter.query)),
        }
        for left in &filter.other_fields {
            record.lose(format!("target filter {}: {left}: there is nothing like it here", filter.name));
        }
    }
    let policy = match policies.as_slice() {
        [] => NOBODY.to_owned(),
        several => several.join(" || "),
    };
    record.set("policy", policy);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(change: &Value, filters: &Value) -> Value {
        let artifact =
            json!({"providedFilename": "a.swu", "size": 5, "hashes": {"sha256": "a".repeat(64), "md5": "x"}});
        let mut set = json!({
            "id": 7, "name": "lamp-os", "version": "2.0.0", "type": "os",
            "modules": [{"name": "os", "version": "2.0.0", "vendor": "Acme", "artifacts": [artifact]}]
        });
        for (name, value) in change.as_object().expect("an object") {
            set[name] = value.clone();
        }
        json!({"content": [set], "targetfilters": {"content": filters}})
    }

    fn check(change: Value, filters: Value, pointer: &str, expected: Value, not_carried: &[&str]) {
        let records = read(&document(&change, &filters), None).expect("readable");
        let [record] = <[Record; 1]>::try_from(records).expect("one set");
        let definition = Value::Object(record.definition);
        assert_eq!(definition.pointer(pointer).unwrap_or(&Value::Null), &expected, "{definition}");
        assert_eq!(record.not_carried.len(), not_carried.len(), "{:?}", record.not_carried);
        for (got, expected) in record.not_carried.iter().zip(not_carried) {
            assert!(got.contains(expected), "{got} / {expected}");
        }
    }

    #[test]
    fn target_filters_become_the_policy() {
        let filter = |query: &str| json!({"name": "f", "query": query, "autoAssignDistributionSet": 7});
        let eu = filter("attribute.region==eu");
        check(json!({}), json!([eu]), "/policy", json!(r#"region == "eu""#), &[]);
        let both = r#"region == "eu" || id == "lamp-1""#;
        check(json!({}), json!([eu, filter("controllerId==lamp-1")]), "/policy", json!(both), &[]);
        check(json!({}), json!([filter("tag==beta")]), "/policy", json!("false"), &["target filter f `tag==beta`"]);
        check(json!({}), json!([]), "/policy", json!("false"), &["audience"]);
        let other = json!([{"name": "g", "query": "name==x", "autoAssignDistributionSet": 8}]);
        check(json!({}), other, "/policy", json!("false"), &["audience", "target filter g"]);
    }

    #[test]
    fn every_field_is_carried_or_named() {
        let eu = json!([{"name": "f", "query": "attribute.region==eu", "autoAssignDistributionSet": 7}]);
        check(json!({}), eu.clone(), "/vendor", json!("Acme"), &[]);
        check(json!({}), eu.clone(), "/labels/hawkbit.module.os", json!("2.0.0"), &[]);
        check(
            json!({"requiredMigrationStep": true}),
            eu.clone(),
            "/name",
            json!("lamp-os"),
            &["requiredMigrationStep"],
        );
        check(json!({"mood": 1}), eu, "/name", json!("lamp-os"), &["mood"]);
        let mut weighted = json!([{"name": "f", "query": "attribute.region==eu", "autoAssignDistributionSet": 7}]);
        weighted[0]["autoAssignWeight"] = json!(3);
        check(json!({}), weighted, "/name", json!("lamp-os"), &["autoAssignWeight"]);
    }

    #[test]
    fn bad_input_is_named_by_set_and_field() {
        let check = |change: Value, expected: &str| {
            let error = read(&document(&change, &json!([])), None).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(json!({"version": 2}), "set 1 (lamp-os): version must be a text; got 2");
        check(json!({"modules": [{}]}), "set 1 (lamp-os 2.0.0): module 1: name is missing");
        check(
            json!({"modules": [{"name": "os", "artifacts": [{}]}]}),
            "module 1: artifact 1: providedFilename is missing",
        );
    }
}

//! Software records of Builder: what `POST /software/find` answers, or a list of them.

mod parser;
pub mod policy;
mod regex;
mod tokens;
mod writer;

use semver::Version;
use serde_json::{Value, json};

use crate::error::Result;
use crate::record::{Fields, NOBODY, Record, WantedFile, file_name, list_in, sha256};

/// The longest period we have, for a rate whose period the record does not say.
const LONGEST_PERIOD_S: u64 = 30 * 24 * 3600;
/// The shortest.
const SHORTEST_PERIOD_S: u64 = 60;
/// Start of a phase: Builder's phases have none, so it is long past.
const ALWAYS: &str = "1970-01-01T00:00:00Z";

pub(crate) fn read(document: &Value) -> Result<Vec<Record>> {
    let records = list_in(document, &["data"])?;
    records.iter().enumerate().map(|(index, value)| record(value, &format!("record {}", index + 1))).collect()
}

fn record(value: &Value, place: &str) -> Result<Record> {
    let mut fields = Fields::of(value, place)?;
    let version = fields.required_text("version")?;
    fields.rename(format!("{place} ({version})"));
    let mut record = Record { place: place.into(), version: version.into(), ..Record::default() };
    record.set("version", version);
    if let Some(description) = fields.text("description")? {
        record.set("description", description);
    }
    let product = fields.take("productId");
    record.line = product.and_then(Value::as_str).map(str::to_owned);
    record.label("builder.productId", product.cloned());
    for name in ["id", "accountId", "cloudId", "created"] {
        record.label(&format!("builder.{name}"), fields.take(name).cloned());
    }
    match fields.flag("enable")? {
        Some(false) => record.remark("enable: off in Builder; it stays a draft"),
        _ => record.remark("enable: on in Builder; here it is a draft until you activate it"),
    }
    policy(&mut record, &mut fields)?;
    rollout(&mut record, &mut fields)?;
    file(&mut record, &mut fields)?;
    record.lose_rest(&fields);
    Ok(record)
}

fn policy(record: &mut Record, fields: &mut Fields<'_>) -> Result<()> {
    let text = fields.text("policy")?.unwrap_or_default();
    match policy::translate(text) {
        Ok(translation) => {
            record.set("policy", translation.policy);
            let own = Version::parse(&record.version).ok();
            if let (Some(pinned), Some(own)) = (translation.pinned_version, own)
                && pinned.cmp_precedence(&own).is_gt()
            {
                record.set("rollback_from", [pinned.to_string()]);
                record.remark(format!("policy: takes devices back from {pinned}, so rollback_from is set"));
            }
            record.remarks.extend(translation.remarks.into_iter().map(|remark| format!("policy: {remark}")));
        }
        Err(why) => {
            record.set("policy", NOBODY);
            record.lose(format!("policy `{text}`: {why}. The draft admits nobody (its policy is `{NOBODY}`)"));
        }
    }
    Ok(())
}

/// Unclear limits become the narrowest ones. An operator can widen them later: a rollout can be edited.
fn rollout(record: &mut Record, fields: &mut Fields<'_>) -> Result<()> {
    let mut limits = serde_json::Map::new();
    let version = record.version.clone();
    if let Some(most) = fields.whole_number("limit")? {
        limits.insert("max_devices".into(), json!(most.max(1)));
        if most == 0 {
            record.lose(format!(
                "limit 0: none or no limit? max_devices is 1 until `tidegate updates edit {version} --max-devices N`"
            ));
        }
    }
    let period = fields.number("period")?.map(whole);
    if let Some(rate) = fields.number("rate")?.map(whole) {
        limits.insert("max_per_period".into(), json!(rate.max(1)));
        if rate == 0 {
            record.lose(format!(
                "rate 0: none or no limit? max_per_period is 1 until `tidegate updates edit {version} --max-per-period N`"
            ));
        }
        let period_s = match period {
            Some(period_s @ 1..) => period_s.clamp(SHORTEST_PERIOD_S, LONGEST_PERIOD_S),
            _ => LONGEST_PERIOD_S,
        };
        limits.insert("period_s".into(), json!(period_s));
        match period {
            None | Some(0) => record.lose(format!(
                "period: missing beside rate; period_s is {period_s} until `tidegate updates edit {version} --period-s N`"
            )),
            Some(period) if period < SHORTEST_PERIOD_S => record.lose(format!(
                "period {period}: {SHORTEST_PERIOD_S} s is the shortest here, so fewer devices get it in the same time"
            )),
            Some(period) if period > LONGEST_PERIOD_S => {
                // The same number in a shorter period would be more devices.
                let fewer = (u128::from(rate) * u128::from(LONGEST_PERIOD_S) / u128::from(period)).max(1);
                limits.insert("max_per_period".into(), json!(u64::try_from(fewer).unwrap_or(1)));
                record.lose(format!(
                    "period {period}: {LONGEST_PERIOD_S} s is the longest here, so rate {rate} became {fewer}"
                ));
            }
            Some(_) => {}
        }
    } else if period.is_some() {
        record.remark("period: says nothing without rate");
    }
    let mut rollout = serde_json::Map::new();
    rollout.insert("applies".into(), json!("at_once"));
    if !limits.is_empty() {
        rollout.insert("limits".into(), Value::Object(limits));
    }
    if let Some(percent) = percentage(record, fields)? {
        rollout.insert("phases".into(), json!([{"starts_at": ALWAYS, "percent": percent}]));
    }
    record.set("rollout", Value::Object(rollout));
    record.remark("applies: at_once; Ioto's agent applies what it fetched unless its device.json has a schedule");
    Ok(())
}

fn percentage(record: &mut Record, fields: &mut Fields<'_>) -> Result<Option<f64>> {
    let Some(percent) = fields.number("percentage")? else { return Ok(None) };
    if percent > 100.0 {
        return Err(fields.wrong("percentage", "within 0 and 100", &json!(percent)));
    }
    let kept = (percent * 100.0 + 1e-6).floor() / 100.0;
    match percent {
        100.0 => return Ok(None),
        0.0 => record.lose("percentage 0: none or no limit? The one phase reaches 0 % until you edit the rollout"),
        _ if (kept - percent).abs() > 1e-6 => {
            record.lose(format!("percentage {percent}: has more than two decimals; {kept} is kept"));
        }
        _ => record.remark(format!(
            "percentage {percent}: one phase of this share of the devices, each in or out by its own fixed place; in \
             Builder, whoever asks first"
        )),
    }
    Ok(Some(kept))
}

fn file(record: &mut Record, fields: &mut Fields<'_>) -> Result<()> {
    let image = fields.text("image")?;
    let checksum = fields.text("checksum")?;
    let size_bytes = fields.whole_number("size")?;
    record.label("builder.image", image.map(|image| json!(image)));
    let hash = checksum.and_then(sha256);
    if let (Some(checksum), None) = (checksum, &hash) {
        record.lose(format!("checksum {checksum}: is not a SHA-256"));
    }
    match image.and_then(file_name) {
        Some(name) => record.files.push(WantedFile { name, sha256: hash, size_bytes }),
        None if hash.is_some() => record.files.push(WantedFile { name: "image.bin".into(), sha256: hash, size_bytes }),
        None => record.skipped = Some("it names no image".into()),
    }
    Ok(())
}

/// The whole part: there are no parts of a device.
fn whole(number: f64) -> u64 {
    // Not negative by `Fields::number`; a float that is too large saturates.
    number.floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Value {
        json!({"version": "2.0.0", "image": "lamp.bin", "checksum": "a".repeat(64), "size": 10, "enable": false})
    }

    fn with(change: &Value) -> Value {
        let mut record = base();
        for (name, value) in change.as_object().expect("an object") {
            record[name] = value.clone();
        }
        json!({"data": [record]})
    }

    fn check(change: Value, pointer: &str, expected: Value, not_carried: &[&str]) {
        let [record] = <[Record; 1]>::try_from(read(&with(&change)).expect("readable")).expect("one record");
        let definition = Value::Object(record.definition);
        assert_eq!(definition.pointer(pointer).unwrap_or(&Value::Null), &expected, "{change}");
        assert_eq!(record.not_carried.len(), not_carried.len(), "{change}: {:?}", record.not_carried);
        for (got, expected) in record.not_carried.iter().zip(not_carried) {
            assert!(got.contains(expected), "{got} / {expected}");
        }
    }

    #[test]
    fn limits_become_knobs_and_doubt_narrows_them() {
        let limits = "/rollout/limits";
        check(json!({}), "/rollout", json!({"applies": "at_once"}), &[]);
        check(json!({"limit": 500}), limits, json!({"max_devices": 500}), &[]);
        check(json!({"limit": 0}), limits, json!({"max_devices": 1}), &["limit 0"]);
        check(json!({"rate": 1000, "period": 3600}), limits, json!({"max_per_period": 1000, "period_s": 3600}), &[]);
        check(json!({"rate": 9}), limits, json!({"max_per_period": 9, "period_s": 2_592_000}), &["period: missing"]);
        check(json!({"rate": 9, "period": 1}), limits, json!({"max_per_period": 9, "period_s": 60}), &["period 1:"]);
        let year = json!({"rate": 1200, "period": 31_104_000});
        check(year, limits, json!({"max_per_period": 100, "period_s": 2_592_000}), &["rate 1200 became 100"]);
        check(json!({"period": 60}), "/rollout", json!({"applies": "at_once"}), &[]);
        check(json!({"percentage": 5}), "/rollout/phases/0/percent", json!(5.0), &[]);
        check(json!({"percentage": 100}), "/rollout", json!({"applies": "at_once"}), &[]);
        check(json!({"percentage": 0}), "/rollout/phases/0/percent", json!(0.0), &["percentage 0"]);
        check(json!({"percentage": 0.129}), "/rollout/phases/0/percent", json!(0.12), &["more than two decimals"]);
    }

    #[test]
    fn a_policy_that_cannot_be_carried_admits_nobody() {
        check(json!({"policy": "region == 'eu'"}), "/policy", json!(r#"region == "eu""#), &[]);
        check(json!({"policy": "a =~ /[0-9]+/"}), "/policy", json!("false"), &["policy `a =~ /[0-9]+/`: "]);
    }

    #[test]
    fn a_roll_back_stays_one() {
        check(json!({"policy": "version == '2.1.0'"}), "/rollback_from", json!(["2.1.0"]), &[]);
        check(json!({"policy": "version == '1.0.0'"}), "/rollback_from", Value::Null, &[]);
    }

    #[test]
    fn where_it_came_from_stays_readable_and_the_rest_is_named() {
        let labels = json!({"builder.cloudId": "c1", "builder.image": "lamp.bin"});
        check(json!({"cloudId": "c1"}), "/labels", labels, &[]);
        check(json!({"attachment": {}, "mood": 1}), "/version", json!("2.0.0"), &["attachment", "mood"]);
        check(json!({"checksum": "abc"}), "/version", json!("2.0.0"), &["checksum abc: is not a SHA-256"]);
    }

    #[test]
    fn bad_input_is_named_by_record_and_field() {
        let check = |change: Value, expected: &str| {
            let error = read(&with(&change)).expect_err("refused").to_string();
            assert_eq!(error, expected);
        };
        check(json!({"version": null}), "record 1: version is missing");
        check(
            json!({"limit": "ten"}),
            r#"record 1 (2.0.0): limit must be a whole number that is not negative; got "ten""#,
        );
        check(json!({"percentage": 101}), "record 1 (2.0.0): percentage must be within 0 and 100; got 101.0");
        check(json!({"enable": 1}), "record 1 (2.0.0): enable must be true or false; got 1");
        assert!(read(&json!("x")).is_err() && read(&json!([1])).is_err());
    }
}

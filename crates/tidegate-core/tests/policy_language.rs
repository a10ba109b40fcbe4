//! Results of policies: one line per case, with a policy, a device and the result.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::Cell;

use support::policy::*;
use tidegate_core::attributes::{Attributes, Value};
use tidegate_core::policy::{Candidate, Clause, Policy, Slots, Truth};

#[test]
fn a_blank_policy_admits_every_device() {
    for blank in ["", " ", "\n\t "] {
        check(blank, "", "yes");
        assert_eq!(ask(blank, "").1, []);
    }
}

#[test]
fn a_missing_attribute_is_unknown_and_so_is_its_opposite() {
    check("region == \"eu\"", "", "unknown: the device does not say region");
    check("region != \"eu\"", "", "unknown: the device does not say region");
    check("!(region == \"eu\")", "", "unknown: the device does not say region");
    check("beta", "", "unknown: the device does not say beta");
    check("device.site.region == 1", "", "unknown: the device does not say site.region");
    check("a + b < 1", "a=1", "unknown: the device does not say b");
    check("in(a, 1, 2)", "", "unknown: the device does not say a");
    check("lower(a) == \"x\"", "", "unknown: the device does not say a");
}

#[test]
fn unknown_follows_kleene() {
    for (policy, expected) in [
        ("gone && false", "no"),
        ("false && gone", "no"),
        ("gone && true", "unknown: the device does not say gone"),
        ("gone || true", "yes"),
        ("true || gone", "yes"),
        ("gone || false", "unknown: the device does not say gone"),
        ("gone && lost", "unknown: the device does not say gone"),
        ("gone && lost && false", "no"),
        ("gone || lost || true", "yes"),
        ("!(gone && false)", "yes"),
        ("(gone && false) == false", "yes"),
        ("(gone && true) == false", "unknown: the device does not say gone"),
    ] {
        check(policy, "", expected);
    }
}

#[test]
fn precedence_is_that_of_evalexpr() {
    check("true || false && false", "", "yes");
    check("(true || false) && false", "", "no");
    check("!false && false", "", "no");
    check("1 + 2 * 3 == 7", "", "yes");
    check("-2 ^ 2 == -4.0", "", "yes");
    check("2 ^ 3 ^ 2 == 64", "", "yes");
    check("10 - 4 - 3 == 3", "", "yes");
    check("7 / 2 == 3 && 7.0 / 2 == 3.5 && 7 % 4 == 3", "", "yes");
    check("1 < 2 == true", "", "yes");
    check("a == b == true", "a=1 b=1", "yes");
}

#[test]
fn numbers_compare_by_value_whatever_they_are_written_as() {
    check("memory >= 512", "memory=512", "yes");
    check("memory >= 512", "memory='512'", "yes");
    check("memory >= 512", "memory='1e3'", "yes");
    check("memory == 512", "memory='512.0'", "yes");
    check("memory == 512", "memory=512.0", "yes");
    check("memory == \"512\"", "memory=512", "yes");
    check("memory == \"512\"", "memory='512'", "yes");
    check("memory == \"512\"", "memory='512.0'", "no");
    check("memory < 0x400", "memory=1023", "yes");
    check("memory > 1e-3", "memory=0.002", "yes");
    check("memory == 512", "memory='plenty'", "no");
    check("memory != 512", "memory='plenty'", "yes");
    check("memory == 512", "memory='0x200'", "no");
    check("memory == 512", "memory=''", "no");
    check("memory >= 512", "memory='plenty'", "unknown: `memory >= 512` needs two numbers or two texts");
    check("memory >= 512", "memory=true", "unknown: `memory >= 512` needs two numbers or two texts");
    check("\"10\" < \"9\"", "", "yes");
}

#[test]
fn integers_and_floats_above_two_to_the_53_are_told_apart() {
    check("n == 9007199254740992.0", "n=9007199254740993", "no");
    check("n > 9007199254740992.0", "n=9007199254740993", "yes");
    check("n == 9007199254740993", "n='9007199254740993'", "yes");
    check("n == 9007199254740992", "n='9007199254740993'", "no");
    check("n < 9.3e18", "n=9223372036854775807", "yes");
    check("n < 9223372036854775808.5", "n=9223372036854775807", "yes");
    check("n > -9.3e18", "n=-9223372036854775808", "yes");
    check("n == -9223372036854775808.0", "n=-9223372036854775808", "yes");
    check("n > -1.5 && n < -0.5", "n=-1", "yes");
    check("n < 1.5 && n > 0.5", "n=1", "yes");
}

#[test]
fn what_is_not_a_finite_number_never_matches() {
    for number in ["NaN", "inf", "-inf"] {
        for policy in ["n == 1", "n != 1", "n == n", "n != n", "n < 1", "n >= 1", "n == \"x\"", "in(n, 1)"] {
            let (truth, _) = ask(policy, &format!("n={number}"));
            assert!(matches!(truth, Truth::Unknown(_)), "{policy} with {number}: {truth}");
        }
    }
    check("n == 1", "n='nan'", "no");
    check("n == \"inf\"", "n='inf'", "yes");
}

#[test]
fn booleans_are_booleans_even_as_texts() {
    check("beta", "beta=true", "yes");
    check("beta", "beta='true'", "yes");
    check("!beta", "beta='false'", "yes");
    check("beta == true", "beta='true'", "yes");
    check("beta == \"true\"", "beta=true", "yes");
    check("beta != true", "beta='false'", "yes");
    check("beta == true", "beta='yes'", "no");
    check("beta == 1", "beta=true", "no");
    check("beta", "beta='yes'", "unknown: `beta` is neither true nor false");
    check("!beta", "beta='yes'", "unknown: `beta` is neither true nor false");
    check("a && beta", "a=true beta=1", "unknown: `beta` is neither true nor false");
    check("beta < 1", "beta=true", "unknown: `beta < 1` needs two numbers or two texts");
}

#[test]
fn arithmetic_that_has_no_result_is_unclear() {
    check("a / b == 1", "a=1 b=0", "unknown: division by zero in `a / b`");
    check("a % b == 1", "a=1 b=0", "unknown: division by zero in `a % b`");
    check("a / b == 1", "a=1.0 b=0.0", "unknown: division by zero in `a / b`");
    check("x && (1 + a) / b == 1", "x=true a=1 b=0", "unknown: division by zero in `(1 + a) / b`");
    check("a + 1 > 0", "a=9223372036854775807", "unknown: the result of `a + 1` is out of range");
    check("a - 1 < 0", "a=-9223372036854775808", "unknown: the result of `a - 1` is out of range");
    check("a * 2 > 0", "a=9223372036854775807", "unknown: the result of `a * 2` is out of range");
    check("-a > 0", "a=-9223372036854775808", "unknown: the result of `-a` is out of range");
    check("a / -1 > 0", "a=-9223372036854775808", "unknown: the result of `a / -1` is out of range");
    check("10.0 ^ a > 0", "a=400", "unknown: the result of `10.0 ^ a` is out of range");
    check("a * 2 > 0", "a='x'", "unknown: `a * 2` needs numbers");
    check("a + b == 1", "a=true b=1", "unknown: `a + b` needs numbers");
    check("a * b == 6", "a='2' b='3'", "unknown: `a * b` needs numbers");
}

#[test]
fn numeric_texts_calculate_with_numbers_and_texts_join() {
    check("a * 2 == 1024", "a='512'", "yes");
    check("a + b == 3", "a='1' b=2", "yes");
    check("a + b == \"12\"", "a='1' b='2'", "yes");
    check("-a == 7", "a='-7'", "yes");
    check("\"v\" + version == \"v1.2.3\"", "", "yes");
}

#[test]
fn lists_are_looked_into_not_compared() {
    check("contains(tags, \"beta\")", "tags=['beta','eu']", "yes");
    check("contains(tags, \"alpha\")", "tags=['beta','eu']", "no");
    check("contains(tags, 2)", "tags=['2',3]", "yes");
    check("contains(tags, 2)", "tags=[]", "no");
    check("in(\"eu\", tags)", "tags=['beta','eu']", "yes");
    check(
        "tags == \"beta\"",
        "tags=['beta']",
        "unknown: `tags == \"beta\"` compares a list; use contains(list, value)",
    );
    check("tags != \"beta\"", "tags=[]", "unknown: `tags != \"beta\"` compares a list; use contains(list, value)");
    check("tags", "tags=[true]", "unknown: `tags` is neither true nor false");
    check("contains(tags, \"b\")", "tags=[['b'],'b']", "yes");
}

#[test]
fn functions_on_texts() {
    check("starts_with(serial, \"SN-\")", "serial='SN-9'", "yes");
    check("ends_with(serial, \"-9\")", "serial='SN-9'", "yes");
    check("contains(serial, \"N-\")", "serial='SN-9'", "yes");
    check("contains(serial, \"X\")", "serial='SN-9'", "no");
    check("matches(serial, \"S?-*\")", "serial='SN-9'", "yes");
    check("matches(serial, \"S?\")", "serial='SN-9'", "no");
    check("lower(region) == \"eu\"", "region='EU'", "yes");
    check("starts_with(version, \"1.2\")", "", "yes");
    check("starts_with(serial, \"1\")", "serial=12", "unknown: `serial` is not a text");
    check("contains(serial, part)", "serial='12' part=1", "unknown: `part` is not a text");
    check("contains(serial, \"1\")", "serial=1", "unknown: `serial` is not a text");
}

#[test]
fn in_and_exists() {
    check("in(region, \"eu\", \"us\")", "region='us'", "yes");
    check("in(region, (\"eu\", \"us\"))", "region='us'", "yes");
    check("contains((\"eu\", \"us\"), region)", "region='us'", "yes");
    check("in(region, \"eu\", \"us\")", "region='asia'", "no");
    check("in(n, 1, 2.0, \"3\")", "n=3", "yes");
    check("in(region, gone, \"us\")", "region='us'", "yes");
    check("in(region, gone, \"us\")", "region='eu'", "unknown: the device does not say gone");
    check("exists(region)", "region='us'", "yes");
    check("exists(region)", "", "no");
    check("!exists(device.region)", "", "yes");
    check("exists(version) && exists(cohort)", "", "yes");
    check("exists(a) && a > 3 || !exists(a)", "", "yes");
}

#[test]
fn versions_are_ordered_by_semver_precedence() {
    check("semver(version, \"<\", newVersion)", "", "yes");
    check("semver(version, \">=\", \"1.10.0\")", "version=1.9.0", "no");
    check("semver(version, \"<\", \"1.0.0\")", "version=1.0.0-rc.1", "yes");
    check("semver(version, \"==\", \"1.0.0+b\")", "version=1.0.0+a", "yes");
    check("semver(version, \"!=\", \"1.0.0+b\")", "version=1.0.0+a", "no");
    check("semver(version, \"<=\", \"1.0.0\") && semver(\"2.0.0\", \">\", version)", "version=1.0.0", "yes");
    check("semver(bootloader, \">=\", \"2.0.0\")", "bootloader='2.10.0'", "yes");
    check(
        "semver(bootloader, \">=\", \"2.0.0\")",
        "bootloader='2.10'",
        "unknown: `bootloader` is not a version such as 1.2.3",
    );
    check(
        "semver(bootloader, \">=\", \"2.0.0\")",
        "bootloader=2",
        "unknown: `bootloader` is not a version such as 1.2.3",
    );
    check("semver_matches(version, \">=1.2.0, <2.0.0\")", "", "yes");
    check("semver_matches(version, \"^2\")", "", "no");
    check("version == \"1.2.3\"", "", "yes");
    check("version == \"1.2.3\"", "version=1.2.3-rc.1+b", "no");
    check("version == \"1.2.3-rc.1+b\"", "version=1.2.3-rc.1+b", "yes");
    check("version != newVersion && newVersion == \"2.0.0\"", "", "yes");
}

#[test]
fn variables_cannot_be_shadowed() {
    check("version == \"1.2.3\" && device.version == version", "device.version='9' newVersion='9'", "yes");
    check("newVersion == \"2.0.0\"", "newVersion='9'", "yes");
    check("major == 1 && minor == 2 && patch == 3", "major=9 minor=9 patch=9", "yes");
    check("cohort == 4999 && device.cohort < 5000", "cohort=9", "yes");
    check("major > 1", "version=18446744073709551615.0.0", "unknown: the result of `major` is out of range");
}

#[test]
fn device_dot_is_another_way_to_write_an_attribute() {
    check("device.region == region", "region='eu'", "yes");
    check("device.site.region == \"eu\"", "site.region='eu'", "yes");
    check("device.512MB == 1 && device.inf == 2", "512MB=1 inf=2", "yes");
    check("device.device.model == 3", "device.model=3", "yes");
    check("try_beta_features", "try-beta-features='true'", "yes");
}

#[test]
fn comments_are_skipped() {
    check("true // && false", "", "yes");
    check("true /* || */ && // not yet\n false", "", "no");
}

#[test]
fn the_cohort_is_computed_only_for_policies_that_ask() {
    let calls = Cell::new(0);
    let cohort = || {
        calls.set(calls.get() + 1);
        7
    };
    let (version, attributes) = device("region='eu'");
    let mut slots = Slots::new();
    let parse = |text, slots: &mut Slots| Policy::parse(text, slots).unwrap();
    let plain = parse("region == \"eu\"", &mut slots);
    let skipped = parse("region == \"us\" && cohort < 10", &mut slots);
    let asked = parse("region == \"eu\" && cohort < 10", &mut slots);
    let facts = slots.bind_unordered(&version, &attributes);
    let candidate = Candidate { new_version: &version, cohort: &cohort };
    assert_eq!(plain.evaluate(&facts, &candidate), Truth::Yes);
    assert_eq!(skipped.evaluate(&facts, &candidate), Truth::No);
    assert_eq!(calls.get(), 0);
    assert_eq!(asked.evaluate(&facts, &candidate), Truth::Yes);
    assert_eq!(calls.get(), 1);
}

#[test]
fn any_device_text_equals_itself_and_is_never_read_as_policy() {
    for hostile in ["\" || true || \"", "true)", "\\", "/* */", "🦀", "a\nb", "512 || 1"] {
        let attributes = Attributes::from_iter([("a".to_owned(), Value::Text(hostile.to_owned()))]);
        let version = semver::Version::new(1, 0, 0);
        let mut slots = Slots::new();
        let same = Policy::parse("a == a", &mut slots).unwrap();
        let other = Policy::parse("a == \"x\"", &mut slots).unwrap();
        let facts = slots.bind_unordered(&version, &attributes);
        let candidate = Candidate { new_version: &version, cohort: &|| 0 };
        assert_eq!(same.evaluate(&facts, &candidate), Truth::Yes);
        assert_eq!(other.evaluate(&facts, &candidate), Truth::No);
    }
}

#[test]
fn policies_are_equal_when_written_equally() {
    let parse = |text| Policy::parse(text, &mut Slots::new()).unwrap();
    assert_eq!(parse("a == 1"), parse("a == 1"));
    assert_ne!(parse("a == 1"), parse("a  == 1"));
    assert_eq!(parse("a == 1").text(), "a == 1");
}

/// Clauses as lines: text, truth, values.
fn explained(policy: &str, device: &str) -> Vec<String> {
    let shown = |(name, value): &(String, Option<Value>)| match value {
        Some(value) => format!("{name} = {value}"),
        None => format!("no {name}"),
    };
    let line = |clause: &Clause| {
        let values: Vec<_> = clause.values.iter().map(shown).collect();
        format!("{} | {} | {}", clause.text, clause.truth, values.join(", "))
    };
    ask(policy, device).1.iter().map(line).collect()
}

#[test]
fn every_clause_is_explained_with_its_values() {
    assert_eq!(
        explained(
            "region == \"eu\" && !(beta || (a + 1) * 2 > limit) && in(site, (\"x\", \"y\")) && ((cohort)) < 10",
            "region='us' beta='no' a=3 site='y'"
        ),
        [
            "region == \"eu\" | no | region = \"us\"",
            "beta | unknown: `beta` is neither true nor false | beta = \"no\"",
            "(a + 1) * 2 > limit | unknown: the device does not say limit | a = 3, no limit",
            "in(site, (\"x\", \"y\")) | yes | site = \"y\"",
            "((cohort)) < 10 | no | cohort = 4999",
        ]
    );
    assert_eq!(
        explained("(true && x) == device.x && semver(version, \"<\", newVersion)", "x=true"),
        [
            "(true && x) == device.x | yes | x = true",
            "semver(version, \"<\", newVersion) | yes | version = \"1.2.3\", newVersion = \"2.0.0\"",
        ]
    );
    assert_eq!(explained("((ä == \"ö\"))", "ä='ö'"), ["ä == \"ö\" | yes | ä = \"ö\""]);
    assert_eq!(explained("true", ""), ["true | yes | "]);
}

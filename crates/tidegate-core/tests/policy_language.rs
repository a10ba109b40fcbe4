//! What policies mean: one line per case, a policy, a device and the answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;

use tidegate_core::attributes::{Attributes, Value};
use tidegate_core::policy::{Candidate, Clause, NESTING_MAX, POLICY_BYTES_MAX, Policy, Slots, TOKENS_MAX, Truth};

const COHORT: u16 = 4_999;

/// `name=value` pairs: `'text'`, whole numbers, floats, booleans and `[lists]`.
fn device(description: &str) -> (semver::Version, Attributes) {
    let mut version = semver::Version::new(1, 2, 3);
    let mut attributes = Attributes::new();
    for pair in description.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        if name == "version" {
            version = value.parse().unwrap();
        } else {
            attributes.insert(name, value_of(value));
        }
    }
    (version, attributes)
}

fn value_of(written: &str) -> Value {
    if let Some(list) = written.strip_prefix('[') {
        let inner = list.strip_suffix(']').unwrap();
        return Value::List(inner.split(',').filter(|item| !item.is_empty()).map(value_of).collect());
    }
    if let Some(text) = written.strip_prefix('\'') {
        return Value::Text(text.strip_suffix('\'').unwrap().to_owned());
    }
    match (written, written.parse(), written.parse()) {
        ("true", ..) => Value::Bool(true),
        ("false", ..) => Value::Bool(false),
        (_, Ok(integer), _) => Value::Integer(integer),
        (_, _, Ok(number)) => Value::Number(number),
        _ => panic!("cannot read {written}"),
    }
}

fn ask(policy: &str, description: &str) -> (Truth, Vec<Clause>) {
    let (version, attributes) = device(description);
    let mut slots = Slots::new();
    let policy = Policy::parse(policy, &mut slots).unwrap_or_else(|error| panic!("{policy}: {error}"));
    let facts = slots.bind(&version, &attributes);
    let new_version = semver::Version::parse("2.0.0").unwrap();
    let candidate = Candidate { new_version: &new_version, cohort: &|| COHORT };
    (policy.evaluate(&facts, &candidate), policy.explain(&facts, &candidate))
}

#[track_caller]
fn check(policy: &str, device: &str, expected: &str) {
    assert_eq!(ask(policy, device).0.to_string(), expected, "{policy} for {device}");
}

#[track_caller]
fn refused(policy: &str, expected: &str) {
    match Policy::parse(policy, &mut Slots::new()) {
        Ok(_) => panic!("{policy} was accepted, expected: {expected}"),
        Err(error) => {
            assert_eq!(error.to_string(), expected, "{policy}");
            assert_eq!(error.code(), "policy_invalid");
        }
    }
}

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
    let facts = slots.bind(&version, &attributes);
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
        let facts = slots.bind(&version, &attributes);
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

#[test]
fn a_policy_may_be_4_kib_long_and_no_longer() {
    let exactly = format!("a == \"{}\"", "x".repeat(POLICY_BYTES_MAX - 7));
    assert_eq!(exactly.len(), POLICY_BYTES_MAX);
    check(&exactly, "a='b'", "no");
    refused(&format!("{exactly} "), "column 4097: a policy may be 4096 bytes long, this one has 4097");
    refused(&" ".repeat(POLICY_BYTES_MAX + 1), "column 4097: a policy may be 4096 bytes long, this one has 4097");
    check(&" ".repeat(POLICY_BYTES_MAX), "", "yes");
}

#[test]
fn a_policy_may_have_256_words_and_no_more() {
    let chain = |terms: usize| vec!["a"; terms].join("||");
    check(&format!("!{}", chain(TOKENS_MAX / 2)), "a=true", "yes");
    refused(
        &format!("!!{}", chain(TOKENS_MAX / 2)),
        "column 384: a policy may have 256 words and signs; to list more devices, give them an attribute",
    );
}

#[test]
fn a_policy_may_be_nested_32_deep_and_no_deeper() {
    let message = "parentheses, \"!\" and \"-\" may be nested 32 deep";
    let parentheses = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    check(&parentheses(NESTING_MAX), "a=true", "yes");
    refused(&parentheses(NESTING_MAX + 1), &format!("column 33: {message}"));
    let nots = |depth: usize| format!("{}a", "!".repeat(depth));
    check(&nots(NESTING_MAX), "a=true", "yes");
    refused(&nots(NESTING_MAX + 1), &format!("column 33: {message}"));
    refused(&format!("1 < {}a", "-".repeat(NESTING_MAX + 1)), &format!("column 37: {message}"));
    let mixed = |depth: usize| format!("{}a{}", "!(".repeat(depth), ")".repeat(depth));
    check(&mixed(NESTING_MAX / 2), "a=true", "yes");
    refused(&mixed(NESTING_MAX / 2 + 1), &format!("column 33: {message}"));
    let siblings = vec!["(a)"; 60].join("&&");
    check(&siblings, "a=true", "yes");
}

/// The shapes that make the deepest trees within the limits.
fn deepest_policies() -> Vec<String> {
    let climb = |head: &str, tail: &str, levels: usize| format!("{}true{}", head.repeat(levels), tail.repeat(levels));
    vec![
        climb("(", ")", NESTING_MAX),
        climb("a||b&&c==(", ")", 28),
        climb("a||b&&c==!(", ")", 16),
        format!("{}1{}", "a||b&&c==d+e*f^(".repeat(18), ")".repeat(18)),
        format!("{}1{}", "a||b&&c==d+e*f^-(".repeat(16), ")".repeat(16)),
        climb("a||b&&c==in(d,e,", ")", 19),
        format!("c=={}1{}", "d+e*f^(".repeat(31), ")".repeat(31)),
        format!("a==1{}", "+1".repeat(126)),
        format!("a{}", "&&a".repeat(127)),
        format!("a{}", "==a".repeat(127)),
        format!("in(a{})", ",a".repeat(125)),
        climb("!", "", NESTING_MAX),
    ]
}

#[test]
fn the_deepest_legal_policies_fit_a_stack_of_256_kib() {
    for policy in deepest_policies() {
        let run = move || match Policy::parse(&policy, &mut Slots::new()) {
            // Type errors come after the whole way down, so they count as a visit.
            Err(error) => assert!(!error.message.contains("nested") && !error.message.contains("words"), "{error}"),
            Ok(_) => assert!(!ask(&policy, "a=false b=true c=true d=1 e=1 f=1").1.is_empty()),
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
    }
}

#[test]
fn values_and_operators_must_take_turns() {
    for (policy, expected) in [
        ("true &&", "column 8: expected a value after \"&&\", found the end of the policy"),
        ("a ==", "column 5: expected a value after \"==\", found the end of the policy"),
        ("ä == \"ö\" && ", "column 12: expected a value after \"&&\", found the end of the policy"),
        ("!", "column 2: expected a value after \"!\", found the end of the policy"),
        ("&& a", "column 1: expected a value before \"&&\""),
        ("a && || b", "column 6: expected a value after \"&&\", found \"||\""),
        ("a b", "column 3: expected an operator after \"a\", found \"b\""),
        ("a \"b\"", "column 3: expected an operator after \"a\", found the text \"b\""),
        ("a == 1 !b", "column 8: expected an operator after \"1\", found \"!\""),
        ("4(5)", "column 2: expected an operator after \"4\", found \"(\""),
        ("(a) (b)", "column 5: expected an operator after \")\", found \"(\""),
        ("()", "column 2: expected a value after \"(\", found \")\""),
        ("exists()", "column 8: expected a value after \"(\", found \")\""),
        ("in(a,)", "column 6: expected a value after \",\", found \")\""),
        ("a && (b", "column 6: this \"(\" is never closed"),
        ("a && b)", "column 7: this \")\" closes nothing"),
        ("a, b", "column 2: a comma only separates the values of a function; join conditions with \"&&\" or \"||\""),
        ("a and b", "column 3: expected an operator after \"a\", found \"and\"; \"and\" is written \"&&\""),
        ("a or b", "column 3: expected an operator after \"a\", found \"or\"; \"or\" is written \"||\""),
        ("not b", "column 5: expected an operator after \"not\", found \"b\"; \"not\" is written \"!\""),
        ("a in b", "column 3: expected an operator after \"a\", found \"in\"; in is a function: in(a, …)"),
        ("+a == 1", "column 1: expected a value before \"+\""),
        (
            "// nothing",
            "column 1: expected a condition, found only a comment; leave the policy blank to admit every device",
        ),
    ] {
        refused(policy, expected);
    }
}

#[test]
fn characters_without_meaning_are_refused() {
    for (policy, expected) in [
        ("a = 1", "column 3: expected \"==\" to compare, found \"=\"; a policy cannot assign"),
        ("a === 1", "column 5: expected \"==\" to compare, found \"=\"; a policy cannot assign"),
        ("a += 1", "column 3: a policy cannot assign: \"+=\" is not an operator"),
        ("a &&= b", "column 3: a policy cannot assign: \"&&=\" is not an operator"),
        ("a & b", "column 3: expected \"&&\", found \"&\""),
        ("a | b", "column 3: expected \"||\", found \"|\""),
        ("a == 'eu'", "column 6: texts are written in double quotes, found '"),
        ("a == “eu”", "column 6: texts are written in double quotes, found “"),
        ("a; b", "column 2: a policy is a single condition; join several with \"&&\" or \"||\" instead of \";\""),
        ("tags[0]", "column 5: \"[\" has no meaning in a policy; look into a list with contains(list, value)"),
        ("a ? b", "column 3: \"?\" has no meaning in a policy"),
        ("# eu", "column 1: \"#\" has no meaning in a policy; a comment begins with //"),
        ("a\u{0} == 1", "column 2: the control character \\u{0} has no meaning in a policy"),
        ("a == \"eu", "column 6: this text is never closed with a double quote"),
        ("a == \"e\\n\"", "column 8: in a text a backslash can only stand before \" or \\"),
        ("a /* b", "column 3: this comment is never closed with \"*/\""),
        ("m > 512MB", "column 5: \"512MB\" is not a number; write device.512MB if it is an attribute"),
        ("m > 99999999999999999999", "column 5: the number 99999999999999999999 is out of range"),
        ("m > 1e400", "column 5: the number 1e400 is out of range"),
        ("m > 1e+400", "column 5: the number 1e+400 is out of range"),
        ("m == inf", "column 6: \"inf\" is not a number a device can have; write device.inf for an attribute"),
        ("a..b", "column 1: expected a name on both sides of each dot in \"a..b\""),
        ("device.", "column 1: expected a name on both sides of each dot in \"device.\""),
    ] {
        refused(policy, expected);
    }
}

#[test]
fn what_can_never_be_evaluated_is_refused() {
    for (policy, expected) in [
        ("1 + 2", "column 1: expected a condition, found the number 1 + 2"),
        ("\"a\"", "column 1: expected a condition, found the text \"a\""),
        ("version", "column 1: expected a condition, found the version version"),
        ("lower(a)", "column 1: expected a condition, found the text lower(a)"),
        ("a + b", "column 1: expected a condition, found the sum a + b"),
        ("\"a\" && true", "column 1: expected a condition before \"&&\", found the text \"a\""),
        ("true || (1 + a)", "column 10: expected a condition after \"||\", found the number 1 + a"),
        ("!5", "column 2: expected a condition after \"!\", found the number 5"),
        ("1 < -\"x\"", "column 6: expected a number after \"-\", found the text \"x\""),
        ("\"a\" * 2 == 1", "column 1: expected a number before \"*\", found the text \"a\""),
        ("2 * (\"a\") == 1", "column 6: expected a number after \"*\", found the text \"a\""),
        ("1 + \"a\" == 1", "column 5: expected a number after \"+\", found the text \"a\""),
        ("a + (b == c) == 1", "column 6: expected a number or a text after \"+\", found the condition b == c"),
        ("1 < a < 5", "column 1: expected a number or a text before \"<\", found the condition 1 < a"),
        ("a > true", "column 5: expected a number or a text after \">\", found the condition true"),
        ("5 > \"x\"", "column 5: expected a number after \">\", found the text \"x\""),
        ("(a, b) == 1", "column 2: a list can only be given to in(…) or contains(…)"),
        (
            "try-beta-features",
            "column 1: expected a condition, found the number try-beta-features; \
             an attribute with dashes in its name is written try_beta_features",
        ),
        (
            "version < \"1.10.0\"",
            "column 1: compare versions with semver(version, \"<\", newVersion): as texts \"1.10.0\" comes before \"1.9.0\"",
        ),
        (
            "a >= (device.newVersion)",
            "column 7: compare versions with semver(version, \">=\", newVersion): as texts \"1.10.0\" comes before \"1.9.0\"",
        ),
    ] {
        refused(policy, expected);
    }
}

#[test]
fn calls_are_checked_when_parsed() {
    let known = "there are semver, semver_matches, starts_with, ends_with, contains, matches, exists, in, lower";
    refused("math::abs(a) == 1", &format!("column 1: there is no function math::abs; {known}"));
    refused("true && if(a, b, c)", &format!("column 9: there is no function if; {known}"));
    for (policy, expected) in [
        ("semver(version, \"<\")", "column 1: semver is called as semver(version, \"<\", other)"),
        ("semver_matches(version)", "column 1: semver_matches is called as semver_matches(version, \"^1.2\")"),
        ("starts_with(a)", "column 1: starts_with is called as starts_with(text, start)"),
        ("ends_with(a)", "column 1: ends_with is called as ends_with(text, end)"),
        ("contains(a)", "column 1: contains is called as contains(text or list, part)"),
        ("matches(a, \"b\", c)", "column 1: matches is called as matches(text, \"glob*\")"),
        ("exists(a, b)", "column 1: exists is called as exists(attribute)"),
        ("x && in(a)", "column 6: in is called as in(value, one, another, …)"),
        ("lower(a, b) == c", "column 1: lower is called as lower(text)"),
        ("in((a, b), c)", "column 5: a list cannot stand here; in is called as in(value, one, another, …)"),
        ("semver(a, \"=\", b)", "column 11: expected one of < <= > >= == != in double quotes, found the text \"=\""),
        ("semver(a, b, c)", "column 11: expected one of < <= > >= == != in double quotes, found the value b"),
        ("semver(a, \"<\", \"1.2\")", "column 16: expected a version such as \"1.2.3\", found the text \"1.2\""),
        ("semver(1.2, \"<\", a)", "column 8: expected a version such as \"1.2.3\", found the number 1.2"),
        (
            "semver_matches(a, \"nope\")",
            "column 19: expected a version requirement such as \">=1.2.0, <2.0.0\": \
             unexpected character 'n' while parsing major version number",
        ),
        (
            "semver_matches(a, b)",
            "column 19: expected a version requirement in double quotes, such as \">=1.2.0, <2.0.0\", found the value b",
        ),
        ("starts_with(5, \"a\")", "column 13: expected a text in starts_with(text, start), found the number 5"),
        ("contains(5, \"a\")", "column 10: expected a text or a list, found the number 5"),
        ("matches(a, b)", "column 12: expected a pattern in double quotes, such as \"acme-*\", found the value b"),
        ("exists(\"a\")", "column 8: expected the name of an attribute, without quotes, found the text \"a\""),
        ("lower(true) == a", "column 7: expected a text in lower(text), found the condition true"),
        ("lower((a, b)) == c", "column 8: a list can only be given to in(…) or contains(…)"),
    ] {
        refused(policy, expected);
    }
}

/// Words in any order: whatever passes our checks, evalexpr's parser takes too, and nothing panics.
#[test]
fn no_heap_of_words_gets_past_our_checks_and_fails_in_evalexpr() {
    let words = [
        "a", "b.c", "1", "2.5", "1e", "\"x\"", "true", "(", ")", "(", ")", ",", "!", "-", "+", "*", "^", "==", "<",
        "&&", "||", "in", "lower", "exists", "contains", " ", "/", "%", "version", "=",
    ];
    let mut state = 1_u64;
    let (mut accepted, mut deepest) = (0, 0);
    for _ in 0..60_000 {
        let mut text = String::new();
        for _ in 0..=(next(&mut state) % 9) {
            text.push_str(words[(next(&mut state) % words.len() as u64) as usize]);
        }
        match Policy::parse(&text, &mut Slots::new()) {
            Ok(_) => accepted += 1,
            Err(error) => {
                assert!(!error.message.contains("evalexpr"), "{text}: {error}");
                assert!(!error.message.contains("cannot be understood"), "{text}: {error}");
                deepest = deepest.max(error.position);
            }
        }
    }
    assert!(accepted > 1_000 && deepest > 10, "{accepted} accepted, deepest column {deepest}");
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

//! Policies that the parser refuses, and the limits of a policy: one line per case, with the policy and the error.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::policy::*;
use tidegate_core::policy::{NESTING_MAX, POLICY_BYTES_MAX, Policy, Slots, TOKENS_MAX};

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

/// Policies with the deepest trees within the limits.
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
            // The compiler finds type errors only after it reached the deepest level, so they count too.
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

/// Random tokens: evalexpr's parser accepts every text that passes our checks, and nothing panics.
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

//! Translates a distribution policy of Builder into ours, or says why it cannot be.
//!
//! Builder's grammar is documented, its finer points are not. Where they matter to who gets an
//! update, the text is refused rather than guessed, and where we read it one way, a remark says so.

use semver::Version;

use super::parser::{self, Expression};
use super::writer::{Level, Polarity, Writer};
use crate::policy_text::{self, NoEqual};

/// Builder takes at most this many terms. More conditions than that are more under any counting.
const MOST_CONDITIONS: usize = 50;

/// A policy in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The policy; blank admits every device on a lower version.
    pub policy: String,
    /// Notes on parts that are carried, but may read differently than expected.
    pub remarks: Vec<String>,
    /// The versions that every admitted device runs, if the policy pins one: `version == '1.2.3'`.
    pub pinned_version: Option<Version>,
}

/// Translates a policy.
///
/// # Errors
/// [`NoEqual`], which names the part that has no equal here.
pub fn translate(text: &str) -> Result<Translation, NoEqual> {
    if text.trim().is_empty() {
        return Ok(Translation { policy: String::new(), remarks: Vec::new(), pinned_version: None });
    }
    let expression = parser::parse(text)?;
    let mut writer = Writer::default();
    let policy = writer.condition(&expression, Level::Or, Polarity::Asked)?;
    if writer.conditions > MOST_CONDITIONS {
        return Err(NoEqual(format!("it has {} conditions; Builder takes {MOST_CONDITIONS} terms", writer.conditions)));
    }
    policy_text::check(&policy)?;
    Ok(Translation { policy, remarks: writer.remarks(), pinned_version: pinned_version(&expression) })
}

/// The version that every device must run for the whole policy to hold.
fn pinned_version(expression: &Expression) -> Option<Version> {
    let is_version = |side: &Expression| matches!(side.bare(), Expression::Name(name) if name == "version" || name == "device.version");
    let pinned = |left: &Expression, right: &Expression| match right.bare() {
        Expression::Text(text) if is_version(left) => Version::parse(text).ok(),
        _ => None,
    };
    match expression.bare() {
        Expression::Binary("&&", left, right) => pinned_version(left).or_else(|| pinned_version(right)),
        Expression::Binary("==", left, right) => pinned(left, right).or_else(|| pinned(right, left)),
        Expression::Call(name, arguments) if name == "semver" => match arguments.as_slice() {
            [left, Expression::Text(sign), right] if sign == "==" => {
                pinned(left, right).or_else(|| pinned(right, left))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(builder: &str, expected: &str) {
        match translate(builder) {
            Ok(translation) => assert_eq!(translation.policy, expected, "{builder}"),
            Err(why) => panic!("{builder}: {why}"),
        }
    }

    #[test]
    fn builders_own_examples_are_carried() {
        check(
            "major >= 1 && minor >= 1 && patch >= 5 && memory >= 256 && ports == 32",
            "major >= 1 && minor >= 1 && patch >= 5 && memory >= 256 && ports == 32",
        );
        check(r#"semver(version, "<", newVersion)"#, r#"semver(version, "<", newVersion)"#);
        check("try-beta-features == 1", "try_beta_features == 1");
        check("version == '1.2.3'", r#"version == "1.2.3""#);
        check("agent =~ /Chrome|Firefox/", r#"contains(agent, "Chrome") || contains(agent, "Firefox")"#);
        check("  ", "");
    }

    #[test]
    fn every_operator_is_carried() {
        check("a + 1 == 2", "a + 1 == 2");
        check("a - 1 == 2", "a - 1 == 2");
        check("a * 2 == 4", "a * 2 == 4");
        check("a / 2 == 1.5", "a / 2.0 == 1.5");
        check("a / b == 1.5", "a * 1.0 / b == 1.5");
        check("a % 2 == 0", "a % 2 == 0");
        check("free - used >= 64", "free * 1.0 - used >= 64");
        check("a ^ 2 == 9", "a ^ 2 == 9");
        check("-a < 0", "-a < 0");
        check("a == 'x'", r#"a == "x""#);
        check("a != 'x'", r#"a != "x""#);
        check("a < 1 || a <= 1 || a > 1 || a >= 1", "a < 1 || a <= 1 || a > 1 || a >= 1");
        check("a == 1 && b == 2 || !(c == 3)", "a == 1 && b == 2 || !(c == 3)");
        check("name ^= 'lamp-'", r#"starts_with(name, "lamp-")"#);
        check("name ^!= 'lamp-'", r#"!starts_with(name, "lamp-")"#);
        check("name $= '-eu'", r#"ends_with(name, "-eu")"#);
        check("name $!= '-eu'", r#"!ends_with(name, "-eu")"#);
        check("name >< 'cam'", r#"contains(name, "cam")"#);
        check("name <> 'cam'", r#"!contains(name, "cam")"#);
        check("name =~ /^lamp-/", r#"starts_with(name, "lamp-")"#);
        check("name == /eu$/", r#"ends_with(name, "eu")"#);
        check("name != /a|b/", r#"!(contains(name, "a") || contains(name, "b"))"#);
        check("name =~ /a|b/ && c == 1", r#"(contains(name, "a") || contains(name, "b")) && c == 1"#);
        check("a == null", "!exists(a)");
        check("a != null", "exists(a)");
        check("beta == true && !old", "beta == true && !old");
        check(r#"name == "it's \"it\"""#, r#"name == "it's \"it\"""#);
        check("(a + 1) * 2 == 6", "(a + 1) * 2 == 6");
        check("(a == 1 || b == 1) && c == 1", "(a == 1 || b == 1) && c == 1");
        check("update.version == '2.0.0'", r#"newVersion == "2.0.0""#);
        check("inf == 1", "device.inf == 1");
        check("beta != 1", "beta != 1 && beta != true");
        check("!(beta == '0')", r#"!(beta == "0" || beta == false)"#);
        check("beta != false", "beta == true");
        check("!(true == beta)", "!(beta != false)");
    }

    #[test]
    fn what_has_no_equal_is_refused_with_a_reason() {
        let check = |builder: &str, expected: &str| {
            let why = translate(builder).expect_err(builder).to_string();
            assert!(why.contains(expected), "{builder}: {why}");
        };
        check("name =~ /[ab]/", "[");
        check("name =~ /a/i", "the flag `i`");
        check("name =~ 'a'", "needs a regular expression between slashes");
        check("wifi-6 == 1", "may be one name or a subtraction");
        check("a == 1 == true", "in a row need parentheses");
        check("!a == 1", "may mean its left side only");
        check("2 ^ 3 ^ 2 == 64", "two `^` in a row");
        check("-2 ^ 2 == 4", "`-` in front of `^`");
        check("version < '2.0.0'", "compare versions with semver");
        check("cohort == 1", "`cohort` is a variable here");
        check("upper(a) == 'A'", "there is no function upper");
        check("a = 1", "column 3: `=` alone");
        check("a == 'b", "column 6: this text is never closed");
        check(r"a == 'b\n'", "is not documented");
        check("serial ^= 12", "put it in quotes");
        check("a == 010", "is not a number that reads the same");
        check("a < null", "`<` with null");
        check("(a == 1", "column 1 is never closed");
        check("a == 1 b", "expected the end, found `b` at column 8");
        check("a == 1 &&", "found the end");
        check("a + 1", "not true or false");
        check("(a == 1) == true", "can only be joined");
        check("a # 1", "column 3: `#`");
        check(&vec!["a == 1"; 51].join(" && "), "it has 51 conditions");
        check(&format!("{}a == 1{}", "(".repeat(40), ")".repeat(40)), "nested more than 32 deep");
        check(&"!".repeat(5000), "nested more than 32 deep");
    }

    #[test]
    fn what_reads_differently_is_said() {
        let check = |builder: &str, expected: &[&str]| {
            let remarks = translate(builder).expect(builder).remarks;
            assert_eq!(remarks.len(), expected.len(), "{builder}: {remarks:?}");
            for (remark, expected) in remarks.iter().zip(expected) {
                assert!(remark.contains(expected), "{builder}: {remark}");
            }
        };
        check("memory >= 256", &[]);
        check("region != 'eu'", &["asks what region is not"]);
        check("!(region == 'eu' || site ^= 'a')", &["asks what region, site is not"]);
        check("version != '1.2.3'", &[]);
        check("beta", &["`beta` by itself"]);
        check("a != b", &["true and 1 are different here", "asks what a, b is not"]);
        check("try-beta == 1", &["`try-beta` is read as one name"]);
        check("a + 1 == 2", &["`+` adds numbers"]);
        check("a ^ 2 == 4", &["`^` is read as a power"]);
        check("a == null", &["null and not saying it"]);
        check("a =~ /x.*y/", &["a dot stands for any character"]);
    }

    #[test]
    fn a_policy_pins_a_version_only_if_all_of_it_does() {
        let check = |builder: &str, expected: Option<&str>| {
            let pinned = translate(builder).expect(builder).pinned_version;
            assert_eq!(pinned.map(|version| version.to_string()).as_deref(), expected, "{builder}");
        };
        check("version == '1.2.3'", Some("1.2.3"));
        check("region == 'eu' && ('1.2.3' == version)", Some("1.2.3"));
        check("semver(version, '==', '1.2.3')", Some("1.2.3"));
        check("version == '1.2.3' || region == 'eu'", None);
        check("!(version == '1.2.3')", None);
        check("semver(version, '<', '1.2.3')", None);
    }
}

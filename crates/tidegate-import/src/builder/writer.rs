//! Writer of policies: a Builder expression in our words.

use std::collections::BTreeSet;

use super::parser::Expression;
use super::regex;
use crate::policy_text::{NoEqual, quoted};

/// Precedence of our operators: an operand of lower precedence gets parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Or,
    And,
    Comparison,
    Sum,
    Product,
    Prefixed,
    Value,
}

/// Polarity of a condition: asked for, or negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polarity {
    Asked,
    Denied,
}

/// Writes a Builder policy in our words.
#[derive(Default)]
pub(super) struct Writer {
    /// The number of conditions so far.
    pub(super) conditions: usize,
    remarks: BTreeSet<String>,
    /// Attributes that are asked for by what they are not.
    denied: BTreeSet<String>,
}

impl Writer {
    /// The remarks on everything that was written.
    pub(super) fn remarks(self) -> Vec<String> {
        let mut remarks: Vec<String> = self.remarks.into_iter().collect();
        if !self.denied.is_empty() {
            let names: Vec<&str> = self.denied.iter().map(String::as_str).collect();
            remarks.push(format!(
                "asks what {} is not: here a device that does not say it is never admitted; Builder does not document \
                 what it does with one",
                names.join(", ")
            ));
        }
        remarks
    }

    fn remark(&mut self, text: impl Into<String>) {
        self.remarks.insert(text.into());
    }

    /// Writes an expression that is true or false.
    pub(super) fn condition(
        &mut self,
        expression: &Expression,
        outer: Level,
        polarity: Polarity,
    ) -> Result<String, NoEqual> {
        match expression.bare() {
            Expression::Binary(sign @ ("&&" | "||"), left, right) => {
                let level = if *sign == "||" { Level::Or } else { Level::And };
                let left = self.condition(left, level, polarity)?;
                let tighter = if *sign == "||" { Level::And } else { Level::Comparison };
                let right = self.condition(right, tighter, polarity)?;
                Ok(within(outer, level, format!("{left} {sign} {right}")))
            }
            Expression::Not(inner) => {
                let opposite = match polarity {
                    Polarity::Asked => Polarity::Denied,
                    Polarity::Denied => Polarity::Asked,
                };
                self.deny(inner);
                let inner = self.condition(inner, Level::Prefixed, opposite)?;
                Ok(format!("!{inner}"))
            }
            Expression::Binary(sign, left, right) => self.comparison(sign, left, right, outer, polarity),
            Expression::Name(name) => {
                self.conditions += 1;
                self.remark(format!(
                    "`{name}` by itself: only true, or the text \"true\", counts as true here, and not 1"
                ));
                self.name(name)
            }
            Expression::Boolean(value) => {
                self.conditions += 1;
                Ok(value.to_string())
            }
            Expression::Call(name, arguments) => {
                self.conditions += 1;
                self.call(name, arguments)
            }
            other => Err(NoEqual(format!("{} is not true or false", described(other)))),
        }
    }

    fn comparison(
        &mut self,
        sign: &'static str,
        left: &Expression,
        right: &Expression,
        outer: Level,
        polarity: Polarity,
    ) -> Result<String, NoEqual> {
        self.conditions += 1;
        if matches!(left.bare(), Expression::Null) || matches!(right.bare(), Expression::Null) {
            return self.null(sign, left, right);
        }
        let is_negative = matches!(sign, "!=" | "^!=" | "$!=" | "<>");
        if is_negative {
            self.deny(left);
            self.deny(right);
        }
        if let (subject, Expression::Regex(pattern)) = (left, right.bare()) {
            return self.regex(sign, subject, pattern, outer);
        }
        match sign {
            "==" | "!=" | "<" | "<=" | ">" | ">=" => match sign {
                "==" | "!=" => self.equality(sign == "==", left, right, outer, polarity),
                _ => {
                    let (left, right) = (self.value(left, Level::Sum)?, self.value(right, Level::Sum)?);
                    Ok(within(outer, Level::Comparison, format!("{left} {sign} {right}")))
                }
            },
            "=~" => Err("`=~` needs a regular expression between slashes".into()),
            "^=" | "^!=" => self.text_call("starts_with", is_negative, left, right),
            "$=" | "$!=" => self.text_call("ends_with", is_negative, left, right),
            "><" | "<>" => self.text_call("contains", is_negative, left, right),
            _ => Err(NoEqual(format!("the result of `{sign}` is not true or false"))),
        }
    }

    /// JavaScript takes true for 1, and we do not. Whether Builder does is not documented, so of a
    /// device that says one where the policy asks for the other, neither is taken for a match.
    fn equality(
        &mut self,
        is_equal: bool,
        left: &Expression,
        right: &Expression,
        outer: Level,
        polarity: Polarity,
    ) -> Result<String, NoEqual> {
        let (left_text, right_text) = (self.value(left, Level::Sum)?, self.value(right, Level::Sum)?);
        for (side, text, other) in [(left, &left_text, right), (right, &right_text, left)] {
            match (side.bare(), other.bare()) {
                // Of the two ways to write it, the one that a number does not satisfy.
                (Expression::Name(_), Expression::Boolean(value)) => {
                    let sign = if polarity == Polarity::Asked { "==" } else { "!=" };
                    let value = if (sign == "==") == is_equal { *value } else { !*value };
                    return Ok(within(outer, Level::Comparison, format!("{text} {sign} {value}")));
                }
                (Expression::Name(_), Expression::Number(literal) | Expression::Text(literal)) => {
                    let Some(twin) = truth_value_of(literal) else { continue };
                    match (is_equal, polarity) {
                        (false, Polarity::Asked) => {
                            let text = format!("{left_text} != {right_text} && {text} != {twin}");
                            return Ok(within(outer, Level::And, text));
                        }
                        (true, Polarity::Denied) => {
                            let text = format!("{left_text} == {right_text} || {text} == {twin}");
                            return Ok(within(outer, Level::Or, text));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        let is_constant = |side: &Expression| {
            matches!(side.bare(), Expression::Number(_) | Expression::Text(_) | Expression::Boolean(_))
        };
        let asks_for_difference = is_equal == (polarity == Polarity::Denied);
        if asks_for_difference && !is_constant(left) && !is_constant(right) {
            self.remark(format!("`{left_text}` and `{right_text}`: true and 1 are different here"));
        }
        let sign = if is_equal { "==" } else { "!=" };
        Ok(within(outer, Level::Comparison, format!("{left_text} {sign} {right_text}")))
    }

    fn text_call(
        &mut self,
        function: &str,
        is_negative: bool,
        left: &Expression,
        right: &Expression,
    ) -> Result<String, NoEqual> {
        for side in [left, right] {
            if let Expression::Number(number) = side.bare() {
                return Err(NoEqual(format!("{number} is a number where {function} needs a text; put it in quotes")));
            }
        }
        let (left, right) = (self.value(left, Level::Or)?, self.value(right, Level::Or)?);
        Ok(format!("{}{function}({left}, {right})", if is_negative { "!" } else { "" }))
    }

    fn null(&mut self, sign: &str, left: &Expression, right: &Expression) -> Result<String, NoEqual> {
        let ((Expression::Name(name), Expression::Null) | (Expression::Null, Expression::Name(name))) =
            (left.bare(), right.bare())
        else {
            return Err("null can only be compared with an attribute here".into());
        };
        self.remark(format!("`{name}` and null: here null and not saying it are the same"));
        let exists = format!("exists({})", self.name(name)?);
        match sign {
            "==" => Ok(format!("!{exists}")),
            "!=" => Ok(exists),
            other => Err(NoEqual(format!("`{other}` with null has no equal here"))),
        }
    }

    fn regex(&mut self, sign: &str, subject: &Expression, pattern: &str, outer: Level) -> Result<String, NoEqual> {
        let is_negative = match sign {
            "=~" | "==" => false,
            "!=" => true,
            other => return Err(NoEqual(format!("`{other}` with a regular expression has no equal here"))),
        };
        let subject = self.value(subject, Level::Or)?;
        let translated = regex::translate(pattern, &subject)?;
        if translated.has_wildcards {
            self.remark(format!(
                "/{pattern}/: a dot stands for any character here, line breaks and emoji too; in JavaScript it does not"
            ));
        }
        self.conditions += translated.alternatives.len().saturating_sub(1);
        let text = translated.alternatives.join(" || ");
        let is_single = translated.alternatives.len() == 1 && !text.contains(" == ");
        Ok(match (is_negative, is_single) {
            (true, true) => format!("!{text}"),
            (true, false) => format!("!({text})"),
            (false, true) => text,
            (false, false) => within(outer, Level::Or, text),
        })
    }

    fn call(&mut self, name: &str, arguments: &[Expression]) -> Result<String, NoEqual> {
        if name != "semver" {
            return Err(NoEqual(format!("there is no function {name} in Builder's documentation")));
        }
        let written: Result<Vec<String>, NoEqual> =
            arguments.iter().map(|argument| self.value(argument, Level::Or)).collect();
        Ok(format!("semver({})", written?.join(", ")))
    }

    /// Writes an operand of a comparison or calculation.
    fn value(&mut self, expression: &Expression, outer: Level) -> Result<String, NoEqual> {
        match expression.bare() {
            Expression::Name(name) => self.name(name),
            Expression::Number(number) => Ok(number.clone()),
            Expression::Text(text) => Ok(quoted(text)),
            Expression::Boolean(value) => Ok(value.to_string()),
            Expression::Negate(inner) => {
                Ok(within(outer, Level::Prefixed, format!("-{}", self.value(inner, Level::Value)?)))
            }
            Expression::Binary(sign @ ("+" | "-" | "*" | "/" | "%" | "^"), left, right) => {
                self.calculation(sign, left, right, outer)
            }
            Expression::Regex(pattern) => Err(NoEqual(format!("/{pattern}/ can only stand behind =~, == or !="))),
            Expression::Null => Err("null can only be compared with == or !=".into()),
            Expression::Call(name, _) if name != "semver" => {
                Err(NoEqual(format!("there is no function {name} in Builder's documentation")))
            }
            _ => Err("what is true or false can only be joined with &&, || and !".into()),
        }
    }

    fn calculation(
        &mut self,
        sign: &str,
        left: &Expression,
        right: &Expression,
        outer: Level,
    ) -> Result<String, NoEqual> {
        let (level, tighter) = match sign {
            "+" | "-" => (Level::Sum, Level::Product),
            "*" | "/" | "%" => (Level::Product, Level::Prefixed),
            _ => (Level::Value, Level::Value),
        };
        // Agents that say everything as a text: two of those are not calculated with here, unless a
        // number comes first.
        let may_be_texts = may_be_text(left) && may_be_text(right);
        let left = match sign {
            "^" => self.value(left, Level::Value)?,
            "-" | "*" | "%" if may_be_texts => format!("{} * 1.0", self.value(left, Level::Product)?),
            "/" => self.value(left, Level::Product)?,
            _ => self.value(left, level)?,
        };
        let right_text = self.value(right, tighter)?;
        let text = match (sign, right.bare()) {
            // Whole numbers divide into whole numbers here, and not in Builder.
            ("/", Expression::Number(number)) if !number.contains('.') => format!("{left} / {number}.0"),
            ("/", _) => format!("{left} * 1.0 / {right_text}"),
            _ => format!("{left} {sign} {right_text}"),
        };
        match sign {
            "+" => self.remark("`+` adds numbers as soon as one side is a number, and joins two texts"),
            "^" => self.remark("`^` is read as a power, because Builder lists it with the arithmetic"),
            _ => {}
        }
        Ok(match sign {
            "^" if outer > Level::Prefixed => format!("({text})"),
            "^" => text,
            _ => within(outer, level, text),
        })
    }

    fn name(&mut self, written: &str) -> Result<String, NoEqual> {
        let name = match written {
            "update.version" => "newVersion".to_owned(),
            other => other.to_owned(),
        };
        if matches!(name.as_str(), "cohort" | "device.cohort") {
            return Err("`cohort` is a variable here, so an attribute of that name cannot be asked for".into());
        }
        let plain = name.replace('-', "_");
        if plain != name {
            self.remark(format!(
                "`{name}` is read as one name and written {plain}; a subtraction needs blanks around `-`"
            ));
        }
        // `inf` and `nan` would be numbers.
        Ok(if plain.parse::<f64>().is_ok() { format!("device.{plain}") } else { plain })
    }

    fn deny(&mut self, expression: &Expression) {
        let mut waiting = vec![expression];
        while let Some(next) = waiting.pop() {
            match next {
                Expression::Name(name) => {
                    let known =
                        ["version", "newVersion", "update.version", "device.version", "major", "minor", "patch"];
                    if !known.contains(&name.as_str()) {
                        self.denied.insert(name.clone());
                    }
                }
                Expression::Call(_, arguments) => waiting.extend(arguments),
                Expression::Not(inner) | Expression::Negate(inner) | Expression::Grouped(inner) => waiting.push(inner),
                // The presence of an attribute is always known.
                Expression::Binary(_, left, right)
                    if matches!(left.bare(), Expression::Null) || matches!(right.bare(), Expression::Null) => {}
                Expression::Binary(_, left, right) => waiting.extend([left.as_ref(), right.as_ref()]),
                _ => {}
            }
        }
    }
}

fn within(outer: Level, own: Level, text: String) -> String {
    if own < outer { format!("({text})") } else { text }
}

/// Returns true if the value can be a text, depending on the device.
fn may_be_text(expression: &Expression) -> bool {
    match expression.bare() {
        Expression::Name(_) | Expression::Text(_) => true,
        Expression::Binary("+", left, right) => may_be_text(left) && may_be_text(right),
        _ => false,
    }
}

/// The truth value that JavaScript takes for equal to a literal.
fn truth_value_of(literal: &str) -> Option<bool> {
    match literal {
        "1" => Some(true),
        "0" | "" => Some(false),
        _ => None,
    }
}

fn described(expression: &Expression) -> String {
    match expression {
        Expression::Number(number) => format!("the number {number}"),
        Expression::Text(text) => format!("the text '{text}'"),
        Expression::Regex(pattern) => format!("/{pattern}/ by itself"),
        Expression::Null => "null".into(),
        _ => "a calculated number".into(),
    }
}

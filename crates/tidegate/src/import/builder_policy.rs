//! Translates a distribution policy of Builder into ours, or says why it cannot be.
//!
//! Builder's grammar is documented, its finer points are not. Where they matter to who gets an
//! update, the text is refused rather than guessed, and where we read it one way, a remark says so.

use std::collections::BTreeSet;

use semver::Version;
use tidegate_core::policy::{Policy, Slots};

use super::builder_regex;

/// Builder takes at most this many terms. More conditions than that are more under any counting.
const MOST_CONDITIONS: usize = 50;
/// Deeper than our own policies may be nested.
const DEEPEST: usize = 32;
/// Up to here every whole number is itself in Builder's JavaScript, too.
const LARGEST_WHOLE_NUMBER: u64 = 1 << 53;

/// A policy in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The policy; blank admits every device on a lower version.
    pub policy: String,
    /// What is carried, but reads differently than someone may expect.
    pub remarks: Vec<String>,
    /// The versions that every admitted device runs, if the policy pins one: `version == '1.2.3'`.
    pub pinned_version: Option<Version>,
}

/// Translates a policy.
///
/// # Errors
/// A sentence that names what has no equal here.
pub fn translate(text: &str) -> Result<Translation, String> {
    if text.trim().is_empty() {
        return Ok(Translation { policy: String::new(), remarks: Vec::new(), pinned_version: None });
    }
    let tokens = tokenize(text)?;
    let mut parser = Parser { text, tokens, next: 0, depth: 0 };
    let expression = parser.or()?;
    if let Some(extra) = parser.peek() {
        return Err(format!("expected the end, found {} at column {}", extra.kind.shown(), parser.column(extra.start)));
    }
    let mut writer = Writer::default();
    let policy = writer.condition(&expression, Level::Or, Polarity::Asked)?;
    if writer.conditions > MOST_CONDITIONS {
        return Err(format!("it has {} conditions; Builder takes {MOST_CONDITIONS} terms", writer.conditions));
    }
    Policy::parse(&policy, &mut Slots::new()).map_err(|error| format!("`{policy}` is not a policy here: {error}"))?;
    Ok(Translation { policy, remarks: writer.remarks(), pinned_version: pinned_version(&expression) })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Name(String),
    Number(String),
    Text(String),
    Regex(String),
    Sign(&'static str),
}

impl Kind {
    fn shown(&self) -> String {
        match self {
            Kind::Name(text) | Kind::Number(text) => format!("`{text}`"),
            Kind::Text(text) => format!("the text '{text}'"),
            Kind::Regex(text) => format!("/{text}/"),
            Kind::Sign(sign) => format!("`{sign}`"),
        }
    }
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    start: usize,
}

/// Longest first: `<=` is not `<` and then `=`.
const SIGNS: [&str; 26] = [
    "^!=", "$!=", "&&", "||", "==", "!=", "<=", ">=", "=~", "^=", "$=", "><", "<>", "<", ">", "!", "+", "-", "*", "/",
    "%", "^", "(", ")", ",", "=",
];

fn tokenize(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        let column = || text.get(..at).unwrap_or(text).chars().count() + 1;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let a_value_may_follow = match tokens.last().map(|token| &token.kind) {
            None => true,
            Some(Kind::Sign(sign)) => *sign != ")",
            Some(_) => false,
        };
        let (kind, length) = match first {
            '\'' | '"' => text_literal(rest, first).map_err(|why| format!("column {}: {why}", column()))?,
            '/' if a_value_may_follow => regex_literal(rest).map_err(|why| format!("column {}: {why}", column()))?,
            digit if digit.is_ascii_digit() => number(rest).map_err(|why| format!("column {}: {why}", column()))?,
            letter if letter.is_alphabetic() || letter == '_' => {
                name(rest).map_err(|why| format!("column {}: {why}", column()))?
            }
            _ => match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
                Some("=") => return Err(format!("column {}: `=` alone is no operator of Builder", column())),
                Some(sign) => (Kind::Sign(sign), sign.len()),
                None => return Err(format!("column {}: `{first}` is nothing in Builder's grammar", column())),
            },
        };
        tokens.push(Token { kind, start: at });
        at += length;
    }
    Ok(tokens)
}

fn text_literal(rest: &str, quote: char) -> Result<(Kind, usize), String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '\'' | '"'))) => text.push(escaped),
                Some((_, other)) => return Err(format!("what `\\{other}` means in a text is not documented")),
                None => break,
            },
            end if end == quote => return Ok((Kind::Text(text), at + 1)),
            other => text.push(other),
        }
    }
    Err("this text is never closed".into())
}

fn regex_literal(rest: &str) -> Result<(Kind, usize), String> {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '/' => {
                let after = rest.get(at + 1..).and_then(|after| after.chars().next());
                if let Some(flag) = after.filter(|after| after.is_alphanumeric()) {
                    return Err(format!("the flag `{flag}` of a regular expression has no equal here"));
                }
                let pattern = rest.get(1..at).unwrap_or_default().to_owned();
                return Ok((Kind::Regex(pattern), at + 1));
            }
            _ => {}
        }
    }
    Err("this regular expression is never closed".into())
}

fn number(rest: &str) -> Result<(Kind, usize), String> {
    let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')).unwrap_or(rest.len());
    let word = rest.get(..length).unwrap_or(rest);
    let (whole, fraction) = word.split_once('.').unwrap_or((word, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'));
    match plain && whole.parse::<u64>().is_ok_and(|whole| whole <= LARGEST_WHOLE_NUMBER) {
        true => Ok((Kind::Number(word.into()), length)),
        false => Err(format!("`{word}` is not a number that reads the same here")),
    }
}

/// A name, as far as it goes. `try-beta-features` is one name, as in Builder's own example; a `-`
/// with blanks around it is a subtraction, and before a digit it could be either.
fn name(rest: &str) -> Result<(Kind, usize), String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    while let Some(after) = rest.get(length..).and_then(|after| after.strip_prefix('-')) {
        match after.chars().next() {
            Some(first) if first.is_alphabetic() || first == '_' => {
                length += 1 + after.find(|c| !is_part(c)).unwrap_or(after.len());
            }
            Some(first) if first.is_ascii_digit() => {
                let word = rest.get(..length + 2).unwrap_or(rest);
                return Err(format!("`{word}` may be one name or a subtraction; put blanks around `-` to subtract"));
            }
            _ => break,
        }
    }
    Ok((Kind::Name(rest.get(..length).unwrap_or(rest).into()), length))
}

#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Name(String),
    Number(String),
    Text(String),
    Regex(String),
    Boolean(bool),
    Null,
    Call(String, Vec<Expression>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    Binary(&'static str, Box<Expression>, Box<Expression>),
    /// Written in parentheses, which settle every question of precedence.
    Grouped(Box<Expression>),
}

impl Expression {
    fn bare(&self) -> &Expression {
        match self {
            Expression::Grouped(inner) => inner.bare(),
            other => other,
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn column(&self, start: usize) -> usize {
        self.text.get(..start).unwrap_or(self.text).chars().count() + 1
    }

    /// The next token, if it is one of `signs`; it is passed.
    fn take(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let Some(Token { kind: Kind::Sign(sign), .. }) = self.peek() else { return None };
        let found = signs.iter().find(|wanted| *wanted == sign).copied()?;
        self.next += 1;
        Some(found)
    }

    fn left_to_right(
        &mut self,
        signs: &[&'static str],
        tighter: fn(&mut Self) -> Result<Expression, String>,
    ) -> Result<Expression, String> {
        let mut left = tighter(self)?;
        while let Some(sign) = self.take(signs) {
            left = Expression::Binary(sign, Box::new(left), Box::new(tighter(self)?));
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Expression, String> {
        self.left_to_right(&["||"], Self::and)
    }

    fn and(&mut self) -> Result<Expression, String> {
        self.left_to_right(&["&&"], Self::comparison)
    }

    /// Of two comparisons in a row nobody says which comes first, so they are refused.
    fn comparison(&mut self) -> Result<Expression, String> {
        const COMPARISONS: [&str; 13] = ["==", "!=", "<=", ">=", "<", ">", "=~", "^=", "^!=", "$=", "$!=", "><", "<>"];
        let left = self.sum()?;
        let Some(sign) = self.take(&COMPARISONS) else { return Ok(left) };
        if matches!(left, Expression::Not(_)) {
            return Err(format!("`!` in front of a comparison may mean its left side only; write !(… {sign} …)"));
        }
        let right = self.sum()?;
        match self.take(&COMPARISONS) {
            Some(second) => Err(format!("`{sign}` and `{second}` in a row need parentheses")),
            None => Ok(Expression::Binary(sign, Box::new(left), Box::new(right))),
        }
    }

    fn sum(&mut self) -> Result<Expression, String> {
        self.left_to_right(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Result<Expression, String> {
        self.left_to_right(&["*", "/", "%"], Self::prefixed)
    }

    fn prefixed(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} deep"));
        }
        let expression = match self.take(&["!", "-"]) {
            Some("!") => Expression::Not(Box::new(self.prefixed()?)),
            Some(_) => match self.prefixed()? {
                Expression::Binary("^", ..) => return Err("`-` in front of `^` needs parentheses".into()),
                inner => Expression::Negate(Box::new(inner)),
            },
            None => self.power()?,
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn power(&mut self) -> Result<Expression, String> {
        let base = self.value()?;
        if self.take(&["^"]).is_none() {
            return Ok(base);
        }
        let exponent = self.value()?;
        match self.take(&["^"]) {
            Some(_) => Err("two `^` in a row need parentheses".into()),
            None => Ok(Expression::Binary("^", Box::new(base), Box::new(exponent))),
        }
    }

    fn value(&mut self) -> Result<Expression, String> {
        let Some(token) = self.peek().cloned() else {
            return Err("expected a value, found the end".into());
        };
        self.next += 1;
        Ok(match token.kind {
            Kind::Number(number) => Expression::Number(number),
            Kind::Text(text) => Expression::Text(text),
            Kind::Regex(pattern) => Expression::Regex(pattern),
            Kind::Name(name) => match name.as_str() {
                "true" => Expression::Boolean(true),
                "false" => Expression::Boolean(false),
                "null" => Expression::Null,
                _ if self.take(&["("]).is_some() => Expression::Call(name, self.arguments()?),
                _ => Expression::Name(name),
            },
            Kind::Sign("(") => {
                let inner = self.or()?;
                if self.take(&[")"]).is_none() {
                    return Err(format!("the parenthesis at column {} is never closed", self.column(token.start)));
                }
                Expression::Grouped(Box::new(inner))
            }
            Kind::Sign(sign) => {
                return Err(format!("expected a value, found `{sign}` at column {}", self.column(token.start)));
            }
        })
    }

    fn arguments(&mut self) -> Result<Vec<Expression>, String> {
        let mut arguments = vec![self.or()?];
        while self.take(&[","]).is_some() {
            arguments.push(self.or()?);
        }
        match self.take(&[")"]) {
            Some(_) => Ok(arguments),
            None => Err("a list of arguments is never closed".into()),
        }
    }
}

/// How tightly our operators bind: what binds less than its surroundings is put in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Comparison,
    Sum,
    Product,
    Prefixed,
    Value,
}

/// Whether a condition is asked for, or its opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polarity {
    Asked,
    Denied,
}

#[derive(Default)]
struct Writer {
    conditions: usize,
    remarks: BTreeSet<String>,
    /// Attributes that are asked for by what they are not.
    denied: BTreeSet<String>,
}

impl Writer {
    fn remarks(self) -> Vec<String> {
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

    /// Something that is true or false.
    fn condition(&mut self, expression: &Expression, outer: Level, polarity: Polarity) -> Result<String, String> {
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
            other => Err(format!("{} is not true or false", described(other))),
        }
    }

    fn comparison(
        &mut self,
        sign: &'static str,
        left: &Expression,
        right: &Expression,
        outer: Level,
        polarity: Polarity,
    ) -> Result<String, String> {
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
            _ => Err(format!("the result of `{sign}` is not true or false")),
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
    ) -> Result<String, String> {
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
    ) -> Result<String, String> {
        for side in [left, right] {
            if let Expression::Number(number) = side.bare() {
                return Err(format!("{number} is a number where {function} needs a text; put it in quotes"));
            }
        }
        let (left, right) = (self.value(left, Level::Or)?, self.value(right, Level::Or)?);
        Ok(format!("{}{function}({left}, {right})", if is_negative { "!" } else { "" }))
    }

    fn null(&mut self, sign: &str, left: &Expression, right: &Expression) -> Result<String, String> {
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
            other => Err(format!("`{other}` with null has no equal here")),
        }
    }

    fn regex(&mut self, sign: &str, subject: &Expression, pattern: &str, outer: Level) -> Result<String, String> {
        let is_negative = match sign {
            "=~" | "==" => false,
            "!=" => true,
            other => return Err(format!("`{other}` with a regular expression has no equal here")),
        };
        let subject = self.value(subject, Level::Or)?;
        let translated = builder_regex::translate(pattern, &subject)?;
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

    fn call(&mut self, name: &str, arguments: &[Expression]) -> Result<String, String> {
        if name != "semver" {
            return Err(format!("there is no function {name} in Builder's documentation"));
        }
        let written: Result<Vec<String>, String> =
            arguments.iter().map(|argument| self.value(argument, Level::Or)).collect();
        Ok(format!("semver({})", written?.join(", ")))
    }

    /// Something that is compared or calculated with.
    fn value(&mut self, expression: &Expression, outer: Level) -> Result<String, String> {
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
            Expression::Regex(pattern) => Err(format!("/{pattern}/ can only stand behind =~, == or !=")),
            Expression::Null => Err("null can only be compared with == or !=".into()),
            Expression::Call(name, _) if name != "semver" => {
                Err(format!("there is no function {name} in Builder's documentation"))
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
    ) -> Result<String, String> {
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

    fn name(&mut self, written: &str) -> Result<String, String> {
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
                // Whether something is there is never unknown.
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

/// Whether a device can make a text of it.
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

/// A text as our policies write it.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
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
            let why = translate(builder).expect_err(builder);
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

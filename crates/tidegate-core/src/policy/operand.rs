//! Operands: the values in an evaluation, with comparison and arithmetic.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::program::{Arithmetic, Operator, Relation};
use crate::attributes::Value;

/// Value in an evaluation. Only computed texts are copied.
#[derive(Debug, Clone)]
pub(super) enum Operand<'a> {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(Cow<'a, str>),
    Version(&'a semver::Version),
    List(&'a [Value]),
}

/// Reason why an operation could not be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    DivisionByZero,
    OutOfRange,
    NotNumbers,
    NotOrdered,
    NotACondition,
    NotAText,
    NotAVersion,
    IsAList,
    NotANumber,
}

impl<'a> From<&'a Value> for Operand<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Bool(value) => Operand::Boolean(*value),
            Value::Integer(value) => Operand::Integer(*value),
            Value::Number(value) => Operand::Number(*value),
            Value::Text(value) => Operand::Text(Cow::Borrowed(value)),
            Value::List(values) => Operand::List(values),
        }
    }
}

/// Number that keeps all digits of a 64-bit integer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numeric {
    Integer(i64),
    Number(f64),
}

/// Number of a decimal text such as `512`, `-1.5` or `1e3`.
pub(super) fn decimal(text: &str) -> Option<Numeric> {
    // Rust's parser also accepts "inf" and "nan".
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    if let Ok(integer) = text.parse() {
        return Some(Numeric::Integer(integer));
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Numeric::Number)
}

impl<'a> Operand<'a> {
    pub(super) fn into_text(self) -> Result<Cow<'a, str>, Why> {
        match self {
            Operand::Text(text) => Ok(text),
            Operand::Version(version) => Ok(Cow::Owned(version.to_string())),
            _ => Err(Why::NotAText),
        }
    }

    pub(super) fn into_version(self) -> Result<Cow<'a, semver::Version>, Why> {
        match self {
            Operand::Version(version) => Ok(Cow::Borrowed(version)),
            Operand::Text(text) => semver::Version::parse(&text).map(Cow::Owned).map_err(|_| Why::NotAVersion),
            _ => Err(Why::NotAVersion),
        }
    }

    pub(super) fn into_condition(self) -> Result<bool, Why> {
        match self {
            Operand::Boolean(value) => Ok(value),
            Operand::Text(text) => boolean(&text).ok_or(Why::NotACondition),
            _ => Err(Why::NotACondition),
        }
    }

    fn numeric(&self) -> Option<Numeric> {
        match self {
            Operand::Integer(value) => Some(Numeric::Integer(*value)),
            Operand::Number(value) => Some(Numeric::Number(*value)),
            _ => None,
        }
    }

    fn decimal(&self) -> Option<Numeric> {
        match self {
            Operand::Text(text) => decimal(text),
            _ => None,
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Operand::Text(_) | Operand::Version(_))
    }
}

/// Boolean of a text. Agents in the field send every property as a text.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Both values as numbers, if one is a number and the other is a number or a decimal text.
fn numbers(left: &Operand<'_>, right: &Operand<'_>) -> Option<(Numeric, Numeric)> {
    match (left.numeric(), right.numeric()) {
        (Some(left), Some(right)) => Some((left, right)),
        (Some(left), None) => Some((left, right.decimal()?)),
        (None, Some(right)) => Some((left.decimal()?, right)),
        (None, None) => None,
    }
}

pub(super) fn apply<'a>(operator: Operator, left: Operand<'a>, right: Operand<'a>) -> Result<Operand<'a>, Why> {
    match operator {
        Operator::Relation(Relation::Equal) => equal(&left, &right).map(Operand::Boolean),
        Operator::Relation(Relation::NotEqual) => equal(&left, &right).map(|equal| Operand::Boolean(!equal)),
        Operator::Relation(relation) => order(&left, &right).map(|order| Operand::Boolean(holds(relation, order))),
        Operator::Arithmetic(Arithmetic::Add) if left.is_text() && right.is_text() => {
            Ok(Operand::Text([left.into_text()?, right.into_text()?].concat().into()))
        }
        Operator::Arithmetic(arithmetic) => {
            let (left, right) = numbers(&left, &right).ok_or(Why::NotNumbers)?;
            calculate(arithmetic, left, right)
        }
    }
}

pub(super) fn holds(relation: Relation, order: Ordering) -> bool {
    Orders::of(relation).hold(order)
}

/// Set of orders in which a relation holds, with one bit for each order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orders(u8);

impl Orders {
    pub(super) fn of(relation: Relation) -> Self {
        let (less, equal, greater) = (1, 2, 4);
        Self(match relation {
            Relation::Less => less,
            Relation::LessOrEqual => less | equal,
            Relation::Greater => greater,
            Relation::GreaterOrEqual => greater | equal,
            Relation::Equal => equal,
            Relation::NotEqual => less | greater,
        })
    }

    pub(super) fn hold(self, order: Ordering) -> bool {
        let is = match order {
            Ordering::Less => 1,
            Ordering::Equal => 2,
            Ordering::Greater => 4,
        };
        self.0 & is != 0
    }
}

pub(super) fn equal(left: &Operand<'_>, right: &Operand<'_>) -> Result<bool, Why> {
    for side in [left, right] {
        match side {
            Operand::List(_) => return Err(Why::IsAList),
            // "!=" does not match either: an unclear value never admits a device.
            Operand::Number(number) if !number.is_finite() => return Err(Why::NotANumber),
            _ => {}
        }
    }
    Ok(match (left, right) {
        (Operand::Boolean(left), Operand::Boolean(right)) => left == right,
        (Operand::Boolean(value), Operand::Text(text)) | (Operand::Text(text), Operand::Boolean(value)) => {
            boolean(text) == Some(*value)
        }
        (Operand::Text(left), Operand::Text(right)) => left == right,
        (Operand::Version(left), Operand::Version(right)) => left == right,
        (Operand::Version(version), Operand::Text(text)) | (Operand::Text(text), Operand::Version(version)) => {
            is_written(version, text)
        }
        _ => match numbers(left, right) {
            Some((left, right)) => compare(left, right) == Some(Ordering::Equal),
            None => false,
        },
    })
}

fn order(left: &Operand<'_>, right: &Operand<'_>) -> Result<Ordering, Why> {
    if let (Operand::Text(left), Operand::Text(right)) = (left, right) {
        return Ok(left.as_ref().cmp(right.as_ref()));
    }
    let (left, right) = numbers(left, right).ok_or(Why::NotOrdered)?;
    compare(left, right).ok_or(Why::NotANumber)
}

/// Exact order of two numbers: above 2^53 an integer and its nearest float can differ.
pub(super) fn compare(left: Numeric, right: Numeric) -> Option<Ordering> {
    match (left, right) {
        (Numeric::Integer(left), Numeric::Integer(right)) => Some(left.cmp(&right)),
        (Numeric::Number(left), Numeric::Number(right)) if left.is_finite() && right.is_finite() => {
            left.partial_cmp(&right)
        }
        (Numeric::Number(_), Numeric::Number(_)) => None,
        (Numeric::Integer(integer), Numeric::Number(number)) => compare_exactly(integer, number),
        (Numeric::Number(number), Numeric::Integer(integer)) => compare_exactly(integer, number).map(Ordering::reverse),
    }
}

fn compare_exactly(integer: i64, number: f64) -> Option<Ordering> {
    const TWO_TO_THE_63: f64 = 9_223_372_036_854_775_808.0;
    if !number.is_finite() {
        return None;
    }
    if number >= TWO_TO_THE_63 {
        return Some(Ordering::Less);
    }
    if number < -TWO_TO_THE_63 {
        return Some(Ordering::Greater);
    }
    let whole = number.trunc();
    // The conversion is exact: the range was checked above, and the number has no fraction.
    Some(integer.cmp(&(whole as i64)).then(0.0_f64.partial_cmp(&(number - whole))?))
}

pub(super) fn negate<'a>(value: Operand<'a>) -> Result<Operand<'a>, Why> {
    match value.numeric().or_else(|| value.decimal()).ok_or(Why::NotNumbers)? {
        Numeric::Integer(value) => value.checked_neg().map(Operand::Integer).ok_or(Why::OutOfRange),
        Numeric::Number(value) => finite(-value),
    }
}

fn calculate<'a>(arithmetic: Arithmetic, left: Numeric, right: Numeric) -> Result<Operand<'a>, Why> {
    match (left, right) {
        (Numeric::Integer(left), Numeric::Integer(right)) if arithmetic != Arithmetic::Power => {
            calculate_integers(arithmetic, left, right)
        }
        _ => calculate_floats(arithmetic, left.as_float(), right.as_float()),
    }
}

fn calculate_integers<'a>(arithmetic: Arithmetic, left: i64, right: i64) -> Result<Operand<'a>, Why> {
    let result = match arithmetic {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide | Arithmetic::Remainder if right == 0 => {
            return Err(Why::DivisionByZero);
        }
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => left.checked_rem(right),
        Arithmetic::Power => None,
    };
    result.map(Operand::Integer).ok_or(Why::OutOfRange)
}

fn calculate_floats<'a>(arithmetic: Arithmetic, left: f64, right: f64) -> Result<Operand<'a>, Why> {
    finite(match arithmetic {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide | Arithmetic::Remainder if right == 0.0 => {
            return Err(Why::DivisionByZero);
        }
        Arithmetic::Divide => left / right,
        Arithmetic::Remainder => left % right,
        Arithmetic::Power => left.powf(right),
    })
}

fn finite<'a>(result: f64) -> Result<Operand<'a>, Why> {
    if result.is_finite() { Ok(Operand::Number(result)) } else { Err(Why::OutOfRange) }
}

impl Numeric {
    pub(super) fn as_float(self) -> f64 {
        match self {
            Numeric::Integer(value) => value as f64,
            Numeric::Number(value) => value,
        }
    }
}

/// `true` if `text` is the text of `version`. The comparison does not allocate.
fn is_written(version: &semver::Version, text: &str) -> bool {
    struct Rest<'t>(&'t str);
    impl Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{version}").is_ok() && rest.0.is_empty()
}

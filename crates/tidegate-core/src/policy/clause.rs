//! Shows what became of each clause of a policy, with the values it was about.

use std::fmt;
use std::sync::Arc;

use super::evaluate::{Cause, Evaluation};
use super::operand::{Operand, Why};
use super::program::{Node, Operation, OperationId};
use super::token::shortened;
use crate::attributes::Value;

/// What a policy, or one clause of it, says about a device. Only [`Truth::Yes`] admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Yes,
    /// It does not hold.
    No,
    /// It cannot be told; never a match, and neither is its opposite.
    Unknown(Doubt),
}

/// What is in the way of a clear answer; the first one met, if there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The device does not say this attribute.
    Missing(Arc<str>),
    /// Something could not be evaluated; a sentence says what and where.
    Unclear(String),
}

impl fmt::Display for Truth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Truth::Yes => out.write_str("yes"),
            Truth::No => out.write_str("no"),
            Truth::Unknown(doubt) => write!(out, "unknown: {doubt}"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Missing(name) => write!(out, "the device does not say {name}"),
            Doubt::Unclear(sentence) => out.write_str(sentence),
        }
    }
}

/// The smallest part of a policy that is true or false by itself: what `&&`, `||`, `!` and parentheses join.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// The clause as it is written in the policy.
    pub text: String,
    /// What became of it.
    pub truth: Truth,
    /// Each variable it mentions with its value, in source order; `None` if the device does not say.
    pub values: Vec<(String, Option<Value>)>,
}

/// Every clause in source order, including those that a short circuit would skip.
pub(super) fn clauses(evaluation: &Evaluation<'_>, text: &str) -> Vec<Clause> {
    let mut clauses = Vec::new();
    let mut waiting = vec![evaluation.program.root];
    while let Some(id) = waiting.pop() {
        let Some(node) = evaluation.program.node(id) else {
            continue;
        };
        match &node.operation {
            Operation::All(inner) | Operation::Any(inner) => waiting.extend(inner.iter().rev()),
            Operation::Not(inner) => waiting.push(*inner),
            _ => clauses.push(Clause {
                text: node.span.of(text).to_owned(),
                truth: truth(evaluation, text, id),
                values: values(evaluation, node),
            }),
        }
    }
    clauses
}

pub(super) fn truth(evaluation: &Evaluation<'_>, text: &str, id: OperationId) -> Truth {
    match evaluation.condition(id) {
        Ok(true) => Truth::Yes,
        Ok(false) => Truth::No,
        Err(cause) => Truth::Unknown(doubt(evaluation, text, cause)),
    }
}

fn doubt(evaluation: &Evaluation<'_>, text: &str, cause: Cause) -> Doubt {
    match cause {
        Cause::Missing(id) => match evaluation.program.node(id).map(|node| &node.operation) {
            Some(Operation::Attribute { name, .. }) => Doubt::Missing(Arc::clone(name)),
            _ => Doubt::Unclear("the policy is incomplete".to_owned()),
        },
        Cause::Unclear(span, why) => Doubt::Unclear(sentence(why, &shortened(span.of(text)))),
    }
}

fn sentence(why: Why, written: &str) -> String {
    match why {
        Why::DivisionByZero => format!("division by zero in `{written}`"),
        Why::OutOfRange => format!("the result of `{written}` is out of range"),
        Why::NotNumbers => format!("`{written}` needs numbers"),
        Why::NotOrdered => format!("`{written}` needs two numbers or two texts"),
        Why::NotACondition => format!("`{written}` is neither true nor false"),
        Why::NotAText => format!("`{written}` is not a text"),
        Why::NotAVersion => format!("`{written}` is not a version such as 1.2.3"),
        Why::IsAList => format!("`{written}` compares a list; use contains(list, value)"),
        Why::NotANumber => {
            format!("`{written}` compares something that is infinite or not a number")
        }
    }
}

fn values(evaluation: &Evaluation<'_>, clause: &Node) -> Vec<(String, Option<Value>)> {
    let mut values: Vec<(String, Option<Value>)> = Vec::new();
    for (position, node) in evaluation.program.nodes.iter().enumerate() {
        let name = match &node.operation {
            Operation::Attribute { name, .. } => name.as_ref(),
            Operation::Variable(variable) => variable.name(),
            _ => continue,
        };
        if clause.span.contains(node.span) && !values.iter().any(|(known, _)| known == name) {
            values.push((name.to_owned(), evaluation.operand(OperationId(position)).ok().map(owned)));
        }
    }
    values
}

fn owned(operand: Operand<'_>) -> Value {
    match operand {
        Operand::Boolean(value) => Value::Bool(value),
        Operand::Integer(value) => Value::Integer(value),
        Operand::Number(value) => Value::Number(value),
        Operand::Text(value) => Value::Text(value.into_owned()),
        Operand::Version(value) => Value::Text(value.to_string()),
        Operand::List(values) => Value::List(values.to_vec()),
    }
}

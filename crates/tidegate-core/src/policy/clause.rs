//! Clauses: the parts of a policy with their results and the values that they used.

use std::fmt;
use std::sync::Arc;

use super::evaluate::{Cause, Evaluation};
use super::operand::{Operand, Why};
use super::program::{Node, Operation, OperationId};
use super::token::shortened;
use crate::attributes::Value;

/// Result of a policy, or of one clause, for a device. Only [`Truth::Yes`] admits the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// The condition is true.
    Yes,
    /// The condition is false.
    No,
    /// The result is unknown. Neither the condition nor its opposite admits the device.
    Unknown(Doubt),
}

/// Reason for an unknown result; the first one, if there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The device does not state this attribute.
    Missing(Arc<str>),
    /// A part could not be evaluated; the sentence names the part and the reason.
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

/// Smallest part of a policy that is true or false. `&&`, `||`, `!` and parentheses join clauses.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// Text of the clause in the policy.
    pub text: String,
    /// Result of the clause.
    pub truth: Truth,
    /// Each variable of the clause with its value, in the order of the text; `None` if the device does not state it.
    pub values: Vec<(String, Option<Value>)>,
}

/// All clauses in the order of the text, including those that an evaluation would skip.
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

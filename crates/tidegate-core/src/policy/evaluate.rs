//! Evaluation of a compiled policy for one device and one update.

use super::Candidate;
use super::glob;
use super::operand::{Operand, Why, apply, equal, holds, negate};
use super::program::{Affix, Call, Operation, OperationId, Program, Variable};
use super::slots::Facts;
use super::token::Span;
use crate::attributes::Value;

/// Reason for an unknown result. It is small, so that passing it needs no allocation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// The device does not state the attribute at this operation.
    Missing(OperationId),
    Unclear(Span, Why),
}

pub(super) struct Evaluation<'e> {
    pub(super) program: &'e Program,
    pub(super) facts: &'e Facts<'e>,
    pub(super) candidate: &'e Candidate<'e>,
}

impl<'e> Evaluation<'e> {
    /// Result in Kleene's three-valued logic: `Err` is "unknown".
    pub(super) fn condition(&self, id: OperationId) -> Result<bool, Cause> {
        let Some(node) = self.program.node(id) else {
            return Err(Cause::Missing(id));
        };
        match &node.operation {
            Operation::All(conditions) => self.until(false, conditions),
            Operation::Any(conditions) => self.until(true, conditions),
            Operation::Not(condition) => self.condition(*condition).map(|truth| !truth),
            operation => {
                self.value(id, operation, node.span)?.into_condition().map_err(|why| Cause::Unclear(node.span, why))
            }
        }
    }

    /// Stops at the first condition that is `decisive`. An unknown condition counts only if no condition is decisive.
    fn until(&self, decisive: bool, conditions: &[OperationId]) -> Result<bool, Cause> {
        let mut doubt = None;
        for condition in conditions {
            match self.condition(*condition) {
                Ok(truth) if truth == decisive => return Ok(decisive),
                Ok(_) => {}
                Err(cause) => doubt = doubt.or(Some(cause)),
            }
        }
        doubt.map_or(Ok(!decisive), Err)
    }

    pub(super) fn operand(&self, id: OperationId) -> Result<Operand<'e>, Cause> {
        let Some(node) = self.program.node(id) else {
            return Err(Cause::Missing(id));
        };
        self.value(id, &node.operation, node.span)
    }

    fn value(&self, id: OperationId, operation: &'e Operation, span: Span) -> Result<Operand<'e>, Cause> {
        match operation {
            Operation::Boolean(value) => Ok(Operand::Boolean(*value)),
            Operation::Integer(value) => Ok(Operand::Integer(*value)),
            Operation::Number(value) => Ok(Operand::Number(*value)),
            Operation::Text(value) => Ok(Operand::Text(value.as_ref().into())),
            Operation::Version(value) => Ok(Operand::Version(value)),
            Operation::Attribute { slot, .. } => self.facts.value(*slot).map(Operand::from).ok_or(Cause::Missing(id)),
            Operation::Variable(variable) => self.variable(*variable).ok_or(Cause::Unclear(span, Why::OutOfRange)),
            Operation::All(_) | Operation::Any(_) | Operation::Not(_) => self.condition(id).map(Operand::Boolean),
            Operation::Negate(inner) => negate(self.operand(*inner)?).map_err(|why| Cause::Unclear(span, why)),
            Operation::Chain { first, steps } => {
                let mut left = self.operand(*first)?;
                for step in steps {
                    let right = self.operand(step.right)?;
                    left = apply(step.operator, left, right).map_err(|why| Cause::Unclear(step.span, why))?;
                }
                Ok(left)
            }
            Operation::Lower(text) => Ok(Operand::Text(self.text(*text)?.to_lowercase().into())),
            Operation::Call(call) => self.call(call).map(Operand::Boolean),
        }
    }

    fn variable(&self, variable: Variable) -> Option<Operand<'e>> {
        let version = self.facts.version;
        let whole = |part: u64| i64::try_from(part).ok().map(Operand::Integer);
        match variable {
            Variable::Version => Some(Operand::Version(version)),
            Variable::NewVersion => Some(Operand::Version(self.candidate.new_version)),
            Variable::Major => whole(version.major),
            Variable::Minor => whole(version.minor),
            Variable::Patch => whole(version.patch),
            Variable::Cohort => Some(Operand::Integer(i64::from((self.candidate.cohort)()))),
            Variable::Assigned => {
                let orders = self.facts.orders?;
                Some(Operand::Boolean(orders.is_assigned(self.candidate.new_version)))
            }
        }
    }

    fn call(&self, call: &Call) -> Result<bool, Cause> {
        match call {
            Call::Semver { left, relation, right } => {
                let (left, right) = (self.version(*left)?, self.version(*right)?);
                Ok(holds(*relation, left.cmp_precedence(&right)))
            }
            Call::SemverMatches { version, requirement } => Ok(requirement.matches(&*self.version(*version)?)),
            Call::Affix { affix, text, part } => {
                let (text, part) = (self.text(*text)?, self.text(*part)?);
                Ok(match affix {
                    Affix::Start => text.starts_with(&*part),
                    Affix::End => text.ends_with(&*part),
                })
            }
            Call::Contains { whole, part } => self.contains(*whole, *part),
            Call::Matches { text, glob } => Ok(glob::matches(&self.text(*text)?, glob)),
            Call::Exists(attribute) => Ok(!matches!(self.operand(*attribute), Err(Cause::Missing(_)))),
            Call::In { wanted, among } => self.is_among(*wanted, among),
        }
    }

    fn contains(&self, whole: OperationId, part: OperationId) -> Result<bool, Cause> {
        match self.operand(whole)? {
            Operand::List(values) => self.is_in_list(&self.operand(part)?, values, part),
            text => {
                let text = text.into_text().map_err(|why| self.unclear(whole, why))?;
                Ok(text.contains(&*self.text(part)?))
            }
        }
    }

    fn is_among(&self, wanted: OperationId, among: &[OperationId]) -> Result<bool, Cause> {
        let value = self.operand(wanted)?;
        let mut doubt = None;
        for id in among {
            let found = match self.operand(*id) {
                Ok(Operand::List(values)) => self.is_in_list(&value, values, wanted),
                Ok(other) => equal(&value, &other).map_err(|why| self.unclear(*id, why)),
                Err(cause) => Err(cause),
            };
            match found {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(cause) => doubt = doubt.or(Some(cause)),
            }
        }
        doubt.map_or(Ok(false), Err)
    }

    fn is_in_list(&self, wanted: &Operand<'_>, values: &[Value], at: OperationId) -> Result<bool, Cause> {
        let mut doubt = None;
        for value in values {
            match equal(wanted, &Operand::from(value)) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(why) => doubt = doubt.or(Some(self.unclear(at, why))),
            }
        }
        doubt.map_or(Ok(false), Err)
    }

    fn text(&self, id: OperationId) -> Result<std::borrow::Cow<'e, str>, Cause> {
        self.operand(id)?.into_text().map_err(|why| self.unclear(id, why))
    }

    fn version(&self, id: OperationId) -> Result<std::borrow::Cow<'e, semver::Version>, Cause> {
        self.operand(id)?.into_version().map_err(|why| self.unclear(id, why))
    }

    fn unclear(&self, id: OperationId, why: Why) -> Cause {
        match self.program.node(id) {
            Some(node) => Cause::Unclear(node.span, why),
            None => Cause::Missing(id),
        }
    }
}

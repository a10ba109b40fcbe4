//! Program: the compiled form of a policy, a flat list of operations that refer to each other by number.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::token::Span;

/// Number of an operation in its [`Program`]. An operation refers only to earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationId(pub(super) usize);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    pub(super) root: OperationId,
}

impl Program {
    pub(super) fn node(&self, id: OperationId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// `true` if every operation refers only to earlier ones, so that the evaluation ends.
    pub(super) fn is_sound(&self) -> bool {
        let earlier = |(position, node): (usize, &Node)| node.operation.operands().iter().all(|id| id.0 < position);
        self.root.0 < self.nodes.len() && self.nodes.iter().enumerate().all(earlier)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) operation: Operation,
    /// Position in the text, for reasons and receipts.
    pub(super) span: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Operation {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(Box<str>),
    /// A text literal in a call of `semver`, parsed once.
    Version(Box<semver::Version>),
    Attribute {
        slot: usize,
        name: Arc<str>,
    },
    Variable(Variable),
    /// `a && b && c`. It is flat, so that a long list needs no deep recursion.
    All(Vec<OperationId>),
    /// `a || b || c`.
    Any(Vec<OperationId>),
    Not(OperationId),
    Negate(OperationId),
    /// `a + b - c < d`: operators applied from left to right.
    Chain {
        first: OperationId,
        steps: Vec<Step>,
    },
    Call(Call),
    Lower(OperationId),
}

impl Operation {
    /// Operations that this one refers to.
    fn operands(&self) -> Vec<OperationId> {
        match self {
            Self::Boolean(_)
            | Self::Integer(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Version(_)
            | Self::Attribute { .. }
            | Self::Variable(_) => Vec::new(),
            Self::All(conditions) | Self::Any(conditions) => conditions.clone(),
            Self::Not(inner) | Self::Negate(inner) | Self::Lower(inner) => vec![*inner],
            Self::Chain { first, steps } => [*first].into_iter().chain(steps.iter().map(|step| step.right)).collect(),
            Self::Call(Call::Semver { left, right, .. }) => vec![*left, *right],
            Self::Call(
                Call::SemverMatches { version: one, .. } | Call::Matches { text: one, .. } | Call::Exists(one),
            ) => {
                vec![*one]
            }
            Self::Call(Call::Affix { text, part, .. }) => vec![*text, *part],
            Self::Call(Call::Contains { whole, part }) => vec![*whole, *part],
            Self::Call(Call::In { wanted, among }) => [*wanted].into_iter().chain(among.iter().copied()).collect(),
        }
    }
}

/// Call of a function that returns true or false.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Call {
    Semver { left: OperationId, relation: Relation, right: OperationId },
    SemverMatches { version: OperationId, requirement: Box<semver::VersionReq> },
    Affix { affix: Affix, text: OperationId, part: OperationId },
    Contains { whole: OperationId, part: OperationId },
    Matches { text: OperationId, glob: Box<str> },
    Exists(OperationId),
    In { wanted: OperationId, among: Vec<OperationId> },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) operator: Operator,
    pub(super) right: OperationId,
    /// Text from the start of the chain to the end of `right`.
    pub(super) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Operator {
    Arithmetic(Arithmetic),
    Relation(Relation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Relation {
    pub(super) const ALL: [Relation; 6] = [
        Relation::Less,
        Relation::LessOrEqual,
        Relation::Greater,
        Relation::GreaterOrEqual,
        Relation::Equal,
        Relation::NotEqual,
    ];

    /// Relation that two numbers have if they do not have this one.
    pub(super) fn opposite(self) -> Self {
        match self {
            Relation::Less => Relation::GreaterOrEqual,
            Relation::LessOrEqual => Relation::Greater,
            Relation::Greater => Relation::LessOrEqual,
            Relation::GreaterOrEqual => Relation::Less,
            Relation::Equal => Relation::NotEqual,
            Relation::NotEqual => Relation::Equal,
        }
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Relation::Less => "<",
            Relation::LessOrEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterOrEqual => ">=",
            Relation::Equal => "==",
            Relation::NotEqual => "!=",
        }
    }
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Remainder => "%",
            Arithmetic::Power => "^",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Operator::Arithmetic(arithmetic) => arithmetic.sign(),
            Operator::Relation(relation) => relation.sign(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Affix {
    Start,
    End,
}

/// Built-in variable. No attribute can hide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Variable {
    Version,
    NewVersion,
    Major,
    Minor,
    Patch,
    Cohort,
    Assigned,
}

impl Variable {
    pub(super) const ALL: [Variable; 7] = [
        Variable::Version,
        Variable::NewVersion,
        Variable::Major,
        Variable::Minor,
        Variable::Patch,
        Variable::Cohort,
        Variable::Assigned,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Variable::Version => "version",
            Variable::NewVersion => "newVersion",
            Variable::Major => "major",
            Variable::Minor => "minor",
            Variable::Patch => "patch",
            Variable::Cohort => "cohort",
            Variable::Assigned => "assigned",
        }
    }
}

//! Compiler: turns evalexpr's operator tree into a [`Program`], and refuses operations that can never succeed.

use std::sync::Arc;

use evalexpr::{Node as Tree, Operator as Sign};

use super::error::PolicyError;
use super::program::{Arithmetic, Node, Operation, OperationId, Operator, Program, Relation, Step, Variable};
use super::slots::Slots;
use super::token::{Span, Token, TokenKind, shortened};

/// Compiles a text whose tokens were checked.
pub(super) fn compile(text: &str, tokens: &[Token], slots: &mut Slots) -> Result<Program, PolicyError> {
    let tree = evalexpr::build_operator_tree(text)
        .map_err(|error| PolicyError { position: 1, message: format!("evalexpr cannot read this policy: {error}") })?;
    let mut compiler = Compiler { text, tokens, next: 0, nodes: Vec::new(), slots };
    let root = compiler.lower(&tree)?;
    compiler.expect_condition(root, "")?;
    Ok(Program { root: root.id, nodes: compiler.nodes })
}

pub(super) struct Compiler<'t> {
    pub(super) text: &'t str,
    tokens: &'t [Token],
    /// Index of the next token. An in-order walk of evalexpr's tree meets all tokens except parentheses and commas, in
    /// the order of the text.
    next: usize,
    nodes: Vec<Node>,
    slots: &'t mut Slots,
}

/// Lowered expression: its number, the kind of its value, and its position in the text.
#[derive(Clone, Copy)]
pub(super) struct Lowered {
    pub(super) id: OperationId,
    pub(super) kind: Kind,
    pub(super) extent: Extent,
}

/// First and last significant token of an expression.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    first: usize,
    last: usize,
}

/// Kind of a value, as far as the parser knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An attribute. A device can state any value.
    Anything,
    Boolean,
    Number,
    /// `version` or `newVersion`.
    Version,
    /// A text literal such as `"eu"`.
    Word,
    /// A text literal such as `"512"`.
    NumericWord,
    /// A computed text.
    Text,
    /// `a + b`: a number or a text.
    Sum,
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Kind::Anything => "the value",
            Kind::Boolean => "the condition",
            Kind::Number => "the number",
            Kind::Version => "the version",
            Kind::Word | Kind::NumericWord | Kind::Text => "the text",
            Kind::Sum => "the sum",
        }
    }
}

impl Compiler<'_> {
    // The recursion is at most as deep as the nesting limit. Long chains at one level are loops.
    pub(super) fn lower(&mut self, tree: &Tree) -> Result<Lowered, PolicyError> {
        match tree.operator() {
            Sign::RootNode => match tree.children() {
                [inner] => self.lower(inner),
                _ => Err(self.mismatch()),
            },
            Sign::And | Sign::Or => self.lower_conditions(tree),
            Sign::Not => self.lower_not(tree),
            Sign::Neg => self.lower_negation(tree),
            Sign::Const { value } => self.lower_literal(value),
            Sign::VariableIdentifierRead { identifier } => self.lower_name(identifier),
            Sign::FunctionIdentifier { identifier } => self.lower_call(identifier, tree.children()),
            Sign::Tuple => Err(self.refuse_next("a list can only be given to in(…) or contains(…)")),
            sign if operator_of(sign).is_some() => self.lower_chain(tree),
            _ => Err(self.mismatch()),
        }
    }

    fn lower_conditions(&mut self, tree: &Tree) -> Result<Lowered, PolicyError> {
        let (sign, mut leftmost, mut rights) = (tree.operator(), tree, Vec::new());
        while leftmost.operator() == sign {
            let [left, right] = leftmost.children() else {
                return Err(self.mismatch());
            };
            rights.push(right);
            leftmost = left;
        }
        let shown = if *sign == Sign::And { "&&" } else { "||" };
        let first = self.lower(leftmost)?;
        self.expect_condition(first, &format!(" before \"{shown}\""))?;
        let mut ids = vec![first.id];
        let mut extent = first.extent;
        for right in rights.into_iter().rev() {
            self.advance();
            let right = self.lower(right)?;
            self.expect_condition(right, &format!(" after \"{shown}\""))?;
            ids.push(right.id);
            extent.last = right.extent.last;
        }
        let operation = if *sign == Sign::And { Operation::All(ids) } else { Operation::Any(ids) };
        Ok(self.push(operation, Kind::Boolean, extent))
    }

    fn lower_not(&mut self, tree: &Tree) -> Result<Lowered, PolicyError> {
        let [inner] = tree.children() else {
            return Err(self.mismatch());
        };
        let first = self.advance();
        let inner = self.lower(inner)?;
        self.expect_condition(inner, " after \"!\"")?;
        let extent = Extent { first, last: inner.extent.last };
        Ok(self.push(Operation::Not(inner.id), Kind::Boolean, extent))
    }

    fn lower_negation(&mut self, tree: &Tree) -> Result<Lowered, PolicyError> {
        let [inner] = tree.children() else {
            return Err(self.mismatch());
        };
        let first = self.advance();
        let inner = self.lower(inner)?;
        if !matches!(inner.kind, Kind::Anything | Kind::Number | Kind::Sum) {
            return Err(self.unexpected("a number after \"-\"", inner));
        }
        let operation = match self.operation(inner.id) {
            Some(Operation::Integer(value)) => Operation::Integer(value.saturating_neg()),
            Some(Operation::Number(value)) => Operation::Number(-value),
            _ => Operation::Negate(inner.id),
        };
        Ok(self.push(operation, Kind::Number, Extent { first, last: inner.extent.last }))
    }

    fn lower_literal(&mut self, value: &evalexpr::Value) -> Result<Lowered, PolicyError> {
        let (operation, kind) = match value {
            evalexpr::Value::Boolean(value) => (Operation::Boolean(*value), Kind::Boolean),
            evalexpr::Value::Int(value) => (Operation::Integer(*value), Kind::Number),
            evalexpr::Value::Float(value) => (Operation::Number(*value), Kind::Number),
            evalexpr::Value::String(value) => {
                let kind = if super::operand::decimal(value).is_some() { Kind::NumericWord } else { Kind::Word };
                (Operation::Text(value.as_str().into()), kind)
            }
            _ => return Err(self.mismatch()),
        };
        Ok(self.push_leaf(operation, kind))
    }

    fn lower_name(&mut self, written: &str) -> Result<Lowered, PolicyError> {
        let name = written.strip_prefix("device.").unwrap_or(written);
        if let Some(variable) = Variable::ALL.into_iter().find(|variable| variable.name() == name) {
            let kind = match variable {
                Variable::Version | Variable::NewVersion => Kind::Version,
                Variable::Major | Variable::Minor | Variable::Patch | Variable::Cohort => Kind::Number,
                Variable::Assigned => Kind::Boolean,
            };
            return Ok(self.push_leaf(Operation::Variable(variable), kind));
        }
        let slot = self.slots.slot(name);
        Ok(self.push_leaf(Operation::Attribute { slot, name: Arc::from(name) }, Kind::Anything))
    }

    fn lower_chain(&mut self, tree: &Tree) -> Result<Lowered, PolicyError> {
        let (mut leftmost, mut links) = (tree, Vec::new());
        while let Some(operator) = operator_of(leftmost.operator()) {
            let [left, right] = leftmost.children() else {
                return Err(self.mismatch());
            };
            links.push((operator, right));
            leftmost = left;
        }
        let first = self.lower(leftmost)?;
        let mut left = first;
        let mut steps = Vec::with_capacity(links.len());
        for (operator, right) in links.into_iter().rev() {
            self.advance();
            let right = self.lower(right)?;
            let kind = self.check_step(left, operator, right)?;
            left =
                Lowered { id: first.id, kind, extent: Extent { first: first.extent.first, last: right.extent.last } };
            steps.push(Step { operator, right: right.id, span: self.span(left.extent) });
        }
        Ok(self.push(Operation::Chain { first: first.id, steps }, left.kind, left.extent))
    }

    fn check_step(&self, left: Lowered, operator: Operator, right: Lowered) -> Result<Kind, PolicyError> {
        match operator {
            Operator::Relation(Relation::Equal | Relation::NotEqual) => Ok(Kind::Boolean),
            Operator::Relation(relation) => self.check_order(left, relation, right),
            Operator::Arithmetic(arithmetic) => self.check_arithmetic(left, arithmetic, right),
        }
    }

    fn check_order(&self, left: Lowered, relation: Relation, right: Lowered) -> Result<Kind, PolicyError> {
        let sign = relation.sign();
        for (side, other, place) in [(left, right, "before"), (right, left, "after")] {
            match side.kind {
                Kind::Version => {
                    let message = format!(
                        "compare versions with semver(version, \"{sign}\", newVersion): as texts \"1.10.0\" comes before \"1.9.0\""
                    );
                    return Err(self.refuse(side, message));
                }
                Kind::Boolean => {
                    return Err(self.unexpected(&format!("a number or a text {place} \"{sign}\""), side));
                }
                Kind::Word if other.kind == Kind::Number => {
                    return Err(self.unexpected(&format!("a number {place} \"{sign}\""), side));
                }
                _ => {}
            }
        }
        Ok(Kind::Boolean)
    }

    fn check_arithmetic(&self, left: Lowered, arithmetic: Arithmetic, right: Lowered) -> Result<Kind, PolicyError> {
        let sign = arithmetic.sign();
        let adding = arithmetic == Arithmetic::Add;
        for (side, other, place) in [(left, right, "before"), (right, left, "after")] {
            let wanted = match side.kind {
                Kind::Boolean if adding => "a number or a text",
                Kind::Boolean => "a number",
                Kind::Word | Kind::Version if !adding || other.kind == Kind::Number => "a number",
                _ => continue,
            };
            return Err(self.unexpected(&format!("{wanted} {place} \"{sign}\""), side));
        }
        let is_text = |kind| matches!(kind, Kind::Word | Kind::NumericWord | Kind::Text | Kind::Version);
        Ok(match (left.kind, right.kind) {
            _ if !adding => Kind::Number,
            (Kind::Number, _) | (_, Kind::Number) => Kind::Number,
            (left, right) if is_text(left) && is_text(right) => Kind::Text,
            _ => Kind::Sum,
        })
    }

    fn expect_condition(&self, found: Lowered, place: &str) -> Result<(), PolicyError> {
        if matches!(found.kind, Kind::Anything | Kind::Boolean) {
            return Ok(());
        }
        let mut error = self.unexpected(&format!("a condition{place}"), found);
        if let Some(name) = self.dashed_name(found) {
            error.message.push_str(&format!("; an attribute with dashes in its name is written {name}"));
        }
        Err(error)
    }

    /// Correct spelling of a name such as `try-beta-features`, which is a subtraction here but rarely meant as one.
    fn dashed_name(&self, found: Lowered) -> Option<String> {
        let written = self.span(found.extent).of(self.text);
        let is_name = |part: &str| part.chars().all(|character| character.is_alphanumeric() || character == '_');
        (written.contains('-') && written.split('-').all(is_name)).then(|| written.replace('-', "_"))
    }

    pub(super) fn unexpected(&self, wanted: &str, found: Lowered) -> PolicyError {
        let written = shortened(self.span(found.extent).of(self.text));
        self.refuse(found, format!("expected {wanted}, found {} {written}", found.kind.noun()))
    }

    pub(super) fn refuse(&self, at: Lowered, message: impl Into<String>) -> PolicyError {
        PolicyError::at(self.text, self.span(at.extent), message)
    }

    pub(super) fn refuse_next(&self, message: impl Into<String>) -> PolicyError {
        PolicyError::at(self.text, self.span(self.extent_of_next()), message)
    }

    /// Error for a difference between our tokens and evalexpr's tree. A refusal is always safe.
    pub(super) fn mismatch(&self) -> PolicyError {
        self.refuse_next("this cannot be understood here")
    }

    pub(super) fn operation(&self, id: OperationId) -> Option<&Operation> {
        self.nodes.get(id.0).map(|node| &node.operation)
    }

    pub(super) fn replace(&mut self, id: OperationId, operation: Operation) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            node.operation = operation;
        }
    }

    pub(super) fn push(&mut self, operation: Operation, kind: Kind, extent: Extent) -> Lowered {
        let id = OperationId(self.nodes.len());
        self.nodes.push(Node { operation, span: self.span(extent) });
        Lowered { id, kind, extent }
    }

    fn push_leaf(&mut self, operation: Operation, kind: Kind) -> Lowered {
        let token = self.advance();
        self.push(operation, kind, Extent { first: token, last: token })
    }

    /// Extent from a passed token to the last passed one.
    pub(super) fn extent_since(&self, first: usize) -> Extent {
        Extent { first, last: self.next.saturating_sub(1) }
    }

    fn extent_of_next(&self) -> Extent {
        let next = self.skip_insignificant();
        Extent { first: next, last: next }
    }

    fn skip_insignificant(&self) -> usize {
        let rest = self.tokens.get(self.next..).unwrap_or_default();
        self.next.saturating_add(rest.iter().take_while(|token| !token.kind.is_significant()).count())
    }

    /// Passes the next significant token and returns its index.
    pub(super) fn advance(&mut self) -> usize {
        let token = self.skip_insignificant();
        self.next = token.saturating_add(1);
        token
    }

    /// Position of an expression in the text, with the parentheses that its first and last token leave open.
    pub(super) fn span(&self, extent: Extent) -> Span {
        let (mut opened, mut unopened) = (0_usize, 0_usize);
        for token in self.tokens.get(extent.first..=extent.last).unwrap_or_default() {
            match token.kind {
                TokenKind::Open => opened = opened.saturating_add(1),
                TokenKind::Close if opened == 0 => unopened = unopened.saturating_add(1),
                TokenKind::Close => opened = opened.saturating_sub(1),
                _ => {}
            }
        }
        let start = self.tokens.get(extent.first.saturating_sub(unopened));
        let end = self.tokens.get(extent.last.saturating_add(opened));
        Span {
            start: start.map_or(self.text.len(), |token| token.span.start),
            end: end.map_or(self.text.len(), |token| token.span.end),
        }
    }
}

fn operator_of(sign: &Sign) -> Option<Operator> {
    Some(match sign {
        Sign::Add => Operator::Arithmetic(Arithmetic::Add),
        Sign::Sub => Operator::Arithmetic(Arithmetic::Subtract),
        Sign::Mul => Operator::Arithmetic(Arithmetic::Multiply),
        Sign::Div => Operator::Arithmetic(Arithmetic::Divide),
        Sign::Mod => Operator::Arithmetic(Arithmetic::Remainder),
        Sign::Exp => Operator::Arithmetic(Arithmetic::Power),
        Sign::Eq => Operator::Relation(Relation::Equal),
        Sign::Neq => Operator::Relation(Relation::NotEqual),
        Sign::Lt => Operator::Relation(Relation::Less),
        Sign::Leq => Operator::Relation(Relation::LessOrEqual),
        Sign::Gt => Operator::Relation(Relation::Greater),
        Sign::Geq => Operator::Relation(Relation::GreaterOrEqual),
        _ => return None,
    })
}

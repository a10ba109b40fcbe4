//! Whether the policies of a catalog hold, without a reason: their comparisons as one flat list, each with the number
//! of the comparison that follows it when it comes out as wanted, and when not.
//!
//! "Unknown" needs no third way. Negations are pushed down to the comparisons, so each is asked either whether it is
//! certainly true or whether it is certainly false, and what is unknown is neither.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Policy;
use super::operand::{Numeric, Orders, boolean, compare, decimal};
use super::program::{Call, Operation, OperationId, Operator, Program, Relation, Step};
use super::slots::{Fact, Facts};
use crate::attributes::Value;

/// The comparisons of a catalog's policies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Screen {
    /// Where each policy begins, by its update's position.
    begins: Vec<Next>,
    tests: Vec<Test>,
    texts: Vec<Box<str>>,
}

/// What follows: a test with a lower number than the one it follows, so that a walk ends, or one of two ends.
type Next = u32;
const ADMIT: Next = Next::MAX;
const REFUSE: Next = Next::MAX - 1;

/// Asks whether a comparison is certainly as it should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Test {
    asked: Asked,
    pass: Next,
    fail: Next,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Asked {
    /// An attribute against a whole number.
    Integer { slot: u16, orders: Orders, than: i64 },
    /// An attribute against another number.
    Number { slot: u16, orders: Orders, than: f64 },
    /// Whether an attribute is, or is not, a text that is neither a number nor `true` or `false`.
    Text { slot: u16, is: bool, text: u32 },
    /// Anything else: whether the program itself says so.
    Program { part: OperationId, says: bool },
}

impl Screen {
    /// The policies in the order of their updates.
    pub(crate) fn new<'p>(policies: impl Iterator<Item = &'p Policy>) -> Self {
        let mut screen = Self::default();
        let mut numbers = HashMap::new();
        for policy in policies {
            let begin = match &policy.program {
                None => ADMIT,
                Some(program) => {
                    let mut lowering = Lowering { program, screen: &mut screen, numbers: &mut numbers };
                    lowering.condition(program.root, true, ADMIT, REFUSE)
                }
            };
            screen.begins.push(begin);
        }
        screen
    }

    /// Whether the policy of the update at `position` admits a device; `ask` answers for parts of the program, `None`
    /// for "unknown".
    pub(crate) fn admits(&self, position: usize, facts: &Facts<'_>, ask: impl Fn(OperationId) -> Option<bool>) -> bool {
        let mut number = self.begins.get(position).copied().unwrap_or(REFUSE);
        let mut end = REFUSE;
        while number < end {
            let Some(test) = self.tests.get(number as usize) else {
                return false;
            };
            let passes = match test.asked {
                Asked::Integer { slot, orders, than } => match facts.fact(slot) {
                    Some(Fact { number: Some(Numeric::Integer(said)), .. }) => orders.hold(said.cmp(&than)),
                    fact => ordered(fact, orders, Numeric::Integer(than)),
                },
                Asked::Number { slot, orders, than } => ordered(facts.fact(slot), orders, Numeric::Number(than)),
                Asked::Text { slot, is, text } => self.is_text(facts.fact(slot), text) == Some(is),
                Asked::Program { part, says } => ask(part) == Some(says),
            };
            end = number;
            number = if passes { test.pass } else { test.fail };
        }
        number == ADMIT
    }

    /// `attribute == "text"`, as [`equal`](super::operand::equal) says it.
    fn is_text(&self, fact: Option<&Fact<'_>>, text: u32) -> Option<bool> {
        match fact?.value {
            Value::Text(said) => Some(self.texts.get(text as usize)?.as_ref() == said),
            Value::Bool(_) | Value::Integer(_) => Some(false),
            Value::Number(number) => number.is_finite().then_some(false),
            Value::List(_) => None,
        }
    }
}

/// Whether `attribute < number`, or a sibling, certainly holds, as [`apply`](super::operand::apply) says it.
fn ordered(fact: Option<&Fact<'_>>, orders: Orders, than: Numeric) -> bool {
    match fact {
        Some(Fact { number: Some(number), .. }) => compare(*number, than).is_some_and(|order| orders.hold(order)),
        Some(Fact { value: Value::Bool(_) | Value::Text(_), .. }) => orders == Orders::of(Relation::NotEqual),
        _ => false,
    }
}

struct Lowering<'l> {
    program: &'l Program,
    screen: &'l mut Screen,
    numbers: &'l mut HashMap<Box<str>, u32>,
}

impl Lowering<'_> {
    /// Lowers a condition that should be `wanted`; answers where it begins. What follows is there already.
    fn condition(&mut self, id: OperationId, wanted: bool, pass: Next, fail: Next) -> Next {
        match self.program.node(id).map(|node| &node.operation) {
            Some(Operation::Boolean(value)) => {
                if *value == wanted {
                    pass
                } else {
                    fail
                }
            }
            Some(Operation::Not(inner)) => self.condition(*inner, !wanted, pass, fail),
            // "Not all" is "one is false".
            Some(Operation::All(conditions)) if wanted => self.all(conditions, wanted, pass, fail),
            Some(Operation::Any(conditions)) if !wanted => self.all(conditions, wanted, pass, fail),
            Some(Operation::All(conditions) | Operation::Any(conditions)) => {
                conditions.iter().rev().fold(fail, |next, condition| self.condition(*condition, wanted, pass, next))
            }
            Some(Operation::Call(Call::In { wanted: attribute, among })) if wanted => {
                match among.iter().map(|literal| self.equality(*attribute, *literal, true)).collect::<Option<Vec<_>>>()
                {
                    Some(equalities) => {
                        equalities.into_iter().rev().fold(fail, |next, asked| self.test(asked, pass, next))
                    }
                    None => self.program(id, wanted, pass, fail),
                }
            }
            Some(Operation::Chain { first, steps }) => match self.one_step(*first, steps, wanted) {
                Some(asked) => self.test(asked, pass, fail),
                None => self.program(id, wanted, pass, fail),
            },
            _ => self.program(id, wanted, pass, fail),
        }
    }

    /// An attribute that is compared with a literal.
    fn one_step(&mut self, first: OperationId, steps: &[Step], wanted: bool) -> Option<Asked> {
        match steps {
            [Step { operator: Operator::Relation(Relation::Equal), right, .. }] => self.equality(first, *right, wanted),
            [Step { operator: Operator::Relation(relation), right, .. }] => {
                self.comparison(first, if wanted { *relation } else { relation.opposite() }, *right)
            }
            _ => None,
        }
    }

    fn all(&mut self, conditions: &[OperationId], wanted: bool, pass: Next, fail: Next) -> Next {
        conditions.iter().rev().fold(pass, |next, condition| self.condition(*condition, wanted, next, fail))
    }

    fn equality(&mut self, attribute: OperationId, literal: OperationId, is: bool) -> Option<Asked> {
        match &self.program.node(literal)?.operation {
            Operation::Text(text) if decimal(text).is_none() && boolean(text).is_none() => {
                Some(Asked::Text { slot: self.slot(attribute)?, is, text: self.text(text)? })
            }
            _ => self.comparison(attribute, if is { Relation::Equal } else { Relation::NotEqual }, literal),
        }
    }

    fn comparison(&self, attribute: OperationId, relation: Relation, literal: OperationId) -> Option<Asked> {
        let (slot, orders) = (self.slot(attribute)?, Orders::of(relation));
        match self.program.node(literal)?.operation {
            Operation::Integer(than) => Some(Asked::Integer { slot, orders, than }),
            Operation::Number(than) if than.is_finite() => Some(Asked::Number { slot, orders, than }),
            _ => None,
        }
    }

    fn slot(&self, attribute: OperationId) -> Option<u16> {
        match self.program.node(attribute)?.operation {
            Operation::Attribute { slot, .. } => u16::try_from(slot).ok(),
            _ => None,
        }
    }

    /// The number of a text; each is kept once.
    fn text(&mut self, text: &str) -> Option<u32> {
        let next = u32::try_from(self.screen.texts.len()).ok()?;
        let number = *self.numbers.entry(text.into()).or_insert(next);
        if number == next {
            self.screen.texts.push(text.into());
        }
        Some(number)
    }

    fn program(&mut self, part: OperationId, says: bool, pass: Next, fail: Next) -> Next {
        self.test(Asked::Program { part, says }, pass, fail)
    }

    fn test(&mut self, asked: Asked, pass: Next, fail: Next) -> Next {
        // A catalog holds far fewer; what is beyond is refused, not admitted.
        let number = u32::try_from(self.screen.tests.len()).unwrap_or(REFUSE).min(REFUSE);
        self.screen.tests.push(Test { asked, pass, fail });
        number
    }
}

//! Screen: a fast form of a catalog's policies that returns only yes or no, without a reason. It is one flat list of
//! tests. Each test names the next test after it passes, and the next test after it fails.
//!
//! "Unknown" needs no third branch. Negations are pushed down to the comparisons. So each test asks either whether a
//! comparison is certainly true or whether it is certainly false, and an unknown comparison passes neither.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Policy;
use super::operand::{Numeric, Orders, boolean, compare, decimal};
use super::program::{Call, Operation, OperationId, Operator, Program, Relation, Step};
use super::slots::{Fact, Facts};
use crate::attributes::Value;

/// Tests of a catalog's policies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Screen {
    /// First test of each policy, by the position of its update.
    begins: Vec<Next>,
    tests: Vec<Test>,
    texts: Vec<Box<str>>,
}

/// Next step of a walk: a test with a lower number, so that the walk ends, or one of the two results.
type Next = u32;
const ADMIT: Next = Next::MAX;
const REFUSE: Next = Next::MAX - 1;

/// Question with the next steps for both answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Test {
    asked: Asked,
    pass: Next,
    fail: Next,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Asked {
    /// Comparison of an attribute with an integer.
    Integer { slot: u16, orders: Orders, than: i64 },
    /// Comparison of an attribute with a float.
    Number { slot: u16, orders: Orders, than: f64 },
    /// Equality of an attribute with a text that is neither a number nor `true` or `false`.
    Text { slot: u16, is: bool, text: u32 },
    /// Any other condition: the result of a part of the program.
    Program { part: OperationId, says: bool },
}

impl Screen {
    /// The screen of these policies, in the order of their updates.
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

    /// `true` if the policy of the update at `position` admits a device. `ask` returns the result of a part of the
    /// program; `None` means "unknown".
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

    /// Result of `attribute == "text"`, the same as that of [`equal`](super::operand::equal).
    fn is_text(&self, fact: Option<&Fact<'_>>, text: u32) -> Option<bool> {
        match fact?.value {
            Value::Text(said) => Some(self.texts.get(text as usize)?.as_ref() == said),
            Value::Bool(_) | Value::Integer(_) => Some(false),
            Value::Number(number) => number.is_finite().then_some(false),
            Value::List(_) => None,
        }
    }
}

/// `true` if an order such as `attribute < number` certainly holds. The result is the same as that of
/// [`apply`](super::operand::apply).
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
    /// Lowers a condition that must be `wanted`, and returns its first test. The tests after it exist already.
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

    /// Test of an attribute that is compared with a literal.
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

    /// Number of a text. Each text is stored once.
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
        // A catalog has far fewer tests. A test beyond the last number refuses the device.
        let number = u32::try_from(self.screen.tests.len()).unwrap_or(REFUSE).min(REFUSE);
        self.screen.tests.push(Test { asked, pass, fail });
        number
    }
}

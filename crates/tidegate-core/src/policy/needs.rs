//! Needs: attribute values that a device must have for a policy to admit it. `region == "eu" && memory >= 256` needs
//! a `region` that equals "eu".
//!
//! The needs are a necessary, not sufficient, condition: the policy never admits a device that does not meet them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::operand::{Numeric, boolean, decimal};
use super::program::{Call, Operation, OperationId, Operator, Program, Relation, Step};
use crate::attributes::Value;

/// For the slot of an attribute, the keys of which the value must have one.
pub(crate) type Needs = BTreeMap<usize, BTreeSet<Key<'static>>>;

/// Key of a value in the index. Values that are equal in a policy have the same key. Values with the same key may differ;
/// the program decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Key<'v> {
    Boolean(bool),
    /// The bits of the nearest float.
    Number(u64),
    Text(Cow<'v, str>),
}

impl<'v> Key<'v> {
    /// Key of a device's value; `None` for a value that equals nothing.
    pub(crate) fn of(value: &'v Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Key::Boolean(*value)),
            Value::Integer(value) => Some(Self::of_number(Numeric::Integer(*value))),
            Value::Number(value) => value.is_finite().then(|| Self::of_number(Numeric::Number(*value))),
            Value::Text(text) => Some(Self::of_text(text)),
            Value::List(_) => None,
        }
    }

    fn of_text(text: &'v str) -> Self {
        let number = || decimal(text).map(Self::of_number);
        boolean(text).map(Key::Boolean).or_else(number).unwrap_or(Key::Text(Cow::Borrowed(text)))
    }

    fn of_number(number: Numeric) -> Self {
        // Adding zero turns -0.0 into 0.0.
        Key::Number((number.as_float() + 0.0).to_bits())
    }
}

impl Program {
    pub(super) fn needs(&self) -> Needs {
        self.needs_of(self.root)
    }

    fn needs_of(&self, id: OperationId) -> Needs {
        match self.node(id).map(|node| &node.operation) {
            Some(Operation::All(conditions)) => {
                conditions.iter().map(|condition| self.needs_of(*condition)).reduce(both).unwrap_or_default()
            }
            Some(Operation::Any(conditions)) => {
                conditions.iter().map(|condition| self.needs_of(*condition)).reduce(either).unwrap_or_default()
            }
            Some(Operation::Attribute { slot, .. }) => Needs::from([(*slot, BTreeSet::from([Key::Boolean(true)]))]),
            Some(Operation::Chain { first, steps }) => match steps.as_slice() {
                [Step { operator: Operator::Relation(Relation::Equal), right, .. }] => {
                    self.is_one_of(*first, &[*right]).or_else(|| self.is_one_of(*right, &[*first])).unwrap_or_default()
                }
                _ => Needs::new(),
            },
            Some(Operation::Call(Call::In { wanted, among })) => self.is_one_of(*wanted, among).unwrap_or_default(),
            _ => Needs::new(),
        }
    }

    /// The need of an attribute that is compared with literals; `None` for any other comparison.
    fn is_one_of(&self, attribute: OperationId, literals: &[OperationId]) -> Option<Needs> {
        let Operation::Attribute { slot, .. } = self.node(attribute)?.operation else {
            return None;
        };
        let keys = literals.iter().map(|literal| self.key_of(*literal)).collect::<Option<BTreeSet<_>>>()?;
        Some(Needs::from([(slot, keys)]))
    }

    fn key_of(&self, literal: OperationId) -> Option<Key<'static>> {
        match &self.node(literal)?.operation {
            Operation::Boolean(value) => Some(Key::Boolean(*value)),
            Operation::Integer(value) => Some(Key::of_number(Numeric::Integer(*value))),
            Operation::Number(value) => Some(Key::of_number(Numeric::Number(*value))),
            Operation::Text(text) => Some(match Key::of_text(text) {
                Key::Text(text) => Key::Text(Cow::Owned(text.into_owned())),
                Key::Boolean(value) => Key::Boolean(value),
                Key::Number(bits) => Key::Number(bits),
            }),
            _ => None,
        }
    }
}

fn both(mut one: Needs, other: Needs) -> Needs {
    for (slot, keys) in other {
        match one.get_mut(&slot) {
            Some(known) => known.retain(|key| keys.contains(key)),
            None => drop(one.insert(slot, keys)),
        }
    }
    one
}

fn either(one: Needs, mut other: Needs) -> Needs {
    let union = |(slot, mut keys): (usize, BTreeSet<_>)| {
        keys.append(other.get_mut(&slot)?);
        Some((slot, keys))
    };
    one.into_iter().filter_map(union).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, Slots};
    use super::*;

    /// The needs of a policy, by name.
    fn needs(text: &str) -> String {
        let mut slots = Slots::new();
        let policy = Policy::parse(text, &mut slots).unwrap();
        let names = slots.names().map(|(name, slot)| (slot, name.to_owned())).collect::<BTreeMap<_, _>>();
        let shown = |(slot, keys): (usize, BTreeSet<Key<'_>>)| {
            let keys = keys.iter().map(|key| match key {
                Key::Boolean(value) => value.to_string(),
                Key::Number(bits) => f64::from_bits(*bits).to_string(),
                Key::Text(text) => format!("{text:?}"),
            });
            format!("{} in {}", names[&slot], keys.collect::<Vec<_>>().join(" "))
        };
        policy.needs().into_iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn equality_with_a_literal_is_a_need() {
        assert_eq!(needs(r#"region == "eu" && memory >= 256"#), r#"region in "eu""#);
        assert_eq!(needs(r#""eu" == region"#), r#"region in "eu""#);
        assert_eq!(needs(r#"in(region, "eu", "us") && beta"#), r#"region in "eu" "us", beta in true"#);
        assert_eq!(needs(r#"contains(("a", "b"), model)"#), r#"model in "a" "b""#);
        assert_eq!(needs("memory == 512"), "memory in 512");
    }

    #[test]
    fn a_condition_that_can_be_met_in_another_way_is_no_need() {
        assert_eq!(needs(r#"region == "eu" || memory >= 256"#), "");
        assert_eq!(needs(r#"!(region == "eu")"#), "");
        assert_eq!(needs(r#"region != "eu" && contains(tags, "x")"#), "");
        assert_eq!(needs(r#"contains(tags, tag) && region == zone"#), "");
        assert_eq!(needs(r#"region == "eu" || (region == "us" && beta)"#), r#"region in "eu" "us""#);
    }

    #[test]
    fn a_value_must_meet_every_need_on_its_attribute() {
        assert_eq!(needs(r#"in(a, "x", "y") && in(a, "y", "z")"#), r#"a in "y""#);
        assert_eq!(needs(r#"a == "x" && a == "y""#), "a in ");
    }

    #[test]
    fn values_that_are_equal_to_a_policy_have_one_key() {
        let text = |text: &str| Value::Text(text.into());
        for (one, other) in [
            (text("512"), Value::Integer(512)),
            (Value::Integer(40), Value::Number(40.0)),
            (text("true"), Value::Bool(true)),
            (Value::Number(0.0), Value::Number(-0.0)),
        ] {
            assert_eq!(Key::of(&one), Key::of(&other));
        }
        assert_eq!(Key::of(&Value::Number(f64::NAN)), None);
        assert_eq!(Key::of(&Value::List(vec![])), None);
    }
}

//! Translated policies of Builder, against a small evaluator of what Builder documents.
//!
//! Builder documents its operators, and not what becomes of values that do not fit them. The
//! evaluator here says what is documented, and `None` wherever it is not; there a translated policy
//! must not admit.

use std::cmp::Ordering;

use proptest::prelude::*;
use semver::Version;
use tidegate_core::attributes::{Attributes, Value};
use tidegate_core::policy::{Candidate, Policy, Slots, Truth};
use tidegate_import::builder::policy::translate;

const NAMES: [&str; 5] = ["a", "b", "try-beta", "site.region", "version"];

#[derive(Debug, Clone)]
enum Node {
    Name(usize),
    Number(i64),
    Text(String),
    Boolean(bool),
    Calculate(&'static str, Box<Node>, Box<Node>),
    Compare(&'static str, Box<Node>, Box<Node>),
    Text2(&'static str, Box<Node>, Box<Node>),
    /// A regular expression with its meaning: does it hold for this text?
    Regex(&'static str, Box<Node>, usize),
    IsNull(&'static str, usize),
    Semver(&'static str, String),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
}

type StatusEffect = fn(&str) -> bool;
const REGEXES: [(&str, StatusEffect); 7] = [
    ("x", |text| text.contains('x')),
    ("^x", |text| text.starts_with('x')),
    ("y$", |text| text.ends_with('y')),
    ("^xy$", |text| text == "xy"),
    ("^x|y$", |text| text.starts_with('x') || text.ends_with('y')),
    ("^(x|1)", |text| text.starts_with('x') || text.starts_with('1')),
    ("x.*1", |text| text.find('x').is_some_and(|at| text[at + 1..].contains('1'))),
];

impl Node {
    fn written(&self) -> String {
        match self {
            Node::Name(name) => NAMES[*name].to_owned(),
            Node::Number(number) => number.to_string(),
            Node::Text(text) => format!("'{text}'"),
            Node::Boolean(value) => value.to_string(),
            Node::Calculate(sign, left, right) => format!("({} {sign} {})", left.written(), right.written()),
            Node::Compare(sign, left, right) | Node::Text2(sign, left, right) => {
                format!("{} {sign} {}", left.written(), right.written())
            }
            Node::Regex(sign, subject, regex) => format!("{} {sign} /{}/", subject.written(), REGEXES[*regex].0),
            Node::IsNull(sign, name) => format!("{} {sign} null", NAMES[*name]),
            Node::Semver(sign, version) => format!("semver(version, '{sign}', \"{version}\")"),
            Node::And(left, right) => format!("({}) && ({})", left.written(), right.written()),
            Node::Or(left, right) => format!("({} || {})", left.written(), right.written()),
            Node::Not(inner) => format!("!({})", inner.written()),
        }
    }
}

/// A value as Builder has it: JavaScript's.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Number(f64),
    Text(String),
    Boolean(bool),
}

#[derive(Debug, Clone)]
struct Device {
    version: Version,
    values: Vec<(usize, Held)>,
}

impl Device {
    fn held(&self, name: usize) -> Option<Held> {
        if NAMES[name] == "version" {
            return Some(Held::Text(self.version.to_string()));
        }
        self.values.iter().find(|(known, _)| *known == name).map(|(_, held)| held.clone())
    }
}

fn number(held: &Held) -> Option<f64> {
    match held {
        Held::Number(number) => Some(*number),
        // Numbers are coerced from texts that write them: `"1" == 1` is Builder's own example.
        Held::Text(text) => text.parse().ok(),
        Held::Boolean(_) => None,
    }
}

fn value(node: &Node, device: &Device) -> Option<Held> {
    match node {
        Node::Name(name) => device.held(*name),
        Node::Number(number) => Some(Held::Number(*number as f64)),
        Node::Text(text) => Some(Held::Text(text.clone())),
        Node::Boolean(value) => Some(Held::Boolean(*value)),
        Node::Calculate(sign, left, right) => {
            let (left, right) = (value(left, device)?, value(right, device)?);
            if let (Held::Text(left), Held::Text(right), "+") = (&left, &right, *sign) {
                return Some(Held::Text(format!("{left}{right}")));
            }
            let (left, right) = (number(&left)?, number(&right)?);
            let result = match *sign {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                "/" => left / right,
                "%" => left % right,
                _ => left.powf(right),
            };
            result.is_finite().then_some(Held::Number(result))
        }
        _ => None,
    }
}

fn holds(sign: &str, order: Ordering) -> bool {
    match sign {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// `None`: Builder does not document it.
fn condition(node: &Node, device: &Device) -> Option<bool> {
    match node {
        Node::Boolean(value) => Some(*value),
        Node::Compare(sign, left_node, right_node) => {
            let (left, right) = (value(left_node, device)?, value(right_node, device)?);
            let equality = matches!(*sign, "==" | "!=");
            let asks_for_truth = matches!(&**left_node, Node::Boolean(_)) || matches!(&**right_node, Node::Boolean(_));
            if asks_for_truth && !matches!((&left, &right), (Held::Boolean(_), Held::Boolean(_))) {
                return None;
            }
            match (&left, &right) {
                (Held::Text(left), Held::Text(right)) => Some(holds(sign, left.cmp(right))),
                (Held::Boolean(left), Held::Boolean(right)) if equality => Some((left == right) == (*sign == "==")),
                // JavaScript takes true for 1, and false for 0 and ''. Whether Builder does is open; nothing
                // else is equal to them either way.
                (Held::Boolean(truth), other) | (other, Held::Boolean(truth)) if equality => {
                    let may_be_equal = match other {
                        Held::Text(text) if text.is_empty() => !truth,
                        other => number(other) == Some(f64::from(u8::from(*truth))),
                    };
                    (!may_be_equal).then_some(*sign == "!=")
                }
                (Held::Boolean(_), _) | (_, Held::Boolean(_)) => None,
                _ => match (number(&left), number(&right)) {
                    (Some(left), Some(right)) => Some(holds(sign, left.partial_cmp(&right)?)),
                    // A word is no number, so it is not equal to one, and comes neither before nor after it.
                    _ if equality => Some(*sign == "!="),
                    _ => None,
                },
            }
        }
        Node::Text2(sign, left, right) => {
            let (Held::Text(left), Held::Text(right)) = (value(left, device)?, value(right, device)?) else {
                return None;
            };
            Some(match *sign {
                "^=" => left.starts_with(&right),
                "^!=" => !left.starts_with(&right),
                "$=" => left.ends_with(&right),
                "$!=" => !left.ends_with(&right),
                "><" => left.contains(&right),
                _ => !left.contains(&right),
            })
        }
        Node::Regex(sign, subject, regex) => {
            let Held::Text(text) = value(subject, device)? else { return None };
            Some(REGEXES[*regex].1(&text) == (*sign != "!="))
        }
        Node::IsNull(sign, name) => Some(device.held(*name).is_none() == (*sign == "==")),
        Node::Semver(sign, version) => {
            let other = Version::parse(version).ok()?;
            Some(holds(sign, device.version.cmp_precedence(&other)))
        }
        Node::And(left, right) => match (condition(left, device), condition(right, device)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Node::Or(left, right) => match (condition(left, device), condition(right, device)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Node::Not(inner) => condition(inner, device).map(|truth| !truth),
        _ => None,
    }
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "x", "xy", "yx1", "12", "1", "1.2.3", "it\"s", "-3"]).prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn number_node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![(0..4_usize).prop_map(Node::Name), (0..20_i64).prop_map(Node::Number)];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let sign = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
        (sign, inner.clone(), inner)
            .prop_map(|(sign, left, right)| Node::Calculate(sign, Box::new(left), Box::new(right)))
    })
}

fn clause() -> impl Strategy<Value = Node> {
    let comparison = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let equality = prop::sample::select(vec!["==", "!="]);
    let affix = prop::sample::select(vec!["^=", "^!=", "$=", "$!=", "><", "<>"]);
    let matching = prop::sample::select(vec!["=~", "==", "!="]);
    prop_oneof![
        4 => (comparison.clone(), number_node(), number_node())
            .prop_map(|(sign, left, right)| Node::Compare(sign, Box::new(left), Box::new(right))),
        3 => (equality.clone(), name(), text())
            .prop_map(|(sign, name, text)| Node::Compare(sign, Box::new(Node::Name(name)), Box::new(Node::Text(text)))),
        1 => (equality.clone(), 0..4_usize, any::<bool>()).prop_map(|(sign, name, value)| {
            Node::Compare(sign, Box::new(Node::Name(name)), Box::new(Node::Boolean(value)))
        }),
        3 => (affix, name(), text())
            .prop_map(|(sign, name, text)| Node::Text2(sign, Box::new(Node::Name(name)), Box::new(Node::Text(text)))),
        3 => (matching, name(), 0..REGEXES.len())
            .prop_map(|(sign, name, regex)| Node::Regex(sign, Box::new(Node::Name(name)), regex)),
        1 => (equality, 0..4_usize).prop_map(|(sign, name)| Node::IsNull(sign, name)),
        1 => (comparison, prop::sample::select(vec!["1.2.3", "1.0.0", "2.0.0-rc.1"]))
            .prop_map(|(sign, version)| Node::Semver(sign, version.to_owned())),
    ]
}

fn expression() -> impl Strategy<Value = Node> {
    clause().prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Node::And(Box::new(left), Box::new(right))),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Node::Or(Box::new(left), Box::new(right))),
            inner.prop_map(|inner| Node::Not(Box::new(inner))),
        ]
    })
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        (0..20_i32).prop_map(|number| Held::Number(f64::from(number))),
        (0..20_i32).prop_map(|number| Held::Number(f64::from(number) / 4.0)),
        text().prop_map(Held::Text),
        any::<bool>().prop_map(Held::Boolean),
    ]
}

fn device() -> impl Strategy<Value = Device> {
    let versions = prop::sample::select(vec!["1.2.3", "1.0.0", "2.0.0"]);
    (versions, prop::collection::vec(prop::option::of(held()), 4)).prop_map(|(version, values)| Device {
        version: Version::parse(version).expect("a version"),
        values: values.into_iter().enumerate().filter_map(|(name, held)| Some((name, held?))).collect(),
    })
}

fn attributes(device: &Device) -> Attributes {
    let value = |held: &Held| match held {
        // As device.json is read: what is whole is a whole number.
        Held::Number(number) if number.fract() == 0.0 => Value::Integer(*number as i64),
        Held::Number(number) => Value::Number(*number),
        Held::Text(text) => Value::Text(text.clone()),
        Held::Boolean(value) => Value::Bool(*value),
    };
    device.values.iter().map(|(name, held)| (NAMES[*name].to_owned(), value(held))).collect()
}

fn ours(policy: &str, device: &Device) -> Truth {
    let mut slots = Slots::new();
    let policy = Policy::parse(policy, &mut slots).expect("a translation is a policy");
    let attributes = attributes(device);
    let facts = slots.bind_unordered(&device.version, &attributes);
    policy.evaluate(&facts, &Candidate { new_version: &Version::new(2, 0, 0), cohort: &|| 0 })
}

/// Two attributes of which one is a truth value and the other a number: that they are different here
/// is said in the report.
fn compares_a_truth_value(node: &Node, device: &Device) -> bool {
    match node {
        Node::Compare("==" | "!=", left, right) => {
            let is_constant = |side: &Node| matches!(side, Node::Number(_) | Node::Text(_) | Node::Boolean(_));
            let is_truth = |side: &Node| matches!(value(side, device), Some(Held::Boolean(_)));
            !is_constant(left) && !is_constant(right) && (is_truth(left) || is_truth(right))
        }
        Node::And(left, right) | Node::Or(left, right) => {
            compares_a_truth_value(left, device) || compares_a_truth_value(right, device)
        }
        Node::Not(inner) => compares_a_truth_value(inner, device),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_translated_policy_admits_whom_builder_says(node in expression(), device in device()) {
        let written = node.written();
        // What is refused is carried by nobody; that it happens for a reason is the unit tests' part.
        let Ok(translation) = translate(&written) else { return Ok(()) };
        let got = ours(&translation.policy, &device);
        match condition(&node, &device) {
            Some(true) => prop_assert_eq!(got, Truth::Yes, "{} -> {}", written, translation.policy),
            Some(false) => prop_assert_ne!(got, Truth::Yes, "{} -> {}", written, translation.policy),
            None if compares_a_truth_value(&node, &device) => {}
            None => prop_assert_ne!(got, Truth::Yes, "{} -> {}", written, translation.policy),
        }
    }

    #[test]
    fn any_text_is_answered_without_panic(text in "[ab1'\"/^$!=<>~&|()+*.%-]{0,40}") {
        let _ = translate(&text);
    }
}

/// The property would say nothing if most expressions were refused.
#[test]
fn most_random_policies_are_carried() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let carried = (0..1000).filter(|_| {
        let node = expression().new_tree(&mut runner).expect("a tree").current();
        translate(&node.written()).is_ok()
    });
    assert!(carried.count() > 700);
}

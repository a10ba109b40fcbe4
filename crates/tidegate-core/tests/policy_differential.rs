//! Random policies and devices, evaluated by us and by evalexpr.
//!
//! If evalexpr returns a boolean, our result is the same, or a deliberate difference in the list of `policy/mod.rs`
//! explains it. The oracle below repeats the evaluation with only those rules changed, and must return our result.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Ordering;
use std::collections::BTreeMap;

use evalexpr::{
    ContextWithMutableFunctions, ContextWithMutableVariables, EvalexprError, Function, HashMapContext, Node, Operator,
    Value as Theirs,
};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use tidegate_core::attributes::{Attributes, Value};
use tidegate_core::device::Delivery;
use tidegate_core::orders::Orders;
use tidegate_core::policy::{Candidate, Facts, Policy, Slots, Truth};
use tidegate_core::update::Content;
use tidegate_core::{
    Catalog, Claims, Cohort, Device, DeviceId, Objection, ProductId, Rollout, State, Timestamp, Update, UpdateId,
    decide,
};

const POLICIES: usize = 25_000;
const DEVICES: usize = 40;

struct Dice(SplitMix64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        (self.0.next_u64() % sides as u64) as usize
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len())]
    }
}

// A name tells the usual type of the attribute; `any*` has any type, and `gone` never exists.
const TEXTS: &[&str] = &["text1", "text2", "site.region", "any1"];
const NUMBERS: &[&str] = &["int1", "int2", "float1", "major", "minor", "patch", "cohort", "any2"];
const BOOLEANS: &[&str] = &["flag1", "flag2", "any1"];
const TEXT_LITERALS: &[&str] = &["\"eu\"", "\"us\"", "\"512\"", "\"true\"", "\"\"", "\"eu-1\"", "\"1.5\""];
const NUMBER_LITERALS: &[&str] =
    &["0", "1", "2", "3", "512", "1.5", "2.0", "0x10", "1e3", "0.0", "9007199254740993", "9007199254740992.0"];

fn condition(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 {
        return comparison(dice, 1);
    }
    let deeper = depth - 1;
    match dice.roll(9) {
        0 | 1 => format!("{} && {}", condition(dice, deeper), condition(dice, deeper)),
        2 | 3 => format!("{} || {}", condition(dice, deeper), condition(dice, deeper)),
        4 => format!("!({})", condition(dice, deeper)),
        5 => format!("({})", condition(dice, deeper)),
        6 => format!("({}) {} ({})", condition(dice, deeper), dice.pick(&["==", "!="]), condition(dice, deeper)),
        _ => comparison(dice, 2),
    }
}

fn comparison(dice: &mut Dice, depth: usize) -> String {
    let relation = dice.pick(&["==", "!=", "<", "<=", ">", ">="]);
    match dice.roll(14) {
        0..=3 => format!("{} {relation} {}", number(dice, depth), number(dice, depth)),
        4..=6 => format!("{} {relation} {}", text(dice, depth), text(dice, depth)),
        7 => dice.pick(BOOLEANS).to_owned(),
        8 => format!("{} {} {}", dice.pick(BOOLEANS), dice.pick(&["==", "!="]), dice.pick(&["true", "false", "flag1"])),
        9 => format!("{} {} {}", number(dice, 0), dice.pick(&["==", "!="]), text(dice, 0)),
        10 => format!("{}({}, {})", dice.pick(&["starts_with", "ends_with"]), text(dice, 0), text(dice, 0)),
        11 => format!("in({}, {}, {}, {})", text(dice, 0), text(dice, 0), number(dice, 0), text(dice, 0)),
        12 => match dice.roll(3) {
            0 => format!("contains(list1, {})", text(dice, 0)),
            1 => format!("contains({}, {})", text(dice, 0), text(dice, 0)),
            _ => format!("list1 {} {}", dice.pick(&["==", "!="]), dice.pick(&["list1", "text1", "int1"])),
        },
        _ => format!("gone {relation} {}", number(dice, 0)),
    }
}

fn number(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth == 0 { 6 } else { 10 }) {
        0..=2 => dice.pick(NUMBERS).to_owned(),
        3..=5 => dice.pick(NUMBER_LITERALS).to_owned(),
        6 => format!("-{}", number(dice, 0)),
        7 => format!("({})", number(dice, depth - 1)),
        _ => {
            let sign = dice.pick(&["+", "-", "*", "/", "%", "^"]);
            format!("{} {sign} {}", number(dice, depth - 1), number(dice, depth - 1))
        }
    }
}

fn text(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth == 0 { 5 } else { 7 }) {
        0..=2 => dice.pick(TEXTS).to_owned(),
        3 | 4 => dice.pick(TEXT_LITERALS).to_owned(),
        5 => format!("lower({})", text(dice, depth - 1)),
        _ => format!("{} + {}", text(dice, 0), text(dice, 0)),
    }
}

fn random_value(dice: &mut Dice, kind: usize) -> Value {
    match kind {
        0 => Value::Text(dice.pick(&["eu", "us", "EU", "512", "1.5", "true", "", "eu-1"]).to_owned()),
        1 => Value::Integer([0, 1, 2, 3, 16, 512, -1, 1_000, 9_007_199_254_740_993, i64::MAX, i64::MIN][dice.roll(11)]),
        2 => Value::Number(
            [0.0, 1.0, 1.5, 2.0, 512.0, -0.5, 9_007_199_254_740_992.0, 1e300, 9_223_372_036_854_775_807.0]
                [dice.roll(9)],
        ),
        3 => Value::Bool(dice.roll(2) == 0),
        _ => {
            let length = dice.roll(3);
            Value::List(
                (0..length)
                    .map(|_| {
                        let kind = dice.roll(3);
                        random_value(dice, kind)
                    })
                    .collect(),
            )
        }
    }
}

fn random_device(dice: &mut Dice) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, usual) in [
        ("text1", 0),
        ("text2", 0),
        ("site.region", 0),
        ("int1", 1),
        ("int2", 1),
        ("float1", 2),
        ("flag1", 3),
        ("flag2", 3),
        ("list1", 4),
    ] {
        // One attribute in 25 is missing, one in 25 is of another type.
        let kind = match dice.roll(25) {
            0 => continue,
            1 => dice.roll(4),
            _ => usual,
        };
        attributes.insert(name, random_value(dice, kind));
    }
    for name in ["any1", "any2"] {
        let kind = dice.roll(4);
        attributes.insert(name, random_value(dice, kind));
    }
    attributes
}

fn their_value(value: &Value) -> Theirs {
    match value {
        Value::Bool(value) => Theirs::Boolean(*value),
        Value::Integer(value) => Theirs::Int(*value),
        Value::Number(value) => Theirs::Float(*value),
        Value::Text(value) => Theirs::String(value.clone()),
        Value::List(values) => Theirs::Tuple(values.iter().map(their_value).collect()),
    }
}

fn their_context(version: &semver::Version, cohort: u16, attributes: &Attributes) -> HashMapContext {
    let mut context = HashMapContext::new();
    for (name, value) in attributes.iter() {
        context.set_value(name.to_owned(), their_value(value)).unwrap();
    }
    for (name, part) in [("major", version.major), ("minor", version.minor), ("patch", version.patch)] {
        context.set_value(name.to_owned(), Theirs::Int(part as i64)).unwrap();
    }
    context.set_value("cohort".to_owned(), Theirs::Int(i64::from(cohort))).unwrap();
    let mut register = |name: &str, call: fn(&Theirs) -> Result<Theirs, EvalexprError>| {
        context.set_function(name.to_owned(), Function::new(call)).unwrap();
    };
    register("lower", |text| Ok(text.as_string()?.to_lowercase().into()));
    register("starts_with", |pair| with_texts(pair, |text, part| text.starts_with(part)));
    register("ends_with", |pair| with_texts(pair, |text, part| text.ends_with(part)));
    register("contains", |pair| match pair.as_fixed_len_tuple(2)?.as_slice() {
        [Theirs::Tuple(values), part] => Ok(Theirs::Boolean(values.contains(part))),
        _ => with_texts(pair, |text, part| text.contains(part)),
    });
    register("in", |values| {
        let values = values.as_tuple()?;
        Ok(Theirs::Boolean(values[1..].contains(&values[0])))
    });
    context
}

fn with_texts(pair: &Theirs, test: fn(&str, &str) -> bool) -> Result<Theirs, EvalexprError> {
    let pair = pair.as_fixed_len_tuple(2)?;
    Ok(Theirs::Boolean(test(&pair[0].as_string()?, &pair[1].as_string()?)))
}

/// evalexpr with the deliberate differences. Each is counted by its number in `policy/mod.rs`.
struct Oracle<'c> {
    context: &'c HashMapContext,
    used: BTreeMap<u8, usize>,
}

/// The differences lead to no boolean, or evalexpr returns an error.
struct NoAnswer;

impl Oracle<'_> {
    fn value(&mut self, node: &Node) -> Result<Theirs, NoAnswer> {
        let children = node.children();
        match node.operator() {
            Operator::RootNode => self.value(&children[0]),
            Operator::And => self.kleene(children, false),
            Operator::Or => self.kleene(children, true),
            Operator::Not => match self.value(&children[0])? {
                Theirs::Boolean(value) => Ok(Theirs::Boolean(!value)),
                _ => Err(NoAnswer),
            },
            Operator::Tuple => {
                Ok(Theirs::Tuple(children.iter().map(|child| self.value(child)).collect::<Result<_, _>>()?))
            }
            Operator::FunctionIdentifier { identifier } => {
                let arguments = self.value(&children[0])?;
                self.call(identifier, &arguments)
            }
            Operator::Eq => self.equal(children).map(Theirs::Boolean),
            Operator::Neq => self.equal(children).map(|equal| Theirs::Boolean(!equal)),
            Operator::Lt => self.order(children, Ordering::is_lt),
            Operator::Leq => self.order(children, Ordering::is_le),
            Operator::Gt => self.order(children, Ordering::is_gt),
            Operator::Geq => self.order(children, Ordering::is_ge),
            Operator::Const { .. } | Operator::VariableIdentifierRead { .. } => {
                node.eval_with_context(self.context).map_err(|_| NoAnswer)
            }
            Operator::Neg => {
                let value = self.value(&children[0])?;
                self.plain("-l", &value, &value)
            }
            arithmetic => {
                let (left, right) = (self.value(&children[0])?, self.value(&children[1])?);
                self.plain(&format!("l {arithmetic} r"), &left, &right)
            }
        }
    }

    /// A side without a result (differences 5 and 6) does not prevent the other side from deciding.
    fn kleene(&mut self, sides: &[Node], decisive: bool) -> Result<Theirs, NoAnswer> {
        let mut all_known = true;
        for side in sides {
            match self.value(side) {
                Ok(Theirs::Boolean(value)) if value == decisive => {
                    return Ok(Theirs::Boolean(decisive));
                }
                Ok(Theirs::Boolean(_)) => {}
                _ => all_known = false,
            }
        }
        if all_known { Ok(Theirs::Boolean(!decisive)) } else { Err(NoAnswer) }
    }

    /// Result of an operator in evalexpr, with difference 5.
    fn plain(&mut self, expression: &str, left: &Theirs, right: &Theirs) -> Result<Theirs, NoAnswer> {
        let mut context = HashMapContext::new();
        context.set_value("l".to_owned(), left.clone()).unwrap();
        context.set_value("r".to_owned(), right.clone()).unwrap();
        match evalexpr::eval_with_context(expression, &context).map_err(|_| NoAnswer)? {
            Theirs::Float(number) if !number.is_finite() => Err(self.difference(5)),
            value => Ok(value),
        }
    }

    fn equal(&mut self, children: &[Node]) -> Result<bool, NoAnswer> {
        let (left, right) = (self.value(&children[0])?, self.value(&children[1])?);
        self.same(&left, &right)
    }

    fn same(&mut self, left: &Theirs, right: &Theirs) -> Result<bool, NoAnswer> {
        use Theirs::{Boolean, Float, Int, String, Tuple};
        match (left, right) {
            (Tuple(_), _) | (_, Tuple(_)) => Err(self.difference(6)),
            (Int(int), Float(float)) | (Float(float), Int(int)) => {
                Ok(self.if_it_shows(1, exactly(*int, *float) == Ordering::Equal))
            }
            (Int(int), String(text)) | (String(text), Int(int)) => match text.parse::<f64>() {
                Ok(float) if float.is_finite() => Ok(self.if_it_shows(2, exactly(*int, float) == Ordering::Equal)),
                _ => Ok(false),
            },
            (Float(float), String(text)) | (String(text), Float(float)) => {
                Ok(self.if_it_shows(2, text.parse::<f64>().is_ok_and(|written| written == *float)))
            }
            (Boolean(flag), String(text)) | (String(text), Boolean(flag)) => {
                Ok(self.if_it_shows(3, *text == flag.to_string()))
            }
            _ => Ok(left == right),
        }
    }

    fn order(&mut self, children: &[Node], wanted: fn(Ordering) -> bool) -> Result<Theirs, NoAnswer> {
        let (left, right) = (self.value(&children[0])?, self.value(&children[1])?);
        let order = match (&left, &right) {
            (Theirs::Int(left), Theirs::Int(right)) => left.cmp(right),
            (Theirs::Float(left), Theirs::Float(right)) => left.partial_cmp(right).ok_or(NoAnswer)?,
            (Theirs::String(left), Theirs::String(right)) => left.cmp(right),
            (Theirs::Int(left), Theirs::Float(right)) => exactly(*left, *right),
            (Theirs::Float(left), Theirs::Int(right)) => exactly(*right, *left).reverse(),
            _ => return Err(NoAnswer),
        };
        if matches!((&left, &right), (Theirs::Int(_), Theirs::Float(_)) | (Theirs::Float(_), Theirs::Int(_)))
            && left.as_number().ok().partial_cmp(&right.as_number().ok()) != Some(order)
        {
            self.difference(4);
        }
        Ok(Theirs::Boolean(wanted(order)))
    }

    fn call(&mut self, name: &str, arguments: &Theirs) -> Result<Theirs, NoAnswer> {
        let Theirs::Tuple(values) = arguments else {
            return self.plain_call(name, arguments);
        };
        match (name, values.as_slice()) {
            ("in", [wanted, among @ ..]) => self.any_same(wanted, among),
            ("contains", [Theirs::Tuple(among), wanted]) => self.any_same(wanted, among),
            _ => self.plain_call(name, arguments),
        }
    }

    fn any_same(&mut self, wanted: &Theirs, among: &[Theirs]) -> Result<Theirs, NoAnswer> {
        let mut all_known = true;
        for value in among {
            match self.same(wanted, value) {
                Ok(true) => return Ok(Theirs::Boolean(true)),
                Ok(false) => {}
                Err(NoAnswer) => all_known = false,
            }
        }
        if all_known { Ok(Theirs::Boolean(false)) } else { Err(NoAnswer) }
    }

    fn plain_call(&self, name: &str, arguments: &Theirs) -> Result<Theirs, NoAnswer> {
        use evalexpr::Context;
        self.context.call_function(name, arguments).map_err(|_| NoAnswer)
    }

    /// In evalexpr, values of two types are never equal. So there is a difference if they are equal for us.
    fn if_it_shows(&mut self, number: u8, equal: bool) -> bool {
        if equal {
            self.difference(number);
        }
        equal
    }

    fn difference(&mut self, number: u8) -> NoAnswer {
        *self.used.entry(number).or_default() += 1;
        NoAnswer
    }
}

/// Exact order of an integer and a float. Both are doubled and compared in 128 bits; the rest below a half decides last.
fn exactly(int: i64, float: f64) -> Ordering {
    if float.abs() > 1e30 {
        return 0.0_f64.partial_cmp(&float).unwrap();
    }
    let twice = (float * 2.0).floor();
    let (doubled, halves) = (i128::from(int) * 2, twice as i128);
    doubled.cmp(&halves).then(if float * 2.0 > twice { Ordering::Less } else { Ordering::Equal })
}

#[derive(Default, Debug)]
struct Tally {
    pairs: usize,
    admitted: usize,
    refused: usize,
    explained: usize,
    unknown: usize,
    their_errors: usize,
    differences: BTreeMap<u8, usize>,
}

struct Devices<'a> {
    facts: Vec<Facts<'a>>,
    contexts: &'a [HashMapContext],
    new_version: &'a semver::Version,
    cohort: u16,
}

fn compare(policy: &Policy, devices: &Devices<'_>, tally: &mut Tally) {
    let tree = evalexpr::build_operator_tree(policy.text()).unwrap();
    let cohort = || devices.cohort;
    let candidate = Candidate { new_version: devices.new_version, cohort: &cohort };
    for (facts, context) in devices.facts.iter().zip(devices.contexts) {
        tally.pairs += 1;
        let ours = policy.evaluate(facts, &candidate);
        match (tree.eval_boolean_with_context(context), &ours) {
            (Err(_), _) => tally.their_errors += 1,
            (Ok(true), Truth::Yes) => tally.admitted += 1,
            (Ok(false), Truth::No) => tally.refused += 1,
            (Ok(theirs), _) => explain(policy, &tree, context, theirs, &ours, tally),
        }
    }
}

fn explain(policy: &Policy, tree: &Node, context: &HashMapContext, theirs: bool, ours: &Truth, tally: &mut Tally) {
    let mut oracle = Oracle { context, used: BTreeMap::new() };
    let expected = oracle.value(tree);
    assert!(!oracle.used.is_empty(), "{}: {theirs} there, {ours} here, and no difference is involved", policy.text());
    match (expected, ours) {
        (Ok(Theirs::Boolean(true)), Truth::Yes) | (Ok(Theirs::Boolean(false)), Truth::No) => tally.explained += 1,
        (Err(NoAnswer), Truth::Unknown(_)) => tally.unknown += 1,
        (Ok(value), _) => panic!("{}: {theirs} there, {ours} here, {value} expected", policy.text()),
        (Err(NoAnswer), _) => panic!("{}: {theirs} there, {ours} here, no answer expected", policy.text()),
    }
    for number in oracle.used.into_keys() {
        *tally.differences.entry(number).or_default() += 1;
    }
}

#[test]
fn policies_answer_like_evalexpr_but_for_the_written_differences() {
    let mut dice = Dice(SplitMix64::seed_from_u64(20_261_121));
    let version = semver::Version::new(1, 2, 3);
    let new_version = semver::Version::new(2, 0, 0);
    let cohort = 512;
    let devices: Vec<_> = (0..DEVICES).map(|_| random_device(&mut dice)).collect();
    let contexts: Vec<_> = devices.iter().map(|device| their_context(&version, cohort, device)).collect();

    let mut slots = Slots::new();
    let mut policies = Vec::new();
    while policies.len() < POLICIES {
        let depth = dice.roll(4);
        // A policy that can never be evaluated is refused. The tests of refusals have these.
        policies.extend(Policy::parse(&condition(&mut dice, depth), &mut slots));
    }
    let facts = devices.iter().map(|device| slots.bind_unordered(&version, device)).collect();
    let devices = Devices { facts, contexts: &contexts, new_version: &new_version, cohort };

    let mut tally = Tally::default();
    for policy in &policies {
        compare(policy, &devices, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.pairs >= 1_000_000, "{tally:?}");
    let compared = tally.admitted + tally.refused + tally.explained + tally.unknown;
    assert!(compared * 4 > tally.pairs, "too few pairs have an answer to compare: {tally:?}");
    assert!(tally.admitted * 10 > tally.pairs && tally.refused * 10 > tally.pairs, "{tally:?}");
    for number in [1, 2, 3, 4, 5, 6] {
        assert!(tally.differences.get(&number).is_some_and(|seen| *seen > 10), "difference {number}: {tally:?}");
    }
}

/// Policies of many updates, evaluated through the index and the screen of a catalog, as at a check-in.
#[test]
fn a_catalog_targets_whom_its_policies_admit() {
    let mut dice = Dice(SplitMix64::seed_from_u64(20_261_122));
    let product = ProductId::new("lamp").unwrap();
    let version = semver::Version::new(1, 2, 3);
    let devices: Vec<_> = (0..DEVICES).map(|_| random_device(&mut dice)).collect();
    let (mut admitted, mut refused) = (0, 0);
    for _ in 0..25 {
        let mut slots = Slots::new();
        let mut policies = Vec::new();
        while policies.len() < 300 {
            let depth = dice.roll(4);
            policies.extend(Policy::parse(&condition(&mut dice, depth), &mut slots));
        }
        let paused = (1..).zip(&policies).map(|(major, policy)| paused(&product, major + 1, policy));
        let compiled = Catalog::new(product.clone(), slots, paused);
        let read = Catalog::from_snapshot(&product, compiled.to_snapshot().unwrap().into()).unwrap();
        for (number, attributes) in devices.iter().enumerate() {
            let device = Device {
                id: DeviceId::new(format!("lamp-{number}")).unwrap(),
                product: product.clone(),
                version: version.clone(),
                attributes: attributes.clone(),
                said: None,
                delivery: Delivery::Anything,
                orders: Orders::default(),
            };
            let facts = compiled.slots().bind_unordered(&version, attributes);
            let is_admitted = |update: &&Update| {
                let cohort = || Cohort::of(&update.id, &device.id).place();
                let candidate = Candidate { new_version: &update.version, cohort: &cohort };
                update.policy.evaluate(&facts, &candidate) == Truth::Yes
            };
            let expected: Vec<_> = compiled.newest_first().filter(is_admitted).map(|update| &update.version).collect();
            // A targeted update has the objection "paused". Of the others, the decision names at most one.
            let decision = decide(&device, &read, &Claims::default(), Timestamp::UNIX_EPOCH);
            let is_paused = |(_, objection): &&(&Update, Objection)| *objection == Objection::Paused;
            let targeted: Vec<_> =
                decision.passed_over.iter().filter(is_paused).map(|(update, _)| &update.version).collect();
            assert_eq!(targeted, expected, "{attributes:?}");
            admitted += expected.len();
            refused += policies.len() - expected.len();
        }
    }
    assert!(admitted > 50_000 && refused > 50_000, "{admitted} admitted, {refused} refused");
}

fn paused(product: &ProductId, major: u64, policy: &Policy) -> Update {
    let version = semver::Version::new(major, 0, 0);
    Update {
        id: UpdateId::of(product, &version, 1),
        product: product.clone(),
        version,
        campaign: 1,
        state: State::Paused,
        reason: String::new(),
        opened_at: None,
        held_out_from: None,
        not_before: None,
        newcomers_since: None,
        reports_as: Vec::new(),
        test: tidegate_core::update::Test::default(),
        generation: 1,
        shards: 1,
        compatible_from: Vec::new(),
        policy: policy.clone(),
        rollback_from: Vec::new(),
        rollout: Rollout::default(),
        content: Content::default(),
    }
}

/// Difference 7 is an error of the parser, so random evaluation does not find it.
#[test]
fn versions_are_not_ordered_as_texts() {
    let context = {
        let mut context = HashMapContext::new();
        context.set_value("version".to_owned(), "1.9.0".into()).unwrap();
        context
    };
    assert_eq!(evalexpr::eval_with_context("version < \"1.10.0\"", &context), Ok(Theirs::Boolean(false)));
    assert!(Policy::parse("version < \"1.10.0\"", &mut Slots::new()).is_err());
}

//! The same decision with evalexpr 11.3.1: its trees are parsed beforehand, its context is filled once per check-in, and
//! every newer update is asked in turn.

use evalexpr::{
    ContextWithMutableFunctions, ContextWithMutableVariables, EvalexprError, Function, HashMapContext, Node, Value,
};
use serde_json::{Value as Json, json};
use tidegate_core::{Cohort, DeviceId, UpdateId, Version};

/// Parsed policies, newest first.
#[derive(Debug)]
pub struct Theirs {
    newest_first: Vec<Parsed>,
}

#[derive(Debug)]
struct Parsed {
    id: UpdateId,
    version: Version,
    tree: Node,
    wants_cohort: bool,
}

impl Theirs {
    /// Parses the policies of `count` updates.
    ///
    /// # Panics
    /// Never: the policies are good.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let parsed = |number| {
            let tree = evalexpr::build_operator_tree(&crate::policy(number, count)).expect("a policy");
            let wants_cohort = tree.iter_variable_identifiers().any(|name| name == "cohort");
            Parsed { id: crate::id(number), version: crate::version(number), tree, wants_cohort }
        };
        Self { newest_first: (0..count).rev().map(parsed).collect() }
    }

    /// From the bytes of `device.json` to the bytes of the answer.
    ///
    /// # Panics
    /// When the device is not a good one.
    #[must_use]
    pub fn answer(&self, body: &[u8]) -> Vec<u8> {
        let said: Json = serde_json::from_slice(body).expect("JSON");
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
        let id = DeviceId::new(text("id")).expect("a device id");
        let runs = Version::parse(&text("version")).expect("a version");
        let mut context = HashMapContext::new();
        fill(&mut context, "", &said);
        context.set_function("semver".to_owned(), Function::new(semver)).expect("a function");
        let offered = self.newest_first.iter().find(|asked| {
            if asked.version.cmp_precedence(&runs).is_le() {
                return false;
            }
            if asked.wants_cohort {
                let place = i64::from(Cohort::of(&asked.id, &id).place());
                context.set_value("cohort".to_owned(), Value::Int(place)).expect("a variable");
            }
            asked.tree.eval_boolean_with_context(&context) == Ok(true)
        });
        let answer = match offered {
            Some(offered) => json!({"version": offered.version.to_string()}),
            None => json!({"check_again_after_s": 86_400, "reason": "not_targeted"}),
        };
        serde_json::to_vec(&answer).expect("JSON")
    }
}

fn fill(context: &mut HashMapContext, name: &str, said: &Json) {
    let value = match said {
        Json::Object(fields) => {
            for (field, said) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                fill(context, &name, said);
            }
            return;
        }
        Json::Array(elements) => Value::Tuple(elements.iter().filter_map(scalar).collect()),
        other => match scalar(other) {
            Some(value) => value,
            None => return,
        },
    };
    context.set_value(name.to_owned(), value).expect("a variable");
}

fn scalar(said: &Json) -> Option<Value> {
    match said {
        Json::String(text) => Some(text.parse().map_or_else(|_| Value::String(text.clone()), Value::Int)),
        Json::Number(number) => number.as_i64().map(Value::Int).or_else(|| number.as_f64().map(Value::Float)),
        Json::Bool(value) => Some(Value::Boolean(*value)),
        _ => None,
    }
}

fn semver(arguments: &Value) -> Result<Value, EvalexprError> {
    let arguments = arguments.as_fixed_len_tuple(3)?;
    let [left, sign, right] = arguments.as_slice() else {
        return Err(EvalexprError::CustomMessage("semver has three arguments".to_owned()));
    };
    let version = |value: &Value| {
        Version::parse(&value.as_string()?).map_err(|error| EvalexprError::CustomMessage(error.to_string()))
    };
    let order = version(left)?.cmp_precedence(&version(right)?);
    Ok(Value::Boolean(match sign.as_string()?.as_str() {
        "<" => order.is_lt(),
        ">=" => order.is_ge(),
        _ => return Err(EvalexprError::CustomMessage("an unknown sign".to_owned())),
    }))
}

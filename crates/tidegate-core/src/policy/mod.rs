//! Policy: a condition on devices, compiled once and evaluated often.
//!
//! The grammar (precedence, literals, comments) is that of evalexpr 11.3.1. Its parser runs only on texts that passed
//! our own limits and checks. Its evaluator is not used, because it returns an error for every missing attribute and
//! never stops early. A policy is compiled to a flat program. The result is always [`Truth::Yes`], [`Truth::No`] or
//! [`Truth::Unknown`], and only a yes admits the device.
//!
//! # Where this differs from evalexpr, deliberately
//!
//! If evalexpr returns a boolean, our result is the same, except for this list. The differential test knows each entry
//! by its number and accepts no other difference.
//!
//! 1. `40 == 40.0` is true: an integer and a float are compared by their values.
//! 2. `"512" == 512` is true: if one side is a number, a text that is a decimal number is a number too.
//! 3. `"true" == true` is true: agents in the field send every property as a text. (`in` and `contains` follow 1 to 3.)
//! 4. An integer and a float above 2^53 are ordered exactly, without rounding the integer.
//! 5. Infinity and NaN compare with nothing, and arithmetic never produces them: the result is unknown where evalexpr
//!    continues (`1.0 / 0`, `10.0 ^ 400`).
//! 6. A list compares with nothing; only `in` and `contains` read it. The result is unknown where evalexpr compares.
//! 7. `version` and `newVersion` are ordered only by `semver(…)`; `version < "1.10.0"` is refused by the parser.
//!
//! Some errors of evalexpr are results here: a missing attribute is unknown, and `false &&` unknown is no;
//! `"512" < 1024` and `"512" * 2` calculate; the text `"true"` of an attribute is a condition.
//! Some texts that evalexpr accepts are refused here: assignments, `;`, functions without parentheses, unknown
//! functions, empty or one-sided expressions, lists outside `in` and `contains`, numbers beyond 64 bits, `inf`, `nan`.

mod clause;
mod compile;
mod error;
mod evaluate;
mod function;
mod glob;
mod grammar;
mod needs;
mod operand;
mod program;
mod screen;
mod slots;
mod token;

pub use clause::{Clause, Doubt, Truth};
pub use error::PolicyError;
pub use slots::{Facts, Slots};

pub(crate) use needs::{Key, Needs};
pub(crate) use program::OperationId;
pub(crate) use screen::Screen;

use evaluate::Evaluation;
use program::Program;
use serde::{Deserialize, Serialize};

/// Longest policy: 4 KiB. A catalog holds hundreds of policies, and a person cannot review a longer one.
pub const POLICY_BYTES_MAX: usize = 4 * 1024;

/// Most words and signs of a policy. evalexpr's tree of a flat chain is as deep as the chain is long, and dropping the
/// tree recurses.
pub const TOKENS_MAX: usize = 256;

/// Most nested levels of parentheses, `!` and `-`. Compiling and evaluating recurse once per level, and must fit a
/// stack of 256 KiB.
pub const NESTING_MAX: usize = 32;

/// Condition that a device must meet to get an update.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    text: String,
    /// `None` admits every device.
    program: Option<Program>,
}

/// Facts about the update and the device's cohort that a policy can use.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Version that the device would get.
    pub new_version: &'a semver::Version,
    /// Cohort of the device, 0 to 9999. It is computed only for policies that use it.
    pub cohort: &'a dyn Fn() -> u16,
}

impl Policy {
    /// Compiles a policy. All policies of one catalog share `slots`. A blank text admits every device.
    ///
    /// # Errors
    /// The first error in the text, with its column.
    pub fn parse(text: &str, slots: &mut Slots) -> Result<Self, PolicyError> {
        let program = if text.trim().is_empty() && text.len() <= POLICY_BYTES_MAX {
            None
        } else {
            let tokens = token::tokenize(text)?;
            grammar::check(text, &tokens)?;
            Some(compile::compile(text, &tokens, slots)?)
        };
        Ok(Self { text: text.to_owned(), program })
    }

    /// Text of the policy.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Evaluates the policy for one device. Its `facts` come from the [`Slots`] with which the policy was parsed.
    pub fn evaluate(&self, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Truth {
        match &self.program {
            None => Truth::Yes,
            Some(program) => clause::truth(&Evaluation { program, facts, candidate }, &self.text, program.root),
        }
    }

    /// Attribute values that a device must have for the policy to admit it.
    pub(crate) fn needs(&self) -> Needs {
        self.program.as_ref().map(Program::needs).unwrap_or_default()
    }

    /// `true` if the evaluation ends. Bytes from storage could contain any program.
    pub(crate) fn is_sound(&self) -> bool {
        self.program.as_ref().is_none_or(Program::is_sound)
    }

    /// Result of a part of the policy; `None` for "unknown".
    pub(crate) fn part(&self, id: OperationId, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Option<bool> {
        Evaluation { program: self.program.as_ref()?, facts, candidate }.condition(id).ok()
    }

    /// Result of each clause, in the order of the text. A blank policy has no clauses.
    pub fn explain(&self, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Vec<Clause> {
        match &self.program {
            None => Vec::new(),
            Some(program) => clause::clauses(&Evaluation { program, facts, candidate }, &self.text),
        }
    }
}

/// Two policies are equal if their texts are equal.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Policy {}

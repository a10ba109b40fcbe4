//! Which devices an update is for: the distribution-policy expression, compiled once and asked often.
//!
//! The grammar (precedence, literals, comments) is evalexpr 11.3.1's. Its parser runs only on texts that passed our
//! own limits and checks; its evaluator does not run at all, because it errs on every missing attribute and never
//! stops early. A policy becomes a flat program that always ends with [`Truth::Yes`], [`Truth::No`] or
//! [`Truth::Unknown`], and admits a device only on a yes.
//!
//! # Where this differs from evalexpr, deliberately
//!
//! Where evalexpr answers with a boolean, ours is the same, but for this list. The differential test knows each entry
//! by its number and accepts no other difference.
//!
//! 1. `40 == 40.0` holds: a whole number and a float are compared by what they are worth.
//! 2. `"512" == 512` holds: of a number and a text that writes a number, both are numbers.
//! 3. `"true" == true` holds: agents in the field send every property as a text. (`in` and `contains` follow 1 to 3.)
//! 4. A whole number and a float above 2^53 are ordered exactly, not after rounding the whole number.
//! 5. Nothing compares with infinity or with what is not a number, and arithmetic never makes one:
//!    the answer is unknown where evalexpr goes on (`1.0 / 0`, `10.0 ^ 400`).
//! 6. A list compares with nothing, `in` and `contains` look into it: the answer is unknown where evalexpr compares.
//! 7. `version` and `newVersion` are ordered by `semver(…)` only; `version < "1.10.0"` is refused when it is parsed.
//!
//! What evalexpr answers with an error can be an answer here: a missing attribute is unknown and `false &&` it is no,
//! `"512" < 1024` and `"512" * 2` calculate, and the text `"true"` of an attribute is a condition.
//! What evalexpr accepts can be refused here: assignments, `;`, functions without parentheses, unknown functions,
//! empty or one-sided expressions, lists outside `in` and `contains`, numbers beyond 64 bits, `inf` and `nan`.

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

/// 4 KiB: a catalog holds hundreds of policies in one item, and nobody can review a longer one.
pub const POLICY_BYTES_MAX: usize = 4 * 1024;

/// 256 words and signs: evalexpr's tree of a flat chain is as deep as the chain is long, and dropping it recurses.
pub const TOKENS_MAX: usize = 256;

/// 32 levels of parentheses, `!` and `-`: compiling and evaluating recurse once per level, on stacks of 256 KiB too.
pub const NESTING_MAX: usize = 32;

/// Which devices an update is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    text: String,
    /// `None` admits every device.
    program: Option<Program>,
}

/// The update a policy is asked about, as far as policies can see it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// The version the device would get.
    pub new_version: &'a semver::Version,
    /// The device's place in this rollout's queue, 0 to 9999; computed only for policies that mention it.
    pub cohort: &'a dyn Fn() -> u16,
}

impl Policy {
    /// Compiles a policy. `slots` are shared by all the policies of one catalog. A blank text admits every device.
    ///
    /// # Errors
    ///
    /// The first thing that keeps the text from being a condition within the limits, with its column.
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

    /// The policy as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Asks the policy about one device, whose `facts` come from the [`Slots`] the policy was parsed with.
    pub fn evaluate(&self, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Truth {
        match &self.program {
            None => Truth::Yes,
            Some(program) => clause::truth(&Evaluation { program, facts, candidate }, &self.text, program.root),
        }
    }

    /// What a device must say, at the least, for the policy to hold.
    pub(crate) fn needs(&self) -> Needs {
        self.program.as_ref().map(Program::needs).unwrap_or_default()
    }

    /// Whether evaluating it ends: what was read back from storage might be anything.
    pub(crate) fn is_sound(&self) -> bool {
        self.program.as_ref().is_none_or(Program::is_sound)
    }

    /// What a part of the policy says; `None` for "unknown".
    pub(crate) fn part(&self, id: OperationId, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Option<bool> {
        Evaluation { program: self.program.as_ref()?, facts, candidate }.condition(id).ok()
    }

    /// What became of each clause, in source order. A policy that admits every device has none.
    pub fn explain(&self, facts: &Facts<'_>, candidate: &Candidate<'_>) -> Vec<Clause> {
        match &self.program {
            None => Vec::new(),
            Some(program) => clause::clauses(&Evaluation { program, facts, candidate }, &self.text),
        }
    }
}

/// Two policies are the same if they are written the same.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Policy {}

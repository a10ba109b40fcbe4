//! Grammar check: values and operators must alternate, and parentheses must be balanced. evalexpr's parser does not
//! check this: it accepts `true &&`, and the evaluation fails.

use super::NESTING_MAX;
use super::error::PolicyError;
use super::token::{Span, Token, TokenKind};

/// Refuses a sequence of tokens that is not one complete expression.
pub(super) fn check(text: &str, tokens: &[Token]) -> Result<(), PolicyError> {
    let mut reader = Reader { text, previous: None, open: Vec::new(), signs: 0 };
    let mut turn = Turn::Value;
    for token in tokens {
        turn = match turn {
            Turn::Value => reader.value(*token)?,
            Turn::Operator => reader.operator(*token)?,
        };
        reader.check_nesting(*token)?;
        reader.previous = Some(*token);
    }
    reader.end(turn)
}

#[derive(Clone, Copy)]
enum Turn {
    Value,
    Operator,
}

struct Parenthesis {
    token: Token,
    /// Number of `!` and `-` in front of the parenthesis. They end with it.
    signs: usize,
}

struct Reader<'t> {
    text: &'t str,
    previous: Option<Token>,
    open: Vec<Parenthesis>,
    /// Number of `!` and `-` directly before the current token.
    signs: usize,
}

impl Reader<'_> {
    fn value(&mut self, token: Token) -> Result<Turn, PolicyError> {
        match token.kind {
            TokenKind::Name | TokenKind::Text | TokenKind::Literal => {
                self.signs = 0;
                Ok(Turn::Operator)
            }
            TokenKind::Not | TokenKind::Minus => {
                self.signs = self.signs.saturating_add(1);
                Ok(Turn::Value)
            }
            TokenKind::Open => {
                self.open_parenthesis(token);
                Ok(Turn::Value)
            }
            TokenKind::Close | TokenKind::Comma | TokenKind::Operator => Err(self.value_missing(token)),
        }
    }

    fn operator(&mut self, token: Token) -> Result<Turn, PolicyError> {
        match token.kind {
            TokenKind::Operator | TokenKind::Minus => Ok(Turn::Value),
            TokenKind::Open if self.previous.is_some_and(|before| before.kind == TokenKind::Name) => {
                self.open_parenthesis(token);
                Ok(Turn::Value)
            }
            TokenKind::Close => match self.open.pop() {
                Some(_) => Ok(Turn::Operator),
                None => Err(PolicyError::at(self.text, token.span, "this \")\" closes nothing")),
            },
            TokenKind::Comma if self.open.is_empty() => Err(PolicyError::at(
                self.text,
                token.span,
                "a comma only separates the values of a function; join conditions with \"&&\" or \"||\"",
            )),
            TokenKind::Comma => Ok(Turn::Value),
            _ => Err(self.operator_missing(token)),
        }
    }

    fn open_parenthesis(&mut self, token: Token) {
        self.open.push(Parenthesis { token, signs: self.signs });
        self.signs = 0;
    }

    fn check_nesting(&self, token: Token) -> Result<(), PolicyError> {
        let enclosing: usize = self.open.iter().map(|open| open.signs.saturating_add(1)).sum();
        if enclosing.saturating_add(self.signs) <= NESTING_MAX {
            return Ok(());
        }
        let message = format!("parentheses, \"!\" and \"-\" may be nested {NESTING_MAX} deep");
        Err(PolicyError::at(self.text, token.span, message))
    }

    fn end(&self, turn: Turn) -> Result<(), PolicyError> {
        match (turn, self.previous) {
            (Turn::Value, Some(before)) => {
                let end = Span { start: before.span.end, end: before.span.end };
                let message =
                    format!("expected a value after {}, found the end of the policy", before.described(self.text));
                Err(PolicyError::at(self.text, end, message))
            }
            (Turn::Operator, _) => match self.open.last() {
                Some(open) => Err(PolicyError::at(self.text, open.token.span, "this \"(\" is never closed")),
                None => Ok(()),
            },
            (Turn::Value, None) => Err(PolicyError {
                position: 1,
                message: "expected a condition, found only a comment; leave the policy blank to admit every device"
                    .to_owned(),
            }),
        }
    }

    fn value_missing(&self, token: Token) -> PolicyError {
        let found = token.described(self.text);
        let message = match self.previous {
            None => format!("expected a value before {found}"),
            Some(before) => format!("expected a value after {}, found {found}", before.described(self.text)),
        };
        PolicyError::at(self.text, token.span, message)
    }

    fn operator_missing(&self, token: Token) -> PolicyError {
        let found = token.described(self.text);
        let before = self.previous.map_or("", |before| before.span.of(self.text));
        let hint = match (before, token.span.of(self.text)) {
            (_, "and" | "AND" | "And") => "; \"and\" is written \"&&\"".to_owned(),
            (_, "or" | "OR" | "Or") => "; \"or\" is written \"||\"".to_owned(),
            ("not" | "NOT" | "Not", _) => "; \"not\" is written \"!\"".to_owned(),
            (value, function @ ("in" | "contains" | "starts_with" | "ends_with" | "matches")) => {
                format!("; {function} is a function: {function}({value}, …)")
            }
            _ => String::new(),
        };
        let before = self.previous.map_or_else(String::new, |before| before.described(self.text));
        PolicyError::at(self.text, token.span, format!("expected an operator after {before}, found {found}{hint}"))
    }
}

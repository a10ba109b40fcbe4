//! Parser of Builder policies.

use super::tokens::{Kind, Token, tokenize};
use crate::policy_text::NoEqual;

/// Deeper than our own policies may be nested.
const DEEPEST: usize = 32;

/// A policy as a tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Name(String),
    Number(String),
    Text(String),
    Regex(String),
    Boolean(bool),
    Null,
    Call(String, Vec<Expression>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    Binary(&'static str, Box<Expression>, Box<Expression>),
    /// Written in parentheses, which settle every question of precedence.
    Grouped(Box<Expression>),
}

impl Expression {
    /// The expression without parentheses around it.
    pub(super) fn bare(&self) -> &Expression {
        match self {
            Expression::Grouped(inner) => inner.bare(),
            other => other,
        }
    }
}

/// Reads a policy as one expression.
pub(super) fn parse(text: &str) -> Result<Expression, NoEqual> {
    let mut parser = Parser { text, tokens: tokenize(text)?, next: 0, depth: 0 };
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(extra) => Err(NoEqual(format!(
            "expected the end, found {} at column {}",
            extra.kind.shown(),
            parser.column(extra.start)
        ))),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn column(&self, start: usize) -> usize {
        self.text.get(..start).unwrap_or(self.text).chars().count() + 1
    }

    /// The next token, if it is one of `signs`; it is passed.
    fn take(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let Some(Token { kind: Kind::Sign(sign), .. }) = self.peek() else { return None };
        let found = signs.iter().find(|wanted| *wanted == sign).copied()?;
        self.next += 1;
        Some(found)
    }

    fn left_to_right(
        &mut self,
        signs: &[&'static str],
        tighter: fn(&mut Self) -> Result<Expression, NoEqual>,
    ) -> Result<Expression, NoEqual> {
        let mut left = tighter(self)?;
        while let Some(sign) = self.take(signs) {
            left = Expression::Binary(sign, Box::new(left), Box::new(tighter(self)?));
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Expression, NoEqual> {
        self.left_to_right(&["||"], Self::and)
    }

    fn and(&mut self) -> Result<Expression, NoEqual> {
        self.left_to_right(&["&&"], Self::comparison)
    }

    /// Two comparisons in a row are refused, because their order is not documented.
    fn comparison(&mut self) -> Result<Expression, NoEqual> {
        const COMPARISONS: [&str; 13] = ["==", "!=", "<=", ">=", "<", ">", "=~", "^=", "^!=", "$=", "$!=", "><", "<>"];
        let left = self.sum()?;
        let Some(sign) = self.take(&COMPARISONS) else { return Ok(left) };
        if matches!(left, Expression::Not(_)) {
            return Err(NoEqual(format!(
                "`!` in front of a comparison may mean its left side only; write !(… {sign} …)"
            )));
        }
        let right = self.sum()?;
        match self.take(&COMPARISONS) {
            Some(second) => Err(NoEqual(format!("`{sign}` and `{second}` in a row need parentheses"))),
            None => Ok(Expression::Binary(sign, Box::new(left), Box::new(right))),
        }
    }

    fn sum(&mut self) -> Result<Expression, NoEqual> {
        self.left_to_right(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Result<Expression, NoEqual> {
        self.left_to_right(&["*", "/", "%"], Self::prefixed)
    }

    fn prefixed(&mut self) -> Result<Expression, NoEqual> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(NoEqual(format!("it is nested more than {DEEPEST} deep")));
        }
        let expression = match self.take(&["!", "-"]) {
            Some("!") => Expression::Not(Box::new(self.prefixed()?)),
            Some(_) => match self.prefixed()? {
                Expression::Binary("^", ..) => return Err("`-` in front of `^` needs parentheses".into()),
                inner => Expression::Negate(Box::new(inner)),
            },
            None => self.power()?,
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn power(&mut self) -> Result<Expression, NoEqual> {
        let base = self.value()?;
        if self.take(&["^"]).is_none() {
            return Ok(base);
        }
        let exponent = self.value()?;
        match self.take(&["^"]) {
            Some(_) => Err("two `^` in a row need parentheses".into()),
            None => Ok(Expression::Binary("^", Box::new(base), Box::new(exponent))),
        }
    }

    fn value(&mut self) -> Result<Expression, NoEqual> {
        let Some(token) = self.peek().cloned() else {
            return Err("expected a value, found the end".into());
        };
        self.next += 1;
        Ok(match token.kind {
            Kind::Number(number) => Expression::Number(number),
            Kind::Text(text) => Expression::Text(text),
            Kind::Regex(pattern) => Expression::Regex(pattern),
            Kind::Name(name) => match name.as_str() {
                "true" => Expression::Boolean(true),
                "false" => Expression::Boolean(false),
                "null" => Expression::Null,
                _ if self.take(&["("]).is_some() => Expression::Call(name, self.arguments()?),
                _ => Expression::Name(name),
            },
            Kind::Sign("(") => {
                let inner = self.or()?;
                if self.take(&[")"]).is_none() {
                    return Err(NoEqual(format!(
                        "the parenthesis at column {} is never closed",
                        self.column(token.start)
                    )));
                }
                Expression::Grouped(Box::new(inner))
            }
            Kind::Sign(sign) => {
                return Err(NoEqual(format!(
                    "expected a value, found `{sign}` at column {}",
                    self.column(token.start)
                )));
            }
        })
    }

    fn arguments(&mut self) -> Result<Vec<Expression>, NoEqual> {
        let mut arguments = vec![self.or()?];
        while self.take(&[","]).is_some() {
            arguments.push(self.or()?);
        }
        match self.take(&[")"]) {
            Some(_) => Ok(arguments),
            None => Err("a list of arguments is never closed".into()),
        }
    }
}

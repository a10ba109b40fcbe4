//! Tokens of a Builder policy.

use crate::policy_text::NoEqual;

/// Up to here every whole number is itself in Builder's JavaScript, too.
const LARGEST_WHOLE_NUMBER: u64 = 1 << 53;

/// A token without its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Name(String),
    Number(String),
    Text(String),
    Regex(String),
    Sign(&'static str),
}

impl Kind {
    /// The token as an error message shows it.
    pub(super) fn shown(&self) -> String {
        match self {
            Kind::Name(text) | Kind::Number(text) => format!("`{text}`"),
            Kind::Text(text) => format!("the text '{text}'"),
            Kind::Regex(text) => format!("/{text}/"),
            Kind::Sign(sign) => format!("`{sign}`"),
        }
    }
}

/// A token and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Index of its first byte.
    pub(super) start: usize,
}

/// Longest first: `<=` is not `<` and then `=`.
const SIGNS: [&str; 26] = [
    "^!=", "$!=", "&&", "||", "==", "!=", "<=", ">=", "=~", "^=", "$=", "><", "<>", "<", ">", "!", "+", "-", "*", "/",
    "%", "^", "(", ")", ",", "=",
];

/// Splits a policy into tokens.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, NoEqual> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        let column = || text.get(..at).unwrap_or(text).chars().count() + 1;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let a_value_may_follow = match tokens.last().map(|token| &token.kind) {
            None => true,
            Some(Kind::Sign(sign)) => *sign != ")",
            Some(_) => false,
        };
        let (kind, length) = match first {
            '\'' | '"' => text_literal(rest, first).map_err(|why| format!("column {}: {why}", column()))?,
            '/' if a_value_may_follow => regex_literal(rest).map_err(|why| format!("column {}: {why}", column()))?,
            digit if digit.is_ascii_digit() => number(rest).map_err(|why| format!("column {}: {why}", column()))?,
            letter if letter.is_alphabetic() || letter == '_' => {
                name(rest).map_err(|why| format!("column {}: {why}", column()))?
            }
            _ => match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
                Some("=") => return Err(NoEqual(format!("column {}: `=` alone is no operator of Builder", column()))),
                Some(sign) => (Kind::Sign(sign), sign.len()),
                None => return Err(NoEqual(format!("column {}: `{first}` is nothing in Builder's grammar", column()))),
            },
        };
        tokens.push(Token { kind, start: at });
        at += length;
    }
    Ok(tokens)
}

fn text_literal(rest: &str, quote: char) -> Result<(Kind, usize), NoEqual> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '\'' | '"'))) => text.push(escaped),
                Some((_, other)) => return Err(NoEqual(format!("what `\\{other}` means in a text is not documented"))),
                None => break,
            },
            end if end == quote => return Ok((Kind::Text(text), at + 1)),
            other => text.push(other),
        }
    }
    Err("this text is never closed".into())
}

fn regex_literal(rest: &str) -> Result<(Kind, usize), NoEqual> {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '/' => {
                let after = rest.get(at + 1..).and_then(|after| after.chars().next());
                if let Some(flag) = after.filter(|after| after.is_alphanumeric()) {
                    return Err(NoEqual(format!("the flag `{flag}` of a regular expression has no equal here")));
                }
                let pattern = rest.get(1..at).unwrap_or_default().to_owned();
                return Ok((Kind::Regex(pattern), at + 1));
            }
            _ => {}
        }
    }
    Err("this regular expression is never closed".into())
}

fn number(rest: &str) -> Result<(Kind, usize), NoEqual> {
    let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')).unwrap_or(rest.len());
    let word = rest.get(..length).unwrap_or(rest);
    let (whole, fraction) = word.split_once('.').unwrap_or((word, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'));
    match plain && whole.parse::<u64>().is_ok_and(|whole| whole <= LARGEST_WHOLE_NUMBER) {
        true => Ok((Kind::Number(word.into()), length)),
        false => Err(NoEqual(format!("`{word}` is not a number that reads the same here"))),
    }
}

/// A name, as far as it goes. `try-beta-features` is one name, as in Builder's own example; a `-`
/// with blanks around it is a subtraction, and before a digit it could be either.
fn name(rest: &str) -> Result<(Kind, usize), NoEqual> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    while let Some(after) = rest.get(length..).and_then(|after| after.strip_prefix('-')) {
        match after.chars().next() {
            Some(first) if first.is_alphabetic() || first == '_' => {
                length += 1 + after.find(|c| !is_part(c)).unwrap_or(after.len());
            }
            Some(first) if first.is_ascii_digit() => {
                let word = rest.get(..length + 2).unwrap_or(rest);
                return Err(NoEqual(format!(
                    "`{word}` may be one name or a subtraction; put blanks around `-` to subtract"
                )));
            }
            _ => break,
        }
    }
    Ok((Kind::Name(rest.get(..length).unwrap_or(rest).into()), length))
}

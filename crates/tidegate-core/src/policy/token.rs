//! Tokenizer: splits the text of a policy into the same tokens as evalexpr, and refuses all other characters.

use std::iter::Peekable;
use std::str::CharIndices;

use serde::{Deserialize, Serialize};

use super::error::PolicyError;
use super::{POLICY_BYTES_MAX, TOKENS_MAX};

/// Part of the policy's text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or(text)
    }

    pub(super) fn contains(self, inner: Span) -> bool {
        self.start <= inner.start && inner.end <= self.end
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Open,
    Close,
    Comma,
    Not,
    /// Minus: the grammar decides whether it is binary or unary.
    Minus,
    /// Any other operator. All of them are binary.
    Operator,
    Name,
    Text,
    /// A number, `true` or `false`.
    Literal,
}

impl TokenKind {
    /// `true` if evalexpr's tree has a node for it. The tree has none for parentheses and commas.
    pub(super) fn is_significant(self) -> bool {
        !matches!(self, TokenKind::Open | TokenKind::Close | TokenKind::Comma)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

impl Token {
    /// Text of the token in an error message.
    pub(super) fn described(self, text: &str) -> String {
        match self.kind {
            TokenKind::Text => format!("the text {}", shortened(self.span.of(text))),
            _ => format!("\"{}\"", shortened(self.span.of(text))),
        }
    }
}

/// Shortens a text, so that an error message fits one line of a terminal.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 48;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// Tokens of a policy, in order.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, PolicyError> {
    if text.len() > POLICY_BYTES_MAX {
        let beyond = text.char_indices().map(|(at, _)| at).find(|at| *at >= POLICY_BYTES_MAX);
        let start = beyond.unwrap_or(POLICY_BYTES_MAX);
        let message = format!("a policy may be {POLICY_BYTES_MAX} bytes long, this one has {}", text.len());
        return Err(PolicyError::at(text, Span { start, end: start }, message));
    }
    let mut lexer = Lexer { text, characters: text.char_indices().peekable() };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token()? {
        if tokens.len() >= TOKENS_MAX {
            let message =
                format!("a policy may have {TOKENS_MAX} words and signs; to list more devices, give them an attribute");
            return Err(PolicyError::at(text, token.span, message));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'t> {
    text: &'t str,
    characters: Peekable<CharIndices<'t>>,
}

impl Lexer<'_> {
    fn next_token(&mut self) -> Result<Option<Token>, PolicyError> {
        while let Some((start, character)) = self.characters.next() {
            let kind = match character {
                blank if blank.is_whitespace() => continue,
                '/' if self.skip_comment(start)? => continue,
                '(' => TokenKind::Open,
                ')' => TokenKind::Close,
                ',' => TokenKind::Comma,
                '"' => self.text_literal(start)?,
                '!' => {
                    if self.take('=') {
                        TokenKind::Operator
                    } else {
                        TokenKind::Not
                    }
                }
                '<' | '>' => {
                    self.take('=');
                    TokenKind::Operator
                }
                '=' | '&' | '|' => self.doubled(start, character)?,
                '+' | '-' | '*' | '/' | '%' | '^' => self.arithmetic(start, character)?,
                word if is_word(word) => self.word(start)?,
                stray => return Err(self.stray(start, stray)),
            };
            return Ok(Some(Token { kind, span: self.span_from(start) }));
        }
        Ok(None)
    }

    /// Skips a comment, `// to the end of the line` or `/* between */`, as evalexpr does.
    fn skip_comment(&mut self, start: usize) -> Result<bool, PolicyError> {
        if self.take('/') {
            self.characters.by_ref().find(|(_, character)| *character == '\n');
            return Ok(true);
        }
        if !self.take('*') {
            return Ok(false);
        }
        while let Some((_, character)) = self.characters.next() {
            if character == '*' && self.take('/') {
                return Ok(true);
            }
        }
        Err(self.refuse(start, "this comment is never closed with \"*/\""))
    }

    fn text_literal(&mut self, start: usize) -> Result<TokenKind, PolicyError> {
        while let Some((at, character)) = self.characters.next() {
            match character {
                '"' => return Ok(TokenKind::Text),
                '\\' if !self.take('"') && !self.take('\\') => {
                    return Err(self.refuse(at, "in a text a backslash can only stand before \" or \\"));
                }
                _ => {}
            }
        }
        Err(self.refuse(start, "this text is never closed with a double quote"))
    }

    /// Reads `==`, `&&` or `||`. A single one of these characters has no meaning.
    fn doubled(&mut self, start: usize, character: char) -> Result<TokenKind, PolicyError> {
        if self.take(character) {
            if character != '=' && self.take('=') {
                return Err(self.assignment(start));
            }
            return Ok(TokenKind::Operator);
        }
        Err(self.refuse(
            start,
            match character {
                '=' => "expected \"==\" to compare, found \"=\"; a policy cannot assign".to_owned(),
                other => format!("expected \"{other}{other}\", found \"{other}\""),
            },
        ))
    }

    fn arithmetic(&mut self, start: usize, character: char) -> Result<TokenKind, PolicyError> {
        if self.take('=') {
            return Err(self.assignment(start));
        }
        Ok(if character == '-' { TokenKind::Minus } else { TokenKind::Operator })
    }

    fn word(&mut self, start: usize) -> Result<TokenKind, PolicyError> {
        self.skip_word();
        let word = self.span_from(start).of(self.text);
        if matches!(word, "true" | "false") || is_integer(word) {
            return Ok(TokenKind::Literal);
        }
        if let Ok(number) = word.parse::<f64>() {
            return self.decimal(start, word, number);
        }
        if let Some(number) = self.signed_exponent(start) {
            return self.decimal(start, self.span_from(start).of(self.text), number);
        }
        self.name(start, word)
    }

    fn decimal(&self, start: usize, word: &str, number: f64) -> Result<TokenKind, PolicyError> {
        if word.starts_with(char::is_alphabetic) {
            let message = format!("\"{word}\" is not a number a device can have; write device.{word} for an attribute");
            return Err(self.refuse(start, message));
        }
        let whole = word.chars().all(|digit| digit.is_ascii_digit());
        if whole || !number.is_finite() {
            return Err(self.refuse(start, format!("the number {} is out of range", shortened(word))));
        }
        Ok(TokenKind::Literal)
    }

    /// Reads a signed exponent: evalexpr joins `1e`, `-` and `3` to one number, so `1e-3` is not a subtraction.
    fn signed_exponent(&mut self, start: usize) -> Option<f64> {
        let before = self.characters.clone();
        if !self.span_from(start).of(self.text).ends_with(['e', 'E']) {
            return None;
        }
        if self.take('-') || self.take('+') {
            self.skip_word();
            if let Ok(number) = self.span_from(start).of(self.text).parse::<f64>() {
                return Some(number);
            }
        }
        self.characters = before;
        None
    }

    fn name(&self, start: usize, word: &str) -> Result<TokenKind, PolicyError> {
        let shown = shortened(word);
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            let message = format!("\"{shown}\" is not a number; write device.{shown} if it is an attribute");
            return Err(self.refuse(start, message));
        }
        if word.split('.').any(str::is_empty) {
            return Err(self.refuse(start, format!("expected a name on both sides of each dot in \"{shown}\"")));
        }
        Ok(TokenKind::Name)
    }

    fn stray(&self, start: usize, stray: char) -> PolicyError {
        let message = match stray {
            '\'' | '‘' | '’' | '“' | '”' | '„' | '`' => {
                format!("texts are written in double quotes, found {stray}")
            }
            ';' => "a policy is a single condition; join several with \"&&\" or \"||\" instead of \";\"".to_owned(),
            '[' | ']' | '{' | '}' => {
                format!("\"{stray}\" has no meaning in a policy; look into a list with contains(list, value)")
            }
            '#' => "\"#\" has no meaning in a policy; a comment begins with //".to_owned(),
            control if control.is_control() => {
                format!("the control character {} has no meaning in a policy", control.escape_unicode())
            }
            other => format!("\"{other}\" has no meaning in a policy"),
        };
        self.refuse(start, message)
    }

    fn assignment(&self, start: usize) -> PolicyError {
        let operator = self.span_from(start).of(self.text);
        self.refuse(start, format!("a policy cannot assign: \"{operator}\" is not an operator"))
    }

    fn refuse(&self, start: usize, message: impl Into<String>) -> PolicyError {
        PolicyError::at(self.text, Span { start, end: start }, message)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.characters.next_if(|(_, character)| *character == wanted).is_some()
    }

    fn skip_word(&mut self) {
        while self.characters.next_if(|(_, character)| is_word(*character)).is_some() {}
    }

    fn span_from(&self, start: usize) -> Span {
        let end = self.characters.clone().peek().map_or(self.text.len(), |(at, _)| *at);
        Span { start, end }
    }
}

/// `true` for a character of a word. `:` is one, so that the error for `math::abs` names the function.
fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | ':' | '@' | '$')
}

fn is_integer(word: &str) -> bool {
    match word.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).is_ok(),
        None => word.parse::<i64>().is_ok(),
    }
}

//! Translates the regular expressions that our text functions can say exactly.

use crate::policy_text::{NoEqual, quoted};

/// The most alternatives of a pattern. Groups multiply them.
const MOST_ALTERNATIVES: usize = 16;

/// Conditions of which one must hold.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) alternatives: Vec<String>,
    /// True if it has a dot, which matches slightly more here.
    pub(super) has_wildcards: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Start,
    End,
    Literal(char),
    /// `.`
    AnyOne,
    /// `.*`
    AnyRun,
}

type Branch = Vec<Piece>;

/// Translates a pattern that is asked of `subject`, a value as our policies write it.
pub(super) fn translate(pattern: &str, subject: &str) -> Result<Translated, NoEqual> {
    let refused = |why: NoEqual| NoEqual(format!("/{pattern}/ cannot be carried: {why}"));
    let mut reader = Reader { rest: pattern.chars().peekable(), depth: 0 };
    let branches = reader.alternatives().map_err(refused)?;
    if reader.rest.next().is_some() {
        return Err(refused("a `)` closes nothing".into()));
    }
    let mut translated = Translated { alternatives: Vec::new(), has_wildcards: false };
    for branch in branches {
        let (condition, has_wildcards) = condition(&branch, subject).map_err(refused)?;
        translated.has_wildcards |= has_wildcards;
        if !translated.alternatives.contains(&condition) {
            translated.alternatives.push(condition);
        }
    }
    Ok(translated)
}

struct Reader<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    depth: usize,
}

impl Reader<'_> {
    fn alternatives(&mut self) -> Result<Vec<Branch>, NoEqual> {
        let mut all = self.sequence()?;
        while self.rest.next_if_eq(&'|').is_some() {
            all.extend(self.sequence()?);
        }
        match all.len() <= MOST_ALTERNATIVES {
            true => Ok(all),
            false => Err(NoEqual(format!("it stands for more than {MOST_ALTERNATIVES} alternatives"))),
        }
    }

    fn sequence(&mut self) -> Result<Vec<Branch>, NoEqual> {
        let mut branches: Vec<Branch> = vec![Vec::new()];
        while let Some(character) = self.rest.next_if(|next| !matches!(next, '|' | ')')) {
            let pieces = match character {
                '^' => vec![vec![Piece::Start]],
                '$' => vec![vec![Piece::End]],
                '.' => vec![self.dot()],
                '(' => self.group()?,
                '\\' => vec![vec![self.escaped()?]],
                '[' | ']' | '{' | '}' | '*' | '+' | '?' => {
                    return Err(NoEqual(format!("`{character}` has no equal here")));
                }
                literal => vec![vec![Piece::Literal(literal)]],
            };
            if let Some(repetition @ ('*' | '+' | '?' | '{')) = self.rest.peek() {
                return Err(NoEqual(format!("the repetition `{repetition}` has no equal here")));
            }
            branches = branches
                .iter()
                .flat_map(|before| pieces.iter().map(|after| [before.as_slice(), after].concat()))
                .collect();
            if branches.len() > MOST_ALTERNATIVES {
                return Err(NoEqual(format!("it stands for more than {MOST_ALTERNATIVES} alternatives")));
            }
        }
        Ok(branches)
    }

    /// `.`, `.*` and `.+`; a `?` behind the latter two changes how, but not whether they match.
    fn dot(&mut self) -> Branch {
        let pieces = match self.rest.next_if(|next| matches!(next, '*' | '+')) {
            None => return vec![Piece::AnyOne],
            Some('*') => vec![Piece::AnyRun],
            Some(_) => vec![Piece::AnyOne, Piece::AnyRun],
        };
        self.rest.next_if_eq(&'?');
        pieces
    }

    fn group(&mut self) -> Result<Vec<Branch>, NoEqual> {
        self.depth += 1;
        if self.depth > MOST_ALTERNATIVES {
            return Err("its groups are nested too deep".into());
        }
        if self.rest.next_if_eq(&'?').is_some() && self.rest.next_if_eq(&':').is_none() {
            return Err("`(?` has no equal here".into());
        }
        let inner = self.alternatives()?;
        self.depth -= 1;
        match self.rest.next() {
            Some(')') => Ok(inner),
            _ => Err("a `(` is never closed".into()),
        }
    }

    fn escaped(&mut self) -> Result<Piece, NoEqual> {
        match self.rest.next() {
            Some(sign) if sign.is_ascii_punctuation() => Ok(Piece::Literal(sign)),
            Some(other) => Err(NoEqual(format!("`\\{other}` has no equal here"))),
            None => Err("it ends with a backslash".into()),
        }
    }
}

/// One branch as a condition, and whether wildcards are in it.
fn condition(branch: &[Piece], subject: &str) -> Result<(String, bool), NoEqual> {
    let mut pieces = branch;
    let (mut from_start, mut to_end) = (false, false);
    while let [Piece::Start, rest @ ..] = pieces {
        (from_start, pieces) = (true, rest);
    }
    while let [rest @ .., Piece::End] = pieces {
        (to_end, pieces) = (true, rest);
    }
    if pieces.iter().any(|piece| matches!(piece, Piece::Start | Piece::End)) {
        return Err("`^` and `$` can only be carried at its ends".into());
    }
    // Without an anchor, what may be anything says nothing; it is the same, not only nearly.
    while let ([Piece::AnyRun, rest @ ..], false) = (pieces, from_start) {
        pieces = rest;
    }
    while let ([rest @ .., Piece::AnyRun], false) = (pieces, to_end) {
        pieces = rest;
    }
    // A line break would stop `^.*x` in JavaScript, so those stay patterns.
    let has_wildcards = pieces.iter().any(|piece| matches!(piece, Piece::AnyOne | Piece::AnyRun));
    let literal: String =
        pieces.iter().filter_map(|piece| if let Piece::Literal(c) = piece { Some(*c) } else { None }).collect();
    let has_glob_signs = literal.contains(['*', '?']);
    if !has_wildcards {
        let text = quoted(&literal);
        return Ok((
            match (from_start, to_end) {
                (false, false) => format!("contains({subject}, {text})"),
                (true, false) => format!("starts_with({subject}, {text})"),
                (false, true) => format!("ends_with({subject}, {text})"),
                // A text with these signs is no number and no condition: == compares it as a text.
                (true, true) if has_glob_signs => format!("{subject} == {text}"),
                (true, true) => format!("matches({subject}, {text})"),
            },
            false,
        ));
    }
    if has_glob_signs {
        return Err("a pattern here cannot ask for the characters `*` and `?` themselves".into());
    }
    let mut glob = String::new();
    if !from_start {
        glob.push('*');
    }
    for piece in pieces {
        match piece {
            Piece::Literal(character) => glob.push(*character),
            Piece::AnyOne => glob.push('?'),
            _ => glob.push('*'),
        }
    }
    if !to_end {
        glob.push('*');
    }
    Ok((format!("matches({subject}, {})", quoted(&glob)), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expected: &str) {
        let got = match translate(pattern, "x") {
            Ok(translated) => translated.alternatives.join(" || "),
            Err(why) => why.to_string(),
        };
        assert!(
            got == expected || (expected.starts_with('…') && got.ends_with(&expected['…'.len_utf8()..])),
            "{pattern}: {got}"
        );
    }

    #[test]
    fn exact_equals_are_found() {
        check("cam", r#"contains(x, "cam")"#);
        check("^cam", r#"starts_with(x, "cam")"#);
        check("cam$", r#"ends_with(x, "cam")"#);
        check("^cam$", r#"matches(x, "cam")"#);
        check(r"^a\*$", r#"x == "a*""#);
        check(r"1\.2\.3", r#"contains(x, "1.2.3")"#);
        check("^cam.*", r#"starts_with(x, "cam")"#);
        check(".*cam", r#"contains(x, "cam")"#);
        check("^(lamp|cam)-", r#"starts_with(x, "lamp-") || starts_with(x, "cam-")"#);
        check("^a|b$", r#"starts_with(x, "a") || ends_with(x, "b")"#);
        check("(?:^a)", r#"starts_with(x, "a")"#);
        check("^a.b.*c$", r#"matches(x, "a?b*c")"#);
        check("a.+b", r#"matches(x, "*a?*b*")"#);
        check("a.*?b", r#"matches(x, "*a*b*")"#);
        check("^$", r#"matches(x, "")"#);
        check("a\"b", r#"contains(x, "a\"b")"#);
        check("a|a", r#"contains(x, "a")"#);
    }

    #[test]
    fn everything_else_is_refused() {
        check("[ab]", "…`[` has no equal here");
        check("ab*", "…the repetition `*` has no equal here");
        check("(ab)+", "…the repetition `+` has no equal here");
        check(r"\d", r"…`\d` has no equal here");
        check("a^b", "…`^` and `$` can only be carried at its ends");
        check("(?=a)", "…`(?` has no equal here");
        check("(a", "…a `(` is never closed");
        check("a)", "…a `)` closes nothing");
        check(r"a.\*", "…a pattern here cannot ask for the characters `*` and `?` themselves");
        check("a\\", "…it ends with a backslash");
        check("(a|b)(a|b)(a|b)(a|b)(a|b)", "…it stands for more than 16 alternatives");
    }
}

//! Translates the target filter queries of hawkBit (RSQL) that ask for ids and attributes.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use crate::policy_text::{self, NoEqual, quoted};

/// Deeper than our own policies may be nested.
const DEEPEST: usize = 30;

/// A query in our words.
pub(super) struct Translation {
    pub(super) policy: String,
    pub(super) remarks: Vec<String>,
}

pub(super) fn translate(query: &str) -> Result<Translation, NoEqual> {
    let mut reader = Reader { rest: query.chars().peekable(), depth: 0, remarks: BTreeSet::new() };
    let policy = reader.any()?;
    reader.blanks();
    if let Some(extra) = reader.rest.next() {
        return Err(NoEqual(format!("`{extra}` is not expected where it stands")));
    }
    policy_text::check(&policy)?;
    Ok(Translation { policy, remarks: reader.remarks.into_iter().collect() })
}

struct Reader<'q> {
    rest: Peekable<Chars<'q>>,
    depth: usize,
    remarks: BTreeSet<String>,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while self.rest.next_if(|next| next.is_whitespace()).is_some() {}
    }

    /// `and` and `or` are words, `;` and `,` are signs.
    fn joined_by(&mut self, sign: char, word: &str) -> bool {
        self.blanks();
        if self.rest.next_if_eq(&sign).is_some() {
            return true;
        }
        let ahead: String = self.rest.clone().take(word.len() + 1).collect();
        let matches = ahead.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && ahead.get(word.len()..).is_some_and(|after| after.starts_with([' ', '(', '\t', '\n']));
        if matches {
            for _ in 0..word.len() {
                self.rest.next();
            }
        }
        matches
    }

    fn any(&mut self) -> Result<String, NoEqual> {
        let mut conditions = vec![self.all()?];
        while self.joined_by(',', "or") {
            conditions.push(self.all()?);
        }
        Ok(conditions.join(" || "))
    }

    fn all(&mut self) -> Result<String, NoEqual> {
        let mut conditions = vec![self.one()?];
        while self.joined_by(';', "and") {
            conditions.push(self.one()?);
        }
        Ok(conditions.join(" && "))
    }

    fn one(&mut self) -> Result<String, NoEqual> {
        self.blanks();
        if self.rest.next_if_eq(&'(').is_none() {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(NoEqual(format!("it is nested more than {DEEPEST} deep")));
        }
        let inner = self.any()?;
        self.depth -= 1;
        self.blanks();
        match self.rest.next() {
            Some(')') => Ok(format!("({inner})")),
            _ => Err("a parenthesis is never closed".into()),
        }
    }

    fn comparison(&mut self) -> Result<String, NoEqual> {
        let field = self.word(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
        let name = match field.as_str() {
            "controllerId" | "controllerid" | "id" => "id".to_owned(),
            other => match other.strip_prefix("attribute.") {
                Some(name) => attribute(name)?,
                None => {
                    return Err(NoEqual(format!(
                        "`{other}` is nothing that devices say; only controllerId and attribute.… are"
                    )));
                }
            },
        };
        self.blanks();
        let operator = self.word(|c| matches!(c, '=' | '!' | '<' | '>') || c.is_ascii_lowercase());
        let (operator, start_of_value) = operator_of(&operator);
        let values = self.values(start_of_value)?;
        match operator {
            "==" | "=in=" => self.is(&name, &values),
            "!=" | "=out=" => self.is_not(&name, &values),
            other => {
                Err(NoEqual(format!("`{other}` has no equal: hawkBit orders attributes as texts, \"9\" after \"10\"")))
            }
        }
    }

    fn is(&mut self, name: &str, values: &[String]) -> Result<String, NoEqual> {
        self.remarks.insert(format!("target filter: {name} is compared to the letter; hawkBit may take EU for eu"));
        match values {
            [one] if one.contains('*') => pattern(name, one),
            several if several.iter().any(|value| value.contains('*')) => Err("`*` in a list has no equal here".into()),
            [one] => Ok(format!("{name} == {}", quoted(one))),
            several => Ok(format!("in({name}, {})", list(several))),
        }
    }

    /// Also what hawkBit may take for equal is kept out.
    fn is_not(&mut self, name: &str, values: &[String]) -> Result<String, NoEqual> {
        self.remarks.insert(format!(
            "target filter: asks what {name} is not: a device that does not say it is never admitted here"
        ));
        let lowered: Vec<String> = values.iter().map(|value| value.to_lowercase()).collect();
        let subject = format!("lower({name})");
        match lowered.as_slice() {
            [one] if one.contains('*') => Ok(format!("!{}", pattern(&subject, one)?)),
            several if several.iter().any(|value| value.contains('*')) => Err("`*` in a list has no equal here".into()),
            [one] => Ok(format!("{subject} != {}", quoted(one))),
            several => Ok(format!("!in({subject}, {})", list(several))),
        }
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let mut word = String::new();
        while let Some(next) = self.rest.next_if(|next| is_part(*next)) {
            word.push(next);
            // An operator such as =in= ends with its second `=`, even if more follows.
            if word.len() > 1
                && matches!(
                    word.as_str(),
                    "==" | "!=" | "<=" | ">=" | "=in=" | "=out=" | "=lt=" | "=le=" | "=gt=" | "=ge=" | "=li="
                )
            {
                break;
            }
        }
        word
    }

    fn values(&mut self, start: &str) -> Result<Vec<String>, NoEqual> {
        self.blanks();
        if !start.is_empty() || self.rest.next_if_eq(&'(').is_none() {
            return Ok(vec![format!("{start}{}", self.one_value()?)]);
        }
        let mut values = vec![self.one_value()?];
        loop {
            self.blanks();
            match self.rest.next() {
                Some(',') => values.push(self.one_value()?),
                Some(')') => return Ok(values),
                _ => return Err("a list is never closed".into()),
            }
        }
    }

    fn one_value(&mut self) -> Result<String, NoEqual> {
        self.blanks();
        if let Some(quote) = self.rest.next_if(|next| matches!(next, '"' | '\'')) {
            let mut value = String::new();
            loop {
                match self.rest.next() {
                    Some(end) if end == quote => return Ok(value),
                    Some('\\') => value.extend(self.rest.next()),
                    Some(other) => value.push(other),
                    None => return Err("a text is never closed".into()),
                }
            }
        }
        let value = self.word(|c| !c.is_whitespace() && !"()\"';,=!~<>".contains(c));
        if value.is_empty() { Err("a value is missing".into()) } else { Ok(value) }
    }
}

/// The operator, and what was read of the value with it (`<5` is one word with nothing of it).
fn operator_of(word: &str) -> (&str, &str) {
    let end = word.rfind(['=', '<', '>']).map_or(0, |at| at + 1);
    (word.get(..end).unwrap_or(word), word.get(end..).unwrap_or_default())
}

fn attribute(name: &str) -> Result<String, NoEqual> {
    let plain = name.replace('-', "_");
    match plain.as_str() {
        "cohort" | "newVersion" | "major" | "minor" | "patch" | "version" => {
            Err(NoEqual(format!("the attribute {name} cannot be asked for: {plain} is a variable here")))
        }
        _ if plain.parse::<f64>().is_ok() => Ok(format!("device.{plain}")),
        _ => Ok(plain),
    }
}

fn pattern(name: &str, value: &str) -> Result<String, NoEqual> {
    match value.contains('?') {
        true => Err("`?` beside `*` is any character here".into()),
        false => Ok(format!("matches({name}, {})", quoted(value))),
    }
}

fn list(values: &[String]) -> String {
    values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &str) {
        let got = translate(query).map_or_else(|why| why.to_string(), |translation| translation.policy);
        assert!(
            got == expected || (expected.starts_with('…') && got.contains(expected.trim_start_matches('…'))),
            "{query}: {got}"
        );
    }

    #[test]
    fn ids_and_attributes_are_carried() {
        check("controllerId==lamp-1", r#"id == "lamp-1""#);
        check("controllerId==lamp-*", r#"matches(id, "lamp-*")"#);
        check("attribute.region==eu and attribute.stage!=Test", r#"region == "eu" && lower(stage) != "test""#);
        check(
            "attribute.region==eu;(attribute.a==1,attribute.b=='x y')",
            r#"region == "eu" && (a == "1" || b == "x y")"#,
        );
        check("attribute.region=in=(eu, \"us\") or id==a", r#"in(region, "eu", "us") || id == "a""#);
        check("attribute.region=out=(eu,us)", r#"!in(lower(region), "eu", "us")"#);
        check("attribute.hw-rev==3", r#"hw_rev == "3""#);
    }

    #[test]
    fn the_rest_is_refused() {
        check("name==lamp", "…`name` is nothing that devices say");
        check("tag==beta", "…`tag` is nothing");
        check("attribute.memory=gt=256", "…`=gt=` has no equal");
        check("attribute.memory>256", "…`>` has no equal");
        check("attribute.version==1.0", "…version is a variable here");
        check("attribute.a==", "…a value is missing");
        check("(attribute.a==1", "…a parenthesis is never closed");
        check("attribute.a=in=(1", "…a list is never closed");
        check("attribute.a==1 attribute.b==2", "…`a` is not expected");
        check("attribute.a==x*?", "…`?` beside `*`");
        check("", "…`` is nothing");
    }
}

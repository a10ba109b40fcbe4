//! Attributes: the named values that a device states. Nested values have dotted names.

use std::fmt;

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Number(f64),
    /// A text.
    Text(String),
    /// Several values under one name.
    List(Vec<Value>),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(out, "{value}"),
            Value::Integer(value) => write!(out, "{value}"),
            // Debug keeps the ".0" of a number that is not an integer.
            Value::Number(value) => write!(out, "{value:?}"),
            Value::Text(value) => write_quoted(out, value),
            Value::List(values) => {
                out.write_str("[")?;
                for (position, value) in values.iter().enumerate() {
                    if position > 0 {
                        out.write_str(", ")?;
                    }
                    write!(out, "{value}")?;
                }
                out.write_str("]")
            }
        }
    }
}

fn write_quoted(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write;
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            // A device must not control the operator's terminal.
            control if control.is_control() => write!(out, "\\u{:04x}", u32::from(control))?,
            plain => out.write_char(plain)?,
        }
    }
    out.write_char('"')
}

/// All attributes of a device, sorted by name.
///
/// A name in a policy cannot contain `-` or a space. So `try-beta-features` can also be read as `try_beta_features`,
/// unless an attribute with exactly that name exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    /// Sorted by name.
    values: Vec<(String, Value)>,
    /// From the name in a policy to the name that the device uses, sorted. Most devices have none.
    spellings: Vec<(String, String)>,
}

impl Attributes {
    /// No attributes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No attributes yet, with room for `count`.
    pub fn with_room_for(count: usize) -> Self {
        Self { values: Vec::with_capacity(count), spellings: Vec::new() }
    }

    /// Sets one attribute. A later value with the same name replaces the earlier one.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        if name.contains(['-', ' ']) {
            let spelling = name.replace(['-', ' '], "_");
            match place(&self.spellings, &spelling) {
                // Of "a-b" and "a b", the first in sorted order is read, independent of the order of insertion.
                Ok(known) => {
                    if let Some((_, original)) = self.spellings.get_mut(known).filter(|(_, original)| name < *original)
                    {
                        original.clone_from(&name);
                    }
                }
                Err(place) => self.spellings.insert(place, (spelling, name.clone())),
            }
        }
        match place(&self.values, &name) {
            Ok(known) => {
                if let Some((_, old)) = self.values.get_mut(known) {
                    *old = value;
                }
            }
            Err(place) => self.values.insert(place, (name, value)),
        }
    }

    /// Value of an attribute, by the device's name for it or by its name in a policy.
    pub fn get(&self, name: &str) -> Option<&Value> {
        find(&self.values, name).or_else(|| find(&self.values, find(&self.spellings, name)?))
    }

    /// All attributes with the device's names for them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Number of attributes.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// `true` if there is no attribute.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Index of a name, or the index at which it must be inserted.
fn place<T>(sorted: &[(String, T)], name: &str) -> Result<usize, usize> {
    // Most devices send their names in order.
    match sorted.last() {
        Some((last, _)) if last.as_str() < name => Err(sorted.len()),
        _ => sorted.binary_search_by(|(known, _)| known.as_str().cmp(name)),
    }
}

fn find<'a, T>(sorted: &'a [(String, T)], name: &str) -> Option<&'a T> {
    sorted.get(place(sorted, name).ok()?).map(|(_, value)| value)
}

impl FromIterator<(String, Value)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        let mut attributes = Self::new();
        for (name, value) in pairs {
            attributes.insert(name, value);
        }
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_dashes_answers_to_underscores() {
        let attributes = Attributes::from_iter([("try-beta features".to_owned(), Value::Bool(true))]);
        assert_eq!(attributes.get("try_beta_features"), Some(&Value::Bool(true)));
        assert_eq!(attributes.get("try-beta features"), Some(&Value::Bool(true)));
        assert_eq!(attributes.len(), 1);
    }

    #[test]
    fn the_exact_name_comes_before_the_respelled_one() {
        let mut attributes = Attributes::new();
        attributes.insert("a-b", Value::Integer(1));
        attributes.insert("a_b", Value::Integer(2));
        assert_eq!(attributes.get("a_b"), Some(&Value::Integer(2)));
        assert_eq!(attributes.get("a-b"), Some(&Value::Integer(1)));
    }

    #[test]
    fn of_two_respelled_names_the_same_one_answers_in_any_order() {
        let (dash, space) = (("a-b".to_owned(), Value::Integer(1)), ("a b".to_owned(), Value::Integer(2)));
        let forward = Attributes::from_iter([dash.clone(), space.clone()]);
        let backward = Attributes::from_iter([space, dash]);
        assert_eq!(forward.get("a_b"), Some(&Value::Integer(2)));
        assert_eq!(forward, backward);
    }

    #[test]
    fn values_print_like_json() {
        let list = Value::List(vec![
            Value::Bool(true),
            Value::Integer(-1),
            Value::Number(2.0),
            Value::Text("say \"hi\"\n\u{1b}[2J".to_owned()),
        ]);
        assert_eq!(list.to_string(), r#"[true, -1, 2.0, "say \"hi\"\n\u001b[2J"]"#);
    }

    #[test]
    fn attributes_come_out_sorted() {
        let attributes = Attributes::from_iter(["b", "a", "c"].map(|name| (name.to_owned(), Value::Integer(0))));
        assert_eq!(attributes.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!attributes.is_empty() && Attributes::new().is_empty());
    }
}

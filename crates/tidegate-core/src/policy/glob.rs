//! Shell patterns for `matches(text, glob)`: `*` is any run of characters, `?` is any one character.

/// `true` if the whole `text` matches `glob`. It takes at most text × glob steps and does not allocate.
///
/// Only the last `*` is extended: a longer run of an earlier `*` cannot match where the last one failed.
pub(super) fn matches(text: &str, glob: &str) -> bool {
    let (mut text, mut glob) = (text.chars(), glob.chars());
    let mut last_star = None;
    loop {
        let (mut text_rest, mut glob_rest) = (text.clone(), glob.clone());
        match (glob_rest.next(), text_rest.next()) {
            (Some('*'), _) => {
                last_star = Some((text.clone(), glob_rest.clone()));
                glob = glob_rest;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (text, glob) = (text_rest, glob_rest);
            }
            (None, None) => return true,
            (Some(_), None) => return false,
            (_, Some(_)) => {
                let Some((star_text, after_star)) = &mut last_star else {
                    return false;
                };
                star_text.next();
                (text, glob) = (star_text.clone(), after_star.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_glob_fits_the_whole_text() {
        for (text, glob, expected) in [
            ("", "", true),
            ("", "*", true),
            ("", "?", false),
            ("a", "", false),
            ("acme-cam", "acme-*", true),
            ("acme-cam", "acme", false),
            ("acme-cam", "*-c?m", true),
            ("acme-cam", "*-c?", false),
            ("ärger", "?rger", true),
            ("abcabd", "*ab?", true),
            ("abcabd", "a*b*d", true),
            ("abcabd", "a*b*c", false),
            ("a*b", "a*b", true),
            ("mississippi", "m*iss*ip*", true),
            ("aaa", "a*a*a*a", false),
        ] {
            assert_eq!(matches(text, glob), expected, "{text:?} against {glob:?}");
        }
    }

    /// The definition as a recursion. It is exponential and easy to verify.
    fn by_definition(text: &[u8], glob: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((b'*', rest)), _) => (0..=text.len()).any(|taken| by_definition(&text[taken..], rest)),
            (Some((wanted, rest)), Some((found, text))) => {
                (*wanted == b'?' || wanted == found) && by_definition(text, rest)
            }
            (Some(_), None) => false,
        }
    }

    #[test]
    fn every_short_glob_agrees_with_the_definition() {
        let words = |alphabet: &[u8], longest: u32| {
            let mut words = vec![Vec::new()];
            let mut from = 0;
            for _ in 0..longest {
                let until = words.len();
                for word in from..until {
                    for letter in alphabet {
                        words.push([words[word].as_slice(), &[*letter]].concat());
                    }
                }
                from = until;
            }
            words
        };
        for glob in words(b"ab*?", 4) {
            for text in words(b"ab", 5) {
                let (text_str, glob_str) = (str::from_utf8(&text).unwrap(), str::from_utf8(&glob).unwrap());
                assert_eq!(matches(text_str, glob_str), by_definition(&text, &glob), "{text_str} {glob_str}");
            }
        }
    }

    #[test]
    fn a_hostile_glob_costs_no_more_than_text_times_glob() {
        let text = "a".repeat(1_024);
        assert!(!matches(&text, &format!("{}b", "*a".repeat(1_000))), "an exponential matcher would never get here");
    }
}

//! The operator key: it proves on this machine that a request comes from an operator. In AWS, IAM does that.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// A program on this machine could guess a shorter key.
const MIN_CHARACTERS: usize = 16;

/// A secret that operators send as `Authorization: Bearer <key>`.
#[derive(Clone)]
pub struct OperatorKey(String);

impl OperatorKey {
    /// A new random key.
    pub fn generate() -> OperatorKey {
        // Two version 4 UUIDs hold 244 random bits.
        OperatorKey(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()))
    }

    /// Parses a key. Surrounding white space is not part of it.
    ///
    /// # Errors
    /// When it is shorter than 16 characters or cannot be sent in a header.
    pub fn parse(text: &str) -> Result<OperatorKey> {
        let key = text.trim();
        if key.len() < MIN_CHARACTERS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::OperatorKey { expected: "at least 16 visible ASCII characters without spaces" });
        }
        Ok(OperatorKey(key.to_owned()))
    }

    /// Reads the key in `file`. Without the file, writes a new key that only the file's owner can read.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds no key.
    pub fn load_or_create(file: &Path) -> Result<OperatorKey> {
        let unusable = |source| Error::Path { path: file.to_owned(), source };
        match std::fs::read_to_string(file) {
            Ok(text) => OperatorKey::parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = OperatorKey::generate();
                key.store(file).map_err(unusable)?;
                Ok(key)
            }
            Err(error) => Err(unusable(error)),
        }
    }

    /// The key itself, for an operator.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns true if `authorization`, the value of the header, is this key. The comparison takes constant time.
    pub(crate) fn opens(&self, authorization: &str) -> bool {
        let Some((scheme, offered)) = authorization.split_once(' ') else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && offered.trim().as_bytes().ct_eq(self.0.as_bytes()).into()
    }

    fn store(&self, file: &Path) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        writeln!(options.open(file)?, "{}", self.0)
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bearer_of_the_very_key_is_let_in() {
        let key = OperatorKey::parse("0123456789abcdef").expect("a key of 16 characters");
        for right in ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER  0123456789abcdef "] {
            assert!(key.opens(right), "{right}");
        }
        for wrong in ["", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer", "Bearer ", "Bearer 0123456789abcdeF"]
        {
            assert!(!key.opens(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_could_be_guessed_or_not_be_sent_is_refused() {
        assert!(OperatorKey::parse("short").is_err());
        assert!(OperatorKey::parse("").is_err());
        assert!(OperatorKey::parse("0123456789 abcdefg").is_err());
    }

    #[test]
    fn a_stored_key_is_the_same_the_next_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("operator.key");
        let first = OperatorKey::load_or_create(&file).expect("a new key");
        let second = OperatorKey::load_or_create(&file).expect("the stored key");
        assert_eq!(first.expose(), second.expose());
    }

    #[test]
    fn a_key_never_shows_in_a_log() {
        assert_eq!(format!("{:?}", OperatorKey::generate()), "OperatorKey(…)");
    }
}

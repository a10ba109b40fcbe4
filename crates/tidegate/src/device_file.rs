//! `device.json`: the description that a device sends. It is read as it is and changed as little as possible.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_wire::body_limits;

use crate::error::{CommandError, CommandResult};

/// The service refuses larger bodies. The same limit here saves a round trip.
const LIMIT_BYTES: usize = body_limits::DEVICE.bytes;

/// A `device.json` on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFile {
    path: PathBuf,
    text: String,
    /// The device's id.
    pub id: String,
    /// Its product.
    pub product: String,
    /// The version it runs.
    pub version: String,
}

impl DeviceFile {
    /// Reads the file; it must be JSON with `id`, `product` and `version`.
    pub fn read(path: &Path) -> CommandResult<Self> {
        let text = std::fs::read_to_string(path).map_err(|cause| CommandError::file("read", path, cause))?;
        if text.len() > LIMIT_BYTES {
            return Err(CommandError::bad_input(format!("{} is larger than {LIMIT_BYTES} bytes", path.display())));
        }
        let document: Value = serde_json::from_str(&text).map_err(|cause| {
            CommandError::bad_input(format!("{} is not JSON: {cause}", path.display())).because(cause)
        })?;
        let field = |name: &str| {
            let value = document.get(name).and_then(Value::as_str);
            value
                .map(str::to_owned)
                .ok_or_else(|| CommandError::bad_input(format!("{} has no text `{name}`", path.display())))
        };
        Ok(Self {
            id: field("id")?,
            product: field("product")?,
            version: field("version")?,
            path: path.to_owned(),
            text,
        })
    }

    /// Reads the file again: an apply command may have changed it.
    pub fn read_again(&self) -> CommandResult<Self> {
        Self::read(&self.path)
    }

    /// The bytes to check in with.
    pub fn body(&self) -> Vec<u8> {
        self.text.clone().into_bytes()
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new version into the file, in one step: a power cut leaves the old file or the new.
    pub fn write_version(&self, version: &str) -> CommandResult {
        let text = replace_version(&self.text, version)
            .ok_or_else(|| CommandError::bad_input(format!("{} has no text `version`", self.path.display())))?;
        write_atomically(&self.path, text.as_bytes())
    }
}

/// Writes a file so that its name always shows either the old or the new content.
pub fn write_atomically(path: &Path, content: &[u8]) -> CommandResult {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(content)?;
        // The temporary file is for its owner only; the file it replaces may be more open.
        if let Ok(metadata) = std::fs::metadata(path) {
            file.as_file().set_permissions(metadata.permissions())?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failure| failure.error)?;
        Ok(())
    });
    written.map_err(|cause| {
        CommandError::failed("file_error", format!("cannot write {}: {cause}", path.display())).because(cause)
    })
}

/// Replaces the value of the top-level `"version"` in a JSON text and leaves every other byte alone:
/// order, spaces and number formats are the author's.
fn replace_version(text: &str, version: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = string_end(bytes, at)?;
                let colon = skip_space(bytes, end);
                let is_key = depth == 1 && bytes.get(colon) == Some(&b':');
                let name = serde_json::from_str::<String>(text.get(at..end)?).ok()?;
                if is_key && name == "version" {
                    let start = skip_space(bytes, colon + 1);
                    if bytes.get(start) != Some(&b'"') {
                        return None;
                    }
                    let rest = text.get(string_end(bytes, start)?..)?;
                    let value = Value::from(version);
                    return Some(format!("{}{value}{rest}", text.get(..start)?));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The index behind the closing quote of the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_of_the_device_itself_is_replaced() {
        let check = |before: &str, after: Option<&str>| {
            assert_eq!(replace_version(before, "2.0.0").as_deref(), after, "{before}");
        };
        check(r#"{"id":"a","version":"1.0.0"}"#, Some(r#"{"id":"a","version":"2.0.0"}"#));
        check(
            "{\n  \"modem\": {\"version\": \"9\"},\n  \"version\" : \"1.0.0\",\n  \"z\": 1.50\n}\n",
            Some("{\n  \"modem\": {\"version\": \"9\"},\n  \"version\" : \"2.0.0\",\n  \"z\": 1.50\n}\n"),
        );
        check(
            r#"{"a":"version","b":["version"],"c":"\"version\":\"1\"","version":"1.0.0"}"#,
            Some(r#"{"a":"version","b":["version"],"c":"\"version\":\"1\"","version":"2.0.0"}"#),
        );
        check(r#"{"id":"a"}"#, None);
        check(r#"{"version":1}"#, None);
    }

    #[test]
    fn the_file_is_replaced_in_one_step_and_keeps_its_author_s_format() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("device.json");
        std::fs::write(&path, "{ \"id\":\"a\", \"product\":\"p\",\n\"version\":\"1.0.0\" }").expect("writable");
        let device = DeviceFile::read(&path).expect("a good file");
        device.write_version("2.0.0").expect("writable");
        let again = device.read_again().expect("a good file");
        assert_eq!(again.version, "2.0.0");
        assert_eq!(again.text, "{ \"id\":\"a\", \"product\":\"p\",\n\"version\":\"2.0.0\" }");
        let files = std::fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(files, 1, "nothing temporary stays behind");
    }

    #[test]
    fn a_file_without_an_identity_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("device.json");
        std::fs::write(&path, r#"{"id":"a","version":"1.0.0"}"#).expect("writable");
        let error = DeviceFile::read(&path).expect_err("no product");
        assert!(error.to_string().ends_with("has no text `product` (bad_input)"), "{error}");
    }
}

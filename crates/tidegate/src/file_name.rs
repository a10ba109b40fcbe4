//! Names of files that a device writes: made from versions, or given by the service.

use std::path::Path;

/// A version as a file name.
pub fn plain_name(version: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
    version.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// Returns true if a name from the service can be a file name: it is one plain component, so no offer writes outside
/// its folder.
pub fn is_plain_file_name(name: &str) -> bool {
    let is_one_component = Path::new(name).file_name().is_some_and(|file| file == name);
    is_one_component && !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_lead_out_of_its_folder() {
        for name in ["../x", "/etc/passwd", "a/b", "a\\b", "", ".", "..", ".ssh", "c:x"] {
            assert!(!is_plain_file_name(name), "{name}");
        }
        for name in ["rootfs.swu", "2.4.0.bin", "image with space"] {
            assert!(is_plain_file_name(name), "{name}");
        }
    }
}

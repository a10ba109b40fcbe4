//! The answer to a check-in, as a device reads it.
//!
//! A device reads less strictly than an operator's command: it lives longer than the service that it was built with. So
//! these types are its own, and not those of `tidegate-wire`.

use serde::Deserialize;
use serde_json::Value;

use crate::download::Promise;
use crate::error::{CommandError, CommandResult};
use crate::file_name::plain_name;

/// The answer to a check-in. Unknown fields are left alone: the service may learn new ones.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Answer {
    /// The wait until the next check-in.
    pub check_again_after_s: Option<u64>,
    /// The reason for no offer, as a code.
    pub reason: Option<String>,
    /// The time at which the reason ends, if it ends by itself.
    pub opens_at: Option<String>,
    /// The offer, if there is one.
    #[serde(skip)]
    pub offer: Option<Offer>,
}

/// An update that this device may have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Offer {
    /// The version.
    pub version: String,
    /// The id of the update, for reports.
    pub update: String,
    /// `file`, `json` or `url_list`.
    #[serde(default)]
    pub kind: Option<String>,
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// A description for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Free text for the device, as the author wrote it.
    #[serde(default)]
    pub specification: Option<Value>,
    /// The content itself, for updates that are not files.
    #[serde(default)]
    pub payload: Option<Value>,
    /// The time at which the URLs expire.
    #[serde(default)]
    pub expires_at: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    checksum: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    files: Vec<OfferedFile>,
}

/// One file of an offer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct OfferedFile {
    name: String,
    url: String,
    sha256: String,
    size: u64,
}

impl Answer {
    /// Reads an answer of the service.
    pub fn read(document: &Value) -> CommandResult<Self> {
        let misread = |cause: serde_json::Error| {
            let message = format!("the answer to the check-in is not understood: {cause}");
            CommandError::failed("bad_answer", message).because(cause)
        };
        let mut answer = Self::deserialize(document).map_err(misread)?;
        // An offer names its update. One that does and cannot be read must not look like "nothing".
        if document.get("update").is_some() {
            answer.offer = Some(Offer::deserialize(document).map_err(misread)?);
        }
        Ok(answer)
    }

    /// The reason for no offer, in words for a person.
    pub fn nothing(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        let mut text = format!("nothing to offer now: {}", crate::output::clean(reason));
        if let Some(opens_at) = &self.opens_at {
            text.push_str(&format!(", opens at {}", crate::time::show(opens_at)));
        }
        if let Some(wait_s) = self.check_again_after_s {
            let wait = std::time::Duration::from_secs(wait_s);
            text.push_str(&format!("; check again in {}", crate::duration::show(wait)));
        }
        text
    }
}

impl Offer {
    /// The files to fetch, with what was promised of each. Updates without files have none.
    pub fn promises(&self) -> CommandResult<Vec<Promise>> {
        if !self.files.is_empty() {
            return self
                .files
                .iter()
                .map(|file| Promise::new(&file.name, &file.url, &file.sha256, file.size))
                .collect();
        }
        match (&self.url, &self.checksum, self.size) {
            (None, _, _) => Ok(Vec::new()),
            (Some(url), Some(checksum), Some(size_bytes)) => {
                let name = format!("{}.bin", plain_name(&self.version));
                Promise::new(&name, url, checksum, size_bytes).map(|promise| vec![promise])
            }
            (Some(_), _, _) => {
                Err(CommandError::failed("bad_answer", "the offer has a url but no checksum or size to verify it with"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_without_an_offer_says_why_and_when_to_return() {
        let answer =
            Answer::read(&json!({"check_again_after_s": 86400, "reason": "up_to_date"})).expect("a good answer");
        assert_eq!(answer.offer, None);
        assert_eq!(answer.nothing(), "nothing to offer now: up_to_date; check again in 1d");
    }

    #[test]
    fn an_offer_of_one_file_is_named_after_its_version() {
        let answer = Answer::read(&json!({
            "url": "https://x/y", "checksum": "ab".repeat(32), "version": "2.4.0", "update": "u1",
            "size": 3, "check_again_after_s": 3600, "invented_later": true
        }))
        .expect("a good answer");
        let offer = answer.offer.expect("an offer");
        let promises = offer.promises().expect("complete");
        assert_eq!(promises.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["2.4.0.bin"]);
        assert_eq!(answer.check_again_after_s, Some(3600));
    }

    #[test]
    fn an_offer_that_cannot_be_verified_is_refused() {
        let answer = Answer::read(&json!({"url": "https://x/y", "version": "2.4.0", "update": "u1"}));
        let offer = answer.expect("a good answer").offer.expect("an offer");
        assert_eq!(offer.promises().expect_err("no checksum").code(), "bad_answer");
    }
}

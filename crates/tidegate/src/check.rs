//! `tidegate check`: one check-in as a device.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::device_file::DeviceFile;
use crate::download::{Downloader, Throttle};
use crate::error::{CommandError, CommandResult};
use crate::offer::{Answer, Offer};
use crate::output::{self, Output, Tone};
use crate::progress;
use tidegate_wire::route::PublishRoute;

/// Options of `tidegate check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The device.json of the device: JSON with id, product, version and any attributes
    #[arg(value_name = "DEVICE.json")]
    pub device: PathBuf,
    /// Token of the device [default: one issued with the operator key]
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Download the offered files into this folder, and verify them
    #[arg(long, value_name = "DIR")]
    pub download: Option<PathBuf>,
}

/// Checks in once and shows the answer.
pub fn run(args: CheckArgs, common: &Common, output: &Output) -> CommandResult {
    let device = DeviceFile::read(&args.device)?;
    let token = match args.token {
        Some(token) => token,
        None => issue_token(common, &device)?,
    };
    let client = common.device(token)?;
    let document = client.post_bytes(&ApiPath::check(), device.body())?;
    let answer = Answer::read(&document)?;
    let Some(offer) = &answer.offer else {
        output.document(&document)?;
        let (id, product) = (output::clean(&device.id), output::clean(&device.product));
        let more = format!("`tidegate why {id} --product {product}` says more");
        return Err(CommandError::nothing_to_offer(format!("{}; {more}", answer.nothing())));
    };
    show(&device, offer, &answer, output)?;
    let downloaded = match &args.download {
        Some(folder) => Some(download(&client, offer, folder, output)?),
        None => None,
    };
    if downloaded.is_none() && !offer.promises()?.is_empty() {
        output.line(format!("next: tidegate check {} --download DIR", args.device.display()))?;
    }
    output.document(&with_downloaded(document, downloaded))
}

/// The answer as the service gave it, plus where the files are now.
fn with_downloaded(mut document: Value, downloaded: Option<Vec<PathBuf>>) -> Value {
    if let (Some(paths), Some(fields)) = (downloaded, document.as_object_mut()) {
        let paths = paths.iter().map(|path| json!(path.display().to_string())).collect();
        fields.insert("downloaded".into(), Value::Array(paths));
    }
    document
}

fn issue_token(common: &Common, device: &DeviceFile) -> CommandResult<String> {
    if !common.can_operate()? {
        return Err(CommandError::usage(
            "a device token is needed: --token T, or an operator key or --profile to issue one with",
        ));
    }
    let path = ApiPath::device(PublishRoute::IssueToken, &device.product, &device.id);
    crate::token::token_of(&common.operator()?.put(&path)?)
}

fn show(device: &DeviceFile, offer: &Offer, answer: &Answer, output: &Output) -> CommandResult {
    output.line(format!(
        "{} runs {}; offered is {}",
        output::clean(&device.id),
        output::clean(&device.version),
        output.paint(Tone::Strong, &output::clean(&offer.version)),
    ))?;
    let mut facts = vec![("update", output::clean(&offer.update))];
    let texts = [("name", &offer.name), ("description", &offer.description), ("kind", &offer.kind)];
    for (label, text) in texts {
        facts.extend(text.as_ref().map(|text| (label, output::clean(text))));
    }
    for promise in offer.promises()? {
        let size = output::bytes(promise.size_bytes);
        facts.push(("file", format!("{} ({size}, SHA-256 {})", promise.name, promise.sha256)));
    }
    let documents = [("payload", &offer.payload), ("specification", &offer.specification)];
    for (label, document) in documents {
        facts.extend(document.as_ref().map(|document| (label, output::plain(document))));
    }
    facts.extend(offer.expires_at.as_ref().map(|at| ("expires", crate::time::show(at))));
    facts.extend(
        answer
            .check_again_after_s
            .map(|wait_s| ("check again", crate::duration::show(std::time::Duration::from_secs(wait_s)))),
    );
    for (label, fact) in facts {
        output.line(format!("  {label:<14}{fact}"))?;
    }
    Ok(())
}

fn download(
    client: &ApiClient,
    offer: &Offer,
    folder: &std::path::Path,
    output: &Output,
) -> CommandResult<Vec<PathBuf>> {
    let downloader = Downloader::new(client.transfers(), folder, Throttle::Off);
    let mut paths = Vec::new();
    for promise in offer.promises()? {
        let bar = progress::bar(&promise.name, promise.size_bytes);
        let path = downloader.fetch(&promise, &bar);
        bar.finish_and_clear();
        let path = path?;
        let verdict = output.paint(Tone::Good, "size and SHA-256 are as promised");
        output.line(format!("{}: {verdict}", path.display()))?;
        paths.push(path);
    }
    if paths.is_empty() {
        output.line("this update has no files to download")?;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::error::Exit;
    use crate::output::Reader;
    use crate::stub_server::{Reply, StubServer};

    fn check(server: &StubServer, folder: &std::path::Path, token: Option<&str>) -> CommandResult {
        let device = folder.join("device.json");
        std::fs::write(&device, r#"{"id":"d 1","product":"lamp","version":"1.0.0"}"#).expect("writable");
        let common = Common { key: Some("k1".into()), json: true, ..Common::of(server.base()) };
        let args = CheckArgs { device, token: token.map(str::to_owned), download: Some(folder.join("images")) };
        run(args, &common, &Output::new(Reader::Person))
    }

    fn offer(base: &str, checksum: &str) -> Reply {
        let offer = json!({
            "url": format!("{base}/image"), "checksum": checksum, "version": "2.0.0",
            "update": "u1", "size": 5, "check_again_after_s": 3600
        });
        Reply::json(200, &offer.to_string())
    }

    #[test]
    fn without_a_token_one_is_issued_and_the_offer_is_fetched_and_verified() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checksum = hex::encode(Sha256::digest(b"hello"));
        let server = StubServer::start_with(|base| {
            vec![Reply::json(200, r#"{"token":"d1.k.x"}"#), offer(base, &checksum), Reply::bytes(200, b"hello")]
        });
        assert_eq!(check(&server, folder.path(), None), Ok(()));
        let [issue, ask, get] = server.requests().try_into().expect("three requests");
        assert!(issue.starts_with("PUT /v1/products/lamp/devices/d%201/token"), "{issue}");
        assert!(ask.starts_with("POST /v1/check"), "{ask}");
        assert!(ask.to_lowercase().contains("authorization: bearer d1.k.x"), "{ask}");
        assert!(ask.ends_with(r#"{"id":"d 1","product":"lamp","version":"1.0.0"}"#), "{ask}");
        assert!(!get.to_lowercase().contains("authorization"), "{get}");
        let image = folder.path().join("images/2.0.0.bin");
        assert_eq!(std::fs::read(image).expect("the image"), b"hello");
    }

    #[test]
    fn nothing_to_offer_has_its_own_exit_code() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server =
            StubServer::start(vec![Reply::json(200, r#"{"check_again_after_s":86400,"reason":"up_to_date"}"#)]);
        let error = check(&server, folder.path(), Some("t")).expect_err("nothing");
        assert_eq!(error.exit(), Exit::NothingToOffer);
    }

    #[test]
    fn a_wrong_image_has_its_own_exit_code() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = StubServer::start_with(|base| vec![offer(base, &"ab".repeat(32)), Reply::bytes(200, b"hello")]);
        let error = check(&server, folder.path(), Some("t")).expect_err("a wrong image");
        assert_eq!(error.exit(), Exit::VerificationFailed);
        assert!(!folder.path().join("images/2.0.0.bin").exists());
    }
}

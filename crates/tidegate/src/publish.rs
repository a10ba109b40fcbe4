//! `tidegate publish`: from image files to an update, uploaded and, if asked, active.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use sha2::Digest;

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::download;
use crate::error::{CommandError, CommandResult};
use crate::output::{self, Output, Tone};
use crate::progress;
use crate::rollout_options::{RolloutOptions, read_object};
use crate::update;
use crate::upload::Draft;
use tidegate_core::State;
use tidegate_wire::operator::Created;
use tidegate_wire::route::PublishRoute;

/// Looks at an image that the service reads, before it is activated: 20 minutes.
const MOST_LOOKS: usize = 600;
/// Interval between these.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Options of `tidegate publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Files of the update
    #[arg(value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Version of the update (SemVer)
    #[arg(long)]
    pub version: Option<String>,
    /// Policy that a device must match, such as 'region == "eu" && memory >= 256'
    #[arg(long, value_name = "EXPR", conflicts_with = "policy_file")]
    pub policy: Option<String>,
    /// File that holds the policy
    #[arg(long, value_name = "FILE")]
    pub policy_file: Option<PathBuf>,
    /// Name of the update, for people
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Description of the update, for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Author of the update
    #[arg(long, value_name = "TEXT")]
    pub author: Option<String>,
    /// Vendor of the update
    #[arg(long, value_name = "TEXT")]
    pub vendor: Option<String>,
    /// Free label; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Versions from which it can be installed, such as ^2.0; repeatable
    #[arg(long, value_name = "REQUIREMENT")]
    pub compatible_from: Vec<String>,
    /// Take devices back from this higher version, and offer it to no others; repeatable
    #[arg(long, value_name = "VERSION")]
    pub rollback_from: Vec<String>,
    /// What the image says of itself, if that is not its version; repeatable
    #[arg(long, value_name = "TEXT")]
    pub reports_as: Vec<String>,
    /// The whole update as JSON; the other options override it
    #[arg(long, value_name = "FILE.json")]
    pub update_file: Option<PathBuf>,
    /// Activate the update after everything is uploaded
    #[arg(long)]
    pub activate: bool,
    /// Reason, for the audit log (with --activate)
    #[arg(long, value_name = "TEXT", requires = "activate", value_parser = crate::reason::parse)]
    pub reason: Option<String>,
    /// Reach 1 % of the devices first (at least 50), then 10 %, then all, each when those before are well for three days
    #[arg(long)]
    pub careful: bool,
    /// The rollout.
    #[command(flatten)]
    pub rollout: RolloutOptions,
}

/// A label without a key or without `=`.
#[derive(Debug, thiserror::Error)]
#[error("expected KEY=VALUE")]
struct BadLabel;

fn label(text: &str) -> Result<(String, String), BadLabel> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(BadLabel),
    }
}

/// A file of the update, hashed.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) size_bytes: u64,
}

/// Publishes an update.
pub fn run(args: PublishArgs, common: &Common, output: &Output) -> CommandResult {
    let product = common.product()?;
    let client = common.operator()?;
    // Everything that can be wrong without reading gigabytes is checked first.
    let mut body = body(&args)?;
    if args.careful {
        be_careful(&mut body, devices(&client, product)?)?;
    }
    let images = args.images.iter().map(|path| hash(path)).collect::<CommandResult<Vec<_>>>()?;
    if !images.is_empty() {
        body.insert("files".into(), files(&images)?);
    }
    let body = Value::Object(body);
    let created = create(&client, product, &body)?;
    let draft = Draft { client: &client, product, body: &body, images: &images };
    let uploaded = draft.upload_all(&created, output)?;
    let activated = args.activate && created.state == State::Draft;
    let update = match activated {
        true => activate(&client, product, &created.version, args.reason.as_deref(), output)?,
        false => client.get(&ApiPath::update(PublishRoute::ShowUpdate, product, &created.version))?,
    };
    output.document(&json!({"uploaded": uploaded, "activated": activated, "update": update}))?;
    let state = update.get("state").and_then(Value::as_str).unwrap_or(created.state.name());
    say_what_happened(&created, state, &images, uploaded.len(), common, output)?;
    match args.activate {
        true => is_given_out(&created.version, state),
        false => Ok(()),
    }
}

/// The number of devices of a product, by their last check-in. A new product has none.
fn devices(client: &ApiClient, product: &str) -> CommandResult<u64> {
    match crate::versions::counts(client, product) {
        Ok(counts) => Ok(counts.iter().map(|count| count.devices).sum()),
        Err(error) if error.code() == "unknown_product" => Ok(0),
        Err(error) => Err(error),
    }
}

/// Gives the rollout phases on evidence. A canary below 50 devices is no test.
fn be_careful(body: &mut Map<String, Value>, devices: u64) -> CommandResult {
    let rollout = body.entry("rollout").or_insert_with(|| json!({}));
    if rollout.get("phases").is_some() {
        return Err(CommandError::bad_input("--careful sets the phases, and the rollout has phases already"));
    }
    let fifty = (5000.0 * 100.0 / devices.max(1) as f64).ceil() / 100.0;
    let first = if devices == 0 { 1.0 } else { fifty.clamp(1.0, 100.0) };
    let later = [10.0, 100.0].into_iter().filter(|percent| *percent > first);
    let later = later.map(|percent| json!({"percent": percent, "advance": {}}));
    rollout["phases"] = json!([json!({"percent": first})].into_iter().chain(later).collect::<Vec<_>>());
    Ok(())
}

/// An error if the update was to be activated and is paused or aborted: the command must not report success.
fn is_given_out(version: &str, state: &str) -> CommandResult {
    let remedy = match state {
        "active" | "completed" => return Ok(()),
        "paused" => "`tidegate updates resume` gives it out again",
        _ => "publish the same images under a new version",
    };
    let (version, state) = (output::clean(version), output::clean(state));
    Err(CommandError::failed("not_activated", format!("{version} existed already and is {state}; {remedy}")))
}

pub(crate) fn create(client: &ApiClient, product: &str, body: &Value) -> CommandResult<Created> {
    let path = ApiPath::product(PublishRoute::CreateUpdate, product);
    update::read(&client.post(&path, body)?, "answer to the new update")
}

/// Activates the update, as soon as the service has read and compared its large files.
fn activate(
    client: &ApiClient,
    product: &str,
    version: &str,
    reason: Option<&str>,
    output: &Output,
) -> CommandResult<Value> {
    let path = ApiPath::update(PublishRoute::ActivateUpdate, product, version);
    let body = json!({"reason": reason.unwrap_or("activated by tidegate publish")});
    for look in 0..MOST_LOOKS {
        match client.post(&path, &body) {
            Err(error) if error.code() == "verifying" => {
                if look == 0 {
                    output.note("the service reads and compares the bytes, which takes some seconds for a gigabyte");
                }
                std::thread::sleep(LOOK_EVERY);
            }
            answer => return answer,
        }
    }
    client.post(&path, &body)
}

/// The update without its files.
fn body(args: &PublishArgs) -> CommandResult<Map<String, Value>> {
    let mut body = match &args.update_file {
        Some(path) => read_object(path)?,
        None => Map::new(),
    };
    let policy = match &args.policy_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|cause| CommandError::file("read the policy", path, cause))?
                .trim()
                .to_owned(),
        ),
        None => args.policy.clone(),
    };
    let texts = [
        ("version", &args.version),
        ("policy", &policy),
        ("name", &args.name),
        ("description", &args.description),
        ("author", &args.author),
        ("vendor", &args.vendor),
    ];
    for (field, text) in texts {
        body.extend(text.as_ref().map(|text| (field.to_owned(), json!(text))));
    }
    if !args.labels.is_empty() {
        let labels = body.entry("labels").or_insert_with(|| json!({}));
        let labels = labels
            .as_object_mut()
            .ok_or_else(|| CommandError::bad_input("`labels` of the update file must be an object"))?;
        labels.extend(args.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
    }
    if !args.compatible_from.is_empty() {
        body.insert("compatible_from".into(), json!(args.compatible_from));
    }
    if !args.rollback_from.is_empty() {
        body.insert("rollback_from".into(), json!(args.rollback_from));
    }
    if !args.reports_as.is_empty() {
        body.insert("reports_as".into(), json!(args.reports_as));
    }
    if args.rollout.any() {
        let current = body.remove("rollout").unwrap_or(Value::Null);
        body.insert("rollout".into(), args.rollout.applied_to(current)?);
    }
    let version = body
        .get("version")
        .and_then(Value::as_str)
        .ok_or_else(|| CommandError::usage("say which version: --version V, or `version` in the update file"))?;
    if let Err(cause) = semver::Version::parse(version) {
        let message = format!("`{version}` is not a SemVer version: {cause}");
        return Err(CommandError::usage(message).because(cause));
    }
    if args.images.is_empty() && args.update_file.is_none() {
        return Err(CommandError::usage("give at least one image, or an --update-file"));
    }
    Ok(body)
}

fn hash(path: &Path) -> CommandResult<Image> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| CommandError::bad_input(format!("{} has no usable file name", path.display())))?;
    let failed = |cause| CommandError::file("read", path, cause);
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(CommandError::bad_input(format!("{} is not a file", path.display())));
    }
    let (sha256, size_bytes) = hash_open(&mut file, name, metadata.len()).map_err(failed)?;
    Ok(Image { path: path.to_owned(), name: name.to_owned(), sha256, size_bytes })
}

/// SHA-256 and length of an open file, with a bar that shows the progress.
pub(crate) fn hash_open(file: &mut File, name: &str, size_bytes: u64) -> io::Result<(String, u64)> {
    let bar = progress::bar(&format!("hashing {name}"), size_bytes);
    let hashed = download::hash(file, |length| bar.inc(length));
    bar.finish_and_clear();
    hashed.map(|(hasher, size_bytes)| (hex::encode(hasher.finalize()), size_bytes))
}

fn files(images: &[Image]) -> CommandResult<Value> {
    let mut names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    names.sort_unstable();
    if let Some(name) = names.windows(2).find_map(|pair| (pair.first() == pair.last()).then(|| pair.first()).flatten())
    {
        return Err(CommandError::bad_input(format!("two images have the name {name}")));
    }
    let file = |image: &Image| json!({"name": image.name, "sha256": image.sha256, "size": image.size_bytes});
    Ok(images.iter().map(file).collect())
}

fn say_what_happened(
    created: &Created,
    state: &str,
    images: &[Image],
    uploaded: usize,
    common: &Common,
    output: &Output,
) -> CommandResult {
    let product = output::clean(common.product()?);
    let version = output::clean(&created.version);
    output.line(format!(
        "{} of {product} is {} (update {})",
        output.paint(Tone::Strong, &version),
        output.state(state),
        output::clean(created.id.as_str())
    ))?;
    for image in images {
        output.line(format!("  {} ({}, SHA-256 {})", image.name, output::bytes(image.size_bytes), image.sha256))?;
    }
    let stored = images.len().saturating_sub(uploaded);
    if stored > 0 {
        output.line(format!("  {uploaded} uploaded, {stored} already stored"))?;
    }
    if !created.reports_as.is_empty() {
        let texts = output::clean(&created.reports_as.join(" or "));
        output.line(format!("  a device that says {texts} has it already: so its image calls itself"))?;
    }
    let next = match state {
        "draft" => {
            format!("tidegate updates activate {version} --product {product} --reason \"…\"")
        }
        "active" => format!("tidegate watch {version} --product {product}"),
        _ => format!("tidegate updates show {version} --product {product}"),
    };
    output.line(format!("next: {next}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Reader;
    use crate::stub_server::{Reply, StubServer};

    fn args(images: Vec<PathBuf>) -> PublishArgs {
        PublishArgs {
            images,
            version: Some("2.0.0".into()),
            policy: Some("memory >= 256".into()),
            policy_file: None,
            name: None,
            description: None,
            author: None,
            vendor: None,
            labels: vec![("commit".into(), "abc".into())],
            compatible_from: vec!["^1.0".into()],
            rollback_from: Vec::new(),
            reports_as: Vec::new(),
            update_file: None,
            activate: true,
            reason: Some("tested".into()),
            careful: false,
            rollout: RolloutOptions { max_devices: Some(5), ..RolloutOptions::default() },
        }
    }

    fn common(server: &StubServer) -> Common {
        Common { key: Some("k1".into()), product: Some("lamp".into()), ..Common::of(server.base()) }
    }

    fn created(base: &str) -> Reply {
        let upload = json!({
            "name": "rootfs.swu", "method": "PUT", "url": format!("{base}/s3/key?sig=1"),
            "headers": {"x-amz-checksum-sha256": "abc=", "content-length": "5"}
        });
        let answer = json!({"id": "u1", "version": "2.0.0", "state": "draft", "uploads": [upload]});
        Reply::json(201, &answer.to_string())
    }

    #[test]
    fn a_careful_rollout_begins_with_fifty_devices_at_least() {
        let phases = |devices| {
            let mut body = Map::new();
            be_careful(&mut body, devices).expect("no phases yet");
            let phases = body["rollout"]["phases"].as_array().cloned().unwrap_or_default();
            phases.iter().map(|phase| phase["percent"].as_f64().unwrap_or(-1.0)).collect::<Vec<_>>()
        };
        assert_eq!(phases(0), [1.0, 10.0, 100.0]);
        assert_eq!(phases(20_000), [1.0, 10.0, 100.0]);
        assert_eq!(phases(3000), [1.67, 10.0, 100.0]);
        assert_eq!(phases(200), [25.0, 100.0]);
        assert_eq!(phases(40), [100.0]);
        let mut body = Map::from_iter([("rollout".to_string(), json!({"phases": []}))]);
        assert!(be_careful(&mut body, 100).is_err());
    }

    #[test]
    fn an_image_is_hashed_announced_uploaded_and_activated() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let image = folder.path().join("rootfs.swu");
        std::fs::write(&image, "hello").expect("writable");
        let server = StubServer::start_with(|base| {
            vec![created(base), Reply::json(200, ""), Reply::json(200, r#"{"state":"active"}"#)]
        });
        let result = run(args(vec![image]), &common(&server), &Output::new(Reader::Person));
        assert_eq!(result, Ok(()));
        let [create, put, activate] = server.requests().try_into().expect("three requests");
        let (_, body) = create.split_once("\r\n\r\n").expect("a body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "version": "2.0.0", "policy": "memory >= 256", "labels": {"commit": "abc"},
                "compatible_from": ["^1.0"], "rollout": {"limits": {"max_devices": 5}},
                "files": [{
                    "name": "rootfs.swu", "size": 5,
                    "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
                }]
            })
        );
        assert!(put.starts_with("PUT /s3/key?sig=1"), "{put}");
        assert!(put.ends_with("hello"), "{put}");
        assert!(activate.starts_with("POST /v1/products/lamp/updates/2.0.0/activate"), "{activate}");
        assert!(activate.ends_with(r#"{"reason":"tested"}"#), "{activate}");
    }

    #[test]
    fn a_refused_upload_is_tried_again_with_a_fresh_url() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let image = folder.path().join("rootfs.swu");
        std::fs::write(&image, "hello").expect("writable");
        let server = StubServer::start_with(|base| {
            vec![
                created(base),
                Reply::json(403, "<Error/>"),
                created(base),
                Reply::json(200, ""),
                Reply::json(200, r#"{"state":"active"}"#),
            ]
        });
        let result = run(args(vec![image]), &common(&server), &Output::new(Reader::Person));
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        let version = PublishArgs { version: Some("2.0".into()), ..args(vec!["a".into()]) };
        assert!(body(&version).is_err_and(|error| error.to_string().contains("not a SemVer version")));
        assert!(body(&args(Vec::new())).is_err_and(|error| error.to_string().contains("at least one image")));
    }

    #[test]
    fn two_images_of_one_name_are_refused() {
        let image = |folder: &str| Image {
            path: PathBuf::from(folder).join("a.bin"),
            name: "a.bin".into(),
            sha256: "ab".repeat(32),
            size_bytes: 1,
        };
        assert!(files(&[image("x"), image("y")]).is_err());
        assert!(files(&[image("x")]).is_ok());
    }
}

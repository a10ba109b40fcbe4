//! `tidegate devices`: list the devices of a product, or show one.

use clap::Args;
use serde_json::json;

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, Reader, Tone, clean};
use crate::{order, time, update};
use tidegate_wire::operator::{DeviceList, DeviceView, QuestionView};
use tidegate_wire::route::PublishRoute;

/// Options of `tidegate devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Show this device instead of listing
    #[arg(conflicts_with = "version")]
    pub device: Option<String>,
    /// The device with the newest audit entries about it, as JSON
    #[arg(long, requires = "device")]
    pub export: bool,
    /// Only devices on this version
    #[arg(long = "version", value_name = "VERSION")]
    pub version: Option<String>,
}

/// Lists devices or shows one.
pub fn run(args: DevicesArgs, common: &Common, output: &Output) -> CommandResult {
    let client = common.operator()?;
    let product = common.product()?;
    match &args.device {
        Some(device) if args.export => export(&client, product, device, output),
        Some(device) => show(&client, product, device, output),
        None => match &args.version {
            Some(version) => list(&client, product, version, output),
            None => list_all(&client, product, output),
        },
    }
}

/// The devices on one version, one id per line.
fn list(client: &ApiClient, product: &str, version: &str, output: &Output) -> CommandResult {
    let all = follow_pages(client, product, version, output, &|device| clean(device))?;
    if all.is_empty() && output.reader() == Reader::Person {
        output.note(format!("no device of {} runs {}", clean(product), clean(version)));
    }
    output.document(&json!({"devices": all}))
}

/// All devices, each with its version. The service lists them by version only.
fn list_all(client: &ApiClient, product: &str, output: &Output) -> CommandResult {
    let counts = crate::versions::counts(client, product)?;
    if counts.is_empty() {
        output.line("no device has checked in yet")?;
    }
    let width = counts.iter().map(|count| count.version.len()).max().unwrap_or(0);
    let mut all = Vec::new();
    for count in counts.iter().filter(|count| count.devices > 0) {
        let version = clean(&count.version);
        let line = |device: &str| format!("{version:<width$}  {}", clean(device));
        let devices = follow_pages(client, product, &count.version, output, &line)?;
        all.extend(devices.into_iter().map(|device| json!({"device": device, "version": count.version})));
    }
    output.document(&json!({"devices": all}))
}

/// People see each page as it comes, in their `line`; all ids come back together.
fn follow_pages(
    client: &ApiClient,
    product: &str,
    version: &str,
    output: &Output,
    line: &dyn Fn(&str) -> String,
) -> CommandResult<Vec<String>> {
    let mut after: Option<String> = None;
    let mut all = Vec::new();
    loop {
        let path = ApiPath::product(PublishRoute::ListDevices, product)
            .with("version", Some(version))
            .with("limit", Some("200"))
            .with("after", after.as_deref());
        let page: DeviceList = update::read(&client.get(&path)?, "page of devices")?;
        for device in &page.items {
            output.line(line(device.as_str()))?;
        }
        all.extend(page.items.iter().map(ToString::to_string));
        // If the service answers the same page again, the loop would not end.
        match page.next.map(|next| next.to_string()) {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => return Ok(all),
        }
    }
}

/// The whole audit log of the device is in it.
fn export(client: &ApiClient, product: &str, device: &str, output: &Output) -> CommandResult {
    let path = ApiPath::device(PublishRoute::ExportDevice, product, device);
    let mut document = client.get(&path.clone().with("limit", Some("200")))?;
    while let Some(next) = document["audit"]["next"].as_str().map(str::to_owned) {
        let mut page = client.get(&path.clone().with("limit", Some("200")).with("after", Some(&next)))?;
        let more = page["audit"]["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        if let Some(items) = document["audit"]["items"].as_array_mut() {
            items.extend(more);
        }
        document["audit"]["next"] = page["audit"]["next"].take();
    }
    output.document(&document)?;
    match output.reader() {
        Reader::Program => Ok(()),
        Reader::Person => output.line(format!("{document:#}")),
    }
}

fn show(client: &ApiClient, product: &str, device: &str, output: &Output) -> CommandResult {
    let document = client.get(&ApiPath::device(PublishRoute::ShowDevice, product, device))?;
    output.document(&document)?;
    let device: DeviceView = update::read(&document, "device")?;
    let id = output.paint(Tone::Strong, &clean(device.id.as_str()));
    let version = device.version.as_deref().map_or("an unknown version".into(), clean);
    output.line(format!("{id} of {} runs {version}", clean(device.product.as_str())))?;
    for (label, at) in [("first seen", device.first_seen), ("last seen", device.last_seen)] {
        if let Some(at) = at {
            output.line(format!("  {label:<12}{}", time::show_at(at)))?;
        }
    }
    output.line(format!("  {:<12}{}", "orders", order::in_words(&device)))?;
    for QuestionView { version, asked_at, reply, .. } in &device.questions {
        let reply = reply.map_or("has not answered".to_string(), |reply| reply.to_string());
        let (version, asked_at) = (clean(version), time::show_at(*asked_at));
        output.line(format!("  {:<12}asked about {version} ({asked_at}); {reply}", "user"))?;
    }
    let attributes: Vec<_> = device
        .attributes
        .iter()
        .flatten()
        .filter(|(name, _)| !matches!(name.as_str(), "id" | "product" | "version"))
        .collect();
    let width = attributes.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(10);
    for (name, value) in attributes {
        output.line(format!("  {:<width$}  {}", clean(name), output::plain(value)))?;
    }
    output.line("")?;
    if device.claims.is_empty() {
        return output.line("it has not been offered anything yet");
    }
    let mut table = output::table(&["VERSION", "CAMPAIGN", "CLAIM", "ATTEMPTS", "GRANTED", "MESSAGE"], &[1, 3]);
    for claim in &device.claims {
        table.add_row([
            clean(&claim.version),
            claim.campaign.to_string(),
            claim.state.to_string(),
            claim.attempts.to_string(),
            time::show_at(claim.granted_at),
            output::shortened(claim.message.as_deref().unwrap_or_default(), 60),
        ]);
    }
    output.table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_client::Credential;
    use crate::stub_server::{Reply, StubServer};

    #[test]
    fn pages_are_followed_to_the_last() {
        let server = StubServer::start(vec![
            Reply::json(200, r#"{"items":["a","b"],"next":"b"}"#),
            Reply::json(200, r#"{"items":["c"],"next":null}"#),
        ]);
        let client = ApiClient::new(server.base(), Credential::OperatorKey("k".into())).expect("a good address");
        assert_eq!(list(&client, "lamp", "1.0.0", &Output::new(Reader::Person)), Ok(()));
        let second = server.request(1);
        assert!(second.starts_with("GET /v1/products/lamp/devices?version=1.0.0&limit=200&after=b "), "{second}");
    }
}

//! `tidegate versions`: the number of devices on each version.

use serde_json::json;

use crate::api_client::{ApiClient, ApiPath};
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, clean};
use crate::update;
use tidegate_wire::operator::VersionCount;
use tidegate_wire::route::PublishRoute;

/// Shows the counts.
pub fn run(common: &Common, output: &Output) -> CommandResult {
    let items = common.operator()?.items(&ApiPath::product(PublishRoute::ListVersions, common.product()?), None)?;
    output.document(&json!({"items": items}))?;
    let counts = update::read_all::<VersionCount>(items, "version count")?;
    let total: u64 = counts.iter().map(|count| count.devices).sum();
    if counts.is_empty() {
        return output.line("no device has checked in yet");
    }
    let mut table = output::table(&["VERSION", "DEVICES", "SHARE"], &[1, 2]);
    for count in &counts {
        table.add_row([clean(&count.version), count.devices.to_string(), share(count.devices, total)]);
    }
    output.table(&table)?;
    output.line(match total {
        1 => "1 device".to_owned(),
        _ => format!("{total} devices"),
    })
}

/// The number of devices on each version.
pub fn counts(client: &ApiClient, product: &str) -> CommandResult<Vec<VersionCount>> {
    update::read_all(client.items(&ApiPath::product(PublishRoute::ListVersions, product), None)?, "version count")
}

fn share(devices: u64, total: u64) -> String {
    match total {
        0 => String::new(),
        total => format!("{:.1} %", devices as f64 * 100.0 / total as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_blank() {
        assert_eq!(share(0, 0), "");
        assert_eq!(share(1, 3), "33.3 %");
    }
}

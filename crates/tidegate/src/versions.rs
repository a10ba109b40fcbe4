//! `tidegate versions`: the number of devices on each version.

use serde_json::Value;

use crate::api_client::ApiPath;
use crate::common::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, clean};
use crate::update;
use tidegate_wire::operator::{VersionCount, VersionList};
use tidegate_wire::route::PublishRoute;

/// Shows the counts.
pub fn run(common: &Common, output: &Output) -> CommandResult {
    let document = common.operator()?.get(&ApiPath::product(PublishRoute::ListVersions, common.product()?))?;
    output.document(&document)?;
    let counts = counts(&document)?;
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

/// Reads the service's counts.
pub fn counts(document: &Value) -> CommandResult<Vec<VersionCount>> {
    update::read::<VersionList>(document, "version counts").map(|list| list.versions)
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

//! `tidegate versions`: how many devices run each version.

use serde::Deserialize;

use crate::api_client::ApiPath;
use crate::arguments::Common;
use crate::error::CommandResult;
use crate::output::{self, Output, clean};
use crate::update;

/// Shows the counts.
pub fn run(common: &Common, output: &Output) -> CommandResult {
    #[derive(Deserialize)]
    struct Counts {
        versions: Vec<Count>,
    }
    #[derive(Deserialize)]
    struct Count {
        version: String,
        devices: u64,
    }
    let document = common.operator()?.get(&ApiPath::product(common.product()?, &["versions"]))?;
    output.document(&document)?;
    let counts: Counts = update::read(&document, "version counts")?;
    let total: u64 = counts.versions.iter().map(|count| count.devices).sum();
    let mut table = output::table(&["VERSION", "DEVICES", "SHARE"], &[1, 2]);
    for count in &counts.versions {
        table.add_row([clean(&count.version), count.devices.to_string(), share(count.devices, total)]);
    }
    output.table(&table)?;
    output.line(format!("{total} devices"))
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

//! Plays an update file for a fleet file: prints the table and the summary, writes the picture.
//!
//! `cargo run --release -p tidegate-lab --example forecast -- UPDATE FLEET [SVG [SEED]]`

use std::error::Error;

use tidegate_core::ProductId;
use tidegate_lab::forecast::{FleetFile, play, read_update};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [update, fleet, rest @ ..] = arguments.as_slice() else {
        return Err("usage: forecast UPDATE FLEET [SVG [SEED]]".into());
    };
    let update = read_update(&std::fs::read(update)?, &ProductId::new("lamp")?)?;
    let fleet = FleetFile::read(&std::fs::read(fleet)?)?;
    let seed = rest.get(1).map_or(Ok(1), |seed| seed.parse())?;
    let forecast = play(&update, &fleet, seed, |_| {});
    print!("{}\n{forecast}", forecast.table());
    if let Some(svg) = rest.first() {
        std::fs::write(svg, forecast.svg())?;
    }
    Ok(())
}

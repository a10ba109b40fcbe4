//! `cargo run -p tidegate-simulator --example simulate -- SEED CHECK_INS`

use tidegate_simulator::{Clocks, Plan, simulation::try_run};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap_or_default());
    let (seed, check_ins) = (arguments.next().unwrap_or(1), arguments.next().unwrap_or(5000));
    let mut plan = Plan::new(seed, check_ins);
    if arguments.next() == Some(0) {
        plan.splitting_clocks = Clocks::True;
    }
    match try_run(plan, |_| {}) {
        Ok(summary) => print!("{summary}"),
        Err(violation) => println!("{violation}"),
    }
}

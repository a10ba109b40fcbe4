//! A million check-ins of many fleets, on two threads.

use tidegate_lab::simulator::{Fault, Invariant, Plan, Speech, Summary, run};

/// Check-ins of each thread.
const CHECK_INS: u64 = 500_000;

#[test]
fn a_million_check_ins_break_no_promise() {
    let check_ins = std::env::var("CHECK_INS").ok().and_then(|text| text.parse().ok()).unwrap_or(CHECK_INS);
    let threads =
        [1_000_000, 2_000_000].map(|seed| std::thread::spawn(move || run(Plan::new(seed, check_ins), |_| {})));
    let mut total = Summary::default();
    for thread in threads {
        match thread.join() {
            Ok(summary) => total.add(&summary),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    println!("{total}");
    assert!(total.check_ins >= 2 * check_ins);
    assert_eq!(total.faults.len(), Fault::ALL.len(), "every kind of fault happened");
    assert_eq!(total.messages.len(), Speech::ALL.len(), "devices spoke every wire format");
    assert_eq!(total.checked.len(), Invariant::ALL.len(), "every promise was checked");
}

/// A function whose clock was ahead split a limit for a period that had not begun, as if the present
/// one were unused, and shards that still counted the present one granted in it again. Opening a
/// shard now moves it to the period of the split.
#[test]
fn limits_per_period_hold_when_the_clocks_that_split_them_are_off() {
    run(Plan::new(200_070, 5_000), |_| {});
}

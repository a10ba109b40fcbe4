//! Does one piece of work again and again, so that `benches/instructions.sh` can count instructions.
//!
//! `tidegate-benches CASE UPDATES ITERATIONS`: the difference between two numbers of iterations is the cost of the work
//! alone, without start-up and preparation. `tidegate-benches snapshot UPDATES FILE` writes the compiled catalog, for
//! measurements of a whole function.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use tidegate_benches::{DEVICE, Ours, Theirs, UP_TO_DATE, compile, definitions};

const CASES: [&str; 5] = ["ours", "ours-up-to-date", "theirs", "load", "parse"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<u64>().ok();
    if let [case, updates, iterations] = arguments.as_slice()
        && let (Some(updates), Some(iterations)) = (number(updates), number(iterations))
        && let Some(mut work) = work(case, updates)
    {
        (0..iterations).for_each(|_| work());
        return ExitCode::SUCCESS;
    }
    if let [case, updates, file] = arguments.as_slice()
        && case == "snapshot"
        && let Some(bytes) = number(updates).and_then(|updates| compile(&definitions(updates)).to_snapshot())
    {
        return match std::fs::write(file, bytes) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{file} cannot be written: {error}");
                ExitCode::FAILURE
            }
        };
    }
    eprintln!("usage: tidegate-benches {} UPDATES ITERATIONS", CASES.join("|"));
    eprintln!("       tidegate-benches snapshot UPDATES FILE");
    ExitCode::from(2)
}

/// The work of a case; `None` for a name that is none.
fn work(case: &str, updates: u64) -> Option<Box<dyn FnMut()>> {
    let answering = |device: &'static str| {
        let ours = Ours::new(&compile(&definitions(updates)));
        Box::new(move || drop(black_box(ours.answer(black_box(device.as_bytes())))))
    };
    Some(match case {
        "ours" => answering(DEVICE),
        "ours-up-to-date" => answering(UP_TO_DATE),
        "theirs" => {
            let theirs = Theirs::new(updates);
            Box::new(move || drop(black_box(theirs.answer(black_box(DEVICE.as_bytes())))))
        }
        "load" => {
            let bytes: Arc<[u8]> = compile(&definitions(updates)).to_snapshot()?.into();
            Box::new(move || drop(black_box(Ours::load(&bytes))))
        }
        "parse" => {
            let definitions = definitions(updates);
            Box::new(move || drop(black_box(compile(&definitions))))
        }
        _ => return None,
    })
}

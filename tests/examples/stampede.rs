//! A fleet that arrives at once at a running service: `stampede URL OPERATOR_KEY`.

use std::process::ExitCode;

use tidegate_tests::stampede::{self, Target};

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [api, key] = arguments.as_slice() else {
        eprintln!("usage: stampede URL OPERATOR_KEY");
        return ExitCode::from(2);
    };
    // A product that no earlier run used.
    let product = format!("stampede-{}", tidegate_api::edge::now().as_second());
    match stampede::run(&Target { api: api.trim_end_matches('/').into(), key: key.clone(), product }) {
        Ok(seen) => {
            println!("{seen:#?}\nno limit was exceeded");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

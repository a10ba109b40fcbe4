//! The committed files that are generated from the route table and the wire types.

use std::path::Path;

use serde_json::Value;
use tidegate_wire::openapi;
use tidegate_wire::route::{Interface, ROUTES};

/// Set this variable to write the files instead of comparing them.
const REWRITE: &str = "TIDEGATE_REWRITE";

/// Compares a file with what it must be, or writes it.
fn hold(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, expected).expect("the file can be written");
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let same = present.lines().zip(expected.lines()).take_while(|(present, expected)| present == expected).count();
    assert!(
        present == expected,
        "{file} differs from the code from line {} on; `{REWRITE}=1 cargo test -p tidegate-wire --features schema --test generated` writes it",
        same + 1
    );
}

#[test]
fn openapi_yaml_is_what_the_types_and_the_route_table_say() {
    let mut text =
        String::from("# The HTTP API. Generated from crates/tidegate-wire; its test `generated` writes it anew.\n");
    for (name, section) in openapi::sections() {
        let section = Value::from_iter([(name.to_owned(), section)]);
        text.push_str(&serde_saphyr::to_string(&section).expect("a section is YAML"));
    }
    hold("openapi.yaml", &text);
}

#[test]
fn the_routes_of_terraform_are_those_of_the_route_table() {
    hold("infra/routes.json", &openapi::routes_json());
}

#[test]
fn cargo_lambdas_router_has_the_routes_of_the_native_and_the_ioto_interface() {
    let routes = ROUTES.iter().filter(|route| matches!(route.interface(), Interface::Native | Interface::Ioto));
    let mut expected =
        routes.map(|route| format!("\"{}\" = \"{}\"", route.template, route.function.name())).collect::<Vec<_>>();
    expected.sort();
    let manifest = include_str!("../../../Cargo.toml");
    let section = manifest.split("\n[workspace.metadata.lambda.watch.router]\n").nth(1).expect("the router is there");
    let mut present = section.lines().take_while(|line| line.starts_with('"')).map(str::to_owned).collect::<Vec<_>>();
    present.sort();
    assert_eq!(present, expected, "Cargo.toml, workspace.metadata.lambda.watch.router");
}

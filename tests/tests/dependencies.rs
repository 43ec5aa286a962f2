//! Dependencies of bcast: licences, sources, advisories, and the Rust that it needs. `deny.toml` says what is allowed.

use std::{env, fs, path::Path, process::Command};

use semver::{Version, VersionReq};
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};
use toml::Table;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn table(name: &str) -> Table {
    let text = fs::read_to_string(Path::new(ROOT).join(name)).expect(name);
    text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The strings of an array.
fn words(value: &toml::Value) -> Vec<&str> {
    let all = value.as_array().expect("an array").iter();
    all.map(|word| word.as_str().expect("a string")).collect()
}

/// Packages of Cargo.lock, of all platforms: name, version, source (the workspace's own have none).
fn locked() -> Vec<(String, Version, Table)> {
    let lock = table("Cargo.lock");
    let packages = lock["package"].as_array().expect("packages").iter();
    let packages = packages.map(|package| {
        let package = package.as_table().expect("a table");
        let text = |key: &str| package[key].as_str().expect("a string");
        let version = text("version").parse().expect("cargo writes versions");
        (text("name").to_owned(), version, package.clone())
    });
    packages.collect()
}

/// Packages that a build for this machine takes, the workspace's own included; from what cargo has fetched already.
fn packages() -> Vec<Value> {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--frozen", "--format-version", "1", "--filter-platform", &target])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = all["packages"].as_array().expect("packages").clone();
    assert!(packages.len() > 100, "{} packages", packages.len());
    packages
}

fn text<'a>(package: &'a Value, key: &str) -> Option<&'a str> {
    package[key].as_str()
}

/// True if a licence expression can be met by the licences that are allowed.
fn allows(allowed: &[Licensee], expression: &str) -> bool {
    let parsed = Expression::parse_mode(expression, ParseMode::LAX);
    parsed.is_ok_and(|parsed| {
        parsed.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted)))
    })
}

fn allowed() -> Vec<Licensee> {
    let deny = table("deny.toml");
    let names = words(&deny["licenses"]["allow"]).into_iter();
    names.map(|name| Licensee::parse(name).unwrap_or_else(|error| panic!("{name}: {error}"))).collect()
}

#[test]
fn every_crate_has_a_licence_that_deny_toml_allows() {
    let allowed = allowed();
    let packages = packages();
    let refused: Vec<_> = packages
        .iter()
        .filter(|package| !text(package, "license").is_some_and(|licence| allows(&allowed, licence)))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "allow their licences in deny.toml or do without: {refused:#?}");
}

#[test]
fn a_licence_expression_is_read_as_cargo_writes_it() {
    let allowed = allowed();
    for (expression, good) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("MPL-2.0", false),
        ("", false),
        ("what you like", false),
    ] {
        assert_eq!(allows(&allowed, expression), good, "{expression}");
    }
}

#[test]
fn every_crate_of_others_comes_from_one_registry_and_with_a_checksum() {
    let locked = locked();
    let mut sources: Vec<_> = Vec::new();
    for (name, version, package) in &locked {
        let Some(source) = package.get("source").and_then(toml::Value::as_str) else { continue };
        assert!(source.starts_with("registry+"), "{name} {version} comes from {source}");
        assert!(package.contains_key("checksum"), "{name} {version} has no checksum");
        sources.push(source);
    }
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources.len(), 1, "{sources:?}");
}

/// Advisory's id, and a version's requirements of which one makes a version good.
fn advisories() -> Vec<(String, String, Vec<VersionReq>)> {
    let list = table("tests/advisories.toml");
    let all = list["advisory"].as_array().expect("advisories").iter();
    let all = all.map(|advisory| {
        let text = |key: &str| advisory[key].as_str().expect("a string").to_owned();
        let good = words(&advisory["good"]).into_iter();
        let good = good.map(|good| good.parse().unwrap_or_else(|error| panic!("{good}: {error}")));
        (text("id"), text("crate"), good.collect())
    });
    all.collect()
}

/// Packages that an advisory is about.
fn found(
    packages: &[(String, Version, Table)],
    advisories: &[(String, String, Vec<VersionReq>)],
) -> Vec<String> {
    let all = packages.iter().flat_map(|package| advisories.iter().map(move |advisory| (package, advisory)));
    let bad = all.filter(|((name, version, _), (_, about, good))| {
        name == about && !good.iter().any(|good| good.matches(version))
    });
    bad.map(|((name, version, _), (id, ..))| format!("{name} {version}: {id}")).collect()
}

#[test]
fn no_crate_has_an_advisory_of_the_list() {
    let bad = found(&locked(), &advisories());
    assert!(
        bad.is_empty(),
        "upgrade them (`cargo tree -i NAME` says who wants them) or do without: {bad:#?}"
    );
    println!("advisories of {}", table("tests/advisories.toml")["checked"]);
}

#[test]
fn a_crate_with_an_advisory_is_found_and_a_good_version_of_it_is_not() {
    let package =
        |name: &str, version: &str| (name.to_owned(), version.parse().expect("a version"), Table::new());
    let packages = [
        package("paste", "1.0.15"),
        package("hashbrown", "0.14.5"),
        package("hashbrown", "0.15.0"),
        package("hashbrown", "0.15.5"),
        package("rustls", "0.23.44"),
        package("wire", "0.1.0"),
    ];
    let bad = found(&packages, &advisories());
    let expected = [
        "paste 1.0.15: RUSTSEC-2024-0436",
        "hashbrown 0.15.0: RUSTSEC-2024-0402",
        "rustls 0.23.44: RUSTSEC-2026-0285",
    ];
    assert_eq!(bad, expected);
}

#[test]
fn no_crate_needs_a_newer_rust_than_the_workspace_says_and_the_readme_names_it() {
    let workspace = table("Cargo.toml");
    let said = workspace["workspace"]["package"]["rust-version"].as_str().expect("a string");
    let number = |text: &str| {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().expect("a number"));
        (parts.next(), parts.next())
    };
    for package in packages() {
        let wanted = text(&package, "rust_version").unwrap_or("1.0");
        assert!(
            number(wanted) <= number(said),
            "{} {} needs Rust {wanted}",
            package["name"],
            package["version"]
        );
    }
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md");
    assert!(readme.contains(&format!("Rust {said}")), "README.md does not say that it takes Rust {said}");
}

//! The section `[routes]`: what is taken, and what is said of the rest.

#![allow(clippy::expect_used, reason = "tests")]

use ctl_routes::RoutesConfig;

fn read(text: &str) -> Result<RoutesConfig, String> {
    toml::from_str(text).map_err(|error| toml::de::Error::message(&error).to_owned())
}

#[test]
fn without_a_word_public_addresses_have_a_table_and_tenants_have_none() {
    let config = read("").expect("every key has a default");
    assert_eq!(config, RoutesConfig::default());
    assert_eq!((config.protocol(), config.public_table(), config.table(5001.into())), (117, Some(117), None));
    assert!(config.replace());
}

#[test]
fn vnis_have_the_tables_that_are_given_to_them() {
    let text = "protocol = 200\npublic_table = 0\nreplace = false\nvni = [{vni = 5001, table = 1}, {vni = 0x138a, table = 4294967295}]";
    let config = read(text).expect("all is well");
    assert_eq!((config.protocol(), config.public_table(), config.replace()), (200, None, false));
    let tables = [5001, 5002, 5003].map(|vni| config.table(vni.into()));
    assert_eq!(tables, [Some(1), Some(u32::MAX), None]);
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let rows = [
        (
            "protocol = 2",
            "routes.protocol: 2 is the kernel's and administrators'; take one that nobody has, as 117",
        ),
        ("protocol = 12", "routes.protocol: 12 is routing daemons' (11 is zebra's, 12 is BIRD's"),
        ("protocol = 188", "routes.protocol: 188 is FRR's"),
        ("public_table = 254", "routes.public_table: 254 is one of the host's own tables"),
        ("vni = [{vni = 1, table = 255}]", "routes.vni: 255 is one of the host's own tables"),
        ("vni = [{vni = 7, table = 0}]", "routes.vni: VNI 7 is mapped to table 0, which is none"),
        ("vni = [{vni = 7, table = 9}, {vni = 7, table = 8}]", "routes.vni: VNI 7 stands there twice"),
        ("vni = [{vni = 7, table = 9}, {vni = 8, table = 9}]", "routes.vni: table 9 is given to two"),
        ("vni = [{vni = 7, table = 117}]", "routes.vni: table 117 is given to two"),
        ("protocol = 256", "invalid value"),
        ("table = 7", "unknown field `table`"),
        ("vni = [{vni = 7}]", "missing field `table`"),
    ];
    for (text, expected) in rows {
        let said = read(text).expect_err(text);
        assert!(said.contains(expected), "{text}: {said}");
    }
    let many: Vec<String> = (0..4_097).map(|n| format!("{{vni = {n}, table = {}}}", n + 2_000)).collect();
    let said = read(&format!("vni = [{}]", many.join(","))).expect_err("too many");
    assert!(said.contains("4097 VNIs are too many; at most 4096"), "{said}");
}

//! The reference rules of `docs/ovs.md`, taken from the page itself.

const PAGE: &str = include_str!("../../../docs/ovs.md");
/// Opening of a block of rules: ```` ```openflow told hypervisor ````
const RULES: &str = "```openflow";
/// Opening of a block of commands: ```` ```sh nodes port ````
const COMMANDS: &str = "```sh";

/// Source of a hypervisor's knowledge of MAC addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// From a controller: for `outer_source = "node"`.
    Told,
    /// From the tunnels that frames arrive by: for `outer_source = "origin"`.
    Learned,
}

impl Places {
    /// The matching value of `replication.outer_source`.
    pub fn outer_source(self) -> &'static str {
        match self {
            Self::Told => "node",
            Self::Learned => "origin",
        }
    }
}

/// The page's rules for `scope` (`hypervisor`, `network`, `vm`, `remote-vm`) with `values` in place of the names in
/// capitals. Empty where the page has no such block: learning needs none for remote VMs.
///
/// # Panics
/// A name is left without a value.
pub fn rules(places: Places, scope: &str, values: &[(&str, &str)]) -> String {
    let kind = match places {
        Places::Told => "told",
        Places::Learned => "learned",
    };
    filled(&format!("{RULES} {kind} {scope}"), values)
}

/// The page's rules of a network with several nodes.
///
/// # Panics
/// A name is left without a value.
pub fn nodes_network(values: &[(&str, &str)]) -> String {
    filled(&format!("{RULES} nodes network"), values)
}

/// The page's command for `scope` (`port`, `group`, `remove-rules`, `remove-group`, `remove-port`) with several nodes.
///
/// # Panics
/// A name is left without a value.
pub fn nodes_command(scope: &str, values: &[(&str, &str)]) -> String {
    filled(&format!("{COMMANDS} nodes {scope}"), values)
}

/// The block with this opening, empty where there is none.
fn filled(opening: &str, values: &[(&str, &str)]) -> String {
    // Longest name first: $VM_MAC must not be taken for $VM.
    let mut values = values.to_vec();
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let mut block = block(PAGE, opening).unwrap_or_default();
    for (name, value) in values {
        block = block.replace(&format!("${name}"), value);
    }
    assert!(!block.contains('$'), "docs/ovs.md, {opening}: a name without a value in\n{block}");
    block
}

fn block(page: &str, opening: &str) -> Option<String> {
    let mut lines = page.lines();
    lines.find(|line| *line == opening)?;
    Some(lines.take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_block_that_an_overlay_loads() {
        for (places, scopes) in [
            (Places::Told, &["hypervisor", "network", "vm", "remote-vm"][..]),
            (Places::Learned, &["hypervisor", "network", "vm"][..]),
        ] {
            for scope in scopes {
                let names =
                    ["NODE", "TEP", "VNI", "FLOOD", "VM_PORT", "VM_MAC", "VM_TEP"].map(|name| (name, "x"));
                assert!(rules(places, scope, &names).starts_with("table="), "{places:?} {scope}");
            }
        }
        assert_eq!(rules(Places::Learned, "remote-vm", &[]), "");
        let names = ["NODE", "PORT", "GROUP", "BUCKETS", "VNI", "MEMBERS"].map(|name| (name, "x"));
        assert_eq!(nodes_network(&names).lines().count(), 2);
        for scope in ["port", "group", "remove-rules", "remove-group", "remove-port"] {
            assert!(nodes_command(scope, &names).starts_with("ovs-"), "{scope}");
        }
    }

    #[test]
    #[should_panic(expected = "a name without a value")]
    fn a_name_without_a_value_is_an_error() {
        rules(Places::Told, "vm", &[("VNI", "5001")]);
    }
}

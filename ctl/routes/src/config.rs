//! The configuration's section `[routes]`.

use std::collections::BTreeMap;

use bcast_domain::Vni;
use serde::Deserialize;

/// Tables that a configuration maps VNIs to, at most.
const MAX_TABLES: usize = 4_096;
/// `default`, `main` and `local` (rtnetlink(7)): the host's own.
const HOST_TABLES: std::ops::RangeInclusive<u32> = 253..=255;

/// Route protocol numbers that are others': the kernel's and administrators' (rtnetlink(7)), routing daemons'
/// (linux/rtnetlink.h; FRR's zebra/rt_netlink.h goes to 198, and removes routes of its numbers when it starts).
const TAKEN: [(std::ops::RangeInclusive<u8>, &str); 6] = [
    (0..=4, "the kernel's and administrators'"),
    (8..=18, "routing daemons' (11 is zebra's, 12 is BIRD's, 16 is DHCP's, 18 is Keepalived's)"),
    (42..=42, "babel's"),
    (84..=84, "OVN's"),
    (99..=99, "Open/R's"),
    (186..=198, "FRR's"),
];

/// Configuration of routes and tables.
///
/// ```
/// let text = "
///     protocol = 117
///     public_table = 117
///     replace = true
///     [[vni]]
///     vni = 5001
///     table = 101
/// ";
/// let config: ctl_routes::RoutesConfig = toml::from_str(text)?;
/// assert_eq!(config.table(5001.into()), Some(101));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "File")]
pub struct RoutesConfig {
    protocol: u8,
    public_table: Option<u32>,
    tables: BTreeMap<Vni, u32>,
    replace: bool,
}

/// Error in the `[routes]` section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutesConfigError {
    /// A number that other programs' routes have.
    #[error("routes.protocol: {number} is {owner}; take one that nobody has, as 117")]
    Protocol {
        /// The number.
        number: u8,
        /// Owner of the table.
        owner: &'static str,
    },
    /// A table that the host itself routes by.
    #[error("{key}: {table} is one of the host's own tables (253 to 255); take another, as 101")]
    HostTable {
        /// The key.
        key: &'static str,
        /// The table.
        table: u32,
    },
    /// Table 0 is no table.
    #[error("routes.vni: VNI {0} is mapped to table 0, which is none; give it one of its own, as 101")]
    NoTable(Vni),
    /// A VNI twice.
    #[error("routes.vni: VNI {0} stands there twice; map it to one table")]
    VniTwice(Vni),
    /// Two VNIs, or one and the public addresses, in one table.
    #[error(
        "routes.vni: table {0} is given to two; tenants' addresses overlap, so each VNI needs a table of its own"
    )]
    TableTwice(u32),
    /// Too many tables.
    #[error("routes.vni: {0} VNIs are too many; at most {MAX_TABLES} have tables")]
    TooMany(usize),
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    protocol: u8,
    public_table: u32,
    replace: bool,
    vni: Vec<Mapping>,
}

impl Default for File {
    fn default() -> Self {
        Self { protocol: 117, public_table: 117, replace: true, vni: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    vni: u32,
    table: u32,
}

impl Default for RoutesConfig {
    /// Public addresses in table 117, and no tenants' addresses. FRR reads tables up to 252 only.
    fn default() -> Self {
        let File { protocol, public_table, replace, .. } = File::default();
        Self { protocol, public_table: Some(public_table), tables: BTreeMap::new(), replace }
    }
}

impl TryFrom<File> for RoutesConfig {
    type Error = RoutesConfigError;

    fn try_from(file: File) -> Result<Self, RoutesConfigError> {
        if let Some((_, owner)) = TAKEN.iter().find(|(numbers, _)| numbers.contains(&file.protocol)) {
            return Err(RoutesConfigError::Protocol { number: file.protocol, owner });
        }
        if file.vni.len() > MAX_TABLES {
            return Err(RoutesConfigError::TooMany(file.vni.len()));
        }
        let public_table = (file.public_table != 0).then_some(file.public_table);
        let host = |key, table: u32| match HOST_TABLES.contains(&table) {
            true => Err(RoutesConfigError::HostTable { key, table }),
            false => Ok(()),
        };
        public_table.map_or(Ok(()), |table| host("routes.public_table", table))?;
        let mut tables = BTreeMap::new();
        let mut given: std::collections::BTreeSet<u32> = public_table.into_iter().collect();
        for Mapping { vni, table } in file.vni {
            host("routes.vni", table)?;
            let vni = Vni::from(vni);
            if table == 0 {
                return Err(RoutesConfigError::NoTable(vni));
            }
            if !given.insert(table) {
                return Err(RoutesConfigError::TableTwice(table));
            }
            if tables.insert(vni, table).is_some() {
                return Err(RoutesConfigError::VniTwice(vni));
            }
        }
        Ok(Self { protocol: file.protocol, public_table, tables, replace: file.replace })
    }
}

impl RoutesConfig {
    /// The rtnetlink protocol number that marks the daemon's routes.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The table of public addresses.
    #[must_use]
    pub const fn public_table(&self) -> Option<u32> {
        self.public_table
    }

    /// The table of a VNI's addresses.
    #[must_use]
    pub fn table(&self, vni: Vni) -> Option<u32> {
        self.tables.get(&vni).copied()
    }

    /// True if a route that moves is replaced, so that there is always one. If not, it is removed and added in one go:
    /// FRR's `ip import-table` loses a route that is replaced (seen with 8.4).
    #[must_use]
    pub const fn replace(&self) -> bool {
        self.replace
    }

    /// True for the host's own tables, in which no route can be the daemon's.
    pub(crate) fn is_hosts(table: u32) -> bool {
        table == 0 || HOST_TABLES.contains(&table)
    }
}

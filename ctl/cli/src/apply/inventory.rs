//! TEPs, domains and HAVIPs as plain sorted lists: what a node has, or what it shall have.

use bcast_domain::{DomainLimit, Tep, Vni};
use ctl_api::model::{GarpMode, Havip, Name, TepEntry};

/// A domain; its members stand in the inventory that it is of.
#[derive(Debug)]
pub struct DomainRow {
    /// Its VNI.
    pub vni: Vni,
    /// Its name, where it has one.
    pub name: Option<Name>,
    /// The rates of its own.
    pub limit: DomainLimit,
    /// What addresses that are no HAVIP may do in it.
    pub garp: GarpMode,
    /// Whether its members stand here to be compared only: they are whatever the node has.
    pub members_stay: bool,
    first: usize,
    len: usize,
}

/// A HAVIP as it is ordered, whoever holds it.
#[derive(Debug)]
pub struct HavipRow {
    /// The HAVIP.
    pub havip: Havip,
    /// Whether its attachments stand here to be compared only: they are whatever the node has.
    pub attachments_stay: bool,
}

/// All TEPs by address, all domains by VNI and all HAVIPs by name.
///
/// The members of all domains share one vector: a million domains of sixteen members take some 155 MB.
#[derive(Debug, Default)]
pub struct Inventory {
    teps: Vec<TepEntry>,
    domains: Vec<DomainRow>,
    members: Vec<Tep>,
    havips: Vec<HavipRow>,
}

impl Inventory {
    /// Adds a TEP; in any order until [`Inventory::sort`].
    pub fn push_tep(&mut self, tep: TepEntry) {
        self.teps.push(tep);
    }

    /// Adds a domain, in any order until [`Inventory::sort`], with its members in ascending order.
    pub fn push_domain(
        &mut self,
        vni: Vni,
        name: Option<Name>,
        limit: DomainLimit,
        garp: GarpMode,
        members: impl IntoIterator<Item = Tep>,
    ) {
        let first = self.members.len();
        self.members.extend(members);
        let len = self.members.len() - first;
        self.domains.push(DomainRow { vni, name, limit, garp, members_stay: false, first, len });
    }

    /// Adds a domain that shall keep whatever members it has, `members` as far as is known.
    pub fn push_domain_as_it_is(
        &mut self,
        vni: Vni,
        name: Option<Name>,
        limit: DomainLimit,
        garp: GarpMode,
        members: &[Tep],
    ) {
        self.push_domain(vni, name, limit, garp, members.iter().copied());
        self.domains.last_mut().into_iter().for_each(|domain| domain.members_stay = true);
    }

    /// Adds a HAVIP, in any order until [`Inventory::sort`].
    pub fn push_havip(&mut self, havip: Havip, attachments_stay: bool) {
        self.havips.push(HavipRow { havip, attachments_stay });
    }

    /// Brings TEPs, domains and HAVIPs into ascending order.
    pub fn sort(&mut self) {
        self.havips.sort_unstable_by(|a, b| a.havip.name.cmp(&b.havip.name));
        self.teps.sort_unstable_by_key(|tep| tep.address);
        self.domains.sort_unstable_by_key(|domain| domain.vni);
    }

    /// The TEPs, ascending by address.
    pub fn teps(&self) -> &[TepEntry] {
        &self.teps
    }

    /// The domains, ascending by VNI.
    pub fn domains(&self) -> &[DomainRow] {
        &self.domains
    }

    /// The members of a domain of this inventory, ascending.
    pub fn members(&self, domain: &DomainRow) -> &[Tep] {
        &self.members[domain.first..domain.first + domain.len]
    }

    /// How many memberships all domains have together.
    pub fn memberships(&self) -> usize {
        self.members.len()
    }

    /// The TEP of that address.
    pub fn tep(&self, address: Tep) -> Option<&TepEntry> {
        self.teps.binary_search_by_key(&address, |tep| tep.address).ok().map(|at| &self.teps[at])
    }

    /// The domain of that VNI.
    pub fn domain(&self, vni: Vni) -> Option<&DomainRow> {
        self.domains.binary_search_by_key(&vni, |domain| domain.vni).ok().map(|at| &self.domains[at])
    }

    /// The HAVIPs, ascending by name.
    pub fn havips(&self) -> &[HavipRow] {
        &self.havips
    }

    /// The HAVIP of that name.
    pub fn havip(&self, name: &Name) -> Option<&Havip> {
        self.havips.binary_search_by_key(&name, |row| &row.havip.name).ok().map(|at| &self.havips[at].havip)
    }
}

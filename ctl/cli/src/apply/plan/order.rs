//! The changes that a plan is made of, and their order.

use std::collections::{HashMap, HashSet};

use bcast_domain::Tep;
use ctl_api::model::{Change, Name, TepEntry, TepRef};

use super::super::inventory::{DomainRow, Inventory};
use super::{Pair, Plan, Step, havip, pairs};
use crate::limit;

/// A change to send. The node takes them one after another, so their order matters: see [`orders`].
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Give a TEP a passing name, since another one takes the name it has.
    Park {
        have: usize,
    },
    /// Take a TEP out of all its domains and away: the contract has no other way to take its name from it.
    Forget {
        have: usize,
    },
    TepAdd {
        want: usize,
    },
    DomainRemove {
        have: usize,
    },
    DomainSet {
        want: usize,
    },
    TepLimit {
        want: usize,
    },
    DomainLimit {
        want: usize,
    },
    TepRemove {
        have: usize,
    },
    TepNextHop {
        want: usize,
    },
    DomainGarp {
        want: usize,
    },
    /// Of a HAVIP that goes, or that has to make room.
    HavipRemove {
        have: usize,
    },
    /// Of a HAVIP whose public address another one gets.
    HavipUnbindEip {
        have: usize,
    },
    HavipSet {
        want: usize,
    },
    /// Of a HAVIP whose attachments stay.
    HavipTouch {
        want: usize,
    },
    /// The same.
    HavipBindEip {
        want: usize,
    },
}

impl Order {
    /// What it is for.
    pub fn subject(self, plan: &Plan) -> String {
        let (have, want) = (plan.have(), plan.want());
        match self {
            Self::Park { have: at } | Self::Forget { have: at } | Self::TepRemove { have: at } => {
                format!("tep {}", have.teps()[at].address)
            }
            Self::TepAdd { want: at } | Self::TepLimit { want: at } | Self::TepNextHop { want: at } => {
                format!("tep {}", want.teps()[at].address)
            }
            Self::DomainRemove { have: at } => format!("domain {}", have.domains()[at].vni),
            Self::DomainSet { want: at } | Self::DomainLimit { want: at } | Self::DomainGarp { want: at } => {
                format!("domain {}", want.domains()[at].vni)
            }
            Self::HavipRemove { have: at } | Self::HavipUnbindEip { have: at } => {
                format!("havip {}", have.havips()[at].havip.name)
            }
            Self::HavipSet { want: at } | Self::HavipTouch { want: at } | Self::HavipBindEip { want: at } => {
                format!("havip {}", want.havips()[at].havip.name)
            }
        }
    }

    /// The change itself.
    pub fn change(self, plan: &Plan) -> Change {
        let (have, want) = (plan.have(), plan.want());
        let by_address = |tep: &TepEntry| TepRef::Address(tep.address);
        match self {
            Self::Park { have: at } => {
                let address = have.teps()[at].address;
                // An address after a short word is always a name.
                Change::TepAdd { address, name: format!("{}{address}", plan.passing).parse().ok() }
            }
            Self::Forget { have: at } => Change::TepRemove { tep: by_address(&have.teps()[at]), force: true },
            Self::TepAdd { want: at } => {
                let tep = &want.teps()[at];
                Change::TepAdd { address: tep.address, name: tep.name.clone() }
            }
            Self::DomainRemove { have: at } => {
                let vni = have.domains()[at].vni;
                // One that is made anew takes its HAVIPs with it, which are set again; those of one that goes are gone.
                Change::DomainRemove { vni, force: want.domain(vni).is_some() }
            }
            Self::DomainSet { want: at } => domain_set(plan, &want.domains()[at]),
            Self::TepLimit { want: at } => {
                let tep = &want.teps()[at];
                limit::tep_change(by_address(tep), tep.limit)
            }
            Self::TepNextHop { want: at } => {
                next_hop_change(had_tep(have, &want.teps()[at]), &want.teps()[at])
            }
            Self::DomainLimit { want: at } => {
                let domain = &want.domains()[at];
                let had = had_domain(have, domain).map(|had| had.limit).unwrap_or_default();
                limit::domain_change(domain.vni, had, domain.limit)
            }
            Self::DomainGarp { want: at } => {
                let domain = &want.domains()[at];
                Change::DomainGarp { vni: domain.vni, mode: domain.garp }
            }
            Self::TepRemove { have: at } => {
                Change::TepRemove { tep: by_address(&have.teps()[at]), force: false }
            }
            Self::HavipRemove { have: at } => {
                Change::HavipRemove { name: have.havips()[at].havip.name.clone() }
            }
            Self::HavipUnbindEip { have: at } => {
                Change::HavipUnbindEip { name: have.havips()[at].havip.name.clone() }
            }
            Self::HavipSet { want: at } => Change::HavipSet(Box::new(want.havips()[at].havip.clone())),
            Self::HavipTouch { want: at } => havip::touch(have, &want.havips()[at].havip),
            Self::HavipBindEip { want: at } => havip::bind_eip(&want.havips()[at].havip),
        }
    }
}

fn domain_set(plan: &Plan, domain: &DomainRow) -> Change {
    // Only a name that changes is sent: one that stays may be another one by now.
    let had = plan.have().domain(domain.vni).and_then(|had| had.name.as_ref());
    let name = domain.name.clone().filter(|name| had != Some(name));
    if domain.members_stay {
        return Change::DomainCreate { vni: domain.vni, name };
    }
    let members = plan.want().members(domain).iter().map(|&tep| TepRef::Address(tep)).collect();
    Change::DomainSet { vni: domain.vni, name, members }
}

/// What makes a TEP's next hops of those it had. One that stays is not given: it may be another one by now.
fn next_hop_change(had: Option<&TepEntry>, want: &TepEntry) -> Change {
    let (had4, had6) = had.map(|had| (had.next_hop, had.next_hop6)).unwrap_or_default();
    let TepEntry { address, next_hop, next_hop6, .. } = *want;
    let reset = (had4.is_some() && next_hop.is_none()) || (had6.is_some() && next_hop6.is_none());
    Change::TepNextHop {
        tep: TepRef::Address(address),
        next_hop: next_hop.filter(|_| reset || next_hop != had4),
        next_hop6: next_hop6.filter(|_| reset || next_hop6 != had6),
        reset,
    }
}

/// What passing names start with, such that nobody has or shall have a name that does: looked for once, since every
/// TEP may need one.
pub fn free_prefix(have: &Inventory, want: &Inventory) -> String {
    let names = have.teps().iter().chain(want.teps()).filter_map(|tep| tep.name.as_ref());
    let number = |name: &Name| name.as_str().strip_prefix("passing-")?.split_once('-')?.0.parse().ok();
    let taken: HashSet<u32> = names.filter_map(number).collect();
    let free = (0..u32::MAX).find(|number| !taken.contains(number)).unwrap_or_default();
    format!("passing-{free}-")
}

/// The order of the changes: names are free before another TEP takes them, TEPs are registered before they join,
/// memberships go before others come (the node has a limit), HAVIPs go before their domains do and come after all else is
/// there, and TEPs go when they are members no more.
pub fn orders(have: &Inventory, want: &Inventory, steps: &[Step]) -> Vec<Order> {
    let owners: HashMap<&Name, usize> =
        have.teps().iter().enumerate().filter_map(|(at, tep)| Some((tep.name.as_ref()?, at))).collect();
    let mut orders: Vec<Order> = havip::first(have, want, steps).collect();
    let mut forgotten = HashSet::new();
    for step in steps {
        if let Step::TepChange { have: had, want: wanted } = *step
            && loses_name(&have.teps()[had].name, &want.teps()[wanted].name)
        {
            forgotten.insert(have.teps()[had].address);
            orders.push(Order::Forget { have: had });
        }
    }
    // TEPs to register, or to register anew by another name.
    let added = || {
        steps.iter().filter_map(|step| match *step {
            Step::TepAdd { want } => Some(want),
            Step::TepChange { have: had, want: wanted } => {
                (have.teps()[had].name != want.teps()[wanted].name).then_some(wanted)
            }
            _ => None,
        })
    };
    let owners_of_taken = added().filter_map(|at| owners.get(want.teps()[at].name.as_ref()?).copied());
    orders.extend(
        owners_of_taken
            .filter(|&at| !forgotten.contains(&have.teps()[at].address))
            .map(|have| Order::Park { have }),
    );
    orders.extend(added().map(|want| Order::TepAdd { want }));
    orders.extend(steps.iter().filter_map(|step| match *step {
        Step::DomainRemove { have } => Some(Order::DomainRemove { have }),
        // The contract has no other way to take a domain's name from it.
        Step::DomainChange { have: had, want: wanted }
            if loses_name(&have.domains()[had].name, &want.domains()[wanted].name) =>
        {
            Some(Order::DomainRemove { have: had })
        }
        _ => None,
    }));
    orders.extend(steps.iter().filter_map(|step| match *step {
        Step::DomainAdd { want } => Some(Order::DomainSet { want }),
        Step::DomainChange { have: had, want: wanted } => {
            let (old, new) = (&have.domains()[had], &want.domains()[wanted]);
            let only_limit = old.name == new.name && have.members(old) == want.members(new);
            (!only_limit).then_some(Order::DomainSet { want: wanted })
        }
        _ => None,
    }));
    if !forgotten.is_empty() {
        orders.extend(rejoined(have, want, &forgotten).map(|want| Order::DomainSet { want }));
    }
    orders.extend(settings(have, want, steps));
    orders.extend(havip::last(have, want, steps, &forgotten));
    orders.extend(steps.iter().filter_map(|step| match *step {
        Step::TepRemove { have } => Some(Order::TepRemove { have }),
        _ => None,
    }));
    orders
}

/// Whoever loses a name is taken away and made anew.
pub(super) fn loses_name(had: &Option<Name>, want: &Option<Name>) -> bool {
    had.is_some() && want.is_none()
}

/// The limits, next hops and modes to set, now that all that shall be is there.
fn settings<'i>(
    have: &'i Inventory,
    want: &'i Inventory,
    steps: &'i [Step],
) -> impl Iterator<Item = Order> + 'i {
    steps.iter().flat_map(|step| match *step {
        Step::TepAdd { want: at } | Step::TepChange { want: at, .. } => {
            let tep = &want.teps()[at];
            let had = had_tep(have, tep);
            let limit = had.map(|had| had.limit).unwrap_or_default();
            let next_hops = had.map(|had| (had.next_hop, had.next_hop6)).unwrap_or_default();
            [
                (limit != tep.limit).then_some(Order::TepLimit { want: at }),
                (next_hops != (tep.next_hop, tep.next_hop6)).then_some(Order::TepNextHop { want: at }),
            ]
            .into_iter()
            .flatten()
        }
        Step::DomainAdd { want: at } | Step::DomainChange { want: at, .. } => {
            let domain = &want.domains()[at];
            let (limit, garp) = had_domain(have, domain).map(|had| (had.limit, had.garp)).unwrap_or_default();
            [
                (limit != domain.limit).then_some(Order::DomainLimit { want: at }),
                (garp != domain.garp).then_some(Order::DomainGarp { want: at }),
            ]
            .into_iter()
            .flatten()
        }
        _ => [None, None].into_iter().flatten(),
    })
}

/// The domain as it is before it is set; one that is made anew is none.
fn had_domain<'i>(have: &'i Inventory, want: &DomainRow) -> Option<&'i DomainRow> {
    have.domain(want.vni).filter(|had| !loses_name(&had.name, &want.name))
}

/// The same of a TEP.
fn had_tep<'i>(have: &'i Inventory, want: &TepEntry) -> Option<&'i TepEntry> {
    have.tep(want.address).filter(|had| !loses_name(&had.name, &want.name))
}

/// The domains that stay as they are, but that a forgotten TEP has to join again.
fn rejoined<'i>(
    have: &'i Inventory,
    want: &'i Inventory,
    forgotten: &'i HashSet<Tep>,
) -> impl Iterator<Item = usize> + 'i {
    pairs(have.domains(), want.domains(), |domain| domain.vni).filter_map(|pair| {
        let Pair::Both(had, wanted) = pair else { return None };
        let (old, new) = (&have.domains()[had], &want.domains()[wanted]);
        let members = want.members(new);
        let same = old.name == new.name && have.members(old) == members;
        (same && members.iter().any(|tep| forgotten.contains(tep))).then_some(wanted)
    })
}

//! Changes of HAVIPs, before and after those of TEPs and domains.

use std::collections::HashSet;
use std::net::IpAddr;

use bcast_domain::{Tep, Vni};
use ctl_api::model::{Change, Havip};

use super::super::inventory::{HavipRow, Inventory};
use super::order::{Order, loses_name};
use super::{Pair, Step, pairs};

/// What makes room: HAVIPs that go, those that another one takes the address of or whose domain goes while they move to
/// another, and public addresses that another one gets.
pub fn first<'i>(
    have: &'i Inventory,
    want: &'i Inventory,
    steps: &'i [Step],
) -> impl Iterator<Item = Order> + 'i {
    let addresses: HashSet<(Vni, IpAddr)> =
        want.havips().iter().map(|row| (row.havip.vni, row.havip.address)).collect();
    let eips: HashSet<IpAddr> = want.havips().iter().filter_map(|row| row.havip.eip).collect();
    let gone = domains_that_go(have, want, steps);
    steps.iter().filter_map(move |step| match *step {
        Step::HavipRemove { have } => Some(Order::HavipRemove { have }),
        Step::HavipChange { have: had, want: wanted } => {
            let (old, new) = (&have.havips()[had].havip, &want.havips()[wanted].havip);
            let moves = (old.vni, old.address) != (new.vni, new.address);
            let in_the_way = addresses.contains(&(old.vni, old.address))
                || (old.vni != new.vni && gone.contains(&old.vni));
            if moves && in_the_way {
                return Some(Order::HavipRemove { have: had });
            }
            // One that is only touched is bound anew by an order of its own, which takes no address from it.
            let rebound = new.eip.is_some() && only_touched(old, &want.havips()[wanted]);
            let unbound = old.eip.filter(|eip| Some(*eip) != new.eip && (rebound || eips.contains(eip)));
            unbound.map(|_| Order::HavipUnbindEip { have: had })
        }
        _ => None,
    })
}

/// What is set, once all TEPs and domains are there: HAVIPs that are new or other ones, and those that went with a domain or
/// an attachment's TEP that is made anew.
pub fn last(have: &Inventory, want: &Inventory, steps: &[Step], forgotten: &HashSet<Tep>) -> Vec<Order> {
    let gone = domains_that_go(have, want, steps);
    let mut orders = Vec::new();
    for pair in pairs(have.havips(), want.havips(), |row| &row.havip.name) {
        match pair {
            Pair::Have(_) => {}
            Pair::Want(want) => orders.push(Order::HavipSet { want }),
            Pair::Both(had, wanted) => {
                let (old, row) = (&have.havips()[had].havip, &want.havips()[wanted]);
                let new = &row.havip;
                let mut teps = new.attachments.iter().flat_map(|attachment| &attachment.teps);
                let made_anew = gone.contains(&new.vni) || teps.any(|tep| forgotten.contains(tep));
                if old == new && !made_anew {
                    continue;
                }
                if !only_touched(old, row) {
                    orders.push(Order::HavipSet { want: wanted });
                    continue;
                }
                if (&old.vrids, old.refresh_s) != (&new.vrids, new.refresh_s) {
                    orders.push(Order::HavipTouch { want: wanted });
                }
                if old.eip != new.eip {
                    orders.push(Order::HavipBindEip { want: wanted });
                }
            }
        }
    }
    orders
}

/// Whether it is changed by orders that leave its attachments as they are by then.
fn only_touched(old: &Havip, row: &HavipRow) -> bool {
    let new = &row.havip;
    row.attachments_stay
        && (old.vni, old.subnet, old.address) == (new.vni, new.subnet, new.address)
        // The contract's order to touch one takes no VRRP id away.
        && (old.vrids.is_empty() || !new.vrids.is_empty())
}

/// The domains that go, or are made anew.
fn domains_that_go(have: &Inventory, want: &Inventory, steps: &[Step]) -> HashSet<Vni> {
    let gone = steps.iter().filter_map(|step| match *step {
        Step::DomainRemove { have: at } => Some(have.domains()[at].vni),
        Step::DomainChange { have: had, want: wanted } => {
            let (old, new) = (&have.domains()[had], &want.domains()[wanted]);
            loses_name(&old.name, &new.name).then_some(old.vni)
        }
        _ => None,
    });
    gone.collect()
}

/// VRRP ids and refresh of a HAVIP whose attachments stay. One that stays is not given: it may be another one by now.
pub fn touch(have: &Inventory, want: &Havip) -> Change {
    let had = have.havip(&want.name);
    let same_vrids = had.is_some_and(|had| had.vrids == want.vrids);
    let same_refresh = had.is_some_and(|had| had.refresh_s == want.refresh_s);
    Change::HavipCreate {
        name: want.name.clone(),
        vni: want.vni,
        subnet: want.subnet,
        address: want.address,
        vrids: if same_vrids { Vec::new() } else { want.vrids.clone() },
        refresh_s: want.refresh_s.filter(|_| !same_refresh),
    }
}

/// The public address of a HAVIP whose attachments stay.
pub fn bind_eip(want: &Havip) -> Change {
    let name = want.name.clone();
    match want.eip {
        Some(eip) => Change::HavipBindEip { name, eip },
        None => Change::HavipUnbindEip { name },
    }
}

//! What has to change so that a node has what it shall have.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bcast_domain::{DomainLimit, Tep, TepLimit};
use ctl_api::model::{Change, Name, TepEntry, TepRef};

use super::inventory::{DomainRow, Inventory};
use crate::limit;

/// The difference between two inventories, as steps to show and as changes to send.
#[derive(Debug)]
pub struct Plan {
    have: Inventory,
    want: Inventory,
    steps: Vec<Step>,
    orders: Vec<Order>,
    totals: Totals,
    /// See [`free_prefix`].
    passing: String,
}

/// One line of a plan. Numbers are indices into the inventory of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A TEP is registered.
    TepAdd { want: usize },
    /// A TEP gets another name or limit, or loses it.
    TepChange { have: usize, want: usize },
    /// A TEP goes.
    TepRemove { have: usize },
    /// A domain is created with its members.
    DomainAdd { want: usize },
    /// A domain gets other members, another name or limit.
    DomainChange { have: usize, want: usize },
    /// A domain goes.
    DomainRemove { have: usize },
}

/// How much is added, changed and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// TEPs.
    pub teps: Count,
    /// Domains.
    pub domains: Count,
    /// Memberships.
    pub memberships: Moves,
}

/// How many memberships come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Moves {
    /// Joins.
    pub added: usize,
    /// Leaves.
    pub removed: usize,
}

/// How many of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// New ones.
    pub added: usize,
    /// Ones that stay, but not as they were.
    pub changed: usize,
    /// Ones that go.
    pub removed: usize,
}

/// A change to send. The node takes them one after another, so their order matters: see [`orders`].
#[derive(Clone, Copy, Debug)]
enum Order {
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
}

impl Plan {
    /// What turns `have` into `want`; what `want` does not have stays, or goes with `prune`.
    pub fn new(have: Inventory, want: Inventory, prune: bool) -> Self {
        let passing = free_prefix(&have, &want);
        let (steps, unordered) = (Vec::new(), Vec::new());
        let totals = Totals::default();
        let mut plan = Self { have, want, steps, orders: unordered, totals, passing };
        plan.plan_teps(prune);
        plan.plan_domains(prune);
        plan.orders = orders(&plan.have, &plan.want, &plan.steps);
        plan
    }

    fn plan_teps(&mut self, prune: bool) {
        let count = &mut self.totals.teps;
        for pair in pairs(self.have.teps(), self.want.teps(), |tep| tep.address) {
            self.steps.push(match pair {
                Pair::Want(want) => {
                    count.added += 1;
                    Step::TepAdd { want }
                }
                Pair::Both(have, want) if self.have.teps()[have] != self.want.teps()[want] => {
                    count.changed += 1;
                    Step::TepChange { have, want }
                }
                Pair::Have(have) if prune => {
                    count.removed += 1;
                    Step::TepRemove { have }
                }
                Pair::Both(..) | Pair::Have(_) => continue,
            });
        }
    }

    fn plan_domains(&mut self, prune: bool) {
        let Totals { domains, memberships, .. } = &mut self.totals;
        for pair in pairs(self.have.domains(), self.want.domains(), |domain| domain.vni) {
            self.steps.push(match pair {
                Pair::Want(want) => {
                    domains.added += 1;
                    memberships.added += self.want.members(&self.want.domains()[want]).len();
                    Step::DomainAdd { want }
                }
                Pair::Both(have, want) => {
                    let (had, wanted) = (&self.have.domains()[have], &self.want.domains()[want]);
                    let (members, goal) = (self.have.members(had), self.want.members(wanted));
                    if members == goal && had.name == wanted.name && had.limit == wanted.limit {
                        continue;
                    }
                    let (joins, leaves) = joins_and_leaves(members, goal);
                    memberships.added += joins.len();
                    memberships.removed += leaves.len();
                    domains.changed += 1;
                    Step::DomainChange { have, want }
                }
                Pair::Have(have) if prune => {
                    domains.removed += 1;
                    memberships.removed += self.have.members(&self.have.domains()[have]).len();
                    Step::DomainRemove { have }
                }
                Pair::Have(_) => continue,
            });
        }
    }

    /// What the node has.
    pub fn have(&self) -> &Inventory {
        &self.have
    }

    /// What it shall have.
    pub fn want(&self) -> &Inventory {
        &self.want
    }

    /// The plan line by line: TEPs by address, then domains by VNI.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How much changes.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How many changes [`changes`] makes.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Which TEP or domain the change at `at` (from 0) is for.
    pub fn subject(&self, at: usize) -> Option<String> {
        let tep = |tep: &TepEntry| format!("tep {}", tep.address);
        let domain = |domain: &DomainRow| format!("domain {}", domain.vni);
        Some(match *self.orders.get(at)? {
            Order::Park { have } | Order::Forget { have } | Order::TepRemove { have } => {
                tep(&self.have.teps()[have])
            }
            Order::TepAdd { want } | Order::TepLimit { want } => tep(&self.want.teps()[want]),
            Order::DomainRemove { have } => domain(&self.have.domains()[have]),
            Order::DomainSet { want } | Order::DomainLimit { want } => domain(&self.want.domains()[want]),
        })
    }

    fn change(&self, order: Order) -> Change {
        let by_address = |tep: Tep| TepRef::Address(tep);
        match order {
            Order::Park { have } => {
                let address = self.have.teps()[have].address;
                // An address after a short word is always a name.
                Change::TepAdd { address, name: format!("{}{address}", self.passing).parse().ok() }
            }
            Order::Forget { have } => {
                Change::TepRemove { tep: by_address(self.have.teps()[have].address), force: true }
            }
            Order::TepAdd { want } => {
                let tep = &self.want.teps()[want];
                Change::TepAdd { address: tep.address, name: tep.name.clone() }
            }
            Order::DomainRemove { have } => {
                Change::DomainRemove { vni: self.have.domains()[have].vni, force: false }
            }
            Order::DomainSet { want } => {
                let domain = &self.want.domains()[want];
                // Only a name that changes is sent: one that stays may be another one by now.
                let had = self.have.domain(domain.vni).and_then(|had| had.name.as_ref());
                let name = domain.name.clone().filter(|name| had != Some(name));
                if domain.members_stay {
                    return Change::DomainCreate { vni: domain.vni, name };
                }
                let members = self.want.members(domain).iter().copied().map(by_address).collect();
                Change::DomainSet { vni: domain.vni, name, members }
            }
            Order::TepLimit { want } => {
                let TepEntry { address, limit, .. } = self.want.teps()[want];
                limit::tep_change(by_address(address), limit)
            }
            Order::DomainLimit { want } => {
                let domain = &self.want.domains()[want];
                limit::domain_change(domain.vni, had_limit(&self.have, domain), domain.limit)
            }
            Order::TepRemove { have } => {
                Change::TepRemove { tep: by_address(self.have.teps()[have].address), force: false }
            }
        }
    }
}

/// What passing names start with, such that nobody has or shall have a name that does: looked for once, since every
/// TEP may need one.
fn free_prefix(have: &Inventory, want: &Inventory) -> String {
    let names = have.teps().iter().chain(want.teps()).filter_map(|tep| tep.name.as_ref());
    let number = |name: &Name| name.as_str().strip_prefix("passing-")?.split_once('-')?.0.parse().ok();
    let taken: HashSet<u32> = names.filter_map(number).collect();
    let free = (0..u32::MAX).find(|number| !taken.contains(number)).unwrap_or_default();
    format!("passing-{free}-")
}

/// The changes of a plan, made as they are asked for: all at once they would take more memory than both inventories.
pub fn changes(plan: &Arc<Plan>) -> impl Iterator<Item = Change> + Send + use<> {
    let plan = Arc::clone(plan);
    (0..plan.len()).map(move |at| plan.change(plan.orders[at]))
}

/// The order of the changes: names are free before another TEP takes them, TEPs are registered before they join,
/// memberships go before others come (the node has a limit), and TEPs go when they are members no more.
fn orders(have: &Inventory, want: &Inventory, steps: &[Step]) -> Vec<Order> {
    let owners: HashMap<&Name, usize> =
        have.teps().iter().enumerate().filter_map(|(at, tep)| Some((tep.name.as_ref()?, at))).collect();
    let mut orders = Vec::new();
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
    orders.extend(limited(have, want, steps));
    orders.extend(steps.iter().filter_map(|step| match *step {
        Step::TepRemove { have } => Some(Order::TepRemove { have }),
        _ => None,
    }));
    orders
}

/// Whoever loses a name is taken away and made anew.
fn loses_name(had: &Option<Name>, want: &Option<Name>) -> bool {
    had.is_some() && want.is_none()
}

/// The limits to set, now that all that shall be is there.
fn limited<'i>(
    have: &'i Inventory,
    want: &'i Inventory,
    steps: &'i [Step],
) -> impl Iterator<Item = Order> + 'i {
    steps.iter().filter_map(|step| match *step {
        Step::TepAdd { want: at } | Step::TepChange { want: at, .. } => {
            let tep = &want.teps()[at];
            (had_tep_limit(have, tep) != tep.limit).then_some(Order::TepLimit { want: at })
        }
        Step::DomainAdd { want: at } | Step::DomainChange { want: at, .. } => {
            let domain = &want.domains()[at];
            (had_limit(have, domain) != domain.limit).then_some(Order::DomainLimit { want: at })
        }
        _ => None,
    })
}

/// The limit that a domain has before it is set: one that is made anew has none.
fn had_limit(have: &Inventory, want: &DomainRow) -> DomainLimit {
    let had = have.domain(want.vni).filter(|had| !loses_name(&had.name, &want.name));
    had.map(|had| had.limit).unwrap_or_default()
}

fn had_tep_limit(have: &Inventory, want: &TepEntry) -> TepLimit {
    let had = have.tep(want.address).filter(|had| !loses_name(&had.name, &want.name));
    had.map(|had| had.limit).unwrap_or_default()
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

/// Who is in `goal` and not in `members`, and who is in `members` and not in `goal`; both ascending.
pub fn joins_and_leaves(members: &[Tep], goal: &[Tep]) -> (Vec<Tep>, Vec<Tep>) {
    let (mut joins, mut leaves) = (Vec::new(), Vec::new());
    for pair in pairs(members, goal, |tep| *tep) {
        match pair {
            Pair::Want(at) => joins.push(goal[at]),
            Pair::Have(at) => leaves.push(members[at]),
            Pair::Both(..) => {}
        }
    }
    (joins, leaves)
}

enum Pair {
    Have(usize),
    Want(usize),
    Both(usize, usize),
}

/// Walks two lists that ascend by `key` side by side.
fn pairs<'s, T, K: Ord>(
    have: &'s [T],
    want: &'s [T],
    key: impl Fn(&T) -> K + 's,
) -> impl Iterator<Item = Pair> + 's {
    let (mut h, mut w) = (0, 0);
    std::iter::from_fn(move || {
        let order = match (have.get(h), want.get(w)) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => key(a).cmp(&key(b)),
        };
        let pair = match order {
            Ordering::Less => Pair::Have(h),
            Ordering::Greater => Pair::Want(w),
            Ordering::Equal => Pair::Both(h, w),
        };
        h += usize::from(order.is_le());
        w += usize::from(order.is_ge());
        Some(pair)
    })
}

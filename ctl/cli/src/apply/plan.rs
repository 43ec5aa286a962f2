//! What has to change so that a node has what it shall have.

mod havip;
mod order;

use std::cmp::Ordering;
use std::sync::Arc;

use bcast_domain::Tep;
use ctl_api::model::Change;

use super::inventory::Inventory;
use order::Order;

/// The difference between two inventories, as steps to show and as changes to send.
#[derive(Debug)]
pub struct Plan {
    have: Inventory,
    want: Inventory,
    steps: Vec<Step>,
    orders: Vec<Order>,
    totals: Totals,
    /// See [`order::free_prefix`].
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
    /// A HAVIP is created with its attachments.
    HavipAdd { want: usize },
    /// A HAVIP is another one, or has other attachments.
    HavipChange { have: usize, want: usize },
    /// A HAVIP goes.
    HavipRemove { have: usize },
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
    /// HAVIPs.
    pub havips: Count,
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

impl Plan {
    /// What turns `have` into `want`; what `want` does not have stays, or goes with `prune`.
    pub fn new(have: Inventory, want: Inventory, prune: bool) -> Self {
        let passing = order::free_prefix(&have, &want);
        let (steps, unordered) = (Vec::new(), Vec::new());
        let totals = Totals::default();
        let mut plan = Self { have, want, steps, orders: unordered, totals, passing };
        plan.plan_teps(prune);
        plan.plan_domains(prune);
        plan.plan_havips(prune);
        plan.orders = order::orders(&plan.have, &plan.want, &plan.steps);
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
                    let same =
                        had.name == wanted.name && had.limit == wanted.limit && had.garp == wanted.garp;
                    if same && members == goal {
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

    fn plan_havips(&mut self, prune: bool) {
        let count = &mut self.totals.havips;
        for pair in pairs(self.have.havips(), self.want.havips(), |row| &row.havip.name) {
            self.steps.push(match pair {
                Pair::Want(want) => {
                    count.added += 1;
                    Step::HavipAdd { want }
                }
                Pair::Both(have, want)
                    if self.have.havips()[have].havip != self.want.havips()[want].havip =>
                {
                    count.changed += 1;
                    Step::HavipChange { have, want }
                }
                Pair::Have(have) if prune => {
                    count.removed += 1;
                    Step::HavipRemove { have }
                }
                Pair::Both(..) | Pair::Have(_) => continue,
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

    /// The plan line by line: TEPs by address, then domains by VNI, then HAVIPs by name.
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

    /// What the change at `at` (from 0) is for.
    pub fn subject(&self, at: usize) -> Option<String> {
        self.orders.get(at).map(|order| order.subject(self))
    }
}

/// The changes of a plan, made as they are asked for: all at once they would take more memory than both inventories.
pub fn changes(plan: &Arc<Plan>) -> impl Iterator<Item = Change> + Send + use<> {
    let plan = Arc::clone(plan);
    (0..plan.len()).map(move |at| plan.orders[at].change(&plan))
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
    key: impl Fn(&'s T) -> K + 's,
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

//! All contenders do the same work; one that does not is found out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::super::check::{Disagreement, agrees};
use super::super::contenders::{CHECKED, Contender, Found, Read, Sides, Write};
use super::super::cores::Cores;
use super::super::work::{BURST, List};
use super::super::{Turns, lookup, publish};

#[test]
fn all_contenders_give_the_same_answers() {
    for contender in &CHECKED {
        assert_eq!(agrees(contender), Ok(()), "{}", contender.name);
    }
}

/// Fault of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// It keeps what is removed.
    KeepsTheRemoved,
    /// It keeps the list that a domain had first.
    KeepsTheReplaced,
    /// It gives another domain's list.
    MixesDomains,
    /// The same after a while, when nothing is removed any more.
    MixesDomainsLater,
    /// It is one lot behind.
    PublishesLate,
}

type Map = HashMap<u32, u32>;

struct Faulty {
    fault: Fault,
    published: Arc<Mutex<Map>>,
    newest: Map,
    before: Map,
    asked: usize,
}

fn faulty(fault: Fault) -> Sides {
    let published = Arc::new(Mutex::new(Map::new()));
    let side = || {
        let published = Arc::clone(&published);
        Box::new(Faulty { fault, published, newest: Map::new(), before: Map::new(), asked: 0 })
    };
    (side(), side())
}

impl Write for Faulty {
    fn set(&mut self, vni: u32, list: &List) {
        let first = self.newest.entry(vni).or_insert(list[0].get());
        if self.fault != Fault::KeepsTheReplaced {
            *first = list[0].get();
        }
    }

    fn remove(&mut self, vni: u32) {
        if self.fault != Fault::KeepsTheRemoved {
            self.newest.remove(&vni);
        }
    }

    fn publish(&mut self) {
        let before = std::mem::replace(&mut self.before, self.newest.clone());
        let late = self.fault == Fault::PublishesLate;
        *self.published.lock().unwrap() = if late { before } else { self.newest.clone() };
    }
}

impl Read for Faulty {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        self.asked += 1;
        let map = self.published.lock().unwrap();
        *found = vnis.map(|vni| map.get(&vni).copied());
        let mixed = match self.fault {
            Fault::MixesDomains => true,
            Fault::MixesDomainsLater => self.asked > 1000,
            _ => false,
        };
        if mixed {
            found.rotate_left(1);
        }
    }
}

/// A contender with each fault, and what the check is to find wrong about it.
const FAULTY: [(Fault, Contender, Option<&str>); 6] = [
    (Fault::Nothing, Contender { name: "good", make: |_| faulty(Fault::Nothing) }, None),
    (
        Fault::KeepsTheRemoved,
        Contender { name: "keeps the removed", make: |_| faulty(Fault::KeepsTheRemoved) },
        Some("exactly"),
    ),
    (
        Fault::KeepsTheReplaced,
        Contender { name: "keeps the replaced", make: |_| faulty(Fault::KeepsTheReplaced) },
        Some("exactly"),
    ),
    (
        Fault::MixesDomains,
        Contender { name: "mixes domains", make: |_| faulty(Fault::MixesDomains) },
        Some("exactly"),
    ),
    (
        Fault::MixesDomainsLater,
        Contender { name: "mixes domains later", make: |_| faulty(Fault::MixesDomainsLater) },
        Some("any version"),
    ),
    (
        Fault::PublishesLate,
        Contender { name: "publishes late", make: |_| faulty(Fault::PublishesLate) },
        Some("exactly"),
    ),
];

#[test]
fn a_contender_that_answers_wrongly_is_found_out() {
    for (fault, contender, wrong) in FAULTY {
        let found = agrees(&contender).err().map(|error| match error.expected {
            Some(_) => "exactly",
            None => "any version",
        });
        assert_eq!(found, wrong, "{fault:?}");
    }
}

#[test]
fn no_figure_is_reported_of_a_contender_that_answers_wrongly() {
    let turns = Turns { rounds: 1, turn: Duration::from_millis(5), cores: Cores::default() };
    for (fault, contender, _) in FAULTY {
        let lookups = lookup::measure(&[contender], 100, &[1000], turns);
        let changes = publish::measure(&[contender], 100, turns);
        if fault == Fault::MixesDomains {
            assert!(lookups.as_ref().is_err_and(|error| error.is::<Disagreement>()), "{lookups:?}");
            assert!(changes.is_err(), "{changes:?}");
        }
        if fault == Fault::Nothing {
            assert_eq!((lookups.unwrap().len(), changes.unwrap().len()), (1, 1));
        }
    }
}

//! What is measured has its core to itself.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{sync::Mutex, time::Duration};

use core_affinity::{CoreId, get_core_ids};
use micro::{
    contenders::{Contender, Found, Read, Sides, Write},
    cores::Cores,
    lookup::{self, Turns},
    publish,
    work::{self, BURST, List},
};

/// Where each side was last, in this process of one test.
static WRITER: Mutex<Vec<CoreId>> = Mutex::new(Vec::new());
static READER: Mutex<Vec<CoreId>> = Mutex::new(Vec::new());

/// Notes where it runs, and gives answers that are as good as right.
struct Recorder;

fn recorder(_domains: u32) -> Sides {
    (Box::new(Recorder), Box::new(Recorder))
}

impl Write for Recorder {
    fn set(&mut self, _vni: u32, _list: &List) {}
    fn remove(&mut self, _vni: u32) {}
    fn publish(&mut self) {
        *WRITER.lock().unwrap() = get_core_ids().unwrap_or_default();
    }
}

impl Read for Recorder {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        *READER.lock().unwrap() = get_core_ids().unwrap_or_default();
        *found = vnis.map(|vni| Some(work::first_member(vni).into()));
    }
}

#[test]
fn reader_and_publisher_run_on_cores_of_their_own() {
    if get_core_ids().unwrap_or_default().len() < 2 {
        return; // They share the one there is.
    }
    let recorder = Contender { name: "recorder", make: recorder };
    let cores = Cores::choose(None).unwrap();
    let turns = Turns { rounds: 1, turn: Duration::from_millis(2), cores };
    let apart = |what: &str| {
        let (writer, reader) = (WRITER.lock().unwrap().clone(), READER.lock().unwrap().clone());
        assert_eq!((writer.len(), reader.len()), (1, 1), "{what}: both are pinned");
        assert_ne!(writer, reader, "{what}");
    };
    lookup::measure(&[recorder], 100, &[10_000], turns).unwrap();
    apart("lookup");
    publish::measure(&[recorder], 100, turns).unwrap();
    apart("publish");
}

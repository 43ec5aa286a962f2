//! Measured code has its core to itself.

use std::{sync::Mutex, time::Duration};

use core_affinity::{CoreId, get_core_ids};

use super::super::contenders::{Contender, Found, Read, Sides, Write};
use super::super::cores::Cores;
use super::super::work::{self, BURST, List};
use super::super::{Turns, lookup, publish};

/// Last core of each side, in this process of one test.
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

#[test]
fn what_is_measured_and_what_works_beside_it_have_different_cores() {
    let all = get_core_ids().unwrap_or_default();
    for id in all.iter().map(|core| core.id) {
        let cores = Cores::choose(Some(id)).unwrap();
        assert_eq!(cores.measured.map(|core| core.id), Some(id));
        assert_ne!(cores.measured, cores.beside);
        assert_eq!(cores.beside.is_some(), all.len() > 1);
    }
    let error = Cores::choose(Some(1 << 20)).unwrap_err().to_string();
    assert!(error.contains("core 1048576 is not there"), "{error}");
}

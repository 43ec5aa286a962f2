//! What workers hear of virtual IPs, as the control side learns it. How the two meet is modelled in `tests/loom.rs`.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bcast_domain::{Heard, SpeakerId, Spoken, Utterance, VipId, limits};

fn vip(id: usize) -> VipId {
    VipId::new(u32::try_from(id).unwrap()).unwrap()
}

fn speaker(id: usize) -> SpeakerId {
    SpeakerId::new(u32::try_from(id).unwrap()).unwrap()
}

fn drained(heard: &Heard) -> Vec<usize> {
    let mut all = Vec::new();
    heard.drain(|vip| all.push(vip.index()));
    all
}

#[test]
fn each_kind_of_utterance_has_its_place_and_the_latest_counts() {
    let heard = Heard::new();
    let id = speaker(7);
    assert_eq!(heard.read(id), Spoken::default());
    let advert = |interval_cs, priority| Utterance::Advert { interval_cs, priority };
    let utterances = [
        (Utterance::Claim { vrid: 0 }, Spoken { claim_ns: 1, ..Spoken::default() }),
        (Utterance::Use, Spoken { claim_ns: 1, use_ns: 2, ..Spoken::default() }),
        (
            advert(4095, 255),
            Spoken { claim_ns: 1, vrid: 0, use_ns: 2, advert_ns: 3, interval_cs: 4095, priority: 255 },
        ),
        (
            advert(10, 0),
            Spoken { claim_ns: 1, vrid: 0, use_ns: 2, advert_ns: 4, interval_cs: 10, priority: 0 },
        ),
        (
            Utterance::Claim { vrid: 255 },
            Spoken { claim_ns: 5, vrid: 255, use_ns: 2, advert_ns: 4, interval_cs: 10, priority: 0 },
        ),
    ];
    for (at_ns, (what, expected)) in (1..).zip(utterances) {
        heard.note(vip(0), id, what, at_ns);
        assert_eq!(heard.read(id), expected, "{what:?}");
    }
    assert_eq!(heard.read(speaker(6)), Spoken::default(), "another's place");
    heard.forget(id);
    assert_eq!(heard.read(id), Spoken::default());
}

#[test]
fn a_drain_names_each_virtual_ip_once_that_something_was_noted_of() {
    let heard = Heard::new();
    assert!(drained(&heard).is_empty());
    let ids = [0, 1, 63, 64, 65_536, limits::MAX_VIPS - 1];
    for id in ids {
        heard.note(vip(id), speaker(0), Utterance::Use, 1);
        heard.note(vip(id), speaker(limits::MAX_SPEAKERS - 1), Utterance::Claim { vrid: 0 }, 2);
    }
    assert_eq!(drained(&heard), ids);
    assert!(drained(&heard).is_empty(), "each is taken once");
    assert_eq!(heard.read(speaker(limits::MAX_SPEAKERS - 1)).claim_ns, 2);
}

#[test]
fn what_is_noted_by_several_workers_beside_a_drain_is_all_learnt() {
    const WORKERS: usize = 3;
    const VIPS: usize = 130;
    const ROUNDS: u64 = 2_000;
    let (heard, done) = (Heard::new(), AtomicBool::new(false));
    let mut known = vec![0; WORKERS * VIPS];
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let heard = &heard;
                scope.spawn(move || {
                    for (round, id) in (1..=ROUNDS).flat_map(|round| (0..VIPS).map(move |id| (round, id))) {
                        heard.note(vip(id), speaker(worker * VIPS + id), Utterance::Claim { vrid: 0 }, round);
                    }
                })
            })
            .collect();
        let control = scope.spawn(|| {
            loop {
                let last = done.load(Relaxed);
                heard.drain(|vip| {
                    for id in (0..WORKERS).map(|worker| worker * VIPS + vip.index()) {
                        let claim_ns = heard.read(speaker(id)).claim_ns;
                        assert!(claim_ns >= known[id], "time went back");
                        known[id] = claim_ns;
                    }
                });
                if last {
                    break;
                }
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Relaxed);
        control.join().unwrap();
    });
    assert!(known.iter().all(|&claim_ns| claim_ns == ROUNDS));
}

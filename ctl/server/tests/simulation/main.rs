//! A seeded simulation of one node's whole control path beside a plain model: clients, announcements,
//! commits that fail, crashes, restarts, watchers, and receivers of webhooks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model;
mod op;
mod receivers;
mod seen;
mod store;
mod trace;
mod world;

#[path = "../../../havip/tests/common/model.rs"]
mod naive;
#[path = "../common/mod.rs"]
mod rig;
#[path = "../../../havip/tests/common/mod.rs"]
mod script;
/// The naive model looks for it here.
mod common {
    pub use crate::script::{Act, MS};
}

use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// Steps of one run: short, so that a failing one is quickly read.
const RUN_STEPS: u64 = 1_000;
/// Runs at a time. Much of a run waits.
const AT_A_TIME: usize = 8;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn whatever_befalls_a_node_its_control_path_does_what_a_plain_model_does() {
    let steps = setting("SIMULATION_STEPS");
    if let Some(seed) = setting("SIMULATION_SEED") {
        World::new(seed).run(steps.unwrap_or(RUN_STEPS));
        return;
    }
    let runs = steps.unwrap_or(100_000).div_ceil(RUN_STEPS);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&seed| seed < runs)
                {
                    World::new(seed).run(RUN_STEPS);
                }
            });
        }
    });
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let run = |seed| World::new(seed).run(RUN_STEPS);
    let first = run(1_000_000);
    assert_eq!(first, run(1_000_000));
    assert_ne!(first, run(1_000_001));
}

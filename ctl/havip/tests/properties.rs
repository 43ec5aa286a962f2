//! Properties of the machine for any input; comparison with a naive model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/model.rs"]
mod model;

use common::{Act::*, *};
use ctl_havip::{Damping, Options};
use model::Model;
use proptest::prelude::*;

/// 1 and 11 are one instance at two TEPs.
const ANNOUNCERS: [u32; 4] = [1, 2, 3, 11];

fn act() -> impl Strategy<Value = Act> {
    let who = prop::sample::select(&ANNOUNCERS[..]);
    prop_oneof![
        6 => who.clone().prop_map(Claim),
        2 => who.clone().prop_map(Use),
        8 => who.clone().prop_map(Advert),
        1 => who.clone().prop_map(Resign),
        1 => who.clone().prop_map(Arrive),
        1 => who.clone().prop_map(Present),
        1 => who.clone().prop_map(Attach),
        1 => who.prop_map(Detach),
        1 => Just(Unfreeze),
    ]
}

/// Acts with their milliseconds. An announcer makes one announcement of a kind in a millisecond, since the board
/// keeps only the last.
fn script(longest_gap: u64) -> impl Strategy<Value = Vec<(u64, Act)>> {
    prop::collection::vec((0..longest_gap, act()), 1..60).prop_map(|acts| {
        let mut at = 1;
        let mut script: Vec<(u64, Act)> = Vec::new();
        for (gap, act) in acts {
            // Often in the same millisecond, often about an interval later.
            at += if gap % 5 == 0 { 0 } else { gap };
            let kind = |act: Act| match act {
                Claim(who) => (1, who),
                Use(who) => (2, who),
                Advert(who) | Resign(who) => (3, who),
                Arrive(who) => (4, who),
                Present(who) => (5, who),
                _ => (0, 0),
            };
            if kind(act).0 == 0 || !script.iter().any(|&(then, other)| then == at && kind(other) == kind(act))
            {
                script.push((at, act));
            }
        }
        script
    })
}

fn last(script: &[(u64, Act)]) -> u64 {
    script.last().map_or(0, |&(at, _)| at)
}

fn rig(damping: Damping) -> Rig {
    let mut rig = Rig::new(&ANNOUNCERS, Options::default());
    rig.damping = damping;
    rig.interval_cs = u16::try_from(model::INTERVAL / (10 * MS)).unwrap();
    rig
}

/// Limits that freeze and thaw soon.
fn tight() -> Damping {
    Damping {
        flap_moves: 3,
        flap_window_ns: 600 * MS,
        thaw_quiet_ns: 400 * MS,
        thaw_after_ns: 900 * MS,
        takeover_quiet_ns: 240 * MS,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_decides_what_a_naive_model_decides(script in script(130)) {
        let last = last(&script) + 3_500;
        let mut rig = rig(tight());
        rig.play(&script, last);
        let mut model = Model::new(&ANNOUNCERS, tight());
        let mut acts = script.iter().copied().peekable();
        for now in 1..=last {
            let mut order = 0;
            while let Some((_, act)) = acts.next_if(|&(at, _)| at == now) {
                order += 1;
                model.act(act, now * MS + order);
            }
            model.step(now * MS + MS / 2);
        }
        prop_assert_eq!(rig.story(), model.story);
        prop_assert_eq!(rig.machine.holder(), model.holder.map(id));
    }

    #[test]
    fn the_last_claim_of_one_that_is_attached_wins_while_nothing_freezes(
        claims in prop::collection::vec((0..40_u64, prop::sample::select(vec![1, 2, 3, 4, 5, 11])), 1..100)
    ) {
        let mut rig = rig(Damping { flap_moves: u32::MAX, ..Damping::default() });
        let mut at = 1;
        let script: Vec<(u64, Act)> = claims.iter().map(|&(gap, who)| { at += gap; (at, Claim(who)) }).collect();
        rig.play(&script, at + 1);
        // Of the claims in one millisecond the last counts, too.
        let sound = claims.iter().rev().find(|claim| ANNOUNCERS.contains(&claim.1));
        prop_assert_eq!(rig.machine.holder(), sound.map(|claim| id(claim.1)));
        prop_assert_eq!(rig.story().iter().filter(|line| line.contains("frozen")).count(), 0);
    }

    #[test]
    fn whatever_happened_it_ends_with_the_one_that_goes_on_announcing(
        script in script(300),
        who in prop::sample::select(&ANNOUNCERS[..]),
        claims in any::<bool>(),
    ) {
        let last = last(&script) + 1;
        let mut script = script;
        script.push((last, Attach(who)));
        // Claims only, or adverts only.
        script.extend((1..40).map(|n| (last + n * 100, if claims { Claim(who) } else { Advert(who) })));
        let mut rig = rig(tight());
        rig.play(&script, last + 4_500);
        prop_assert_eq!(rig.stored, (ctl_api::model::HavipState::Bound, Some(id(who))), "{:?}", rig.story());
    }

    #[test]
    fn no_more_moves_than_allowed_are_made_within_a_window(script in script(60)) {
        let by_hand = |act: &Act| matches!(act, Unfreeze | Detach(_));
        let script: Vec<(u64, Act)> = script.into_iter().filter(|(_, act)| !by_hand(act)).collect();
        let mut rig = rig(tight());
        rig.play(&script, last(&script) + 1);
        let mut moves: Vec<u64> = Vec::new();
        for (at, effect) in &rig.effects {
            let line = words(effect);
            if line.starts_with("thawed") {
                moves.clear();
            } else if line.starts_with("moved") && !line.ends_with("thawed") {
                moves.push(*at);
                prop_assert!(moves.iter().filter(|&&then| at - then < 600).count() <= 3, "{:?}", rig.story());
            } else if line.starts_with("frozen") {
                moves.push(*at);
                prop_assert!(moves.iter().filter(|&&then| at - then < 600).count() == 4, "{:?}", rig.story());
            }
        }
    }
}

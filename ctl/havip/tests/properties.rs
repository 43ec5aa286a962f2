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
        settle_ns: 50 * MS,
        takeover_quiet_ns: 240 * MS,
    }
}

/// Limits with which a freeze may end early several times, each time later.
fn patient() -> Damping {
    Damping { flap_window_ns: 20_000 * MS, thaw_quiet_ns: 5_000 * MS, thaw_after_ns: 30_000 * MS, ..tight() }
}

/// Master that advertises as fast as the others until that millisecond, from this one on.
fn master(who: u32, from: u64, until: u64) -> impl Iterator<Item = (u64, Act)> {
    (from..until).step_by(100).map(move |at| (at, Advert(who)))
}

/// Two masters that take turns: flaps of claims and adverts, then pauses in which one is alone.
fn flapping() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let turn = (prop::sample::select(vec![1_u32, 2, 3]), prop_oneof![3 => 1..20_u64, 1 => 20..60_u64]);
    prop::collection::vec(turn, 4..40).prop_map(|turns| {
        let (mut at, mut script) = (1, Vec::new());
        for (who, adverts) in turns {
            script.push((at, Claim(who)));
            script.extend(master(who, at + 1, at + 100 * adverts));
            at += 100 * adverts + 7;
        }
        script
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_decides_what_a_naive_model_decides(
        script in prop_oneof![2 => script(130), 1 => flapping()],
        damping in prop::sample::select(vec![tight(), patient()]),
    ) {
        let last = last(&script) + 3_500;
        let mut rig = rig(damping);
        rig.play(&script, last);
        let mut model = Model::new(&ANNOUNCERS, damping);
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
    fn no_more_moves_than_allowed_are_made_within_a_window(
        script in prop_oneof![script(60), flapping()],
        damping in prop::sample::select(vec![tight(), patient()]),
    ) {
        let by_hand = |act: &Act| matches!(act, Unfreeze | Detach(_));
        let script: Vec<(u64, Act)> = script.into_iter().filter(|(_, act)| !by_hand(act)).collect();
        let mut rig = rig(damping);
        rig.play(&script, last(&script) + 1);
        let (window, most) = (damping.flap_window_ns / MS, damping.flap_moves as usize);
        // Of ordinary moves there are no more, and each of those that an early thaw makes counts as one of them.
        let (mut moves, mut frozen_at, mut early) = (Vec::<u64>::new(), 0, Vec::<u64>::new());
        let mut is_early = false;
        for (at, effect) in &rig.effects {
            let (line, within) = (words(effect), |at: u64, then: u64| at - then < window);
            let recent = moves.iter().filter(|&&then| within(*at, then)).count();
            if line.starts_with("thawed") {
                is_early = line == "thawed settled";
                if is_early {
                    // Each early thaw waits twice as long as the one before, if there is no window between them.
                    let before = early.windows(2).rev().take_while(|two| within(two[1], two[0])).count();
                    let last = early.last().filter(|&&last| within(*at, last));
                    let doublings = last.map_or(0, |_| 1 + before);
                    let waited = at - frozen_at + 1;
                    prop_assert!(waited >= 240 << doublings, "{waited} ms after {doublings}: {:?}", rig.story());
                    early.push(*at);
                } else {
                    moves.clear();
                }
            } else if line.starts_with("moved") && line.ends_with("thawed") {
                moves.extend(is_early.then_some(*at));
            } else if line.starts_with("moved") {
                prop_assert!(recent < most, "{:?}", rig.story());
                moves.push(*at);
            } else if line.starts_with("frozen") {
                frozen_at = *at;
                prop_assert!(recent >= most, "{:?}", rig.story());
            }
        }
    }

    #[test]
    fn a_frozen_address_thaws_to_the_only_master_as_soon_as_its_election_has_settled(
        script in prop_oneof![script(100), flapping()],
        who in prop::sample::select(&ANNOUNCERS[..]),
    ) {
        let by_hand = |act: &Act| matches!(act, Unfreeze | Detach(_));
        let mut script: Vec<(u64, Act)> = script.into_iter().filter(|(_, act)| !by_hand(act)).collect();
        let end = last(&script) + 1;
        script.extend(master(who, end, end + 12_000));
        let mut rig = rig(patient());
        rig.play(&script, end);
        let early = rig.story().iter().filter(|line| line.ends_with("thawed settled")).count();
        // Three intervals after the last advert of another, and twice as long for each early thaw that did not last.
        let settled = end + 350 + (300_u64 << early).min(5_000);
        rig.play(&script.iter().copied().filter(|&(at, _)| at > end).collect::<Vec<_>>(), settled + 350);
        prop_assert_eq!(rig.stored, (ctl_api::model::HavipState::Bound, Some(id(who))), "{:?}", rig.story());
    }
}

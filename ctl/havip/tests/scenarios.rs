//! Scenarios of a HAVIP: script in, effects and announcements out, in milliseconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Act::*, *};
use ctl_havip::{Options, SECOND, codes, name};

/// Millisecond and input.
type Moment = (u64, Act);

struct Scenario {
    name: &'static str,
    /// Announcers that are attached from the start.
    attached: &'static [u32],
    script: &'static [Moment],
    /// Last millisecond.
    last: u64,
    effects: &'static [&'static str],
    /// Milliseconds with an announcement by the node.
    announced: &'static [u64],
}

/// Plays all scenarios; a failure shows its name.
fn play(scenarios: &[Scenario], options: Options) {
    for Scenario { name, attached, script, last, effects, announced } in scenarios {
        let mut rig = Rig::new(attached, options);
        rig.play(script, *last);
        assert_eq!(rig.story(), *effects, "{name}");
        assert_eq!(rig.announced, *announced, "{name}");
    }
}

#[test]
fn claims_bind_and_move_and_a_moments_use_only_binds() {
    let scenarios = [
        Scenario {
            name: "the first claim binds it, and the same again changes nothing",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (20, Claim(1)), (30, Use(1)), (40, Advert(1))],
            last: 60_000,
            effects: &["10 bound 1 garp"],
            announced: &[],
        },
        Scenario {
            name: "a normal failover moves it once",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 10_000)),
                (12_700, Master(2, 60_000)),
                (12_701, Claim(2)),
            ],
            last: 60_000,
            effects: &["10 bound 1 garp", "12701 moved 1>2 garp"],
            announced: &[],
        },
        Scenario {
            name: "preemption moves it once, also where an advert of the old master was under way",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 20_015)),
                (20_005, Master(2, 60_000)),
                (20_006, Claim(2)),
            ],
            last: 60_000,
            effects: &["10 bound 1 garp", "20006 moved 1>2 garp"],
            announced: &[],
        },
        Scenario {
            name: "one that resigns is followed within an interval, and its return within another, without a conflict",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 10_000)),
                (10_100, Resign(1)),
                (10_500, Master(2, 12_000)),
                (10_501, Claim(2)),
                (12_100, Master(1, 60_000)),
                (12_101, Claim(1)),
            ],
            last: 60_000,
            effects: &["10 bound 1 garp", "10501 moved 1>2 garp", "12101 moved 2>1 garp"],
            announced: &[],
        },
        Scenario {
            name: "Keepalived that was started before the HAVIP was made binds it by its next advert",
            attached: &[1, 2],
            script: &[(700, Master(1, 20_000))],
            last: 20_000,
            effects: &["700 bound 1 advert"],
            announced: &[],
        },
        Scenario {
            name: "an ordinary ARP binds the unbound, and moves nothing that is bound",
            attached: &[1, 2],
            script: &[(5, Use(1)), (10, Use(2)), (20, Advert(2))],
            last: 1_000,
            effects: &["5 bound 1 arp"],
            announced: &[],
        },
        Scenario {
            name: "of uses that arrive together the first binds, of claims the last",
            attached: &[1, 2, 3],
            script: &[(5, Use(2)), (5, Use(1)), (9, Claim(1)), (9, Claim(3)), (9, Use(2))],
            last: 1_000,
            effects: &["5 bound 2 arp", "9 moved 2>3 garp"],
            announced: &[],
        },
        Scenario {
            name: "one that resigns does not bind it",
            attached: &[1],
            script: &[(5, Resign(1))],
            last: 1_000,
            effects: &[],
            announced: &[],
        },
        Scenario {
            name: "a migration moves it to the instance's other TEP by its claim, and back",
            attached: &[1, 11, 2],
            script: &[(5, Claim(1)), (500, Claim(11)), (700, Detach(1)), (900, Use(11))],
            last: 1_000,
            effects: &["5 bound 1 garp", "500 moved 1>11 garp"],
            announced: &[],
        },
        Scenario {
            name: "when its holder is detached the next use of another binds it",
            attached: &[1, 2],
            script: &[(5, Claim(1)), (6, Use(2)), (100, Detach(1)), (200, Claim(1)), (300, Use(2))],
            last: 1_000,
            effects: &["5 bound 1 garp", "300 bound 2 arp"],
            announced: &[],
        },
        Scenario {
            name: "after a restart the holder keeps it until somebody claims it",
            attached: &[1, 2],
            script: &[(5, Claim(1)), (100, Restart), (200, Use(2)), (300, Claim(2))],
            last: 5_000,
            effects: &["5 bound 1 garp", "300 moved 1>2 garp"],
            announced: &[],
        },
    ];
    play(&scenarios, Options::default());
}

#[test]
fn double_masters_are_told_and_healed() {
    let scenarios = [
        Scenario {
            name: "a double master ends with the one that the binding names: told, and announced in any case",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 60_000)),
                (20_400, Master(2, 25_000)),
                (20_401, Claim(2)),
                (20_500, Claim(1)),
            ],
            last: 60_000,
            effects: &[
                "10 bound 1 garp",
                "20401 moved 1>2 garp",
                "20500 moved 2>1 garp",
                "21010 conflict 1 2",
                "27400 conflict ended, 1 left",
            ],
            announced: &[27_400],
        },
        Scenario {
            name: "a double master ends with the other one, and the binding follows it",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 60_000)),
                (20_400, Master(2, 25_000)),
                (20_401, Claim(2)),
            ],
            last: 60_000,
            effects: &[
                "10 bound 1 garp",
                "20401 moved 1>2 garp",
                "21010 conflict 1 2",
                "27400 conflict ended, 1 left",
                "27400 moved 2>1 healed",
            ],
            announced: &[27_400],
        },
        Scenario {
            name: "a master that comes back after a partition, and does not claim, takes over from a silent one",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 5_000)),
                (8_000, Claim(2)),
                (8_000, Master(2, 20_000)),
                (19_100, Master(1, 60_000)),
            ],
            last: 60_000,
            effects: &["10 bound 1 garp", "8000 moved 1>2 garp", "22000 moved 2>1 taken_over"],
            announced: &[22_000],
        },
        Scenario {
            name: "a claim of one that does not advertise is taken back after three intervals of another's adverts",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (10, Master(1, 60_000)), (20_400, Claim(2))],
            last: 60_000,
            effects: &["10 bound 1 garp", "20400 moved 1>2 garp", "23400 moved 2>1 healed"],
            announced: &[23_400],
        },
        Scenario {
            name: "masters that both fall silent end the conflict, and the binding stays",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (10, Master(1, 10_000)), (4_400, Master(2, 10_000))],
            last: 60_000,
            effects: &["10 bound 1 garp", "5010 conflict 1 2", "12400 conflict ended"],
            announced: &[],
        },
        Scenario {
            name: "masters of different intervals stay a double master until one of them ends",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (10, Master(1, 20_000)), (5_500, Fast(2, 60_000))],
            last: 60_000,
            effects: &[
                "10 bound 1 garp",
                "6010 conflict 1 2",
                "22010 conflict ended, 2 left",
                "22010 moved 1>2 healed",
            ],
            announced: &[22_010],
        },
        Scenario {
            name: "a conflict that was stored is ended after a restart too",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (10, Master(1, 30_000)), (4_400, Master(2, 8_000)), (6_000, Restart)],
            last: 30_000,
            effects: &["10 bound 1 garp", "5010 conflict 1 2", "10400 conflict ended, 1 left"],
            announced: &[10_400],
        },
    ];
    play(&scenarios, Options::default());
}

/// Name, script after the freeze, effects, and milliseconds with an announcement by the node.
type Case<'c> = (&'c str, &'c [Moment], &'c [&'c str], &'c [u64]);

#[test]
fn flapping_is_frozen_and_thawed() {
    // Five moves within 180 s are carried out, the sixth freezes.
    const FLAPS: [Moment; 7] = [
        (1_000, Claim(1)),
        (2_000, Claim(2)),
        (3_000, Claim(1)),
        (4_000, Claim(2)),
        (5_000, Claim(1)),
        (6_000, Claim(2)),
        (7_000, Claim(1)),
    ];
    const TOLD: [&str; 7] = [
        "1000 bound 1 garp",
        "2000 moved 1>2 garp",
        "3000 moved 2>1 garp",
        "4000 moved 1>2 garp",
        "5000 moved 2>1 garp",
        "6000 moved 1>2 garp",
        "7000 frozen, not to 1",
    ];
    let cases: [Case<'_>; 10] = [
        (
            "it thaws after 30 s of a single announcer, and goes to that one",
            &[(7_900, Claim(1)), (20_000, Use(2))],
            &["37000 thawed quiet", "37000 moved 2>1 thawed"],
            &[37_000],
        ),
        (
            "another announcer begins the 30 s anew",
            &[(30_000, Claim(2)), (30_900, Claim(2))],
            &["60000 thawed quiet"],
            &[60_000],
        ),
        (
            "where one alone claims and uses it steadily, it thaws as soon as a silent holder is taken over from",
            &[(7_500, Claim(1)), (9_000, Use(1))],
            &["10000 thawed settled", "10000 moved 2>1 thawed"],
            &[10_000],
        ),
        (
            "where one alone is the master, it thaws after three of its intervals",
            &[(7_100, Master(1, 60_000))],
            &["10100 thawed settled", "10100 moved 2>1 thawed"],
            &[10_100],
        ),
        (
            "and at the earliest after a second",
            &[(7_100, Fast(1, 60_000))],
            &["8000 thawed settled", "8000 moved 2>1 thawed"],
            &[8_000],
        ),
        (
            "one that flaps again is frozen at once, and each time for twice as long",
            &[
                (7_100, Fast(1, 9_000)),
                (9_000, Claim(2)),
                (9_000, Fast(2, 13_000)),
                (13_000, Claim(1)),
                (13_000, Fast(1, 21_000)),
            ],
            &[
                "8000 thawed settled",
                "8000 moved 2>1 thawed",
                "9000 frozen, not to 2",
                "11000 thawed settled",
                "11000 moved 1>2 thawed",
                "13000 frozen, not to 1",
                "17000 thawed settled",
                "17000 moved 2>1 thawed",
            ],
            &[8_000, 11_000, 17_000],
        ),
        (
            "an advert is an announcement too",
            &[(30_000, Advert(2)), (30_500, Advert(1)), (31_000, Resign(2))],
            &["60500 thawed quiet", "60500 moved 2>1 thawed"],
            &[60_500],
        ),
        (
            "by hand it thaws at once, and goes to the last that announced",
            &[(8_000, Unfreeze), (9_000, Claim(2))],
            &["8000 moved 2>1 thawed", "9000 moved 1>2 garp"],
            &[],
        ),
        (
            "without its holder it goes to the last that announced",
            &[(8_000, Detach(2))],
            &["8000 bound 1 thawed"],
            &[],
        ),
        (
            "it stays frozen over a restart, until somebody announced alone for 30 s",
            &[(8_000, Restart), (100_000, Claim(1))],
            &["130000 thawed quiet", "130000 moved 2>1 thawed"],
            &[130_000],
        ),
    ];
    for (name, more, effects, announced) in cases {
        let mut rig = Rig::new(&[1, 2], Options::default());
        rig.play(&[&FLAPS, more].concat(), 400_000);
        assert_eq!(rig.story(), [&TOLD[..], effects].concat(), "{name}");
        assert_eq!(rig.announced, announced, "{name}");
    }
    let fights: Vec<Moment> =
        (0..560).map(|n| (8_000 + n * 1_000, Claim(2 - u32::try_from(n % 2).unwrap()))).collect();
    let mut rig = Rig::new(&[1, 2], Options::default());
    rig.play(&[&FLAPS[..], &fights].concat(), 547_500);
    assert_eq!(
        rig.story(),
        [&TOLD[..], &["547000 thawed after", "547000 moved 2>1 thawed"]].concat(),
        "while two go on fighting it thaws after 540 s"
    );
    let mut rig = Rig::new(&[1, 2], Options::default());
    let slow: Vec<Moment> =
        (0..50).map(|n| (1_000 + n * 36_000, Claim(1 + u32::try_from(n % 2).unwrap()))).collect();
    rig.play(&slow, 2_000_000);
    assert_eq!(rig.effects.len(), 50, "a move every 36 s is no flapping: {:?}", rig.story());
}

#[test]
fn a_rejected_announcement_is_replayed_when_its_sender_is_attached() {
    let scenarios = [
        Scenario {
            name: "a claim that came before its sender was attached moves it, and is announced anew",
            attached: &[1],
            script: &[(10, Claim(1)), (1_000, RejectedClaim(2)), (4_000, Attach(2))],
            last: 9_000,
            effects: &["10 bound 1 garp", "1000 spoof 2 x1", "4000 moved 1>2 replay"],
            announced: &[4_000],
        },
        Scenario {
            name: "after ten seconds it is forgotten",
            attached: &[1],
            script: &[(10, Claim(1)), (1_000, RejectedClaim(2)), (11_001, Attach(2)), (12_000, Present(2))],
            last: 20_000,
            effects: &["10 bound 1 garp", "1000 spoof 2 x1"],
            announced: &[],
        },
        Scenario {
            name: "a claim that another made since is newer",
            attached: &[1],
            script: &[(10, Claim(1)), (1_000, RejectedClaim(2)), (2_000, Claim(1)), (4_000, Attach(2))],
            last: 9_000,
            effects: &["10 bound 1 garp", "1000 spoof 2 x1"],
            announced: &[],
        },
        Scenario {
            name: "an ordinary ARP that was refused binds the unbound",
            attached: &[1],
            script: &[(1_000, RejectedUse(2)), (4_000, Attach(2))],
            last: 9_000,
            effects: &["1000 spoof 2 x1", "4000 bound 2 replay"],
            announced: &[4_000],
        },
        Scenario {
            name: "the claim is remembered, not what the same one said after it",
            attached: &[1],
            script: &[(10, Claim(1)), (1_000, RejectedClaim(2)), (2_000, RejectedUse(2)), (4_000, Attach(2))],
            last: 9_000,
            effects: &["10 bound 1 garp", "1000 spoof 2 x1", "4000 moved 1>2 replay"],
            announced: &[4_000],
        },
        Scenario {
            name: "who said nothing moves nothing by being attached",
            attached: &[1],
            script: &[(10, Claim(1)), (1_000, RejectedClaim(3)), (4_000, Attach(2))],
            last: 9_000,
            effects: &["10 bound 1 garp", "1000 spoof 3 x1"],
            announced: &[],
        },
    ];
    play(&scenarios, Options::default());
}

#[test]
fn it_is_announced_anew_every_so_often_while_its_holder_is_heard() {
    let options = Options { refresh_ns: Some(10 * SECOND) };
    let scenarios = [
        Scenario {
            name: "three periods after it was heard last that ends",
            attached: &[1, 2],
            script: &[(1_000, Claim(1)), (15_000, Use(1)), (15_500, Use(2))],
            last: 100_000,
            effects: &["1000 bound 1 garp"],
            announced: &[11_000, 21_000, 31_000, 41_000],
        },
        Scenario {
            name: "a holder that is heard about other addresses is heard",
            attached: &[1, 2],
            script: &[(1_000, Claim(1)), (30_000, Present(1)), (55_000, Present(1))],
            last: 60_000,
            effects: &["1000 bound 1 garp"],
            announced: &[11_000, 21_000, 31_000, 41_000, 51_000],
        },
        Scenario {
            name: "a move begins the period anew",
            attached: &[1, 2],
            script: &[(1_000, Claim(1)), (8_000, Claim(2))],
            last: 30_000,
            effects: &["1000 bound 1 garp", "8000 moved 1>2 garp"],
            announced: &[18_000, 28_000],
        },
        Scenario {
            name: "an unbound one is not announced",
            attached: &[1],
            script: &[(1_000, Claim(1)), (2_000, Detach(1))],
            last: 30_000,
            effects: &["1000 bound 1 garp"],
            announced: &[],
        },
    ];
    play(&scenarios, options);
    let mut rig = Rig::new(&[1], options);
    rig.play(&[(1_000, Claim(1)), (1_500, Restart)], 60_000);
    assert!(rig.announced.is_empty(), "after a restart the holder has to be latest first");
}

/// Codes of the diagnosis after these many seconds.
fn codes_at(rig: &mut Rig, seconds: u64) -> Vec<&'static str> {
    rig.play(&[], seconds * 1_000);
    rig.machine.codes(seconds * SECOND).collect()
}

#[test]
fn a_stored_holder_that_was_not_heard_since_a_restart_is_a_problem_only_after_its_longest_silence() {
    // Three of the longest advert intervals are 122.85 s; three periods are longer.
    for (refresh_s, bound_s) in [(None, 123), (Some(10), 123), (Some(60), 180)] {
        let mut rig = Rig::new(&[1, 2], Options { refresh_ns: refresh_s.map(|seconds| seconds * SECOND) });
        rig.play(&[(1_000, Claim(1)), (2_000, Restart), (3_000, Present(2))], 4_000);
        let refresh = refresh_s.map(|_| codes::REFRESH_STOPPED);
        for seconds in [5, 12, 13, 30] {
            assert_eq!(codes_at(&mut rig, seconds), [""; 0], "{refresh_s:?} after {seconds} s");
        }
        let before: Vec<_> = refresh.filter(|_| refresh_s == Some(10)).into_iter().collect();
        assert_eq!(codes_at(&mut rig, bound_s + 1), before, "{refresh_s:?}");
        let codes = codes_at(&mut rig, bound_s + 3 + refresh_s.unwrap_or(0));
        assert_eq!(codes, Vec::from_iter([codes::NOT_HEARD_SINCE_RESTART].into_iter().chain(refresh)));
        let lines = rig.machine.diagnosis(200 * SECOND, &rig.damping, |announcer| name(&holder(announcer)));
        assert!(
            lines[0].text.starts_with("the holder was not heard since the restart of the node"),
            "{lines:?}"
        );
        assert!(lines[0].text.contains("197 s ago (vm1"), "{lines:?}");
        rig.play(&[(300_000, Present(1))], 301_000);
        assert!(!codes_at(&mut rig, 302).contains(&codes::NOT_HEARD_SINCE_RESTART), "it is heard");
    }
    // Without a holder there is nobody who was known.
    let mut rig = Rig::new(&[1, 2], Options::default());
    rig.play(&[(2_000, Restart)], 4_000);
    assert_eq!(codes_at(&mut rig, 13), [codes::NEVER_HEARD]);
}

#[test]
fn another_that_uses_the_address_takes_over_from_a_holder_that_is_silent() {
    let scenarios = [
        Scenario {
            name: "announcements to the gateway alone, after the holder fell silent",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (5_000, Use(2)), (6_000, Use(2))],
            last: 60_000,
            effects: &["10 bound 1 garp", "5000 moved 1>2 taken_over"],
            announced: &[5_000],
        },
        Scenario {
            name: "they begin at once: after three seconds of them",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (500, Use(2)), (1_500, Use(2)), (2_500, Use(2))],
            last: 60_000,
            effects: &["10 bound 1 garp", "3010 moved 1>2 taken_over"],
            announced: &[3_010],
        },
        Scenario {
            name: "one use that was under way while the address moved is none",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (4_000, Claim(2)), (4_001, Use(1)), (4_900, Use(1))],
            last: 60_000,
            effects: &["10 bound 1 garp", "4000 moved 1>2 garp"],
            announced: &[],
        },
        Scenario {
            name: "a holder that says a word now and then keeps it",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (1_000, Use(2)),
                (2_500, Use(1)),
                (4_000, Use(2)),
                (5_000, Use(2)),
                (5_400, Use(1)),
                (7_000, Use(2)),
                (8_300, Use(1)),
            ],
            last: 60_000,
            effects: &["10 bound 1 garp"],
            announced: &[],
        },
        Scenario {
            name: "a master is not silent between its adverts, nor does its backup take over by other addresses",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 30_000)),
                (5_500, Use(2)),
                (9_500, Use(2)),
                (9_600, Present(2)),
            ],
            last: 30_000,
            effects: &["10 bound 1 garp"],
            announced: &[],
        },
        Scenario {
            name: "the holder died and all claims of the next one were lost",
            attached: &[1, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 5_000)),
                (9_000, Advert(2)),
                (10_000, Advert(2)),
                (11_000, Advert(2)),
            ],
            last: 11_500,
            effects: &["10 bound 1 garp", "10000 moved 1>2 taken_over"],
            announced: &[10_000],
        },
        Scenario {
            name: "two that both use it leave it where it is",
            attached: &[1, 2, 3],
            script: &[
                (10, Claim(1)),
                (5_000, Use(2)),
                (5_100, Use(3)),
                (6_000, Use(2)),
                (6_100, Use(3)),
                (8_900, Use(2)),
            ],
            last: 8_950,
            effects: &["10 bound 1 garp", "5000 moved 1>2 taken_over"],
            announced: &[5_000],
        },
    ];
    play(&scenarios, Options::default());
}

#[test]
fn a_holder_is_where_its_instance_was_heard_last() {
    // 11 is instance 1 at another TEP.
    let scenarios = [
        Scenario {
            name: "reverse ARP moves it at once, and back",
            attached: &[1, 11, 2],
            script: &[(10, Claim(1)), (500, Arrive(11)), (600, Use(11)), (900, Arrive(1))],
            last: 10_000,
            effects: &["10 bound 1 garp", "500 moved 1>11 migrated", "900 moved 11>1 migrated"],
            announced: &[],
        },
        Scenario {
            name: "a use or an advert from there does so too",
            attached: &[1, 11, 2],
            script: &[(10, Claim(1)), (500, Use(11)), (700, Claim(1)), (900, Advert(11))],
            last: 2_000,
            effects: &[
                "10 bound 1 garp",
                "500 moved 1>11 migrated",
                "700 moved 11>1 garp",
                "900 moved 1>11 migrated",
            ],
            announced: &[],
        },
        Scenario {
            name: "an instance that arrives and does not hold it moves nothing, nor do other addresses",
            attached: &[1, 11, 2, 12],
            script: &[(10, Claim(1)), (500, Arrive(12)), (600, Arrive(2)), (700, Present(11))],
            last: 10_000,
            effects: &["10 bound 1 garp"],
            announced: &[],
        },
        Scenario {
            name: "what came from there before its attachment moves it when it is attached",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (500, RejectedUse(11)), (900, Attach(11))],
            last: 10_000,
            effects: &["10 bound 1 garp", "500 spoof 11 x1", "900 moved 1>11 migrated"],
            announced: &[],
        },
    ];
    play(&scenarios, Options::default());
}

#[test]
fn reverse_arp_before_the_attachment_moves_it_with_the_attachment_unless_the_holder_was_heard_since() {
    let scenarios = [
        Scenario {
            name: "it moves once the new TEP is attached, and no alarm is raised",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (500, EarlyArrival(11)), (4_000, Attach(11))],
            last: 20_000,
            effects: &["10 bound 1 garp", "4000 moved 1>11 migrated"],
            announced: &[],
        },
        Scenario {
            name: "a claim and an arrival from there are remembered both",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (500, RejectedUse(11)), (600, EarlyArrival(11)), (4_000, Attach(11))],
            last: 20_000,
            effects: &["10 bound 1 garp", "500 spoof 11 x1", "4000 moved 1>11 migrated"],
            announced: &[],
        },
        Scenario {
            name: "after ten seconds it is forgotten",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (500, EarlyArrival(11)), (10_501, Attach(11))],
            last: 20_000,
            effects: &["10 bound 1 garp"],
            announced: &[],
        },
        Scenario {
            name: "a holder that was heard since at its old TEP stays there",
            attached: &[1, 2],
            script: &[(10, Claim(1)), (500, EarlyArrival(11)), (900, Present(1)), (4_000, Attach(11))],
            last: 20_000,
            effects: &["10 bound 1 garp"],
            announced: &[],
        },
        Scenario {
            name: "one that does not hold it takes nothing along, and binds nothing",
            attached: &[1, 2],
            script: &[
                (500, EarlyArrival(12)),
                (900, Attach(12)),
                (1_000, Claim(1)),
                (1_100, EarlyArrival(13)),
            ],
            last: 20_000,
            effects: &["1000 bound 1 garp"],
            announced: &[],
        },
    ];
    play(&scenarios, Options::default());
}

#[test]
fn one_instance_that_advertises_at_two_of_its_teps_moves_and_is_no_double_master() {
    // 11 is instance 1 at another TEP.
    let scenarios = [
        Scenario {
            name: "amid a migration",
            attached: &[1, 11, 2],
            script: &[(10, Claim(1)), (10, Master(1, 5_000)), (3_400, Master(11, 20_000))],
            last: 20_000,
            effects: &[
                "10 bound 1 garp",
                "3400 moved 1>11 migrated",
                "4010 moved 11>1 migrated",
                "4400 moved 1>11 migrated",
            ],
            announced: &[],
        },
        Scenario {
            name: "another instance beside it is a rival all the same",
            attached: &[1, 11, 2],
            script: &[
                (10, Claim(1)),
                (10, Master(1, 3_000)),
                (3_400, Master(11, 9_000)),
                (5_600, Master(2, 20_000)),
            ],
            last: 20_000,
            effects: &[
                "10 bound 1 garp",
                "3400 moved 1>11 migrated",
                "6400 conflict 2 11",
                "11400 conflict ended, 2 left",
                "11400 moved 11>2 healed",
            ],
            announced: &[11_400],
        },
        Scenario {
            name: "it alone is the master that heals, from whichever TEP",
            attached: &[1, 11, 2],
            script: &[(10, Claim(2)), (10, Master(1, 2_000)), (1_400, Master(11, 20_000))],
            last: 20_000,
            effects: &["10 bound 2 garp", "3010 moved 2>11 taken_over"],
            announced: &[3_010],
        },
    ];
    play(&scenarios, Options::default());
}

#[test]
fn a_refused_claim_is_not_replayed_over_a_holder_that_was_heard_since() {
    const HEARD: [(&str, &[Moment]); 3] = [
        ("adverts", &[(2_000, Master(1, 9_000))]),
        ("a use", &[(2_000, Use(1))]),
        ("a claim", &[(2_000, Claim(1))]),
    ];
    for (name, heard) in HEARD {
        let mut rig = Rig::new(&[1], Options::default());
        rig.play(&[&[(10, Claim(1)), (1_000, RejectedClaim(2)), (8_000, Attach(2))], heard].concat(), 20_000);
        assert_eq!(rig.story(), ["10 bound 1 garp", "1000 spoof 2 x1"], "{name}");
        assert!(rig.announced.is_empty(), "{name}");
    }
    let mut rig = Rig::new(&[1], Options::default());
    let script = [
        (10, Claim(1)),
        (1_000, RejectedClaim(2)),
        (2_000, Resign(1)),
        (3_000, Present(1)),
        (8_000, Attach(2)),
    ];
    rig.play(&script, 20_000);
    assert_eq!(
        rig.stored.1,
        Some(id(2)),
        "one that resigned, or was heard of other addresses, does not keep it"
    );
}

#[test]
fn three_forged_intervals_of_255_s_hold_a_conflict_no_longer_than_vrrp_can_state() {
    let mut rig = Rig::new(&[1, 2], Options::default());
    rig.interval_cs = 25_500;
    let forged = [Advert(2), Advert(2), Advert(2)];
    let script: Vec<Moment> = (0..3).zip(forged).map(|(n, act)| (5_400 + n * 1_000, act)).collect();
    rig.play(&[&[(10, Claim(1)), (10, Master(1, 300_000))], &script[..]].concat(), 300_000);
    let story = rig.story();
    assert_eq!(story.len(), 3, "{story:?}");
    let ended: u64 = story[2].split(' ').next().unwrap().parse().unwrap();
    assert!(story[2].ends_with("conflict ended, 1 left") && ended <= 7_400 + 3 * 40_950 + 1_000, "{story:?}");
}

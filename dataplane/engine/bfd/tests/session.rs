//! The state machine, by the tables of RFC 5880 sections 6.2 and 6.8, written out by hand.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroU32;

use bfd::{Change, Config, ConfigError, Diagnostic, Discard, Hold, Packet, Role, Session, State};

const MS: u64 = 1_000_000;
const LOCAL: NonZeroU32 = NonZeroU32::new(0xaaaa_0001).unwrap();
const PEER: NonZeroU32 = NonZeroU32::new(0xbbbb_0002).unwrap();

use State::{AdminDown, Down, Init, Up};

fn session(role: Role) -> Session {
    Session::new(Config { role, required_min_rx_us: 100_000, ..Config::passive(LOCAL) }, 0).unwrap()
}

/// Packet of the peer: multiplier 4, sends each 200 ms, is sent to each 70 ms.
fn heard(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 4,
        my_discriminator: PEER,
        your_discriminator: LOCAL.get(),
        desired_min_tx_us: 200_000,
        required_min_rx_us: 70_000,
        required_min_echo_rx_us: 0,
    }
}

/// Session in this state at time 0, with nothing due.
fn in_state(state: State) -> Session {
    let mut session = session(Role::Passive);
    if state == AdminDown {
        session.set_hold(Hold::AdminDown(Diagnostic::ADMINISTRATIVELY_DOWN), 0);
    }
    if matches!(state, Init | Up) {
        session.receive(&heard(Down), 0).unwrap();
    }
    if state == Up {
        session.receive(&heard(Init), 0).unwrap();
    }
    while session.deadline_ns() == 0 {
        let _ = session.tick(0);
    }
    assert_eq!(session.state(), state);
    session
}

/// Ends the Poll Sequence of a session that is Up. Returns the time at which another one may start, a second later.
fn settle(session: &mut Session, now_ns: u64) -> u64 {
    assert!(session.packet().poll);
    session.receive(&Packet { is_final: true, ..heard(Up) }, now_ns).unwrap();
    for now_ns in [now_ns + 500 * MS, now_ns + 1_000 * MS] {
        session.receive(&heard(Up), now_ns).unwrap();
        while session.deadline_ns() <= now_ns {
            let _ = session.tick(now_ns);
        }
    }
    assert!(!session.packet().poll);
    now_ns + 1_000 * MS
}

#[test]
fn each_state_goes_where_the_rfc_says_on_each_packet() {
    let (none, signaled) = (Diagnostic::NONE, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
    let table = [
        (Down, AdminDown, Down, none),
        (Down, Down, Init, none),
        (Down, Init, Up, none),
        (Down, Up, Down, none),
        (Init, AdminDown, Down, signaled),
        (Init, Down, Init, none),
        (Init, Init, Up, none),
        (Init, Up, Up, none),
        (Up, AdminDown, Down, signaled),
        (Up, Down, Down, signaled),
        (Up, Init, Up, none),
        (Up, Up, Up, none),
    ];
    for (from, packet, to, diagnostic) in table {
        let mut session = in_state(from);
        let change = session.receive(&heard(packet), MS).unwrap();
        let expected = (from != to).then_some(Change { from, to, diagnostic });
        assert_eq!(change, expected, "{from:?} hears {packet:?}");
        assert_eq!((session.state(), session.diagnostic()), (to, diagnostic), "{from:?} hears {packet:?}");
        if from != to {
            let sent = session.tick(MS).send.expect("a change is told at once");
            assert_eq!((sent.state, sent.your_discriminator), (to, PEER.get()));
        }
    }
}

#[test]
fn in_admin_down_packets_are_discarded_and_the_peer_is_told_for_as_long_as_it_speaks() {
    for packet in [AdminDown, Down, Init, Up] {
        let mut session = in_state(AdminDown);
        assert_eq!(session.deadline_ns(), u64::MAX, "a passive side is silent until it hears somebody");
        assert_eq!(session.receive(&heard(packet), MS), Err(Discard::AdminDown));
        let sent = session.tick(MS).send.unwrap();
        assert_eq!((sent.state, sent.diagnostic), (AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN));
        let done = session.tick(MS + 800 * MS);
        assert_eq!(
            (done.send, done.change, session.deadline_ns()),
            (None, None, u64::MAX),
            "the peer is gone"
        );
    }
}

#[test]
fn a_packet_of_another_session_changes_nothing() {
    let mut session = in_state(Up);
    let before = format!("{session:?}");
    let wrong = Packet { your_discriminator: 0xaaaa_0002, ..heard(Down) };
    assert_eq!(session.receive(&wrong, MS), Err(Discard::NoSuchSession(0xaaaa_0002)));
    let unknown = Packet { your_discriminator: 0, ..heard(Init) };
    assert_eq!(session.receive(&unknown, MS), Err(Discard::YourDiscriminatorZero(Init)));
    let zero = Packet { detect_mult: 0, ..heard(Down) };
    assert_eq!(session.receive(&zero, MS), Err(Discard::DetectMultZero));
    assert_eq!(format!("{session:?}"), before);
    let restarted = Packet { your_discriminator: 0, ..heard(Down) };
    assert!(session.receive(&restarted, MS).is_ok(), "a peer that has restarted does not know us");
    assert_eq!(session.state(), Down);
}

#[test]
fn a_silent_peer_is_down_after_the_detection_time_with_diagnostic_1() {
    for state in [Init, Up] {
        let mut session = in_state(state);
        // Its multiplier 4 times the greater of its 200 ms and our 100 ms.
        assert_eq!(session.detection_time_ns(), 800 * MS);
        assert_eq!(session.tick(800 * MS - 1).change, None);
        let done = session.tick(800 * MS);
        let diagnostic = Diagnostic::DETECTION_TIME_EXPIRED;
        assert_eq!(done.change, Some(Change { from: state, to: Down, diagnostic }));
        assert_eq!(done.send, None, "a passive side does not speak to a peer that it does not know");
        assert_eq!((session.packet().your_discriminator, session.deadline_ns()), (0, u64::MAX));
        session.receive(&heard(Down), 900 * MS).unwrap();
        let sent = session.tick(900 * MS).send.unwrap();
        assert_eq!((sent.state, sent.diagnostic), (Init, diagnostic), "it says why the last session failed");
        session.receive(&heard(Init), 901 * MS).unwrap();
        assert_eq!((session.state(), session.diagnostic()), (Up, Diagnostic::NONE));
    }
}

#[test]
fn the_detection_time_goes_by_the_greater_interval_and_the_peers_multiplier() {
    for (detect_mult, desired_us, ms) in
        [(4, 200_000, 800), (3, 50_000, 300), (1, 1, 100), (255, 4_000_000, 1_020_000)]
    {
        let mut session = in_state(Up);
        let now = settle(&mut session, 0);
        let packet = Packet { detect_mult, desired_min_tx_us: desired_us, ..heard(Up) };
        session.receive(&packet, now).unwrap();
        assert_eq!(session.detection_time_ns(), ms * MS);
    }
}

#[test]
fn a_passive_side_waits_to_be_spoken_to_and_an_active_one_does_not() {
    let mut passive = session(Role::Passive);
    assert_eq!(passive.deadline_ns(), u64::MAX);
    assert_eq!(passive.tick(u64::MAX - 1).send, None);
    let mut active = session(Role::Active);
    let first = active.tick(0).send.unwrap();
    assert_eq!((first.state, first.your_discriminator, first.desired_min_tx_us), (Down, 0, 1_000_000));
    let next = active.deadline_ns();
    assert!(
        (750 * MS..=1_000 * MS).contains(&next),
        "at least one second, less jitter, while not Up: {next}"
    );
}

#[test]
fn packets_go_out_at_the_greater_interval_less_jitter() {
    let mut session = in_state(Up);
    assert_eq!(session.transmit_interval_us(), 70_000, "the peer takes no more");
    let (mut now, mut gaps) = (session.deadline_ns(), vec![]);
    for _ in 0..200 {
        session.receive(&heard(Up), now).unwrap();
        assert!(session.tick(now).send.is_some());
        gaps.push(session.deadline_ns() - now);
        now = session.deadline_ns();
    }
    assert!(gaps.iter().all(|gap| (52_500_000..=70 * MS).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 56 * MS) && gaps.iter().any(|gap| *gap > 66 * MS), "{gaps:?}");
}

#[test]
fn a_poll_is_answered_at_once_with_final_and_periodic_packets_are_not_shifted() {
    let mut session = in_state(Up);
    let periodic = session.deadline_ns();
    session.receive(&Packet { poll: true, ..heard(Up) }, MS).unwrap();
    session.receive(&Packet { poll: true, ..heard(Up) }, MS).unwrap();
    let answer = session.tick(MS).send.unwrap();
    assert!(answer.is_final && !answer.poll, "P and F never stand together");
    assert_eq!(session.deadline_ns(), periodic, "two polls, one answer");
    let next = session.tick(periodic).send.unwrap();
    assert!(next.poll && !next.is_final, "our own sequence goes on");
}

#[test]
fn a_longer_interval_is_used_after_the_poll_sequence_and_a_shorter_one_at_once() {
    let mut session = in_state(Up);
    let now = settle(&mut session, 0);
    session.set_intervals(400_000, 100_000, now).unwrap();
    let told = session.tick(now).send.unwrap();
    assert!(told.poll && told.desired_min_tx_us == 400_000);
    assert_eq!(session.transmit_interval_us(), 70_000, "the peer's Detection Time is still the old one");
    session.receive(&heard(Up), now + MS).unwrap();
    assert_eq!(session.transmit_interval_us(), 70_000, "a packet without F ends nothing");
    session.receive(&Packet { is_final: true, ..heard(Up) }, now + 2 * MS).unwrap();
    assert_eq!(session.transmit_interval_us(), 400_000);
    // Back again; the sequence waits until no late F can end it.
    session.set_intervals(90_000, 100_000, now + 3 * MS).unwrap();
    assert!(!session.packet().poll && session.packet().desired_min_tx_us == 400_000);
    session.receive(&heard(Up), now + 900 * MS).unwrap();
    assert!(!session.packet().poll, "a second has not passed");
    session.receive(&Packet { is_final: true, ..heard(Up) }, now + 1_100 * MS).unwrap();
    assert!(!session.packet().poll, "an F is late: the second begins anew");
    session.receive(&heard(Up), now + 1_900 * MS).unwrap();
    assert!(!session.packet().poll);
    session.receive(&heard(Up), now + 2_100 * MS).unwrap();
    assert!(session.packet().poll && session.packet().desired_min_tx_us == 90_000);
    assert_eq!(session.transmit_interval_us(), 90_000, "a shorter interval is used at once");
}

#[test]
fn a_shorter_interval_to_be_sent_to_counts_after_the_poll_sequence_and_a_longer_one_at_once() {
    let mut session = in_state(Up);
    let now = settle(&mut session, 0);
    session.set_intervals(50_000, 900_000, now + MS).unwrap();
    assert_eq!(session.detection_time_ns(), 3_600 * MS);
    assert_eq!(session.tick(now + 800 * MS).change, None, "the packet that was heard before counts anew");
    assert!(session.tick(now + 3_600 * MS).change.is_some());

    let mut session = in_state(Up);
    let now = settle(&mut session, 0);
    session.set_intervals(50_000, 400_000, now).unwrap();
    let now = settle(&mut session, now);
    session.set_intervals(50_000, 300_000, now).unwrap();
    assert_eq!(session.packet().required_min_rx_us, 300_000);
    assert_eq!(session.detection_time_ns(), 1_600 * MS, "the peer may send each 400 ms until it knows");
    session.receive(&Packet { is_final: true, ..heard(Up) }, now + MS).unwrap();
    assert_eq!(session.detection_time_ns(), 1_200 * MS);
}

#[test]
fn while_not_up_the_interval_is_a_second_or_more_and_changes_need_no_poll() {
    for state in [Down, Init] {
        let mut session = in_state(state);
        session.set_intervals(20_000, 30_000, MS).unwrap();
        let packet = session.packet();
        assert_eq!(
            (packet.desired_min_tx_us, packet.required_min_rx_us, packet.poll),
            (1_000_000, 30_000, false)
        );
        session.set_intervals(3_000_000, 30_000, MS).unwrap();
        assert_eq!(session.packet().desired_min_tx_us, 3_000_000);
    }
    let mut session = in_state(Up);
    assert_eq!((session.packet().desired_min_tx_us, session.packet().poll), (50_000, true));
    session.receive(&heard(Down), MS).unwrap();
    assert_eq!((session.packet().desired_min_tx_us, session.packet().poll), (1_000_000, false));
}

#[test]
fn a_peer_that_takes_packets_sooner_gets_the_next_one_sooner() {
    let mut session = in_state(Init);
    let packet = Packet { required_min_rx_us: 5_000_000, ..heard(Down) };
    session.receive(&packet, MS).unwrap();
    assert!(session.deadline_ns() >= 800 * MS, "its Detection Time comes first");
    session.receive(&Packet { detect_mult: 255, ..packet }, 2 * MS).unwrap();
    assert!(session.deadline_ns() >= 3_750 * MS);
    session.receive(&Packet { detect_mult: 255, ..heard(Down) }, 900 * MS).unwrap();
    assert!(session.deadline_ns() <= 1_000 * MS, "a second after the last packet at the latest");
}

#[test]
fn no_periodic_packets_go_to_a_peer_that_wants_none() {
    for packet in [Packet { required_min_rx_us: 0, ..heard(Up) }, Packet { demand: true, ..heard(Up) }] {
        let mut session = in_state(Up);
        let now = settle(&mut session, 0);
        session.receive(&packet, now).unwrap();
        assert_eq!(session.deadline_ns(), now + 800 * MS, "only the Detection Time is left");
        session.receive(&Packet { poll: true, ..packet }, now + MS).unwrap();
        assert!(session.tick(now + MS).send.unwrap().is_final, "a poll is answered all the same");
        session.receive(&heard(Up), now + 2 * MS).unwrap();
        assert!(session.deadline_ns() <= now + 72 * MS, "it wants them again");
    }
}

#[test]
fn with_diagnostic_6_the_session_stays_up_and_the_peer_hears_it_at_once() {
    let mut session = in_state(Up);
    let now = settle(&mut session, 0);
    assert_eq!(session.set_hold(Hold::Concatenated, now), None);
    let sent = session.tick(now).send.unwrap();
    assert_eq!((sent.state, sent.diagnostic), (Up, Diagnostic::CONCATENATED_PATH_DOWN));
    assert_eq!(session.set_hold(Hold::Free, now + MS), None);
    assert_eq!(session.tick(now + MS).send.unwrap().diagnostic, Diagnostic::NONE);
    // A session that comes up meanwhile says it from its first packet on.
    let mut session = in_state(Down);
    session.set_hold(Hold::Concatenated, 0);
    for (packet, state) in [(Down, Init), (Init, Up)] {
        session.receive(&heard(packet), MS).unwrap();
        let sent = session.tick(MS).send.unwrap();
        assert_eq!((sent.state, sent.diagnostic), (state, Diagnostic::CONCATENATED_PATH_DOWN));
    }
}

#[test]
fn a_side_that_is_held_down_stays_down_whatever_it_hears_and_comes_up_after_release() {
    for diagnostic in [Diagnostic::CONCATENATED_PATH_DOWN, Diagnostic::ADMINISTRATIVELY_DOWN] {
        let mut session = in_state(Up);
        let change = session.set_hold(Hold::Down(diagnostic), MS);
        assert_eq!(change, Some(Change { from: Up, to: Down, diagnostic }));
        assert_eq!(session.tick(MS).send.map(|sent| (sent.state, sent.diagnostic)), Some((Down, diagnostic)));
        for packet in [AdminDown, Down, Init, Up] {
            assert_eq!(session.receive(&heard(packet), 2 * MS), Ok(None));
        }
        assert_eq!(session.set_hold(Hold::Free, 3 * MS), None);
        assert_eq!(session.tick(3 * MS).send.unwrap().diagnostic, Diagnostic::NONE);
        session.receive(&heard(Init), 4 * MS).unwrap();
        assert_eq!(session.state(), Up);
    }
    let mut session = in_state(Up);
    session.set_hold(Hold::AdminDown(Diagnostic::ADMINISTRATIVELY_DOWN), MS);
    assert_eq!(session.tick(MS).send.unwrap().state, AdminDown);
    let change = session.set_hold(Hold::Free, 2 * MS);
    assert_eq!(change, Some(Change { from: AdminDown, to: Down, diagnostic: Diagnostic::NONE }));
}

#[test]
fn parameters_of_zero_are_refused_and_change_nothing() {
    let config = Config::passive(LOCAL);
    for (bad, error) in [
        (Config { desired_min_tx_us: 0, ..config }, ConfigError::TransmitInterval),
        (Config { required_min_rx_us: 0, ..config }, ConfigError::ReceiveInterval),
        (Config { detect_mult: 0, ..config }, ConfigError::DetectMult),
    ] {
        assert_eq!(Session::new(bad, 0).err(), Some(error));
    }
    let mut session = in_state(Up);
    let before = format!("{session:?}");
    assert_eq!(session.set_intervals(0, 5, MS), Err(ConfigError::TransmitInterval));
    assert_eq!(session.set_intervals(5, 0, MS), Err(ConfigError::ReceiveInterval));
    assert_eq!(format!("{session:?}"), before);
}

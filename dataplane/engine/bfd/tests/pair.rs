//! Two sessions against each other, over a channel that loses, delays and repeats packets.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::num::NonZeroU32;

use bfd::{Config, Diagnostic, Hold, Packet, Role, Session, State};
use fastrand::Rng;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// One direction: first in, first out, as a path through one queue is.
#[derive(Debug)]
struct Channel {
    rng: Rng,
    loss_percent: u8,
    /// Packets lost in a row, at most.
    most_lost: u32,
    delay_ns: u64,
    lost: u32,
    cut: bool,
    queue: VecDeque<(u64, Packet)>,
}

impl Channel {
    fn new(seed: u64, loss_percent: u8, most_lost: u32, delay_ns: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            loss_percent,
            most_lost,
            delay_ns,
            lost: 0,
            cut: false,
            queue: VecDeque::new(),
        }
    }

    fn send(&mut self, packet: Packet, now_ns: u64) {
        // What is not written as bytes does not travel.
        let packet = Packet::parse(&packet.to_bytes()).unwrap();
        if self.cut || (self.lost < self.most_lost && self.rng.u8(0..100) < self.loss_percent) {
            self.lost += 1;
            return;
        }
        self.lost = 0;
        let earliest = self.queue.back().map_or(0, |(at, _)| *at);
        let at = earliest.max(now_ns + self.rng.u64(0..=self.delay_ns));
        for _ in 0..=u8::from(self.rng.u8(0..10) == 0) {
            self.queue.push_back((at, packet));
        }
    }
}

/// Two sides, each with the channel away from it.
#[derive(Debug)]
struct Pair {
    now_ns: u64,
    sides: [(Session, Channel); 2],
    /// Side, time and state of each change.
    changes: Vec<(usize, u64, State)>,
}

impl Pair {
    fn new(configs: [Config; 2], channel: impl Fn(u64) -> Channel) -> Self {
        let [a, b] = configs.map(|config| Session::new(config, 0).unwrap());
        Self { now_ns: 0, sides: [(a, channel(1)), (b, channel(2))], changes: vec![] }
    }

    fn run_until(&mut self, end_ns: u64) {
        loop {
            let next = self.sides.iter().map(|(session, channel)| {
                session.deadline_ns().min(channel.queue.front().map_or(u64::MAX, |(at, _)| *at))
            });
            let next = next.min().unwrap_or(u64::MAX).max(self.now_ns);
            if next > end_ns {
                self.now_ns = end_ns;
                return;
            }
            self.now_ns = next;
            for side in 0..2 {
                self.step(side);
            }
        }
    }

    fn step(&mut self, side: usize) {
        let now_ns = self.now_ns;
        while self.sides[1 - side].1.queue.front().is_some_and(|(at, _)| *at <= now_ns) {
            let (_, packet) = self.sides[1 - side].1.queue.pop_front().unwrap();
            if let Ok(Some(change)) = self.sides[side].0.receive(&packet, now_ns) {
                self.changes.push((side, now_ns, change.to));
            }
        }
        let (session, channel) = &mut self.sides[side];
        if session.deadline_ns() <= now_ns {
            let done = session.tick(now_ns);
            if let Some(packet) = done.send {
                channel.send(packet, now_ns);
            }
            if let Some(change) = done.change {
                self.changes.push((side, now_ns, change.to));
            }
        }
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|side: usize| self.sides[side].0.state())
    }

    fn flaps(&self) -> usize {
        self.changes.iter().filter(|(_, _, state)| *state == State::Down).count()
    }
}

fn config(local: u32, role: Role, detect_mult: u8, tx_ms: u32, rx_ms: u32) -> Config {
    Config {
        local_discriminator: NonZeroU32::new(local).unwrap(),
        role,
        desired_min_tx_us: tx_ms * 1_000,
        required_min_rx_us: rx_ms * 1_000,
        detect_mult,
    }
}

prop_compose! {
    fn pair()(
        seed in any::<u64>(), loss in 0..60_u8, detect_mult in 3..6_u8, passive in any::<bool>(),
        intervals in proptest::array::uniform4(20..400_u32),
    ) -> Pair {
        let second = if passive { Role::Passive } else { Role::Active };
        let configs = [
            config(7, Role::Active, detect_mult, intervals[0], intervals[1]),
            config(7, second, detect_mult, intervals[2], intervals[3]),
        ];
        // The delay varies by less than the shortest interval: two losses of three, and the third comes in time.
        let most_lost = u32::from(detect_mult) - 2;
        Pair::new(configs, |side| Channel::new(seed ^ side, loss, most_lost, 15 * MS))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn two_sides_come_up_and_no_loss_below_the_multiplier_makes_them_flap(
        mut pair in pair(),
        changes in proptest::collection::vec((0..2_usize, 20..400_u32, 20..400_u32, 1..3_000_u64), 0..6),
    ) {
        pair.run_until(30_000 * MS);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
        for (side, tx_ms, rx_ms, wait_ms) in changes {
            pair.sides[side].0.set_intervals(tx_ms * 1_000, rx_ms * 1_000, pair.now_ns).unwrap();
            pair.run_until(pair.now_ns + wait_ms * MS);
        }
        pair.run_until(pair.now_ns + 20_000 * MS);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
        prop_assert_eq!(pair.flaps(), 0, "{:?}", pair.changes);
        for (session, _) in &pair.sides {
            prop_assert!(!session.packet().poll, "every Poll Sequence has ended");
        }
    }

    #[test]
    fn a_side_that_is_cut_off_is_down_after_the_detection_time_and_up_again_when_it_is_back(mut pair in pair()) {
        pair.run_until(30_000 * MS);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
        pair.sides.iter_mut().for_each(|(_, channel)| channel.cut = true);
        let cut_ns = pair.now_ns;
        let times = [0, 1].map(|side: usize| pair.sides[side].0.detection_time_ns());
        pair.run_until(cut_ns + 20_000 * MS);
        prop_assert_eq!(pair.states(), [State::Down; 2]);
        for (side, at_ns, state) in &pair.changes {
            // What was under way when the path was cut still counts.
            if *at_ns > cut_ns && *state == State::Down {
                prop_assert!(*at_ns <= cut_ns + times[*side] + 15 * MS, "{side}: {at_ns} after {cut_ns}");
            }
        }
        for (session, _) in &pair.sides {
            prop_assert_eq!(session.diagnostic(), Diagnostic::DETECTION_TIME_EXPIRED);
        }
        pair.sides.iter_mut().for_each(|(_, channel)| channel.cut = false);
        pair.run_until(cut_ns + 60_000 * MS);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
    }

    #[test]
    fn a_side_that_is_held_back_and_released_ends_up(
        mut pair in pair(), holds in proptest::collection::vec((0..2_usize, 0..4_u8, 1..4_000_u64), 1..10),
    ) {
        for (side, hold, wait_ms) in holds {
            let hold = match hold {
                0 => Hold::Free,
                1 => Hold::Concatenated,
                2 => Hold::Down(Diagnostic::CONCATENATED_PATH_DOWN),
                _ => Hold::AdminDown(Diagnostic::ADMINISTRATIVELY_DOWN),
            };
            pair.sides[side].0.set_hold(hold, pair.now_ns);
            pair.run_until(pair.now_ns + wait_ms * MS);
            if matches!(hold, Hold::Down(_) | Hold::AdminDown(_)) {
                prop_assert!(pair.sides[side].0.state() != State::Up);
            }
        }
        for (session, _) in &mut pair.sides {
            session.set_hold(Hold::Free, pair.now_ns);
        }
        pair.run_until(pair.now_ns + 40_000 * MS);
        prop_assert_eq!(pair.states(), [State::Up; 2]);
    }

    #[test]
    fn any_packets_at_any_times_neither_panic_nor_make_two_answers_to_one_packet(
        packets in proptest::collection::vec((any::<[u8; 24]>(), any::<u32>(), any::<bool>()), 1..100),
    ) {
        let mut session = Session::new(config(7, Role::Passive, 3, 50, 1_000), 0).unwrap();
        let (mut now_ns, mut sent) = (0_u64, 0);
        for (mut bytes, wait_ns, known) in packets {
            bytes[0] = 0x20 | bytes[0] & 0x1f;
            bytes[3] = 24;
            if known {
                bytes[8..12].copy_from_slice(&7_u32.to_be_bytes());
            }
            now_ns += u64::from(wait_ns) / 64;
            if let Ok(packet) = Packet::parse(&bytes) {
                let _ = session.receive(&packet, now_ns);
            }
            for _ in 0..2 {
                sent += u32::from(session.tick(now_ns).send.is_some());
            }
            prop_assert!(session.deadline_ns() > now_ns, "a packet causes two packets at most");
            prop_assert_eq!(session.sent(), sent);
        }
    }
}

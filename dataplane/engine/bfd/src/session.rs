//! Session: the state machine of RFC 5880 section 6.8, in asynchronous mode.

use core::num::NonZeroU32;

use crate::packet::{Diagnostic, Discard, Packet, State};
use crate::timing::{Intervals, Timing, jittered_ns};

/// No deadline.
const NEVER: u64 = u64::MAX;

/// Which side speaks first (RFC 5880 section 6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It sends from the start.
    Active,
    /// It sends only to a peer that it hears.
    #[default]
    Passive,
}

/// Parameters of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// bfd.LocalDiscr: unique in this node.
    pub local_discriminator: NonZeroU32,
    /// Which side speaks first.
    pub role: Role,
    /// Shortest interval at which to send while Up, microseconds, at least 1.
    pub desired_min_tx_us: u32,
    /// Shortest interval at which the peer may send, microseconds, at least 1.
    pub required_min_rx_us: u32,
    /// Intervals without a packet after which the peer takes this side for lost, at least 1.
    pub detect_mult: u8,
}

impl Config {
    /// Passive session that sends each 50 ms, is sent to each second, with multiplier 3.
    #[must_use]
    pub const fn passive(local_discriminator: NonZeroU32) -> Self {
        Self {
            local_discriminator,
            role: Role::Passive,
            desired_min_tx_us: 50_000,
            required_min_rx_us: 1_000_000,
            detect_mult: 3,
        }
    }

    /// Checks the limits of RFC 5880 sections 4.1 and 6.8.1.
    fn check(&self) -> Result<(), ConfigError> {
        if self.desired_min_tx_us == 0 {
            return Err(ConfigError::TransmitInterval);
        }
        if self.required_min_rx_us == 0 {
            return Err(ConfigError::ReceiveInterval);
        }
        if self.detect_mult == 0 {
            return Err(ConfigError::DetectMult);
        }
        Ok(())
    }
}

/// Parameter of a session that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Desired Min TX Interval of 0.
    #[error("transmit interval of 0: set 1 microsecond or more")]
    TransmitInterval,
    /// Required Min RX Interval of 0.
    #[error("receive interval of 0 lets the peer be silent: set 1 microsecond or more")]
    ReceiveInterval,
    /// Detect Mult of 0.
    #[error("detection multiplier of 0: set 1 to 255")]
    DetectMult,
}

/// What holds this side back, though the peer may be well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    #[default]
    Free,
    /// The session runs, and each packet carries diagnostic 6 (concatenated path down, RFC 5880 section 6.8.17): the
    /// peer is to use another path and loses no frame on this one.
    Concatenated,
    /// The session stays in Down with this diagnostic, whatever the peer says. It comes up
    /// with the peer's next packet after release.
    Down(Diagnostic),
    /// The session is in AdminDown with this diagnostic (RFC 5880 section 6.8.16), and the peer in Down.
    AdminDown(Diagnostic),
}

/// Change of a session's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Reason.
    pub diagnostic: Diagnostic,
}

/// Result of [`Session::tick`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Done {
    /// Packet to send now.
    pub send: Option<Packet>,
    /// Change of state: the Detection Time has expired.
    pub change: Option<Change>,
}

/// One side of a session.
///
/// The diagram of RFC 5880 section 6.2: the state is this side's, the labels are the state in the received packet,
/// TIMER is the expiry of the Detection Time.
///
/// ```text
///                             +--+
///                             |  | UP, ADMIN DOWN, TIMER
///                             |  V
///                     DOWN  +------+  INIT
///              +------------|      |------------+
///              |            | DOWN |            |
///              |  +-------->|      |<--------+  |
///              |  |         +------+         |  |
///              |  |                          |  |
///              |  |               ADMIN DOWN,|  |
///              |  |ADMIN DOWN,          DOWN,|  |
///              |  |TIMER                TIMER|  |
///              V  |                          |  V
///            +------+                      +------+
///       +----|      |                      |      |----+
///   DOWN|    | INIT |--------------------->|  UP  |    |INIT, UP
///       +--->|      | INIT, UP             |      |<---+
///            +------+                      +------+
/// ```
///
/// AdminDown is entered and left by [`Session::set_hold`] alone.
///
/// A session sends nothing itself: after [`Session::receive`], [`Session::set_hold`] and
/// [`Session::set_intervals`] the caller looks at [`Session::deadline_ns`], and calls [`Session::tick`] when that
/// time has come. Several packets to answer between two ticks get one answer.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    config: Config,
    state: State,
    diagnostic: Diagnostic,
    hold: Hold,
    timing: Timing,
    remote: Remote,
    /// Time at which the answer (F) to a received P goes out; it does not shift periodic packets.
    final_ns: u64,
    /// Packets sent; also what jitter is made of.
    sent: u32,
    last_sent_ns: Option<u64>,
    transmit_ns: u64,
    detect_ns: u64,
}

/// What the peer said last (RFC 5880 section 6.8.1); the initial values while it is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remote {
    /// bfd.RemoteDiscr, 0 if unknown.
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    demand: bool,
    detect_mult: u8,
    desired_min_tx_us: u32,
    required_min_rx_us: u32,
}

impl Remote {
    const UNKNOWN: Self = Self {
        discriminator: 0,
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        demand: false,
        detect_mult: 0,
        desired_min_tx_us: 0,
        required_min_rx_us: 1,
    };
}

impl Session {
    /// Session in Down that has heard nothing. An active one sends at once.
    ///
    /// # Errors
    /// A parameter is out of range.
    pub fn new(config: Config, now_ns: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let wanted = Intervals { tx_us: config.desired_min_tx_us, rx_us: config.required_min_rx_us };
        let mut session = Self {
            config,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            hold: Hold::Free,
            timing: Timing::new(wanted),
            remote: Remote::UNKNOWN,
            final_ns: NEVER,
            sent: 0,
            last_sent_ns: None,
            transmit_ns: NEVER,
            detect_ns: NEVER,
        };
        session.hasten(now_ns);
        Ok(session)
    }

    /// State of this side.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Local diagnostic, as packets carry it.
    #[must_use]
    pub const fn diagnostic(&self) -> Diagnostic {
        match self.hold {
            Hold::Concatenated => Diagnostic::CONCATENATED_PATH_DOWN,
            Hold::Free | Hold::Down(_) | Hold::AdminDown(_) => self.diagnostic,
        }
    }

    /// State and diagnostic that the peer said last; Down and none while it is not heard.
    #[must_use]
    pub const fn remote(&self) -> (State, Diagnostic) {
        (self.remote.state, self.remote.diagnostic)
    }

    /// What holds this side back.
    #[must_use]
    pub const fn hold(&self) -> Hold {
        self.hold
    }

    /// Packets sent, modulo 2^32.
    #[must_use]
    pub const fn sent(&self) -> u32 {
        self.sent
    }

    /// Interval between packets before jitter, microseconds: the greater of what this side uses and what the peer
    /// takes (RFC 5880 section 6.8.2).
    #[must_use]
    pub fn transmit_interval_us(&self) -> u32 {
        self.timing.used.tx_us.max(self.remote.required_min_rx_us)
    }

    /// Time without a packet after which the peer is lost (RFC 5880 section 6.8.4): its multiplier times the greater
    /// of what this side requires and what the peer desires. 0 while the peer is not heard.
    #[must_use]
    pub fn detection_time_ns(&self) -> u64 {
        let interval_us = self.timing.used.rx_us.max(self.remote.desired_min_tx_us);
        u64::from(self.remote.detect_mult) * u64::from(interval_us) * 1_000
    }

    /// Time at which [`Session::tick`] has something to do; `u64::MAX`: never, unless a packet or a change comes.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.transmit_ns.min(self.detect_ns).min(self.final_ns)
    }

    /// Control packet as it would be sent now (RFC 5880 section 6.8.7).
    #[must_use]
    pub fn packet(&self) -> Packet {
        Packet {
            diagnostic: self.diagnostic(),
            state: self.state,
            poll: self.timing.polling() && self.final_ns == NEVER,
            is_final: self.final_ns != NEVER,
            control_plane_independent: true,
            demand: false,
            detect_mult: self.config.detect_mult,
            my_discriminator: self.config.local_discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx_us: self.timing.announced.tx_us,
            required_min_rx_us: self.timing.announced.rx_us,
            required_min_echo_rx_us: 0,
        }
    }

    /// Takes a packet of the peer (RFC 5880 section 6.8.6). Returns the change of state, if there is one.
    ///
    /// # Errors
    /// The packet is discarded: it names another session, or this one is AdminDown.
    pub fn receive(&mut self, packet: &Packet, now_ns: u64) -> Result<Option<Change>, Discard> {
        let named = packet.your_discriminator;
        if named != 0 && named != self.config.local_discriminator.get() {
            return Err(Discard::NoSuchSession(named));
        }
        // Packet::parse checks this; a packet made otherwise must not get past it.
        if named == 0 && matches!(packet.state, State::Init | State::Up) {
            return Err(Discard::YourDiscriminatorZero(packet.state));
        }
        if packet.detect_mult == 0 {
            return Err(Discard::DetectMultZero);
        }
        let interval_us = self.transmit_interval_us();
        let silent = self.transmit_ns == NEVER;
        self.remote = Remote {
            discriminator: packet.my_discriminator.get(),
            state: packet.state,
            diagnostic: packet.diagnostic,
            demand: packet.demand,
            detect_mult: packet.detect_mult,
            desired_min_tx_us: packet.desired_min_tx_us,
            required_min_rx_us: packet.required_min_rx_us,
        };
        self.timing.heard(packet.is_final, now_ns);
        // In AdminDown the peer stays known for as long as it speaks (section 6.8.1, bfd.RemoteDiscr).
        if self.state == State::AdminDown {
            self.detect_ns = now_ns.saturating_add(self.detection_time_ns());
            self.pace(interval_us, silent, now_ns);
            return Err(Discard::AdminDown);
        }
        let next = self.next(packet.state);
        let change = next.map(|(state, diagnostic)| self.enter(state, diagnostic));
        let announces = self.timing.update(self.state == State::Up);
        // The peer's or this side's new parameters count at once (section 6.8.3).
        self.detect_ns = now_ns.saturating_add(self.detection_time_ns());
        self.pace(interval_us, silent, now_ns);
        if packet.poll {
            self.final_ns = now_ns;
        }
        if change.is_some() || announces {
            self.hasten(now_ns);
        }
        Ok(change)
    }

    /// Does what is due: finds the Detection Time expired, makes the packet to send. If a second packet is due as
    /// well (an answer goes first), the deadline stays in the past.
    pub fn tick(&mut self, now_ns: u64) -> Done {
        let mut done = Done::default();
        if now_ns >= self.detect_ns {
            done.change = self.expire(now_ns);
        }
        if now_ns >= self.final_ns {
            done.send = Some(self.packet());
            self.final_ns = NEVER;
            self.sent = self.sent.wrapping_add(1);
        } else if now_ns >= self.transmit_ns {
            done.send = Some(self.packet());
            self.sent = self.sent.wrapping_add(1);
            self.last_sent_ns = Some(now_ns);
            self.transmit_ns = self.periodic_ns(now_ns);
        }
        done
    }

    /// Holds this side back, or releases it. Returns the change of state, if there is one.
    pub fn set_hold(&mut self, hold: Hold, now_ns: u64) -> Option<Change> {
        if self.hold == hold {
            return None;
        }
        let before = self.packet();
        let was = core::mem::replace(&mut self.hold, hold);
        let change = match hold {
            Hold::Down(diagnostic) => Some((State::Down, diagnostic)),
            Hold::AdminDown(diagnostic) => Some((State::AdminDown, diagnostic)),
            // Section 6.8.16: an enabled session begins in Down.
            Hold::Free | Hold::Concatenated if self.state == State::AdminDown => {
                Some((State::Down, Diagnostic::NONE))
            }
            Hold::Free | Hold::Concatenated => {
                if matches!(was, Hold::Down(_)) {
                    self.diagnostic = Diagnostic::NONE;
                }
                None
            }
        };
        let change = change.map(|(state, diagnostic)| self.enter(state, diagnostic));
        self.timing.update(self.state == State::Up);
        if self.packet() != before {
            self.hasten(now_ns);
        }
        change.filter(|change| change.from != change.to)
    }

    /// Sets the intervals, in microseconds. While Up they come into force by a Poll Sequence (RFC 5880 section
    /// 6.8.3); a change during one waits for its end.
    ///
    /// # Errors
    /// An interval is 0; nothing has changed.
    pub fn set_intervals(
        &mut self,
        desired_min_tx_us: u32,
        required_min_rx_us: u32,
        now_ns: u64,
    ) -> Result<(), ConfigError> {
        let config = Config { desired_min_tx_us, required_min_rx_us, ..self.config };
        config.check()?;
        self.config = config;
        let (interval_us, silent) = (self.transmit_interval_us(), self.transmit_ns == NEVER);
        let detection_ns = self.detection_time_ns();
        self.timing.want(Intervals { tx_us: desired_min_tx_us, rx_us: required_min_rx_us });
        if self.timing.update(self.state == State::Up) {
            if self.detect_ns != NEVER {
                let last_heard_ns = self.detect_ns.saturating_sub(detection_ns);
                self.detect_ns = last_heard_ns.saturating_add(self.detection_time_ns());
            }
            self.pace(interval_us, silent, now_ns);
            self.hasten(now_ns);
        }
        Ok(())
    }

    /// State and diagnostic that follow from the peer's state (section 6.8.6); `None`: all stays as it is.
    fn next(&self, heard: State) -> Option<(State, Diagnostic)> {
        let held = matches!(self.hold, Hold::Down(_));
        match (self.state, heard) {
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                Some((State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN))
            }
            (State::Down, State::Down) if !held => Some((State::Init, self.diagnostic)),
            (State::Down, State::Init) if !held => Some((State::Up, Diagnostic::NONE)),
            (State::Init, State::Init | State::Up) => Some((State::Up, Diagnostic::NONE)),
            (State::AdminDown | State::Down, _)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up) => None,
        }
    }

    fn enter(&mut self, state: State, diagnostic: Diagnostic) -> Change {
        let from = self.state;
        (self.state, self.diagnostic) = (state, diagnostic);
        Change { from, to: state, diagnostic }
    }

    /// The Detection Time has expired (sections 6.8.1 and 6.8.4): the peer is unknown again, and all that it said
    /// has its initial value.
    fn expire(&mut self, now_ns: u64) -> Option<Change> {
        let (interval_us, silent) = (self.transmit_interval_us(), self.transmit_ns == NEVER);
        self.remote = Remote::UNKNOWN;
        (self.detect_ns, self.final_ns) = (NEVER, NEVER);
        let change = matches!(self.state, State::Init | State::Up)
            .then(|| self.enter(State::Down, Diagnostic::DETECTION_TIME_EXPIRED));
        self.timing.update(self.state == State::Up);
        if change.is_some() || !self.may_speak() {
            self.hasten(now_ns);
        } else {
            self.pace(interval_us, silent, now_ns);
        }
        change
    }

    /// True if packets go out at intervals (section 6.8.7).
    fn periodic(&self) -> bool {
        let demand = self.remote.demand && self.state == State::Up && self.remote.state == State::Up;
        self.may_speak() && self.remote.required_min_rx_us != 0 && (!demand || self.timing.polling())
    }

    /// False for a passive side that does not know its peer (section 6.8.7).
    fn may_speak(&self) -> bool {
        self.config.role == Role::Active || self.remote.discriminator != 0
    }

    /// Time of the next periodic packet after one at `last_ns`.
    fn periodic_ns(&self, last_ns: u64) -> u64 {
        if !self.periodic() {
            return NEVER;
        }
        let seed = u64::from(self.config.local_discriminator.get()) << 32 | u64::from(self.sent);
        last_ns.saturating_add(jittered_ns(self.transmit_interval_us(), self.config.detect_mult, seed))
    }

    /// Sends as soon as possible, as a packet would tell something new; silence stays silence.
    fn hasten(&mut self, now_ns: u64) {
        self.transmit_ns = if self.may_speak() { now_ns } else { NEVER };
    }

    /// Brings the next periodic packet in line with what may have changed since the last one (section 6.8.3).
    fn pace(&mut self, interval_before_us: u32, silent: bool, now_ns: u64) {
        let overdue = self.transmit_ns <= now_ns;
        if !self.periodic() {
            if !overdue {
                self.transmit_ns = NEVER;
            }
        } else if silent || (interval_before_us != self.transmit_interval_us() && !overdue) {
            self.transmit_ns = self.last_sent_ns.map_or(now_ns, |last| self.periodic_ns(last).max(now_ns));
        }
    }
}

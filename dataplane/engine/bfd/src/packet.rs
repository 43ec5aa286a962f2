//! BFD Control packet (RFC 5880 section 4.1), without an authentication section.

use core::num::NonZeroU32;

/// State of a session, as a Control packet carries it (RFC 5880 section 4.1, "Sta").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Held down by its operator.
    AdminDown = 0,
    /// No contact, or contact lost.
    #[default]
    Down = 1,
    /// The peer is heard, and does not know that yet.
    Init = 2,
    /// Both hear each other.
    Up = 3,
}

impl State {
    /// State by its two bits on the wire; higher bits are ignored.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

/// Reason for the last change of a session's state (RFC 5880 section 4.1, "Diag"): 5 bits. Codes without a name
/// here are reserved; they are read and written as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// 0: no diagnostic.
    pub const NONE: Self = Self(0);
    /// 1: the Detection Time has expired.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// 2: the Echo function failed.
    pub const ECHO_FAILED: Self = Self(2);
    /// 3: the neighbour signalled session down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// 4: the forwarding plane was reset.
    pub const FORWARDING_PLANE_RESET: Self = Self(4);
    /// 5: path down.
    pub const PATH_DOWN: Self = Self(5);
    /// 6: concatenated path down: the session works, what lies behind the speaker does not.
    pub const CONCATENATED_PATH_DOWN: Self = Self(6);
    /// 7: administratively down.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
    /// 8: reverse concatenated path down.
    pub const REVERSE_CONCATENATED_PATH_DOWN: Self = Self(8);

    /// Diagnostic by its five bits on the wire; higher bits are ignored.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x1f)
    }

    /// Code, 0 to 31.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

/// Control packet without authentication. Times are in microseconds, as on the wire.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       My Discriminator                        |
/// |                      Your Discriminator                       |
/// |                    Desired Min TX Interval                    |
/// |                   Required Min RX Interval                    |
/// |                 Required Min Echo RX Interval                 |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Reason for the sender's last change of state.
    pub diagnostic: Diagnostic,
    /// State of the sender.
    pub state: State,
    /// P: the sender asks for a packet with F.
    pub poll: bool,
    /// F: the answer to a packet with P.
    pub is_final: bool,
    /// C: the sender's BFD does not share fate with its control plane.
    pub control_plane_independent: bool,
    /// D: the sender wishes to hear no periodic packets.
    pub demand: bool,
    /// Intervals without a packet after which the receiver takes the sender for lost; never 0.
    pub detect_mult: u8,
    /// Sender's discriminator of the session.
    pub my_discriminator: NonZeroU32,
    /// Receiver's discriminator of the session; 0 as long as the sender does not know it.
    pub your_discriminator: u32,
    /// Shortest interval at which the sender would like to send.
    pub desired_min_tx_us: u32,
    /// Shortest interval at which the sender can receive; 0: it wants no periodic packets.
    pub required_min_rx_us: u32,
    /// Shortest interval of Echo packets that the sender can loop back; 0: it loops none back.
    pub required_min_echo_rx_us: u32,
}

/// Reason for which a received Control packet is discarded, in the order of RFC 5880 section 6.8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    /// Fewer bytes than the mandatory section.
    #[error("{0} bytes: a BFD Control packet has at least {len}", len = Packet::LEN)]
    Truncated(usize),
    /// Version other than 1.
    #[error("BFD version {0}: only version 1 is spoken")]
    Version(u8),
    /// Length below the minimum: 24, or 26 with authentication.
    #[error("length field of {0} bytes: below the minimum")]
    LengthShort(u8),
    /// Length beyond the payload.
    #[error("length field of {0} bytes: the payload is shorter")]
    LengthLong(u8),
    /// Detect Mult of 0.
    #[error("detection multiplier of 0: the peer must send at least 1")]
    DetectMultZero,
    /// M is set.
    #[error("multipoint bit: sessions are point to point")]
    Multipoint,
    /// My Discriminator of 0.
    #[error("my discriminator of 0: the peer must send its own")]
    MyDiscriminatorZero,
    /// Your Discriminator is not 0, and not the session's.
    #[error("your discriminator {0:#x}: no such session")]
    NoSuchSession(u32),
    /// Your Discriminator of 0 in a state that implies that the peer knows it.
    #[error("your discriminator of 0 in state {0:?}: allowed in Down and AdminDown alone")]
    YourDiscriminatorZero(State),
    /// A is set.
    #[error("authentication: none is configured; disable it at the peer")]
    Authentication,
    /// The session is AdminDown: nothing but the peer's parameters was taken.
    #[error("the session is administratively down")]
    AdminDown,
}

/// Bits of the second byte.
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

impl Packet {
    /// Bytes of a packet without authentication.
    pub const LEN: usize = 24;

    /// Reads a packet from the payload of UDP and makes the checks of RFC 5880 section 6.8.6 that need no session, in
    /// its order. Bytes after the packet's length field are ignored.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn parse(payload: &[u8]) -> Result<Self, Discard> {
        let Some(bytes) = payload.first_chunk::<{ Self::LEN }>() else {
            return Err(Discard::Truncated(payload.len()));
        };
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let [first, flags, detect_mult, length, ..] = *bytes;
        let authentication = flags & AUTHENTICATION != 0;
        if first >> 5 != 1 {
            return Err(Discard::Version(first >> 5));
        }
        if length < if authentication { 26 } else { 24 } {
            return Err(Discard::LengthShort(length));
        }
        if usize::from(length) > payload.len() {
            return Err(Discard::LengthLong(length));
        }
        if detect_mult == 0 {
            return Err(Discard::DetectMultZero);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let my_discriminator = NonZeroU32::new(word(4)).ok_or(Discard::MyDiscriminatorZero)?;
        let (your_discriminator, state) = (word(8), State::from_bits(flags >> 6));
        if your_discriminator == 0 && matches!(state, State::Init | State::Up) {
            return Err(Discard::YourDiscriminatorZero(state));
        }
        if authentication {
            return Err(Discard::Authentication);
        }
        Ok(Self {
            diagnostic: Diagnostic::from_bits(first),
            state,
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            detect_mult,
            my_discriminator,
            your_discriminator,
            desired_min_tx_us: word(12),
            required_min_rx_us: word(16),
            required_min_echo_rx_us: word(20),
        })
    }

    /// Bytes of the packet: version 1, length 24, A and M clear.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = (self.state as u8) << 6
            | flag(self.poll, POLL)
            | flag(self.is_final, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        let words = [
            u32::from_be_bytes([1 << 5 | self.diagnostic.code(), flags, self.detect_mult, 24]),
            self.my_discriminator.get(),
            self.your_discriminator,
            self.desired_min_tx_us,
            self.required_min_rx_us,
            self.required_min_echo_rx_us,
        ];
        let mut bytes = [0; Self::LEN];
        for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        bytes
    }
}

//! BFD frames and sessions: what is read is written again, and no sequence of packets breaks a session.
#![no_main]

use std::num::NonZeroU32;

use bfd::{Addresses, Config, Frame, Packet, Session, Template};
use libfuzzer_sys::fuzz_target;
use wire::MacAddr;

/// Discriminator of the session: also in the corpus' packets.
const LOCAL: NonZeroU32 = NonZeroU32::new(7).unwrap();

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = Frame::parse(bytes) {
        let written = Template::new(&Addresses::answer(&frame, MacAddr([2; 6]), 50_000)).frame(&frame.packet);
        assert_eq!(Frame::parse(&written).expect("our own frame").packet, frame.packet);
    }
    let mut session = Session::new(Config::passive(LOCAL), 0).expect("good parameters");
    let mut now_ns = 0;
    // Each 28 bytes are a packet, and the time until it comes.
    for step in bytes.chunks_exact(28) {
        let wait = u32::from_be_bytes([step[24], step[25], step[26], step[27]]);
        now_ns += u64::from(wait);
        if let Ok(packet) = Packet::parse(&step[..24]) {
            let _ = session.receive(&packet, now_ns);
        }
        let sent = session.sent();
        while session.deadline_ns() <= now_ns {
            let _ = session.tick(now_ns);
            assert!(session.sent() - sent <= 2, "one packet caused more than two");
        }
    }
});

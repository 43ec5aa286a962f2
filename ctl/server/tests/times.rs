//! Times that are shown, with a processor's counter that goes wrong and a wall clock that is set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bcast_domain::{AnnouncementKind, RejectReason, Rejected, VlanTags};
use common::havip::*;
use common::*;
use ctl_node::Moment;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const DAY: u64 = 86_400 * SECOND;

/// So much real time after the start of a node whose counter is 0.2 % fast; the wall clock is ahead of its start by `wall_ns` more.
fn after(real_ns: u64, wall_ns: u64) -> Moment {
    let unix_ns = 1_790_000_000 * SECOND + real_ns + wall_ns;
    Moment { worker_ns: SECOND + real_ns + real_ns / 500, steady_ns: SECOND + real_ns, unix_ns }
}

fn set(rig: &Rig, moment: Moment) {
    *rig.node.moment.lock().unwrap() = Some(moment);
}

#[test]
fn a_shown_time_is_the_wall_clocks_at_the_event_a_day_later_and_after_the_clock_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    set(&rig, after(0, 0));
    rig.commit(vec![add(1), add(2), common::set(5001, &[1, 2]), create_havip("web", 5001, 100)]);
    rig.commit(vec![attach("web", "vm1", 1, &[1]), attach("web", "vm2", 2, &[2])]);

    // The claim and what is refused come two milliseconds before they are looked at.
    let heard = after(5 * SECOND, 0);
    set(&rig, after(5 * SECOND + 2 * MS, 0));
    rig.node.refused.lock().unwrap().push_back(Rejected {
        vip: rig.vip(5001),
        mac: [0x52, 0x54, 0, 0, 0, 9],
        bound: [0x52, 0x54, 0, 0, 0, 9],
        tep: rig.announcers(5001)[1].tep,
        reason: RejectReason::Unattached,
        claims: false,
        tags: VlanTags::NONE,
        at_ns: heard.worker_ns,
    });
    let claim = AnnouncementKind::Claim { mac: [0; 6] };
    rig.node.board.note(rig.vip(5001), rig.announcer(5001, 1, 1), claim, VlanTags::NONE, heard.worker_ns);
    until("bound", || rig.havip("web").binding.holder.is_some());
    let status = || rig.run(rig.client().havip(&name("web"))).unwrap();
    until("the refused announcement is known", || {
        status().diagnosis.iter().any(|found| found.text.contains("refused 0 s ago"))
    });
    let shown = status().announced[0].claim_unix_ms;
    assert!(shown.abs_diff(heard.unix_ns / MS) <= 1, "{shown} for {heard:?}");

    // Five minutes later, an hour, a day; the wall clock is put back by an hour, then by two days.
    for (real_ns, wall_ns) in
        [(300, 0), (3_600, 0), (86_400, 3_600)].map(|(real, back)| (real * SECOND, back * SECOND))
    {
        let now = after(5 * SECOND + 2 * MS + real_ns, 0);
        set(&rig, Moment { unix_ns: now.unix_ns - wall_ns, ..now });
        let status = status();
        assert_eq!(status.announced[0].claim_unix_ms, shown);
        let ago = real_ns / SECOND;
        let has = |text: &str| status.diagnosis.iter().any(|found| found.text.contains(text));
        assert!(!has("no attached instance was heard"), "{:?}", status.diagnosis);
        assert_eq!(has(&format!("refused {ago} s ago")), real_ns <= 600 * SECOND, "{:?}", status.diagnosis);
    }

    // What comes now has the time that the wall clock shows now.
    let now = after(2 * DAY, 0);
    let now = Moment { unix_ns: now.unix_ns - 2 * DAY, ..now };
    set(&rig, now);
    let vm2 = rig.announcer(5001, 2, 2);
    rig.node.board.note(rig.vip(5001), vm2, claim, VlanTags::NONE, now.worker_ns);
    until("moved", || rig.havip("web").binding.holder.is_some_and(|holder| holder.instance == name("vm2")));
    let [one, other] = &status().announced[..] else { panic!("two attachments") };
    assert_eq!((one.claim_unix_ms, other.claim_unix_ms), (shown, now.unix_ns / MS));
}

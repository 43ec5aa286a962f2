//! Plans.

use std::net::Ipv4Addr;

use super::super::flow::{Flow, Teps};

#[test]
fn a_tep_is_known_by_its_place() {
    let teps = Teps::new(Ipv4Addr::new(198, 19, 0, 1), 300);
    assert_eq!(teps.address(299), Ipv4Addr::new(198, 19, 1, 44));
    for (address, place) in [
        ([198, 19, 0, 1], Some(0)),
        ([198, 19, 1, 44], Some(299)),
        ([198, 19, 1, 45], None),
        ([198, 19, 0, 0], None),
        ([0, 0, 0, 0], None),
    ] {
        assert_eq!(teps.place(address.into()), place, "{address:?}");
    }
}

#[test]
fn a_frame_makes_a_copy_for_every_member_but_its_source() {
    let flow =
        |source, watched_from| Flow { vni: 1, source, teps: 10..20, watched_from, stream: 0, accounts: 0 };
    for (source, watched_from, fan_out) in [(10, 20, 9), (19, 20, 9), (19, 15, 5), (30, 20, 10)] {
        let flow = flow(source, watched_from);
        assert_eq!(flow.fan_out(), fan_out);
        assert_eq!(flow.receivers().count() as u64, fan_out);
    }
}

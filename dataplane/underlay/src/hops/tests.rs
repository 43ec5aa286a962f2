use super::*;

const PORT: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn index(index: u32) -> TepIndex {
    TepIndex::new(index).unwrap()
}

fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

fn hop(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn by(hop: &str) -> Option<Route> {
    Some(Route { hop: hop.parse().unwrap(), by_object: false })
}

/// Two TEPs behind one gateway, one on-link; all looked up, asked for and resolved.
fn three() -> Hops {
    let mut hops = Hops::new(None);
    for (place, last) in [(0, 1), (1, 2), (2, 3)] {
        hops.add(index(place), tep(last));
    }
    assert_eq!(hops.take(64, true), [tep(1), tep(2), tep(3)]);
    hops.routed(tep(1), by("198.18.0.254"));
    hops.routed(tep(2), by("198.18.0.254"));
    hops.routed(tep(3), by("198.18.0.3"));
    let mut asked = hops.take_to_ask(64);
    asked.sort();
    assert_eq!(asked, [hop("198.18.0.3"), hop("198.18.0.254")], "a gateway is asked for once");
    for address in asked {
        hops.asked(address);
        hops.resolved(address, Some(PORT));
    }
    assert!(hops.is_settled() && !hops.has_work() && !hops.has_stale());
    hops.publish();
    hops
}

fn macs(hops: &mut Hops) -> Vec<bool> {
    hops.publish().into_iter().map(|tep| tep.is_some_and(|tep| tep.mac.is_some())).collect()
}

#[test]
fn a_flushed_neighbour_is_asked_for_again_at_once() {
    let mut hops = three();
    hops.vanished(hop("198.18.0.254"));
    assert_eq!(hops.take_to_ask(64), [hop("198.18.0.254")]);
    assert_eq!(macs(&mut hops), [false, false, true]);
    hops.resolved(hop("198.18.0.254"), Some(PORT));
    assert_eq!(macs(&mut hops), [true, true, true]);
    hops.vanished(hop("198.18.0.77"));
    assert!(!hops.has_work() && !hops.is_changed(), "a neighbour that is nobody's next hop does not matter");
}

#[test]
fn a_read_in_full_clears_neighbours_that_are_gone() {
    let mut hops = three();
    let neighbour = |mac| Neighbour { mac, is_kept: true };
    let at_port = neighbour(Some(PORT));
    let all = HashMap::from([(hop("198.18.0.3"), at_port), (hop("198.18.0.9"), at_port)]);
    hops.neighbours(&all);
    assert_eq!(macs(&mut hops), [false, false, true]);
    assert_eq!(hops.take_to_ask(64), [hop("198.18.0.254")]);
    hops.neighbours(&HashMap::from([(hop("198.18.0.3"), neighbour(None)), (hop("198.18.0.254"), at_port)]));
    assert_eq!(macs(&mut hops), [true, true, false], "one that failed is unresolved");
}

#[test]
fn a_neighbour_that_the_kernel_keeps_no_more_is_asked_for_again() {
    let mut hops = three();
    let kept = Neighbour { mac: Some(PORT), is_kept: true };
    let left = Neighbour { is_kept: false, ..kept };
    hops.neighbours(&HashMap::from([(hop("198.18.0.3"), left), (hop("198.18.0.254"), kept)]));
    assert_eq!(hops.take_to_ask(64), [hop("198.18.0.3")]);
    assert_eq!(macs(&mut hops), [true, true, true], "its MAC address is used meanwhile");
}

#[test]
fn a_changed_route_concerns_the_teps_within_its_prefix_alone() {
    let mut hops = three();
    hops.mark(Stale::Prefix([198, 18, 0, 2].into(), 31));
    assert_eq!(hops.take(64, false), [tep(2), tep(3)]);
    hops.mark(Stale::Prefix([203, 0, 113, 0].into(), 24));
    assert!(!hops.has_stale());
    hops.mark(Stale::Prefix([0, 0, 0, 0].into(), 0));
    hops.mark(Stale::All);
    assert_eq!(hops.take(64, false).len(), 3, "each is looked up once");
    hops.mark(Stale::Prefix([198, 18, 0, 3].into(), 32));
    assert_eq!(hops.take(64, false), [tep(3)]);
    hops.routed(tep(3), Some(Route { hop: hop("198.18.0.3"), by_object: true }));
    hops.mark(Stale::ByObject);
    assert_eq!(hops.take(64, false), [tep(3)]);
}

#[test]
fn new_teps_are_looked_up_before_a_thousand_stale_ones() {
    let mut hops = Hops::new(None);
    for place in 0..1_000 {
        hops.add(index(place), Tep::new(Ipv4Addr::from_bits(0xc612_0001 + place)).unwrap());
    }
    for tep in hops.take(1_000, true) {
        hops.routed(tep, by("198.19.0.1"));
    }
    hops.mark(Stale::All);
    hops.add(index(1_000), Tep::new([198, 19, 0, 7].into()).unwrap());
    assert!(!hops.is_settled());
    assert_eq!(hops.take(1, false), [Tep::new([198, 19, 0, 7].into()).unwrap()]);
    hops.routed(Tep::new([198, 19, 0, 7].into()).unwrap(), None);
    assert!(hops.take(64, true).is_empty(), "the stale ones wait");
    assert_eq!(hops.take(64, false).len(), 64);
}

#[test]
fn the_last_tep_of_a_hop_takes_its_neighbour_along_but_not_the_operators_own() {
    let mut hops = three();
    hops.remove(index(0));
    assert!(hops.take_to_forget(64).is_empty());
    hops.remove(index(1));
    assert_eq!(hops.take_to_forget(64), [hop("198.18.0.254")]);
    hops.add(index(3), tep(4));
    hops.take(64, true);
    hops.routed(tep(4), by("198.18.0.4"));
    assert_eq!(hops.take_to_ask(64), [hop("198.18.0.4")]);
    hops.resolved(hop("198.18.0.4"), Some(PORT));
    hops.remove(index(3));
    assert!(hops.take_to_forget(64).is_empty(), "the kernel's entry is the operator's");
}

#[test]
fn a_hop_whose_last_tep_goes_while_it_is_asked_for_is_forgotten() {
    let mut hops = Hops::new(None);
    hops.add(index(0), tep(1));
    hops.take(1, true);
    hops.routed(tep(1), by("198.18.0.1"));
    assert_eq!(hops.take_to_ask(1), [hop("198.18.0.1")]);
    hops.remove(index(0));
    hops.asked(hop("198.18.0.1"));
    assert_eq!(hops.take_to_forget(1), [hop("198.18.0.1")]);
}

#[test]
fn a_tep_that_is_removed_and_added_at_once_keeps_its_new_index() {
    let mut hops = three();
    hops.add(index(7), tep(1));
    hops.remove(index(0));
    assert_eq!(hops.take(64, true), [tep(1)]);
    hops.routed(tep(1), by("198.18.0.254"));
    let published = hops.publish();
    assert_eq!(published[0], None);
    assert_eq!(published[7].unwrap().mac, Some(PORT));
    assert!(hops.is_settled());
}

#[test]
fn an_answer_that_comes_after_its_tep_has_gone_changes_nothing() {
    let mut hops = three();
    hops.mark(Stale::All);
    let taken = hops.take(64, false);
    hops.remove(index(2));
    assert_eq!(hops.take_to_forget(64), [hop("198.18.0.3")]);
    hops.publish();
    hops.routed(taken[2], by("198.18.0.250"));
    hops.put_back(taken[2]);
    assert!(!hops.is_changed() && !hops.has_work() && !hops.has_stale());
}

#[test]
fn teps_that_come_and_go_while_the_kernel_is_silent_leave_no_queue_behind() {
    let mut hops = Hops::new(None);
    for round in 0..10_000_u32 {
        hops.add(index(round % 2), tep(u8::try_from(round % 200 + 1).unwrap()));
        hops.remove(index(round % 2));
    }
    assert!(hops.fresh.len() + hops.stale.len() < 200);
    assert!(hops.is_settled() && hops.take(64, false).is_empty());
}

#[test]
fn a_route_by_way_of_an_ipv6_next_hop_is_resolved_by_that() {
    let mut hops = Hops::new(None);
    hops.add(index(0), tep(1));
    hops.take(1, true);
    hops.routed(tep(1), by("fe80::1"));
    assert_eq!(hops.take_to_ask(1), [hop("fe80::1")]);
    hops.resolved(hop("fe80::1"), Some(PORT));
    let published = hops.publish()[0].unwrap();
    assert_eq!((published.gateway, published.mac), (Some(hop("fe80::1")), Some(PORT)));
}

#[test]
fn with_a_fixed_mac_address_nobody_is_asked() {
    let mut hops = Hops::new(Some(PORT));
    hops.add(index(0), tep(1));
    hops.mark(Stale::All);
    hops.mark_unresolved();
    assert!(hops.is_settled() && !hops.has_work() && !hops.has_stale());
    let published = hops.publish()[0].unwrap();
    assert_eq!((published.gateway, published.mac), (Some(hop("198.18.0.1")), Some(PORT)));
}

#[test]
fn a_failed_lookup_is_tried_again_and_counts_as_new_until_it_succeeds() {
    let mut hops = Hops::new(None);
    hops.add(index(0), tep(1));
    let taken = hops.take(1, true)[0];
    hops.put_back(taken);
    assert!(!hops.is_settled() && hops.has_work());
    assert_eq!(hops.take(1, true), [tep(1)]);
    hops.routed(tep(1), None);
    assert!(hops.is_settled());
    hops.mark_unresolved();
    assert_eq!(
        hops.take(1, false),
        [tep(1)],
        "a TEP without a route is looked up again with each read in full"
    );
}

#[test]
fn marks_of_teps_that_are_gone_hide_no_route_that_has_to_be_looked_up() {
    let mut hops = three();
    // Removed and added anew with their marks still in the queue: as many marks as TEPs, and none of them the third's.
    for _ in 0..2 {
        hops.add(index(0), tep(1));
        hops.add(index(1), tep(2));
    }
    hops.mark(Stale::All);
    let mut taken = hops.take(64, false);
    taken.sort();
    assert_eq!(taken, [tep(1), tep(2), tep(3)]);
}

#[test]
fn an_entry_that_is_needed_again_before_the_kernel_let_go_of_it_is_let_go_of_in_the_end() {
    let mut hops = three();
    hops.add(index(2), tep(3));
    hops.routed(tep(3), by("198.18.0.3"));
    assert!(hops.take_to_forget(64).is_empty(), "it is in use again");
    hops.routed(tep(3), by("198.18.0.254"));
    assert_eq!(hops.take_to_forget(64), [hop("198.18.0.3")]);
}

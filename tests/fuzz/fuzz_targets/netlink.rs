//! Any bytes as notifications and answers of the kernel: all are read or count as lost, and the decisions on next hops come to rest.
#![no_main]

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bcast_domain::{Tep, TepIndex};
use libfuzzer_sys::fuzz_target;
use netlink::Notice;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use underlay::{Action, Answer, Event, Machine, Neighbour, Request, acknowledgements, by_tap, neighbour};

/// Interfaces of the corpus: the TAP and the port.
const TAP: u32 = 2;
const PORT: u32 = 3;
const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);

/// Messages of a datagram, as answers to requests.
#[derive(Default)]
struct Messages {
    links: Vec<LinkMessage>,
    rules: Vec<RuleMessage>,
    routes: Vec<RouteMessage>,
    neighbours: Vec<(std::net::IpAddr, Neighbour)>,
}

impl Messages {
    fn of(notices: &VecDeque<Notice>, datagram: &[u8]) -> Self {
        let mut messages = Self::default();
        for notice in notices {
            match notice {
                Notice::Link(link, _) => messages.links.push(link.clone()),
                Notice::Route(route, _) => messages.routes.push(route.clone()),
                Notice::Neighbour(message, _) => messages.neighbours.extend(neighbour(message)),
                _ => {}
            }
        }
        // As requests read their answers.
        if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)
            && let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRule(rule)) = message.payload
        {
            messages.rules.push(rule);
        }
        messages
    }

    fn answer(&self, request: &Request) -> Answer {
        match request {
            Request::Links => Answer::Links(self.links.clone()),
            Request::Tap(_) => Answer::Tap { missing: Vec::new(), trouble: None },
            Request::Rules => Answer::Rules { rules: self.rules.clone(), missing: 0 },
            Request::Neighbours => Answer::Neighbours(self.neighbours.iter().copied().collect()),
            Request::Route(tep) => {
                Answer::Route(self.routes.iter().find_map(|route| by_tap(route, TAP, tep.address())))
            }
            Request::Resolve(hop) => {
                let known = self.neighbours.iter().find(|(address, _)| address == hop);
                Answer::Resolved { mac: known.and_then(|(_, known)| known.mac), asked: true }
            }
            Request::Gateway | Request::Forget(_) => Answer::Done,
        }
    }
}

fuzz_target!(|datagram: &[u8]| {
    let mut notices = VecDeque::new();
    netlink::read(datagram, &mut notices);
    assert!(notices.len() <= datagram.len() / 16 + 1, "more notifications than headers");
    assert!(acknowledgements(datagram).count() <= datagram.len() / 16 + 1, "more answers than headers");

    let messages = Messages::of(&notices, datagram);
    let (mut machine, mut now) = (Machine::new(None), Instant::now());
    machine.follow(now, TAP, Some(PORT), Some(NODE));
    let teps: Vec<(TepIndex, Tep)> = (0..8_u16)
        .filter_map(|number| {
            let address =
                Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 9).to_bits() + 256 * u32::from(number));
            Some((TepIndex::from(number), Tep::new(address).ok()?))
        })
        .collect();
    machine.set_teps(&teps, &[]);
    let decide = |machine: &mut Machine, now, event| {
        let mut actions = VecDeque::from(machine.decide(now, event));
        let mut steps = 0;
        while let Some(action) = actions.pop_front() {
            steps += 1;
            assert!(steps < 1_000, "one event has no end of actions");
            if let Action::Ask(request) = action {
                let answer = messages.answer(&request);
                actions.extend(machine.decide(now, Event::Answered(request, Ok(answer))));
            }
        }
    };
    decide(&mut machine, now, Event::Tick);
    for notice in notices {
        decide(&mut machine, now, Event::Notice(notice));
    }
    // In less than the five seconds after which all is read in full again.
    for _ in 0..8 {
        now += Duration::from_millis(300);
        decide(&mut machine, now, Event::Tick);
    }
    let published = machine.publish();
    assert_eq!(published.len(), teps.len());
    assert!(published.iter().flatten().all(|tep| tep.gateway.is_some() || tep.mac.is_none()));
});

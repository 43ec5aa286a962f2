//! Answered changes are there after kill -9, and nothing is there by halves.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bcast_domain::{Tep, Vni};
use ctl_api::{
    client::Client,
    model::{Batch, DomainFields, Field, Name, SetResource},
};
use testkit::{
    lab::{Lab, mac_text},
    node::{Config, Node},
};
use tokio::{runtime::Runtime, task::JoinSet};

const KILLS: u32 = 50;
/// Clients that write at once, each its own pair of domains.
const CLIENTS: u32 = 4;

/// State of one client's pair of domains: both carry the number of the last change in their names.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    answered: u64,
    asked: u64,
}

type Log = Arc<Mutex<BTreeMap<u32, Known>>>;

/// Changes a pair of domains again and again, both in one batch, until the daemon is gone.
async fn write(mut client: Client, pair: u32, teps: [Tep; 2], log: Log) {
    let note = |change: &dyn Fn(&mut Known)| {
        let mut log = log.lock().expect("no client panics");
        let known = log.entry(pair).or_default();
        change(known);
        known.asked
    };
    loop {
        let number = note(&|known| known.asked += 1);
        let name: Name = format!("g{number}").parse().expect("a name");
        // Odd and even changes have different members, so half a change would show in them as well.
        let members = if number.is_multiple_of(2) { &teps[..1] } else { &teps[..] };
        let fields = DomainFields {
            name: Field::Value(name),
            members: Some(members.to_vec().into()),
            ..DomainFields::default()
        };
        let change = |vni: u32| SetResource::Domain(Vni::from(vni), fields.clone()).set();
        match client.commit(Batch::new(vec![change(2 * pair), change(2 * pair + 1)])).await {
            Ok(_) => note(&|known| known.answered = number),
            Err(_) => return,
        };
    }
}

/// The number and the count of members of a domain, as the daemon has them.
async fn state(client: &mut Client, vni: u32) -> (u64, usize) {
    match client.domain(Vni::from(vni)).await {
        Ok(domain) => {
            let number = domain.name.unwrap_or_default().trim_start_matches('g').parse();
            (number.unwrap_or(0), domain.members.unwrap_or_default().ipv4.len() / 4)
        }
        Err(_) => (0, 0),
    }
}

#[test]
fn after_fifty_times_kill_9_every_answered_change_is_there_and_no_half_of_another() {
    let lab = Lab::new();
    // No frames in this test: a port that receives none.
    let config = Config::new(lab.folder())
        .set("port.device", "vdev:net_null0,no-rx=1")
        .set("underlay.tap", "")
        .set("underlay.gateway_mac", mac_text([2; 6]));
    let mut node = Node::start(&lab, &config);
    let addresses = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];
    addresses.iter().for_each(|address| drop(node.must(&format!("tep add {address}"))));
    let teps = addresses.map(|address| Tep::new(address).expect("a TEP"));
    let runtime = Runtime::new().expect("threads can be started");
    let log = Log::default();
    let (mut in_flight, mut random) = (0, 0x2545_f491_u32);

    for kill in 0..KILLS {
        let mut writers = JoinSet::new();
        let client = runtime.block_on(Client::connect(&node.socket())).expect("the daemon listens");
        for pair in 0..CLIENTS {
            writers.spawn_on(write(client.clone(), pair, teps, Arc::clone(&log)), runtime.handle());
        }
        // Up to 64 ms of changes; a fixed sequence, so that a failure can be repeated as far as timing allows.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_micros(u64::from(random >> 16)));
        node.kill9();
        runtime.block_on(writers.join_all());

        let known = log.lock().expect("no client panics").clone();
        in_flight += usize::from(known.values().any(|known| known.asked > known.answered));
        node.restart();
        runtime.block_on(async {
            let mut client = Client::connect(&node.socket()).await.expect("the daemon listens");
            for (pair, known) in known {
                let (one, two) = (state(&mut client, 2 * pair).await, state(&mut client, 2 * pair + 1).await);
                assert_eq!(one, two, "after kill {kill}: half a change of pair {pair}, {known:?}");
                let (number, members) = one;
                assert!(
                    (known.answered..=known.asked).contains(&number),
                    "after kill {kill}: {number}, {known:?}"
                );
                let expected = if number == 0 { 0 } else { 2 - usize::from(number.is_multiple_of(2)) };
                assert_eq!(members, expected, "after kill {kill}: members of change {number}");
                // What was in flight and got there counts from now on: it must not get lost later.
                log.lock()
                    .expect("no client panics")
                    .insert(pair, Known { answered: number, asked: known.asked });
            }
        });
    }
    println!("{KILLS} kills, {in_flight} with a commit in flight");
    assert!(in_flight >= 30, "only {in_flight} of {KILLS} kills met a commit in flight");
}

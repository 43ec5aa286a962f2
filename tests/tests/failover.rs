//! Keepalived fails over, again and again.

use std::time::Duration;

use testkit::{
    keepalived::{Keepalived, Settings, VIP},
    lab::Lab,
    node::Node,
    openflow::Places,
    overlay::Overlay,
    ping::{Ping, outage},
    process::wait_for,
};

const VNI: u32 = 5001;
const ROUNDS: usize = 20;

#[test]
fn the_virtual_ip_comes_back_each_of_twenty_times_that_its_master_is_cut_off() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI], &[VNI]]);
    let node = Node::plain(&lab);
    node.serve(VNI, &overlay.teps());
    let client = &overlay.vms[2].namespace;

    let start = |vm: usize, state: &str| {
        let folder = lab.folder().join(format!("keepalived-{vm}"));
        let mut keepalived = Keepalived::start(&overlay.vms[vm], Settings::FAST, folder);
        keepalived.wait_entered(state, 1);
        keepalived
    };
    let mut master = (0, start(0, "MASTER"));
    let mut backup = (1, start(1, "BACKUP"));

    let mut outages: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            let ping = Ping::start(client, VIP, &lab.folder().join(format!("ping-{round}")));
            let (been_master, been_backup) = (backup.1.entered("MASTER"), master.1.entered("BACKUP"));
            overlay.set_connected(&overlay.vms[master.0], false);
            backup.1.wait_entered("MASTER", been_master + 1);
            let answers = ping.answers().len();
            wait_for("answers from the other VM", || (ping.answers().len() > answers + 20).then_some(()));
            let outage = outage(&ping.stop());
            overlay.set_connected(&overlay.vms[master.0], true);
            master.1.wait_entered("BACKUP", been_backup + 1);
            std::mem::swap(&mut master, &mut backup);
            println!("failover {:2}: {:4} ms without an answer", round + 1, outage.as_millis());
            outage
        })
        .collect();
    outages.sort();
    println!(
        "{ROUNDS} failovers, adverts each 100 ms: {} ms at best, {} ms median, {} ms at worst",
        outages[0].as_millis(),
        outages[ROUNDS / 2].as_millis(),
        outages[ROUNDS - 1].as_millis(),
    );
}

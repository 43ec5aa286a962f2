//! Storm: a TEP sends ARP at a hundred times its domain's limit of control frames, and a virtual IP's holder at another
//! TEP of the domain advertises and announces. What the node loses of the latter is counted from the frames that a worker
//! received.

use anyhow::{Context, Result};
use bcast_domain::{Mac, Rate as Limit, Vni};
use ctl_api::model::{
    AttachmentFields, Change, DomainFields, Existing, Field, HavipFields, Place, SetResource, Target, TepSet,
};

use super::{Session, Trial, no_metric};
use crate::harness::Figure;
use crate::pktgen::flow::{Domain, Rate};
use crate::pktgen::frames::{Kind, SENDER, SENDER_MAC};
use crate::pktgen::node::tep;
use crate::pktgen::outcome::print_trials;

/// Offered storm, in limits.
const TIMES: u64 = 100;
/// Adverts of the holder a second, and as many gratuitous ARPs.
const EACH: Rate = Rate(10);
/// The TEPs' places.
const STRANGER: u32 = 0;
const HOLDER: u32 = 1;
/// Network and name of the virtual IP; its address is that of the senders of [`Kind::Garp`].
const SUBNET: &str = "10.0.0.0/24";
const NAME: &str = "storm";
/// Target of the 99th percentile of the holder's frames inside the worker.
const P99_US: f64 = 200.0;

/// One trial without the storm, and one with it.
pub fn run(session: &mut Session) -> Result<bool> {
    let quiet = trial(session, false)?;
    let stormy = trial(session, true)?;
    report(session, &quiet, &stormy)
}

/// A trial.
struct Storm {
    trial: Trial,
    /// 99th percentile of the time of the holder's frames inside the worker.
    p99_us: f64,
    /// Frames of the holder that were replicated.
    failover: f64,
    /// Frames of the holder's TEP that the node dropped.
    dropped: u64,
}

fn trial(session: &mut Session, storm: bool) -> Result<Storm> {
    let settings = session.settings.clone();
    let (fan_out, longest, vni) = (session.fan_out(8), settings.longest_inner(), settings.first_vni);
    let mut plan = session.plan(fan_out + 1);
    let from = |source| Domain { source, ..Domain::plain(vni, 0..fan_out + 1) };
    plan.add("adverts", Kind::Vrrp.inner(Kind::Vrrp.least(), longest)?, EACH, [from(HOLDER)]);
    plan.add("gratuitous ARP", Kind::Garp.inner(Kind::Garp.least(), longest)?, EACH, [from(HOLDER)]);
    if storm {
        let rate = Rate((settings.limit * TIMES / u64::from(fan_out)).clamp(1, Rate::MAX.0));
        plan.add("storm", strangers_arp(longest)?, rate, [from(STRANGER)]);
    }
    session.node.arrange(&plan)?;
    let holder = tep(plan.teps, HOLDER)?;
    let before = session.node.frames_dropped(&holder)?;
    session.node.commit(prepare(vni, settings.limit, TepSet::from_iter([holder.clone()]))?)?;
    let what = if storm { "beside the storm" } else { "without the storm" };
    let trial = session.trial(&plan, false, settings.seconds, what);
    let dropped = session.node.frames_dropped(&holder)? - before;
    // The domain does not go before its virtual IPs.
    session.node.commit(vec![Change::delete(Target::Havip(NAME.parse()?))])?;
    let trial = trial?;
    let metric = "bcast_forwarding_seconds";
    let buckets = trial.counted.as_ref().and_then(|counted| counted.buckets(metric, "class=\"failover\""));
    let buckets = buckets.with_context(|| no_metric(metric))?;
    Ok(Storm { p99_us: buckets.at_most(0.99) * 1e6, failover: buckets.count(), dropped, trial })
}

/// ARP request of another machine than the holder.
fn strangers_arp(longest: u16) -> Result<Vec<u8>> {
    let mut arp = Kind::Arp.inner(Kind::Arp.least(), longest)?;
    // Last bytes of its MAC address, in both headers, and of its address.
    for at in [11, 27, 31] {
        arp[at] = arp[at].wrapping_add(0x40);
    }
    Ok(arp)
}

/// Lowers the limit of control frames, and makes the virtual IP.
fn prepare(vni: u32, limit: u64, teps: TepSet) -> Result<Vec<Change>> {
    let vni = Vni::new(vni);
    let control = Limit::new(limit).ok().map(Field::Value).unwrap_or_default();
    let domain = DomainFields { control, ..DomainFields::default() };
    let attachment = AttachmentFields { instance: "holder".parse()?, mac: Mac::new(SENDER_MAC)?, teps };
    let havip = HavipFields {
        place: Some(Place { vni, subnet: SUBNET.parse()?, address: SENDER.into() }),
        attachments: Some(vec![attachment]),
        ..HavipFields::default()
    };
    Ok(vec![
        SetResource::Domain(vni, domain).set_if(Existing::Required),
        SetResource::Havip(NAME.parse()?, havip).set(),
    ])
}

fn report(session: &mut Session, quiet: &Storm, stormy: &Storm) -> Result<bool> {
    let (rows, limit) = (&stormy.trial.outcome.streams, session.settings.limit);
    print_trials(&quiet.trial.outcome.streams);
    print_trials(rows);
    let storm = &rows[2];
    let times = storm.reached_per_second as f64 * storm.fan_out as f64 / limit as f64;
    println!("limit of control frames {limit} copies/s, offered {times:.0} times as much");
    stormy.trial.print_drops(&["bcast_drops_total", "bcast_copy_drops_total"]);
    let sent: u64 = rows[..2].iter().map(|row| row.sent).sum();
    println!(
        "of {sent} frames of the holder {} were replicated, {} were dropped in the node; inside the worker 99 of 100 took \
         at most {:.0} us, without the storm {:.0} us",
        stormy.failover, stormy.dropped, stormy.p99_us, quiet.p99_us
    );
    let copies = stormy.trial.counted("bcast_copy_drops_total")?;
    let figures = vec![
        Figure::at_most(
            "holder's frames lost in the node beside the storm",
            stormy.dropped as f64,
            0.0,
            " frames",
        ),
        Figure::at_most("copies lost in the node beside the storm", copies, 0.0, " copies"),
        Figure::at_most("99 of 100 of them inside the worker within", stormy.p99_us, P99_US, " us"),
        Figure::plain("the same without the storm", format!("{:.0} us", quiet.p99_us)),
        Figure::plain("storm, by the limit of control frames", format!("{times:.0}")),
    ];
    let lost = stormy.dropped > 0 || copies > 0.0 || stormy.failover == 0.0;
    let clean = rows.iter().all(|row| row.counts.is_clean());
    session.write("storm", figures, rows.clone())?;
    Ok(!lost && clean && stormy.p99_us <= P99_US)
}

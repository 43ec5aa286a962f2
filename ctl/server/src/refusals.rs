//! Reports of announcements that domains with sticky ARP inspection refused: rate-limited, with a count.

use std::time::{Duration, Instant};

use bcast_domain::{StrictReason, StrictRefusal, Tep, Vni};
use hashbrown::HashMap;

/// Time between two reports of one domain and reason, as between those of a HAVIP's rejected announcements.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Domains and reasons that are told apart; refusals of further ones are counted with none.
const KINDS: usize = 1024;
/// Reports in one turn; the rest is added up.
const REPORTS: usize = 16;

/// Refusals of a domain for one reason.
struct Kind {
    last: StrictRefusal,
    unreported: u64,
    next: Instant,
}

/// Refusals by domain and reason.
#[derive(Default)]
pub(crate) struct Refusals(HashMap<(Vni, StrictReason), Kind>);

/// Report: the latest refusal, and how many there were since the report before.
pub(crate) type Report = (StrictRefusal, u64);

impl Refusals {
    /// Counts a refusal.
    pub fn add(&mut self, refusal: StrictRefusal, now: Instant) {
        let is_full = self.0.len() >= KINDS;
        let key = (refusal.vni, refusal.reason);
        if is_full && !self.0.contains_key(&key) {
            return;
        }
        let kind = self.0.entry(key).or_insert(Kind { last: refusal, unreported: 0, next: now });
        (kind.last, kind.unreported) = (refusal, kind.unreported + 1);
    }

    /// Takes the reports that are due.
    pub fn due(&mut self, now: Instant) -> Vec<Report> {
        let due = self.0.values_mut().filter(|kind| kind.unreported > 0 && kind.next <= now).take(REPORTS);
        let reports = due.map(|kind| {
            kind.next = now + REPORT_EVERY;
            (kind.last, std::mem::take(&mut kind.unreported))
        });
        let reports = reports.collect();
        self.0.retain(|_, kind| kind.unreported > 0 || kind.next > now);
        reports
    }
}

/// Reason in words.
fn words(reason: StrictReason) -> &'static str {
    match reason {
        StrictReason::OtherOwner => "another has the address",
        StrictReason::OutsideSubnets => "the address is outside of the domain's subnets",
        StrictReason::OverBound => "its MAC address or TEP has as many addresses as it may",
        StrictReason::GatewayMac => "the address is a gateway's, and the MAC address is not",
        StrictReason::Hidden => "neighbour discovery in fragments or behind extension headers",
    }
}

/// Logs a report.
pub(crate) fn log((refusal, count): Report, tep: Option<Tep>) {
    let StrictRefusal { vni, address, mac, reason, .. } = refusal;
    let (mac, tep) = (bcast_domain::MacAddr(mac), tep.map(|tep| tep.to_string()));
    tracing::warn!(%vni, %address, %mac, tep, count, reason = words(reason), "announcements were refused");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_reports_a_reason_at_once_and_then_every_ten_seconds_with_a_count() {
        let refusal = |vni: u32, last| StrictRefusal {
            vni: vni.into(),
            address: [10, 0, 0, last].into(),
            mac: [2, 0, 0, 0, 0, 1],
            tep: 1_u16.into(),
            reason: StrictReason::OtherOwner,
        };
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due(now), []);
        refusals.add(refusal(5001, 1), now);
        assert_eq!(refusals.due(now), [(refusal(5001, 1), 1)]);
        for last in 2..=9 {
            refusals.add(refusal(5001, last), now);
        }
        refusals.add(StrictRefusal { reason: StrictReason::OverBound, ..refusal(5001, 7) }, now);
        assert_eq!(refusals.due(now).len(), 1, "another reason reports for itself");
        assert_eq!(refusals.due(now + REPORT_EVERY), [(refusal(5001, 9), 8)]);
        // Nothing more came, so nothing is kept.
        assert_eq!((refusals.due(now + 3 * REPORT_EVERY), refusals.0.len()), (Vec::new(), 0));
        (0..5000).for_each(|vni| refusals.add(refusal(vni, 1), now));
        assert_eq!((refusals.0.len(), refusals.due(now).len()), (KINDS, REPORTS));
    }
}

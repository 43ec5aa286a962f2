//! Log of drops: at most one line for each reason in [`QUIET`] looks, with the number of frames since the line before and
//! the latest offender.

use std::sync::Arc;
use std::time::Duration;

use engine::counters::Counters;
use engine::offenders::Offence;
use wire::{DropReason, MacAddr};

use crate::node::NodeView;

/// Time between two looks at the counters.
const LOOK: Duration = Duration::from_secs(1);
/// Looks from one line of a reason to its next.
const QUIET: u32 = 10;

/// Looks at the counters for as long as the daemon runs.
pub async fn run(view: Arc<NodeView>) {
    let mut log = DropLog::default();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        log.look(&view.counters).iter().for_each(Line::write);
    }
}

/// State of the log.
#[derive(Default)]
struct DropLog {
    /// Frames that were told, and looks until the next line may come, by [`DropReason::index`].
    reasons: [(u64, u32); DropReason::ALL.len()],
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    reason: DropReason,
    /// Frames since the line before.
    frames: u64,
    /// Offenders among which the latest one is.
    offenders: usize,
    latest: Option<Offence>,
}

impl DropLog {
    /// Lines that are due.
    fn look(&mut self, counters: &Counters) -> Vec<Line> {
        let mut lines = Vec::new();
        for (reason, (told, quiet)) in DropReason::ALL.into_iter().zip(&mut self.reasons) {
            *quiet = quiet.saturating_sub(1);
            let dropped = counters.sum(|worker| &worker.drops[reason.index()]);
            if dropped == *told || *quiet > 0 {
                continue;
            }
            let offenders = counters.offenders(reason);
            let (frames, latest) = (dropped - *told, offenders.first().copied());
            lines.push(Line { reason, frames, offenders: offenders.len(), latest });
            (*told, *quiet) = (dropped, QUIET);
        }
        lines
    }
}

impl Line {
    fn write(&self) {
        let Self { reason, frames, offenders, latest } = self;
        let Some(Offence { offender, count, .. }) = latest else {
            return tracing::info!(%reason, frames, "frames dropped");
        };
        let text = |value: Option<String>| value.unwrap_or_else(|| "none".into());
        let mac = |at: usize| text(offender.macs.map(|macs| MacAddr::to_string(&macs[at])));
        tracing::info!(
            %reason,
            frames,
            offenders,
            source = text(offender.source.map(|source| source.to_string())),
            vni = text(offender.key.map(|key| key.to_string())),
            mac = mac(0),
            to = mac(1),
            of_this_source = count,
            "frames dropped; source, VNI and MAC addresses of the latest"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Offender;

    #[test]
    fn a_reason_has_a_line_at_once_and_then_one_in_ten_looks_with_what_was_dropped_meanwhile() {
        let (counters, mut log) = (Counters::new(2).unwrap(), DropLog::default());
        let offender = |last: u8| Offender {
            source: Some([198, 18, 0, last].into()),
            key: Some(5001),
            ..Offender::default()
        };
        assert_eq!(log.look(&counters), [], "nothing was dropped");
        counters.workers[0].drop_frame(DropReason::TepRate, &offender(1), 1);
        let [line] = &log.look(&counters)[..] else { panic!("one line at once") };
        assert_eq!((line.reason, line.frames, line.offenders), (DropReason::TepRate, 1, 1));
        for look in 1..QUIET {
            counters.workers[1].drop_frame(DropReason::TepRate, &offender(2), 1 + u64::from(look));
            assert_eq!(log.look(&counters), [], "look {look}");
        }
        counters.workers[1].drop_frame(DropReason::Runt, &Offender::default(), 99);
        let lines = log.look(&counters);
        assert_eq!(
            lines.iter().map(|line| (line.reason, line.frames)).collect::<Vec<_>>(),
            [(DropReason::Runt, 1), (DropReason::TepRate, u64::from(QUIET) - 1)]
        );
        let latest = lines[1].latest.unwrap();
        assert_eq!(
            (latest.offender, latest.count, lines[1].offenders),
            (offender(2), u64::from(QUIET) - 1, 2)
        );
        for _ in 0..2 * QUIET {
            assert_eq!(log.look(&counters), [], "no line without a drop");
        }
    }
}

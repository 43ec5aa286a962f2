//! Limits: how much passes, and what is said of the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::ops::Range;

use bcast_domain::Vni;
use bcast_domain::{DomainId, DomainLimit, Rate, TepIndex, TepLimit};
use common::no_limits;
use engine::counters::DomainCells;
use engine::police::{Demand, Policer, RateLimits, Ticks, TokenLeases};
use wire::{Class, DropReason};

const MILLION: u64 = 1_000_000;

fn rate(per_second: u64) -> Rate {
    Rate::new(per_second).unwrap()
}

/// A node with two domains, and so many workers.
struct Bench {
    limits: Policer,
    workers: Vec<(TokenLeases, [DomainCells; 2])>,
    domains: [DomainId; 2],
}

impl Bench {
    fn new(config: RateLimits, workers: usize) -> Self {
        let (mut table, ..) = bcast_domain::table(());
        Self {
            limits: Policer::new(config).unwrap(),
            workers: (0..workers).map(|_| (TokenLeases::new().unwrap(), Default::default())).collect(),
            domains: [1, 2].map(|vni| table.set(Vni::from(vni), &[]).unwrap()),
        }
    }

    fn demand(&self, domain: usize, copies: u64) -> Demand {
        let tep = TepIndex::new(u32::try_from(domain).unwrap()).unwrap();
        Demand { tep, domain: self.domains[domain], copies, inner_len: 100, class: Class::Data }
    }

    fn admit(&self, worker: usize, demand: Demand, now: u64) -> Result<(), DropReason> {
        let (leases, cells) = &self.workers[worker];
        let cells = &cells[usize::from(demand.domain == self.domains[1])];
        self.limits.admit(demand, leases, cells, Ticks { now, per_second: MILLION })
    }

    /// Frames of 1,000 a millisecond, spread over the workers, that pass in each of so many seconds.
    fn passed(&self, demand: Demand, seconds: Range<u64>) -> Vec<u64> {
        let pass = |second: u64| {
            let micros = second * MILLION..(second + 1) * MILLION;
            let worker = |now: u64| usize::try_from(now).unwrap() % self.workers.len();
            micros.filter(|&now| self.admit(worker(now), demand, now).is_ok()).count() as u64
        };
        seconds.map(pass).collect()
    }
}

#[test]
fn a_domain_at_a_hundred_times_its_limit_gets_that_and_no_twentieth_more() {
    for (workers, copies) in [(1, 1), (2, 1), (1, 8), (2, 8), (1, 100), (2, 100)] {
        let limit = 10_000 * copies;
        let bench = Bench::new(RateLimits { domain_copies: rate(limit), ..no_limits() }, workers);
        for frames in bench.passed(bench.demand(0, copies), 10..13) {
            let ratio = (frames * copies) as f64 / limit as f64;
            assert!((0.99..1.05).contains(&ratio), "{workers} workers, {copies} copies: {ratio}");
        }
    }
}

#[test]
fn each_limit_names_its_drop_and_leaves_other_domains_alone() {
    let few = rate(1000);
    let table = [
        (RateLimits { domain_copies: few, ..no_limits() }, DropReason::DomainRate, 1000, false),
        (RateLimits { domain_bits: rate(800_000), ..no_limits() }, DropReason::DomainRate, 1000, false),
        (RateLimits { tep_frames: few, ..no_limits() }, DropReason::TepRate, 1000, false),
        (RateLimits { node_copies: few, ..no_limits() }, DropReason::NodeRate, 1000, true),
    ];
    for (config, reason, expected, shared) in table {
        let bench = Bench::new(config, 1);
        let passed = bench.passed(bench.demand(0, 1), 10..12);
        for frames in passed {
            assert!((expected * 99 / 100..expected * 105 / 100).contains(&frames), "{reason}: {frames}");
        }
        let last = 12 * MILLION - 1;
        assert_eq!(bench.admit(0, bench.demand(0, 1), last), Err(reason));
        let other = bench.admit(0, bench.demand(1, 1), last);
        assert_eq!(other, if shared { Err(reason) } else { Ok(()) }, "{reason}");
        for class in [Class::Failover, Class::Control] {
            let other = Demand { class, ..bench.demand(0, 1) };
            assert_eq!(bench.admit(0, other, last), Ok(()), "a storm leaves {class:?} alone");
        }
    }
}

#[test]
fn control_frames_have_a_bucket_that_holds_a_second() {
    let bench = Bench::new(RateLimits { control_copies: rate(5_000), ..no_limits() }, 1);
    let demand = Demand { class: Class::Control, ..bench.demand(0, 10) };
    let at_once = (0..).take_while(|_| bench.admit(0, demand, 10 * MILLION).is_ok()).count();
    assert!((500..550).contains(&at_once), "{at_once}");
    assert_eq!(bench.admit(0, demand, 10 * MILLION), Err(DropReason::ControlRate));
    assert_eq!(bench.admit(0, Demand { class: Class::Data, ..demand }, 10 * MILLION), Ok(()));
}

#[test]
fn a_control_frame_that_is_long_counts_as_several() {
    for (inner_len, frames) in [(60, 500), (128, 500), (129, 250), (1_400, 46)] {
        let bench = Bench::new(RateLimits { control_copies: rate(5_000), ..no_limits() }, 1);
        let demand = Demand { class: Class::Control, inner_len, ..bench.demand(0, 10) };
        let at_once = (0..).take_while(|_| bench.admit(0, demand, 10 * MILLION).is_ok()).count();
        assert!((frames..frames + 3).contains(&at_once), "{inner_len} bytes: {at_once}");
    }
}

/// Frames that one source sends in a second.
struct Source {
    tep: usize,
    class: Class,
    per_second: u64,
}

/// Frames of each source that pass in these seconds, in a domain where each makes so many copies.
fn passed_of(bench: &Bench, copies: u64, sources: &[Source], seconds: Range<u64>) -> Vec<u64> {
    let mut passed = vec![0; sources.len()];
    for now in (seconds.start * MILLION..seconds.end * MILLION).step_by(10) {
        for (source, passed) in sources.iter().zip(&mut passed) {
            // Frames at even distances, each source's from a moment of its own.
            let every = MILLION / source.per_second;
            if (now + source.tep as u64 * 70) % every < 10 {
                let tep = TepIndex::new(u32::try_from(source.tep).unwrap()).unwrap();
                let demand = Demand { tep, class: source.class, ..bench.demand(0, copies) };
                *passed += u64::from(bench.admit(0, demand, now).is_ok());
            }
        }
    }
    passed
}

#[test]
fn a_source_that_sends_little_loses_nothing_beside_storms_of_a_hundred_times_the_limit() {
    for class in [Class::Failover, Class::Control] {
        for (copies, frames) in [(3, 200), (127, 200), (999, 200), (999, 40)] {
            for storms in [1, 3] {
                let limit = copies * frames;
                let limits =
                    RateLimits { control_copies: rate(limit), failover_copies: rate(limit), ..no_limits() };
                let quiet = (0..2).map(|tep| Source { tep, class, per_second: 5 });
                let storm = (2..2 + storms).map(|tep| Source { tep, class, per_second: 100 * frames });
                let sources: Vec<_> = quiet.chain(storm).collect();
                let bench = Bench::new(limits, 1);
                // The first second is the full bucket's.
                let what = format!("{class:?}, {copies} copies, {frames} frames a second, {storms} storms");
                passed_of(&bench, copies, &sources, 10..11);
                let passed = passed_of(&bench, copies, &sources, 11..23);
                assert_eq!(passed[..2], [60, 60], "{what}");
                let all: u64 = passed.iter().sum();
                assert!((12 * frames * 95 / 100..=13 * frames * 105 / 100).contains(&all), "{what}: {all}");
                let share = 12 * frames / sources.len() as u64;
                assert!(passed[2..].iter().all(|&frames| frames >= share * 9 / 10), "{what}: {passed:?}");
            }
        }
    }
}

#[test]
fn a_storm_of_one_class_leaves_the_other_as_it_was() {
    let limits = RateLimits { control_copies: rate(1_000), failover_copies: rate(1_000), ..no_limits() };
    for (storm, other) in [(Class::Control, Class::Failover), (Class::Failover, Class::Control)] {
        let sources = [
            Source { tep: 0, class: storm, per_second: 10_000 },
            Source { tep: 1, class: other, per_second: 90 },
            Source { tep: 0, class: other, per_second: 9 },
        ];
        let passed = passed_of(&Bench::new(limits, 1), 10, &sources, 10..14);
        assert_eq!(passed[1..], [360, 36], "{other:?}");
    }
}

#[test]
fn one_full_fan_out_passes_on_credit_and_is_paid_back() {
    let bench = Bench::new(RateLimits { domain_copies: rate(1000), ..no_limits() }, 1);
    let demand = bench.demand(0, 16_384);
    assert_eq!(bench.admit(0, demand, 10 * MILLION), Ok(()));
    let second = (10 * MILLION..60 * MILLION).step_by(1000).find(|&now| bench.admit(0, demand, now).is_ok());
    let waited = second.unwrap() - 10 * MILLION;
    assert!(
        (16 * MILLION..17 * MILLION).contains(&waited),
        "{waited} us for 16,384 copies at 1,000 a second"
    );
}

#[test]
fn debt_at_a_low_rate_does_not_outlast_it() {
    let slow = RateLimits { domain_copies: rate(1000), ..no_limits() };
    let bench = Bench::new(slow, 1);
    let demand = bench.demand(0, 16_384);
    assert_eq!(bench.admit(0, demand, 10 * MILLION), Ok(()));
    assert_eq!(bench.admit(0, demand, 11 * MILLION), Err(DropReason::DomainRate));
    bench.limits.set(RateLimits { domain_copies: rate(1_000_000), ..slow });
    assert_eq!(bench.admit(0, demand, 11 * MILLION), Err(DropReason::DomainRate), "17 ms are still owed");
    assert_eq!(bench.admit(0, demand, 11 * MILLION + 20_000), Ok(()));
}

#[test]
fn a_clock_that_goes_backwards_owes_no_more_than_the_largest_debt() {
    let bench = Bench::new(RateLimits { domain_copies: rate(MILLION), ..no_limits() }, 1);
    let demand = bench.demand(0, 16_384);
    assert_eq!(bench.admit(0, demand, 3_600 * MILLION), Ok(()));
    let passes = |&now: &u64| bench.admit(0, demand, now).is_ok();
    let waited = (10 * MILLION..20 * MILLION).step_by(1000).find(passes).unwrap() - 10 * MILLION;
    assert!((1..60_000).contains(&waited), "{waited} us, and not an hour");
}

#[test]
fn a_domain_gets_a_rate_of_its_own_and_loses_it() {
    let bench = Bench::new(RateLimits { domain_copies: rate(1000), ..no_limits() }, 1);
    let own = DomainLimit { copies: Some(rate(50_000)), ..DomainLimit::default() };
    bench.limits.set_domain(bench.domains[0], own);
    let of = |domain, second| bench.passed(bench.demand(domain, 1), second..second + 1)[0];
    assert!((49_500..52_500).contains(&of(0, 10)));
    assert!((990..1050).contains(&of(1, 12)));
    bench.limits.set_domain(bench.domains[0], DomainLimit::default());
    assert!((990..1050).contains(&of(0, 20)));
    bench.limits.set_tep(TepIndex::new(1).unwrap(), TepLimit { frames: Some(rate(500)) });
    assert!((495..525).contains(&of(1, 30)));
}

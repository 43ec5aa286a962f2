//! The stages of the packet path, each against the run before: `cargo bench -p micro`, by the thread's CPU clock.

use std::{hint::black_box, time::Duration};

use criterion::{
    BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use micro::{
    clock::cpu_ns,
    contenders::{ALL, Found, Sides},
    publish::LOT,
    replicate::Replicator,
    verdict::Verdicts,
    work::{self, BURST, Work},
};

/// CPU time of the thread, shown as criterion shows time.
struct ThreadCpu;

impl Measurement for ThreadCpu {
    type Intermediate = u64;
    type Value = Duration;

    fn start(&self) -> u64 {
        cpu_ns()
    }

    fn end(&self, start: u64) -> Duration {
        Duration::from_nanos(cpu_ns() - start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

type Bench = Criterion<ThreadCpu>;

fn verdict(bench: &mut Bench) {
    let mut group = bench.benchmark_group("verdict");
    for inner_len in [60, 1400] {
        let Ok(verdicts) = Verdicts::new(inner_len) else { continue };
        group.throughput(Throughput::Elements(verdicts.frames() as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{inner_len} B")), |bencher| {
            bencher.iter(|| verdicts.judge());
        });
    }
    group.finish();
}

/// The daemon's own table of domains, loaded.
fn table(work: &Work) -> Sides {
    let (mut writer, reader) = (ALL[0].make)(work.domains);
    work.vnis().for_each(|vni| writer.set(vni, &work::list(vni, 0)));
    writer.publish();
    (writer, reader)
}

fn lookup(bench: &mut Bench) {
    let mut group = bench.benchmark_group("lookup of 32");
    group.throughput(Throughput::Elements(BURST as u64));
    for domains in [10_000, 100_000, 1_000_000] {
        let work = Work::new(domains);
        let (_writer, mut reader) = table(&work);
        let (mut number, mut found): (_, Found) = (0, [None; BURST]);
        group.bench_function(BenchmarkId::from_parameter(format!("{domains} domains")), |bencher| {
            bencher.iter(|| {
                reader.burst(work.burst(number), &mut found);
                number += 1;
                black_box(&found);
            });
        });
    }
    group.finish();
}

fn publish(bench: &mut Bench) {
    let mut group = bench.benchmark_group("publish");
    group.throughput(Throughput::Elements(LOT));
    let work = Work::new(100_000);
    let (mut writer, _) = table(&work);
    let mut number = 0;
    group.bench_function(BenchmarkId::from_parameter("32 changes, 100000 domains"), |bencher| {
        bencher.iter(|| {
            for _ in 0..LOT {
                let (vni, list) = work.change(number);
                writer.set(vni, &list);
                number += 1;
            }
            writer.publish();
        });
    });
    group.finish();
}

fn replicate(bench: &mut Bench) {
    // Without the right to start DPDK there is nothing to measure.
    let mut replicator = match Replicator::new(false) {
        Ok(replicator) => replicator,
        Err(error) => return eprintln!("replicate is left out: {error}"),
    };
    let mut group = bench.benchmark_group("replicate");
    for inner_len in [60, 1400] {
        for copies in [1, 8, 32, 128, 512] {
            let frames = u32::try_from(512 / copies).unwrap_or(1);
            group.throughput(Throughput::Elements(512));
            group.bench_function(BenchmarkId::new(format!("{inner_len} B"), copies), |bencher| {
                bencher.iter(|| replicator.replicate(frames, copies, inner_len));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = stages;
    config = Criterion::default()
        .with_measurement(ThreadCpu)
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = verdict, lookup, publish, replicate
}
criterion_main!(stages);

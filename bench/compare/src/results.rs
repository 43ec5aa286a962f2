//! Results: rows, and figures with their targets.

use bench::harness::machine::Machine;
use bench::harness::plot::Curve;
use bench::harness::report::{Figure, Table};
use bench::harness::stats::Spread;
use serde::Serialize;

use crate::floor;
use crate::workload::Point;

/// Kinds of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// Frames that all are replicated; what is counted are copies.
    Broadcast,
    /// Frames that all are dropped, since nobody knows their sources; what is counted are frames.
    UnknownSources,
    /// Frames that all are dropped, since their domain is unknown; what is counted are frames.
    UnknownDomains,
}

/// One candidate at one point: million copies (frames) per second of CPU time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the candidate.
    pub candidate: String,
    /// Kind of traffic.
    pub traffic: Traffic,
    /// Bytes of inner frame.
    pub inner_bytes: u16,
    /// Members that each frame is copied to; 0 where all are dropped.
    pub copies: u32,
    /// Slowest, median and fastest round.
    #[serde(flatten)]
    pub spread: Spread,
    /// All rounds, in the order in which they were run.
    pub rounds: Vec<f64>,
    /// Remark for readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Row {
    /// A row of the rounds of one candidate.
    pub fn new(candidate: &str, traffic: Traffic, point: Point, mut rounds: Vec<f64>) -> Self {
        // Beyond three places there is nothing but noise.
        rounds.iter_mut().for_each(|rate| *rate = (*rate * 1e3).round() / 1e3);
        let Point { size: inner_bytes, copies } = point;
        let (candidate, spread) = (candidate.to_owned(), Spread::of(rounds.clone()));
        Self { candidate, traffic, inner_bytes, copies, spread, rounds, note: None }
    }
}

/// Rows of a run.
pub struct Results<'a>(pub &'a [Row]);

/// One candidate's medians, by copies a frame.
struct ByFanOut {
    name: &'static str,
    rates: Vec<(u32, Option<f64>)>,
}

/// A floor above this is of a machine, or an hour, that says nothing: TSC cycles a buffer.
const VOID_ABOVE: f64 = 33.0;

impl Results<'_> {
    fn median(&self, candidate: &str, traffic: Traffic, size: u16, copies: u32) -> Option<f64> {
        let mut rows = self.0.iter().filter(|row| row.candidate == candidate && row.traffic == traffic);
        rows.find(|row| row.inner_bytes == size && row.copies == copies).map(|row| row.spread.median)
    }

    fn copies(&self, candidate: &str, size: u16, copies: u32) -> Option<f64> {
        self.median(candidate, Traffic::Broadcast, size, copies)
    }

    /// The best burst's.
    fn floor(&self, size: u16, copies: u32) -> Option<f64> {
        let at = |row: &&Row| {
            row.candidate.starts_with("floor, ") && row.inner_bytes == size && row.copies == copies
        };
        self.0.iter().filter(at).map(|row| row.spread.median).max_by(f64::total_cmp)
    }

    /// Points of replication that were measured.
    fn points(&self) -> impl Iterator<Item = (u16, u32)> {
        let rows = self.0.iter().filter(|row| row.traffic == Traffic::Broadcast && row.candidate == "bcastd");
        rows.map(|row| (row.inner_bytes, row.copies))
    }

    /// Reason why the run is void, if so.
    pub fn void(&self, machine: &Machine) -> Option<String> {
        let cycles = |(size, copies)| Some((machine.tsc_mhz / self.floor(size, copies)?, size, copies));
        let (worst, size, copies) = self.points().filter_map(cycles).max_by(|a, b| a.0.total_cmp(&b.0))?;
        (worst > VOID_ABOVE).then(|| {
            format!(
                "the floor took {worst:.1} cycles of the TSC a buffer beside {copies} copies of {size} B, over \
                 {VOID_ABOVE}: the machine is too slow or too busy for figures"
            )
        })
    }

    /// All that the run has to say.
    pub fn figures(&self, machine: &Machine) -> Vec<Figure> {
        let mut figures = Vec::new();
        self.against_the_floor(&mut figures);
        self.shared_floor(&mut figures);
        self.against_open_vswitch(&mut figures);
        if let (Some(two), Some(one)) =
            (self.copies("bcastd, two workers", 60, 128), self.copies("bcastd", 60, 128))
        {
            let what = "two workers, 60 B inner, 128 members, against one";
            figures.push(Figure::at_least(what, two / one, 1.8, " times").with(&million(two, "copies")));
        }
        self.floods(&mut figures);
        self.plain(machine, &mut figures);
        figures
    }

    /// The sizes of frames that were measured, and for each of them medians by fan-out. Of the floor, the best burst's.
    fn by_size(&self) -> Vec<(u16, Vec<ByFanOut>)> {
        let mut points: Vec<_> = self.points().collect();
        points.sort_unstable();
        let names =
            ["bcastd", "bcastd, limits on", "bcastd, two workers", "OVS-DPDK", "Linux VXLAN", "the floor"];
        let by_fan_out = |name, points: &[(u16, u32)]| {
            let rate = |&(size, copies): &(u16, u32)| match name {
                "the floor" => (copies, self.floor(size, copies)),
                _ => (copies, self.copies(name, size, copies)),
            };
            ByFanOut { name, rates: points.iter().map(rate).collect() }
        };
        let sizes = points.chunk_by(|a, b| a.0 == b.0).map(|points| {
            let all = names.map(|name| by_fan_out(name, points)).into_iter();
            // What was left out has no rates.
            (points[0].0, all.filter(|of| of.rates.iter().any(|(_, rate)| rate.is_some())).collect())
        });
        sizes.collect()
    }

    /// A table for each size of frame.
    pub fn tables(&self) -> Vec<Table> {
        let table = |(size, all): (u16, Vec<ByFanOut>)| {
            let title = format!("Million copies per CPU-second, {size} B inner frames, by copies a frame");
            let copies =
                all.first().into_iter().flat_map(|of| &of.rates).map(|(copies, _)| copies.to_string());
            let head = [String::new()].into_iter().chain(copies).collect();
            let cell = |rate: Option<f64>| rate.map_or(String::new(), |rate| format!("{rate:.1}"));
            let rows = all.iter().map(|of| {
                [of.name.to_owned()].into_iter().chain(of.rates.iter().map(|&(_, rate)| cell(rate))).collect()
            });
            Table { title, head, rows: rows.collect() }
        };
        self.by_size().into_iter().map(table).collect()
    }

    /// Curves for each size of frame.
    pub fn curves(&self) -> Vec<(u16, Vec<Curve>)> {
        let curve = |of: &ByFanOut| {
            let points = of.rates.iter().filter_map(|&(copies, rate)| Some((f64::from(copies), rate?)));
            Curve::new(of.name, points.collect())
        };
        self.by_size().iter().map(|(size, all)| (*size, all.iter().map(curve).collect())).collect()
    }

    /// Floor of shared payloads: each reference costs a locked decrement, so sharing cannot reach the plain floor.
    fn shared_floor(&self, figures: &mut Vec<Figure>) {
        let shared = format!("{}, bursts of 64", floor::SHARED);
        let rates =
            (self.copies(&shared, 1400, 128), self.floor(1400, 128), self.copies("bcastd", 1400, 128));
        if let (Some(shared), Some(floor), Some(rate)) = rates {
            let what = "the floor of copies that share a payload by reference";
            figures.push(
                Figure::plain(what, format!("{:.2} of the floor", shared / floor))
                    .with(&million(shared, "copies")),
            );
            let what = "bcastd: 1400 B inner, 128 copies a frame, against that";
            figures.push(Figure::plain(what, format!("{:.2} of it", rate / shared)));
        }
    }

    fn against_the_floor(&self, figures: &mut Vec<Figure>) {
        let targets = [
            ("bcastd", 60, 128, 0.75),
            ("bcastd", 1400, 128, 0.65),
            ("bcastd, limits on", 60, 8, 0.5),
            ("bcastd, limits on", 60, 1, 0.13),
        ];
        for (candidate, size, copies, least) in targets {
            if let (Some(rate), Some(floor)) =
                (self.copies(candidate, size, copies), self.floor(size, copies))
            {
                let what = format!("{candidate}: {size} B inner, {} a frame", many(copies));
                let figure = Figure::at_least(what, rate / floor, least, " of the floor");
                figures.push(figure.with(&million(rate, "copies")));
            }
        }
    }

    /// The worst of the sizes, and from 32 copies up of the fan-outs.
    fn against_open_vswitch(&self, figures: &mut Vec<Figure>) {
        for (which, range, least) in
            [("32 copies a frame and up", 32..u32::MAX, 12.0), ("8 copies", 8..9, 6.0), ("1 copy", 1..2, 3.0)]
        {
            let ratio = |(size, copies)| {
                let ratio = self.copies("bcastd", size, copies)? / self.copies("OVS-DPDK", size, copies)?;
                Some((ratio, size, copies))
            };
            let points = self.points().filter(|(_, copies)| range.contains(copies));
            if let Some((ratio, size, copies)) = points.filter_map(ratio).min_by(|a, b| a.0.total_cmp(&b.0)) {
                let figure = Figure::at_least(format!("against OVS-DPDK, {which}"), ratio, least, " times");
                figures.push(figure.with(&format!("least at {copies} x {size} B")));
            }
        }
    }

    fn floods(&self, figures: &mut Vec<Figure>) {
        for size in [60, 1400] {
            for (traffic, name) in
                [(Traffic::UnknownSources, "unknown sources"), (Traffic::UnknownDomains, "unknown domains")]
            {
                let of = |candidate| self.median(candidate, traffic, size, 0);
                if let (Some(rate), Some(most)) = (of("bcastd"), of("testpmd, rxonly")) {
                    let what = format!("a flood from {name}, all dropped, {size} B inner");
                    let unit = " of testpmd's rxonly";
                    let figure = match traffic {
                        Traffic::UnknownSources => Figure::at_least(what, rate / most, 0.42, unit),
                        _ => Figure::plain(what, format!("{:.2}{unit}", rate / most)),
                    };
                    figures.push(figure.with(&million(rate, "frames")));
                }
            }
        }
    }

    /// Figures without a target.
    fn plain(&self, machine: &Machine, figures: &mut Vec<Figure>) {
        if let Some(rate) = self.floor(60, 128) {
            let measured = format!("{:.1} cycles of the TSC", machine.tsc_mhz / rate);
            figures.push(
                Figure::plain("the floor: a buffer taken and freed, no more", measured)
                    .with(&million(rate, "buffers")),
            );
        }
        for (candidate, what) in
            [("OVS-DPDK", "OVS-DPDK"), ("Linux VXLAN", "Linux VXLAN, head-end replication")]
        {
            if let Some(rate) = self.copies(candidate, 60, 128) {
                figures.push(Figure::plain(
                    format!("{what}: 60 B inner, 128 copies a frame"),
                    million(rate, "copies"),
                ));
            }
        }
        if let Some(rate) = self.copies("testpmd, io", 60, 128) {
            figures.push(Figure::plain(
                "the harness: testpmd, 60 B inner, one in and one out",
                million(rate, "frames"),
            ));
        }
    }
}

fn many(copies: u32) -> String {
    if copies == 1 { "1 copy".to_owned() } else { format!("{copies} copies") }
}

fn million(rate: f64, what: &str) -> String {
    format!("{rate:.1} million {what}/CPU-s")
}

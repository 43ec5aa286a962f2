//! The daemon's metrics: fetched, and read as Prometheus text.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Samples by their Prometheus names, labels included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: BTreeMap<String, f64>,
}

/// Buckets of a histogram: (upper bound, values up to it), ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets(Vec<(f64, f64)>);

/// Fetches a page of a daemon's HTTP service: head and body. The socket belongs to the caller's network namespace.
///
/// # Errors
/// Nobody listens there, or gives no answer within 10 s.
pub fn fetch(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

impl Metrics {
    /// Fetches the metrics that are served at an address.
    ///
    /// # Errors
    /// As [`fetch`].
    pub fn scrape(address: SocketAddr) -> io::Result<Self> {
        fetch(address, "/metrics").map(|reply| Self::of_reply(&reply))
    }

    /// Reads an HTTP reply.
    pub(crate) fn of_reply(reply: &str) -> Self {
        Self::parse(reply.split_once("\r\n\r\n").map_or("", |(_, body)| body))
    }

    /// Reads Prometheus text; lines that are no samples are passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        let samples = samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        Self { samples: samples.collect() }
    }

    /// Labels (`{reason="runt"}`; empty where there are none) and value of each sample of a metric.
    pub fn each<'m>(&'m self, name: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
        self.samples.iter().filter_map(move |(key, &value)| {
            let labels = key.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value))
        })
    }

    /// Labels and values of a metric, without those at 0.
    pub fn nonzero(&self, name: &str) -> Vec<(String, f64)> {
        let some = self.each(name).filter(|(_, value)| *value != 0.0);
        some.map(|(labels, value)| (labels.to_owned(), value)).collect()
    }

    /// Sum over the samples whose labels contain this text, such as `worker="0"`; all of them for "".
    pub fn total(&self, name: &str, label: &str) -> f64 {
        self.each(name).filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).sum()
    }

    /// Sum of a counter over all its labels; 0 where there is none.
    pub fn sum(&self, name: &str) -> u64 {
        count(self.total(name, ""))
    }

    /// The counter `name{reason="<reason>"}`.
    ///
    /// # Panics
    /// The daemon does not have it: counters are there from the start, at 0.
    pub fn reason(&self, name: &str, reason: &str) -> u64 {
        self.labelled(name, "reason", reason)
    }

    /// Received frames, and all drop counters that are not 0, for messages.
    pub fn drops(&self) -> BTreeMap<&str, f64> {
        let samples = self.samples.iter().map(|(name, &value)| (name.as_str(), value));
        samples
            .filter(|(name, value)| *value > 0.0 && (name.contains("drop") || name.contains("rx_")))
            .collect()
    }

    /// The counter `name{label="<value>"}`.
    ///
    /// # Panics
    /// The daemon does not have it.
    pub fn labelled(&self, name: &str, label: &str, value: &str) -> u64 {
        let key = format!("{name}{{{label}=\"{value}\"}}");
        count(*self.samples.get(&key).unwrap_or_else(|| panic!("there is no {key} in {:#?}", self.samples)))
    }

    /// Differences to an earlier scrape.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |name| earlier.samples.get(name).copied().unwrap_or(0.0);
        let added = self.samples.iter().map(|(name, value)| (name.clone(), value - before(name)));
        Self { samples: added.collect() }
    }

    /// The histogram whose labels contain this text, such as `class="control"`, over all workers; `None` if there is
    /// none.
    pub fn buckets(&self, name: &str, label: &str) -> Option<Buckets> {
        let name = format!("{name}_bucket");
        let bound = |labels: &str| {
            let rest = &labels[labels.find("le=\"")? + 4..];
            rest[..rest.find('"')?].replace("+Inf", "inf").parse::<f64>().ok()
        };
        let mine = self.each(&name).filter(|(labels, _)| labels.contains(label));
        let mut all: Vec<_> = mine.filter_map(|(labels, value)| Some((bound(labels)?, value))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        (!all.is_empty()).then_some(Buckets(all))
    }

    /// Frames received = accepted + dropped + punted, and copies wanted = sent + dropped: exact once all is at rest.
    pub fn adds_up(&self) -> bool {
        self.sum("bcast_rx_frames_total")
            == self.sum("bcast_rx_accepted_total")
                + self.sum("bcast_drops_total")
                + self.sum("bcast_punted_total")
            && self.sum("bcast_copies_wanted_total")
                == self.sum("bcast_tx_copies_total") + self.sum("bcast_copy_drops_total")
    }
}

impl Buckets {
    /// Number of values.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |last| last.1)
    }

    /// Upper bound of the bucket that holds the value at this share (0 to 1): the value is not above it.
    pub fn at_most(&self, share: f64) -> f64 {
        let rank = self.count() * share;
        self.0.iter().find(|(_, count)| *count >= rank).map_or(f64::NAN, |(bound, _)| *bound)
    }
}

/// Counters are whole numbers, and far under 2^53.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn count(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0 && value < 9e15, "{value} is no count");
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total Frames.\n\
        a_total{worker=\"0\"} 2\na_total{worker=\"1\"} 3\na_totals 9\n\
        d{reason=\"runt\"} 1\nd{reason=\"vni_unknown\"} 0\n\
        h_bucket{class=\"control\",le=\"0.0001\"} 90\nh_bucket{class=\"control\",le=\"0.0002\"} 99\n\
        h_bucket{class=\"control\",le=\"+Inf\"} 100\nh_bucket{class=\"data\",le=\"0.0001\"} 7\n";

    #[test]
    fn metrics_are_read_and_summed_by_name() {
        let metrics = Metrics::parse(PAGE);
        assert_eq!(metrics.sum("a_total"), 5);
        assert_eq!(metrics.sum("b"), 0);
        assert_eq!(metrics.reason("d", "runt"), 1);
        assert_eq!(metrics.nonzero("d"), [("{reason=\"runt\"}".to_owned(), 1.0)]);
    }

    #[test]
    fn a_metric_is_summed_over_the_labels_that_are_asked_for_and_none_but_its_own_name() {
        let page = "bcast_drops_total{reason=\"tep_unknown\"} 3\nbcast_drops_total{reason=\"fanout_queue_full\"} 4\n\
                    bcast_drops_total_other{reason=\"fanout_queue_full\"} 100\nbcast_domains 7\n";
        let metrics = Metrics::parse(page);
        for (name, label, sum) in [
            ("bcast_drops_total", "", 7.0),
            ("bcast_drops_total", "\"fanout_queue_full\"", 4.0),
            ("bcast_drops_total", "\"full\"", 0.0),
            ("bcast_domains", "", 7.0),
            ("bcast", "", 0.0),
        ] {
            assert_eq!(metrics.total(name, label), sum, "{name} {label}");
        }
    }

    #[test]
    fn metrics_are_held_against_earlier_ones() {
        let earlier = Metrics::parse("a_total{worker=\"0\"} 1\n");
        assert_eq!(Metrics::parse(PAGE).since(&earlier).sum("a_total"), 4);
    }

    #[test]
    fn a_quantile_is_not_above_the_bound_of_its_bucket() {
        let buckets = Metrics::parse(PAGE).buckets("h", "class=\"control\"").expect("it is there");
        for (share, bound) in
            [(0.5, 0.0001), (0.9, 0.0001), (0.91, 0.0002), (0.99, 0.0002), (0.995, f64::INFINITY)]
        {
            assert_eq!(buckets.at_most(share), bound, "{share}");
        }
        assert_eq!(buckets.count(), 100.0);
        assert_eq!(Metrics::parse(PAGE).buckets("x", ""), None);
    }
}

//! The node under test: its API, by which TEPs and domains are made, and its metrics.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use bcast_domain::{Tep, Vni};
use ctl_api::model::{Batch, Change, Target, TepRef};
use ctl_api::{Client, ClientError};
use tokio::runtime::Runtime;

use crate::error::Error;
use crate::flow::{Plan, Teps};
use crate::settings::Settings;

/// How long the node's API is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node that can be told what to do, unless TEPs and domains are there already.
pub struct Node {
    runtime: Runtime,
    client: Option<Client>,
    metrics: SocketAddr,
    /// VNIs that were made here, with their members.
    made: BTreeMap<u32, Range<u32>>,
    teps: Option<Teps>,
    /// What was there before, and is not this program's to touch.
    others: Others,
}

/// What a node has of its own.
#[derive(Debug, Default)]
struct Others {
    vnis: HashSet<u32>,
    teps: HashSet<String>,
}

impl Node {
    /// Connects to its API, if it shall be told anything.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn connect(settings: &Settings) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let start = Instant::now();
        let client = settings.register.then(|| {
            loop {
                match runtime.block_on(Client::connect(&settings.socket)) {
                    // It may have been started a moment ago.
                    Err(ClientError::Unreachable { .. }) if start.elapsed() < PATIENCE => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    done => return done,
                }
            }
        });
        let mut client = client.transpose()?;
        let others = client.as_mut().map(|client| runtime.block_on(inventory(client))).transpose()?;
        Ok(Self {
            others: others.unwrap_or_default(),
            runtime,
            client,
            metrics: settings.metrics,
            made: BTreeMap::new(),
            teps: None,
        })
    }

    /// Commits changes, and waits until every worker has seen them.
    ///
    /// # Errors
    /// The node refuses. Without an API nothing is done.
    pub fn commit(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        if let Some(client) = &mut self.client
            && !changes.is_empty()
        {
            self.runtime.block_on(client.commit_stream(Batch::new(changes)))?;
        }
        Ok(())
    }

    /// Makes the plan's TEPs, and its domains with exactly the plan's members.
    ///
    /// # Errors
    /// The node refuses.
    pub fn arrange(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut changes = Vec::new();
        let known = self.teps.map_or(0, Teps::count);
        for place in known..plan.teps.count() {
            changes.push(Change::tep(Tep::new(plan.teps.address(place))?, None));
        }
        if plan.teps.count() > known {
            self.teps = Some(plan.teps);
        }
        for flow in plan.registered() {
            if self.others.vnis.contains(&flow.vni) {
                return Err(Error::Taken(flow.vni));
            }
            let places = flow.teps.start..flow.watched_from;
            if self.made.get(&flow.vni) == Some(&places) {
                continue;
            }
            let members = places.clone().map(|place| tep(plan.teps, place)).collect::<Result<_, _>>()?;
            changes.push(Change::members(Vni::new(flow.vni), members));
            self.made.insert(flow.vni, places);
        }
        self.commit(changes)
    }

    /// Removes the domains that were made, and then the TEPs.
    ///
    /// # Errors
    /// The node refuses.
    pub fn clear(&mut self) -> Result<(), Error> {
        let vnis = std::mem::take(&mut self.made);
        let domains = vnis.into_keys().map(|vni| Change::delete(Target::Domain(Vni::new(vni))));
        self.commit(domains.collect())?;
        let Some(teps) = self.teps.take() else { return Ok(()) };
        let own = |place: &u32| !self.others.teps.contains(&teps.address(*place).to_string());
        let remove = |place| Ok(Change::delete(Target::Tep(tep(teps, place)?)));
        let changes = (0..teps.count()).filter(own).map(remove).collect::<Result<_, Error>>()?;
        self.commit(changes)
    }

    /// Copies of one domain that the node could not send, since the domain was made; `None` without an API.
    ///
    /// # Errors
    /// The node refuses.
    pub fn copies_dropped(&mut self, vni: u32) -> Result<Option<u64>, Error> {
        let Some(client) = &mut self.client else { return Ok(None) };
        Ok(Some(self.runtime.block_on(client.domain_stats(Vni::new(vni)))?.drops))
    }

    /// Its metrics as they are now.
    ///
    /// # Errors
    /// It does not answer.
    pub fn scrape(&self) -> Result<Metrics, Error> {
        let failed = |error| Error::Metrics(self.metrics, error);
        let page = get(self.metrics).map_err(failed)?;
        Ok(Metrics::parse(page.split_once("\r\n\r\n").map_or("", |(_, body)| body)))
    }
}

async fn inventory(client: &mut Client) -> Result<Others, ClientError> {
    let mut others = Others::default();
    let mut parts = client.snapshot(Default::default()).await?;
    while let Some(part) = parts.message().await.map_err(|status| client.error(status))? {
        others.teps.extend(
            part.teps.iter().filter_map(|tep| Some(ctl_api::model::ip(&tep.address).ok()?.to_string())),
        );
        others.vnis.extend(part.domains.iter().map(|domain| domain.vni));
    }
    Ok(others)
}

/// A TEP by its address.
///
/// # Errors
/// No TEP can have it.
pub fn tep(teps: Teps, place: u32) -> Result<TepRef, Error> {
    Ok(TepRef::Address(Tep::new(teps.address(place))?))
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Samples by their names, labels included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

/// A histogram's buckets: (upper bound, values up to it).
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets(Vec<(f64, f64)>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        Self(samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// What was added since an earlier scrape.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |name| earlier.0.get(name).copied().unwrap_or(0.0);
        Self(self.0.iter().map(|(name, value)| (name.clone(), value - before(name))).collect())
    }

    /// The sum over all labels.
    pub fn sum(&self, metric: &str) -> f64 {
        self.of(metric).map(|(_, value)| value).sum()
    }

    /// Labels and values of a metric, those at 0 left out.
    pub fn nonzero(&self, metric: &str) -> Vec<(String, f64)> {
        let some = self.of(metric).filter(|(_, value)| *value != 0.0);
        some.map(|(labels, value)| (labels.to_owned(), value)).collect()
    }

    /// A histogram with this label, such as `class="control"`.
    ///
    /// # Errors
    /// There is none.
    pub fn buckets(&self, metric: &'static str, label: &str) -> Result<Buckets, Error> {
        let name = format!("{metric}_bucket");
        let mine = self.of(&name).filter(|(labels, _)| labels.contains(label));
        let bound = |labels: &str| {
            let rest = &labels[labels.find("le=\"")? + 4..];
            rest[..rest.find('"')?].replace("+Inf", "inf").parse::<f64>().ok()
        };
        let mut by_bound: Vec<(f64, f64)> =
            mine.filter_map(|(labels, value)| Some((bound(labels)?, value))).collect();
        by_bound.sort_by(|a, b| a.0.total_cmp(&b.0));
        // One for each worker, if so: buckets of one bound belong together.
        by_bound.dedup_by(|next, kept| {
            next.0 == kept.0 && {
                kept.1 += next.1;
                true
            }
        });
        if by_bound.is_empty() { Err(Error::NoMetric(metric)) } else { Ok(Buckets(by_bound)) }
    }

    fn of<'m>(&'m self, metric: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
        self.0.iter().filter_map(move |(name, &value)| {
            let rest = name.strip_prefix(metric)?;
            (rest.is_empty() || rest.starts_with('{')).then_some((rest, value))
        })
    }
}

impl Buckets {
    /// How many values.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |last| last.1)
    }

    /// The upper bound of the bucket that holds the value at this share: the value is not above it.
    pub fn at_most(&self, share: f64) -> f64 {
        let rank = self.count() * share;
        self.0.iter().find(|(_, count)| *count >= rank).map_or(f64::NAN, |(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a b\n\
        a_total{worker=\"0\"} 2\na_total{worker=\"1\"} 3\na_totals 9\n\
        d{reason=\"runt\"} 1\nd{reason=\"vni_unknown\"} 0\n\
        h_bucket{class=\"control\",le=\"0.0001\"} 90\nh_bucket{class=\"control\",le=\"0.0002\"} 99\n\
        h_bucket{class=\"control\",le=\"+Inf\"} 100\nh_bucket{class=\"data\",le=\"0.0001\"} 7\n";

    #[test]
    fn metrics_are_summed_by_name_and_held_against_earlier_ones() {
        let metrics = Metrics::parse(PAGE);
        assert_eq!(metrics.sum("a_total"), 5.0);
        assert_eq!(metrics.nonzero("d"), [("{reason=\"runt\"}".into(), 1.0)]);
        let earlier = Metrics::parse("a_total{worker=\"0\"} 1\n");
        assert_eq!(metrics.since(&earlier).sum("a_total"), 4.0);
    }

    #[test]
    fn a_quantile_is_not_above_the_bound_of_its_bucket() {
        let buckets = Metrics::parse(PAGE).buckets("h", "class=\"control\"").unwrap();
        for (share, bound) in
            [(0.5, 0.0001), (0.9, 0.0001), (0.91, 0.0002), (0.99, 0.0002), (0.995, f64::INFINITY)]
        {
            assert_eq!(buckets.at_most(share), bound, "{share}");
        }
        assert_eq!(buckets.count(), 100.0);
        assert!(matches!(Metrics::parse(PAGE).buckets("x", ""), Err(Error::NoMetric("x"))));
    }
}

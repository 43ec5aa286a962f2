//! Metrics: what is documented is served, what is served is documented, and other programs can read it.

use std::{collections::BTreeSet, fs, process::Command};

use testkit::{
    frame::{broadcast, overlay},
    lab::Lab,
    node::{Config, Node, get},
    process::output,
    sender::Sender,
};

const VNI: u32 = 5001;

/// Prints `type name` of each metric, and ends with an error where one is not sound.
const READER: &str = r#"
import sys
from prometheus_client.parser import text_string_to_metric_families as families
for family in families(sys.stdin.read()):
    name = family.name + ("_total" if family.type == "counter" else "")
    assert family.documentation, name + " has no help"
    assert family.type in ("counter", "gauge", "histogram"), name + " is " + family.type
    print(family.type, name)
    if family.type != "histogram":
        continue
    series = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = labels.pop("le", None)
        kind = sample.name[len(family.name):]
        one = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if kind == "_bucket":
            one["buckets"].append((bound, sample.value))
        else:
            one[kind] = sample.value
    for labels, one in series.items():
        bounds = [bound for bound, _ in one["buckets"]]
        assert bounds.count("+Inf") == 1 and bounds[-1] == "+Inf", (name, labels, bounds)
        assert one["buckets"][-1][1] == one["_count"], (name, labels, one)
        counts = [count for _, count in one["buckets"]]
        assert counts == sorted(counts), (name, labels, counts)
        assert "_sum" in one, (name, labels)
"#;

/// Type and name of each metric on a page, as the Prometheus client for Python reads it.
fn read(lab: &Lab, page: &str) -> BTreeSet<(String, String)> {
    let file = lab.folder().join("metrics.txt");
    fs::write(&file, page).expect("the lab's folder is ours");
    let mut command = Command::new("sh");
    command.args(["-c", "/usr/bin/python3 -c \"$0\" < \"$1\"", READER]).arg(&file);
    let read = output(&mut command);
    assert!(read.status.success(), "{}\n{page}", String::from_utf8_lossy(&read.stderr));
    let lines = String::from_utf8(read.stdout).expect("the reader prints text");
    let pair = |line: &str| line.split_once(' ').map(|(kind, name)| (kind.to_owned(), name.to_owned()));
    lines.lines().filter_map(pair).collect()
}

/// Type and name of each metric in docs/metrics.md.
fn documented() -> BTreeSet<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let text = fs::read_to_string(path).expect("docs/metrics.md is there");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some((cells.next()?.to_owned(), name))
    });
    rows.collect()
}

#[test]
fn every_documented_metric_is_served_and_every_served_one_is_documented_and_readable() {
    let lab = Lab::new();
    let secret = lab.folder().join("secret");
    fs::write(&secret, "whsec_c2VjcmV0IGVub3VnaCBmb3IgYW55Ym9keSBhdCBhbGw=\n").expect("the folder is ours");
    let config = Config::new(lab.folder())
        .webhook("noc", "http://127.0.0.1:9/", &secret)
        .set("routes.public_table", 0);
    let node = Node::start(&lab, &config);
    let served = get(&lab.node, "/metrics").expect("the daemon serves metrics");
    let page = served.split_once("\r\n\r\n").expect("a head and a body").1;
    let served = read(&lab, page);
    let documented = documented();
    let missing: Vec<_> = documented.difference(&served).collect();
    let unknown: Vec<_> = served.difference(&documented).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not served: {missing:?}; not documented: {unknown:?}");
    drop(node);
}

#[test]
fn metrics_tell_the_link_unresolved_teps_states_of_havips_buffers_and_how_busy_workers_are() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = [lab.host(), lab.host()];
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    node.must("tep add 198.18.77.77");
    node.must(&format!("havip create web --vni {VNI} --subnet 10.0.0.0/24 --address 10.0.0.7"));
    let before = node.metrics();
    assert_eq!((before.sum("bcast_link_up"), before.sum("bcast_teps_unresolved")), (1, 1), "{before:#?}");
    let states: Vec<_> = before.each("bcast_havip_states").collect();
    let state = |name: &str, count| (format!("{{state=\"{name}\"}}"), count);
    let expected = [state("bound", 0.0), state("conflict", 0.0), state("frozen", 0.0), state("unbound", 1.0)];
    assert_eq!(states, expected.each_ref().map(|(labels, count)| (labels.as_str(), *count)));
    assert!(before.sum("bcast_mbufs") > 20_000, "{before:#?}");
    assert_eq!(
        before.sum("bcast_mbufs"),
        before.sum("bcast_mbufs_free") + before.sum("bcast_mbufs_in_use"),
        "{before:#?}"
    );
    assert_eq!(before.sum("bcast_store_errors_total"), 0);
    assert_eq!(before.each("bcast_build_info").map(|(_, one)| one).collect::<Vec<_>>(), [1.0]);
    let sender = Sender::new(&hosts[0].namespace, "eth0");
    for _ in 0..50 {
        sender.send(&overlay(&hosts[0], VNI, &broadcast(VNI, 0, 60)));
    }
    let busy = "bcast_worker_busy_polls_total";
    let after = node.wait_metrics("busy polls", |metrics| {
        metrics.sum("bcast_rx_accepted_total") >= 50 && metrics.sum(busy) > before.sum(busy)
    });
    let seconds = |metrics: &testkit::node::Metrics| {
        metrics.each("bcast_worker_busy_seconds_total").map(|(_, value)| value).sum::<f64>()
    };
    assert!(seconds(&after) > seconds(&before), "{after:#?}");
    assert!(after.sum(busy) <= after.sum("bcast_worker_polls_total"), "{after:#?}");
    let uptime = after.each("process_start_time_seconds").map(|(_, start)| start).sum::<f64>();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is after 1970").as_secs_f64();
    assert!(seconds(&after) <= now - uptime, "busy for longer than it runs: {after:#?}");
    lab.node.ip("link set eth0 down");
    node.wait_metrics("the link to be down", |metrics| metrics.sum("bcast_link_up") == 0);
}

//! ping, and how long nobody answered.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{namespace::Namespace, process::Process};

/// A ping every 10 ms, until it is stopped.
#[derive(Debug)]
pub struct Ping {
    process: Process,
}

impl Ping {
    /// Time between two requests.
    pub const INTERVAL: Duration = Duration::from_millis(10);

    /// Starts to ping and waits for the first answer.
    pub fn start(from: &Namespace, address: impl Into<IpAddr>, log: &Path) -> Self {
        Self::every(Self::INTERVAL, from, address.into(), log)
    }

    /// The same to the broadcast address of the pinger's network; somebody has to answer such requests.
    pub fn broadcast(from: &Namespace, address: Ipv4Addr, log: &Path) -> Self {
        let line = format!("ping -b -D -n -W 1 -i {} {address}", Self::INTERVAL.as_secs_f32());
        let mut process = from.start(&line, log);
        process.wait_for_lines(" bytes from ", 1);
        Self { process }
    }

    /// The same at another pace.
    pub fn every(interval: Duration, from: &Namespace, address: IpAddr, log: &Path) -> Self {
        let line = format!("ping -D -n -W 1 -i {} {address}", interval.as_secs_f32());
        let mut process = from.start(&line, log);
        process.wait_for_lines(" bytes from ", 1);
        Self { process }
    }

    /// Time of each answer, since the Unix epoch.
    pub fn answers(&self) -> Vec<Duration> {
        answers(&self.process.log())
    }

    /// The requests before the last that was answered which were not: each by its number, from 1.
    pub fn unanswered(&self) -> Vec<u64> {
        unanswered(&self.process.log())
    }

    /// Stops, and gives when each answer came.
    pub fn stop(mut self) -> Vec<Duration> {
        self.process.signal(Signal::SIGINT);
        self.process.wait();
        self.answers()
    }
}

/// The longest time without an answer, between the first and the last.
pub fn outage(answers: &[Duration]) -> Duration {
    answers.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}

fn unanswered(log: &str) -> Vec<u64> {
    let answered = log.lines().filter(|line| line.contains(" bytes from ") && line.ends_with(" ms"));
    let numbers = answered.filter_map(|line| {
        let (_, rest) = line.split_once("icmp_seq=")?;
        rest.split(' ').next()?.parse::<u64>().ok()
    });
    let answered: BTreeSet<_> = numbers.collect();
    let last = answered.last().copied().unwrap_or_default();
    (1..last).filter(|number| !answered.contains(number)).collect()
}

/// `[1732323232.123456] 64 bytes from ...`
fn answers(log: &str) -> Vec<Duration> {
    let answered = log.lines().filter(|line| line.contains(" bytes from ") && line.ends_with(" ms"));
    let stamps = answered.filter_map(|line| line.strip_prefix('[')?.split_once(']')?.0.split_once('.'));
    stamps
        .filter_map(|(seconds, micros)| {
            Some(Duration::new(seconds.parse().ok()?, micros.parse::<u32>().ok()? * 1000))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_is_known_by_its_number() {
        let log = "[1700000000.500000] 64 bytes from 198.19.0.100: icmp_seq=2 ttl=64 time=0.5 ms\n\
                   [1700000000.810000] From 198.19.0.3 icmp_seq=3 Destination Host Unreachable\n\
                   [1700000000.850000] 64 bytes from fd00:13::64: icmp_seq=5 ttl=64 time=0.5 ms\n\
                   [1700000000.86";
        assert_eq!(unanswered(log), [1, 3, 4]);
        assert_eq!(unanswered(""), [0; 0]);
    }

    #[test]
    fn the_outage_is_the_longest_time_between_two_answers() {
        let log = "PING 198.19.0.100 (198.19.0.100) 56(84) bytes of data.\n\
                   [1700000000.500000] 64 bytes from 198.19.0.100: icmp_seq=1 ttl=64 time=0.5 ms\n\
                   [1700000000.510000] 64 bytes from 198.19.0.100: icmp_seq=2 ttl=64 time=0.5 ms\n\
                   [1700000000.810000] From 198.19.0.3 icmp_seq=3 Destination Host Unreachable\n\
                   [1700000000.850000] 64 bytes from 198.19.0.100: icmp_seq=36 ttl=64 time=0.5 ms\n\
                   [1700000000.86";
        let answers = answers(log);
        assert_eq!(answers.len(), 3);
        assert_eq!(outage(&answers).as_millis(), 340);
        assert_eq!(outage(&[]), Duration::ZERO);
    }
}

//! What all candidates are given: the same domains, the same members, the same frames.

use std::path::Path;

use bcast_domain::{Tep, Vni};
use bench::{overlay_frame, tep, write_pcap};
use ctl_api::model::{Batch, Change, TepRef};

use crate::error::{During, Failure};

/// What is measured at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Bytes of inner frame.
    pub size: u16,
    /// Members that each frame is copied to.
    pub copies: u32,
}

/// A domain and the one frame that is sent in it. TEPs are numbers, see [`tep`].
pub struct Domain {
    /// Its key in GRE.
    pub vni: u32,
    /// Those who get a copy.
    pub receivers: Vec<u32>,
    /// The member whom the frame comes from.
    pub source: u32,
    /// Bytes of inner frame.
    pub size: u16,
}

impl Domain {
    /// The frame as the source sends it. Frames differ in VNI, source and payload, so that nothing can be remembered between
    /// them.
    pub fn frame(&self) -> Vec<u8> {
        overlay_frame(tep(self.source), self.vni, self.size, self.vni.into())
    }

    /// All members: the source too.
    pub fn members(&self) -> impl Iterator<Item = u32> {
        self.receivers.iter().copied().chain([self.source])
    }
}

/// Domains, each with its frame.
pub struct Workload {
    /// There are the TEPs 0 to this.
    pub teps: u32,
    /// By VNI, from 1 on.
    pub domains: Vec<Domain>,
}

impl Workload {
    /// So many domains for each of the points. Every domain has its own members of at least 256 TEPs, and its own source.
    pub fn new(points: &[Point], domains_each: u32) -> Self {
        let most = points.iter().map(|point| point.copies).max().unwrap_or(0);
        let teps = (most + 1).max(256);
        let points = points.iter().flat_map(|&point| (0..domains_each).map(move |_| point));
        let domains = (0..).zip(points).map(|(number, Point { size, copies })| {
            let members = (0..=copies).map(|member| (number + member) % teps);
            let source = (number + number % (copies + 1)) % teps;
            let receivers = members.filter(|&member| member != source).collect();
            Domain { vni: number + 1, receivers, source, size }
        });
        Self { teps, domains: domains.collect() }
    }

    /// Writes the frames as a capture file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let frames: Vec<_> = self.domains.iter().map(Domain::frame).collect();
        write_pcap(path, &frames).during(format!("{}", path.display()))
    }

    /// Writes the same frames from the same sources, but for domains that are not there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_elsewhere(&self, path: &Path) -> Result<(), Failure> {
        const ELSEWHERE: u32 = 1 << 31;
        let elsewhere = |domain: &Domain| {
            overlay_frame(tep(domain.source), ELSEWHERE + domain.vni, domain.size, domain.vni.into())
        };
        write_pcap(path, &self.domains.iter().map(elsewhere).collect::<Vec<_>>())
            .during(format!("{}", path.display()))
    }

    /// Copies that the frames make.
    pub fn copies(&self) -> usize {
        self.domains.iter().map(|domain| domain.receivers.len()).sum()
    }

    /// All TEPs and domains as a change of a node.
    ///
    /// # Errors
    /// An address that no TEP can have.
    pub fn batch(&self) -> Result<Batch, Box<dyn std::error::Error>> {
        let mut changes = Vec::new();
        for number in 0..self.teps {
            changes.push(Change::tep(Tep::new(tep(number))?, None));
        }
        for domain in &self.domains {
            let member = |number| Ok::<_, bcast_domain::TepError>(TepRef::Address(Tep::new(tep(number))?));
            let members = domain.members().map(member).collect::<Result<_, _>>()?;
            changes.push(Change::members(Vni::from(domain.vni), members));
        }
        Ok(Batch::new(changes))
    }
}

/// Writes frames of sources that nobody knows: what a hostile flood looks like.
///
/// # Errors
/// The file cannot be written.
pub fn write_flood(path: &Path, size: u16, frames: u32) -> Result<(), Failure> {
    /// TEPs from here on are registered nowhere.
    const STRANGERS: u32 = 20_000;
    let frames: Vec<_> =
        (0..frames).map(|i| overlay_frame(tep(STRANGERS + i), i + 1, size, i.into())).collect();
    write_pcap(path, &frames).during(format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_has_as_many_receivers_as_its_point_says_and_its_source_is_none_of_them() {
        let points = [1, 8, 255, 512].map(|copies| Point { size: 60, copies });
        let workload = Workload::new(&points, 16);
        assert_eq!(workload.copies(), 16 * (1 + 8 + 255 + 512));
        for (number, domain) in workload.domains.iter().enumerate() {
            assert_eq!(domain.receivers.len(), points[number / 16].copies as usize);
            let mut members: Vec<_> = domain.members().collect();
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), domain.receivers.len() + 1, "{}", domain.vni);
            assert!(members.iter().all(|&member| member < workload.teps));
        }
        let mut frames: Vec<_> = workload.domains.iter().map(Domain::frame).collect();
        frames.sort();
        frames.dedup();
        assert_eq!(frames.len(), workload.domains.len());
    }
}

//! Members and frames of the domains.

use crate::workload::{Domain, Point, Workload};

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

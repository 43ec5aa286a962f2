//! Many times of one kind, and what is said of them.

use std::time::Duration;

use bench::plot::Curve;
use bench::quantile;

/// Milliseconds, in any order.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<f64>);

impl FromIterator<f64> for Times {
    fn from_iter<I: IntoIterator<Item = f64>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// From one time to a later one, in milliseconds, to the microsecond; 0 where the clocks of two programs say that it is the earlier one.
pub fn ms(from: Duration, to: Duration) -> f64 {
    (to.saturating_sub(from).as_secs_f64() * 1e6).round() / 1e3
}

impl Times {
    /// The value below which that share of them lies.
    pub fn at(&self, share: f64) -> f64 {
        quantile(&mut self.0.clone(), share)
    }

    /// Median, 99th percentile and maximum, for people.
    pub fn line(&self, what: &str) -> String {
        let [median, p99, most] = [0.5, 0.99, 1.0].map(|share| self.at(share));
        format!("{what:<58} {median:9.2} {p99:9.2} {most:9.2}")
    }

    /// As a curve over quantiles.
    pub fn curve(&self, name: &str) -> Curve {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        // A logarithmic axis has no place for 0.
        let points = (1_u32..).zip(sorted).map(|(rank, value)| (f64::from(rank) / count, value.max(1e-3)));
        Curve::new(name, points.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_median_and_their_worst() {
        let times: Times = (1..=100).rev().map(f64::from).collect();
        assert_eq!((times.at(0.5), times.at(0.99), times.at(1.0)), (50.0, 99.0, 100.0));
        assert!(times.line("all").ends_with("    50.00     99.00    100.00"));
        let curve = Times::from_iter([2.0, 0.0]).curve("two");
        assert_eq!(curve.points, [(0.5, 0.001), (1.0, 2.0)]);
        assert_eq!(ms(Duration::from_millis(3), Duration::from_millis(5)), 2.0);
        assert_eq!(ms(Duration::from_millis(5), Duration::from_millis(3)), 0.0);
    }
}

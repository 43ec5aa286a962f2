//! Statistics of few values.

use std::time::Duration;

use serde::Serialize;

use super::plot::Curve;

/// Least, median and greatest of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Least value.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Greatest value.
    pub max: f64,
}

impl Spread {
    /// Spread of these values, in any order; NaN where there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Self { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }

    /// Cells of a table: least, median and greatest, in another unit.
    pub fn cells(&self, unit: f64, digits: usize) -> [String; 3] {
        [self.min, self.median, self.max].map(|value| format!("{:.digits$}", value * unit))
    }

    /// The same in another unit.
    pub fn scaled(self, by: f64) -> Self {
        Self { min: self.min * by, median: self.median * by, max: self.max * by }
    }
}

/// Value at or below which this share (0 to 1) of the values lies: nearest rank.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let rank = (1_u32..).zip(&*values).find(|&(rank, _)| f64::from(rank) >= count * share);
    rank.map_or(f64::NAN, |(_, &value)| value)
}

/// Milliseconds from one time to a later one, to the microsecond; 0 where the clocks of two programs disagree on the
/// order.
pub fn ms(from: Duration, to: Duration) -> f64 {
    (to.saturating_sub(from).as_secs_f64() * 1e6).round() / 1e3
}

/// Times of one kind: milliseconds, in any order.
#[derive(Clone, Debug, Default)]
pub struct Times(pub Vec<f64>);

impl Times {
    /// Quantile, as [`quantile`].
    pub fn at(&self, share: f64) -> f64 {
        quantile(&mut self.0.clone(), share)
    }

    /// Curve over quantiles. A logarithmic axis has no place for 0.
    pub fn curve(&self, name: impl Into<String>) -> Curve {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let points = (1_u32..).zip(sorted).map(|(rank, value)| (f64::from(rank) / count, value.max(1e-3)));
        Curve::new(name, points.collect())
    }
}

//! Statistics of few values.

/// Minimum, median and maximum.
pub fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    match values {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        [first, ..] => (*first, values[values.len() / 2], values[values.len() - 1]),
    }
}

/// The value below which a share of the values lies, 0 to 1 (nearest rank).
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let rank = (1_u32..).zip(&*values).find(|&(rank, _)| f64::from(rank) >= count * share);
    rank.map_or(f64::NAN, |(_, &value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (share, expected) in
            [(0.0, 1.0), (0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
        {
            assert_eq!(quantile(&mut values, share), expected, "{share}");
        }
        assert!(quantile(&mut [], 0.5).is_nan());
        assert_eq!(spread(&mut [3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
    }
}

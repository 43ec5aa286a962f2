//! Plots as SVG. No fonts are needed to draw them: whoever shows the file has some.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

const SIZE: (u32, u32) = (960, 520);
/// Width of the plot; the legend stands beside it.
const PLOT_WIDTH: i32 = 760;
/// Colours that colour-blind readers can distinguish (Okabe and Ito).
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(110, 110, 110),
    RGBColor(0, 0, 0),
];

/// A named curve: points in the order of their x.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// (x, y).
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve through these points.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points }
    }
}

/// An axis: what it shows, with its unit, and its scale.
#[derive(Clone, Debug)]
pub struct Axis<'a> {
    label: &'a str,
    log: bool,
    /// Values with a label; empty: round numbers.
    ticks: Vec<f64>,
    text: fn(&f64) -> String,
}

impl<'a> Axis<'a> {
    /// Linear axis from 0 on.
    pub fn linear(label: &'a str) -> Self {
        Self { label, log: false, ticks: Vec::new(), text: tidy }
    }

    /// Logarithmic: all values must be above 0.
    pub fn log(label: &'a str) -> Self {
        Self { log: true, ..Self::linear(label) }
    }

    /// Labelled at these values.
    #[must_use]
    pub fn with_ticks(self, ticks: impl IntoIterator<Item = f64>) -> Self {
        Self { ticks: ticks.into_iter().collect(), ..self }
    }

    /// The scale for these values, with some room above.
    fn scale(&self, values: impl Iterator<Item = f64> + Clone) -> Result<Scale> {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
        let label = self.label;
        if values.clone().any(f64::is_nan) || !(least.is_finite() && most.is_finite()) {
            bail!("the axis \"{label}\" has no values, or one that is no number");
        }
        if self.log && least <= 0.0 {
            bail!("{least} has no place on the logarithmic axis \"{label}\"");
        }
        let range =
            if self.log { least / 1.15..most * 1.15 } else { least.min(0.0)..(most * 1.05).max(1e-9) };
        Ok(Scale { range, log: self.log, ticks: self.ticks.clone() })
    }
}

/// An axis once its values are known.
struct Scale {
    range: Range<f64>,
    log: bool,
    ticks: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        let (range, value) = match self.log {
            true => (start.ln()..end.ln(), value.ln()),
            false => (start..end, *value),
        };
        RangedCoordf64::from(range).map(&value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if !self.log && self.ticks.is_empty() {
            return RangedCoordf64::from(self.range.clone()).key_points(hint);
        }
        let decades = (-9_i32..12).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
        let ticks = if self.ticks.is_empty() { decades.collect() } else { self.ticks.clone() };
        ticks.into_iter().filter(|tick| (self.range.start..=self.range.end).contains(tick)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// Draws curves with their points marked.
///
/// # Errors
/// There is no point, a value has no place on a logarithmic axis, or the file cannot be written.
pub fn curves(path: &Path, title: &str, x: Axis, y: Axis, curves: &[Curve]) -> Result<()> {
    let points = curves.iter().flat_map(|curve| &curve.points);
    let xs = x.scale(points.clone().map(|point| point.0))?;
    let ys = y.scale(points.map(|point| point.1))?;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(PLOT_WIDTH);
    let mut chart = ChartBuilder::on(&left)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(x.label)
        .y_desc(y.label)
        .x_label_formatter(&x.text)
        .y_label_formatter(&y.text)
        .label_style(("sans-serif", 17))
        .draw()?;
    for ((curve, color), row) in curves.iter().zip(COLORS.iter().cycle()).zip(0..) {
        let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart.draw_series(line)?;
        let y = 60 + 22 * row;
        right.draw(&PathElement::new([(0, y), (16, y)], color.stroke_width(3)))?;
        right.draw(&Text::new(curve.name.as_str(), (22, y - 7), ("sans-serif", 17)))?;
    }
    area.present()?;
    Ok(())
}

/// Draws latency by quantile: each curve's points are (share of the values that are not above, latency), shares in
/// 0 to 1. Each further nine gets the same width on the x axis, as HDR histograms are shown.
///
/// # Errors
/// As [`curves()`].
pub fn quantiles(path: &Path, title: &str, y: Axis, of: &[Curve]) -> Result<()> {
    // The axis counts the nines: 0.9 is 1, 0.99 is 2. The last value, at 1.0, would be infinitely far away.
    let nines = |share: f64| -(1.0 - share).log10();
    let seen: Vec<Curve> = of
        .iter()
        .map(|curve| {
            let points = curve.points.iter().filter(|point| point.0 < 1.0);
            Curve::new(curve.name.clone(), points.map(|&(share, value)| (nines(share), value)).collect())
        })
        .collect();
    let percent = |nines: &f64| tidy(&(100.0 * (1.0 - 10_f64.powf(-nines))));
    let x = Axis { text: percent, ..Axis::linear("percentile").with_ticks((0..=9_u8).map(f64::from)) };
    curves(path, title, x, y, &seen)
}

/// Value with its significant digits.
fn tidy(value: &f64) -> String {
    let text = format!("{value:.5}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

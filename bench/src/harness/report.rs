//! Reports: `bench/results/NAME.json`, with all that one needs to judge and repeat a measurement.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::machine::Machine;

/// Results of one run; `R` is a row of its measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report<R> {
    /// Name of the measurement and of the file.
    pub name: String,
    /// End of the run, in UTC.
    pub date: String,
    /// Command line that repeats it.
    pub command: String,
    /// Machine that it ran on.
    pub machine: Machine,
    /// Reason why the figures count for nothing, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// The result in a few lines.
    pub figures: Vec<Figure>,
    /// Figures that are best read as a table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// All that was measured.
    pub rows: Vec<R>,
}

/// Figures that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Subject, with the unit.
    pub title: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// Rows of as many cells each.
    pub rows: Vec<Vec<String>>,
}

/// One line of the performance table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Subject, such as `copies per CPU-second, 60 B inner, 128 members`.
    pub what: String,
    /// Value with its unit.
    pub measured: String,
    /// Target with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// True if the target is met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Figure {
    /// A figure without a target.
    pub fn plain(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), target: None, met: None }
    }

    /// A value with a lower bound.
    pub fn at_least(what: impl Into<String>, value: f64, least: f64, unit: &str) -> Self {
        Self::against(what, value, unit, format!("at least {}{unit}", short(least)), value >= least)
    }

    /// A value with an upper bound.
    pub fn at_most(what: impl Into<String>, value: f64, most: f64, unit: &str) -> Self {
        Self::against(what, value, unit, format!("at most {}{unit}", short(most)), value <= most)
    }

    /// The same, with a remark in brackets behind the value.
    #[must_use]
    pub fn with(mut self, remark: &str) -> Self {
        self.measured = format!("{} ({remark})", self.measured);
        self
    }

    fn against(what: impl Into<String>, value: f64, unit: &str, target: String, met: bool) -> Self {
        let measured = format!("{}{unit}", short(value));
        Self { what: what.into(), measured, target: Some(target), met: Some(met) }
    }
}

/// Three digits that count, cut, not rounded: a value that just misses its target must not read as if it met it.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let scale = 10_f64.powi(digits);
    // 0.29 * 100 is 28.999...: what only floating point takes away is given back.
    let cut = (value * scale * (1.0 + 1e-12)).trunc() / scale;
    format!("{cut:.*}", usize::try_from(digits).unwrap_or(0))
}

impl<R: Serialize> Report<R> {
    /// A report of a run of this program that ends now.
    pub fn new(name: &str, figures: Vec<Figure>, rows: Vec<R>) -> Self {
        // A script that starts the program knows better what to type.
        let command = std::env::var("REPORT_COMMAND").unwrap_or_else(|_| {
            let mut words = std::env::args();
            let program = words.next().unwrap_or_default();
            let package = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
            let words: Vec<_> = words.collect();
            let dashes = if words.is_empty() { "" } else { " -- " };
            format!("cargo run --release -p {}{dashes}{}", package.unwrap_or_default(), words.join(" "))
        });
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string();
        let (name, machine) = (name.to_owned(), Machine::describe());
        Self { name, date, command, machine, void: None, figures, tables: Vec::new(), rows }
    }

    /// Prints the figures, writes `NAME.json` into a folder, and tells whether all targets are met.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<bool> {
        for Figure { what, measured, target, met } in &self.figures {
            let target = target.iter().map(|target| format!(" ({target})")).collect::<String>();
            let missed = if *met == Some(false) { ": MISSED" } else { "" };
            println!("{what}: {measured}{target}{missed}");
        }
        println!("{}", self.write(folder)?.display());
        Ok(self.figures.iter().all(|figure| figure.met != Some(false)))
    }

    /// Writes `NAME.json` into a folder; gives its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).context("cannot write the report")?;
        let path = folder.join(format!("{}.json", self.name));
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n").context("cannot write the report")?;
        Ok(path)
    }
}

/// Reports in a folder, by name.
///
/// # Errors
/// One of its JSON files cannot be read, or is no report.
pub fn read_all(folder: &Path) -> Result<Vec<Report<serde_json::Value>>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| Ok::<_, anyhow::Error>(serde_json::from_str(&fs::read_to_string(path)?)?);
    paths.iter().map(|path| read(path).with_context(|| path.display().to_string())).collect()
}

/// Folder of the last run's results: `bench/results` of the source tree that this was built from.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

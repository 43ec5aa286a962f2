//! What a measurement leaves behind: `bench/results/NAME.json`, with all that one needs to judge and repeat it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// The results of one run. `R` is a row, whatever a measurement measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report<R> {
    /// What was measured; also the file's name.
    pub name: String,
    /// When the run ended, in UTC.
    pub date: String,
    /// What to type to measure it again.
    pub command: String,
    /// Where it was measured.
    pub machine: Machine,
    /// Why the figures say nothing, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// What the run says in a few lines.
    pub figures: Vec<Figure>,
    /// What is best read as a table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// All that was measured.
    pub rows: Vec<R>,
}

/// Figures that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows, with the unit.
    pub title: String,
    /// The columns' names.
    pub head: Vec<String>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// One line of the performance table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Such as `copies per CPU-second, 60 B inner, 128 members`.
    pub what: String,
    /// The value with its unit.
    pub measured: String,
    /// What it shall be, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Figure {
    /// A figure that nothing is asked of.
    pub fn plain(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), target: None, met: None }
    }

    /// A value that shall be `least` or more.
    pub fn at_least(what: impl Into<String>, value: f64, least: f64, unit: &str) -> Self {
        Self::against(what, value, unit, format!("at least {}{unit}", short(least)), value >= least)
    }

    /// A value that shall be `most` or less.
    pub fn at_most(what: impl Into<String>, value: f64, most: f64, unit: &str) -> Self {
        Self::against(what, value, unit, format!("at most {}{unit}", short(most)), value <= most)
    }

    /// The same, with something in brackets behind the value.
    #[must_use]
    pub fn with(mut self, aside: &str) -> Self {
        self.measured = format!("{} ({aside})", self.measured);
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
    /// For a run that ends now: `package` was started by `cargo run --release -p package`.
    pub fn new(name: &str, package: &str, figures: Vec<Figure>, rows: Vec<R>) -> Self {
        // A script that starts the program knows better what to type.
        let command = std::env::var("REPORT_COMMAND").unwrap_or_else(|_| {
            let arguments: Vec<_> = std::env::args().skip(1).collect();
            let dashes = if arguments.is_empty() { "" } else { " -- " };
            format!("cargo run --release -p {package}{dashes}{}", arguments.join(" "))
        });
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string();
        let (name, machine) = (name.to_owned(), Machine::describe());
        Self { name, date, command, machine, void: None, figures, tables: Vec::new(), rows }
    }

    /// Writes `NAME.json` into a folder, and says where.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.json", self.name));
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }
}

/// The figures of a run, whatever its rows are.
///
/// # Errors
/// The file cannot be read, or is no report.
pub fn read(path: &Path) -> std::io::Result<Report<serde_json::Value>> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

/// The reports that are in a folder, by name.
///
/// # Errors
/// One of its JSON files cannot be read, or is no report.
pub fn read_all(folder: &Path) -> std::io::Result<Vec<Report<serde_json::Value>>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let named = |path: &PathBuf| {
        read(path).map_err(|error| std::io::Error::other(format!("{}: {error}", path.display())))
    };
    paths.iter().map(named).collect()
}

/// Where the results of the last run are kept: `bench/results` of the source tree that this was built from.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let figures =
            vec![Figure::at_least("copies", 0.8, 0.75, " of the floor"), Figure::plain("floor", "72 M/s")];
        let report = Report::new("some", "compare", figures, vec![serde_json::json!({"copies": 128})]);
        let path = report.write(folder.path()).unwrap();
        assert_eq!(path, folder.path().join("some.json"));
        assert_eq!(read(&path).unwrap(), report);
    }

    #[test]
    fn a_figure_that_just_misses_its_target_does_not_read_as_if_it_met_it() {
        let cases = [
            (0.7499, 0.75, "0.74 x", Some(false)),
            (0.75, 0.75, "0.75 x", Some(true)),
            (0.29, 0.13, "0.29 x", Some(true)),
            (11.999, 12.0, "11.9 x", Some(false)),
            (123.9, 12.0, "123 x", Some(true)),
        ];
        for (value, least, measured, met) in cases {
            let figure = Figure::at_least("copies", value, least, " x");
            assert_eq!((figure.measured.as_str(), figure.met), (measured, met), "{value}");
        }
        assert_eq!(Figure::at_most("memory", 250.5, 250.0, " MB").met, Some(false));
    }
}

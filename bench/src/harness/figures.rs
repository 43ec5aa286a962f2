//! Figures in the documents: written from the reports of the last runs, never by hand.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::{self, Report};

/// Line before the figures in a document.
pub const BEGIN: &str = "<!-- figures: begin (written by `cargo run -p bench -- figures`) -->";
/// Line behind them.
pub const END: &str = "<!-- figures: end -->";

/// Beginnings of the subjects that the README shows; docs/benchmarks.md has all.
const README: [&str; 5] = [
    "bcastd: 60 B inner, 128 copies a frame",
    "against OVS-DPDK, 32 copies a frame and up",
    "outage of a virtual IP",
    "1000000 domains of 16 members: from start to ready",
    "99 of 100 adverts inside the worker",
];

/// Figures that a document shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All, with tables and machines.
    All,
    /// The five of the README.
    Five,
}

/// Writes the figures of `bench/results` into README.md and docs/benchmarks.md.
///
/// # Errors
/// A file cannot be read or written, and those of [`with_figures`].
pub fn write() -> Result<()> {
    let reports = report::read_all(&report::folder())?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, shown) in [("README.md", Shown::Five), ("docs/benchmarks.md", Shown::All)] {
        let path = root.join(name);
        let text = std::fs::read_to_string(&path).context(name)?;
        std::fs::write(&path, with_figures(&text, &reports, shown).context(name)?).context(name)?;
    }
    Ok(())
}

/// The document with the figures of these reports in place of those that it had.
///
/// # Errors
/// A document without markers for the figures, or a void report.
pub fn with_figures(document: &str, reports: &[Report<Value>], shown: Shown) -> Result<String> {
    let parts = document.split_once(BEGIN);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.with_context(|| {
        format!("no line {BEGIN:?} with a line {END:?} behind it: put both where the figures shall be")
    })?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", figures(reports, shown)?))
}

fn figures(reports: &[Report<Value>], shown: Shown) -> Result<String> {
    let mut text = String::from("| what | measured | wanted | by |\n| --- | --- | --- | --- |\n");
    let is_shown = |what: &str| shown == Shown::All || README.iter().any(|start| what.starts_with(start));
    for Report { name, command, void, figures, .. } in reports {
        if let Some(void) = void {
            bail!("the run of {name:?} is void: {void}; run `{command}` again");
        }
        for figure in figures.iter().filter(|figure| is_shown(&figure.what)) {
            let missed = if figure.met == Some(false) { " (missed)" } else { "" };
            let wanted = figure.target.as_deref().unwrap_or_default();
            let (what, measured) = (&figure.what, &figure.measured);
            writeln!(text, "| {what} | {measured} | {wanted}{missed} | `{command}` |")?;
        }
    }
    if shown == Shown::Five {
        return Ok(text);
    }
    for table in reports.iter().flat_map(|report| &report.tables) {
        write!(text, "\n{}:\n\n", table.title)?;
        writeln!(text, "| {} |\n|{}", table.head.join(" | "), " --- |".repeat(table.head.len()))?;
        for cells in &table.rows {
            writeln!(text, "| {} |", cells.join(" | "))?;
        }
    }
    let mut machines: Vec<String> = Vec::new();
    for machine in reports.iter().map(|report| report.machine.to_string()) {
        if !machines.contains(&machine) {
            machines.push(machine);
        }
    }
    for (line, machine) in machines.iter().enumerate() {
        writeln!(text, "{}{machine}.", if line == 0 { "\nMeasured on " } else { "And on " })?;
    }
    Ok(text)
}

//! The README's performance figures: written from the reports of the last runs, never by hand.

use std::fmt::Write;

use serde_json::Value;

use crate::report::Report;

/// What stands before the figures in the README.
pub const BEGIN: &str = "<!-- figures: begin (written by `cargo run -p bench -- readme`) -->";
/// What stands behind them.
pub const END: &str = "<!-- figures: end -->";

/// Why the README was not written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadmeError {
    /// There is no place for them.
    #[error(
        "README.md has no line {BEGIN:?} with a line {END:?} behind it: put both where the figures shall be"
    )]
    Markers,
    /// A run that says nothing.
    #[error("the run of {0:?} is void: {1}; run `{2}` again")]
    Void(String, String, String),
}

/// The README with the figures of these reports in place of those that it had.
///
/// # Errors
/// It has no place for them, or a report is void.
pub fn with_figures(readme: &str, reports: &[Report<Value>]) -> Result<String, ReadmeError> {
    let (before, rest) = readme.split_once(BEGIN).ok_or(ReadmeError::Markers)?;
    let (_, after) = rest.split_once(END).ok_or(ReadmeError::Markers)?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", figures(reports)?))
}

fn figures(reports: &[Report<Value>]) -> Result<String, ReadmeError> {
    let mut text = String::from("| what | measured | wanted | by |\n| --- | --- | --- | --- |\n");
    for Report { name, command, void, figures, .. } in reports {
        if let Some(void) = void {
            return Err(ReadmeError::Void(name.clone(), void.clone(), command.clone()));
        }
        for figure in figures {
            let missed = if figure.met == Some(false) { " (missed)" } else { "" };
            let wanted = figure.target.as_deref().unwrap_or_default();
            // A string takes whatever is written to it.
            let _ =
                writeln!(text, "| {} | {} | {wanted}{missed} | `{command}` |", figure.what, figure.measured);
        }
    }
    for table in reports.iter().flat_map(|report| &report.tables) {
        let _ = write!(text, "\n{}:\n\n", table.title);
        let lines = [&table.head].into_iter().chain(&table.rows);
        for (line, cells) in lines.enumerate() {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
            if line == 0 {
                let _ = writeln!(text, "|{}", " --- |".repeat(cells.len()));
            }
        }
    }
    let mut machines: Vec<String> = Vec::new();
    for machine in reports.iter().map(|report| report.machine.to_string()) {
        if !machines.contains(&machine) {
            machines.push(machine);
        }
    }
    for (line, machine) in machines.iter().enumerate() {
        let _ = writeln!(text, "{}{machine}.", if line == 0 { "\nMeasured on " } else { "And on " });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::report::{Figure, Table};

    fn report() -> Report<Value> {
        let figures =
            vec![Figure::at_least("copies", 0.7, 0.75, " of the floor"), Figure::plain("floor", "72 M/s")];
        let head = ["", "1", "8"].map(str::to_owned).to_vec();
        let rows = vec![["bcastd", "12", "45"].map(str::to_owned).to_vec()];
        Report {
            name: "some".to_owned(),
            date: "2026-01-02 03:04".to_owned(),
            command: "cargo run --release -p some".to_owned(),
            machine: Machine::describe(),
            void: None,
            figures,
            tables: vec![Table { title: "Million".to_owned(), head, rows }],
            rows: vec![],
        }
    }

    #[test]
    fn figures_stand_between_the_markers_with_what_to_type_for_each_and_a_second_run_changes_nothing() {
        let readme = format!("# Title\n{BEGIN}\nold\n{END}\nrest\n");
        let written = with_figures(&readme, &[report()]).unwrap();
        assert!(
            written.starts_with("# Title\n") && written.ends_with("\nrest\n") && !written.contains("old")
        );
        for line in [
            "| copies | 0.70 of the floor | at least 0.75 of the floor (missed) | `cargo run --release -p some` |",
            "| floor | 72 M/s |  | `cargo run --release -p some` |",
            "|  | 1 | 8 |",
            "| --- | --- | --- |",
            "| bcastd | 12 | 45 |",
        ] {
            assert!(written.lines().any(|written| written == line), "{line} in {written}");
        }
        assert_eq!(with_figures(&written, &[report()]).unwrap(), written);
    }

    #[test]
    fn a_void_report_or_a_readme_without_markers_is_refused() {
        assert_eq!(with_figures("# Title\n", &[report()]), Err(ReadmeError::Markers));
        assert_eq!(with_figures(&format!("{END}\n{BEGIN}\n"), &[report()]), Err(ReadmeError::Markers));
        let void = Report { void: Some("too slow".to_owned()), ..report() };
        let refused = with_figures(&format!("{BEGIN}{END}"), &[void]);
        assert!(matches!(refused, Err(ReadmeError::Void(..))));
    }
}

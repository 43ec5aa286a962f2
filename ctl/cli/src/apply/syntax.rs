//! The text of an apply file: YAML or JSON, and errors with their place.

use serde::de::DeserializeSeed;
use thiserror::Error;

/// Error in the text of an apply file, and its place.
#[derive(Debug, Error)]
pub enum SyntaxError {
    /// Not text at all.
    #[error("it is not UTF-8 text: byte {at} cannot be read")]
    Encoding {
        /// Offset of the first byte that is wrong.
        at: usize,
    },
    /// No content.
    #[error("it is empty: write `teps:` and `domains:`, or {{}} if nothing shall be")]
    Empty,
    /// Unreadable, or an entry is wrong.
    #[error("line {line}, column {column}: {reason}")]
    Text {
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// Error at that place.
        reason: String,
    },
}

/// Reads JSON where the text starts like JSON, YAML otherwise.
///
/// # Errors
/// [`SyntaxError`]: the text is unreadable, or the seed refuses a part of it.
pub fn parse(bytes: &[u8], seed: impl for<'de> DeserializeSeed<'de, Value = ()>) -> Result<(), SyntaxError> {
    let text = str::from_utf8(bytes).map_err(|error| SyntaxError::Encoding { at: error.valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if is_json(text) { parse_json(text, seed) } else { parse_yaml(text, seed) }
}

/// YAML may start with a brace as well, but hardly with `{"` or `{}`.
fn is_json(text: &str) -> bool {
    let after = text.trim_start().strip_prefix('{').map(str::trim_start);
    after.is_some_and(|after| after.starts_with('"') || after.starts_with('}'))
}

fn parse_json(text: &str, seed: impl for<'de> DeserializeSeed<'de, Value = ()>) -> Result<(), SyntaxError> {
    let mut json = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        // serde_json's own " at line L column C" would repeat the place.
        let reason = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        SyntaxError::Text { line: line as u64, column: column as u64, reason: one_line(reason) }
    })
}

fn parse_yaml(text: &str, seed: impl for<'de> DeserializeSeed<'de, Value = ()>) -> Result<(), SyntaxError> {
    // A budget is for documents from strangers; the operator's own may have 33 million memberships.
    // Nesting, aliases and merge keys stay limited: with them a small file could take much memory.
    const REPLAYED_EVENTS: usize = 64 << 20;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
            max_aliases: 1 << 20,
            max_anchors: 1 << 20,
            max_depth: 16,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED_EVENTS },
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    if text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        return Err(SyntaxError::Empty);
    }
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| seed.deserialize(yaml))
        .map_err(|error| {
            let place = error.location();
            let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
            let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason);
            SyntaxError::Text { line, column, reason: in_file_words(&one_line(reason)) }
        })
}

/// The YAML reader's words for what it expected, in words of those who write files.
fn in_file_words(reason: &str) -> String {
    match reason {
        "expected sequence start" => "expected a list".to_owned(),
        "expected mapping start" => "expected keys with values".to_owned(),
        "expected string scalar" => "expected text".to_owned(),
        other => other.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

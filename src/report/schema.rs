//! The JSON Schema of a report: the same text as the reference page has, so that a program asks its own copy which shape to expect.

/// JSON Schema, draft 2020-12, of [`super::Report`] as JSON.
pub const SCHEMA: &str = include_str!("../../docs/reference/report.schema.json");

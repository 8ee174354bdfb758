//! How a cohort's ids are written into a file, so that an import of it changes nothing.

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One id a line.
    Lines,
    /// With the heading `id`.
    Csv,
    /// An object with `id` a line.
    Ndjson,
}

impl ExportFormat {
    pub const ALL: [Self; 3] = [Self::Lines, Self::Csv, Self::Ndjson];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Lines => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// The ending of a file's name.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Lines => "txt",
            other => other.as_str(),
        }
    }
}

/// Ids that stand one a line, in a format; `is_first` for the beginning of a file.
#[must_use]
pub fn written(format: ExportFormat, lines: &str, is_first: bool) -> String {
    let mut text = String::with_capacity(lines.len() + 16);
    if is_first && format == ExportFormat::Csv {
        text.push_str("id\n");
    }
    for id in lines.lines() {
        match format {
            ExportFormat::Lines => text.push_str(id),
            ExportFormat::Csv if id.contains([',', '"']) => {
                text.push('"');
                text.push_str(&id.replace('"', "\"\""));
                text.push('"');
            }
            ExportFormat::Csv => text.push_str(id),
            ExportFormat::Ndjson => text.push_str(&serde_json::json!({ "id": id }).to_string()),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sorted_ids::SortedIds;
    use crate::store::upload::{self, UploadFormat};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_import_of_an_export_is_the_same(ids in prop::collection::btree_set("[a-c\",\\\\;é0-9]{1,6}|id|-[0-9]{1,3}", 1..40)) {
            let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
            let wanted = SortedIds::of(&ids);
            let formats = [UploadFormat::Lines, UploadFormat::Csv, UploadFormat::Ndjson];
            for (export, import) in ExportFormat::ALL.into_iter().zip(formats) {
                let read = upload::read(written(export, &lines, true).as_bytes(), import).unwrap();
                prop_assert_eq!(read.ids.sha256(), wanted.sha256());
                prop_assert_eq!((read.rejected, read.duplicates), (0, 0));
            }
        }
    }
}

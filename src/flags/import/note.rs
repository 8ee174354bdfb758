//! What is told about an import: which part of which flag, why, and what to do.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The flag was not imported: a part of it cannot be expressed.
    LeftOut,
    /// It was imported, and answers otherwise in the case that the note names.
    Differs,
    /// Something that answers do not depend on was not kept.
    Dropped,
}

impl NoteKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Differs => "differs",
            Self::Dropped => "dropped",
        }
    }
}

/// One thing that an import could not keep as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Note {
    pub kind: NoteKind,
    /// The flag's key, as the document has it; empty for the document as a whole.
    pub flag: String,
    /// Where in the flag's definition.
    pub at: String,
    /// What stands there.
    pub what: String,
    /// Why it cannot be kept, or in which case it answers otherwise.
    pub why: String,
    pub remedy: String,
}

impl Note {
    #[must_use]
    pub fn left_out(flag: &str, unsupported: Unsupported) -> Self {
        Self::of(NoteKind::LeftOut, flag, unsupported)
    }

    #[must_use]
    pub fn differs(flag: &str, unsupported: Unsupported) -> Self {
        Self::of(NoteKind::Differs, flag, unsupported)
    }

    #[must_use]
    pub fn dropped(flag: &str, unsupported: Unsupported) -> Self {
        Self::of(NoteKind::Dropped, flag, unsupported)
    }

    /// Whether the flag was not imported.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        self.kind == NoteKind::LeftOut
    }

    fn of(kind: NoteKind, flag: &str, unsupported: Unsupported) -> Self {
        let Unsupported { at, what, why, remedy } = unsupported;
        Self { kind, flag: shortened(flag), at, what, why, remedy }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = if self.flag.is_empty() { "the document" } else { &self.flag };
        write!(f, "{}: {flag}", self.kind.as_str())?;
        if !self.at.is_empty() {
            write!(f, ", {}", self.at)?;
        }
        write!(f, ": {}: {}; {}", self.what, self.why, self.remedy)
    }
}

/// A part that cannot be expressed, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    pub at: String,
    pub what: String,
    pub why: String,
    pub remedy: String,
}

impl Unsupported {
    /// With the remedy that always remains.
    #[must_use]
    pub fn new(at: impl Into<String>, what: impl Into<String>, why: impl Into<String>) -> Self {
        let remedy = String::from("write this flag by hand");
        Self { at: at.into(), what: shortened(&what.into()), why: why.into(), remedy }
    }

    /// With another remedy.
    #[must_use]
    pub fn or_else(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// Inside of this place.
    #[must_use]
    pub fn below(self, place: &str) -> Self {
        let at = match (place, self.at.as_str()) {
            ("", at) => at.to_owned(),
            (place, "") => place.to_owned(),
            (place, at) if at.starts_with('[') => format!("{place}{at}"),
            (place, at) => format!("{place}.{at}"),
        };
        Self { at, ..self }
    }
}

/// The beginning of a text that came with the document.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= 160 { text.to_owned() } else { text.chars().take(159).chain(['…']).collect() }
}

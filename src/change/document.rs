//! TOML with places: typed values out of tables, every one with its line, and every slip collected rather than thrown.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::Located;
use super::mistake::{Mistake, nearest, shown};

pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// The text of a change file and what has been found wrong in it so far.
pub(super) struct Document<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    pub(super) mistakes: Vec<Mistake>,
}

/// One table of the document while it is being read.
#[derive(Clone)]
pub(super) struct Section<'s> {
    pub(super) table: &'s DeTable<'s>,
    pub(super) line: usize,
    /// How messages call it: a block's label, or `[routing]`.
    pub(super) name: Option<String>,
}

impl<'t> Document<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        Self { text, line_starts: std::iter::once(0).chain(breaks).collect(), mistakes: Vec::new() }
    }

    /// The line (from 1) of a byte offset.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).max(1)
    }

    pub(super) fn mistake(&mut self, section: &Section<'_>, line: usize, what: &str, remedy: &str) {
        self.mistakes.push(Mistake::new(section.name.as_deref(), line, what, remedy));
    }

    /// Every key of the section that is not among `known` is a mistake.
    pub(super) fn refuse_unknown_keys(&mut self, section: &Section<'_>, known: &[&str]) {
        for key in section.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, known.iter().copied()) {
                Some(near) => format!("write `{near}` if that is meant, or remove it"),
                None => format!("remove it; known here: {}", known.join(", ")),
            };
            let line = self.line_at(key.span().start);
            self.mistake(section, line, &format!("there is no key {}", shown(name)), &remedy);
        }
    }

    /// The value of `key`, if it is there.
    pub(super) fn find<'s>(&self, section: &Section<'s>, key: &str) -> Option<&'s Value<'s>> {
        section.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn line_of(&self, value: &Value<'_>) -> usize {
        self.line_at(value.span().start)
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, section: &Section<'_>, key: &str, example: &str) -> Option<Located<String>> {
        if self.find(section, key).is_none() {
            let remedy = format!("add {key} = {example}");
            self.mistake(section, section.line, &format!("`{key}` is missing"), &remedy);
        }
        self.find_text(section, key, example)
    }

    /// A text that may be left out.
    pub(super) fn find_text(&mut self, section: &Section<'_>, key: &str, example: &str) -> Option<Located<String>> {
        let value = self.find(section, key)?;
        self.text_of(section, key, value, example)
    }

    /// The text in `value`: not empty, without NUL, which no database takes.
    pub(super) fn text_of(
        &mut self,
        section: &Section<'_>,
        key: &str,
        value: &Value<'_>,
        example: &str,
    ) -> Option<Located<String>> {
        let line = self.line_of(value);
        let remedy = format!("write {key} = {example}");
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(section, key, value, &remedy);
            return None;
        };
        if text.trim().is_empty() {
            self.mistake(section, line, &format!("{} is empty", shown(key)), &remedy);
            return None;
        }
        if text.contains('\0') {
            self.mistake(section, line, &format!("{} contains a NUL character", shown(key)), "remove it");
            return None;
        }
        Some(Located { value: text.to_owned(), line: self.line_at(self.content_start(value.span().start)) })
    }

    /// Where the characters of a string begin: a multi-line string drops a line break after its opening quotes.
    fn content_start(&self, start: usize) -> usize {
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(content) = rest.strip_prefix("\"\"\"").or_else(|| rest.strip_prefix("'''")) else { return start };
        let mut left = content.strip_prefix("\r\n").or_else(|| content.strip_prefix('\n')).unwrap_or(content);
        while rest.starts_with('"')
            && let Some(after) = left.strip_prefix('\\')
            && after.trim_start_matches([' ', '\t', '\r']).starts_with('\n')
        {
            left = after.trim_start();
        }
        self.text.len() - left.len()
    }

    pub(super) fn boolean(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        let value = self.find(section, key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(section, key, value, &format!("write {key} = true or {key} = false"));
        }
        found
    }

    /// An integer between `least` and `most`, with its line.
    pub(super) fn integer(
        &mut self,
        section: &Section<'_>,
        key: &str,
        (least, most): (i64, i64),
    ) -> Option<Located<i64>> {
        let value = self.find(section, key)?;
        let line = self.line_of(value);
        let remedy = match least == most {
            true => format!("write {key} = {least}"),
            false => format!("write {key} = a whole number from {least} to {most}"),
        };
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(section, key, value, &remedy);
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix());
        match number {
            Ok(number) if (least..=most).contains(&number) => Some(Located { value: number, line }),
            _ => {
                let given = shown(integer.as_str());
                self.mistake(section, line, &format!("`{key}` is {given}"), &remedy);
                None
            }
        }
    }

    /// A list of texts without repetitions; `None` if the key is absent.
    pub(super) fn texts(
        &mut self,
        section: &Section<'_>,
        key: &str,
        example: &str,
    ) -> Option<Located<Vec<Located<String>>>> {
        let value = self.find(section, key)?;
        let line = self.line_of(value);
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(section, key, value, &format!("write {key} = [{example}]"));
            return None;
        };
        if array.is_empty() {
            self.mistake(
                section,
                line,
                &format!("`{key}` is empty"),
                &format!("write {key} = [{example}], or remove it"),
            );
            return None;
        }
        let mut texts: Vec<Located<String>> = Vec::new();
        for item in array.iter() {
            let Some(text) = self.text_of(section, key, item, &format!("[{example}]")) else { continue };
            if texts.iter().any(|other| other.value == text.value) {
                self.mistake(section, text.line, &format!("`{key}` names {} twice", shown(&text.value)), "remove one");
                continue;
            }
            texts.push(text);
        }
        Some(Located { value: texts, line })
    }

    /// The tables of `[[key]]`, in the order of the file, each with the line of its header.
    pub(super) fn tables<'s>(
        &mut self,
        section: &Section<'s>,
        key: &str,
        header: &str,
    ) -> Vec<(&'s DeTable<'s>, usize)> {
        let Some(value) = self.find(section, key) else { return Vec::new() };
        let remedy = format!("write {header} above each entry");
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(section, key, value, &remedy);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push((table, self.line_of(item))),
                None => self.wrong_type(section, key, item, &remedy),
            }
        }
        tables
    }

    /// The table under `key`, with the line of its header; `None` if it is absent or no table.
    pub(super) fn table<'s>(
        &mut self,
        section: &Section<'s>,
        key: &str,
        remedy: &str,
    ) -> Option<(&'s DeTable<'s>, usize)> {
        let value = self.find(section, key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(section, key, value, remedy);
        }
        Some((table?, self.line_of(value)))
    }

    fn wrong_type(&mut self, section: &Section<'_>, key: &str, value: &Value<'_>, remedy: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let line = self.line_of(value);
        self.mistake(section, line, &format!("{} cannot be {found}", shown(key)), remedy);
    }
}

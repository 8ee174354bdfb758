//! Where SQL text is code: it walks around strings, quoted identifiers, dollar quotes and comments of both dialects.

/// A parameter such as `:open_period` in SQL text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// With its colon.
    pub name: String,
    /// Byte offset of the colon.
    pub offset: usize,
}

/// Every `:name` that stands in code: `::` is a cast, and a colon in a string is a colon.
#[must_use]
pub fn parameters(sql: &str) -> Vec<Parameter> {
    let mut found = Vec::new();
    for word in words(sql) {
        let before = sql.get(..word.offset).unwrap_or_default();
        if before.ends_with(':') && !before.ends_with("::") {
            found.push(Parameter { name: format!(":{}", word.text), offset: word.offset - 1 });
        }
    }
    found
}

/// Replaces a parameter such as `:open_period` by `text` wherever it stands in code.
#[must_use]
pub fn replace_parameter(sql: &str, parameter: &str, text: &str) -> String {
    let mut replaced = String::with_capacity(sql.len());
    let mut copied = 0;
    for found in parameters(sql).into_iter().filter(|found| found.name == parameter) {
        replaced.push_str(sql.get(copied..found.offset).unwrap_or_default());
        replaced.push_str(text);
        copied = found.offset + found.name.len();
    }
    replaced.push_str(sql.get(copied..).unwrap_or_default());
    replaced
}

/// Byte offset of the first place where `identifier` stands in code, quoted or not, whatever its case.
#[must_use]
pub fn find_identifier(sql: &str, identifier: &str) -> Option<usize> {
    let plain = words(sql).into_iter().find(|word| word.text.eq_ignore_ascii_case(identifier)).map(|word| word.offset);
    let quoted = quoted_identifiers(sql).into_iter().find(|(_, name)| name.eq_ignore_ascii_case(identifier));
    plain.into_iter().chain(quoted.map(|(offset, _)| offset)).min()
}

struct Word<'t> {
    text: &'t str,
    offset: usize,
}

/// Unquoted words in code: keywords, identifiers, the names of parameters.
fn words(sql: &str) -> Vec<Word<'_>> {
    let bytes = sql.as_bytes();
    let mut words = Vec::new();
    let mut offset = 0;
    while let Some(&byte) = bytes.get(offset) {
        if let Some(end) = end_of_quoted(bytes, offset) {
            offset = end;
        } else if is_word(byte) {
            let length = bytes.iter().skip(offset).take_while(|byte| is_word(**byte)).count();
            let text = sql.get(offset..offset + length).unwrap_or_default();
            if !byte.is_ascii_digit() {
                words.push(Word { text, offset });
            }
            offset += length;
        } else {
            offset += 1;
        }
    }
    words
}

fn quoted_identifiers(sql: &str) -> Vec<(usize, String)> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(&byte) = bytes.get(offset) {
        let Some(end) = end_of_quoted(bytes, offset) else {
            offset += 1;
            continue;
        };
        if byte == b'"' || byte == b'`' {
            let inside = sql.get(offset + 1..end.saturating_sub(1)).unwrap_or_default();
            let quote = char::from(byte);
            found.push((offset, inside.replace(&format!("{quote}{quote}"), &quote.to_string())));
        }
        offset = end;
    }
    found
}

/// Letters, digits, `_`, `$` inside a word, and everything beyond ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// If something that is not code begins at `start`: where it ends.
fn end_of_quoted(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..)?;
    let end = match rest {
        [b'-', b'-', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => end_of_comment(rest),
        [b'\'', ..] => end_of_string(rest, b'\'', is_escape_string(bytes, start)),
        [quote @ (b'"' | b'`'), ..] => end_of_string(rest, *quote, false),
        [b'$', ..] => end_of_dollar_quoted(bytes, start)?,
        _ => return None,
    };
    Some(start + end)
}

/// PostgreSQL's comments nest.
fn end_of_comment(rest: &[u8]) -> usize {
    let mut depth: usize = 0;
    let mut offset = 0;
    while offset < rest.len() {
        match rest.get(offset..) {
            Some([b'/', b'*', ..]) => {
                depth += 1;
                offset += 2;
            }
            Some([b'*', b'/', ..]) => {
                depth -= 1;
                offset += 2;
                if depth == 0 {
                    return offset;
                }
            }
            _ => offset += 1,
        }
    }
    rest.len()
}

/// A doubled quote is a character of the string; in an `E'…'` string a backslash takes the next one along.
fn end_of_string(rest: &[u8], quote: u8, escapes: bool) -> usize {
    let mut offset = 1;
    while let Some(&byte) = rest.get(offset) {
        let is_doubled = byte == quote && rest.get(offset + 1) == Some(&quote);
        if is_doubled || (escapes && byte == b'\\') {
            offset += 2;
        } else if byte == quote {
            return offset + 1;
        } else {
            offset += 1;
        }
    }
    rest.len()
}

/// True for the quote of `E'…'`.
fn is_escape_string(bytes: &[u8], quote: usize) -> bool {
    let before = |steps: usize| quote.checked_sub(steps).and_then(|offset| bytes.get(offset)).copied();
    matches!(before(1), Some(b'e' | b'E')) && !before(2).is_some_and(is_word)
}

/// `$$…$$` or `$tag$…$tag$`; a `$` within a word or before a digit begins none.
fn end_of_dollar_quoted(bytes: &[u8], start: usize) -> Option<usize> {
    if start.checked_sub(1).and_then(|before| bytes.get(before)).copied().is_some_and(is_word) {
        return None;
    }
    let rest = bytes.get(start..)?;
    let tag_length = rest.iter().skip(1).take_while(|byte| is_word(**byte)).count();
    if rest.get(1).is_some_and(u8::is_ascii_digit) || rest.get(1 + tag_length) != Some(&b'$') {
        return None;
    }
    let tag = rest.get(..tag_length + 2)?;
    let after = rest.get(tag.len()..)?;
    let close = after.windows(tag.len()).position(|window| window == tag);
    Some(close.map_or(rest.len(), |close| tag.len() + close + tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_replaced_in_code_only() {
        let sql = "SELECT ':p', \":p\", E'\\':p', $x$ :p $x$, a::text, :p, :pp -- :p\n/* :p /* */ :p */ WHERE a < :p";
        assert_eq!(
            replace_parameter(sql, ":p", "(SELECT 1)"),
            "SELECT ':p', \":p\", E'\\':p', $x$ :p $x$, a::text, (SELECT 1), :pp -- :p\n/* :p /* */ :p */ WHERE a < (SELECT 1)"
        );
        let names: Vec<String> = parameters(sql).into_iter().map(|parameter| parameter.name).collect();
        assert_eq!(names, [":p", ":pp", ":p"]);
        assert_eq!(replace_parameter("x::p :p", ":p", ""), "x::p ");
        assert_eq!(parameters("$1 a$b$c :d").len(), 1, "a$b$c is one word, no dollar quote");
    }

    #[test]
    fn what_never_ends_ends_with_the_text() {
        for sql in ["'", "\"", "/*", "/* /* */", "$a$", "--", "E'\\", ":", "::", "é:ü", "$"] {
            assert_eq!(replace_parameter(sql, ":p", "x"), sql);
        }
    }

    #[test]
    fn an_identifier_is_found_in_code() {
        let sql = "SELECT 'owner', o.Owner -- owner\nFROM \"the owner\" o";
        assert_eq!(find_identifier(sql, "owner"), sql.find("Owner"));
        assert_eq!(find_identifier(sql, "the owner"), sql.find("\"the"));
        assert_eq!(find_identifier(sql, "nobody"), None);
    }
}

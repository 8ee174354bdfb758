//! Which of Changeover's own objects a generated statement creates or drops.

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    Function,
    Trigger,
    View,
}

impl ObjectKind {
    pub const ALL: [Self; 3] = [Self::Function, Self::Trigger, Self::View];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Trigger => "trigger",
            Self::View => "view",
        }
    }
}

/// What a statement does to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub creates: bool,
    pub kind: ObjectKind,
    /// Unquoted, without its schema.
    pub name: String,
}

/// The act of a statement that creates or drops a function, trigger or view; `None` for any other.
#[must_use]
pub fn act_of(statement: &str) -> Option<Act> {
    let mut rest = statement.trim_start();
    let creates = match word(&mut rest)?.as_str() {
        "create" => true,
        "drop" => false,
        _ => return None,
    };
    let mut next = word(&mut rest)?;
    if next == "or" {
        word(&mut rest)?;
        next = word(&mut rest)?;
    }
    let kind = ObjectKind::ALL.into_iter().find(|kind| kind.as_str() == next)?;
    let mut name = name(&mut rest)?;
    if name == "if" {
        // IF EXISTS, IF NOT EXISTS
        while name.eq_ignore_ascii_case("if") || name.eq_ignore_ascii_case("not") || name.eq_ignore_ascii_case("exists")
        {
            name = self::name(&mut rest)?;
        }
    }
    Some(Act { creates, kind, name })
}

/// The next word, in lower case.
fn word(rest: &mut &str) -> Option<String> {
    let text = rest.trim_start();
    let length = text.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, after) = text.split_at_checked(length)?;
    *rest = after;
    (!word.is_empty()).then(|| word.to_ascii_lowercase())
}

/// The last part of the next name: `x` of `changeover."x"`.
fn name(rest: &mut &str) -> Option<String> {
    let mut text = rest.trim_start();
    loop {
        let part;
        if let Some(inside) = text.strip_prefix('"') {
            let mut end = 0;
            loop {
                end += inside.get(end..)?.find('"')?;
                if inside.get(end + 1..).is_some_and(|after| after.starts_with('"')) {
                    end += 2;
                } else {
                    break;
                }
            }
            part = inside.get(..end)?.replace("\"\"", "\"");
            text = inside.get(end + 1..)?;
        } else {
            let length =
                text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
            part = text.get(..length)?.to_ascii_lowercase();
            text = text.get(length..)?;
        }
        match text.strip_prefix('.') {
            Some(after) => text = after,
            None => {
                *rest = text;
                return (!part.is_empty()).then_some(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_read_from_the_head_of_a_statement() {
        let cases = [
            ("CREATE OR REPLACE FUNCTION changeover.\"a_b\"(keys bigint[]) RETURNS", true, ObjectKind::Function, "a_b"),
            ("CREATE TRIGGER \"x \"\"y\" AFTER INSERT ON t", true, ObjectKind::Trigger, "x \"y"),
            ("DROP TRIGGER IF EXISTS changeover_x", false, ObjectKind::Trigger, "changeover_x"),
            ("DROP FUNCTION IF EXISTS changeover.\"a\"(bigint)", false, ObjectKind::Function, "a"),
            ("create view \"v\" (key) AS SELECT 1", true, ObjectKind::View, "v"),
            ("CREATE TRIGGER IF NOT EXISTS t1 AFTER", true, ObjectKind::Trigger, "t1"),
        ];
        for (statement, creates, kind, name) in cases {
            assert_eq!(act_of(statement), Some(Act { creates, kind, name: name.to_owned() }), "{statement}");
        }
        for other in
            ["", "CREATE TABLE x (y)", "LOCK TABLE x", "CREATE", "DROP VIEW", "INSERT INTO \"f", "CREATE TRIGGER \"f"]
        {
            assert_eq!(act_of(other), None, "{other}");
        }
    }
}

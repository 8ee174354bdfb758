//! From the text of a change file to a [`ChangeFile`], or to everything that is wrong with it. No database is asked.

use toml::de::DeTable;

use super::columns::{columns, key, plain};
use super::document::{Document, Section};
use super::file::{
    Allocation, Backward, Block, BlockId, ChangeFile, Direction, Follow, OnError, Query, Routing, Split, Truncate,
};
use super::loss::{losses, stages};
use super::mistake::{Mistake, shown};
use super::periods::period_scheme;
use crate::primitives::{ChangeName, FlagKey, PeriodScheme};

/// No change file that a person wrote is longer; a longer one is a wrong file.
const BYTES_MAX: usize = 1 << 20;
/// More mistakes than anybody reads at once.
const MISTAKES_MAX: usize = 100;
const QUERY: &str = "\"SELECT …\"";

impl ChangeFile {
    /// Reads a change file. The error lists every mistake that can be found without a database, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        if text.len() > BYTES_MAX {
            let what = format!("the file has {} bytes, which is no change file", text.len());
            return Err(vec![Mistake::new(None, 1, &what, "give the path of a change file (at most 1 MiB)")]);
        }
        let mut document = Document::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(syntax_mistakes(&document, &errors));
        }
        let file = change_file(&mut document, root.get_ref(), text);
        let mut mistakes = document.mistakes;
        match file {
            Some(file) if mistakes.is_empty() => Ok(file),
            _ => {
                mistakes.sort_by_key(|mistake| mistake.line);
                mistakes.truncate(MISTAKES_MAX);
                Err(mistakes)
            }
        }
    }
}

fn syntax_mistakes(document: &Document<'_>, errors: &[toml::de::Error]) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for error in errors {
        let line = document.line_at(error.span().map_or(0, |span| span.start));
        // What follows a broken line is broken too: one message a line.
        if mistakes.iter().all(|mistake| mistake.line != line) {
            mistakes.push(Mistake::new(
                None,
                line,
                &format!("not TOML: {}", error.message()),
                "correct the syntax here",
            ));
        }
    }
    mistakes.truncate(MISTAKES_MAX);
    mistakes
}

fn change_file(document: &mut Document<'_>, root: &DeTable<'_>, text: &str) -> Option<ChangeFile> {
    let root = Section { table: root, line: 1, name: None };
    document.refuse_unknown_keys(
        &root,
        &["format", "name", "title", "on_error", "truncate", "routing", "forward", "backward", "allocation", "stages"],
    );
    if document.find(&root, "format").is_none() {
        document.mistake(&root, 1, "`format` is missing", "add format = 1 as the first line");
    }
    document.integer(&root, "format", (1, 1));
    let name = document.text(&root, "name", "\"billing-allocation\"");
    let name = name.and_then(|name| match ChangeName::new(&name.value) {
        Ok(name) => Some(name),
        Err(error) => {
            document.mistake(&root, name.line, &error.to_string(), "choose another name");
            None
        }
    });
    let title = document.find_text(&root, "title", "\"What the change does\"").map(|title| title.value);
    let on_error = on_error(document, &root);
    let truncate = truncate(document, &root);
    let routing = match document.find(&root, "routing") {
        Some(_) => routing(document, &root),
        None => name.as_ref().and_then(default_routing),
    };
    let mut blocks = blocks(document, &root, Direction::Forward);
    if document.find(&root, "forward").is_none() {
        document.mistake(&root, 1, "there is no [[forward]] block", "add one for each table of the new model");
    }
    blocks.extend(self::blocks(document, &root, Direction::Backward));
    let allocation = allocation(document, &root);
    let stages = stages(document, &root);
    let name = name?;
    Some(ChangeFile {
        title: title.unwrap_or_else(|| name.to_string()),
        name,
        routing: routing?,
        blocks,
        allocation,
        on_error,
        truncate,
        stages,
        text: text.to_owned(),
    })
}

/// `truncate`, at the top or in a block.
fn truncate(document: &mut Document<'_>, section: &Section<'_>) -> Option<Truncate> {
    let given = document.find_text(section, "truncate", "\"propagate\"")?;
    match given.value.as_str() {
        "refuse" => Some(Truncate::Refuse),
        "propagate" => Some(Truncate::Propagate),
        other => {
            let what = format!("`truncate` is {}, which is neither refuse nor propagate", shown(other));
            let remedy = "write truncate = \"refuse\" (TRUNCATE fails) or truncate = \"propagate\" (it removes the block's rows)";
            document.mistake(section, given.line, &what, remedy);
            None
        }
    }
}

/// `on_error`, at the top or in a block.
fn on_error(document: &mut Document<'_>, section: &Section<'_>) -> Option<OnError> {
    let given = document.find_text(section, "on_error", "\"queue\"")?;
    match given.value.as_str() {
        "queue" => Some(OnError::Queue),
        "fail" => Some(OnError::Fail),
        other => {
            let what = format!("`on_error` is {}, which is neither queue nor fail", shown(other));
            let remedy = "write on_error = \"queue\" (the write succeeds, its keys wait) or on_error = \"fail\"";
            document.mistake(section, given.line, &what, remedy);
            None
        }
    }
}

/// A change that only moves rows may leave [routing] out: its flag is then called as the change is.
fn default_routing(name: &ChangeName) -> Option<Routing> {
    let flag = FlagKey::new(name.as_str()).ok()?;
    Some(Routing { line: 0, flag, period: PeriodScheme::default(), group_of_user: None })
}

fn routing(document: &mut Document<'_>, root: &Section<'_>) -> Option<Routing> {
    let (table, line) = document.table(root, "routing", "write [routing] on a line of its own")?;
    let section = Section { table, line, name: Some(String::from("[routing]")) };
    document.refuse_unknown_keys(&section, &["flag", "period", "time_zone", "group_of_user"]);
    let flag = document.text(&section, "flag", "\"billing-allocation\"");
    let flag = flag.and_then(|flag| match FlagKey::new(&flag.value) {
        Ok(flag) => Some(flag),
        Err(error) => {
            document.mistake(&section, flag.line, &error.to_string(), "choose another flag key");
            None
        }
    });
    let period = period_scheme(document, &section);
    let group_of_user = document.find_text(&section, "group_of_user", "\"SELECT … WHERE user_id = :user\"");
    Some(Routing { line, flag: flag?, period: period?, group_of_user })
}

fn allocation(document: &mut Document<'_>, root: &Section<'_>) -> Option<Allocation> {
    let (table, line) = document.table(root, "allocation", "write [allocation] on a line of its own")?;
    let section = Section { table, line, name: Some(String::from("[allocation]")) };
    let known = ["charges", "old", "new", "group", "expected_payers", "reverses", "exponent", "scale"];
    document.refuse_unknown_keys(&section, &known);
    let charges = document.text(&section, "charges", "\"SELECT … AS charge_id, period, currency, … AS amount FROM …\"");
    let old = document.text(&section, "old", "\"SELECT … AS charge_id, … AS payer, … AS amount FROM …\"");
    let new = document.text(&section, "new", "\"SELECT … AS charge_id, … AS payer, … AS amount FROM …\"");
    let group = document.text(&section, "group", "\"SELECT … AS charge_id, … AS group_id FROM …\"");
    let expected_payers = document.find_text(&section, "expected_payers", QUERY);
    let reverses = document.find_text(&section, "reverses", QUERY);
    let exponent = document.integer(&section, "exponent", (0, 18)).and_then(|number| u16::try_from(number.value).ok());
    let scale = document.integer(&section, "scale", (0, 18));
    if let Some(scale) =
        scale.as_ref().filter(|scale| exponent.is_some_and(|exponent| i64::from(exponent) != scale.value))
    {
        let what = format!("`scale` is {}, and `exponent` is another number of decimals", scale.value);
        document.mistake(
            &section,
            scale.line,
            &what,
            "leave `exponent` out: amounts are shown with the scale's decimals",
        );
    }
    let scale = scale.and_then(|number| u16::try_from(number.value).ok());
    Some(Allocation {
        line,
        charges: charges?,
        old: old?,
        new: new?,
        group: group?,
        expected_payers,
        reverses,
        exponent,
        scale,
    })
}

fn blocks(document: &mut Document<'_>, root: &Section<'_>, direction: Direction) -> Vec<Block> {
    let (key, header) = match direction {
        Direction::Forward => ("forward", "[[forward]]"),
        Direction::Backward => ("backward", "[[backward]]"),
    };
    let mut blocks = Vec::new();
    for (index, (table, line)) in document.tables(root, key, header).into_iter().enumerate() {
        let id = BlockId { direction, number: index + 1 };
        let mut section = Section { table, line, name: Some(id.to_string()) };
        if let Some(into) = document.find(&section, "into").and_then(|into| into.get_ref().as_str()) {
            section.name = Some(format!("{id} ({})", shown(into).trim_matches('`')));
        }
        blocks.extend(block(document, &section, id));
    }
    blocks
}

fn block(document: &mut Document<'_>, section: &Section<'_>, id: BlockId) -> Option<Block> {
    let mut known = vec![
        "into", "from", "key", "identity", "owns", "columns", "query", "follows", "constant", "split", "frozen",
        "on_error", "loss", "truncate",
    ];
    if id.direction == Direction::Backward {
        known.push("insert");
    } else if let Some(insert) = document.find(section, "insert") {
        let line = document.line_of(insert);
        document.mistake(
            section,
            line,
            "`insert` belongs to backward blocks",
            "remove it: forward blocks always insert",
        );
        known.push("insert");
    }
    document.refuse_unknown_keys(section, &known);
    let into = document.text(section, "into", "\"the table that this block writes\"");
    let from = document.text(section, "from", "\"the table whose rows it is computed for\"");
    let key = key(document, section);
    let identity = document.texts(section, "identity", "\"a column\"");
    let owns = document.find_text(section, "owns", "\"an SQL condition over the target's columns\"");
    let source = source(document, section);
    let follows = follows(document, section);
    let constant = document.texts(section, "constant", "\"a table\"").map(|list| list.value).unwrap_or_default();
    let split = split(document, section);
    let frozen = document.find_text(section, "frozen", QUERY);
    let on_error = on_error(document, section);
    let truncate = truncate(document, section);
    let insert = id.direction == Direction::Forward || document.boolean(section, "insert").unwrap_or(true);
    let block = Block {
        id,
        line: section.line,
        into: into?,
        from: from?,
        key: key?,
        identity: plain(identity, section.line),
        owns,
        source: source?,
        follows,
        constant,
        split,
        frozen,
        on_error,
        truncate,
        backward: Backward { insert },
        loss: losses(document, section),
    };
    refuse_contradictions(document, section, &block);
    Some(block)
}

/// `columns` or `query`, exactly one of them.
fn source(document: &mut Document<'_>, section: &Section<'_>) -> Option<Query> {
    let remedy = "write `columns` for values of the driving row alone, or `query` for a SELECT";
    match (document.find(section, "columns"), document.find(section, "query")) {
        (None, None) => {
            document.mistake(
                section,
                section.line,
                "neither `columns` nor `query` says where the rows come from",
                remedy,
            );
            None
        }
        (Some(_), Some(query)) => {
            let line = document.line_of(query);
            document.mistake(section, line, "both `columns` and `query` say where the rows come from", remedy);
            None
        }
        (None, Some(_)) => document.find_text(section, "query", QUERY).map(Query::Select),
        (Some(_), None) => columns(document, section).map(Query::Columns),
    }
}

fn follows(document: &mut Document<'_>, section: &Section<'_>) -> Vec<Follow> {
    let header = if section.name.as_deref().is_some_and(|name| name.starts_with('b')) {
        "[[backward.follows]]"
    } else {
        "[[forward.follows]]"
    };
    let mut follows: Vec<Follow> = Vec::new();
    for (table, line) in document.tables(section, "follows", header) {
        let entry = Section { table, line, name: section.name.clone() };
        document.refuse_unknown_keys(&entry, &["table", "by", "keys", "reads"]);
        let table = document.text(&entry, "table", "\"another table that the query reads\"");
        let by = document.text(&entry, "by", "\"the column through which the query reads it\"");
        let keys =
            document.text(&entry, "keys", "\"SELECT the driving keys that a change there touches FROM changed …\"");
        let reads = document.find_text(
            &entry,
            "reads",
            "\"SELECT the values of `by` that driving rows look up FROM changed …\"",
        );
        let (Some(table), Some(by), Some(keys)) = (table, by, keys) else { continue };
        if follows.iter().any(|other| other.table.value == table.value && other.by.value == by.value) {
            let what = format!("{} is followed twice by {}", shown(&table.value), shown(&by.value));
            document.mistake(&entry, line, &what, "make one entry of the two, its `keys` a UNION");
        }
        follows.push(Follow { line, table, by, keys, reads });
    }
    follows
}

fn split(document: &mut Document<'_>, section: &Section<'_>) -> Option<Split> {
    let example = "split = { amount = \"…\", by = \"…\", first = \"…\" }";
    let (table, line) = document.table(section, "split", &format!("write {example}"))?;
    let entry = Section { table, line, name: section.name.clone() };
    document.refuse_unknown_keys(&entry, &["amount", "by", "first", "scale", "reverses"]);
    let amount = document.text(&entry, "amount", "\"the result column to be divided\"");
    let by = document.text(&entry, "by", "\"the result column with the weights\"");
    let first = document.find_text(&entry, "first", "\"a boolean result column\"");
    let scale = document.integer(&entry, "scale", (0, 18)).and_then(|number| u16::try_from(number.value).ok());
    let reverses =
        document.find_text(&entry, "reverses", "\"the column of `from` that holds the key of what a row reverses\"");
    let (amount, by) = (amount?, by?);
    let names = [Some(&amount), Some(&by), first.as_ref()];
    for (index, name) in names.iter().enumerate() {
        let Some(name) = name else { continue };
        if names.iter().skip(index + 1).flatten().any(|other| other.value.eq_ignore_ascii_case(&name.value)) {
            let what = format!("`split` uses {} for two things", shown(&name.value));
            document.mistake(&entry, name.line, &what, "name a result column of its own for each");
        }
    }
    Some(Split { line, amount: amount.value, by: by.value, first: first.map(|first| first.value), scale, reverses })
}

/// What contradicts itself within one block.
fn refuse_contradictions(document: &mut Document<'_>, section: &Section<'_>, block: &Block) {
    for constant in &block.constant {
        let name = shown(&constant.value);
        if constant.value == block.from.value {
            let what = format!("{name} is the driving table, so it cannot be constant");
            document.mistake(section, constant.line, &what, "remove it from `constant`");
        }
        if block.follows.iter().any(|follow| follow.table.value == constant.value) {
            let what = format!("{name} is both followed and constant");
            document.mistake(section, constant.line, &what, "remove it from `constant`, or its follows entry");
        }
    }
    if block.from.value == block.into.value {
        let what = format!("{} is both `into` and `from`", shown(&block.into.value));
        document.mistake(section, block.into.line, &what, "a block fills another table than the one that drives it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESIGN: &str = include_str!("../../tests/suite/change/billing-allocation.toml");

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = ChangeFile::parse(text).unwrap_err();
        assert!(mistakes.iter().all(|mistake| mistake.line >= 1 && mistake.line <= text.lines().count().max(1)));
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_example_of_the_design_is_read_as_it_stands() {
        let file = ChangeFile::parse(DESIGN).unwrap();
        assert_eq!(file.name.as_str(), "billing-allocation");
        assert_eq!(file.routing.flag.as_str(), "billing-allocation");
        let ids: Vec<String> = file.blocks.iter().map(Block::label).collect();
        assert_eq!(
            ids,
            ["f1 (accounts)", "f2 (memberships)", "f3 (video_accounts)", "f4 (charge_allocations)", "b1 (videos)"]
        );
        let Query::Columns(columns) = &file.blocks[0].source else { panic!("f1 has columns") };
        assert_eq!(columns.pairs[0], ("owner_id".into(), "id".into()));
        assert_eq!(file.blocks[0].identity.value, ["owner_id"]);
        assert_eq!(file.blocks[1].owns.as_ref().unwrap().value, "role = 'owner'");
        assert_eq!(file.blocks[3].follows.len(), 2);
        assert_eq!(file.blocks[3].split.as_ref().unwrap().first.as_deref(), Some("uploader"));
        assert!(!file.blocks[4].backward.insert);
        assert!(file.allocation.unwrap().reverses.is_some());
    }

    #[test]
    fn every_value_knows_the_line_of_its_first_character() {
        let file = ChangeFile::parse(DESIGN).unwrap();
        let lines: Vec<&str> = DESIGN.lines().collect();
        for block in &file.blocks {
            assert!(lines[block.line - 1].starts_with("[["), "{}", block.line);
            assert!(lines[block.into.line - 1].contains(&block.into.value));
            if let Query::Select(query) = &block.source {
                assert_eq!(query.value.lines().next().unwrap(), lines[query.line - 1]);
            }
            for follow in &block.follows {
                assert!(lines[follow.line - 1].trim_start().starts_with("[["));
                assert!(lines[follow.keys.line - 1].contains(follow.keys.value.lines().next().unwrap()));
            }
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once_each_with_line_and_remedy() {
        let text = "format = 2\nname = \"Billing\"\nflags = 1\n[routing]\nflag = \"a/b\"\nperiod = \"fortnight\"\n\
            [[forward]]\nint = \"a\"\ninsert = true\nfrom = \"\"\nkey = 3\nidentity = [\"a\", \"a\"]\n\
            columns = { a = \"1\", A = \"2\" }\nquery = \"SELECT 1\"\nsplit = { amount = \"x\", by = \"x\" }\n\
            [[forward.follows]]\ntable = \"t\"\nby = \"c\"\n[allocation]\nexponent = 19\n";
        let found = mistakes(text).join("\n");
        for wanted in [
            "line 1: `format` is `2`; write format = 1",
            "line 2: `Billing` is not a valid change name",
            "line 3: there is no key `flags`; remove it; known here",
            "line 5, [routing]: `a/b` is not a valid flag key",
            "line 6, [routing]: `period` is `fortnight`",
            "line 7, f1: `into` is missing",
            "line 8, f1: there is no key `int`; write `into` if that is meant",
            "line 9, f1: `insert` belongs to backward blocks",
            "line 10, f1: `from` is empty",
            "line 11, f1: `key` cannot be a whole number",
            "line 12, f1: `identity` names `a` twice",
            "line 14, f1: both `columns` and `query`",
            "line 15, f1: `split` uses `x` for two things",
            "line 16, f1: `keys` is missing",
            "line 19, [allocation]: `charges` is missing",
            "line 20, [allocation]: `exponent` is `19`; write exponent = a whole number from 0 to 18",
        ] {
            assert!(found.contains(wanted), "{wanted}\nis not in\n{found}");
        }
    }

    #[test]
    fn contradictions_within_a_block_are_mistakes() {
        let block = |rest: &str| {
            format!(
                "format = 1\nname = \"a\"\n[routing]\nflag = \"a\"\n[[forward]]\ninto = \"t\"\nfrom = \"s\"\nkey = \"k\"\n{rest}"
            )
        };
        let found = |rest: &str| mistakes(&block(rest)).join("\n");
        assert!(found("").contains("line 5, f1 (t): neither `columns` nor `query`"));
        assert!(found("columns = { k = \"id\", K = \"id\" }").contains("`columns` fills `K` twice"));
        assert!(found("columns = {}").contains("`columns` is empty"));
        assert!(found("query = \"SELECT 1\"\nconstant = [\"s\"]").contains("`s` is the driving table"));
        assert!(found("query = \"a\\u0000b\"").contains("NUL"));
        let followed =
            "query = \"q\"\nconstant = [\"u\"]\n[[forward.follows]]\ntable = \"u\"\nby = \"b\"\nkeys = \"k\"\n";
        assert!(found(followed).contains("`u` is both followed and constant"));
        let twice = format!("{followed}[[forward.follows]]\ntable = \"u\"\nby = \"b\"\nkeys = \"k\"\n");
        assert!(found(&twice).contains("followed twice"));
        assert!(ChangeFile::parse(&block("[forward.columns]\nk = \"id\"\nv = \"w\"\n")).is_ok());
    }

    #[test]
    fn without_routing_the_flag_is_called_as_the_change_is() {
        let text = "format = 1\nname = \"a-b\"\n[[forward]]\ninto = \"t\"\nfrom = \"s\"\nkey = \"k\"\ncolumns = { k = \"id\", v = \"w\" }\n";
        let routing = ChangeFile::parse(text).unwrap().routing;
        assert_eq!((routing.flag.as_str(), routing.group_of_user), ("a-b", None));
    }

    #[test]
    fn text_that_is_no_toml_is_a_located_mistake() {
        assert!(mistakes("format = 1\nname = \n").join("\n").contains("line 2: not TOML"));
        assert!(mistakes("").join("\n").contains("`format` is missing"));
        assert!(mistakes("forward = 3\nrouting = []").join("\n").contains("`forward` cannot be a whole number"));
        assert!(ChangeFile::parse(&"x".repeat(BYTES_MAX + 1)).unwrap_err()[0].what.contains("no change file"));
    }
}

//! Makes cases: source tables with keys of every kind, blocks over them, statements that no state decides, so that any of them can be
//! left out.

use changeover::database::Dialect;

use super::case::{Block, Case, Split};
use crate::support::Random;

/// A source table: `k…` its key, `p…` the key of its parent, `g`, `w`, `amount` NOT NULL, `v` and `t` nullable.
struct Table {
    name: String,
    /// True for text.
    key: Vec<bool>,
    parent: Option<usize>,
}

const TEXTS: [&str; 6] = ["a", "b", "ä", "A b", "''q''", ""];

pub fn case(seed: u64, dialect: Dialect) -> Case {
    let mut random = Random::new(seed);
    let tables = tables(&mut random);
    let mut schema: String = (0..tables.len()).map(|nth| create(&tables, nth, &mut random)).collect();
    for _ in 0..12 {
        schema.push_str(&insert(&tables, &mut random, true));
        schema.push('\n');
    }
    let mut blocks = Vec::new();
    for _ in 0..1 + random.below(5) {
        let nth = random.index(tables.len());
        let number = blocks.len();
        if let Some((create, made)) = block(&tables, nth, number, &blocks, &mut random) {
            schema.push_str(&create);
            blocks.extend(made);
        }
    }
    if blocks.is_empty() {
        let (create, made) = short_form(&tables[0], 0);
        schema.push_str(&create);
        blocks.extend(made);
    }
    let statements = (0..25).map(|_| statement(&tables, &mut random, dialect)).collect();
    Case { dialect, schema, blocks, statements }
}

fn tables(random: &mut Random) -> Vec<Table> {
    let count = 1 + random.index(4);
    (0..count)
        .map(|nth| Table {
            name: format!("s{nth}"),
            key: match random.below(3) {
                0 => vec![false],
                1 => vec![true],
                _ => vec![false, true],
            },
            parent: (nth > 0 && !random.is_one_in(4)).then(|| random.index(nth)),
        })
        .collect()
}

impl Table {
    /// `k0, k1` with a prefix.
    fn columns(&self, prefix: &str, letter: char) -> Vec<String> {
        (0..self.key.len()).map(|nth| format!("{prefix}{letter}{nth}")).collect()
    }

    fn key_list(&self, prefix: &str) -> String {
        self.columns(prefix, 'k').join(", ")
    }

    fn typed(&self, letter: char, suffix: &str) -> String {
        let kind = |is_text: &bool| if *is_text { "TEXT" } else { "INTEGER" };
        let columns = self.key.iter().enumerate();
        columns.map(|(nth, is_text)| format!("{letter}{nth} {}{suffix}, ", kind(is_text))).collect()
    }

    /// The change file's `key`, for a target whose columns are named as the driving ones.
    fn key_setting(&self) -> String {
        let quoted: Vec<String> = self.columns("", 'k').iter().map(|column| format!("\"{column}\"")).collect();
        if quoted.len() == 1 { quoted[0].clone() } else { format!("[{}]", quoted.join(", ")) }
    }

    /// Values of a key, at random, from few.
    fn values(&self, random: &mut Random) -> Vec<String> {
        let one = |is_text: &bool| match is_text {
            true => format!("'{}'", TEXTS[random.index(TEXTS.len())]),
            false => (random.below(7) as i64 - 1).to_string(),
        };
        self.key.iter().map(one).collect()
    }
}

/// `child` joins `parent`: `c.p0 = p.k0 AND …`.
fn on(parent: &Table, child: &str, other: &str) -> String {
    let pairs = (0..parent.key.len()).map(|nth| format!("{child}.p{nth} = {other}.k{nth}"));
    pairs.collect::<Vec<_>>().join(" AND ")
}

fn create(tables: &[Table], nth: usize, random: &mut Random) -> String {
    let table = &tables[nth];
    let name = &table.name;
    let mut sql = format!(
        "CREATE TABLE {name} ({}g INTEGER NOT NULL, v INTEGER, w INTEGER NOT NULL, amount BIGINT NOT NULL, t TEXT, ",
        table.typed('k', " NOT NULL")
    );
    if let Some(parent) = table.parent.map(|parent| &tables[parent]) {
        sql.push_str(&parent.typed('p', ""));
        let action = match random.below(4) {
            0 => "",
            1 => "ON DELETE CASCADE ON UPDATE CASCADE",
            2 => "ON DELETE SET NULL ON UPDATE CASCADE",
            _ => "none",
        };
        if action != "none" {
            sql.push_str(&format!(
                "FOREIGN KEY ({}) REFERENCES {} ({}) {action}, ",
                parent.columns("", 'p').join(", "),
                parent.name,
                parent.key_list("")
            ));
        }
    }
    sql.push_str(&format!("PRIMARY KEY ({}));\n", table.key_list("")));
    if let Some(parent) = table.parent.map(|parent| &tables[parent]) {
        sql.push_str(&format!("CREATE INDEX {name}_p ON {name} ({});\n", parent.columns("", 'p').join(", ")));
    }
    sql
}

/// A block over table `nth`, with its target. `None` if this kind needs what there is not.
fn block(
    tables: &[Table],
    nth: usize,
    number: usize,
    others: &[Block],
    random: &mut Random,
) -> Option<(String, Vec<Block>)> {
    let table = &tables[nth];
    let children: Vec<&Table> = tables.iter().filter(|child| child.parent == Some(nth)).collect();
    let child = (!children.is_empty()).then(|| children[random.index(children.len())]);
    let with_reads = !random.is_one_in(4);
    match random.below(8) {
        0 => Some(short_form(table, number)),
        1 => joined(table, &tables[table.parent?], number, random.is_one_in(2), with_reads),
        2 => Some(aggregate(table, child?, number, with_reads)),
        3 => Some(grouped(table, number)),
        4 => Some(split(table, child?, number, with_reads)),
        5 => Some(halves(table, number)),
        6 => chained(table, number, others, with_reads),
        _ => Some(keeping(table, number)),
    }
}

fn written(table: &Table, target: &str, key: &str, query: &str, more: &str) -> String {
    format!(
        "[[forward]]\ninto = \"{target}\"\nfrom = \"{}\"\nkey = {key}\nquery = \"\"\"{query}\"\"\"\n{more}",
        table.name
    )
}

fn follow(table: &str, by: &str, keys: &str, reads: Option<String>) -> String {
    let reads = reads.map(|reads| format!("  reads = \"{reads}\"\n")).unwrap_or_default();
    format!("  [[forward.follows]]\n  table = \"{table}\"\n  by = \"{by}\"\n  keys = \"{keys}\"\n{reads}")
}

fn mapped(table: &Table, more: &[&str]) -> Vec<String> {
    table.columns("", 'k').into_iter().chain(more.iter().map(|column| (*column).to_owned())).collect()
}

fn target(table: &Table, name: &str, columns: &str) -> String {
    format!("CREATE TABLE {name} ({}{columns}, PRIMARY KEY ({}));\n", table.typed('k', " NOT NULL"), table.key_list(""))
}

fn plain(text: String, target: &str, query: String, columns: Vec<String>) -> Block {
    Block { text, target: target.to_owned(), query, columns, owns: String::new(), split: None }
}

fn short_form(table: &Table, number: usize) -> (String, Vec<Block>) {
    let name = format!("n_short{number}");
    let pairs: Vec<String> = table.columns("", 'k').iter().map(|column| format!("{column} = \"{column}\"")).collect();
    let text = format!(
        "[[forward]]\ninto = \"{name}\"\nfrom = \"{}\"\nkey = {}\ncolumns = {{ {}, a = \"v\", b = \"coalesce(t, '') || '!'\", c = \"v * 2 + g\" }}\n",
        table.name,
        table.key_setting(),
        pairs.join(", ")
    );
    let query = format!(
        "SELECT {}, v AS a, coalesce(t, '') || '!' AS b, v * 2 + g AS c FROM {}",
        table.key_list(""),
        table.name
    );
    let create = target(table, &name, "a INTEGER, b TEXT, c INTEGER, theirs TEXT DEFAULT 'kept'");
    (create, vec![plain(text, &name, query, mapped(table, &["a", "b", "c"]))])
}

fn joined(table: &Table, parent: &Table, number: usize, left: bool, with_reads: bool) -> Option<(String, Vec<Block>)> {
    let name = format!("n_joined{number}");
    let query = format!(
        "SELECT {}, p.v AS a, p.t AS b, c.v AS c FROM {} c {}JOIN {} p ON {}",
        table.key_list("c."),
        table.name,
        if left { "LEFT " } else { "" },
        parent.name,
        on(parent, "c", "p")
    );
    let keys =
        format!("SELECT {} FROM {} c JOIN changed p ON {}", table.key_list("c."), table.name, on(parent, "c", "p"));
    let more = follow(&parent.name, "k0", &keys, with_reads.then(|| String::from("SELECT p0 FROM changed")));
    let text = written(table, &name, &table.key_setting(), &query, &more);
    let create = target(table, &name, "a INTEGER, b TEXT, c INTEGER");
    Some((create, vec![plain(text, &name, query, mapped(table, &["a", "b", "c"]))]))
}

fn aggregate(table: &Table, child: &Table, number: usize, with_reads: bool) -> (String, Vec<Block>) {
    let name = format!("n_sum{number}");
    let query = format!(
        "SELECT {keys}, count(c.k0) AS a, max(c.t) AS b, coalesce(sum(c.v), 0) AS c FROM {} p LEFT JOIN {} c ON {} GROUP BY {keys}",
        table.name,
        child.name,
        on(table, "c", "p"),
        keys = table.key_list("p.")
    );
    let keys = format!("SELECT {} FROM changed", table.columns("", 'p').join(", "));
    let more = follow(&child.name, "p0", &keys, with_reads.then(|| String::from("SELECT k0 FROM changed")));
    let text = written(table, &name, &table.key_setting(), &query, &more);
    let create = target(table, &name, "a BIGINT, b TEXT, c BIGINT");
    (create, vec![plain(text, &name, query, mapped(table, &["a", "b", "c"]))])
}

/// Many old rows, one new row: keyed by a column that is not unique.
fn grouped(table: &Table, number: usize) -> (String, Vec<Block>) {
    let name = format!("n_group{number}");
    let query = format!("SELECT g, count(*) AS a, max(t) AS b, sum(v) AS c FROM {} GROUP BY g", table.name);
    let text = written(table, &name, "{ g = \"g\" }", &query, "");
    let create = format!(
        "CREATE TABLE {name} (g INTEGER PRIMARY KEY, a BIGINT, b TEXT, c BIGINT);\nCREATE INDEX {name}_g ON {} (g);\n",
        table.name
    );
    (create, vec![plain(text, &name, query, ["g", "a", "b", "c"].map(str::to_owned).to_vec())])
}

fn split(table: &Table, child: &Table, number: usize, with_reads: bool) -> (String, Vec<Block>) {
    let name = format!("n_split{number}");
    let parties: Vec<String> = (0..child.key.len()).map(|nth| format!("c.k{nth} AS q{nth}")).collect();
    let query = format!(
        "SELECT {}, {}, p.amount AS amount, c.w AS w FROM {} p JOIN {} c ON {}",
        table.key_list("p."),
        parties.join(", "),
        table.name,
        child.name,
        on(table, "c", "p")
    );
    let (party, keys) = (child.columns("", 'q'), table.columns("", 'p').join(", "));
    let identity: Vec<String> =
        table.columns("", 'k').iter().chain(&party).map(|column| format!("\"{column}\"")).collect();
    let more = format!(
        "identity = [{}]\nsplit = {{ amount = \"amount\", by = \"w\" }}\n{}",
        identity.join(", "),
        follow(
            &child.name,
            "p0",
            &format!("SELECT {keys} FROM changed"),
            with_reads.then(|| String::from("SELECT k0 FROM changed"))
        )
    );
    let text = written(table, &name, &table.key_setting(), &query, &more);
    let create = format!(
        "CREATE TABLE {name} ({}{}amount BIGINT NOT NULL, PRIMARY KEY ({}, {}));\n",
        table.typed('k', " NOT NULL"),
        child.typed('q', " NOT NULL"),
        table.key_list(""),
        party.join(", ")
    );
    let columns = table.columns("", 'k').into_iter().chain(party.clone()).chain([String::from("amount")]).collect();
    let division =
        Split { key: table.columns("", 'k'), party, amount: String::from("amount"), weight: String::from("w") };
    (create, vec![Block { text, target: name, query, columns, owns: String::new(), split: Some(division) }])
}

/// One old table, two blocks that share one target: each owns its half, and a row may change sides.
fn halves(table: &Table, number: usize) -> (String, Vec<Block>) {
    let name = format!("n_half{number}");
    let halves = [("low", "v < 4"), ("high", "v >= 4")].map(|(side, condition)| {
        let query =
            format!("SELECT {}, '{side}' AS side, v AS a FROM {} WHERE {condition}", table.key_list(""), table.name);
        let owns = format!("side = '{side}'");
        let text = written(table, &name, &table.key_setting(), &query, &format!("owns = \"{owns}\"\n"));
        Block { text, target: name.clone(), query, columns: mapped(table, &["side", "a"]), owns, split: None }
    });
    let create = format!(
        "CREATE TABLE {name} ({}side TEXT NOT NULL, a INTEGER, PRIMARY KEY ({}, side));\n",
        table.typed('k', " NOT NULL"),
        table.key_list("")
    );
    (create, halves.to_vec())
}

/// Reads what another block over the same kind of key has filled.
fn chained(table: &Table, number: usize, others: &[Block], with_reads: bool) -> Option<(String, Vec<Block>)> {
    let keys = table.columns("", 'k');
    let is_alike = |block: &&Block| {
        let from = format!("from = \"{}\"", table.name);
        block.text.contains(&from) && block.split.is_none() && block.owns.is_empty() && block.columns.starts_with(&keys)
    };
    let first = others.iter().find(is_alike)?;
    let name = format!("n_chain{number}");
    let pairs: Vec<String> = keys.iter().map(|key| format!("x.{key} = s.{key}")).collect();
    let query = format!(
        "SELECT {}, x.a AS a, s.w AS b FROM {} s JOIN {} x ON {}",
        table.key_list("s."),
        table.name,
        first.target,
        pairs.join(" AND ")
    );
    let more = follow(
        &first.target,
        "k0",
        &format!("SELECT {} FROM changed", table.key_list("")),
        with_reads.then(|| String::from("SELECT k0 FROM changed")),
    );
    let text = written(table, &name, &table.key_setting(), &query, &more);
    let create = target(table, &name, "a BIGINT, b INTEGER");
    Some((create, vec![plain(text, &name, query, mapped(table, &["a", "b"]))]))
}

/// Reads its own target: what is there stays there.
fn keeping(table: &Table, number: usize) -> (String, Vec<Block>) {
    let name = format!("n_keep{number}");
    let pairs: Vec<String> = table.columns("", 'k').iter().map(|key| format!("x.{key} = s.{key}")).collect();
    let query = format!(
        "SELECT {}, coalesce((SELECT x.a FROM {name} x WHERE {}), s.v) AS a, s.t AS b FROM {} s",
        table.key_list("s."),
        pairs.join(" AND "),
        table.name
    );
    let text = written(table, &name, &table.key_setting(), &query, "");
    let create = target(table, &name, "a INTEGER, b TEXT");
    (create, vec![plain(text, &name, query, mapped(table, &["a", "b"]))])
}

fn insert(tables: &[Table], random: &mut Random, ignore: bool) -> String {
    let table = &tables[random.index(tables.len())];
    let parent = table.parent.map(|parent| &tables[parent]);
    let rows = if ignore { 1 } else { 1 + random.below(3) };
    let values: Vec<String> = (0..rows)
        .map(|_| {
            let mut values = table.values(random);
            values.extend(fields(random).map(|(_, value)| value));
            if let Some(parent) = parent {
                values.extend(parent_values(parent, random));
            }
            // Initial rows are made without regard for what is there.
            format!("({})", values.join(", "))
        })
        .collect();
    let mut columns = table.columns("", 'k');
    columns.extend(["g", "v", "w", "amount", "t"].map(str::to_owned));
    columns.extend(parent.map(|parent| parent.columns("", 'p')).unwrap_or_default());
    let (names, values) = (columns.join(", "), values.join(", "));
    if !ignore {
        let conflict = match random.below(4) {
            0 => String::from(" ON CONFLICT DO NOTHING"),
            1 if rows == 1 => {
                format!(" ON CONFLICT ({}) DO UPDATE SET v = excluded.v, t = excluded.t, g = 2", table.key_list(""))
            }
            _ => String::new(),
        };
        return format!("INSERT INTO {} ({names}) VALUES {values}{conflict}", table.name);
    }
    // Without a parent, so that no foreign key refuses the schema.
    let count = columns.len() - parent.map_or(0, |parent| parent.key.len());
    let own: Vec<&str> = values.trim_matches(['(', ')']).splitn(count + 1, ", ").take(count).collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING;",
        table.name,
        columns[..count].join(", "),
        own.join(", ")
    )
}

fn fields(random: &mut Random) -> [(&'static str, String); 5] {
    let text = TEXTS[random.index(TEXTS.len())];
    [
        ("g", random.below(4).to_string()),
        ("v", if random.is_one_in(5) { String::from("NULL") } else { (random.below(10) as i64 - 1).to_string() }),
        ("w", random.below(4).to_string()),
        ("amount", (random.below(2_000) as i64 - 700).to_string()),
        ("t", if random.is_one_in(4) { String::from("NULL") } else { format!("'{text}'") }),
    ]
}

fn parent_values(parent: &Table, random: &mut Random) -> Vec<String> {
    if random.is_one_in(5) { vec![String::from("NULL"); parent.key.len()] } else { parent.values(random) }
}

fn statement(tables: &[Table], random: &mut Random, dialect: Dialect) -> String {
    if random.is_one_in(12) {
        let (one, other) = (write(tables, random, dialect), write(tables, random, dialect));
        return format!("BEGIN; {one}; {other}; {}", if random.is_one_in(2) { "ROLLBACK" } else { "COMMIT" });
    }
    write(tables, random, dialect)
}

fn write(tables: &[Table], random: &mut Random, dialect: Dialect) -> String {
    let table = &tables[random.index(tables.len())];
    let parent = table.parent.map(|parent| &tables[parent]);
    let name = &table.name;
    let (field, value) = fields(random)[random.index(5)].clone();
    let whole: Vec<String> = table
        .columns("", 'k')
        .iter()
        .zip(table.values(random))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let condition = match random.below(4) {
        0 => format!("g = {}", random.below(4)),
        1 => format!("{} > {}", if random.is_one_in(2) { "v" } else { "w" }, random.below(5)),
        2 => whole[0].clone(),
        _ => whole.join(" AND "),
    };
    match random.below(12) {
        0..=3 => insert(tables, random, false),
        4 | 5 => format!("UPDATE {name} SET {field} = {value} WHERE {condition}"),
        6 if random.is_one_in(3) => format!("UPDATE {name} SET v = v + 1, g = w"),
        6 | 7 => match parent {
            Some(parent) => {
                let pairs: Vec<String> = parent
                    .columns("", 'p')
                    .iter()
                    .zip(parent_values(parent, random))
                    .map(|(column, value)| format!("{column} = {value}"))
                    .collect();
                format!("UPDATE {name} SET {} WHERE {condition}", pairs.join(", "))
            }
            None => format!("UPDATE {name} SET t = NULL, v = NULL WHERE {condition}"),
        },
        8 => {
            let pairs: Vec<String> = table
                .columns("", 'k')
                .iter()
                .zip(table.values(random))
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            format!("UPDATE {name} SET {} WHERE {}", pairs.join(", "), whole.join(" AND "))
        }
        9 if dialect == Dialect::Sqlite => {
            let at = table.columns("", 'k');
            format!(
                "REPLACE INTO {name} ({}, g, v, w, amount, t) VALUES ({}, 1, 2, 3, 4, 'r')",
                at.join(", "),
                table.values(random).join(", ")
            )
        }
        9 if dialect == Dialect::Postgres => {
            format!(
                "WITH d AS (DELETE FROM {name} WHERE {condition} RETURNING g) UPDATE {name} SET v = 0 WHERE g IN (SELECT g FROM d) AND NOT ({condition})"
            )
        }
        _ => format!("DELETE FROM {name} WHERE {condition}"),
    }
}

//! Types and names of every kind: as keys, as values, in names.

use changeover::change::Stage;
use changeover::database::Dialect;

use super::{Scene, mistakes};

/// Each type once as a driving key and once as a value, in tables with awkward names.
const POSTGRES_KEYS: [(&str, &[&str]); 14] = [
    ("text", &["'a'", "''", "'ä \"q\" ''s'' \\'", "'Z'"]),
    (
        "uuid",
        &["'00000000-0000-0000-0000-00000000000a'", "gen_random_uuid()", "gen_random_uuid()", "gen_random_uuid()"],
    ),
    ("varchar(20)", &["'a'", "'B'", "'_'", "' x '"]),
    ("char(5)", &["'a'", "'abc'", "'abcde'", "''"]),
    ("smallint", &["-1", "0", "7", "32767"]),
    ("bigint", &["-9223372036854775807", "0", "7", "9007199254740993"]),
    ("numeric(12,3)", &["1.5", "-0.001", "7", "100000000.123"]),
    ("date", &["'2026-01-01'", "'0044-03-15 BC'", "'infinity'", "'1999-12-31'"]),
    ("timestamptz", &["'2026-01-01 00:00+02'", "'2026-01-01 00:00:00.000001Z'", "'-infinity'", "'1999-12-31Z'"]),
    ("bytea", &["'\\x00'", "'\\xff27'", "''", "'\\x5c'"]),
    ("boolean", &["true", "false", "true", "false"]),
    ("moods.\"Mood\"", &["'sad'", "'Ok'", "'it''s'", "'sad'"]),
    ("moods.code", &["'A1'", "'B2'", "'C3'", "'D4'"]),
    ("inet", &["'10.0.0.1'", "'::1'", "'10.0.0.0/8'", "'192.168.1.1/24'"]),
];

const MOODS: &str = "CREATE SCHEMA moods; CREATE TYPE moods.\"Mood\" AS ENUM ('sad', 'Ok', 'it''s');
    CREATE DOMAIN moods.any_code AS varchar(8) CHECK (VALUE <> ''); CREATE DOMAIN moods.code AS moods.any_code NOT NULL;";

#[test]
fn a_key_may_have_any_type_with_an_order() {
    for (data_type, values) in POSTGRES_KEYS {
        let schema = format!(
            "{MOODS} CREATE SCHEMA \"Old App\"; CREATE SCHEMA new;
             CREATE TABLE \"Old App\".\"User\" (\"Id\" {data_type} PRIMARY KEY, \"full Name\" text);
             CREATE TABLE new.\"Person\" (\"theId\" {data_type} PRIMARY KEY, name text);
             INSERT INTO \"Old App\".\"User\" SELECT {0}::{data_type}, 'one' UNION SELECT {1}::{data_type}, NULL;",
            values[0], values[1],
        );
        let file = r#"
[[forward]]
into = 'new."Person"'
from = '"Old App"."User"'
key  = '"theId"'
columns = { theId = '"Id"', name = '"full Name"' }
[[backward]]
into = '"Old App"."User"'
from = 'new."Person"'
key  = '"Id"'
query = 'SELECT "theId" AS "Id", name AS "full Name" FROM new."Person"'
"#;
        let scene = Scene::new(Dialect::Postgres, &schema, file, Stage::Live);
        let user = "\"Old App\".\"User\"";
        scene.run(&format!("INSERT INTO {user} VALUES ({}, 'two') ON CONFLICT DO NOTHING", values[2]));
        scene.run(&format!("UPDATE {user} SET \"full Name\" = \"full Name\" || '+'"));
        scene.run(&format!("UPDATE {user} SET \"Id\" = {0} WHERE \"Id\" = {1} AND NOT EXISTS (SELECT 1 FROM {user} WHERE \"Id\" = {0})", values[3], values[0]));
        scene.run(&format!("UPDATE new.\"Person\" SET name = 'new' WHERE \"theId\" = {}", values[2]));
        scene.run(&format!(
            "DELETE FROM {user} WHERE \"Id\" = {}; DELETE FROM new.\"Person\" WHERE \"theId\" = {}",
            values[1], values[3]
        ));
        scene.assert_clean(data_type);
        scene.assert_same(
            &format!("SELECT concat(\"Id\"::text, '/', \"full Name\") AS v FROM {user}"),
            "SELECT concat(\"theId\"::text, '/', name) AS v FROM new.\"Person\"",
        );
        // Drift is found by key whatever the type, and mended.
        scene.run("SET session_replication_role = replica; UPDATE new.\"Person\" SET name = 'drift'; SET session_replication_role = origin");
        let mut connection = scene.connection();
        changeover::translation::repair(
            &mut connection,
            &scene.model,
            changeover::translation::VerifyOptions::default(),
            &mut |_, _| {},
        )
        .unwrap();
        scene.assert_clean(data_type);
    }
}

#[test]
fn values_of_every_type_are_compared_as_what_they_are() {
    let types = [
        ("json", "'{\"a\": 1}'", "'{\"a\":1}'"),
        ("jsonb", "'{\"a\": 1.0}'", "'{\"a\": 1.00}'"),
        ("xml", "'<a/>'", "'<a></a>'"),
        ("point", "'(1,2)'", "'(1,3)'"),
        ("box", "'(0,0),(2,2)'", "'(0,0),(4,1)'"),
        ("text[]", "'{a,NULL}'", "'{a,\"NULL\"}'"),
        ("numeric", "1.0", "1.00"),
        ("numeric(30,11)", "0.00000000001", "0.00000000002"),
        ("citext", "'Straße'", "'STRASSE'"),
        ("text COLLATE nocase", "'Ada'", "'ADA'"),
        ("interval", "'24 hours'", "'1 day'"),
        ("int4range", "'[1,2]'", "'[1,4)'"),
        ("moods.\"Mood\"", "'sad'", "'Ok'"),
        ("pair", "'(1,a)'", "'(1,b)'"),
        ("tsvector", "'a b'", "'a c'"),
        ("char(4)", "'a'", "'ab'"),
        ("double precision", "'NaN'", "'-Infinity'"),
        ("timestamptz", "'2026-01-01 00:00+02'", "'2026-01-01 00:00:00.000001Z'"),
    ];
    let columns = |prefix: &str| {
        types.iter().enumerate().map(|(n, (kind, ..))| format!("{prefix}{n} {kind}")).collect::<Vec<_>>().join(", ")
    };
    let list = |value: &dyn Fn(usize) -> String| (0..types.len()).map(value).collect::<Vec<_>>().join(", ");
    let schema = format!(
        "{MOODS} CREATE EXTENSION IF NOT EXISTS citext; CREATE TYPE pair AS (n int, t text);
         CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE a (id int PRIMARY KEY, {}, doubled int GENERATED ALWAYS AS (id * 2) STORED);
         CREATE TABLE b (id int PRIMARY KEY, {}, tripled int GENERATED ALWAYS AS (id * 3) STORED, from_doubled int);
         INSERT INTO a VALUES (1, {}); INSERT INTO a (id) VALUES (2)",
        columns("c"),
        columns("d"),
        list(&|n| types[n].1.to_owned()),
    );
    let pairs = list(&|n| format!("d{n} = \"c{n}\""));
    let file = format!(
        "[[forward]]\ninto = \"b\"\nfrom = \"a\"\nkey = \"id\"\ncolumns = {{ id = \"id\", from_doubled = \"doubled\", {pairs} }}\n"
    );
    let scene = Scene::new(Dialect::Postgres, &schema, &file, Stage::Shadow);
    let row = |table: &str, prefix: &str| {
        format!("SELECT concat_ws('|', id, {}) AS v FROM {table}", list(&|n| format!("{prefix}{n}::text")))
    };
    for (number, (kind, _, other)) in types.iter().enumerate() {
        scene.run(&format!("UPDATE a SET c{number} = {other}"));
        scene.assert_same(&row("a", "c"), &row("b", "d"));
        scene.assert_clean(kind);
        scene.run(&format!("ALTER TABLE a DISABLE TRIGGER USER; UPDATE a SET c{number} = NULL WHERE id = 1; ALTER TABLE a ENABLE TRIGGER USER"));
        let mut connection = scene.connection();
        let found = changeover::translation::repair(
            &mut connection,
            &scene.model,
            changeover::translation::VerifyOptions::default(),
            &mut |_, _| {},
        );
        assert_eq!(found.unwrap()[0].different, 1, "{kind}");
        scene.assert_same(&row("a", "c"), &row("b", "d"));
    }
}

#[test]
fn a_type_without_an_order_is_no_key() {
    let schema = "CREATE TABLE a (p int[] NOT NULL UNIQUE, j json NOT NULL, id int PRIMARY KEY); CREATE TABLE b (k int[] PRIMARY KEY, id int)";
    let said = |key: &str| {
        mistakes(
            Dialect::Postgres,
            schema,
            &format!("[[forward]]\ninto = \"b\"\nfrom = \"a\"\nkey = {key}\ncolumns = {{ k = \"p\", id = \"id\" }}\n"),
        )
    };
    assert!(
        said("{ k = \"p\" }").contains("`p` of the driving table `a` is integer[], which cannot be a key"),
        "{}",
        said("{ k = \"p\" }")
    );
    assert!(said("{ k = \"j\" }").contains("`j` of the driving table `a` is json"));
}

#[test]
fn a_case_that_changes_in_a_key_without_regard_to_case_is_translated() {
    let schema = "CREATE EXTENSION IF NOT EXISTS citext;
        CREATE TABLE a (code citext PRIMARY KEY, v text); CREATE TABLE b (code citext PRIMARY KEY, v text); CREATE TABLE c (code text PRIMARY KEY, v text);
        INSERT INTO a VALUES ('x', '1')";
    let block = |into: &str| {
        format!(
            "[[forward]]\ninto = \"{into}\"\nfrom = \"a\"\nkey = \"code\"\ncolumns = {{ code = \"code\", v = \"v\" }}\n"
        )
    };
    let scene = Scene::new(Dialect::Postgres, schema, &format!("{}{}", block("b"), block("c")), Stage::Shadow);
    scene.run("UPDATE a SET code = 'X'");
    scene.assert_clean("case");
    assert_eq!(scene.texts("SELECT code::text AS v FROM b"), ["X"]);
    assert_eq!(scene.texts("SELECT code AS v FROM c"), ["X"]);
}

/// SQLite's kinds of tables, and text whose case does not count.
#[test]
fn every_kind_of_table_of_sqlite_is_translated() {
    let schema = "
        CREATE TABLE \"Old Users\" (\"E-Mail\" TEXT COLLATE NOCASE PRIMARY KEY, name TEXT, loud TEXT GENERATED ALWAYS AS (upper(name)) VIRTUAL, raw BLOB, x) WITHOUT ROWID;
        CREATE TABLE strict_users (email TEXT NOT NULL, name TEXT, loud TEXT, raw BLOB, n ANY, twice TEXT GENERATED ALWAYS AS (email || email) STORED, PRIMARY KEY (email)) STRICT;
        CREATE TABLE nocase (email TEXT COLLATE NOCASE PRIMARY KEY, name TEXT COLLATE NOCASE);
        CREATE TABLE no_alias (id INT PRIMARY KEY, v REAL);
        CREATE TABLE log (id INT PRIMARY KEY, v TEXT);
        INSERT INTO \"Old Users\" VALUES ('A@x', 'Ada', x'00ff', 1), ('b''\"@x', NULL, NULL, 'one');
        INSERT INTO no_alias VALUES (1, 1.5), (NULL, 2), ('text', 3), (2.5, NULL);";
    let file = r#"
[[forward]]
into = "strict_users"
from = '"Old Users"'
key  = "email"
query = 'SELECT "E-Mail" AS email, name, loud, raw, x AS n FROM "Old Users"'
[[forward]]
into = "nocase"
from = '"Old Users"'
key  = "email"
columns = { email = '"E-Mail"', name = "name" }
[[forward]]
into = "log"
from = "no_alias"
key  = "id"
columns = { id = "id", v = "CAST(v AS text)" }
"#;
    let scene = Scene::new(Dialect::Sqlite, schema, file, Stage::Shadow);
    scene.run("UPDATE \"Old Users\" SET \"E-Mail\" = 'a@X' WHERE \"E-Mail\" = 'a@x'");
    scene.run("UPDATE \"Old Users\" SET name = 'ADA', raw = x'27', x = x'00' WHERE \"E-Mail\" = 'A@X'; INSERT INTO \"Old Users\" VALUES ('ä', '', NULL, 2.5)");
    scene.run("UPDATE \"Old Users\" SET x = 3; UPDATE \"Old Users\" SET x = '3' WHERE name = ''; DELETE FROM \"Old Users\" WHERE name IS NULL");
    scene.run("INSERT INTO no_alias VALUES (NULL, 5), ('t2', 6), (9, 9); UPDATE no_alias SET id = 10 WHERE id = 9; UPDATE no_alias SET v = 1 WHERE id IS NULL; DELETE FROM no_alias WHERE id = 'text'");
    scene.assert_clean("written");
    for (table, name) in [("strict_users", "email"), ("nocase", "email")] {
        scene.assert_same(
            "SELECT \"E-Mail\" || '/' || coalesce(name, '-') AS v FROM \"Old Users\"",
            &format!("SELECT {name} || '/' || coalesce(name, '-') AS v FROM {table}"),
        );
    }
    scene.assert_same(
        "SELECT quote(raw) || quote(x) || quote(loud) AS v FROM \"Old Users\"",
        "SELECT quote(raw) || quote(n) || quote(loud) AS v FROM strict_users",
    );
    // A row without a key is nobody's.
    scene.assert_same(
        "SELECT id || quote(CAST(v AS text)) AS v FROM no_alias WHERE id IS NOT NULL",
        "SELECT id || quote(v) AS v FROM log",
    );
    // DELETE without WHERE fires row triggers.
    scene.run("DELETE FROM \"Old Users\"; DELETE FROM no_alias");
    scene.assert_clean("emptied");
    for table in ["strict_users", "nocase", "log"] {
        assert_eq!(scene.texts(&format!("SELECT 'row' AS v FROM {table}")), [""; 0]);
    }
    // REPLACE, on a connection that fires delete triggers for what it replaces.
    scene.run("INSERT INTO \"Old Users\" VALUES ('a', '1', NULL, NULL); REPLACE INTO \"Old Users\" VALUES ('A', '2', NULL, NULL)");
    scene.assert_clean("replaced");
}

#[test]
fn tables_of_different_collations_are_compared_by_the_targets() {
    let schema = "
        CREATE TABLE a (code text COLLATE \"C\" PRIMARY KEY, v text COLLATE \"C\");
        CREATE TABLE b (code text COLLATE \"de-x-icu\" PRIMARY KEY, v text COLLATE \"de-x-icu\");
        INSERT INTO a VALUES ('a', 'x'), ('B', NULL), ('Ä', 'y'), ('z', '')";
    let block = |word: &str, into: &str, from: &str| {
        format!(
            "[[{word}]]\ninto = \"{into}\"\nfrom = \"{from}\"\nkey = \"code\"\nquery = \"SELECT code, v FROM {from}\"\n"
        )
    };
    let file = format!("{}{}", block("forward", "b", "a"), block("backward", "a", "b"));
    let scene = Scene::new(Dialect::Postgres, schema, &file, Stage::Live);
    scene.run("UPDATE a SET v = v || '!'; DELETE FROM a WHERE code = 'B'; INSERT INTO b VALUES ('ö', 'new'); UPDATE b SET code = 'Z' WHERE code = 'z'");
    scene.assert_clean("written");
    scene.assert_same("SELECT concat(code, v) AS v FROM a", "SELECT concat(code, v) AS v FROM b");
}

#[test]
fn a_moment_belongs_to_the_same_day_whatever_the_writers_time_zone() {
    let schema = "CREATE TABLE visits (id int PRIMARY KEY, at timestamptz NOT NULL); CREATE TABLE days (visit int PRIMARY KEY, day text NOT NULL, label text);
        INSERT INTO visits VALUES (1, '2026-10-31 23:30Z')";
    let file = "[[forward]]\ninto = \"days\"\nfrom = \"visits\"\nkey = \"visit\"\ncolumns = { visit = \"id\", day = \"to_char(at, 'YYYY-MM-DD')\", label = \"CAST(at AS text)\" }\n";
    let scene = Scene::new(Dialect::Postgres, schema, file, Stage::Shadow);
    for zone in ["Pacific/Auckland", "America/Los_Angeles", "UTC"] {
        scene.run(&format!("SET TimeZone = '{zone}'; INSERT INTO visits SELECT max(id) + 1, '2026-10-31 23:30Z' FROM visits; UPDATE visits SET at = at + interval '1 second'"));
        scene.assert_clean(zone);
    }
    assert_eq!(scene.texts("SELECT DISTINCT day AS v FROM days").len(), 1);
}

#[test]
fn names_are_found_as_the_database_finds_them() {
    let schema = "
        CREATE TABLE \"Src\" (\"Id\" INTEGER PRIMARY KEY, plain INTEGER, \"Sel ect\" TEXT);
        CREATE TABLE dst (id INTEGER PRIMARY KEY, plain INTEGER, \"Sel ect\" TEXT, \"Mixed\" TEXT);
        CREATE TABLE weights (w INTEGER PRIMARY KEY);
        CREATE TABLE parts (id INTEGER, w INTEGER, amount BIGINT, PRIMARY KEY (id, w));
        INSERT INTO weights VALUES (1), (2);
        INSERT INTO \"Src\" VALUES (1, 10, 'x')";
    let file = r#"
[[forward]]
into = "DST"
from = '"Src"'
key  = "ID"
columns = { ID = '"Id"', Plain = "PLAIN", '"Sel ect"' = '"Sel ect"', Mixed = "upper(\"Sel ect\")" }
[[forward]]
into = "parts"
from = '"Src"'
key  = "id"
constant = ["weights"]
query = 'SELECT s."Id" AS id, weights.w, s.plain AS amount FROM "Src" s CROSS JOIN weights'
split = { amount = "AMOUNT", by = "W" }
"#;
    super::each_scene(schema, file, Stage::Shadow, |scene| {
        scene.run(
            "INSERT INTO \"Src\" VALUES (2, 7, 'y'); UPDATE \"Src\" SET plain = 8, \"Sel ect\" = 'z' WHERE \"Id\" = 1",
        );
        scene.assert_clean("written");
        assert_eq!(
            scene.texts("SELECT id || '/' || plain || \"Sel ect\" || \"Mixed\" AS v FROM dst"),
            ["1/8zZ", "2/7yY"]
        );
        assert_eq!(
            scene.texts("SELECT id || '/' || w || '/' || amount AS v FROM parts"),
            ["1/1/3", "1/2/5", "2/1/2", "2/2/5"]
        );
    });
}

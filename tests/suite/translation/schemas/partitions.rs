//! PostgreSQL's own: partitioned tables, TRUNCATE, roles and row-level security.

use changeover::change::Stage;
use changeover::database::Dialect;
use changeover::translation::{cover, cover_plan, resolve};

use super::{Scene, mistakes};
use crate::support::{Random, changeover};
use crate::translation::fixture::deed;

/// Everything is partitioned: by list, in two levels, by range and by hash.
const SCHEMA: &str = "
    CREATE SCHEMA parts;
    CREATE TABLE events (region text NOT NULL, id bigint NOT NULL, kind int NOT NULL, amount numeric(10,2), PRIMARY KEY (region, id)) PARTITION BY LIST (region);
    CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu');
    CREATE TABLE parts.events_us (kind int NOT NULL, amount numeric(10,2), gone int, id bigint NOT NULL, region text NOT NULL);
    ALTER TABLE parts.events_us DROP COLUMN gone;
    ALTER TABLE events ATTACH PARTITION parts.events_us FOR VALUES IN ('us');
    CREATE TABLE \"events Rest\" PARTITION OF events DEFAULT PARTITION BY RANGE (id);
    CREATE TABLE events_low PARTITION OF \"events Rest\" FOR VALUES FROM (MINVALUE) TO (100);
    CREATE TABLE events_high PARTITION OF \"events Rest\" FOR VALUES FROM (100) TO (MAXVALUE);
    CREATE TABLE kinds (kind int PRIMARY KEY, factor int NOT NULL) PARTITION BY HASH (kind);
    CREATE TABLE kinds_0 PARTITION OF kinds FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE kinds_1 PARTITION OF kinds FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE INDEX ON events (kind);
    CREATE TABLE facts (area text NOT NULL, event bigint NOT NULL, worth numeric(12,2), PRIMARY KEY (area, event)) PARTITION BY RANGE (event);
    CREATE TABLE facts_low PARTITION OF facts FOR VALUES FROM (MINVALUE) TO (50);
    CREATE TABLE facts_high PARTITION OF facts FOR VALUES FROM (50) TO (MAXVALUE);
    CREATE TABLE sums (kind int PRIMARY KEY, events bigint NOT NULL, amount numeric);
    INSERT INTO kinds VALUES (1, 1), (2, 5), (3, -1);
    INSERT INTO events VALUES ('eu', 1, 1, 1.5), ('us', 1, 2, 2), ('zz', 7, 3, NULL), ('zz', 700, 3, 3.25);";

const FILE: &str = r#"
truncate = "propagate"
[[forward]]
into  = "facts"
from  = "events"
key   = ["area", "event"]
query = "SELECT e.region AS area, e.id AS event, e.amount * k.factor AS worth FROM events e JOIN kinds k ON k.kind = e.kind"
  [[forward.follows]]
  table = "kinds"
  by    = "kind"
  keys  = "SELECT e.region, e.id FROM events e JOIN changed k ON k.kind = e.kind"
  reads = "SELECT kind FROM changed"

[[forward]]
into  = "sums"
from  = "events"
key   = { kind = "kind" }
query = "SELECT kind, count(*) AS events, sum(amount) AS amount FROM events GROUP BY kind"
"#;

fn event_deed(random: &mut Random, fresh: u64) -> Vec<String> {
    let region = ["eu", "us", "zz", "yy"][random.index(4)];
    let (kind, id, amount) = (random.below(3) + 1, random.below(200), random.below(1_000));
    vec![match random.below(14) {
        0 | 1 => format!("INSERT INTO events VALUES ('{region}', {id}, {kind}, {amount}) ON CONFLICT DO NOTHING"),
        2 => format!("INSERT INTO events_eu VALUES ('eu', {fresh}, {kind}, {amount})"),
        3 => format!("INSERT INTO parts.events_us (kind, amount, id, region) VALUES ({kind}, {amount}, {fresh}, 'us')"),
        4 => format!("INSERT INTO \"events Rest\" VALUES ('{region}{region}', {id}, {kind}, NULL) ON CONFLICT DO NOTHING"),
        5 => format!("UPDATE events SET region = '{region}' WHERE kind = {kind} AND id = (SELECT max(id) FROM events)"),
        6 => format!("UPDATE events SET id = id + {fresh} WHERE region = '{region}'"),
        7 => format!("UPDATE parts.events_us SET amount = {amount}, kind = {kind} WHERE id % 3 = 0"),
        8 => format!("UPDATE events_low SET kind = {kind}"),
        9 => format!("DELETE FROM events WHERE region = '{region}' AND kind = {kind}"),
        10 => String::from("DELETE FROM events_high WHERE id > 5000"),
        11 => format!("UPDATE kinds SET factor = {amount} WHERE kind = {kind}"),
        12 => String::from("UPDATE kinds_1 SET factor = factor + 1"),
        _ => [
            "TRUNCATE events_eu",
            "TRUNCATE \"events Rest\"",
            "TRUNCATE events_low, parts.events_us",
            "TRUNCATE events",
            "WITH gone AS (DELETE FROM kinds WHERE kind = 3 RETURNING *) INSERT INTO events SELECT 'eu', 9999, kind, 1 FROM gone ON CONFLICT DO NOTHING",
            "INSERT INTO kinds VALUES (3, 3) ON CONFLICT DO NOTHING",
        ][random.index(6)]
        .to_owned(),
    }]
}

fn assert_computed(scene: &Scene) {
    scene.assert_same(
        "SELECT concat(e.region, e.id, '=', (e.amount * k.factor)::numeric(12,2)) AS v FROM events e JOIN kinds k ON k.kind = e.kind",
        "SELECT concat(area, event, '=', worth) AS v FROM facts",
    );
    scene.assert_same(
        "SELECT concat(kind, '/', count(*), '/', sum(amount)) AS v FROM events GROUP BY kind",
        "SELECT concat(kind, '/', events, '/', amount) AS v FROM sums",
    );
}

#[test]
fn partitioned_tables_are_translated_whichever_partition_a_statement_names() {
    let scene = Scene::new(Dialect::Postgres, SCHEMA, FILE, Stage::Shadow);
    scene.history(10, 60, event_deed);
    assert_computed(&scene);
}

#[test]
fn a_partition_attached_later_is_covered() {
    let scene = Scene::new(Dialect::Postgres, SCHEMA, FILE, Stage::Shadow);
    let mut connection = scene.connection();
    assert!(cover_plan(&mut connection, &scene.model).unwrap().is_empty());
    scene.run("CREATE TABLE events_new PARTITION OF events FOR VALUES IN ('new'); ALTER TABLE events DETACH PARTITION events_eu");
    // A statement that names the whole is seen even so.
    scene.run("INSERT INTO events VALUES ('new', 1, 1, 1)");
    scene.run("INSERT INTO events_new VALUES ('new', 2, 1, 1)");
    let model =
        resolve(&mut connection, &changeover::change::ChangeFile::parse(&format!("{}{FILE}", super::HEAD)).unwrap())
            .unwrap();
    let steps = cover_plan(&mut connection, &model).unwrap();
    assert_eq!(steps.len(), 4, "{steps:#?}");
    let done = changeover()
        .app(&scene.database)
        .service(&scene.database)
        .args(["change", "cover", "--dry-run"])
        .run()
        .expect_code(0);
    assert!(
        done.stdout.contains("ON \"public\".\"events_new\"") || done.stdout.contains("ON public.events_new"),
        "{done}"
    );
    let done = changeover()
        .app(&scene.database)
        .service(&scene.database)
        .args(["change", "cover", "scene"])
        .run()
        .expect_code(0);
    assert!(done.stdout.contains("created trigger changeover_scene_1_ft1_insert on public.events_new"), "{done}");
    assert!(cover(&mut connection, &model, deed()).unwrap().is_empty());
    let options = changeover::translation::VerifyOptions::default();
    changeover::translation::repair(&mut connection, &model, options, &mut |_, _| {}).unwrap();
    scene.run("INSERT INTO events_new VALUES ('new', 3, 2, 1); UPDATE events_new SET amount = 4; DELETE FROM events_new WHERE id = 1");
    scene.assert_clean("covered");
    assert_computed(&scene);
    // What has been detached keeps its triggers until the change is uninstalled.
    scene.run("INSERT INTO events_eu VALUES ('eu', 77, 1, 1)");
    scene.assert_clean("a detached table");
    crate::translation::fixture::step(&mut connection, &model, Stage::DualWrite);
    crate::translation::fixture::step(&mut connection, &model, Stage::Off);
    changeover::translation::uninstall(&mut connection, &model, false).unwrap();
    assert_eq!(scene.texts("SELECT tgname::text AS v FROM pg_trigger WHERE NOT tgisinternal"), [""; 0]);
    assert_eq!(scene.texts("SELECT nspname::text AS v FROM pg_namespace WHERE nspname = 'changeover'"), [""; 0]);
}

#[test]
fn tables_whose_writes_cannot_be_seen_as_a_whole_are_refused() {
    let schema = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent); ALTER TABLE child ADD PRIMARY KEY (id);
        CREATE TABLE whole (id int PRIMARY KEY) PARTITION BY HASH (id); CREATE TABLE part PARTITION OF whole FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TABLE target (id int PRIMARY KEY)";
    let file = |from: &str| {
        format!("[[forward]]\ninto = \"target\"\nfrom = \"{from}\"\nkey = \"id\"\ncolumns = {{ id = \"id\" }}\n")
    };
    let said = |from| mistakes(Dialect::Postgres, schema, &file(from));
    assert!(said("parent").contains("other tables inherit from it"), "{}", said("parent"));
    assert!(said("child").contains("it inherits from another table"), "{}", said("child"));
    assert!(said("part").contains("it is a partition of whole, so name that"), "{}", said("part"));
}

const TRUNCATED: &str = "
    CREATE TABLE people (id int PRIMARY KEY, name text);
    CREATE TABLE firms (id int PRIMARY KEY, name text);
    CREATE TABLE cities (id int PRIMARY KEY, name text);
    CREATE TABLE parties (kind text, id int, name text, PRIMARY KEY (kind, id));
    CREATE INDEX ON parties (id);
    CREATE TABLE badges (party int PRIMARY KEY, city text);
    INSERT INTO people VALUES (1, 'a'), (2, 'b'); INSERT INTO firms VALUES (1, 'x'), (3, 'y'); INSERT INTO cities VALUES (1, 'Rome');";

fn truncated_file(truncate: &str) -> String {
    format!(
        r#"
[[forward]]
into = "parties"
from = "people"
key  = "id"
owns = "kind = 'person'"
columns = {{ kind = "'person'", id = "id", name = "name" }}
{truncate}
[[forward]]
into = "parties"
from = "firms"
key  = "id"
owns = "kind = 'firm'"
columns = {{ kind = "'firm'", id = "id", name = "name" }}
[[forward]]
into  = "badges"
from  = "parties"
key   = {{ party = "id" }}
truncate = "propagate"
query = "SELECT p.id AS party, min(c.name) AS city FROM parties p LEFT JOIN cities c ON c.id = p.id GROUP BY p.id"
  [[forward.follows]]
  table = "cities"
  by    = "id"
  keys  = "SELECT p.id FROM parties p JOIN changed c ON c.id = p.id"
  reads = "SELECT id FROM changed"
"#
    )
}

#[test]
fn truncate_removes_what_the_block_owns_and_nothing_else() {
    let scene = Scene::new(Dialect::Postgres, TRUNCATED, &truncated_file("truncate = \"propagate\""), Stage::Shadow);
    let refused = scene.connection().batch("TRUNCATE people, firms").unwrap_err().to_string();
    assert!(refused.contains("TRUNCATE of firms is refused while change scene translates it"), "{refused}");
    scene.run("TRUNCATE cities");
    scene.assert_clean("a follow table");
    assert_eq!(scene.texts("SELECT concat(party, city) AS v FROM badges"), ["1", "2", "3"]);
    scene.run("TRUNCATE people");
    scene.assert_clean("a driving table");
    assert_eq!(scene.texts("SELECT concat(kind, id) AS v FROM parties"), ["firm1", "firm3"]);
    assert_eq!(scene.texts("SELECT concat(party, city) AS v FROM badges"), ["1", "3"]);
    scene.run("BEGIN; TRUNCATE people; INSERT INTO people VALUES (9, 'z'); COMMIT");
    scene.assert_clean("written again");
}

#[test]
fn truncate_is_refused_by_default() {
    let scene = Scene::new(Dialect::Postgres, TRUNCATED, &truncated_file(""), Stage::Shadow);
    for statement in ["TRUNCATE people", "TRUNCATE people CASCADE"] {
        let refused = scene.connection().batch(statement).unwrap_err().to_string();
        assert!(refused.contains("use DELETE, or write truncate = \"propagate\""), "{refused}");
    }
    scene.run("DELETE FROM people");
    scene.assert_clean("deleted");
}

#[test]
fn a_role_that_may_only_write_the_old_tables_writes_through() {
    let schema = "
        CREATE SCHEMA old; CREATE SCHEMA new;
        CREATE TABLE old.users (id int PRIMARY KEY, name text, secret text);
        CREATE TABLE new.people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int UNIQUE NOT NULL, name text);
        ALTER TABLE new.people ENABLE ROW LEVEL SECURITY;
        CREATE POLICY nobody ON new.people USING (false);
        INSERT INTO old.users VALUES (1, 'a', 's');";
    let file = r#"
[[forward]]
into = "new.people"
from = "old.users"
key  = "user_id"
identity = ["user_id"]
columns = { user_id = "id", name = "name" }
[[backward]]
into = "old.users"
from = "new.people"
key  = { id = "user_id" }
insert = false
columns = { id = "user_id", name = "name" }
"#;
    let scene = Scene::new(Dialect::Postgres, schema, file, Stage::Live);
    let role = format!("app_{}", scene.texts("SELECT current_database()::text AS v")[0]);
    scene.run(&format!(
        "CREATE ROLE \"{role}\"; GRANT USAGE ON SCHEMA old TO \"{role}\"; GRANT INSERT (id, name), UPDATE (name), DELETE ON old.users TO \"{role}\";
         GRANT SELECT (id) ON old.users TO \"{role}\""
    ));
    scene.run(&format!(
        "SET ROLE \"{role}\"; INSERT INTO old.users (id, name) VALUES (2, 'b'), (3, 'c'); UPDATE old.users SET name = 'B' WHERE id = 2; DELETE FROM old.users WHERE id = 3; RESET ROLE"
    ));
    scene.assert_clean("as the application's role");
    assert_eq!(scene.texts("SELECT concat(user_id, name) AS v FROM new.people"), ["1a", "2B"]);
    let refused =
        scene.connection().batch(&format!("SET ROLE \"{role}\"; SELECT * FROM new.people")).unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");
    scene.run("UPDATE new.people SET name = 'n' WHERE user_id = 1");
    assert_eq!(scene.texts("SELECT concat(id, name, secret) AS v FROM old.users"), ["1ns", "2B"]);
    scene.run(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
}

//! PostgreSQL at scale: one statement that inserts a million rows, a backfill, writers beside a backfill, a verify; each beside what
//! one would write by hand, by turns, on databases made from the same template.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use changeover::database::DatabaseConnection;

use crate::cluster::Cluster;
use crate::postgres::{DOCUMENTS, open};
use crate::{Arguments, ONE_TO_ONE, batch, changeover, install, load, median, uninstall};

/// What is measured beside what, in seconds (or milliseconds for latencies): smaller is better.
struct Pair {
    what: &'static str,
    beside: &'static str,
    unit: &'static str,
    ours: Vec<f64>,
    theirs: Vec<f64>,
    remark: String,
}

impl Pair {
    fn new(what: &'static str, beside: &'static str, unit: &'static str) -> Self {
        Self { what, beside, unit, ours: Vec::new(), theirs: Vec::new(), remark: String::new() }
    }

    fn add(&mut self, theirs: f64, ours: f64) {
        eprintln!("  {}: {theirs:.3} {unit}, ours {ours:.3} {unit}", self.what, unit = self.unit);
        self.theirs.push(theirs);
        self.ours.push(ours);
    }

    fn row(&self) -> String {
        let (theirs, ours) = (median(&self.theirs), median(&self.ours));
        format!(
            "| {} | {} | {theirs:.2} {unit} | {ours:.2} {unit} | **{:.2}** | {} |",
            self.what,
            self.beside,
            ours / theirs,
            self.remark,
            unit = self.unit
        )
    }
}

pub fn measure(arguments: &Arguments) {
    let bench = Bench { cluster: Cluster::shared(), rows: arguments.rows, arguments };
    bench.templates();
    let mut pairs = vec![bench.bulk_documents(), bench.bulk_charges(), bench.backfill(), bench.verify()];
    pairs.push(bench.writers_beside_backfill());
    println!("\n| PostgreSQL, {} rows | beside | beside takes | Changeover takes | ratio | |", arguments.rows);
    println!("|---|---|---:|---:|---:|---|");
    for pair in &pairs {
        println!("{}", pair.row());
    }
}

struct Bench<'a> {
    cluster: &'a Cluster,
    rows: u64,
    arguments: &'a Arguments,
}

impl Bench<'_> {
    /// `empty`: the tables of the 1:1 block; `empty_translated`: installed; `filled`: with the old rows; `filled_translated`: installed
    /// over them, nothing backfilled; `charges`/`charges_translated`: the example.
    fn templates(&self) {
        self.create("empty", "template0");
        batch(&self.url("empty"), DOCUMENTS);
        self.create("filled", "empty");
        batch(&self.url("filled"), &insert_documents(self.rows));
        for name in ["empty", "filled"] {
            let translated = format!("{name}_translated");
            self.create(&translated, name);
            install(&self.url(&translated), ONE_TO_ONE, "benches/translation/one-to-one.toml");
        }
        self.create("charges_translated", "template0");
        load(&self.url("charges_translated"), self.arguments.charges, DOCUMENTS);
        self.create("charges_by_hand", "charges_translated");
        uninstall(&self.url("charges_by_hand"));
        for name in ["filled", "filled_translated", "charges_translated", "charges_by_hand"] {
            batch(&self.url(name), "VACUUM ANALYZE");
        }
    }

    fn bulk_documents(&self) -> Pair {
        let mut pair =
            Pair::new("one statement that inserts them, 1:1", "the pair of statements in a transaction", "s");
        for _ in 0..self.arguments.rounds {
            let by_hand = self.on_a_copy("empty", |connection| {
                timed(connection, &format!("BEGIN; {}; {COPY_DOCUMENTS}; COMMIT", insert_documents(self.rows)))
            });
            let ours = self.on_a_copy("empty_translated", |connection| {
                let took = timed(connection, &insert_documents(self.rows));
                assert_eq!(count(connection, "papers"), self.rows, "every row was translated");
                took
            });
            pair.add(by_hand, ours);
        }
        pair
    }

    fn bulk_charges(&self) -> Pair {
        let rows = self.rows / 5;
        let videos = self.arguments.charges / 5;
        let insert = format!(
            "INSERT INTO charges (user_id, video_id, period, currency, amount_minor)
             SELECT v.user_id, v.id, '2026-11', 'USD', i % 100000 FROM generate_series(1, {rows}) i JOIN videos v ON v.id = 1 + i % {videos}"
        );
        let mut pair = Pair::new(
            "one statement that inserts a fifth as many charges, divided",
            "the pair of statements in a transaction, no locks",
            "s",
        );
        for _ in 0..self.arguments.rounds {
            let by_hand = self.on_a_copy("charges_by_hand", |connection| {
                let last = connection.get_row("SELECT coalesce(max(id), 0) AS last FROM charges", &[]).unwrap();
                let last = last.integer("last").unwrap();
                timed(connection, &format!("BEGIN; {insert}; {}; COMMIT", divide_charges_after(last)))
            });
            let ours = self.on_a_copy("charges_translated", |connection| timed(connection, &insert));
            pair.add(by_hand, ours);
        }
        pair
    }

    fn backfill(&self) -> Pair {
        let mut pair = Pair::new("backfill, 1:1", "one bare INSERT … SELECT", "s");
        for _ in 0..self.arguments.rounds {
            let mut wal = (0.0, 0.0);
            let bare = self.on_a_copy("filled", |connection| {
                let before = wal_position(connection);
                let took = timed(connection, COPY_DOCUMENTS);
                wal.0 = wal_position(connection) - before;
                took
            });
            let mut grown = 0;
            let ours = self.on_a_copy("filled_translated", |connection| {
                let (before, size) = (wal_position(connection), size_of(connection, "documents"));
                let started = Instant::now();
                changeover(&self.url("copy"), &["backfill", ONE_TO_ONE]);
                let took = started.elapsed().as_secs_f64();
                wal.1 = wal_position(connection) - before;
                grown = size_of(connection, "documents") - size;
                assert_eq!(count(connection, "papers"), self.rows, "every row was filled");
                took
            });
            pair.add(bare, ours);
            pair.remark =
                format!("WAL {:.0} MB bare, {:.0} MB ours; old table grown by {grown} bytes", wal.0 / 1e6, wal.1 / 1e6);
        }
        pair
    }

    fn verify(&self) -> Pair {
        let mut pair = Pair::new("verify, 1:1", "one FULL OUTER JOIN by hand", "s");
        self.create("verified", "filled_translated");
        let url = self.url("verified");
        changeover(&url, &["backfill", ONE_TO_ONE]);
        batch(&url, "VACUUM ANALYZE");
        let mut connection = open(&url);
        for _ in 0..self.arguments.rounds {
            let by_hand = timed(
                &mut connection,
                "SELECT count(*) FROM documents d FULL OUTER JOIN papers p ON p.id = d.id
                 WHERE d.id IS NULL OR p.id IS NULL OR (p.owner_id, p.name) IS DISTINCT FROM (d.owner, upper(d.title))",
            );
            let started = Instant::now();
            changeover(&url, &["verify", ONE_TO_ONE]);
            pair.add(by_hand, started.elapsed().as_secs_f64());
        }
        drop(connection);
        self.drop_database("verified");
        pair
    }

    /// The 99th percentile of old code's writes with and without a backfill beside them.
    fn writers_beside_backfill(&self) -> Pair {
        let mut pair = Pair::new("p99 of old code's inserts while a backfill runs", "without the backfill", "ms");
        for _ in 0..self.arguments.rounds {
            self.create("copy", "filled_translated");
            let url = self.url("copy");
            let alone = p99_of_inserts(&url, self.arguments);
            let mut running = spawn_backfill(&url);
            let beside = p99_of_inserts(&url, self.arguments);
            let was_running = running.try_wait().expect("the backfill's state").is_none();
            let _ = running.kill();
            let _ = running.wait();
            self.drop_database("copy");
            pair.remark = format!(
                "the backfill was {}running to the end of the measurement",
                if was_running { "" } else { "not " }
            );
            pair.add(alone, beside);
        }
        pair
    }

    fn on_a_copy(&self, template: &str, work: impl FnOnce(&mut DatabaseConnection) -> f64) -> f64 {
        self.create("copy", template);
        let mut connection = open(&self.url("copy"));
        connection.batch("SET synchronous_commit = off").expect("SET");
        let took = work(&mut connection);
        drop(connection);
        self.drop_database("copy");
        took
    }

    fn url(&self, name: &str) -> String {
        self.cluster.url(&format!("scale_{name}"))
    }

    fn create(&self, name: &str, template: &str) {
        let template = if template == "template0" { String::from(template) } else { format!("scale_{template}") };
        batch(&self.cluster.maintenance_url(), &format!("CREATE DATABASE scale_{name} TEMPLATE {template}"));
        // What was copied is written out now, not during the measurement.
        batch(&self.cluster.maintenance_url(), "CHECKPOINT");
    }

    fn drop_database(&self, name: &str) {
        batch(&self.cluster.maintenance_url(), &format!("DROP DATABASE scale_{name} WITH (FORCE)"));
    }
}

const COPY_DOCUMENTS: &str = "INSERT INTO papers (id, owner_id, name) SELECT id, owner, upper(title) FROM documents";

fn insert_documents(rows: u64) -> String {
    format!("INSERT INTO documents (owner, title) SELECT i % 1000, 'A film' FROM generate_series(1, {rows}) i")
}

/// The largest-remainder division of the new charges, as one would write it.
fn divide_charges_after(last: i64) -> String {
    format!(
        "INSERT INTO charge_allocations (charge_id, payer_id, account_id, weight, amount_minor, currency)
         SELECT id, user_id, account_id, weight,
           whole + CASE WHEN row_number() OVER (PARTITION BY id ORDER BY rest DESC, is_first DESC, user_id)
             <= amount_minor - sum(whole) OVER (PARTITION BY id) THEN 1 ELSE 0 END, currency
         FROM (SELECT c.id, c.amount_minor, c.currency, m.user_id, m.account_id, m.weight, m.user_id = c.user_id AS is_first,
             c.amount_minor * m.weight / sum(m.weight) OVER w AS whole, c.amount_minor * m.weight % sum(m.weight) OVER w AS rest
           FROM (SELECT * FROM charges WHERE id > {last}) c JOIN video_accounts v ON v.video_id = c.video_id
           JOIN memberships m ON m.account_id = v.account_id WINDOW w AS (PARTITION BY c.id)) parts"
    )
}

fn timed(connection: &mut DatabaseConnection, sql: &str) -> f64 {
    let started = Instant::now();
    connection.batch(sql).expect("the statements run");
    started.elapsed().as_secs_f64()
}

fn count(connection: &mut DatabaseConnection, table: &str) -> u64 {
    let row = connection.get_row(&format!("SELECT count(*) AS n FROM {table}"), &[]).expect("a count");
    row.integer("n").expect("a number").unsigned_abs()
}

fn size_of(connection: &mut DatabaseConnection, table: &str) -> i64 {
    let row = connection.get_row(&format!("SELECT pg_relation_size('{table}') AS n"), &[]).expect("a size");
    row.integer("n").expect("a number")
}

/// Bytes of WAL since the cluster began.
fn wal_position(connection: &mut DatabaseConnection) -> f64 {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS n";
    connection.get_row(sql, &[]).expect("a position").integer("n").expect("a number") as f64
}

fn spawn_backfill(url: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_changeover"))
        .args(["backfill", ONE_TO_ONE])
        .env("CHANGEOVER_DATABASE_URL", url)
        .env_remove("CHANGEOVER_APP_DATABASE_URL")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

/// Milliseconds, from pgbench's log of every transaction. At a fixed rate, so that both measurements ask for the same work.
fn p99_of_inserts(url: &str, arguments: &Arguments) -> f64 {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = directory.path().join("script.sql");
    fs::write(&script, "\\set user random(1, 1000)\nINSERT INTO documents (owner, title) VALUES (:user, 'A film');\n")
        .expect("the script is written");
    let program = crate::cluster::find_programs().expect("PostgreSQL's programs").join("pgbench");
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "--log", "--rate=500", "--max-tries=10"])
        .args(["--client", &arguments.clients.to_string(), "--time", &arguments.seconds.to_string(), "--file"])
        .arg(&script)
        .arg(url)
        .current_dir(directory.path())
        .output()
        .expect("pgbench runs");
    assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let mut latencies = latencies_ms(directory.path());
    latencies.sort_by(f64::total_cmp);
    latencies[latencies.len() * 99 / 100]
}

fn latencies_ms(directory: &Path) -> Vec<f64> {
    let files = fs::read_dir(directory).expect("the directory").flatten();
    let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("pgbench_log"));
    logs.flat_map(|file| {
        let text = fs::read_to_string(file.path()).expect("a log");
        // client, transaction, latency in µs, script, epoch, µs, lag behind the schedule in µs: what the server took is the difference.
        let rows = text.lines().filter_map(|line| {
            let fields: Vec<f64> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
            Some((fields.get(2)? - fields.get(6).unwrap_or(&0.0)) / 1_000.0)
        });
        rows.collect::<Vec<_>>()
    })
    .collect()
}

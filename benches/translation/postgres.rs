//! PostgreSQL: pgbench against three databases of one throw-away cluster, made from each other as templates.

use std::fs;
use std::path::Path;
use std::process::Command;

use changeover::database::{DatabaseConnection, DatabaseUrl};

use crate::cluster::Cluster;
use crate::workload::{WORKLOADS, Workload};
use crate::{Arguments, Measured, VARIANTS, Variant, load, uninstall, verify};

pub fn measure(arguments: &Arguments) -> Vec<Measured> {
    let cluster = Cluster::shared();
    let mut maintenance = open(&cluster.maintenance_url());
    let mut create = |name: &str, template: &str| {
        maintenance.batch(&format!("CREATE DATABASE {name} TEMPLATE {template}")).expect("CREATE DATABASE");
    };
    create("translated", "template0");
    load(&cluster.url("translated"), arguments.charges);
    create("by_hand", "translated");
    uninstall(&cluster.url("by_hand"));
    create("alone", "by_hand");
    for name in ["translated", "by_hand", "alone"] {
        open(&cluster.url(name)).batch("VACUUM ANALYZE").expect("VACUUM");
    }
    let scripts = tempfile::tempdir().expect("a temporary directory");
    let mut measured = Vec::new();
    for workload in WORKLOADS {
        let mut one = Measured::new("PostgreSQL", workload.title());
        for _ in 0..arguments.rounds {
            for variant in VARIANTS {
                let path = scripts.path().join("script.sql");
                fs::write(&path, script(workload, variant, arguments)).expect("the script is written");
                one.add(variant, run(&cluster.url(database(variant)), &path, arguments));
            }
        }
        measured.push(one);
    }
    verify(&cluster.url("translated"));
    measured
}

fn open(url: &str) -> DatabaseConnection {
    let url: DatabaseUrl = url.parse().expect("a database URL");
    DatabaseConnection::open(&url).expect("the database opens")
}

fn database(variant: Variant) -> &'static str {
    match variant {
        Variant::Nobody => "alone",
        Variant::ByHand => "by_hand",
        Variant::Translation => "translated",
    }
}

fn script(workload: Workload, variant: Variant, arguments: &Arguments) -> String {
    let (users, videos) = (arguments.charges / 20, arguments.charges / 5);
    let parameters =
        format!("\\set user random(1, {users})\n\\set video random(1, {videos})\n\\set amount random(1, 100000)\n");
    let statements = match variant {
        Variant::Nobody | Variant::Translation => format!("{};\n", workload.old_row()),
        Variant::ByHand => {
            let mut text = String::from("BEGIN;\n");
            for statement in workload.by_hand() {
                // `\gset` makes a variable of the returned column's name: an alias says which.
                match statement.returns {
                    Some(name) => text.push_str(&format!("{} AS {name} \\gset\n", statement.sql)),
                    None => text.push_str(&format!("{};\n", statement.sql)),
                }
            }
            text + "COMMIT;\n"
        }
    };
    parameters + &statements
}

fn run(url: &str, script: &Path, arguments: &Arguments) -> f64 {
    let program = crate::cluster::find_programs().expect("PostgreSQL's programs").join("pgbench");
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--max-tries=10"])
        .args(["--client", &arguments.clients.to_string(), "--time", &arguments.seconds.to_string(), "--file"])
        .arg(script)
        .arg(url)
        .output()
        .expect("pgbench runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "pgbench: {text}{}", String::from_utf8_lossy(&output.stderr));
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.unwrap_or_else(|| panic!("pgbench printed no tps: {text}"))
}

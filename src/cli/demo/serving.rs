//! After the story: the demo's database is served, with requests that work when they are pasted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use clap::Parser as _;

use super::ramp::candidates;
use super::story::{ACTOR, now};
use super::{DataArguments, Example};
use crate::change::ChangeFile;
use crate::cli::{Output, Settings, serve};
use crate::database::{Database, DatabaseUrl};
use crate::routing::{Question, Router, Side};
use crate::store::tokens::{self, Role};
use crate::store::{Memory, Origin, Store};
use crate::translation::TranslationError;

const PORT: u16 = 8080;

/// `changeover serve` with its defaults, as if it had been typed.
#[derive(clap::Parser)]
struct Defaults {
    #[command(flatten)]
    serve: serve::Arguments,
}

/// Prints requests that can be pasted, and serves until it is stopped.
pub fn run(settings: &Settings, output: &Output, url: &DatabaseUrl, data: &DataArguments) -> anyhow::Result<u8> {
    let store = Store::open(Database::open(url.clone())?)?;
    let origin = Origin { actor: ACTOR, reason: "to try the API of the demo" };
    let token = store.write(|connection| tokens::create(connection, "demo", Role::Admin, None, origin))?.text;
    let mut arguments = Defaults::parse_from(["changeover"]).serve;
    arguments.bind = free_address()?;
    arguments.log = String::from("warn");
    let base = format!("http://{}", arguments.bind);
    output.note(&requests(store, data.example, &base, &token)?);
    let settings = Settings { database_url: url.clone(), app_database_url: None, ..settings.clone() };
    serve::run(&settings, arguments)
}

/// The usual port, or any free one if that is taken.
fn free_address() -> std::io::Result<SocketAddr> {
    let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    at(PORT).or_else(|_| at(0))?.local_addr()
}

fn requests(store: Store, example: Example, base: &str, token: &str) -> anyhow::Result<String> {
    let file = ChangeFile::parse(example.change_file()).map_err(TranslationError::Mistakes)?;
    let authorization = "-H \"Authorization: Bearer $TOKEN\"";
    let mut lines = vec![String::from("\nTry it in another terminal:\n"), format!("  TOKEN={token}")];
    for (side, user) in one_of_each_side(store, &file, example)? {
        lines.push(format!("\n  # this user is billed by the {side} model"));
        lines.push(format!(
            "  curl -s {base}/ofrep/v1/evaluate/flags/{} {authorization} -H 'Content-Type: application/json' -d '{{\"context\":{{\"targetingKey\":\"{user}\"}}}}'",
            file.routing.flag
        ));
    }
    for (what, path) in [
        ("the flag, with its cohort and its rollout", format!("flags/{}", file.routing.flag)),
        ("who did what, hash-chained", String::from("audit")),
    ] {
        lines.push(format!("\n  # {what}"));
        lines.push(format!("  curl -s {base}/api/v1/{path} {authorization}"));
    }
    lines.push(String::from("\nCtrl-C ends it; the database stays, to be looked at.\n"));
    Ok(lines.join("\n"))
}

/// A user whose group is on the new side in the running period, and one on the old.
fn one_of_each_side(store: Store, file: &ChangeFile, example: Example) -> anyhow::Result<Vec<(Side, String)>> {
    let database = store.database().clone();
    let users = candidates(&mut *database.connection()?, example)?;
    let router = Router::new(database);
    let snapshot = Memory::load(store)?.snapshot();
    let mut found: Vec<(Side, String)> = Vec::new();
    for user in users {
        let at = now();
        let question = Question { change: &file.name, user: &user, period: None, actor: ACTOR, at };
        let side = router.side_of_user(&snapshot, &question)?.side;
        if !found.iter().any(|(known, _)| *known == side) {
            found.push((side, user));
        }
        if found.len() == 2 {
            break;
        }
    }
    found.sort_by_key(|(side, _)| std::cmp::Reverse(*side));
    Ok(found)
}

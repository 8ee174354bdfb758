//! `docs/reference/cli.md`, generated from the command line itself. `CHANGEOVER_UPDATE=1 cargo test` writes it anew.

use std::fmt::Write;

use changeover::cli::Cli;
use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::support::assert_generated;

const HEAD: &str = "# The command line

<!-- Generated from the program by `CHANGEOVER_UPDATE=1 cargo test`; do not edit. -->

Results go to stdout, everything else to stderr. Exit codes: **0** done and clean, **1** done, but something differs (drift,
unexplained differences, a gate that does not hold, mistakes in a change file), **2** could not run.
";

#[test]
fn the_reference_of_the_command_line_is_up_to_date() {
    let mut root = Cli::command();
    root.build();
    let mut page = String::from(HEAD);
    write_options(&mut page, "Settings of every command", root.get_arguments().filter(|option| option.is_global_set()));
    for command in root.get_subcommands() {
        write_command(&mut page, command, "changeover");
    }
    assert_generated("docs/reference/cli.md", &page);
}

fn write_command(page: &mut String, command: &Command, above: &str) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{above} {}", command.get_name());
    write!(page, "\n## `{name}`\n\n{}\n", sentence(command.get_about())).unwrap();
    if let Some(more) = command.get_after_help() {
        write!(page, "\n{}\n", more.to_string().trim()).unwrap();
    }
    let own = |option: &&Arg| !option.is_global_set() && !["help", "version"].contains(&option.get_id().as_str());
    let runs_itself = !command.is_subcommand_required_set();
    if runs_itself {
        let usage = command.clone().render_usage().to_string();
        for usage in usage.trim_start_matches("Usage:").lines().map(str::trim).filter(|usage| !usage.is_empty()) {
            write!(page, "\n    {usage}\n").unwrap();
        }
        write_positionals(page, command.get_positionals());
    }
    write_options(page, "", command.get_opts().chain(flags(command)).filter(own));
    for below in command.get_subcommands() {
        write_command(page, below, &name);
    }
}

fn write_positionals<'a>(page: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    for (nth, argument) in arguments.enumerate() {
        if nth == 0 {
            page.push_str("\n| argument | meaning |\n|---|---|\n");
        }
        writeln!(page, "| `{argument}` | {} |", meaning(argument)).unwrap();
    }
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|option| !option.is_positional() && !option.get_action().takes_values())
}

fn write_options<'a>(page: &mut String, title: &str, options: impl Iterator<Item = &'a Arg>) {
    let mut rows: Vec<String> = Vec::new();
    for option in options.filter(|option| !option.is_hide_set()) {
        let mut shown = option.get_long().map_or_else(String::new, |long| format!("--{long}"));
        if option.get_action().takes_values() {
            let value = option.get_value_names().and_then(|names| names.first());
            write!(shown, " {}", value.map_or("VALUE", |name| name.as_str())).unwrap();
        }
        let variable = option.get_env().map_or_else(String::new, |name| format!("`{}`", name.to_string_lossy()));
        rows.push(format!("| `{shown}` | {variable} | {} |\n", meaning(option)));
    }
    if rows.is_empty() {
        return;
    }
    if !title.is_empty() {
        write!(page, "\n## {title}\n").unwrap();
    }
    page.push_str("\n| option | variable | meaning |\n|---|---|---|\n");
    page.extend(rows);
}

/// The help, the values that are possible, and the default.
fn meaning(option: &Arg) -> String {
    let mut text = sentence(option.get_help());
    let values: Vec<String> = match option.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => Vec::new(),
        _ => option.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect(),
    };
    if !values.is_empty() {
        write!(text, " One of {}.", values.join(", ")).unwrap();
    }
    let default: Vec<String> =
        option.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let is_empty = option.get_default_values().iter().all(|value| value.is_empty());
    if !is_empty && option.get_action().takes_values() {
        write!(text, " Default: {}.", default.join(", ")).unwrap();
    }
    if option.is_required_set() {
        text.push_str(" Required.");
    }
    text
}

/// Clap's text in one line, with a full stop.
fn sentence(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    if !text.is_empty() && !text.ends_with(['.', ']', '?', '!']) {
        text.push('.');
    }
    text
}

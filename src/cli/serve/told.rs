//! The settings that the server was started with, for the console: each option as it stands, with where it came from. What may hold a
//! secret is not told: of a database's address no password, of anything else that is hidden in the help only that it is set.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use super::super::Cli;
use crate::database::DatabaseUrl;
use crate::http::Setting;

/// Those of `changeover serve`, if that is what runs.
pub fn settings() -> Vec<Setting> {
    let Ok(matches) = Cli::command().try_get_matches() else { return Vec::new() };
    told(&matches)
}

fn told(matches: &ArgMatches) -> Vec<Setting> {
    let Some((name, matches)) = matches.subcommand() else { return Vec::new() };
    let mut command = Cli::command();
    command.build();
    let Some(command) = command.find_subcommand(name) else { return Vec::new() };
    let options = command.get_arguments().filter(|option| option.get_long().is_some() && option.get_env().is_some());
    options.filter_map(|option| setting(option, matches)).collect()
}

fn setting(option: &clap::Arg, matches: &ArgMatches) -> Option<Setting> {
    let id = option.get_id().as_str();
    let raw = matches.try_get_raw(id).ok()?;
    let values: Vec<String> = raw.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
    let value = match (values.join(", "), option.is_hide_env_values_set()) {
        (value, _) if value.is_empty() => String::from("not set"),
        (value, true) if id.ends_with("database_url") => without_password(&value),
        (_, true) => String::from("set; not shown"),
        (value, false) => value,
    };
    Some(Setting {
        name: format!("--{}", option.get_long()?),
        variable: option.get_env()?.to_string_lossy().into_owned(),
        value,
        source: match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ => "default",
        },
        help: option.get_help().map(ToString::to_string).unwrap_or_default(),
    })
}

fn without_password(value: &str) -> String {
    let url: Option<DatabaseUrl> = value.parse().ok();
    url.map_or_else(|| String::from("set; not shown"), |url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_with_where_they_come_from_and_without_passwords() {
        let arguments = [
            "changeover",
            "--database-url",
            "postgres://kim:s3cret@db/app?password=s3cret",
            "serve",
            "--bind",
            "[::1]:1",
        ];
        let matches = Cli::command().try_get_matches_from(arguments).unwrap();
        let told = told(&matches);
        let of = |name: &str| told.iter().find(|setting| setting.name == name).unwrap();
        assert_eq!((of("--bind").value.as_str(), of("--bind").source), ("[::1]:1", "command line"));
        assert_eq!((of("--lease-seconds").value.as_str(), of("--lease-seconds").source), ("10", "default"));
        assert_eq!(of("--database-url").value, "postgres://kim:…@db/app");
        assert_eq!(of("--bind").variable, "CHANGEOVER_BIND");
        assert!(!of("--bind").help.is_empty() && !format!("{told:?}").contains("s3cret"));
    }
}

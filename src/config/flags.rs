//! Flags and environment as clap sees them, made from the table of settings.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::keys::{KEYS, Key};
use super::{Layers, Source};

const FILE: &str = "config";

impl Args for Layers {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long(FILE)
            .env("STREAMKEEPER_CONFIG")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file with settings; flags and environment override it");
        command.arg(file).args(KEYS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(key: &'static Key) -> Arg {
    let default = match key.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let argument = Arg::new(key.name)
        .long(key.flag())
        .env(key.variable())
        .hide_env_values(key.secret)
        .value_name(key.placeholder)
        .help(format!("{}{default}", key.help));
    if key.many {
        argument.value_delimiter(',').action(ArgAction::Append)
    } else {
        // The last one counts, so that a script can add to the arguments of another.
        argument.overrides_with(key.name)
    }
}

impl FromArgMatches for Layers {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut layers = Self::default();
        layers.update_from_arg_matches(matches)?;
        Ok(layers)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let file = matches
            .get_one::<PathBuf>(FILE)
            .filter(|path| !path.as_os_str().is_empty());
        self.file = file.cloned();
        for key in KEYS {
            let source = match matches.value_source(key.name) {
                Some(ValueSource::CommandLine) => Source::Flag {
                    flag: format!("--{}", key.flag()),
                },
                Some(ValueSource::EnvVariable) => Source::Environment {
                    variable: key.variable(),
                },
                _ => continue,
            };
            let values = matches.get_many::<String>(key.name).into_iter().flatten();
            let values: Vec<String> = values.cloned().collect();
            // An empty variable is how compose files and unit files say "not set".
            let from_environment = matches!(source, Source::Environment { .. });
            if from_environment && values.iter().all(|value| value.trim().is_empty()) {
                continue;
            }
            self.say(key, source, values);
        }
        Ok(())
    }
}

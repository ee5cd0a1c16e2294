//! Which events, and what becomes of those that are refused: `[FILE…]` and `--on-error stop|skip|dead-letter FILE`.
//!
//! The file of `dead-letter` is a second value of the option. After `stop` and `skip` the next word is a FILE as any other,
//! which the parser cannot know; so it is put back to where it stood.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

/// The files, and what becomes of refused events.
pub(crate) struct Source {
    /// At least one; `-` is standard input.
    pub(super) files: Vec<PathBuf>,
    pub(super) on_error: OnError,
}

/// What becomes of events that are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OnError {
    Stop,
    Skip,
    DeadLetter(PathBuf),
}

const FILES: &str = "files";
const ON_ERROR: &str = "on_error";

impl Args for Source {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new(FILES)
                    .value_name("FILE")
                    .num_args(0..)
                    .value_parser(value_parser!(PathBuf))
                    .help("Files of events, `-` for standard input, which it is without any"),
            )
            .arg(
                Arg::new(ON_ERROR)
                    .long("on-error")
                    .value_names(["ACTION", "FILE"])
                    .num_args(1..=2)
                    .value_parser(value_parser!(PathBuf))
                    .help(
                        "When an event is refused: `stop` (the default), `skip` it, or append it, sealed, to the FILE of \
                         `dead-letter`",
                    ),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Source {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |id| -> Vec<(usize, PathBuf)> {
            let values = matches.get_many::<PathBuf>(id).into_iter().flatten().cloned();
            matches.indices_of(id).into_iter().flatten().zip(values).collect()
        };
        let wrong = |message: &str| clap::Error::raw(ErrorKind::InvalidValue, format!("{message}\n"));
        let mut files = values(FILES);
        let mut on_error = values(ON_ERROR).into_iter();
        let action = match (on_error.next(), on_error.next()) {
            (None, _) => OnError::Stop,
            (Some((_, action)), file) if action.as_os_str() == "dead-letter" => match file {
                Some((_, file)) if file.as_os_str() != "-" => OnError::DeadLetter(file),
                _ => return Err(wrong("`--on-error dead-letter` needs a FILE to append to")),
            },
            (Some((_, action)), file) => {
                files.extend(file);
                match action.to_str() {
                    Some("stop") => OnError::Stop,
                    Some("skip") => OnError::Skip,
                    _ => return Err(wrong("`--on-error` is stop, skip, or dead-letter and a FILE")),
                }
            }
        };
        files.sort_by_key(|(at, _)| *at);
        let mut files: Vec<PathBuf> = files.into_iter().map(|(_, file)| file).collect();
        if files.is_empty() {
            files.push("-".into());
        }
        if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
            return Err(wrong("standard input can be read once only"));
        }
        if files.len() > 1 && matches.get_flag("array") {
            return Err(wrong("with `--array` there is one FILE at most"));
        }
        Ok(Self { files, on_error: action })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Source, clap::Error> {
        let command = Source::augment_args(Command::new("x"))
            .arg(Arg::new("array").long("array").action(clap::ArgAction::SetTrue))
            .arg(Arg::new("out").short('o').num_args(1));
        Source::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn takes_a_second_word_for_what_it_is() {
        let dead = |file: &str| OnError::DeadLetter(file.into());
        let cases = [
            ("x", "-", OnError::Stop),
            ("x a b", "a b", OnError::Stop),
            ("x --on-error skip", "-", OnError::Skip),
            ("x --on-error skip a b", "a b", OnError::Skip),
            ("x a --on-error skip b c", "a b c", OnError::Skip),
            ("x a --on-error stop -o out b", "a b", OnError::Stop),
            ("x --on-error=skip a", "a", OnError::Skip),
            ("x --on-error dead-letter d", "-", dead("d")),
            ("x --on-error dead-letter d a", "a", dead("d")),
            ("x a --on-error dead-letter d", "a", dead("d")),
            ("x --on-error skip -", "-", OnError::Skip),
        ];
        for (line, files, on_error) in cases {
            let source = parse(line).unwrap();
            let found: Vec<_> = source.files.iter().map(|file| file.to_str().unwrap()).collect();
            assert_eq!((found.join(" ").as_str(), source.on_error), (files, on_error), "{line}");
        }
    }

    #[test]
    fn refuses_what_says_nothing_or_too_much() {
        for line in [
            "x --on-error",
            "x --on-error ignore",
            "x --on-error ignore a",
            "x --on-error dead-letter",
            "x --on-error dead-letter -",
            "x - -",
            "x --array a b",
            "x --on-error skip --on-error stop",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
